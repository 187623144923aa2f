//! When somebody would be due who stands behind others, as far as time alone decides. Estimates: they say when to look
//! again, and which deadlines are hopeless; nothing is admitted by them.

use super::build::Entry;
use super::queue::Front;
use super::{Core, Limiter};
use crate::error::Refused;
use crate::limit::{Amounts, Cost};
use crate::sync::{Relaxed, lock};
use std::time::Duration;

/// What a request would wait for. See [`Limiter::outlook`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outlook {
    /// How long, absent other traffic: zero is now. `None` if it takes somebody's release.
    pub wait: Option<Duration>,
    /// Index of the limit for which it would wait longest; `None` if it would not, or for others in the queue.
    pub limit: Option<usize>,
}

impl Limiter {
    /// How long a request would wait if it came now, and for which limit. Takes nothing and promises nothing.
    ///
    /// # Errors
    /// [`Refused::Never`], [`Refused::Closed`] or [`Refused::Cost`].
    ///
    /// ```
    /// use llmrl::{Cost, Limit, Limiter};
    ///
    /// let limiter = Limiter::builder().limit(Limit::requests(60)).limit(Limit::tokens(60_000)).build()?;
    /// limiter.try_acquire(&Cost::tokens(60_000, 0))?.release();
    /// let outlook = limiter.outlook(&Cost::tokens(1_000, 0))?;
    /// assert_eq!(outlook.limit, Some(1));
    /// assert!(outlook.wait.is_some_and(|wait| !wait.is_zero()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn outlook(&self, cost: &Cost) -> Result<Outlook, Refused> {
        self.core.outlook(&cost.amounts()?)
    }
}

impl Core {
    /// What a request would wait for that came after everybody in the queue.
    fn outlook(&self, amounts: &Amounts) -> Result<Outlook, Refused> {
        if self.gate().is_closed() {
            return Err(Refused::Closed);
        }
        if let Some(ledger) = self.misfit(amounts) {
            return Err(self.never(ledger, amounts));
        }
        let (wait, ledger) = self.wait_at_the_end(amounts);
        let limit = match (wait, ledger) {
            (None, None) => {
                let is_in_flight = |entry: &Entry| matches!(entry, Entry::InFlight(_));
                lock(&self.limits).iter().position(is_in_flight)
            }
            (_, ledger) => ledger.map(|ledger| self.index_of(ledger)),
        };
        Ok(Outlook { wait, limit })
    }

    /// How long a request would wait that came after everybody in the queue, and for which ledger, if not for somebody
    /// before it; neither is known if it takes a slot.
    pub(super) fn wait_at_the_end(&self, amounts: &Amounts) -> (Option<Duration>, Option<usize>) {
        if self.slots > 0 && self.gate().free() <= 0 {
            return (None, None);
        }
        let now = self.clock.now();
        let (due, ledger) = self.due_at_the_end(amounts, now);
        (self.wait_until(due, now), ledger)
    }

    /// When a request would be due that came after everybody in the queue, as far as time alone decides: whether slots
    /// come back is not asked. And the ledger that it would wait for, if not for somebody before it.
    pub(super) fn due_at_the_end(&self, amounts: &Amounts, now: u64) -> (u64, Option<usize>) {
        loop {
            // Whatever the request needs itself, it comes after the head, which may wait for another limit, or go
            // when its own time is over.
            let (head, slot, settled) = match self.advance(false) {
                Front::Empty => (None, None, 0),
                Front::Blocked { ticket, slot, due } => {
                    let ends = self.waiter(slot).deadline.load(Relaxed).saturating_add(1);
                    let due = if due == u64::MAX { 0 } else { due };
                    (Some(ticket), Some(slot), due.min(ends))
                }
            };
            let (due, ledger) = self.due_after(now, slot, |ledger| {
                let queued = self.queue.get().map_or(0, |queue| {
                    let left = queue.left[ledger].load(Relaxed);
                    queue.joined[ledger].load(Relaxed).wrapping_sub(left)
                });
                (queued, self.amount(ledger, amounts))
            });
            // Whoever was granted meanwhile may have been counted twice, in the queue and in the accounts.
            if head.is_none_or(|head| self.gate().head_is(head)) {
                return match due >= settled {
                    true => (due, ledger),
                    false => (settled, None),
                };
            }
        }
    }

    /// When a request would be due if nobody were ahead of it: it is not admitted earlier, unless something comes back.
    pub(super) fn due_alone(&self, amounts: &Amounts, now: u64) -> u64 {
        self.due_after(now, None, |ledger| (0, self.amount(ledger, amounts)))
            .0
    }

    /// When the ticket in `slot` would be due, as far as time alone decides.
    pub(super) fn due_in_turn(&self, slot: usize, front: usize, now: u64) -> u64 {
        let (due, _) = self.due_after(now, Some(front), |ledger| {
            let cost = self.queue.cost(slot, ledger).load(Relaxed);
            (self.queue.before(slot, ledger), cost)
        });
        due
    }

    fn due_after(
        &self,
        now: u64,
        front: Option<usize>,
        request: impl Fn(usize) -> (u64, u64),
    ) -> (u64, Option<usize>) {
        self.ledgers().fold((now, None), |latest, ledger| {
            let (before, cost) = request(ledger);
            if cost == 0 {
                return latest;
            }
            let ahead = match front {
                Some(slot) => before.wrapping_sub(self.queue.before(slot, ledger)),
                None => 0,
            };
            // The front may have gone, and its slot have another tenant: then nothing is known to stand ahead.
            let ahead = if ahead < 1 << 60 { ahead } else { 0 };
            let line = self.line(ledger);
            let view = self.view(ledger, &line, now);
            let due = self.earliest(ledger, &line, &view, now, ahead, cost);
            match due > latest.0 {
                true => (due, Some(ledger)),
                false => latest,
            }
        })
    }
}
