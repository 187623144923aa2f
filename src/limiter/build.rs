//! Describing and checking a limiter.

use super::learned::Learned;
use super::queue::{Lazy, Queue};
use super::wake::Guests;
use super::{Core, Hot, Limiter, MAX_LIMITS, Saved, Wake, stats::Counters};
use crate::clock::{Alarm, Clock};
use crate::error::{ConfigError, OutOfRange};
use crate::limit::account::Account;
use crate::limit::lows::Lows;
use crate::limit::published::Published;
use crate::limit::{InFlight, Kind, Limit, Masks, Opened, Quota, Shape};
use crate::ring::gate::Gate;
use crate::sync::{Arc, AtomicU64, Mutex, lock};

/// One limit as it is configured now, and where it lives.
#[derive(Clone, Copy)]
pub(super) enum Entry {
    /// The quota and the index of its ledger.
    Quota(Quota, usize),
    InFlight(u64),
}

/// Describes a [`Limiter`]; see [`Limiter::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until build() is called"]
pub struct Builder {
    limits: Vec<Limit>,
    max_waiters: usize,
    clock: Option<Clock>,
    wake: Option<Arc<dyn Wake>>,
    saved: Option<Saved>,
    raises: bool,
    waits_late: bool,
}

impl Builder {
    /// Largest number of waiters.
    pub const MAX_WAITERS: usize = 1 << 20;
    /// Waiters of a limiter that says nothing about them.
    pub const DEFAULT_WAITERS: usize = 4096;

    pub(super) fn new() -> Self {
        Self {
            limits: Vec::new(),
            max_waiters: Self::DEFAULT_WAITERS,
            clock: None,
            wake: None,
            saved: None,
            raises: false,
            waits_late: false,
        }
    }

    /// One more limit, 1 to [`MAX_LIMITS`] in all, at most one of them in flight. Its index is the number of
    /// limits before it.
    pub fn limit(mut self, limit: Limit) -> Self {
        self.limits.push(limit);
        self
    }

    /// How many may wait at once, 1 to [`MAX_WAITERS`](Self::MAX_WAITERS); by default
    /// [`DEFAULT_WAITERS`](Self::DEFAULT_WAITERS). One that has left counts until the queue has passed it.
    /// The memory for all of them, 64 bytes each and 16 more per limit, is taken when the limiter is built.
    pub fn max_waiters(mut self, max_waiters: usize) -> Self {
        self.max_waiters = max_waiters;
        self
    }

    /// Another clock than the machine's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Whom to tell that a ticket should be polled again.
    pub fn wake(mut self, wake: Arc<dyn Wake>) -> Self {
        self.wake = Some(wake);
        self
    }

    /// Goes on with what was used when `saved` was [saved](Limiter::save), instead of with empty windows and full buckets.
    pub fn restore(mut self, saved: Saved) -> Self {
        self.saved = Some(saved);
        self
    }

    /// Whether [feedback](super::Permit::feedback) may raise limits above what is configured here, to what the provider says.
    /// By default it only lowers them. As what is configured is then only a guess, half of what each limit lets pass at once
    /// waits until a provider has answered for the first time.
    pub fn raise_limits(mut self, raises: bool) -> Self {
        self.raises = raises;
        self
    }

    /// Takes the memory for waiters when somebody waits for the first time, not before.
    pub(crate) fn waits_late(mut self) -> Self {
        self.waits_late = true;
        self
    }

    /// Without what it was given before.
    pub(crate) fn limits(mut self, limits: &[Limit]) -> Self {
        self.limits = limits.to_vec();
        self
    }

    /// What it was given.
    pub(crate) fn given(&self) -> &[Limit] {
        &self.limits
    }

