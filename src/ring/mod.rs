//! The queue's memory: places in order, and the slots of those who wait.
//!
//! Two arrays, no pointers, allocated once. A *slot* belongs to one waiter from the moment it joins until it has
//! picked up its outcome, however late that is. A *place* is one position of the order, `ticket mod capacity`, and
//! names the slot of the ticket that stands there; it is free again as soon as the head has passed. So a waiter
//! that never comes back costs one slot and holds nobody up.
//!
//! ```text
//! place      63              21 20         0
//!           | lap: 43          | slot + 1   |      0 in the low part: free for the ticket of this lap
//!
//! state      63               8 7          0
//!           | ticket: 56       | phase: 8   |
//! ```
//!
//! Tickets are handed out by claiming places: the place of ticket `t` goes from "free for t" to "t is in slot s" by
//! one compare-exchange, and only while `tail` is `t`, so the order has no holes. Every value is tagged with its
//! ticket or its lap, so an exchange prepared for one ticket cannot hit another.

pub(crate) mod gate;

use crate::park::Sleeper;
use crate::sync::{AcqRel, Acquire, AtomicU32, AtomicU64, Relaxed, Release, zeroed};
use crossbeam_utils::CachePadded;

/// How far a ticket has come.
///
/// ```text
/// Free -> Claimed -> Waiting -> Granting -> Granted -> Free
///                      |  |        |  `---------------> Lost -> Claimed
///                      |  `-> Expired | Misfit ---> TimedOut | Never -> Free
///                      `----> Cancelled ------------------------------> Free
/// ```
///
/// The owner makes the moves into Claimed, Waiting, Cancelled, and out of an outcome; anybody makes the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Nobody's. The ticket is the last tenant's.
    Free = 0,
    /// Somebody is filling it in.
    Claimed = 1,
    /// In the queue.
    Waiting = 2,
    /// The head, seen to be affordable: from here the gate word decides whether it is granted or leaves.
    Granting = 3,
    /// Outcome: admitted. Waits for its owner.
    Granted = 4,
    /// Left by its owner; freed by whoever moves the head past it.
    Cancelled = 5,
    /// The head, found to be past its deadline.
    Expired = 6,
    /// Outcome of Expired.
    TimedOut = 7,
    /// The head, found to cost more than a limit holds since a retune.
    Misfit = 8,
    /// Outcome of Misfit.
    Never = 9,
    /// Outcome of a passed ticket that nobody decided, which takes a wrap-around of the gate word. Its owner joins again.
    Lost = 10,
}

const PHASES: [Phase; 11] = [
    Phase::Free,
    Phase::Claimed,
    Phase::Waiting,
    Phase::Granting,
    Phase::Granted,
    Phase::Cancelled,
    Phase::Expired,
    Phase::TimedOut,
    Phase::Misfit,
    Phase::Never,
    Phase::Lost,
];

/// A phase and whose it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct State(u64);

impl State {
    pub(crate) fn new(ticket: u64, phase: Phase) -> Self {
        Self(ticket << 8 | phase as u64)
    }

    /// The phase, if the slot is `ticket`'s.
    pub(crate) fn of(self, ticket: u64) -> Option<Phase> {
        (self.0 >> 8 == ticket).then(|| self.phase())
    }

    fn phase(self) -> Phase {
        PHASES[(self.0 & 0xff) as usize]
    }
}

/// What a waiter leaves for those who act for it. One cache line.
#[repr(align(64))]
pub(crate) struct Slot {
    state: AtomicU64,
    /// Tick at which the owner looks again by itself. Meaningful while it is armed.
    pub(crate) plan: AtomicU64,
    /// Last tick at which the ticket may be granted.
    pub(crate) deadline: AtomicU64,
    /// Tick at which it joined.
    pub(crate) since: AtomicU64,
    /// Tick at which its grant was decided, or a little before; 0 while it is not.
    pub(crate) decided: AtomicU64,
    /// What the wake callback is given; 0 for a thread that sleeps, and for a guest.
    pub(crate) token: AtomicU64,
    /// 1 for a waiter that brings its own callback.
    pub(crate) guest: AtomicU32,
    /// Counts notifications in steps of [`Slot::COUNT`]; [`Slot::ARMED`] is set while the owner does not look before its plan.
    pub(crate) sleeper: Sleeper,
}

