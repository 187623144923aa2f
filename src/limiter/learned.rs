//! What providers say, turned into limits: their true size, and what is left of them.
//!
//! An answer tells how a limit stood when the provider counted its request, which is between admission and answer, often
//! long ago. So it is compared with how the ledger stood then ([`journal`](super::journal)), and only the difference
//! is corrected. Replies may come late and in any order:
//!
//! 1. A limit that is told twice in a row replaces the configured one; upwards only if that is
//!    [allowed](super::Builder::raise_limits).
//! 2. Less left than there can be by the ledger is charged, from every reply.
//! 3. More left than there can be gives back what such charges have taken, half of it at a time, from the newest reply only.
//! 4. What is configured is only a guess if it may be raised. So half of it waits for the first answer, whose limits are believed
//!    at once: the requests of a first burst are all on their way before anything can be learned from one of them.
//!
//! What refusals say is in [`refused`](super::refused).

use super::adapt::Share;
use super::build::Entry;
use super::journal::{Journal, Sample};
use super::{Core, LONGEST_PAUSE, MAX_LIMITS, Mode};
use crate::feedback::Quota;
use crate::limit::line::Line;
use crate::limit::lows::Stands;
use crate::limit::{Cost, Oversize, Quota as Rule};
use std::time::Duration;

/// A step of the reserve is this part of a bucket, or a unit. It lets nobody wait in the long run, because the provider's bucket refills
/// as fast with it as without; and it takes in what others use until it is known, and requests that arrive in another order
/// than they were admitted.
const STEPS: i64 = 64;
/// The reserve is at most this part of a bucket.
pub(super) const MOST_RESERVED: i64 = 4;

/// What was learned of all limits.
pub(super) struct Learned {
    pub(super) ledgers: [Option<Known>; MAX_LIMITS],
    pub(super) slots: Slots,
}

/// What was learned of one limit.
pub(super) struct Known {
    /// As configured.
    amount: u64,
    burst: u64,
    /// What the provider says instead.
    pub(super) told: u64,
    /// What it has said last, not yet believed.
    heard: u64,
    pub(super) share: Share,
    pub(super) journal: Journal,
    pub(super) corrected: i64,
    /// Whether requests larger than the limit are admitted when it is full, as configured.
    oversize: Oversize,
    /// What nobody gets before the first answer.
    pub(super) unproven: Stands,
    /// What is left to the provider, because others use it or requests meet in another order.
    pub(super) reserve: i64,
    /// When it was last enlarged, or made smaller.
    pub(super) reserved: u64,
    /// When the request was admitted whose answer was the newest to give something back.
    newest: u64,
    /// The shortest time from an admission to its answer, in ticks.
    pub(super) nearest: u64,
    /// Since the queue was told.
    pub(super) changed: bool,
}

/// What was learned of the number in flight.
#[derive(Default)]
pub(super) struct Slots {
    pub(super) configured: u64,
    pub(super) now: u64,
    pub(super) since: u64,
    pub(super) answers: u64,
    pub(super) changed: bool,
}

impl Learned {
    pub(super) fn new(entries: &[Entry], now: u64) -> Self {
        let mut learned = Self {
            ledgers: [const { None }; MAX_LIMITS],
            slots: Slots::default(),
        };
        for entry in entries {
            match entry {
                Entry::Quota(quota, ledger) => {
                    learned.ledgers[*ledger] = Some(Known::new(quota, now));
                }
                Entry::InFlight(slots) => learned.configure_slots(*slots),
            }
        }
        learned
    }

    /// Whether something was changed that the queue has not been told.
    pub(super) fn take_changed(&mut self) -> bool {
        let ledgers = self.ledgers.iter_mut().flatten();
        let changed = ledgers.fold(false, |changed, known| {
            changed | std::mem::take(&mut known.changed)
        });
        changed | std::mem::take(&mut self.slots.changed)
    }

    /// Somebody has set the limit of a ledger by hand.
    pub(super) fn configure(&mut self, ledger: usize, amount: u64, burst: u64) {
        if let Some(known) = &mut self.ledgers[ledger] {
            (known.amount, known.told, known.heard, known.burst) = (amount, amount, amount, burst);
            (known.share, known.reserve, known.unproven.amount) = (Share::all(), 0, 0);
        }
    }

    /// What becomes of a request larger than the limit, as configured.
    pub(super) fn oversize(&self, ledger: usize) -> Option<Oversize> {
        self.ledgers[ledger].as_ref().map(|known| known.oversize)
    }

