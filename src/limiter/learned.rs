//! What providers say, turned into limits: their true size, what is left of them, and pauses.
//!
//! An answer tells how a limit stood when the provider counted its request, which is between admission and answer, often
//! long ago. So it is compared with how the ledger stood then ([`journal`](super::journal)), and only the difference
//! is corrected. Replies may come late and in any order:
//!
//! 1. A limit that is told twice in a row replaces the configured one; upwards only if that is
//!    [allowed](super::Builder::raise_limits).
//! 2. Less left than there can be by the ledger is charged, from every reply.
//! 3. More left than there can be gives back what such charges have taken, half of it at a time, from the newest reply only.
//! 4. A refusal that says how long to wait tells exactly what is left: the request's cost less what is produced until then.
//!    Limits that are no buckets are paused for so long instead. Only the limit that has refused; requests that cost nothing
//!    there go on. All refusals of one moment say the same, so it does not matter how many come.
//! 5. A refusal that does not say what the limit is makes the rate feel its way ([`adapt`](super::adapt)).

use super::adapt::Share;
use super::build::Entry;
use super::journal::{Journal, Sample};
use super::{Core, LONGEST_PAUSE, MAX_LIMITS, Mode};
use crate::feedback::{Axis, Quota, Reading};
use crate::limit::line::Line;
use crate::limit::{Amounts, Cost, Quota as Rule};
use std::time::Duration;

/// When a refusal says nothing about time.
pub(super) const UNSAID: Duration = Duration::from_secs(1);
/// A step of the reserve is this part of a bucket. It lets nobody wait in the long run, because the provider's bucket refills
/// as fast with it as without; and it takes in what others use until it is known, and requests that arrive in another order
/// than they were admitted.
const STEPS: i64 = 64;
/// The reserve is at most this part of a bucket.
const MOST_RESERVED: i64 = 4;
/// Without a refusal for so long, the reserve is made smaller by an eighth.
const CALM: Duration = Duration::from_secs(30);
/// What is stated to be counted over less than this is counted in windows.
const SHORTEST: Duration = Duration::from_secs(60);
/// A limit that is back sooner is one of short windows.
const STEP: Duration = Duration::from_secs(2);
/// How far back use is looked at.
const RECENT: Duration = Duration::from_secs(10);

/// Which ledgers keep what was charged.
pub(super) type Kept = [bool; MAX_LIMITS];

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
    told: u64,
    /// What it has said last, not yet believed.
    heard: u64,
    share: Share,
    journal: Journal,
    corrected: i64,
    /// What is left to the provider, because others use it or requests meet in another order.
    reserve: i64,
    /// When it was last enlarged, or made smaller.
    reserved: u64,
    /// When the request was admitted whose answer was the newest to give something back.
    newest: u64,
    /// The shortest time from an admission to its answer, in ticks.
    pub(super) nearest: u64,
    /// Since the queue was told.
    changed: bool,
}

/// What was learned of the number in flight.
#[derive(Default)]
pub(super) struct Slots {
    configured: u64,
    now: u64,
    since: u64,
    answers: u64,
    changed: bool,
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
            known.share = Share::all();
        }
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
            reserve: 0,
            reserved: 0,
            newest: 0,
            nearest: u64::MAX,
            changed: false,
        }
    }
}

impl Core {
    fn full(&self, ledger: usize, line: &Line, now: u64) -> u64 {
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
        // A full bucket has forgotten all corrections, too.
        let lacks = full.saturating_sub(line.position(now));
        known.corrected = known.corrected.min(lacks as i64);
        known.journal.note(Sample {
            tick: now,
            full,
            corrected: known.corrected,
        });
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
        if std::mem::replace(&mut known.heard, told) == told && known.told != told {
            let before = std::mem::replace(&mut known.told, told);
            if !self.apply(known, ledger) {
                known.told = before;
            }
        }
    }

