//! The ledger of a token bucket: what was charged and what was given back, against a production line.
//!
//! ```text
//! charged    63                                        12 11          0
//!            | position: tokens charged so far, mod 2^52 | tag: 12     |
//!
//! returned   63                                        12 11          0
//!            | position: tokens given back,     mod 2^52 | epoch: 12   |
//! ```
//!
//! `balance = min(burst, produced - (charged - returned))`. Three properties carry the protocol:
//!
//! * `charged` only grows. A refund goes to `returned` by one `fetch_add`, wait-free. So a stale
//!   compare-exchange on `charged` cannot mistake "charged and refunded" for "not charged".
//! * An idle bucket is clamped when it is next *charged* ("produced" runs on, the excess over `burst` is
//!   forgotten by lifting `charged`), never by a timer and never in cases on elapsed time.
//! * `tag` belongs to whoever owns the account. In a limiter it is the number of the last ticket that passed
//!   the queue, which makes paying for a ticket idempotent; in a bare bucket it is the number of the line.
//!
//! Positions are compared modulo 2^52, which is ambiguous once a bucket has been idle for 2^51 tokens of
//! production (26 days at 10^9/s, 71 years at 10^6/s). `epoch` is the cure: the low 12 bits of
//! `produced / 2^48` when the account was last looked at; looking at it in a new epoch clamps it. Whoever finds the
//! epoch [`IDLE_EPOCHS`] behind knows that the bucket is full. (The epoch itself wraps around after 2^60 tokens: a
//! bucket of 10^9/s that nobody has looked at for 18 years may refuse for weeks. It never admits too much.)
//!
//! The ledger in token space is the dual of GCRA's theoretical arrival time: same single word, but costs are
//! exact integers and a change of rate does not re-price what is outstanding.

use super::line::Line;
use crate::error::OutOfRange;
use crate::sync::{AcqRel, Acquire, AtomicU64};

/// Bits of the tag and of the epoch. Tests run with a tiny tag too, so that it wraps all the time.
#[cfg(not(llmrl_tiny))]
pub(crate) const TAG_BITS: u32 = 12;
#[cfg(llmrl_tiny)]
pub(crate) const TAG_BITS: u32 = 6;

pub(crate) const TAG_MASK: u64 = (1 << TAG_BITS) - 1;
const POSITION_BITS: u32 = 64 - TAG_BITS;
/// Production is cut into epochs of 2^48 tokens.
const EPOCH_SHIFT: u32 = 48;
/// Charges are at most 2^48 ahead of production, so after this many epochs a bucket is full.
const IDLE_EPOCHS: i64 = 4;
/// The deepest debt. Charges that would go beyond leave the balance here.
pub(crate) const MAX_DEBT: i64 = 1 << 47;

/// See the [module](self).
pub(crate) struct Account {
    charged: AtomicU64,
    returned: AtomicU64,
}

/// What an account showed at one reading of the clock.
#[derive(Clone, Copy, Default)]
pub(crate) struct View {
    /// The `charged` word that was read: the expected value of the charge that follows.
    word: u64,
    /// Tokens that can be spent; negative is debt.
    pub(crate) balance: i64,
    /// Production beyond a full bucket, forfeited by the next charge.
    excess: u64,
    /// By how much a charge begins later than it could have, for pacing; else 0.
    late: u64,
    /// In which window a charge counts, for limits that have windows; else 0.
    pub(crate) stamp: u64,
}

impl View {
    /// What can be charged in the window `stamp`.
    pub(crate) fn of_window(word: u64, balance: i64, stamp: u64) -> Self {
        Self {
            word,
            balance,
            excess: 0,
            late: 0,
            stamp,
        }
    }

    /// The same for pacing, which begins a distance when it admits, not when it could have admitted.
    pub(crate) fn paced(self, line: &Line, now: u64) -> Self {
        let late = match self.balance < 0 {
            true => 0,
            false => line.upcoming(now) - line.position(now),
        };
        Self { late, ..self }
    }

    /// Whether `cost` is covered.
    ///
    /// The oversize rule is part of it: a cost above the burst is covered by a full bucket, if the limit says so.
    #[inline(always)]
    pub(crate) fn covers(&self, cost: u64, line: &Line) -> bool {
        self.balance >= cost as i64 || line.admit_oversize && self.balance >= line.burst as i64
    }
}

/// The balance at which `cost` is admitted.
#[inline(always)]
pub(crate) fn need(cost: u64, line: &Line) -> u64 {
    if line.admit_oversize {
        cost.min(line.burst)
    } else {
        cost
    }
}

