//! What holds of every reading, whatever was read. The fuzzer asks the same.

use llmrl::feedback::{Class, MAX_QUOTAS, Reading};
use std::time::Duration;

pub const LONGEST: Duration = Duration::from_secs(366 * 86_400);

pub fn sane(reading: &Reading) {
    assert!(
        reading.wait.is_none_or(|wait| wait <= LONGEST),
        "{reading:?}"
    );
    let waits = !matches!(reading.class, Class::Ok | Class::Billing | Class::Oversize);
    assert!(waits || reading.wait.is_none(), "{reading:?}");
    assert!(
        reading.wait != Some(Duration::ZERO) || reading.class == Class::Concurrency,
        "{reading:?}"
    );
    assert!(reading.quotas().len() <= MAX_QUOTAS);
    assert!(
        reading
            .tripped()
            .is_none_or(|at| at < reading.quotas().len()),
        "{reading:?}"
    );
    for quota in reading.quotas() {
        assert!(
            quota.reset.is_none_or(|reset| reset <= LONGEST),
            "{reading:?}"
        );
        if let (Some(limit), Some(remaining)) = (quota.limit, quota.remaining) {
            assert!(remaining <= limit, "{reading:?}");
        }
        if let Some(solved) = quota.solved {
            assert!(
                solved.high.is_none_or(|high| solved.low <= high),
                "{reading:?}"
            );
        }
        for n in [0, 1, u64::MAX] {
            let _ = (quota.until(n), quota.mislabelled(), quota.period());
        }
    }
}
