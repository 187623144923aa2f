//! Whether a limiter could be thrown away and made anew without anybody being able to tell.

use super::Limiter;
use super::build::Entry;
use crate::limit::{Kind, Limit, Quota};
use crate::sync::lock;

impl Limiter {
    #[cfg(all(test, not(any(loom, shuttle))))]
    pub(crate) fn has_queue(&self) -> bool {
        self.core.queue.get().is_some()
    }

    /// Whether it is as one that was just made of `limits`: everything full, nobody waiting, nothing held, paused, learned or
    /// retuned, and open. Says no where it cannot be known.
    pub(crate) fn is_as_new(&self, limits: &[Limit]) -> bool {
        let core = &self.core;
        // The last to leave the queue may have left it to others to say that nobody is there.
        core.advance(false);
        let gate = core.gate();
        if gate.is_shut() {
            return false;
        }
        let entries = lock(&core.limits);
        let now = core.clock.now();
        entries.len() == limits.len()
            && entries
                .iter()
                .zip(limits)
                .all(|(entry, limit)| match (entry, &limit.0) {
                    (Entry::InFlight(slots), Kind::InFlight(made)) => {
                        slots == made && gate.free() == *slots as i64
                    }
                    (Entry::Quota(quota, ledger), Kind::Quota(made)) => {
                        let line = core.line(*ledger);
                        is_same(quota, made)
                            && line.not_before <= now
                            && core.view(*ledger, &line, now).balance >= line.burst as i64
                    }
                    _ => false,
                })
    }
}

fn is_same(one: &Quota, other: &Quota) -> bool {
    let of = |quota: &Quota| (quota.amount, quota.period_ns, quota.holds(), quota.oversize);
    of(one) == of(other)
}
