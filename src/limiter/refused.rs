//! What follows from a refusal, and from being answered again.
//!
//! 1. A refusal that says how long to wait tells exactly what is left: the request's cost less what is produced until then.
//!    Limits that are no buckets are paused for so long instead. Only the limit that has refused; requests that cost nothing
//!    there go on. All refusals of one moment say the same, so it does not matter how many come.
//! 2. A refusal that does not say what the limit is makes the rate feel its way ([`adapt`](super::adapt)).
//! 3. One that is about requests at the same time makes them fewer, and answers make them more again, one by one.

use super::journal::Sample;
use super::learned::{Known, Learned, MOST_RESERVED, Slots, is_bucket, stated, step};
use super::permit::Grant;
use super::{Core, LONGEST_PAUSE};
use crate::clock::nanos;
use crate::feedback::{Axis, Quota, Reading};
use crate::limit::line::Line;
use std::time::Duration;

/// When a refusal says nothing about time.
pub(super) const UNSAID: Duration = Duration::from_secs(1);
/// Without a refusal for so long, the reserve is made smaller by an eighth.
const CALM: Duration = Duration::from_secs(30);
/// What is stated to be counted over less than this is counted in windows.
const SHORTEST: Duration = Duration::from_secs(60);
/// A limit that is back sooner is one of short windows.
const STEP: Duration = Duration::from_secs(2);
/// What a day has left is not known from one refusal that does not speak of days.
const LONG: Duration = Duration::from_secs(3_600);

impl Core {
    /// A request was refused. What it has taken from what has refused it is not given back: at least so much apart, ledger
    /// and provider do not meet again at once. Says whether the limiter holds the request back when it comes again.
    pub(super) fn refused(
        &self,
        learned: &mut Learned,
        grant: &mut Grant,
        reading: &Reading,
    ) -> bool {
        let (mut is_held, at) = (false, grant.at);
        let now = self.clock.now();
        let tripped = reading.tripped().map(|index| reading.quotas()[index]);
        let axis = reading.axis.unwrap_or(Axis::Requests);
        let period = tripped.and_then(|quota| stated(&quota));
        let wait = reading.wait.unwrap_or(UNSAID).min(LONGEST_PAUSE);
        let ticks = self.scale.duration_to_ticks(wait);
        for ledger in self.tripped(axis, period) {
            let Some(known) = &mut learned.ledgers[ledger] else {
                continue;
            };
            let is_explained = tripped.is_some_and(|quota| self.explains(&quota, known, ledger));
            // The rate first: what is missing is produced by the new one.
            let is_window = self.line(ledger).windows.is_some();
            let before = known.journal.after(at);
            if !is_explained && !is_window && known.share.refuse(at, now) {
                self.apply(known, ledger);
            }
            known.unproven.amount = 0;
            let line = self.line(ledger);
            let cost = self.amount(ledger, &grant.amounts);
            let is_new = at >= known.reserved;
            if is_bucket(&line) && self.is_of(ledger, period) {
                let missing = line.position(now.saturating_add(ticks)) - line.position(now);
                // Whatever was admitted later has not been counted yet.
                let present = Sample {
                    tick: now,
                    full: self.full(ledger, &line, now),
                    corrected: known.corrected,
                };
                let later = present.admitted_since(&before, &line);
                // What is forfeited at the end of a window must not be reserved.
                let most = line.burst as i64 / MOST_RESERVED;
                if is_new && period.is_none_or(|period| period >= SHORTEST) {
                    known.reserve = (known.reserve + step(&line)).min(most);
                    known.reserved = now;
                }
                let left = cost as i64 - missing as i64 - later - known.reserve.min(most);
                let balance = self.view(ledger, &line, now).balance;
                if !grant.is_kept(ledger) {
                    grant.keep(ledger);
                    known.corrected += cost as i64;
                }
                self.correct(known, ledger, balance - left);
                is_held |= cost > 0;
            } else if line.windows.is_none()
                && line.burst == 0
                && ticks < self.scale.duration_to_ticks(STEP)
            {
                // Pacing in step with the provider's windows meets their ends again and again.
                if is_new {
                    (known.changed, known.reserved) = (true, now);
                    self.charge(ledger, self.grains[ledger] * 3 / 8);
                }
            } else {
                if now.saturating_add(ticks) > line.not_before {
                    known.changed = true;
                    let _ = self.pause_line(self.index_of(ledger), wait);
                }
                is_held |= cost > 0;
            }
        }
        is_held
    }

    /// Whether a limit of `period` is what this ledger counts. If it is not said, it is no longer one than an hour.
    fn is_of(&self, ledger: usize, period: Option<Duration>) -> bool {
        let rule = self.quota_of(ledger);
        rule.is_some_and(|rule| match period {
            Some(period) => period < SHORTEST || nanos(period) == rule.period_ns,
            None => rule.period_ns <= nanos(LONG),
        })
    }

    /// Whether the limit that a provider states is the one at this ledger, or the same rate over another period.
    fn explains(&self, quota: &Quota, known: &Known, ledger: usize) -> bool {
        let (Some(limit), Some(period)) = (quota.limit, stated(quota)) else {
            return quota.limit == Some(known.told);
        };
        let Some(own) = self.quota_of(ledger) else {
            return false;
        };
        let (told, here) = (
            u128::from(known.told) * period.as_nanos(),
            u128::from(limit) * u128::from(own.period_ns),
        );
        told.abs_diff(here) <= here / 50
    }

    /// Whether there is more demand than there is to be had.
    fn is_in_demand(&self, ledger: usize, line: &Line, now: u64) -> bool {
        !is_bucket(line) || self.view(ledger, line, now).balance < line.burst as i64 / 2
    }

    pub(super) fn answered(&self, learned: &mut Learned, now: u64) {
        for ledger in self.ledgers() {
            let line = self.line(ledger);
            let Some(known) = &mut learned.ledgers[ledger] else {
                continue;
            };
            let since = now.saturating_sub(known.share.since());
            let since = Duration::from_nanos(self.scale.to_ns(since));
            let in_demand = self.is_in_demand(ledger, &line, now);
            if now.saturating_sub(known.reserved) > self.scale.duration_to_ticks(CALM) {
                known.reserve -= known.reserve / 8;
                known.reserved = now;
            }
            if known.share.answer(since, in_demand) {
                self.apply(known, ledger);
            }
            // Of those, too, of which it has told nothing.
            self.believe(known, ledger);
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
