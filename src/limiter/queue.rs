//! The queue: joining, moving the head, leaving. Anybody who touches the limiter can do every step but the owner's.

use super::wait::Ticket;
use super::{Core, Guest};
use crate::error::Refused;
use crate::limit::Amounts;
use crate::limit::account::{Account, TAG_MASK, never_fits};
use crate::ring::gate::Gate;
use crate::ring::{Phase, Place, Ring, Slot};
use crate::sync::{AcqRel, Acquire, AtomicU64, Relaxed, pause, zeroed};
use std::ops::Deref;
use std::sync::OnceLock;
use std::time::Duration;

/// The ring, and what each waiter costs at each account.
pub(super) struct Queue {
    pub(super) ring: Ring,
    /// Two words per slot and account: the cost, and the sum of all costs up to and with this ticket.
    /// Written by the owner before it joins.
    cells: Box<[AtomicU64]>,
    /// Sum of the costs of all that ever joined, per account. With the cells' sums it tells how much stands
    /// ahead of a ticket, for its estimate of when to wake; no decision rests on it.
    pub(super) joined: [AtomicU64; super::MAX_LIMITS],
    /// Sum of the costs of those who have left and have not been passed yet. A hint, too.
    pub(super) left: [AtomicU64; super::MAX_LIMITS],
    ledgers: usize,
}

/// The queue, or how large it is to be once somebody waits.
pub(super) struct Lazy {
    // Not through the facade: it is made at once in models, and what is behind it is seen by them.
    queue: OnceLock<Queue>,
    max_waiters: usize,
    ledgers: usize,
}

impl Lazy {
    pub(super) fn new(max_waiters: usize, ledgers: usize) -> Self {
        Self {
            queue: OnceLock::new(),
            max_waiters,
            ledgers,
        }
    }

    /// The queue, if anybody has ever waited. Whoever has read in the gate that somebody does finds it.
    pub(super) fn get(&self) -> Option<&Queue> {
        self.queue.get()
    }
}

impl Deref for Lazy {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        self.queue
            .get_or_init(|| Queue::new(self.max_waiters, self.ledgers))
    }
}

impl Queue {
    pub(super) fn new(max_waiters: usize, ledgers: usize) -> Self {
        Self {
            ring: Ring::new(max_waiters),
            cells: zeroed(max_waiters * ledgers * 2),
            joined: Default::default(),
            left: Default::default(),
            ledgers,
        }
    }

    pub(super) fn cost(&self, slot: usize, ledger: usize) -> &AtomicU64 {
        &self.cells[(slot * self.ledgers + ledger) * 2]
    }

    fn up_to(&self, slot: usize, ledger: usize) -> &AtomicU64 {
        &self.cells[(slot * self.ledgers + ledger) * 2 + 1]
    }

    /// Sum of the costs of all before the one in `slot`.
    pub(super) fn before(&self, slot: usize, ledger: usize) -> u64 {
        let (cost, up_to) = (self.cost(slot, ledger), self.up_to(slot, ledger));
        up_to.load(Relaxed).wrapping_sub(cost.load(Relaxed))
    }
}

/// What stands at the front of the queue after everything that could be granted has been.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Front {
    Empty,
    /// This ticket, until `due` unless something happens; `u64::MAX` if only a release can help.
    Blocked {
        ticket: u64,
        slot: usize,
        due: u64,
    },
}

/// How a look at the head's request ended.
enum Check {
    Covered,
    Short(u64),
    Never,
    /// An account had to be put right first.
    Again,
}

impl Core {
    pub(super) fn enqueue(
        &self,
        amounts: Amounts,
        timeout: Option<Duration>,
        token: u64,
    ) -> Result<Ticket, Refused> {
        self.take_place(amounts, timeout, token, None)
    }

    /// For a waiter that has a callback of its own.
    pub(super) fn enqueue_guest(
        &self,
        amounts: Amounts,
        timeout: Option<Duration>,
        guest: Guest<'_>,
    ) -> Result<Ticket, Refused> {
        self.take_place(amounts, timeout, 0, Some(guest))
    }

