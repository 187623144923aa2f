//! Changes to a living limiter: rates, slots, pauses, the end.
//!
//! Each change is first made where it belongs and then marked by an event at the gate. A decision that rests on
//! what was before has read the gate before, so its exchange fails: once a change has returned, nothing is admitted
//! by the old rule.

use super::build::Entry;
use super::{Core, Limiter};
use crate::clock::nanos;
use crate::error::{ConfigError, OutOfRange};
use crate::limit::line::Line;
use crate::limit::{InFlight, Kind, Limit, Quota, Shape};
use crate::ring::gate::{EVENT, Gate};
use crate::sync::lock;
use std::time::Duration;

impl Limiter {
    /// Another amount, period and burst for the limit at `index`, from now on. (`burst` is 0 for pacing, and `amount` for
    /// what has windows.)
    ///
    /// Nothing is lost or made: the balance of a bucket stays (up to the new burst), and so does the fraction of a token
    /// that was under way; what was used of a window stays used, and the part of a window that is over stays that part.
    /// (A log excepted, what was admitted before the present window, or part of one, is not given back after a change.)
    /// Waiters are re-timed. A waiter whose cost is now above the burst is told [`Never`](crate::Refused::Never) when its
    /// turn comes. It counts from its own reading of the clock, at which the old line ends.
    ///
    /// # Errors
    /// No such limit at `index`, or a number out of range; then nothing has changed.
    pub fn retune(
        &self,
        index: usize,
        amount: u64,
        per: Duration,
        burst: u64,
    ) -> Result<(), ConfigError> {
        let core = &self.core;
        {
            // First: what was learned must not be made of what was before.
            let mut learned = lock(&core.learned);
            let oversize = core
                .ledger_at(index)
                .and_then(|ledger| learned.oversize(ledger));
            let ledger = core.retune_line(index, |quota| {
                quota.oversize = oversize.unwrap_or(quota.oversize);
                (amount, nanos(per), burst)
            })?;
            learned.configure(ledger, amount, burst);
        }
        core.kick(EVENT);
        Ok(())
    }

    /// [Retunes](Self::retune) the limit at `index` to what `limit`, of the same kind, would be from the start.
    pub(crate) fn retune_to(&self, index: usize, limit: &Limit) -> Result<(), ConfigError> {
        match limit.0 {
            Kind::InFlight(slots) => self.resize(slots),
            Kind::Quota(quota) => {
                let burst = match quota.extent() {
                    Some(_) => quota.amount,
                    None => quota.holds(),
                };
                let period = Duration::from_nanos(quota.period_ns);
                self.retune(index, quota.amount, period, burst)
            }
        }
    }

    /// The fixed window at `index` ends `resets_in` from now, whatever was known before; what it has used stays used
    /// until then. For a provider that says when its own window resets.
    ///
    /// # Errors
    /// No fixed window at `index`; nothing, or more than a period.
    pub fn align(&self, index: usize, resets_in: Duration) -> Result<(), ConfigError> {
        let resets_in_ns = nanos(resets_in);
        self.core.change_line(index, |core, _, quota, line, now| {
            if quota.shape != Shape::FixedWindow {
                return Err(OutOfRange::count("fixed windows", 0, 1));
            }
            OutOfRange::check("resets_in (ns)", resets_in_ns, 1, quota.period_ns)?;
            Ok(line.stepping_in(now, core.scale.to_ticks(resets_in_ns)))
        })?;
        self.core.kick(EVENT);
        Ok(())
    }

    /// Admits nothing that costs something at the limit `index`, for `duration` from now; production and windows go on.
    /// Zero resumes.
    ///
    /// # Errors
    /// No such limit, or one in flight.
    pub fn pause(&self, index: usize, duration: Duration) -> Result<(), ConfigError> {
        self.core.pause_line(index, duration)?;
        self.core.kick(EVENT);
        Ok(())
    }