    /// Checks every number and builds the limiter.
    ///
    /// # Errors
    /// The first number that is out of range, with its limit, its value and the accepted range; also when what was saved
    /// is of other limits: then build without it, for a fresh start.
    pub fn build(self) -> Result<Limiter, ConfigError> {
        OutOfRange::check("limits", self.limits.len() as u64, 1, MAX_LIMITS as u64)?;
        OutOfRange::check(
            "max_waiters",
            self.max_waiters as u64,
            1,
            Self::MAX_WAITERS as u64,
        )?;
        if let Some(saved) = &self.saved {
            let count = self.limits.len() as u64;
            OutOfRange::check("saved limits", saved.limits() as u64, count, count)?;
        }
        let clock = self.clock.unwrap_or_default();
        let (scale, now) = (clock.scale(), clock.now());

        let mut accounts = [const { None }; MAX_LIMITS];
        let (mut meters, mut weights) = ([Masks::default(); MAX_LIMITS], [None; MAX_LIMITS]);
        let (mut grains, mut is_plain) = ([1; MAX_LIMITS], true);
        let lines = [const { None }; MAX_LIMITS];
        let mut histories = [const { None }; MAX_LIMITS];
        let (mut lines, mut ledgers) = (lines, 0);
        let mut lows = Vec::with_capacity(MAX_LIMITS);
        let (mut entries, mut in_flight) = (Vec::new(), None);
        for (index, limit) in self.limits.iter().enumerate() {
            entries.push(match limit.0 {
                Kind::Quota(quota) => {
                    let past = self.saved.as_ref().map(|saved| saved.past(index, &quota));
                    let past = past.transpose().map_err(ConfigError::at(index))?;
                    let ledger = ledgers;
                    ledgers += 1;
                    let Opened {
                        line,
                        account,
                        history,
                    } = quota
                        .open(scale, now, past.as_ref())
                        .map_err(ConfigError::at(index))?;
                    lows.push(Lows::new(&account, &line, quota.grain()));
                    accounts[ledger] = Some(account);
                    histories[ledger] = history.map(Box::new);
                    meters[ledger] = quota.meter.masks();
                    weights[ledger] = quota.meter.weights();
                    grains[ledger] = quota.grain();
                    is_plain &= quota.shape == Shape::Bucket && weights[ledger].is_none();
                    lines[ledger] = Some(Published::new(line.to_words()));
                    Entry::Quota(quota, ledger)
                }
                Kind::InFlight(slots) => {
                    InFlight::check(slots).map_err(ConfigError::at(index))?;
                    if in_flight.replace(slots).is_some() {
                        let twice = OutOfRange::check("in-flight limits", 2, 0, 1);
                        twice.map_err(ConfigError::at(index))?;
                    }
                    Entry::InFlight(slots)
                }
            });
        }

        let slack_ns = if clock.is_manual() { 0 } else { 50_000 };
        let core = Arc::new(Core {
            serial: next_serial(),
            hot: Hot {
                gate: AtomicU64::new(Gate::new(in_flight.unwrap_or(0) as i64).0),
                accounts: accounts.map(|account| account.unwrap_or(Account::new(0, 0))),
            },
            queue: Lazy::new(self.max_waiters, ledgers),
            ledgers,
            lines: lines.map(|line| line.unwrap_or(Published::new([0; _]))),
            plain: if is_plain { ledgers } else { usize::MAX },
            histories,
            lows: lows.into(),
            meters,
            weights,
            grains,
            slots: u64::from(in_flight.is_some()),
            scale,
            slack: scale.to_ticks(slack_ns),
            wake: self.wake,
            guests: Guests::default(),
            counters: Counters::default(),
            learned: Mutex::new(Learned::new(&entries, now)),
            raises: self.raises,
            limits: Mutex::new(entries),
            clock,
        });
        if core.raises {
            core.doubt(&mut lock(&core.learned), now);
        }
        if !self.waits_late {
            let _queue: &Queue = &core.queue;
        }
        let alarm = Arc::downgrade(&core) as crate::sync::Weak<dyn Alarm>;
        core.clock.attach(alarm);
        Ok(Limiter { core })
    }
}

/// A number that no other limiter of the process has.
pub(crate) fn next_serial() -> u64 {
    // Not through the facade: that it differs is all that is asked of it.
    static SERIAL: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    SERIAL.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}