    fn take_place(
        &self,
        amounts: Amounts,
        timeout: Option<Duration>,
        token: u64,
        guest: Option<Guest<'_>>,
    ) -> Result<Ticket, Refused> {
        self.check_worth(&amounts)?;
        let now = self.clock.now();
        let deadline = timeout.map_or(u64::MAX, |timeout| {
            now.saturating_add(self.scale.duration_to_ticks(timeout))
        });
        let is_elsewhere = guest.is_some_and(|guest| guest.is_elsewhere);
        let due = || match is_elsewhere {
            false => self.due_at_the_end(&amounts, now).0,
            // So are those ahead, most of whom will be admitted there.
            true => self.due_alone(&amounts, now),
        };
        if timeout.is_some() && due() > deadline {
            return Err(Refused::Deadline);
        }
        let queue = &self.queue;
        let claimed = queue.ring.claim().or_else(|| {
            // Those who have left have their slots until the queue has passed them.
            self.advance(false);
            queue.ring.claim()
        });
        let slot = claimed.ok_or(Refused::Full)?;
        let waiter = self.waiter(slot);
        waiter.deadline.store(deadline, Relaxed);
        waiter.since.store(now, Relaxed);
        waiter.decided.store(0, Relaxed);
        waiter.token.store(token, Relaxed);
        waiter.guest.store(u32::from(guest.is_some()), Relaxed);
        if let Some(guest) = guest {
            self.guests.enter(slot, guest);
        }
        // An event loop may have left it armed; a thread that finds it so would never fall asleep.
        waiter.sleeper.word.fetch_and(!Slot::ARMED, AcqRel);
        for ledger in self.ledgers() {
            let cost = self.amount(ledger, &amounts);
            queue.cost(slot, ledger).store(cost, Relaxed);
        }
        let number = self.join(slot);
        Ok(Ticket::new(self.serial, number, slot, amounts))
    }

    /// Puts a filled slot at the end of the queue. Linearised at the exchange on its place.
    pub(super) fn join(&self, slot: usize) -> u64 {
        let queue = &self.queue;
        for ledger in self.ledgers() {
            let cost = queue.cost(slot, ledger).load(Relaxed);
            let before = queue.joined[ledger].fetch_add(cost, Relaxed);
            queue
                .up_to(slot, ledger)
                .store(before.wrapping_add(cost), Relaxed);
        }
        let ticket = loop {
            match queue.ring.append(slot) {
                Some(ticket) => break ticket,
                None => {
                    // A place of the lap before is still taken by a ticket that has been passed.
                    self.advance(false);
                    pause();
                }
            }
        };
        self.announce();
        ticket
    }

    /// Shuts the fast path. The event makes every "the queue is empty" and every decision on older reads fail.
    fn announce(&self) {
        self.update_gate(Gate::announce);
    }

    /// Changes the gate and gives what it was.
    pub(super) fn update_gate(&self, next: impl Fn(Gate) -> Gate) -> Gate {
        let mut gate = self.gate();
        while !self.swap_gate(gate, next(gate)) {
            gate = self.gate();
        }
        gate
    }

    pub(super) fn swap_gate(&self, from: Gate, to: Gate) -> bool {
        self.hot
            .gate
            .compare_exchange(from.0, to.0, AcqRel, Acquire)
            .is_ok()
    }

    /// Grants, in order, all that can be granted now, on behalf of whoever waits.
    ///
    /// `moved`: something has happened that may let the head be granted earlier than it plans for.
    pub(super) fn advance(&self, mut moved: bool) -> Front {
        if self.queue.get().is_none() {
            return Front::Empty;
        }
        loop {
            if let Some(front) = self.step(&mut moved) {
                return front;
            }
        }
    }

