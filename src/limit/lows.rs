//! Refunds that mint nothing: what a bucket would hold had a charge never been made.
//!
//! While a reservation is held its bucket refills, up to the burst and no further. Giving all of it back then would make
//! tokens that nobody was ever owed: had they not been reserved, they would have overflowed. What is right is the least
//! *debt* (what the bucket lacks) since the charge: so much of the charge has not refilled in the meantime.
//!
//! The debt is remembered in stretches of production: where each began, and the least debt in it. Nothing is noted when
//! something is charged. But charges only add to the debt; so what was charged by one look, less what has been produced
//! and given back since, is the least that it can have been until the next look. Looks are taken at refunds, when somebody
//! has to wait, and when he is admitted: whenever a bucket is in demand. A stretch ends when an eighth of a burst has
//! been produced in it, or when the debt has grown so much that its least says little.
//!
//! A refund goes through the stretches from its charge on. It is cut to the least debt of each, which it lowers by as
//! much: the stretches tell of a bucket to which those charges were never made, and so does the next refund. The charge's
//! own part of the debt is known from itself. When there are too many stretches, the oldest two become one.
//!
//! The rule, and what naive refunds admit, are in "Refunds" of ARCHITECTURE.md.

use super::account::Account;
use super::line::Line;

#[cfg(not(any(loom, shuttle)))]
use crate::sync::{Mutex, lock_soon};

const STRETCHES: usize = 16;
/// See the [module](self).
///
/// A mutex, because it is held for some ten nanoseconds, nobody sleeps for it, and no admission needs it. The model
/// checkers do without: in their models no bucket overflows, so all of a refund is right.
pub(crate) struct Lows(#[cfg(not(any(loom, shuttle)))] Mutex<Memory>);

struct Memory {
    /// Where production must be for the balance to be zero, if nothing is charged or given back after the last look.
    /// Whatever the burst is by then: it may change.
    even: i64,
    /// What had been given back before that look.
    returned: u64,
    /// The debt at that look.
    present: u64,
    /// The least debt since somebody asked for it.
    least: u64,
    /// The oldest first.
    stretches: Vec<Stretch>,
    /// The most that is produced in one.
    length: u64,
}

/// From where it begins to where the next one does.
#[derive(Clone, Copy)]
struct Stretch {
    position: u64,
    /// Tick of the look at which it began.
    tick: u64,
    /// The least debt.
    low: u64,
}

/// A charge of which something is given back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stands {
    /// When it was made, or a little before.
    pub(crate) at: u64,
    /// What of it stands.
    pub(crate) amount: u64,
}

#[cfg(not(any(loom, shuttle)))]
impl Lows {
    /// For an account that begins with a bucket, of whose units pacing has `grain` parts.
    pub(crate) fn new(account: &Account, line: &Line, grain: u64) -> Self {
        let position = line.position(line.origin());
        let mut stretches = Vec::with_capacity(STRETCHES);
        stretches.push(Stretch {
            position,
            tick: line.origin(),
            low: 0,
        });
        Self(Mutex::new(Memory {
            even: position as i64 - line.burst as i64,
            returned: account.returned(),
            present: 0,
            least: 0,
            stretches,
            length: (line.burst / 8).max(grain),
        }))
    }

    /// Notes how much the bucket lacks; not if somebody else is just doing so.
    pub(crate) fn look(&self, account: &Account, line: &Line, now: u64) {
        if let Ok(mut memory) = self.0.try_lock() {
            memory.look(account, line, now);
        }
    }

    /// Gives back `refund` of a charge, or what of it has not refilled since; says how much. Nothing, if a thread that was stopped in here
    /// keeps everybody out: too little is safe.
    pub(crate) fn refund(
        &self,
        account: &Account,
        line: &Line,
        now: u64,
        charge: Stands,
        refund: u64,
    ) -> u64 {
        let Some(mut memory) = lock_soon(&self.0) else {
            return 0;
        };
        memory.look(account, line, now);
        let credit = memory.lower(line, now, charge, refund);
        account.refund(credit);
        credit
    }

    /// The least debt since this was last asked; `None` if somebody is stopped in here, and then the next answer tells.
    pub(crate) fn least(&self, account: &Account, line: &Line, now: u64) -> Option<u64> {
        let mut memory = lock_soon(&self.0)?;
        memory.look(account, line, now);
        let present = memory.present;
        Some(std::mem::replace(&mut memory.least, present))
    }