    pub(super) fn mode(&self, ledger: usize, is_paused: bool) -> Mode {
        let share = self.ledgers[ledger].as_ref().map(|known| &known.share);
        match share {
            _ if is_paused => Mode::Throttled,
            Some(share) => share.mode(),
            None => Mode::Normal,
        }
    }

    pub(super) fn slots_mode(&self) -> Mode {
        match self.slots.now < self.slots.configured {
            true => Mode::Recovering,
            false => Mode::Normal,
        }
    }

    pub(super) fn configure_slots(&mut self, slots: u64) {
        (self.slots.configured, self.slots.now) = (slots, slots);
    }
}

impl Known {
    fn new(quota: &Rule, now: u64) -> Self {
        Self {
            amount: quota.amount,
            burst: quota.holds(),
            told: quota.amount,
            heard: quota.amount,
            share: Share::all(),
            journal: Journal::new(Sample {
                tick: now,
                full: 0,
                corrected: 0,
            }),
            corrected: 0,
            oversize: quota.oversize,
            unproven: Stands { at: now, amount: 0 },
            reserve: 0,
            reserved: 0,
            newest: 0,
            nearest: u64::MAX,
            changed: false,
        }
    }
}

impl Core {
    /// Half of what there is waits for the first answer. Not of pacing, which has no bursts.
    pub(super) fn doubt(&self, learned: &mut Learned, now: u64) {
        for ledger in self.ledgers() {
            let line = self.line(ledger);
            let Some(known) = learned.ledgers[ledger].as_mut().filter(|_| line.burst > 0) else {
                continue;
            };
            let half = self.view(ledger, &line, now).balance.max(0) as u64 / 2;
            known.unproven.amount = half;
            if !is_bucket(&line) {
                self.charge(ledger, half);
                continue;
            }
            // As if the provider had said so.
            self.correct(known, ledger, half as i64);
            known.journal = Journal::new(Sample {
                tick: now,
                full: self.full(ledger, &line, now),
                corrected: known.corrected,
            });
        }
    }

    /// The first answer has told what it can about a limit: nothing waits for it any more.
    pub(super) fn believe(&self, known: &mut Known, ledger: usize) {
        let half = std::mem::take(&mut known.unproven.amount);
        if half == 0 {
            return;
        }
        known.changed = true;
        let line = self.line(ledger);
        if !is_bucket(&line) {
            // What was used of it stays used if it has become smaller.
            self.refund(ledger, half, known.unproven);
            return;
        }
        // One that has become smaller has kept what it had, and lacks less.
        let lacks = half.saturating_sub(known.burst.saturating_sub(line.burst));
        let given = self.refund(ledger, lacks, known.unproven);
        known.corrected -= half as i64;
        known.journal.forget((half - given) as i64);
    }

    pub(super) fn full(&self, ledger: usize, line: &Line, now: u64) -> u64 {
        let lacks = line.burst as i64 - self.view(ledger, line, now).balance;
        line.position(now).saturating_add_signed(lacks.max(0))
    }

    pub(super) fn note(&self, learned: &mut Learned, ledger: usize, now: u64) {
        let line = self.line(ledger);
        let Some(known) = learned.ledgers[ledger]
            .as_mut()
            .filter(|_| is_bucket(&line))
        else {
            return;
        };
        let full = self.full(ledger, &line, now);
        self.forget(known, ledger, &line, now);
        known.journal.note(Sample {
            tick: now,
            full,
            corrected: known.corrected,
        });
    }

    /// What a bucket did not lack at any time since it was last asked it has forgotten.
    fn forget(&self, known: &mut Known, ledger: usize, line: &Line, now: u64) {
        let account = self.account(ledger);
        let least = self.lows[ledger].least(account, line, now);
        let lacks = line.burst as i64 - account.view(line, now).balance;
        let forgotten = known.corrected - least.map_or(lacks, |least| least as i64);
        if forgotten > 0 {
            known.corrected -= forgotten;
            known.journal.forget(forgotten);
        }
    }

    /// The limit is what the provider says, if it says so twice.
    pub(super) fn follow(&self, known: &mut Known, ledger: usize, quota: &Quota) {
        let Some(limit) = quota.limit.filter(|limit| (1..=Cost::MAX).contains(limit)) else {
            return;
        };
        let told = if self.raises {
            limit
        } else {
            limit.min(known.amount)
        };
        let is_guess = known.unproven.amount > 0;
        let is_believed = std::mem::replace(&mut known.heard, told) == told || is_guess;
        if is_believed && known.told != told {
            let before = std::mem::replace(&mut known.told, told);
            if !self.apply(known, ledger) {
                known.told = before;
            }
        }
    }