    /// One step of that, or what stands at the front if there is none to be done. It carries nothing over but `moved`: what
    /// a step rests on it reads itself. So it is enough to check each by itself against all that others do
    /// (`step_models`).
    fn step(&self, moved: &mut bool) -> Option<Front> {
        let ring = &self.queue.ring;
        // The gate before everything else: the exchange that decides holds only if it has not changed since.
        let gate = self.gate();
        let head = ring.head();
        if !gate.head_is(head) {
            // Decided, but not finished. The gate must be read again behind `head`, so that its
            // `granted` is known to be about this ticket and not about one that has wrapped around.
            if gate.head_is(head + 1) && self.gate() == gate {
                self.finish(head, gate);
                *moved |= ring.move_head(head);
            } else {
                pause();
            }
            return None;
        }
        if !gate.is_queued() {
            return Some(Front::Empty);
        }
        let slot = match ring.place(head) {
            Place::Taken(slot) => slot,
            Place::Free => {
                if self.clear_queue(gate, head) {
                    return Some(Front::Empty);
                }
                return None;
            }
            Place::Passed | Place::Behind => {
                pause();
                return None;
            }
        };
        let waiter = self.waiter(slot);
        let phase = waiter.state().of(head);
        if gate.is_closed() && matches!(phase, Some(Phase::Waiting | Phase::Granting)) {
            return Some(Front::Blocked {
                ticket: head,
                slot,
                due: u64::MAX,
            });
        }
        match phase {
            Some(phase @ (Phase::Waiting | Phase::Granting)) => {
                let now = self.clock.now();
                let granting = phase == Phase::Granting;
                if now > waiter.deadline.load(Relaxed) {
                    if granting {
                        *moved |= self.swap_gate(gate, gate.skip());
                    } else {
                        waiter.shift(head, Phase::Waiting, Phase::Expired);
                    }
                    return None;
                }
                match self.check(head, slot, gate, now) {
                    Check::Again => {}
                    Check::Covered if granting => {
                        Self::note_decision(waiter, now);
                        let next = gate.grant(self.slots);
                        // The grant. From here the accounts will be paid, by whoever comes first.
                        if self.swap_gate(gate, next) {
                            self.count_grant(next);
                            *moved = true;
                        }
                    }
                    Check::Covered => {
                        waiter.shift(head, Phase::Waiting, Phase::Granting);
                    }
                    Check::Never if granting => *moved |= self.swap_gate(gate, gate.skip()),
                    Check::Never => {
                        waiter.shift(head, Phase::Waiting, Phase::Misfit);
                    }
                    Check::Short(due) => {
                        if *moved {
                            self.notify(slot, due);
                        }
                        return Some(Front::Blocked {
                            ticket: head,
                            slot,
                            due,
                        });
                    }
                }
            }
            Some(Phase::Cancelled | Phase::Expired | Phase::Misfit) => {
                *moved |= self.swap_gate(gate, gate.skip());
            }
            // An outcome, or the next tenant: the gate has moved since it was read.
            _ => pause(),
        }
        None
    }

    /// Notes when a grant is about to be decided: at or before its charges, which are made after the decision. The first
    /// one to say so is not contradicted by one who comes too late.
    fn note_decision(waiter: &Slot, now: u64) {
        let _ = waiter.decided.compare_exchange(0, now, AcqRel, Acquire);
    }

    /// Opens the fast path if nobody stands at `head`; says whether that is done.
    fn clear_queue(&self, gate: Gate, head: u64) -> bool {
        if !self.swap_gate(gate, gate.unqueued()) {
            return false;
        }
        // Somebody who joined meanwhile has made or will make an event, on which the exchange above fails,
        // unless exactly a whole round of events went by. So look again, and announce for them if need be.
        if self.queue.ring.place(head) == Place::Free {
            return true;
        }
        self.announce();
        false
    }

    /// Whether the head's request is covered by everything, on accounts read after `gate`.
    fn check(&self, head: u64, slot: usize, gate: Gate, now: u64) -> Check {
        let mut due = 0;
        for ledger in self.ledgers() {
            let cost = self.queue.cost(slot, ledger).load(Relaxed);
            if cost == 0 {
                continue;
            }
            let line = self.line(ledger);
            if never_fits(&line, cost) {
                return Check::Never;
            }
            let view = self.view(ledger, &line, now);
            // Nobody has decided about this head, so it cannot have passed here: a helper that slept while tags went
            // round has just said so. Its grant would never be paid.
            if Account::is_tagged(&view, head & TAG_MASK) && self.gate() == gate {
                let before = head.wrapping_sub(1) & TAG_MASK;
                let _ = self.charge_at(ledger, &view, 0, Some(before));
                return Check::Again;
            }
            if !view.covers(cost, &line) || now < line.not_before {
                due = due.max(self.earliest(ledger, &line, &view, now, 0, cost));
            }
        }
        if self.slots > 0 && gate.free() <= 0 {
            due = u64::MAX;
        }
        if due == 0 {
            Check::Covered
        } else {
            Check::Short(due)
        }
    }

    /// Does for a decided head what follows from the decision. Each step may have been done by others already.
    fn finish(&self, head: u64, gate: Gate) {
        let ring = &self.queue.ring;
        let Place::Taken(slot) = ring.place(head) else {
            return;
        };
        let granted = gate.was_granted();
        for ledger in self.ledgers() {
            self.pass(ledger, slot, head, granted);
        }
        let waiter = self.waiter(slot);
        loop {
            let done = match waiter.state().of(head) {
                // Only a wrap-around of the gate can pass a ticket that is still waiting; see gate.rs. It gets
                // the outcome that the gate says.
                Some(phase @ (Phase::Granting | Phase::Waiting)) => {
                    let outcome = if granted { Phase::Granted } else { Phase::Lost };
                    self.conclude(head, slot, phase, outcome)
                }
                Some(Phase::Expired) => self.conclude(head, slot, Phase::Expired, Phase::TimedOut),
                Some(Phase::Misfit) => self.conclude(head, slot, Phase::Misfit, Phase::Never),
                Some(Phase::Cancelled) => {
                    let costs = self.costs(slot);
                    let freed = ring.free(head, slot, Phase::Cancelled);
                    if freed {
                        self.note_left(&costs, u64::wrapping_neg);
                    }
                    freed
                }
                _ => true,
            };
            if done {
                break;
            }
        }
        // Last: whoever finds the place taken knows the slot, and can do what is left to do.
        ring.vacate(head, slot);
    }