impl Slot {
    pub(crate) const ARMED: u32 = 1;
    pub(crate) const COUNT: u32 = 2;

    fn new() -> Self {
        Self {
            state: AtomicU64::new(0),
            plan: AtomicU64::new(0),
            deadline: AtomicU64::new(0),
            since: AtomicU64::new(0),
            decided: AtomicU64::new(0),
            token: AtomicU64::new(0),
            guest: AtomicU32::new(0),
            sleeper: Sleeper::default(),
        }
    }

    #[inline]
    pub(crate) fn state(&self) -> State {
        State(self.state.load(Acquire))
    }

    /// `ticket` goes from one phase to another, if it is in the first.
    pub(crate) fn shift(&self, ticket: u64, from: Phase, to: Phase) -> bool {
        let (from, to) = (State::new(ticket, from), State::new(ticket, to));
        self.state
            .compare_exchange(from.0, to.0, AcqRel, Acquire)
            .is_ok()
    }

    fn set(&self, state: State) {
        self.state.store(state.0, Release);
    }
}

/// Who stands at a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// The ticket of this lap has not been handed out.
    Free,
    /// It is in this slot.
    Taken(usize),
    /// The head has passed it, and the place is free for the next lap.
    Passed,
    /// The ticket of the lap before still stands there.
    Behind,
}

/// See the [module](self).
pub(crate) struct Ring {
    places: Box<[AtomicU64]>,
    slots: Box<[Slot]>,
    /// How often a slot was claimed, counted before one is searched for; above `freed` by no more than there are.
    claimed: CachePadded<AtomicU64>,
    /// How often a slot was given back.
    freed: CachePadded<AtomicU64>,
    /// Where the search for a free slot starts; a hint.
    next_free: AtomicU64,
    head: CachePadded<AtomicU64>,
    tail: CachePadded<AtomicU64>,
}

const SLOT_BITS: u32 = 21;
/// With fewer places laps would come so fast that their counter could wrap around within a year.
const LEAST_PLACES: usize = if cfg!(any(loom, shuttle)) { 1 } else { 1024 };

impl Ring {
    pub(crate) fn new(max_waiters: usize) -> Self {
        Self {
            places: zeroed(max_waiters.next_power_of_two().max(LEAST_PLACES)),
            slots: (0..max_waiters).map(|_| Slot::new()).collect(),
            claimed: CachePadded::new(AtomicU64::new(0)),
            freed: CachePadded::new(AtomicU64::new(0)),
            next_free: AtomicU64::new(0),
            head: CachePadded::new(AtomicU64::new(0)),
            tail: CachePadded::new(AtomicU64::new(0)),
        }
    }

    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// How many wait, or have an outcome that they have not picked up: whoever is counted has its turn.
    pub(crate) fn waiting(&self) -> u64 {
        let joined = self.tail.load(Acquire);
        joined.saturating_sub(self.freed.load(Acquire))
    }

    /// The first ticket that has not been passed; may lag behind the gate word by one step that anybody can make.
    pub(crate) fn head(&self) -> u64 {
        self.head.load(Acquire)
    }

    pub(crate) fn move_head(&self, from: u64) -> bool {
        self.head
            .compare_exchange(from, from + 1, AcqRel, Acquire)
            .is_ok()
    }

    fn place_of(&self, ticket: u64) -> (&AtomicU64, u64) {
        let (index, lap) = self.position(ticket);
        (&self.places[index], lap << SLOT_BITS)
    }

    fn position(&self, ticket: u64) -> (usize, u64) {
        let capacity = self.places.len() as u64;
        ((ticket % capacity) as usize, ticket / capacity)
    }

