//! Changes to a living limiter: rates, slots, pauses, the end.
//!
//! Each change is first made where it belongs and then marked by an event at the gate. A decision that rests on
//! what was before has read the gate before, so its exchange fails: once a change has returned, nothing is admitted
//! by the old rule.

use super::build::Entry;
use super::{Core, Limiter};
use crate::error::{ConfigError, OutOfRange};
use crate::limit::line::Line;
use crate::limit::{Bucket, InFlight};
use crate::ring::gate::{EVENT, Gate};
use crate::sync::lock;
use std::time::Duration;

impl Limiter {
    /// Another rate and burst for the token bucket at `index`, from now on.
    ///
    /// Nothing is lost or made: the balance stays (up to the new burst), and so does the fraction of a token that was
    /// under way. Waiters are re-timed. A waiter whose cost is now above the burst is told [`Never`](crate::Refused::Never)
    /// when its turn comes.
    ///
    /// # Errors
    /// No token bucket at `index`, or a number out of range; then nothing has changed.
    pub fn retune(
        &self,
        index: usize,
        amount: u64,
        per: Duration,
        burst: u64,
    ) -> Result<(), ConfigError> {
        let period_ns = u64::try_from(per.as_nanos()).unwrap_or(u64::MAX);
        self.core.change_line(index, |core, bucket, line, now| {
            *bucket = Bucket {
                amount,
                period_ns,
                burst: Some(burst),
                ..*bucket
            };
            let (rate, burst) = bucket.checked()?;
            Ok(line.retuned(rate, core.scale, burst, now))
        })
    }

    /// Admits nothing that costs something at the token bucket `index`, for `duration` from now; production goes on.
    /// Zero resumes.
    ///
    /// # Errors
    /// No token bucket at `index`.
    pub fn pause(&self, index: usize, duration: Duration) -> Result<(), ConfigError> {
        self.core.change_line(index, |core, _, line, now| {
            let ticks = core.scale.duration_to_ticks(duration);
            Ok(line.paused(now, ticks))
        })
    }

    /// Another number of in-flight slots. Below what is held it takes nothing back and admits nothing until enough
    /// has been released.
    ///
    /// # Errors
    /// No in-flight limit, or `slots` out of range.
    pub fn resize(&self, slots: u64) -> Result<(), ConfigError> {
        let core = &self.core;
        let mut limits = lock(&core.limits);
        let found = limits
            .iter_mut()
            .enumerate()
            .find_map(|(index, entry)| match entry {
                Entry::InFlight(old) => Some((index, old)),
                Entry::Bucket(..) => None,
            });
        let Some((index, old)) = found else {
            return Err(OutOfRange {
                field: "in-flight limits",
                value: 0,
                min: 1,
                max: 1,
            }
            .into());
        };
        InFlight::check(slots).map_err(ConfigError::at(index))?;
        let by = slots as i64 - *old as i64;
        let before = core.update_gate(|gate| gate.resized(by));
        *old = slots;
        drop(limits);
        if before.is_queued() {
            core.advance(true);
        }
        Ok(())
    }

    /// Ends the limiter: everybody who waits is told so, and so is everybody who comes later. Permits that are held
    /// can still be settled. Any thread, any number of times.
    pub fn close(&self) {
        self.core.update_gate(Gate::closed);
        self.core.wake_all();
    }
}

impl Core {
    fn change_line(
        &self,
        index: usize,
        next: impl FnOnce(&Self, &mut Bucket, &Line, u64) -> Result<Line, OutOfRange>,
    ) -> Result<(), ConfigError> {
        let mut limits = lock(&self.limits);
        let last = limits.len() as u64 - 1;
        OutOfRange::check("index", index as u64, 0, last)?;
        let Entry::Bucket(bucket, ledger) = limits[index] else {
            let not_a_bucket = OutOfRange {
                field: "token buckets",
                value: 0,
                min: 1,
                max: 1,
            };
            return Err(ConfigError::at(index)(not_a_bucket));
        };
        let (line, now) = (self.line(ledger), self.clock.now());
        let mut changed = bucket;
        let next = next(self, &mut changed, &line, now).map_err(ConfigError::at(index))?;
        // A larger burst must not bring back what an idle bucket has forfeited.
        self.hot.accounts[ledger].clamp(&line, now);
        self.lines[ledger].publish(next.to_words());
        limits[index] = Entry::Bucket(changed, ledger);
        drop(limits);
        self.kick(EVENT);
        Ok(())
    }

    /// The caller's index of an account.
    pub(super) fn index_of(&self, ledger: usize) -> usize {
        let at = |entry: &Entry| matches!(entry, Entry::Bucket(_, l) if *l == ledger);
        lock(&self.limits).iter().position(at).unwrap_or(ledger)
    }
}
