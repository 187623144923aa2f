//! A small limiter, what a thread can do with it, and what must hold at the end.

use super::super::*;
use crate::limit::Quota;
use crate::limit::lows::Stands;
use crate::limiter::{Grant, Limiter, Step, Wake};
use crate::ring::gate::{EVENT, SLOT};
use crate::sync::Release;
use crate::{Clock, Cost, Limit, ManualClock};
// Counting happens in std's, which loom does not see: it adds no schedules.
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};

pub(super) const SECOND: Duration = Duration::from_secs(1);
const BURST: u64 = 5;
/// Of the head, and of who comes after it.
const COSTS: [u64; 2] = [2, 1];

/// A bucket of five (or two), and two in flight. At first two permits are held, of one and of two: two tokens are left, which
/// is what the head of the queue needs, and no slot.
pub(super) struct Scene {
    limiter: Limiter,
    clock: ManualClock,
    bells: Arc<Bells>,
    notes: Mutex<Notes>,
}

/// What the threads hold and know.
#[derive(Default)]
struct Notes {
    /// In the order in which they have joined. The first one is the head.
    tickets: [Option<Ticket>; 2],
    /// With what each has cost.
    permits: Vec<(Grant, u64)>,
    /// What the users hold, and what was charged from outside.
    kept: i64,
    /// So many had been admitted when a change had returned that lets nobody in.
    barred_at: Option<u64>,
    /// What a helper knows that begins here: whether something has moved.
    moved: bool,
    /// And those that have more steps to make.
    go_on: Vec<bool>,
    /// Its place was not free yet.
    claimed: Option<usize>,
    /// The burst was cut, and something may be gone with it.
    is_cut: bool,
}

/// How often each waiter was called.
#[derive(Default)]
struct Bells([AtomicUsize; 2]);

impl Wake for Bells {
    fn wake(&self, token: u64) {
        self.0[token as usize - 1].fetch_add(1, SeqCst);
    }
}

fn requests(requests: u64) -> Cost {
    Cost {
        requests,
        ..Cost::request()
    }
}

impl Scene {
    fn new(buckets: usize, waiters: usize) -> Self {
        let (clock, bells) = (ManualClock::new(0), Arc::new(Bells::default()));
        let bucket = Limit::requests(1).per(SECOND).burst(BURST);
        let builder = Limiter::builder().clock(Clock::from(&clock));
        let limiter = (0..buckets)
            .fold(builder, |builder, _| builder.limit(bucket))
            .limit(Limit::in_flight(2))
            .max_waiters(waiters)
            .wake(bells.clone())
            .build()
            .unwrap();
        let scene = Self {
            limiter,
            clock,
            bells,
            notes: Mutex::default(),
        };
        for cost in [1, 2] {
            scene.admit(cost);
        }
        scene
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap()
    }

    fn core(&self) -> &Core {
        &self.limiter.core
    }

    fn admit(&self, cost: u64) {
        if let Ok(grant) = self.limiter.admit(&requests(cost), false) {
            self.holds(grant, cost);
        }
    }

    fn holds(&self, grant: Grant, cost: u64) {
        let mut notes = self.notes();
        notes.kept += cost as i64;
        notes.permits.push((grant, cost));
    }

    /// The permit that has cost two.
    fn of_two(&self) -> Grant {
        let mut notes = self.notes();
        let index = notes.permits.iter().position(|(_, cost)| *cost == 2);
        notes.permits.remove(index.unwrap()).0
    }

    /// And costs one from now on.
    fn cheaper(&self, grant: Grant) {
        let mut notes = self.notes();
        notes.kept -= 1;
        notes.permits.push((grant, 1));
    }

    /// The rest has been charged.
    fn charged(&self) {
        self.notes().kept += 2;
        self.bar();
    }

    fn enqueue(&self, index: usize, timeout: Option<Duration>) {
        let (cost, token) = (requests(COSTS[index]), index as u64 + 1);
        let ticket = self.limiter.enqueue(&cost, timeout, token);
        self.notes().tickets[index] = ticket.ok();
    }

    fn ticket(&self, index: usize) -> Option<Ticket> {
        self.notes().tickets[index].take()
    }

    fn look(&self, index: usize) {
        let Some(mut ticket) = self.ticket(index) else {
            return;
        };
        match self.limiter.advance_ticket(&mut ticket) {
            Step::Held(grant) => self.holds(grant, COSTS[index]),
            Step::Pending { .. } => self.notes().tickets[index] = Some(ticket),
            _ => {}
        }
    }

    /// A change has returned after which nobody may be admitted.
    fn bar(&self) {
        let granted = self.core().gate().grants();
        self.notes().barred_at = Some(granted);
    }
}

