//! Several limits that admit all-or-nothing, and one FIFO queue of those who wait for them.
//!
//! The protocol is told in ARCHITECTURE.md. In one paragraph: the gate word decides every admission by one
//! compare-exchange. The fast path charges the accounts first and commits at the gate last; if the gate has
//! moved in between, it takes its charges back. The queue decides at the gate first, and the accounts are paid
//! afterwards, idempotently, by anybody who comes along. So a waiter holds nothing, nobody is needed for
//! another's grant, and at every admission the sum of all admissions is covered by each limit.

mod adapt;
mod admit;
mod build;
mod caller;
mod change;
mod estimate;
mod feedback;
mod idle;
mod journal;
mod learned;
mod ledgers;
mod permit;
mod queue;
mod refused;
mod saved;
mod stats;
mod wait;
mod wake;

pub use build::Builder;
pub(crate) use build::next_serial;
pub(crate) use caller::Caller;
pub use estimate::Outlook;
pub use feedback::{Advice, LONGEST_PAUSE, Mode};
pub(crate) use permit::Grant;
pub use permit::Permit;
pub use saved::{Corrupt, Saved};
pub use stats::{LimitState, Stats};
pub(crate) use wait::Step;
pub use wait::{Progress, Ticket};
pub(crate) use wake::Guest;
pub use wake::Wake;
pub(crate) use wake::{call, put_off};

use crate::clock::{Alarm, Clock, Scale};
use crate::error::Refused;
use crate::limit::account::Account;
use crate::limit::history::History;
use crate::limit::line::Line;
use crate::limit::lows::Lows;
use crate::limit::published::Published;
use crate::limit::{Amounts, Cost, Masks, Weights};
use crate::ring::gate::Gate;
use crate::sync::{Acquire, Arc, AtomicU64, Mutex, Weak};
use std::time::Duration;

/// Most limits of one limiter.
pub const MAX_LIMITS: usize = 8;

/// Limits that admit a request all together or not at all, and the queue of those who wait.
///
/// Thread-safe. Cheap to clone; clones are the same limiter. Admitting and settling neither lock nor allocate nor
/// call the system. Whoever waits first is served first; nobody passes the queue.
///
/// ```
/// use llmrl::{Cost, Limit, Limiter};
///
/// let limiter = Limiter::builder()
///     .limit(Limit::requests(500))
///     .limit(Limit::tokens(200_000))
///     .limit(Limit::in_flight(50))
///     .build()?;
///
/// let permit = limiter.acquire(&Cost::tokens(1_200, 400))?;   // blocks until its turn
/// // ... send the request ...
/// permit.settle(&Cost::tokens(1_180, 212))?;                  // what the answer says was used
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Limiter {
    core: Arc<Core>,
}

/// The words that every admission touches: the first line holds the gate and three accounts.
#[repr(C, align(128))]
struct Hot {
    gate: AtomicU64,
    accounts: [Account; MAX_LIMITS],
}

pub(crate) struct Core {
    hot: Hot,
    /// Differs between the limiters of a process.
    serial: u64,
    /// How many limits there are that have a ledger. Accounts, lines, histories and meters are in the order in which
    /// they were given.
    ledgers: usize,
    lines: [Published<{ Line::WORDS }>; MAX_LIMITS],
    /// Of the limits that count over windows.
    histories: [Option<Box<History>>; MAX_LIMITS],
    /// Of every ledger, though only buckets use theirs.
    lows: Box<[Lows]>,
    meters: [Masks; MAX_LIMITS],
    /// Of the limits whose meter has weights.
    weights: [Option<Weights>; MAX_LIMITS],
    /// Parts of a unit in each ledger.
    grains: [u64; MAX_LIMITS],
    /// How many ledgers there are if all are buckets without weights, to which the fast path is cut; else `usize::MAX`.
    plain: usize,
    /// In-flight slots that one permit takes: 1 if there is such a limit.
    slots: u64,
    clock: Clock,
    scale: Scale,
    /// Ticks by which a sleeper may be late before somebody wakes it: its own timer is about to go off.
    slack: u64,
    queue: queue::Lazy,
    wake: Option<Arc<dyn Wake>>,
    guests: wake::Guests,
    counters: stats::Counters,
    /// The limits as they are, in the caller's order; held while one is changed.
    limits: Mutex<Vec<build::Entry>>,
    /// What providers have said. Taken before `limits`.
    learned: Mutex<learned::Learned>,
    /// Whether that may raise limits.
    raises: bool,
}

