//! Waiting for one's turn: a thread that sleeps, or an event loop that polls.
//!
//! Every waiter computes when it will be due and looks again by itself at that time, its *plan*. It is woken
//! only when it has become due earlier than it plans for, so in steady state nobody wakes anybody. `armed` in the
//! slot's word says that the owner will not look before its plan; the count beside it changes with every
//! notification, so that one that comes between the look and the arming is not lost.

use super::queue::Front;
use super::{Core, Grant, Permit};
use crate::error::Refused;
use crate::limit::Amounts;
use crate::ring::{Phase, Slot};
use crate::sync::{AcqRel, Acquire, Relaxed, Release, pause};
use std::time::Duration;

/// A place in the queue. Dropping it does not leave the queue: it is granted in its turn, and its cost is gone;
/// use [`Limiter::cancel`](super::Limiter::cancel).
#[derive(Debug)]
#[must_use = "a ticket that is neither polled nor cancelled costs what it asked for"]
pub struct Ticket {
    /// The limiter's: a ticket says nothing to another one.
    limiter: u64,
    pub(super) number: u64,
    amounts: Amounts,
    slot: u32,
    spent: bool,
}

impl Ticket {
    pub(super) fn new(limiter: u64, number: u64, slot: usize, amounts: Amounts) -> Self {
        Self {
            limiter,
            number,
            amounts,
            slot: slot as u32,
            spent: false,
        }
    }

    pub(super) fn slot(&self) -> usize {
        self.slot as usize
    }
}

/// How a ticket stands.
#[derive(Debug)]
pub enum Progress<'a> {
    /// It has become a permit.
    Held(Permit<'a>),
    /// It waits.
    Pending {
        /// After so long time alone may have brought its turn: poll then, or when woken. `None`: when woken.
        wait: Option<Duration>,
    },
    /// It is over: [`Refused::Deadline`], [`Refused::Closed`], or [`Refused::Never`] after a retune.
    Ended(Refused),
    /// It was over before this poll, or belongs to another limiter.
    Spent,
}

/// [`Progress`] without the borrow.
pub(crate) enum Step {
    Held(Grant),
    Pending { wait: Option<Duration> },
    TimedOut,
    Never(Refused),
    Closed,
    Spent,
}

/// A [`Step`] that may still be pending until a tick.
enum Turn {
    Over(Step),
    Until(u64),
}

impl Core {
    /// The queue's answer to a blocking acquire.
    pub(super) fn block(
        &self,
        amounts: Amounts,
        timeout: Option<Duration>,
    ) -> Result<Grant, Refused> {
        if let Ok(at) = self.try_admit(amounts) {
            return Ok(Grant::new(amounts, at));
        }
        let mut ticket = self.enqueue(amounts, timeout, 0).inspect_err(|_| {
            self.counters.refused.fetch_add(1, Relaxed);
        })?;
        loop {
            let seen = self.heard(ticket.slot());
            let plan = match self.turn(&mut ticket) {
                Turn::Over(Step::Held(grant)) => return Ok(grant),
                Turn::Over(Step::TimedOut) => return Err(Refused::Deadline),
                Turn::Over(Step::Never(refused)) => return Err(refused),
                Turn::Over(_) => return Err(Refused::Closed),
                Turn::Until(plan) => plan,
            };
            self.doze(ticket.slot(), seen, plan);
        }
    }

    /// Sleeps until `plan`, or until there is a notification after the `seen` ones.
    pub(super) fn doze(&self, slot: usize, seen: u32, plan: u64) {
        if self.arm(slot, seen, plan) {
            let waiter = self.waiter(slot);
            let now = self.clock.now();
            if plan > now {
                let armed = seen | Slot::ARMED;
                waiter.sleeper.wait(armed, self.wait_until(plan, now));
            }
            waiter.sleeper.word.fetch_and(!Slot::ARMED, AcqRel);
        }
    }