    pub(crate) fn place(&self, ticket: u64) -> Place {
        let (place, free) = self.place_of(ticket);
        let seen = place.load(Acquire);
        match seen.checked_sub(free) {
            None => Place::Behind,
            Some(0) => Place::Free,
            Some(slot) if slot < 1 << SLOT_BITS => Place::Taken(slot as usize - 1),
            Some(_) => Place::Passed,
        }
    }

    /// Makes the place of a passed ticket free for the next lap.
    pub(crate) fn vacate(&self, ticket: u64, slot: usize) {
        let (place, free) = self.place_of(ticket);
        let taken = free + slot as u64 + 1;
        let _ = place.compare_exchange(taken, free + (1 << SLOT_BITS), AcqRel, Acquire);
    }

    /// A slot for the caller alone, or nothing if all are in use.
    pub(crate) fn claim(&self) -> Option<usize> {
        let mut claimed = self.claimed.load(Acquire);
        loop {
            // Not "add, and take back if it was too much": that would refuse a third one for nothing.
            if claimed.saturating_sub(self.freed.load(Acquire)) >= self.slots.len() as u64 {
                return None;
            }
            match self
                .claimed
                .compare_exchange(claimed, claimed + 1, AcqRel, Acquire)
            {
                Ok(_) => break,
                Err(seen) => claimed = seen,
            }
        }
        let mut index = self.next_free.load(Relaxed) as usize;
        loop {
            // The reservation above says that a free slot exists; the hint usually names it.
            index = if index < self.slots.len() { index } else { 0 };
            let slot = &self.slots[index];
            let state = slot.state();
            index += 1;
            if state.phase() == Phase::Free {
                let claimed = State(state.0 & !0xff | Phase::Claimed as u64);
                if slot
                    .state
                    .compare_exchange(state.0, claimed.0, AcqRel, Acquire)
                    .is_ok()
                {
                    self.next_free.store(index as u64, Relaxed);
                    return Some(index - 1);
                }
            }
            crate::sync::pause();
        }
    }

    /// The slot of a ticket that was passed without an outcome is its owner's as before, to join again with.
    pub(crate) fn reclaim(&self, ticket: u64, slot: usize) {
        self.slots[slot].shift(ticket, Phase::Lost, Phase::Claimed);
        // As if it had been given back and claimed: its ticket waits no more.
        self.claimed.fetch_add(1, AcqRel);
        self.freed.fetch_add(1, AcqRel);
    }

    /// Frees `slot`, which `ticket` leaves in `phase`; says whether this call did it.
    pub(crate) fn free(&self, ticket: u64, slot: usize, phase: Phase) -> bool {
        let freed = self.slots[slot].shift(ticket, phase, Phase::Free);
        if freed {
            self.freed.fetch_add(1, AcqRel);
        }
        freed
    }

    /// Puts the caller's slot at the end of the queue and gives its ticket, or nothing when a place is still
    /// taken by a passed ticket: then the caller helps the head along and tries again.
    pub(crate) fn append(&self, slot: usize) -> Option<u64> {
        let ticket = self.tail.load(Acquire);
        let (place, free) = self.place_of(ticket);
        match self.place(ticket) {
            Place::Free => {
                // Before the exchange that shows it to others; nobody else writes the state of a claimed slot.
                self.slots[slot].set(State::new(ticket, Phase::Waiting));
                let taken = free + slot as u64 + 1;
                let won = place.compare_exchange(free, taken, AcqRel, Acquire).is_ok();
                self.move_tail(ticket);
                won.then_some(ticket)
            }
            // The claimer has not moved the tail yet; the head may have passed it even so.
            Place::Taken(_) | Place::Passed => {
                self.move_tail(ticket);
                None
            }
            Place::Behind => None,
        }
    }

    fn move_tail(&self, from: u64) {
        let _ = self.tail.compare_exchange(from, from + 1, AcqRel, Acquire);
    }
}