impl Core {
    #[inline(always)]
    fn gate(&self) -> Gate {
        Gate(self.hot.gate.load(Acquire))
    }
}

impl Alarm for Core {
    fn ring(&self) {
        self.wake_due();
    }
}

impl Limiter {
    /// A limiter to be described limit by limit.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Admits the request now, or refuses it. Never blocks.
    ///
    /// # Errors
    /// [`Refused::NotNow`] says when to come again. A request that is refused has taken nothing. Under
    /// contention a request may be refused although it would just have fitted, while another one that is
    /// about to be refused holds its charge for some nanoseconds; it is never admitted when it does not fit.
    #[inline]
    pub fn try_acquire(&self, cost: &Cost) -> Result<Permit<'_>, Refused> {
        self.admit(cost, true).map(|grant| Permit::new(self, grant))
    }

    /// Waits for its turn in the queue, as long as it takes.
    ///
    /// # Errors
    /// At once if the request can never be admitted, the queue is full, or the limiter closed; later only if
    /// the limiter is closed, or retuned so that the request can never be admitted.
    pub fn acquire(&self, cost: &Cost) -> Result<Permit<'_>, Refused> {
        self.block(cost, None).map(|grant| Permit::new(self, grant))
    }

    /// Waits for its turn, for `timeout` at most.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire); and [`Refused::Deadline`], at once if the wait is known to be longer.
    pub fn acquire_timeout(&self, cost: &Cost, timeout: Duration) -> Result<Permit<'_>, Refused> {
        self.block(cost, Some(timeout))
            .map(|grant| Permit::new(self, grant))
    }

    #[inline(always)]
    pub(crate) fn admit(&self, cost: &Cost, asked: bool) -> Result<Grant, Refused> {
        let amounts = cost.amounts()?;
        let at = self.core.admit(amounts, asked)?;
        Ok(Grant::new(amounts, at))
    }

    /// [`admit`](Self::admit) for those who go on to join the queue: not to be admitted is no refusal.
    #[inline(always)]
    pub(crate) fn admit_now(&self, cost: &Cost) -> Option<Grant> {
        let amounts = cost.amounts().ok()?;
        let at = self.core.try_admit(amounts).ok()?;
        Some(Grant::new(amounts, at))
    }

    pub(crate) fn block(&self, cost: &Cost, timeout: Option<Duration>) -> Result<Grant, Refused> {
        self.core.block(cost.amounts()?, timeout)
    }

    /// Joins the queue and comes back at once, for event loops.
    ///
    /// Then [`poll`](Self::poll) at the time that it names, and whenever the limiter's [`Wake`] is called with
    /// `token` (not zero). Join with a request that could be admitted now, and the first poll says `Held`.
    ///
    /// # Errors
    /// As [`acquire_timeout`](Self::acquire_timeout).
    ///
    /// ```
    /// use llmrl::{Clock, Cost, Limit, Limiter, ManualClock, Progress};
    /// use std::time::Duration;
    ///
    /// let hand = ManualClock::new(0);
    /// let limiter = Limiter::builder().limit(Limit::requests(1)).clock(Clock::from(&hand)).build()?;
    /// limiter.try_acquire(&Cost::request())?.release();
    ///
    /// let mut ticket = limiter.enqueue(&Cost::request(), None, 1)?;
    /// let Progress::Pending { wait } = limiter.poll(&mut ticket) else { panic!() };
    /// assert_eq!(wait, Some(Duration::from_secs(60)));
    /// hand.advance(Duration::from_secs(60));
    /// assert!(matches!(limiter.poll(&mut ticket), Progress::Held(_)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn enqueue(
        &self,
        cost: &Cost,
        timeout: Option<Duration>,
        token: u64,
    ) -> Result<Ticket, Refused> {
        self.core.enqueue(cost.amounts()?, timeout, token)
    }

    /// How a ticket stands. Any outcome but `Pending` ends it: polling it again says [`Progress::Spent`], and so does
    /// another limiter's ticket.
    pub fn poll(&self, ticket: &mut Ticket) -> Progress<'_> {
        match self.advance_ticket(ticket) {
            Step::Held(grant) => Progress::Held(Permit::new(self, grant)),
            Step::Pending { wait } => Progress::Pending { wait },
            Step::TimedOut => Progress::Ended(Refused::Deadline),
            Step::Never(refused) => Progress::Ended(refused),
            Step::Closed => Progress::Ended(Refused::Closed),
            Step::Spent => Progress::Spent,
        }
    }

    pub(crate) fn advance_ticket(&self, ticket: &mut Ticket) -> Step {
        self.core.poll(ticket)
    }

    /// Leaves the queue. If the ticket was granted in the meantime, everything is given back. Another limiter's ticket
    /// is left alone.
    pub fn cancel(&self, ticket: Ticket) {
        self.leave(ticket);
    }

    pub(crate) fn leave(&self, mut ticket: Ticket) {
        self.core.leave(&mut ticket);
    }

    /// [`enqueue`](Self::enqueue) for one with a callback of its own. See [`advance_guest`](Self::advance_guest).
    pub(crate) fn enqueue_guest(
        &self,
        cost: &Cost,
        timeout: Option<Duration>,
        guest: Guest<'_>,
    ) -> Result<Ticket, Refused> {
        self.core.enqueue_guest(cost.amounts()?, timeout, guest)
    }

    /// [`advance_ticket`](Self::advance_ticket) of a guest, by which it must come to its end, or by
    /// [`leave_guest`](Self::leave_guest): its callback is kept until then.
    pub(crate) fn advance_guest(&self, ticket: &mut Ticket, guest: Guest<'_>) -> Step {
        let step = self.core.poll(ticket);
        if !matches!(step, Step::Pending { .. }) {
            self.core.guests.leave(ticket.slot(), guest);
        }
        step
    }

    pub(crate) fn leave_guest(&self, mut ticket: Ticket, guest: Guest<'_>) {
        self.core.leave(&mut ticket);
        self.core.guests.leave(ticket.slot(), guest);
    }

    /// Counts usage that has not passed here: another process's, or what a report says; also tokens without a request.
    /// Buckets may go below zero.
    ///
    /// # Errors
    /// [`Refused::Cost`] if a count is out of range.
    pub fn charge(&self, cost: &Cost) -> Result<(), Refused> {
        self.core.charge_all(&cost.usage()?);
        Ok(())
    }

    pub(crate) fn adjust_grant(&self, grant: &mut Grant, cost: &Cost) -> Result<(), Refused> {
        let amounts = cost.amounts()?;
        self.core.settle(grant, amounts, 0);
        Ok(())
    }

    pub(crate) fn settle_grant(&self, mut grant: Grant, cost: &Cost) -> Result<(), Refused> {
        let amounts = cost.amounts()?;
        self.core.settle(&mut grant, amounts, self.core.slots);
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn release_grant(&self, _stands: Grant) {
        self.core.release();
    }

    /// Gives everything back.
    pub(crate) fn cancel_grant(&self, mut grant: Grant) {
        self.core
            .settle(&mut grant, Amounts::default(), self.core.slots);
    }

    pub(crate) fn now(&self) -> u64 {
        self.core.clock.now()
    }

    /// Has `alarm` called when the clock is driven by hand.
    pub(crate) fn attach(&self, alarm: Weak<dyn Alarm>) {
        self.core.clock.attach(alarm);
    }

    /// The tick at which `timeout` is over.
    pub(crate) fn tick_after(&self, timeout: Duration) -> u64 {
        let ticks = self.core.scale.duration_to_ticks(timeout);
        self.core.clock.now().saturating_add(ticks)
    }

    /// What is left until `tick`.
    pub(crate) fn time_until(&self, tick: u64) -> Duration {
        self.core
            .wait_until(tick, self.core.clock.now())
            .unwrap_or(Duration::MAX)
    }

    /// A number that differs between the limiters of the process.
    pub(crate) fn serial(&self) -> u64 {
        self.core.serial
    }

    pub(crate) fn has_in_flight(&self) -> bool {
        self.core.slots > 0
    }
}

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limiter")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