    /// One look at a ticket, for an event loop. After `Pending` the owner is armed.
    pub(super) fn poll(&self, ticket: &mut Ticket) -> Step {
        if ticket.spent || ticket.limiter != self.serial {
            return Step::Spent;
        }
        loop {
            let word = &self.waiter(ticket.slot()).sleeper.word;
            word.fetch_and(!Slot::ARMED, AcqRel);
            let seen = self.heard(ticket.slot());
            match self.turn(ticket) {
                Turn::Over(step) => {
                    ticket.spent = true;
                    return step;
                }
                Turn::Until(plan) => {
                    if self.arm(ticket.slot(), seen, plan) {
                        let wait = self.wait_until(plan, self.clock.now());
                        return Step::Pending { wait };
                    }
                }
            }
        }
    }

    pub(super) fn leave(&self, ticket: &mut Ticket) {
        if !ticket.spent && ticket.limiter == self.serial {
            ticket.spent = true;
            self.counters.cancelled.fetch_add(1, Relaxed);
            if let Some(at) = self.withdraw(ticket.number, ticket.slot()) {
                let mut grant = Grant::new(ticket.amounts, at);
                self.settle(&mut grant, Amounts::default(), self.slots);
            }
        }
    }

    /// The notifications so far.
    fn heard(&self, slot: usize) -> u32 {
        self.waiter(slot).sleeper.word.load(Acquire) & !Slot::ARMED
    }

    /// Says "I look again at `plan`", unless there was a notification since `seen`.
    pub(super) fn arm(&self, slot: usize, seen: u32, plan: u64) -> bool {
        let waiter = self.waiter(slot);
        waiter.plan.store(plan, Release);
        waiter
            .sleeper
            .word
            .compare_exchange(seen, seen | Slot::ARMED, AcqRel, Acquire)
            .is_ok()
    }

    /// Moves the queue, and says how the ticket stands.
    fn turn(&self, ticket: &mut Ticket) -> Turn {
        loop {
            if let Some(step) = self.outcome(ticket) {
                return Turn::Over(step);
            }
            let front = self.advance(false);
            if let Some(step) = self.outcome(ticket) {
                return Turn::Over(step);
            }
            let waiter = self.waiter(ticket.slot());
            let (now, deadline) = (self.clock.now(), waiter.deadline.load(Relaxed));
            let closed = self.gate().is_closed();
            if closed || now > deadline {
                return Turn::Over(self.give_up(ticket, closed));
            }
            match front {
                // Not on a stale reading of the clock: a head that is due by now must be granted now.
                Front::Blocked { due, .. } if due <= now => {}
                // Without any time there is no later look, and a clock driven by hand may stand still.
                Front::Blocked { .. } if deadline == waiter.since.load(Relaxed) => {
                    return Turn::Over(self.give_up(ticket, closed));
                }
                Front::Blocked {
                    ticket: first,
                    slot,
                    due,
                } => {
                    // The second in line looks after a head that nobody looks after, when it is due or out of time.
                    let ends = self.waiter(slot).deadline.load(Relaxed).saturating_add(1);
                    let settled = due.min(ends);
                    let mine = if first == ticket.number {
                        due
                    } else if first + 1 == ticket.number && !self.looks_by(slot, settled) {
                        settled
                    } else {
                        due.max(self.due_in_turn(ticket.slot(), slot, now))
                    };
                    self.note_debts();
                    return Turn::Until(mine.min(deadline.saturating_add(1)));
                }
                // Announced by somebody else a moment from now, or decided and not yet finished.
                Front::Empty => pause(),
            }
        }
    }

    /// Whether the owner of `slot` will look at `due` by itself. A head that nobody looks after is granted by the
    /// next in line, at its time: later, its bucket might have overflowed.
    fn looks_by(&self, slot: usize, due: u64) -> bool {
        let waiter = self.waiter(slot);
        waiter.sleeper.word.load(Acquire) & Slot::ARMED != 0 && waiter.plan.load(Acquire) <= due
    }

    fn give_up(&self, ticket: &mut Ticket, closed: bool) -> Step {
        let since = self.waiter(ticket.slot()).since.load(Relaxed);
        if let Some(at) = self.withdraw(ticket.number, ticket.slot()) {
            self.held(ticket, since, at)
        } else if closed {
            Step::Closed
        } else {
            self.counters.timed_out.fetch_add(1, Relaxed);
            Step::TimedOut
        }
    }