    /// Another number of in-flight slots. Below what is held it takes nothing back and admits nothing until enough
    /// has been released.
    ///
    /// # Errors
    /// No in-flight limit, or `slots` out of range.
    pub fn resize(&self, slots: u64) -> Result<(), ConfigError> {
        let is_queued = {
            let mut learned = lock(&self.core.learned);
            let is_queued = self.core.resize_slots(slots)?;
            learned.configure_slots(slots);
            is_queued
        };
        if is_queued {
            self.core.advance(true);
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
    /// See [`Limiter::resize`]. Says whether there is a queue to be told.
    pub(super) fn resize_slots(&self, slots: u64) -> Result<bool, ConfigError> {
        let mut limits = lock(&self.limits);
        let found = limits
            .iter_mut()
            .enumerate()
            .find_map(|(index, entry)| match entry {
                Entry::InFlight(old) => Some((index, old)),
                Entry::Quota(..) => None,
            });
        let Some((index, old)) = found else {
            return Err(OutOfRange::count("in-flight limits", 0, 1).into());
        };
        InFlight::check(slots).map_err(ConfigError::at(index))?;
        let by = slots as i64 - *old as i64;
        let before = self.update_gate(|gate| gate.resized(by));
        *old = slots;
        Ok(before.is_queued())
    }

    /// See [`Limiter::retune`]. `next` gives amount, period (ns) and burst.
    pub(super) fn retune_line(
        &self,
        index: usize,
        next: impl FnOnce(&mut Quota) -> (u64, u64, u64),
    ) -> Result<usize, ConfigError> {
        self.change_line(index, |core, ledger, quota, line, now| {
            let resolution = match quota.shape {
                // As many as there is memory for.
                Shape::SlidingLog => Some(quota.resolution.unwrap_or(quota.amount)),
                _ => quota.resolution,
            };
            let (amount, period_ns, burst) = next(quota);
            *quota = Quota {
                amount,
                period_ns,
                burst: Some(burst),
                resolution,
                resets_in_ns: None,
                ..*quota
            };
            let (rate, burst) = quota.checked()?;
            let rate = rate.in_parts(core.grains[ledger])?;
            let mut line = line.retuned(rate, core.scale, burst, now);
            line.admit_oversize = quota.admits_oversize();
            Ok(line)
        })
    }

    /// See [`Limiter::pause`].
    pub(super) fn pause_line(&self, index: usize, duration: Duration) -> Result<(), ConfigError> {
        let paused = self.change_line(index, |core, _, _, line, now| {
            let ticks = core.scale.duration_to_ticks(duration);
            Ok(line.paused(now, ticks))
        });
        paused.map(drop)
    }

    /// Says which ledger it was. An event must follow, without a lock: it may call whoever is to be woken.
    fn change_line(
        &self,
        index: usize,
        next: impl FnOnce(&Self, usize, &mut Quota, &Line, u64) -> Result<Line, OutOfRange>,
    ) -> Result<usize, ConfigError> {
        let mut limits = lock(&self.limits);
        let last = limits.len() as u64 - 1;
        OutOfRange::check("index", index as u64, 0, last)?;
        let Entry::Quota(quota, ledger) = limits[index] else {
            let in_flight = OutOfRange::count("in-flight limits", 1, 0);
            return Err(ConfigError::at(index)(in_flight));
        };
        let (line, now) = (self.line(ledger), self.clock.now());
        let mut changed = quota;
        let next = next(self, ledger, &mut changed, &line, now).map_err(ConfigError::at(index))?;
        self.end_line(ledger, &line, &next, now);
        let publish = || self.lines[ledger].publish(next.to_words());
        match (&self.histories[ledger], quota.extent(), changed.extent()) {
            (Some(history), Some(old), Some(new)) => {
                // Whoever sees one of the two changes sees the longer window.
                let is_longer = new.reach > old.reach;
                if is_longer {
                    history.set(new);
                }
                publish();
                if !is_longer {
                    history.set(new);
                }
            }
            _ => publish(),
        }
        limits[index] = Entry::Quota(changed, ledger);
        Ok(ledger)
    }

    /// The quotas with their ledgers.
    pub(super) fn quotas(&self) -> Vec<(usize, Quota)> {
        let quota = |entry: &Entry| match entry {
            Entry::Quota(quota, ledger) => Some((*ledger, *quota)),
            Entry::InFlight(_) => None,
        };
        lock(&self.limits).iter().filter_map(quota).collect()
    }

    /// The quota of an account.
    pub(super) fn quota_of(&self, ledger: usize) -> Option<Quota> {
        let mut quotas = self.quotas().into_iter();
        quotas.find_map(|(of, quota)| (of == ledger).then_some(quota))
    }

    fn ledger_at(&self, index: usize) -> Option<usize> {
        match lock(&self.limits).get(index)? {
            Entry::Quota(_, ledger) => Some(*ledger),
            Entry::InFlight(_) => None,
        }
    }

    /// The caller's index of an account.
    pub(super) fn index_of(&self, ledger: usize) -> usize {
        let at = |entry: &Entry| matches!(entry, Entry::Quota(_, l) if *l == ledger);
        lock(&self.limits).iter().position(at).unwrap_or(ledger)
    }
}