impl Account {
    /// An account with `balance` tokens (negative is debt) against a line that starts at `position`.
    pub(crate) fn new(position: u64, balance: i64) -> Self {
        let epoch = position >> EPOCH_SHIFT & TAG_MASK;
        Self {
            // All ones: the tag of the ticket before the first.
            charged: AtomicU64::new(position.wrapping_sub(balance as u64) << TAG_BITS | TAG_MASK),
            returned: AtomicU64::new(epoch),
        }
    }

    /// The state against `line` at tick `now`.
    ///
    /// A `now` that is older than another thread's only lowers the balance.
    #[inline(always)]
    pub(crate) fn view(&self, line: &Line, now: u64) -> View {
        let produced = line.position(now);
        loop {
            // What was given back is read before what was charged: a refund that is counted must not be of a
            // charge that is not.
            let returned = self.returned.load(Acquire);
            let word = self.charged.load(Acquire);
            if epochs_behind(returned, produced) > 0 {
                self.enter_epoch(word, produced, line.burst);
                continue;
            }
            let net = (word >> TAG_BITS).wrapping_sub(returned >> TAG_BITS);
            let balance = signed_position(produced.wrapping_sub(net));
            let burst = line.burst as i64;
            return View {
                word,
                balance: balance.min(burst),
                excess: (balance - burst).max(0) as u64,
                late: 0,
                stamp: 0,
            };
        }
    }

    /// Notes the epoch of `produced`, after forgetting what has overflowed: the note vouches for `charged` not
    /// being far behind. Whatever happens, the account must be read again.
    #[cold]
    #[inline(never)]
    fn enter_epoch(&self, word: u64, produced: u64, burst: u64) {
        // Read again, after `word`: a charge is preceded by the note of its epoch, so whoever has seen the charge sees
        // the note, and does not take a busy account for an idle one.
        let returned = self.returned.load(Acquire);
        if epochs_behind(returned, produced) <= 0 {
            return;
        }
        let full = produced
            .wrapping_sub(burst)
            .wrapping_add(returned >> TAG_BITS);
        let behind = signed_position(full.wrapping_sub(word >> TAG_BITS));
        if behind > 0 || epochs_behind(returned, produced) >= IDLE_EPOCHS {
            let clamped = full << TAG_BITS | word & TAG_MASK;
            if self
                .charged
                .compare_exchange(word, clamped, AcqRel, Acquire)
                .is_err()
            {
                return;
            }
        }
        let noted = returned & !TAG_MASK | produced >> EPOCH_SHIFT & TAG_MASK;
        let _ = self
            .returned
            .compare_exchange(returned, noted, AcqRel, Acquire);
    }

    /// Charges `cost` if nothing changed since `view`. The caller has checked that it is covered, or does
    /// not care. Gives the new word, or nothing if the account moved.
    #[inline(always)]
    pub(crate) fn charge_at(&self, view: &View, cost: u64, tag: Option<u64>) -> Result<u64, u64> {
        let late = if cost > 0 { view.late } else { 0 };
        let mut next = view
            .word
            .wrapping_add((view.excess + late + cost) << TAG_BITS);
        if let Some(tag) = tag {
            next = next & !TAG_MASK | tag;
        }
        self.charged
            .compare_exchange(view.word, next, AcqRel, Acquire)
            .map(|_| next)
    }

    /// Charges whatever the balance is, down to [`MAX_DEBT`] below zero.
    pub(crate) fn charge(&self, line: &Line, now: u64, cost: u64) {
        loop {
            let view = self.view(line, now);
            let cost = cost.min((view.balance + MAX_DEBT).max(0) as u64);
            if self.charge_at(&view, cost, None).is_ok() {
                return;
            }
        }
    }

    /// Charges an account that nobody looks at yet.
    pub(crate) fn charge_unseen(&self, amount: u64) {
        self.charged.fetch_add(amount << TAG_BITS, AcqRel);
    }

    /// Gives `amount` back. Above the burst it is forgotten, when it is next looked at.
    #[inline(always)]
    pub(crate) fn refund(&self, amount: u64) {
        self.returned.fetch_add(amount << TAG_BITS, AcqRel);
    }