/// What a thread does.
impl Scene {
    /// The next step of a helper, which makes the rest of them when the other one has done its part.
    pub(super) fn help(&self) {
        let mut moved = self.notes().moved;
        if self.core().step(&mut moved).is_none() {
            self.notes().go_on.push(moved);
        }
    }

    pub(super) fn take(&self) {
        self.admit(1);
    }

    pub(super) fn join(&self) {
        self.enqueue(1, None);
    }

    pub(super) fn join_first(&self) {
        self.enqueue(0, None);
    }

    /// Joins as far as that goes without a helper's steps, if a slot is free, and the rest of the way at the end.
    pub(super) fn claim(&self) {
        let (core, queue) = (self.core(), &self.core().queue);
        let Some(slot) = queue.ring.claim() else {
            return;
        };
        queue.cost(slot, 0).store(COSTS[1], Relaxed);
        match queue.ring.append(slot) {
            Some(number) => {
                core.announce();
                self.has_joined(slot, number);
            }
            None => self.notes().claimed = Some(slot),
        }
    }

    fn has_joined(&self, slot: usize, number: u64) {
        let amounts = requests(COSTS[1]).amounts().unwrap();
        let ticket = Ticket::new(self.core().serial, number, slot, amounts);
        self.core().waiter(slot).token.store(2, Release);
        self.notes().tickets[1] = Some(ticket);
    }

    pub(super) fn poll(&self) {
        self.look(0);
    }

    /// An event loop that has looked before the helper began: it must be called, or look again.
    pub(super) fn arm(&self) {
        if !self.core().arm(0, 0, u64::MAX) {
            self.look(0);
        }
    }

    /// The same for a thread: it must be woken, or not fall asleep.
    pub(super) fn doze(&self) {
        self.core().doze(0, 0, u64::MAX);
    }

    pub(super) fn leave(&self) {
        self.limiter.leave(self.ticket(0).unwrap());
    }

    pub(super) fn second_leaves(&self) {
        self.says_that_it_leaves(1);
    }

    /// And nothing more, yet.
    fn says_that_it_leaves(&self, index: usize) {
        let ticket = self.ticket(index).unwrap();
        let (core, slot) = (self.core(), ticket.slot());
        let costs = core.costs(slot);
        let waiter = core.waiter(slot);
        assert!(waiter.shift(ticket.number, Phase::Waiting, Phase::Cancelled));
        core.note_left(&costs, |cost| cost);
        self.notes().go_on.push(false);
    }

    /// Tells the gate of a change, and the queue afterwards.
    fn tells(&self, delta: u64) {
        self.core().hot.gate.fetch_add(delta, AcqRel);
        self.notes().go_on.push(true);
    }

    pub(super) fn release(&self) {
        let (grant, _) = self.notes().permits.remove(0);
        self.limiter.release_grant(grant);
    }

    pub(super) fn slot(&self) {
        self.notes().permits.remove(0);
        self.tells(SLOT);
    }

    pub(super) fn refund(&self) {
        let mut grant = self.of_two();
        self.limiter.adjust_grant(&mut grant, &requests(1)).unwrap();
        self.cheaper(grant);
    }

    pub(super) fn token(&self) {
        let grant = self.of_two();
        let (at, amount) = (grant.at, 2);
        for ledger in self.core().ledgers() {
            self.core().refund(ledger, 1, Stands { at, amount });
        }
        self.tells(0);
        self.cheaper(grant);
    }

    pub(super) fn charge(&self) {
        self.limiter.charge(&requests(2)).unwrap();
        self.charged();
    }

    pub(super) fn usage(&self) {
        self.core()
            .ledgers()
            .for_each(|ledger| self.core().charge(ledger, 2));
        self.tells(EVENT);
        self.charged();
    }

    pub(super) fn pause(&self) {
        self.limiter.pause(0, SECOND).unwrap();
        self.bar();
    }

    pub(super) fn paused(&self) {
        self.core().pause_line(0, SECOND).unwrap();
        self.tells(EVENT);
        self.bar();
    }

    pub(super) fn retune(&self) {
        self.limiter.retune(0, 2, SECOND, BURST).unwrap();
    }

    pub(super) fn retuned(&self) {
        let next = |_: &mut Quota| (2, 1_000_000_000, BURST);
        self.core().retune_line(0, next).unwrap();
        self.tells(EVENT);
    }

    /// The head costs more than the bucket holds from then on.
    pub(super) fn cut(&self) {
        self.notes().is_cut = true;
        let next = |_: &mut Quota| (1, 1_000_000_000, 1);
        self.core().retune_line(0, next).unwrap();
        self.tells(EVENT);
        self.bar();
    }

    pub(super) fn shrink(&self) {
        self.limiter.resize(1).unwrap();
        self.bar();
    }