    /// Retunes a ledger to what was learned. Says whether that can be.
    pub(super) fn apply(&self, known: &mut Known, ledger: usize) -> bool {
        known.changed = true;
        let scaled = u128::from(known.burst) * u128::from(known.told) / u128::from(known.amount);
        let burst = match known.burst {
            0 => 0,
            burst if known.told <= known.amount => burst.min(known.told),
            _ => u64::try_from(scaled)
                .unwrap_or(u64::MAX)
                .clamp(1, Cost::MAX),
        };
        let retuned = self.retune_line(self.index_of(ledger), |quota| {
            let amount = known.share.of(known.told);
            // Whoever asks for more than was told may find out that it was wrong.
            quota.oversize = match known.told < known.amount {
                true => Oversize::WhenFull,
                false => known.oversize,
            };
            let is_window = quota.extent().is_some();
            (
                amount,
                quota.period_ns,
                if is_window { amount } else { burst },
            )
        });
        // How it stood with another burst is another matter.
        let now = self.clock.now();
        known.journal = Journal::new(Sample {
            tick: now,
            full: self.full(ledger, &self.line(ledger), now),
            corrected: known.corrected,
        });
        retuned.is_ok()
    }

    /// What the provider had left behind a request that was admitted at `at`, against the ledger.
    pub(super) fn compare(
        &self,
        known: &mut Known,
        ledger: usize,
        cost: u64,
        at: u64,
        quota: &Quota,
    ) {
        let line = self.line(ledger);
        let (Some(remaining), Some(limit)) = (quota.remaining, quota.limit) else {
            return;
        };
        if !is_bucket(&line) || limit != known.told {
            return;
        }
        let Some(left) = known.journal.balance(&line, at, known.nearest, cost) else {
            return;
        };
        let remaining = remaining as i64 - known.reserve.min(line.burst as i64 / MOST_RESERVED);
        if remaining < left.low {
            self.correct(known, ledger, left.low - remaining);
        } else if remaining > left.high.saturating_add(step(&line)) && at >= known.newest {
            known.newest = at;
            let back = ((remaining - left.high + 1) / 2).min(known.corrected);
            self.give_back(known, ledger, back);
        }
    }

    /// Gives back what was charged because the provider said so; what has refilled since is there already.
    fn give_back(&self, known: &mut Known, ledger: usize, back: i64) {
        if back > 0 {
            let (now, line) = (self.clock.now(), self.line(ledger));
            let lows = &self.lows[ledger];
            let given = lows.give_back(self.account(ledger), &line, now, back as u64);
            known.corrected -= given as i64;
            known.changed = true;
        }
    }

    /// Nobody waits for longer than [`LONGEST_PAUSE`] because of what was said, also if the rate is another one since.
    pub(super) fn bound(&self, learned: &mut Learned, ledger: usize) {
        let (line, now) = (self.line(ledger), self.clock.now());
        let Some(known) = learned.ledgers[ledger]
            .as_mut()
            .filter(|_| is_bucket(&line))
        else {
            return;
        };
        let longest = self.scale.duration_to_ticks(LONGEST_PAUSE);
        let most = line.position(now.saturating_add(longest)) - line.position(now);
        let balance = self.view(ledger, &line, now).balance;
        let back = (-(most as i64) - balance).min(known.corrected);
        if back > 0 {
            known.corrected -= back;
            known.changed = true;
            self.account(ledger).refund(back as u64);
        }
    }

    pub(super) fn correct(&self, known: &mut Known, ledger: usize, by: i64) {
        if by > 0 {
            self.forget(known, ledger, &self.line(ledger), self.clock.now());
            known.corrected += by;
            known.changed = true;
            self.charge(ledger, by as u64);
            // From here on it is lacking, and not before.
            let (line, now) = (self.line(ledger), self.clock.now());
            self.lows[ledger].least(self.account(ledger), &line, now);
        }
    }
}

/// The period of a limit. What it says itself comes first: what follows from its numbers may do so by chance, when it is a
/// window whose whole amount comes back at its end.
pub(super) fn stated(quota: &Quota) -> Option<Duration> {
    quota.window.or(quota.period())
}

/// A step of the reserve; what is left is not known better than that.
pub(super) fn step(line: &Line) -> i64 {
    (line.burst as i64 / STEPS).max(1)
}

/// Neither pacing nor windows: what is left of those is not what a provider means by it.
pub(super) fn is_bucket(line: &Line) -> bool {
    line.windows.is_none() && line.burst > 0
}