    /// Takes back a charge whose outcome was the word `charged`, as if it had never been made.
    ///
    /// What the bucket would have overflowed in the meantime, had the charge not been made, is not given
    /// back: a full bucket stays at its burst, it does not jump above what a window allows. Refunds of others that
    /// came since count as if they had been there before, so a full bucket may lose up to `cost`: too little is
    /// safe, and exact is not known.
    #[cold]
    #[inline(never)]
    pub(crate) fn undo(&self, line: &Line, now: u64, charged: u64, cost: u64) {
        let returned = self.returned.load(Acquire) >> TAG_BITS;
        let before = (charged >> TAG_BITS)
            .wrapping_sub(cost)
            .wrapping_sub(returned);
        let balance = signed_position(line.position(now).wrapping_sub(before));
        let overflow = (balance - line.burst as i64).clamp(0, cost as i64) as u64;
        self.refund(cost - overflow);
    }

    /// Forgets production beyond `line.burst`, so that a larger burst does not bring it back.
    pub(crate) fn clamp(&self, line: &Line, now: u64) {
        loop {
            let view = self.view(line, now);
            if view.excess == 0 || self.charge_at(&view, 0, None).is_ok() {
                return;
            }
        }
    }

    /// Whether the last ticket that passed here is the one of `tag`.
    #[inline(always)]
    pub(crate) fn is_tagged(view: &View, tag: u64) -> bool {
        view.word & TAG_MASK == tag
    }

    /// What was given back, modulo 2^52.
    pub(super) fn returned(&self) -> u64 {
        self.returned.load(Acquire) >> TAG_BITS
    }

    /// From one such position to a later one.
    pub(super) fn distance(from: u64, to: u64) -> u64 {
        signed_position(to.wrapping_sub(from)).max(0) as u64
    }

    /// The `charged` word, for a history of it.
    #[inline(always)]
    pub(super) fn word(&self) -> u64 {
        self.charged.load(Acquire)
    }

    /// Leaves another tag, for an owner without tickets: every charge that is under way fails then. `tag` is asked behind
    /// the reading of the word. Says whether the tag is there; it is not if the account has moved in between.
    pub(crate) fn retag(&self, tag: impl FnOnce() -> u64) -> bool {
        let word = self.word();
        let next = word & !TAG_MASK | tag();
        let charged = &self.charged;
        next == word
            || charged
                .compare_exchange(word, next, AcqRel, Acquire)
                .is_ok()
    }
}

impl View {
    /// First tick at which `cost` would be covered, if nothing else happened; `u64::MAX` is never.
    /// `ahead` is charged before.
    #[inline(always)]
    pub(crate) fn earliest(&self, line: &Line, now: u64, ahead: u64, cost: u64) -> u64 {
        let target = ahead as i64 + need(cost, line) as i64 - self.balance;
        // The balance at `now` counts from the production at `now`.
        match u64::try_from(target) {
            Ok(missing) if missing > 0 => line.earliest(line.position(now).saturating_add(missing)),
            _ => now,
        }
    }
}

/// Sign-extends a difference of positions.
#[inline(always)]
pub(crate) fn signed_position(difference: u64) -> i64 {
    (difference << TAG_BITS) as i64 >> TAG_BITS
}

/// How many epochs the note in `returned` is behind `produced`; negative for an old reading of the clock.
#[inline(always)]
fn epochs_behind(returned: u64, produced: u64) -> i64 {
    let behind = (produced >> EPOCH_SHIFT).wrapping_sub(returned);
    (behind << POSITION_BITS) as i64 >> POSITION_BITS
}

/// A cost above the burst that the limit does not admit in debt.
#[inline(always)]
pub(crate) fn never_fits(line: &Line, cost: u64) -> bool {
    cost > line.burst && !line.admit_oversize
}

/// Checks an amount of tokens.
pub(crate) fn check_amount(amount: u64) -> Result<(), OutOfRange> {
    OutOfRange::check("tokens", amount, 0, super::Cost::MAX)
}

#[cfg(all(test, loom))]
mod tests {
    use super::*;
    use crate::sync::Arc;

    /// A charge that is given back again never makes the account look richer than it was.
    #[test]
    fn a_refund_is_not_seen_without_its_charge() {
        loom::model(|| {
            let line = Line::default_for_tests();
            let account = Arc::new(Account::new(1 << 49, 1));
            // The one who looks is the second thread. It runs last, and may read the words as they were at any time;
            // whereas loom does not run an exchange before another thread's load if its own thread has loaded too.
            let looker = {
                let account = account.clone();
                loom::thread::spawn(move || assert!(account.view(&line, 0).balance <= 1))
            };
            let view = account.view(&line, 0);
            account.charge_at(&view, 1, None).unwrap();
            account.refund(1);
            looker.join().unwrap();
            assert_eq!(account.view(&line, 0).balance, 1);
        });
    }
}