    pub(super) fn shrunk(&self) {
        if self.core().resize_slots(1).unwrap() {
            self.notes().go_on.push(true);
        }
        self.bar();
    }

    pub(super) fn close(&self) {
        self.limiter.close();
        self.bar();
    }

    pub(super) fn tick(&self) {
        self.clock.advance(SECOND);
    }
}

/// Where the two threads begin.
impl Scene {
    /// Nobody waits; there are two tokens and a slot.
    pub(super) fn open(buckets: usize) -> Self {
        let scene = Self::new(buckets, 2);
        scene.release();
        scene
    }

    /// The head waits for a slot, and for `timeout` at most.
    pub(super) fn queued(buckets: usize, waiters: usize, timeout: Option<Duration>) -> Self {
        let scene = Self::new(buckets, waiters);
        scene.enqueue(0, timeout);
        scene.look(0);
        scene
    }

    /// Something has happened that the queue was not told.
    pub(super) fn then(self, change: fn(&Self)) -> Self {
        change(&self);
        self.notes().go_on.clear();
        self.notes().barred_at = None;
        self.notes().moved = true;
        self
    }

    /// The head has looked and is not asleep yet: an event loop, or a thread if `token` is 0.
    pub(super) fn awake(self, token: u64) -> Self {
        let waiter = self.core().waiter(0);
        waiter.token.store(token, Release);
        waiter.sleeper.word.store(0, Release);
        self
    }

    pub(super) fn head_leaves(self) -> Self {
        self.says_that_it_leaves(0);
        self.notes().go_on.clear();
        self
    }

    pub(super) fn late(self) -> Self {
        self.clock.advance(2 * SECOND);
        self
    }

    pub(super) fn steps(self, steps: usize) -> Self {
        let mut moved = self.notes().moved;
        (0..steps).for_each(|_| assert_eq!(self.core().step(&mut moved), None));
        self.notes().moved = moved;
        self
    }

    /// The head waits for a token, and the second one could be granted if the head were not there.
    pub(super) fn two_wait() -> Self {
        let scene = Self::open(1);
        scene.limiter.charge(&requests(1)).unwrap();
        scene.notes().kept += 1;
        for index in [0, 1] {
            scene.enqueue(index, None);
            scene.look(index);
        }
        scene
    }
}

/// What must hold at the end of each schedule.
impl Scene {
    pub(super) fn is_settled(&self) {
        let core = self.core();
        if let Some(granted) = self.notes().barred_at {
            assert_eq!(core.gate().grants(), granted, "admitted after the change");
        }
        let go_on = std::mem::take(&mut self.notes().go_on);
        for moved in go_on {
            core.advance(moved);
        }
        let claimed = self.notes().claimed.take();
        if let Some(slot) = claimed {
            self.has_joined(slot, core.join(slot));
        }
        for index in [0, 1] {
            self.has_its_turn(index);
        }
        let permits = std::mem::take(&mut self.notes().permits);
        for (grant, _) in permits {
            self.limiter.release_grant(grant);
        }
        core.advance(false);
        let (stats, gate) = (self.limiter.stats(), core.gate());
        assert_eq!((stats.waiting, stats.in_flight), (0, 0));
        assert!(!gate.is_queued() || gate.is_closed());
        let notes = self.notes();
        let produced = (self.clock.now_ns() / 1_000_000_000) as i64;
        let left = (BURST as i64 + produced - notes.kept).min(BURST as i64);
        for ledger in core.ledgers() {
            let available = self.limiter.limit_state(ledger).unwrap().available;
            assert!(notes.is_cut || available == left, "{available}, not {left}");
        }
    }

    /// Whoever still has a ticket looks at it when it is called or its plan has come. Else there is nothing to be seen: it
    /// waits, and not for less long than it had planned.
    fn has_its_turn(&self, index: usize) {
        let Some(mut ticket) = self.ticket(index) else {
            return;
        };
        let (core, waiter) = (self.core(), self.core().waiter(ticket.slot()));
        let plan = waiter.plan.load(Acquire);
        let is_asleep = waiter.sleeper.word.load(Acquire) & Slot::ARMED != 0
            && plan > core.clock.now()
            && self.bells.0[index].load(SeqCst) == 0;
        let sees_nothing = match self.limiter.advance_ticket(&mut ticket) {
            Step::Pending { .. } => {
                let sees_nothing = waiter.plan.load(Acquire) >= plan;
                self.limiter.leave(ticket);
                sees_nothing
            }
            Step::Held(grant) => {
                self.holds(grant, COSTS[index]);
                false
            }
            _ => false,
        };
        assert!(
            !is_asleep || sees_nothing,
            "nobody has called the owner of ticket {index}"
        );
    }
}