    fn conclude(&self, head: u64, slot: usize, from: Phase, outcome: Phase) -> bool {
        let done = self.waiter(slot).shift(head, from, outcome);
        if done {
            self.notify(slot, self.clock.now());
        }
        done
    }

    /// Notes at an account that `head` has passed, and charges it if it was granted. Once, whoever calls.
    ///
    /// The tag of the account is the last ticket that passed. Between the look at the account and the exchange
    /// `head` is seen to be unfinished, so a payment that finds another tag is the first one. The charge is not
    /// tested: it was, when the gate decided, and who has charged since will not be able to commit.
    fn pass(&self, ledger: usize, slot: usize, head: u64, granted: bool) {
        // Before the account is read: if it is not yet paid by then, the slot was still this ticket's here.
        let cost = match granted {
            true => self.queue.cost(slot, ledger).load(Acquire),
            false => 0,
        };
        // Another clock's reading may be behind the one on which it was granted.
        let decided = self.waiter(slot).decided.load(Relaxed);
        let tag = head & TAG_MASK;
        loop {
            // The time before the line: an old line is not good for a later time.
            let now = self.clock.now().max(decided);
            let line = self.line(ledger);
            let view = self.view(ledger, &line, now);
            if Account::is_tagged(&view, tag) || self.queue.ring.head() != head {
                return;
            }
            if self.charge_at(ledger, &view, cost, Some(tag)).is_ok() {
                return;
            }
        }
    }

    /// Leaves the queue. If the ticket had been granted, it says when, and everything must be given back.
    pub(super) fn withdraw(&self, ticket: u64, slot: usize) -> Option<u64> {
        let ring = &self.queue.ring;
        let waiter = self.waiter(slot);
        loop {
            // Before the state: if the ticket is undecided here, an exchange on this value decides it.
            let gate = self.gate();
            match waiter.state().of(ticket) {
                Some(Phase::Waiting) => {
                    let costs = self.costs(slot);
                    if waiter.shift(ticket, Phase::Waiting, Phase::Cancelled) {
                        self.note_left(&costs, |cost| cost);
                        // If it was the head, its successor must learn that it is the head now.
                        self.advance(false);
                        return None;
                    }
                }
                Some(Phase::Granting) => {
                    // The state no longer decides: a helper may be about to grant.
                    if ring.head() == ticket && gate.head_is(ticket) {
                        self.swap_gate(gate, gate.skip());
                    }
                    self.advance(false);
                }
                Some(Phase::Granted) => {
                    let decided = waiter.decided.load(Relaxed);
                    ring.free(ticket, slot, Phase::Granted);
                    return Some(decided);
                }
                Some(outcome @ (Phase::TimedOut | Phase::Never | Phase::Lost)) => {
                    ring.free(ticket, slot, outcome);
                    return None;
                }
                Some(Phase::Expired | Phase::Misfit) => {
                    self.advance(false);
                }
                Some(Phase::Free | Phase::Claimed | Phase::Cancelled) | None => return None,
            }
        }
    }

    pub(super) fn waiter(&self, slot: usize) -> &Slot {
        &self.queue.ring.slots()[slot]
    }

    fn costs(&self, slot: usize) -> [u64; super::MAX_LIMITS] {
        std::array::from_fn(|ledger| match ledger < self.ledgers {
            true => self.queue.cost(slot, ledger).load(Relaxed),
            false => 0,
        })
    }

    fn note_left(&self, costs: &[u64; super::MAX_LIMITS], sign: impl Fn(u64) -> u64) {
        for ledger in self.ledgers() {
            self.queue.left[ledger].fetch_add(sign(costs[ledger]), Relaxed);
        }
    }
}

#[cfg(all(test, not(shuttle)))]
#[path = "queue_tests.rs"]
mod tests;

#[cfg(all(test, loom))]
#[path = "step_models/mod.rs"]
mod step_models;
