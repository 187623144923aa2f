//! What a limiter can tell about itself.

use super::build::Entry;
use super::{Core, Limiter, Mode};
use crate::error::OutOfRange;
use crate::limit::Limit;
use crate::ring::gate::GRANTS;
use crate::sync::{AtomicU64, Relaxed, lock};
use crossbeam_utils::CachePadded;
use std::time::Duration;

/// Counters that the gate word does not carry. Away from the hot words: they are written on refusal and on waiting.
#[derive(Default)]
pub(super) struct Counters {
    /// Whole rounds of the gate's `grants`.
    pub(super) granted_rounds: CachePadded<AtomicU64>,
    pub(super) refused: CachePadded<AtomicU64>,
    pub(super) cancelled: AtomicU64,
    pub(super) timed_out: AtomicU64,
    pub(super) wakes: AtomicU64,
    /// In ticks.
    pub(super) wait_total: AtomicU64,
    pub(super) wait_max: AtomicU64,
}

/// A snapshot of a limiter's counters since it was built.
///
/// Each number is exact when nothing is going on. While requests are being admitted, `granted` may lag by 64 for an
/// instant, and the numbers are not of one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Requests admitted, at once or after waiting.
    pub granted: u64,
    /// Requests refused at once.
    pub refused: u64,
    /// Waiting now, or with an outcome that has not been picked up.
    pub waiting: u64,
    /// In-flight slots taken now; 0 without an in-flight limit.
    pub in_flight: u64,
    /// Tickets cancelled by their owners.
    pub cancelled: u64,
    /// Tickets whose time ran out in the queue.
    pub timed_out: u64,
    /// Wake-ups sent to sleeping threads and event loops.
    pub wakes: u64,
    /// Time that all granted tickets have waited, together.
    pub wait_total: Duration,
    /// The longest of these.
    pub wait_max: Duration,
}

/// One limit, as configured and as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitState {
    /// As configured now, changes included.
    pub limit: Limit,
    /// What could be taken now: tokens (negative is debt), or slots (negative after a shrink).
    pub available: i64,
    /// How long it is still paused.
    pub paused: Duration,
    /// How freely it admits, after what the provider has said.
    pub mode: Mode,
}

impl Limiter {
    /// The counters. Costs a few loads.
    pub fn stats(&self) -> Stats {
        let core = &self.core;
        let counters = &core.counters;
        let gate = core.gate();
        let duration =
            |ticks: &AtomicU64| Duration::from_nanos(core.scale.to_ns(ticks.load(Relaxed)));
        let slots = lock(&core.limits).iter().find_map(|entry| match entry {
            Entry::InFlight(slots) => Some(*slots),
            Entry::Quota(..) => None,
        });
        Stats {
            granted: counters.granted_rounds.load(Relaxed) * GRANTS + gate.grants(),
            refused: counters.refused.load(Relaxed),
            waiting: core.queue.get().map_or(0, |queue| queue.ring.waiting()),
            in_flight: slots.map_or(0, |slots| (slots as i64 - gate.free()).max(0) as u64),
            cancelled: counters.cancelled.load(Relaxed),
            timed_out: counters.timed_out.load(Relaxed),
            wakes: counters.wakes.load(Relaxed),
            wait_total: duration(&counters.wait_total),
            wait_max: duration(&counters.wait_max),
        }
    }

    /// How the limit at `index` stands.
    ///
    /// # Errors
    /// No such limit.
    pub fn limit_state(&self, index: usize) -> Result<LimitState, OutOfRange> {
        self.core.limit_state(index)
    }

    /// How many limits there are.
    pub fn limits(&self) -> usize {
        lock(&self.core.limits).len()
    }
}

impl Core {
    fn limit_state(&self, index: usize) -> Result<LimitState, OutOfRange> {
        let learned = lock(&self.learned);
        let limits = lock(&self.limits);
        OutOfRange::check("index", index as u64, 0, limits.len() as u64 - 1)?;
        Ok(match limits[index] {
            Entry::Quota(quota, ledger) => {
                let (line, now) = (self.line(ledger), self.clock.now());
                let balance = self.view(ledger, &line, now).balance;
                LimitState {
                    limit: Limit(crate::limit::Kind::Quota(quota)),
                    available: balance.div_euclid(self.grains[ledger] as i64),
                    paused: self
                        .wait_until(line.not_before, now)
                        .unwrap_or(Duration::MAX),
                    mode: learned.mode(ledger, now < line.not_before),
                }
            }
            Entry::InFlight(slots) => LimitState {
                limit: Limit::in_flight(slots),
                available: self.gate().free(),
                paused: Duration::ZERO,
                mode: learned.slots_mode(),
            },
        })
    }
}