    fn held(&self, ticket: &Ticket, since: u64, at: u64) -> Step {
        let waited = self.clock.now().saturating_sub(since);
        self.counters.wait_total.fetch_add(waited, Relaxed);
        self.counters.wait_max.fetch_max(waited, Relaxed);
        self.note_debts();
        Step::Held(Grant::new(ticket.amounts, at))
    }

    /// The outcome, if there is one; picking it up frees the slot.
    fn outcome(&self, ticket: &mut Ticket) -> Option<Step> {
        let ring = &self.queue.ring;
        let waiter = self.waiter(ticket.slot());
        let phase = waiter.state().of(ticket.number)?;
        let step = match phase {
            Phase::Granted => {
                let since = waiter.since.load(Relaxed);
                self.held(ticket, since, waiter.decided.load(Relaxed))
            }
            Phase::TimedOut => {
                self.counters.timed_out.fetch_add(1, Relaxed);
                Step::TimedOut
            }
            // Retuned once more, it may fit by now; but the queue has passed it, and its place cannot be given back.
            Phase::Never => {
                let ledger = self.misfit(&ticket.amounts).unwrap_or(0);
                Step::Never(self.never(ledger, &ticket.amounts))
            }
            Phase::Lost => {
                // Joins again, at the end, with the slot as it is.
                ring.reclaim(ticket.number, ticket.slot());
                ticket.number = self.join(ticket.slot());
                return None;
            }
            _ => return None,
        };
        ring.free(ticket.number, ticket.slot(), phase);
        Some(step)
    }

    /// Tells the owner of `slot` that it can go on at `due`. Whoever plans to look by then is left asleep.
    pub(super) fn notify(&self, slot: usize, due: u64) {
        let late = due.saturating_add(self.slack);
        self.notify_if(slot, |plan| plan > late);
    }

    /// On a clock driven by hand: wakes those whose plan has come, as their own timers would.
    pub(super) fn wake_due(&self) {
        let now = self.clock.now();
        self.notify_all(|plan| plan <= now);
    }

    /// Wakes everybody, whatever they plan.
    pub(super) fn wake_all(&self) {
        self.notify_all(|_| true);
    }

    fn notify_all(&self, wanted: impl Fn(u64) -> bool + Copy) {
        let slots = self.queue.get().map_or(0, |queue| queue.ring.slots().len());
        for slot in 0..slots {
            self.notify_if(slot, wanted);
        }
    }

    /// Counts a notification, and wakes an owner that has armed itself for a plan that is `wanted`.
    fn notify_if(&self, slot: usize, wanted: impl Fn(u64) -> bool) {
        let waiter = self.waiter(slot);
        let before = waiter.sleeper.word.fetch_add(Slot::COUNT, AcqRel);
        if before & Slot::ARMED != 0 && wanted(waiter.plan.load(Acquire)) {
            self.rouse(slot);
        }
    }

    fn rouse(&self, slot: usize) {
        let waiter = self.waiter(slot);
        self.counters.wakes.fetch_add(1, Relaxed);
        let called = || (waiter.guest.load(Acquire), waiter.token.load(Acquire));
        if called() == (0, 0) {
            return waiter.sleeper.wake();
        }
        // Once per arming: who disarms it calls. Whom to call is read again behind that, because the slot may have
        // another tenant by now, whom this has disarmed: an event loop polls once too often, a thread must be woken.
        let before = waiter.sleeper.word.fetch_and(!Slot::ARMED, AcqRel);
        let was_armed = before & Slot::ARMED != 0;
        match called() {
            (0, 0) => waiter.sleeper.wake(),
            (0, token) if was_armed => self.call(token),
            (_, 0) if was_armed => self.guests.call(slot),
            _ => {}
        }
    }

    fn call(&self, token: u64) {
        if let Some(wake) = &self.wake {
            super::wake::call(wake, token);
        }
    }
}