    /// Retunes a ledger to what was learned. Says whether that can be.
    fn apply(&self, known: &mut Known, ledger: usize) -> bool {
        known.changed = true;
        let scaled = u128::from(known.burst) * u128::from(known.told) / u128::from(known.amount);
        let burst = match known.burst {
            0 => 0,
            _ => u64::try_from(scaled)
                .unwrap_or(u64::MAX)
                .clamp(1, Cost::MAX),
        };
        let retuned = self.retune_line(self.index_of(ledger), |quota| {
            let amount = known.share.of(known.told);
            let is_window = quota.extent().is_some();
            (
                amount,
                quota.period_ns,
                if is_window { amount } else { burst },
            )
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
        let remaining = remaining as i64 - known.reserve;
        if remaining < left.low {
            self.correct(known, ledger, left.low - remaining);
        } else if remaining > left.high.saturating_add(line.burst as i64 / STEPS)
            && at >= known.newest
        {
            known.newest = at;
            let back = ((remaining - left.high + 1) / 2).min(known.corrected);
            if back > 0 {
                known.corrected -= back;
                known.changed = true;
                self.account(ledger).refund(back as u64);
            }
        }
    }

    fn correct(&self, known: &mut Known, ledger: usize, by: i64) {
        if by > 0 {
            known.corrected += by;
            known.changed = true;
            self.charge(ledger, by as u64);
        }
    }

    /// A request was refused. What it has taken from what has refused it is not given back: at least so much apart, ledger
    /// and provider do not meet again at once.
    pub(super) fn refused(
        &self,
        learned: &mut Learned,
        charged: &Amounts,
        at: u64,
        reading: &Reading,
    ) -> Kept {
        let mut kept = Kept::default();
        let now = self.clock.now();
        let tripped = reading.tripped().map(|index| reading.quotas()[index]);
        let axis = reading.axis.unwrap_or(Axis::Requests);
        let period = tripped.and_then(|quota| stated(&quota));
        let wait = reading.wait.unwrap_or(UNSAID).min(LONGEST_PAUSE);
        let ticks = self.scale.duration_to_ticks(wait);
        for ledger in self.tripped(axis, period) {
            let line = self.line(ledger);
            let Some(known) = &mut learned.ledgers[ledger] else {
                continue;
            };
            kept[ledger] = is_bucket(&line);
            if is_bucket(&line) {
                let cost = self.amount(ledger, charged) as i64;
                let missing = line.position(now.saturating_add(ticks)) - line.position(now);
                // Whatever was admitted later has not been counted yet.
                let present = Sample {
                    tick: now,
                    full: self.full(ledger, &line, now),
                    corrected: known.corrected,
                };
                let later = present.admitted_since(&known.journal.after(at), &line);
                // What is forfeited at the end of a window must not be reserved.
                let is_window = tripped
                    .is_some_and(|quota| quota.window.is_some_and(|window| window < SHORTEST));
                if at >= known.reserved && !is_window {
                    let burst = line.burst as i64;
                    known.reserve = (known.reserve + burst / STEPS).min(burst / MOST_RESERVED);
                    known.reserved = now;
                }
                let left = cost - missing as i64 - later - known.reserve;
                let balance = self.view(ledger, &line, now).balance;
                known.corrected += cost;
                self.correct(known, ledger, balance - left);
            } else if line.windows.is_none() && ticks < self.scale.duration_to_ticks(STEP) {
                // Pacing in step with the provider's windows meets their ends again and again.
                known.changed = true;
                self.charge(ledger, self.grains[ledger] * 3 / 8);
            } else if now.saturating_add(ticks) > line.not_before {
                known.changed = true;
                let _ = self.pause_line(self.index_of(ledger), wait);
            }
            let used = self.used(known, &line, now);
            let is_explained = tripped.is_some_and(|quota| self.explains(&quota, known, ledger));
            if !is_explained && line.windows.is_none() && known.share.refuse(at, now, used) {
                self.apply(known, ledger);
            }
        }
        kept
    }

    /// Whether the limit that a provider states is the one at this ledger, or the same rate over another period.
    fn explains(&self, quota: &Quota, known: &Known, ledger: usize) -> bool {
        let (Some(limit), Some(period)) = (quota.limit, stated(quota)) else {
            return quota.limit == Some(known.told);
        };
        let Some((_, own)) = self.quotas().into_iter().find(|(of, _)| *of == ledger) else {
            return false;
        };
        let (told, here) = (
            u128::from(known.told) * period.as_nanos(),
            u128::from(limit) * u128::from(own.period_ns),
        );
        told.abs_diff(here) <= here / 50
    }

    /// What share of what was produced lately was used.
    fn used(&self, known: &Known, line: &Line, now: u64) -> f64 {
        let then = known
            .journal
            .after(now.saturating_sub(self.scale.duration_to_ticks(RECENT)));
        let produced = line.position(now).saturating_sub(line.position(then.tick));
        let charged = known.journal.last().admitted_since(&then, line);
        match produced {
            0 => 1.0,
            _ => (charged as f64 / produced as f64).min(1.0),
        }
    }

    pub(super) fn answered(&self, learned: &mut Learned, now: u64) {
        for ledger in self.ledgers() {
            let line = self.line(ledger);
            let Some(known) = &mut learned.ledgers[ledger] else {
                continue;
            };
            let since = now.saturating_sub(known.share.since());
            let since = Duration::from_nanos(self.scale.to_ns(since));
            let used = self.used(known, &line, now);
            if now.saturating_sub(known.reserved) > self.scale.duration_to_ticks(CALM) {
                known.reserve -= known.reserve / 8;
                known.reserved = now;
            }
            if known.share.answer(since, used) {
                self.apply(known, ledger);
            }
        }
        let slots = &mut learned.slots;
        if slots.now < slots.configured && self.slots_held(slots.now) * 2 >= slots.now {
            slots.answers += 1;
            if slots.answers >= slots.now {
                (slots.answers, slots.now) = (0, slots.now + 1);
                slots.changed = true;
                let _ = self.resize_slots(slots.now);
            }
        }
    }

    fn slots_held(&self, slots: u64) -> u64 {
        slots.saturating_add_signed(-self.gate().free())
    }

    /// Too many at the same time. Those who were on their way by then say the same.
    pub(super) fn crowded(&self, slots: &mut Slots, at: u64, now: u64) {
        if slots.configured == 0 || at < slots.since {
            return;
        }
        let held = self.slots_held(slots.now).min(slots.now);
        slots.now = (held * 7 / 10).max(1);
        (slots.since, slots.answers) = (now, 0);
        slots.changed = true;
        let _ = self.resize_slots(slots.now);
    }
}

/// The period of a limit. What it says itself comes first: what follows from its numbers may do so by chance, when it is a
/// window whose whole amount comes back at its end.
pub(super) fn stated(quota: &Quota) -> Option<Duration> {
    quota.window.or(quota.period())
}

/// Neither pacing nor windows: what is left of those is not what a provider means by it.
fn is_bucket(line: &Line) -> bool {
    line.windows.is_none() && line.burst > 0
}