    /// Gives back `amount` of what has been charged at various times, or what of it has stood ever since
    /// [`least`](Self::least) was asked; says how much.
    pub(crate) fn give_back(&self, account: &Account, line: &Line, now: u64, amount: u64) -> u64 {
        let Some(mut memory) = lock_soon(&self.0) else {
            return 0;
        };
        memory.look(account, line, now);
        let credit = memory.least.min(amount);
        memory.least -= credit;
        // Which of them began before the charges is not known: too little is safe.
        for stretch in &mut memory.stretches {
            stretch.low = stretch.low.saturating_sub(credit);
        }
        account.refund(credit);
        credit
    }
}

#[cfg(any(loom, shuttle))]
impl Lows {
    pub(crate) fn new(_: &Account, _: &Line, _: u64) -> Self {
        Self()
    }

    pub(crate) fn look(&self, _: &Account, _: &Line, _: u64) {}

    pub(crate) fn refund(
        &self,
        account: &Account,
        _: &Line,
        _: u64,
        _: Stands,
        refund: u64,
    ) -> u64 {
        account.refund(refund);
        refund
    }

    pub(crate) fn least(&self, account: &Account, line: &Line, now: u64) -> Option<u64> {
        Some((line.burst as i64 - account.view(line, now).balance).unsigned_abs())
    }

    pub(crate) fn give_back(&self, account: &Account, _: &Line, _: u64, amount: u64) -> u64 {
        account.refund(amount);
        amount
    }
}

impl Memory {
    fn look(&mut self, account: &Account, line: &Line, now: u64) {
        let produced = line.position(now);
        if produced < self.last().position {
            // Another thread's clock is ahead, which has told more.
            return;
        }
        // Before the view: what is given back in between counts twice, lest it count too little.
        let returned = account.returned();
        let balance = account.view(line, now).balance;
        let (produced_now, burst) = (produced as i64, line.burst as i64);
        let present = (burst - balance).unsigned_abs();
        let since = Account::distance(self.returned, returned) as i64;
        let least = (self.even - since + burst - produced_now).max(0) as u64;
        self.least = self.least.min(least).min(present);
        let last = self.last();
        last.low = last.low.min(least);
        let (position, low) = (last.position, last.low);
        if produced == position {
            // Whatever was charged here is in this debt, and what came before is cut to the stretch before.
            last.low = present;
        } else if produced - position >= self.length || present.saturating_sub(low) >= self.length {
            self.begin(Stretch {
                position: produced,
                tick: now,
                low: present,
            });
        }
        (self.even, self.returned) = (produced_now - balance, returned);
        self.present = present;
    }

    fn last(&mut self) -> &mut Stretch {
        self.stretches.last_mut().expect("there is always one")
    }

    fn begin(&mut self, next: Stretch) {
        if self.stretches.len() == STRETCHES {
            let oldest = self.stretches.remove(0);
            let second = &mut self.stretches[0];
            *second = Stretch {
                low: oldest.low.min(second.low),
                ..oldest
            };
        }
        self.stretches.push(next);
    }

    /// How much of `refund` has not refilled since the charge; it is taken out of what is remembered.
    fn lower(&mut self, line: &Line, now: u64, charge: Stands, refund: u64) -> u64 {
        let began_by = |begun: &dyn Fn(&Stretch) -> bool| self.stretches.iter().rposition(begun);
        let (first, since) = match charge.at >= line.origin() {
            true => {
                let since = line.position(charge.at);
                (began_by(&|stretch| stretch.position <= since), since)
            }
            // Under a former line, whose positions are not known; but when each stretch began.
            false => {
                let first = began_by(&|stretch| stretch.tick <= charge.at);
                (
                    first,
                    first.map_or(0, |first| self.stretches[first].position),
                )
            }
        };
        let Some(first) = first else {
            return 0;
        };
        let mut credit = refund;
        for index in first..self.stretches.len() {
            let end = match self.stretches.get(index + 1) {
                Some(next) => next.position,
                None => line.position(now),
            };
            // Whatever else happens, the charge itself leaves so much debt.
            let own = charge.amount.saturating_sub(end.saturating_sub(since));
            let low = &mut self.stretches[index].low;
            credit = credit.min(own.max(*low));
            *low = low.saturating_sub(credit);
        }
        credit
    }
}
