//! When somebody would be due who stands behind others, as far as time alone decides. Estimates: they say when to look
//! again, and which deadlines are hopeless; nothing is admitted by them.

use super::Core;
use super::queue::Front;
use crate::limit::Amounts;
use crate::sync::Relaxed;

impl Core {
    /// When a request would be due that came after everybody in the queue, as far as time alone decides: whether slots
    /// come back is not asked.
    pub(super) fn due_at_the_end(&self, amounts: &Amounts, now: u64) -> u64 {
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
            let due = self.due_after(now, slot, |ledger| {
                let joined = self.queue.joined[ledger].load(Relaxed);
                let left = self.queue.left[ledger].load(Relaxed);
                (joined.wrapping_sub(left), self.amount(ledger, amounts))
            });
            // Whoever was granted meanwhile may have been counted twice, in the queue and in the accounts.
            if head.is_none_or(|head| self.gate().head_is(head)) {
                return due.max(settled);
            }
        }
    }

    /// When a request would be due if nobody were ahead of it: it is not admitted earlier, unless something comes back.
    pub(super) fn due_alone(&self, amounts: &Amounts, now: u64) -> u64 {
        self.due_after(now, None, |ledger| (0, self.amount(ledger, amounts)))
    }

    /// When the ticket in `slot` would be due, as far as time alone decides.
    pub(super) fn due_in_turn(&self, slot: usize, front: usize, now: u64) -> u64 {
        self.due_after(now, Some(front), |ledger| {
            let cost = self.queue.cost(slot, ledger).load(Relaxed);
            (self.queue.before(slot, ledger), cost)
        })
    }

    fn due_after(
        &self,
        now: u64,
        front: Option<usize>,
        request: impl Fn(usize) -> (u64, u64),
    ) -> u64 {
        self.ledgers().fold(now, |due, ledger| {
            let (before, cost) = request(ledger);
            if cost == 0 {
                return due;
            }
            let ahead = match front {
                Some(slot) => before.wrapping_sub(self.queue.before(slot, ledger)),
                None => 0,
            };
            // The front may have gone, and its slot have another tenant: then nothing is known to stand ahead.
            let ahead = if ahead < 1 << 60 { ahead } else { 0 };
            let line = self.line(ledger);
            let view = self.view(ledger, &line, now);
            due.max(self.earliest(ledger, &line, &view, now, ahead, cost))
        })
    }
}
