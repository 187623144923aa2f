//! The arithmetic of a bucket that refills evenly: what is used of it, and how long that takes to come back, gives its period.
//!
//! `reset = used / limit * period`, so the period lies between what the reset gives if it was exact and `used` was too, and
//! what it gives if the reset had just been cut off and `used` rounded up. Where exactly one usual period lies in that
//! interval, it is the one. The tests have observations that were published, of OpenAI, Azure and Groq.

use super::number::{MILLISECOND, SECOND};
use super::reading::Period;
use std::time::Duration;

/// Periods that providers have, in seconds. 2,592,000 is thirty days.
const USUAL: [u64; 7] = [1, 10, 60, 300, 3_600, 86_400, 2_592_000];

/// A duration that is known within `low..high`, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Within {
    pub(super) low: u64,
    pub(super) high: u64,
}

/// The period of a bucket of which `used` has gone, give or take `grain`, and which is full again after `reset`.
pub(super) fn from_reset(reset: Within, limit: u64, used: u64, grain: u64) -> Option<Period> {
    // What is left is rounded down, so what was used was rounded up, by less than one.
    solve(
        reset,
        limit,
        used,
        used.saturating_add(grain),
        used.checked_sub(grain.checked_add(1)?)?,
    )
}

/// The period of a bucket that lacks `lack` for a request, which it will have after `wait`.
pub(super) fn from_wait(wait: u64, limit: u64, lack: u64) -> Option<Period> {
    // Cut off to the millisecond by OpenAI, and up to 3 ms off at Groq.
    let wait = Within {
        low: wait.saturating_sub(3 * MILLISECOND),
        high: wait.saturating_add(4 * MILLISECOND),
    };
    solve(
        wait,
        limit,
        lack,
        lack.saturating_add(1),
        lack.checked_sub(1)?,
    )
}

fn solve(time: Within, limit: u64, used: u64, most: u64, least: u64) -> Option<Period> {
    if limit == 0 || used == 0 || time.high == 0 {
        return None;
    }
    let share = |ns: u64, used: u64| {
        let period = u128::from(ns) * u128::from(limit) / u128::from(used);
        u64::try_from(period).unwrap_or(u64::MAX)
    };
    let low = share(time.low, most);
    let (high, usable) = match least {
        // One unit, or less: there is no upper bound. But it was hardly ever much less.
        0 => (None, (share(time.high, used) / 20).saturating_mul(21)),
        least => (Some(share(time.high, least)), share(time.high, least)),
    };
    if low == 0 && high.is_none() {
        return None;
    }
    let usual = |seconds: &&u64| (low..usable).contains(&(**seconds * SECOND));
    let mut usual = USUAL.iter().filter(usual);
    let nominal = usual.next().filter(|_| usual.next().is_none());
    Some(Period {
        low: Duration::from_nanos(low),
        high: high.map(Duration::from_nanos),
        nominal: nominal.copied().map(Duration::from_secs),
    })
}

/// How long it takes until `n` are there, if `remaining` are: rounded up, so that they are there then.
pub(super) fn until(n: u64, remaining: u64, limit: u64, period: Duration) -> Option<Duration> {
    if n > limit {
        return None;
    }
    let lack = u128::from(n.saturating_sub(remaining));
    if lack == 0 {
        return Some(Duration::ZERO);
    }
    // Neither factor is above 2^64.
    let ns = (lack * u128::from(nanos(period))).div_ceil(u128::from(limit));
    Some(Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX)))
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nominal(limit: u64, remaining: u64, reset_ms: u64) -> Option<u64> {
        let reset = Within {
            low: reset_ms * MILLISECOND,
            high: (reset_ms + 1) * MILLISECOND,
        };
        let period = from_reset(reset, limit, limit - remaining, 0)?;
        period.nominal.map(|nominal| nominal.as_secs())
    }

    #[test]
    fn published_observations() {
        for (limit, remaining, reset_ms, period) in [
            (500, 499, 120, 60),
            (5_000, 4_999, 12, 60),
            (3_500, 3_499, 17, 60),
            (40_000, 39_929, 106, 60),
            (160_000, 158_866, 425, 60),
            (160_000, 159_976, 9, 60),
            (200, 197, 977_764, 86_400),
            (1_500_000, 1_495_621, 252_172, 86_400),
            (1_500_000, 43_244, 83_909_144, 86_400),
            (14_400, 14_370, 179_560, 86_400),
            (14_400, 14_369, 186_000, 86_400),
            (6_000, 5_963, 370, 60),
        ] {
            assert_eq!(
                nominal(limit, remaining, reset_ms),
                Some(period),
                "{limit} {remaining} {reset_ms}"
            );
        }
    }

    #[test]
    fn a_window_that_ends_for_all_at_once_is_not_a_bucket() {
        assert_eq!(nominal(100, 10, 30_000), None);
        assert_eq!(nominal(100, 99, 30_000), None);
        assert_eq!(nominal(100, 100, 0), None);
        // Too little is known: one second, ten and sixty would all do.
        assert_eq!(nominal(100_000, 99_999, 0), None);
    }

    #[test]
    fn texts_of_refusals() {
        for (limit, used, requested, wait_ms, period) in [
            (10_000, 8_554, 3_082, 9_816, 60),
            (30_000, 14_567, 24_754, 18_642, 60),
            (100_000, 99_918, 2_094, 52_151_040, 2_592_000),
            (1_000, 1_000, 1, 86_400, 86_400),
        ] {
            let solved = from_wait(wait_ms * MILLISECOND, limit, used + requested - limit);
            assert_eq!(
                solved.unwrap().nominal,
                Some(Duration::from_secs(period)),
                "{limit} {used}"
            );
        }
    }

    proptest! {
        #[test]
        fn the_true_period_is_within(
            limit in 1_u64..10_000_000, used in 1_u64..10_000_000, slack in 0.0..0.999_f64, at in 0_usize..USUAL.len(),
        ) {
            let used = used.min(limit);
            let exact = (used as f64 - slack) / limit as f64 * USUAL[at] as f64 * 1_000.0;
            let ms = exact as u64;
            let reset = Within { low: ms * MILLISECOND, high: (ms + 1) * MILLISECOND };
            if let Some(period) = from_reset(reset, limit, used, 0) {
                let truth = Duration::from_secs(USUAL[at]);
                prop_assert!(period.low <= truth + Duration::from_micros(1));
                prop_assert!(period.high.is_none_or(|high| truth <= high + Duration::from_micros(1)));
            }
        }

        #[test]
        fn any_numbers(low in any::<u64>(), high in any::<u64>(), limit in any::<u64>(), used in any::<u64>(), grain in any::<u64>()) {
            let _ = from_reset(Within { low, high }, limit, used, grain);
            let _ = (from_wait(low, limit, used), from_wait(low, limit, 1), from_reset(Within { low, high }, limit, 1, 0));
            let wait = until(used, grain, limit, Duration::from_nanos(high));
            prop_assert_eq!(wait.is_none(), used > limit);
        }
    }
}
