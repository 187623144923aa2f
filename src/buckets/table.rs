//! The slots of a [`BucketMap`](super::BucketMap): which key has one, and the ledger of its bucket.
//!
//! ```text
//! tag        63                                                       0
//!            | keyed hash of the key                                   |     0: nobody's so far
//!
//! state      63                                        12 11          0
//!            | position: empty at this production, mod 2^52 | uses: 12 |     odd: changing hands
//! ```
//!
//! `balance = min(burst, produced - position)`: one word has all that there is to know of a bucket, so one exchange takes
//! from it, and a full one without an owner is the same as none. A row of four slots is a cache line. A key's slot is in one
//! of the [`WINDOW`] rows from its home on, and it is the only one.
//!
//! *Who finds a slot.* A slot gets another key in three steps: its state becomes odd, the tag is exchanged, the state becomes
//! even again, two uses on. Whoever reads an even state and *behind it* the tag of its key knows that the state is
//! that key's, and an exchange on it fails once the slot has begun to change hands.
//!
//! *Who gets a slot.* New keys come in by the entrance of their stripe, one at a time, and look again behind the door: so no key
//! has two slots. A slot once used is never empty again, and a key is put no further than the first empty one: so
//! a search ends there. Of full buckets the one that was idle for the longest gives way.
//!
//! *Old readings of the clock.* Bucket A is found full and gives way; then somebody brings A's key back with a reading
//! from before that. In a bucket that is full at such a time, production up to the eviction would count twice. So whoever evicts
//! notes its reading at the stripe of the key that goes, before it is gone, and whoever comes in reads that note once it has seen
//! that the key is gone.
//!
//! *No room.* Keys share a bucket then, one for 16 homes. What such a key has used is known there only, so none of
//! those that might use a shared bucket gets a slot before that is full.
//!
//! Positions are compared modulo 2^52. So that those of idle buckets do not fall 2^51 behind, one call in 2^48 tokens of
//! production [moves them on](Table::renew).
//!
//! An exchange succeeds wrongly if its thread slept while the slot changed hands a multiple of 2^11 times, all within what
//! it takes to produce one token (positions only grow, but for refunds): one key then pays for another one's request.

use super::Overflow;
use crate::entries::{Entries, Zeroed};
use crate::limit::account::{TAG_BITS, TAG_MASK, signed_position};
use crate::sync::{AcqRel, Acquire, AtomicU64, Mutex, Relaxed, Release, lock};
use crossbeam_utils::CachePadded;

/// Rows in which a key may be, half a kilobyte. Of as many keys as the capacity, with no bucket full, 5 in a million find no room.
#[cfg(not(any(loom, shuttle)))]
pub(super) const WINDOW: usize = 8;
#[cfg(any(loom, shuttle))]
pub(super) const WINDOW: usize = 1;
/// Keys in a row when the table holds as many as it is made for.
const KEYS_PER_ROW: usize = 2;
/// How many homes share one bucket for when there is no room.
const HOMES_PER_SHARED: usize = 16;
#[cfg(not(any(loom, shuttle)))]
const STRIPES: usize = 32;
#[cfg(any(loom, shuttle))]
const STRIPES: usize = 2;
/// Production after which idle buckets are moved on.
pub(super) const RENEWAL: u64 = 1 << 48;

struct Slot {
    tag: AtomicU64,
    state: AtomicU64,
}

#[repr(align(64))]
struct Row([Slot; 4]);

// SAFETY: atomics of 0 are valid, and need no drop.
unsafe impl Zeroed for Row {
    #[cfg(any(loom, shuttle))]
    fn zeroed() -> Self {
        Self(std::array::from_fn(|_| Slot {
            tag: AtomicU64::new(0),
            state: AtomicU64::new(0),
        }))
    }
}

/// What new keys of one share of all tags have in common.
struct Stripe {
    entrance: Mutex<()>,
    /// The latest production at which a bucket of this stripe was found full and evicted.
    evicted_at: AtomicU64,
    filled: AtomicU64,
    evictions: AtomicU64,
    overflows: AtomicU64,
}

/// A reading of the clock, and what has been produced by then.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: u64,
    pub(super) produced: u64,
}

/// Why a bucket was left as it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unable {
    /// It has only this much at tick `now`.
    Short { now: u64, balance: i64 },
    /// There is no bucket to be had.
    Crowded,
}

/// What came of an exchange that was not made.
enum Missed {
    Short(i64),
    Moved,
}

/// Sums over all stripes.
pub(super) struct Counts {
    pub(super) keys: u64,
    pub(super) evictions: u64,
    pub(super) overflows: u64,
}

/// See the [module](self).
pub(super) struct Table {
    rows: Entries<Row>,
    homes: u64,
    burst: u64,
    pub(super) overflow: Overflow,
    /// States without uses.
    shared: Box<[AtomicU64]>,
    stripes: Box<[CachePadded<Stripe>]>,
    /// Production at which idle buckets are moved on next.
    horizon: AtomicU64,
}

impl Slot {
    /// The state, if it is that of `tag`'s bucket.
    #[inline(always)]
    fn state_of(&self, tag: u64) -> Option<u64> {
        let state = self.state.load(Acquire);
        // Behind the state: whatever it was before, from here on an exchange on that state is for this tag or fails.
        let is_settled = state & 1 == 0 && self.tag.load(Acquire) == tag;
        is_settled.then_some(state)
    }
}

/// What has been produced since the bucket was empty; more than its burst if it is idle.
#[inline(always)]
fn level(state: u64, produced: u64) -> i64 {
    signed_position(produced.wrapping_sub(state >> TAG_BITS))
}

impl Table {
    /// A table for `capacity` keys whose production stands at `produced`, or nothing if there is no memory for it.
    pub(super) fn new(capacity: usize, burst: u64, produced: u64) -> Option<Self> {
        let homes = capacity.div_ceil(KEYS_PER_ROW);
        let full = produced.wrapping_sub(burst) << TAG_BITS;
        let stripe = || {
            CachePadded::new(Stripe {
                entrance: Mutex::new(()),
                evicted_at: AtomicU64::new(0),
                filled: AtomicU64::new(0),
                evictions: AtomicU64::new(0),
                overflows: AtomicU64::new(0),
            })
        };
        Some(Self {
            rows: Entries::new(homes + WINDOW - 1)?,
            homes: homes as u64,
            burst,
            overflow: Overflow::default(),
            shared: (0..homes.div_ceil(HOMES_PER_SHARED))
                .map(|_| AtomicU64::new(full))
                .collect(),
            stripes: (0..STRIPES).map(|_| stripe()).collect(),
            horizon: AtomicU64::new(produced + RENEWAL),
        })
    }

    /// Does to the bucket of `tag` what `cost` says: given the balance, how much to charge (less than 0 gives back, which a
    /// bucket that is shared does not take), or nothing for a refusal. A full bucket has to have a cost. `moment` is the first
    /// reading of the clock.
    #[inline(always)]
    pub(super) fn apply(
        &self,
        mut moment: Moment,
        tag: u64,
        clock: impl Fn() -> Moment,
        cost: impl Fn(i64) -> Option<i64>,
    ) -> Result<(), Unable> {
        loop {
            let Moment { now, produced } = moment;
            if produced >= self.horizon.load(Relaxed) {
                self.renew(produced);
            }
            let Some((slot, state)) = self.find(tag) else {
                return self.enter(tag, &clock, &cost);
            };
            match self.charge(&slot.state, state, produced, &cost) {
                Ok(()) => return Ok(()),
                Err(Missed::Short(balance)) => return Err(Unable::Short { now, balance }),
                Err(Missed::Moved) => moment = clock(),
            }
        }
    }

    /// Charges a bucket if its word is still the one that was seen.
    #[inline(always)]
    fn charge(
        &self,
        word: &AtomicU64,
        seen: u64,
        produced: u64,
        cost: impl Fn(i64) -> Option<i64>,
    ) -> Result<(), Missed> {
        let (level, burst) = (level(seen, produced), self.burst as i64);
        let balance = level.min(burst);
        let cost = cost(balance).ok_or(Missed::Short(balance))?;
        if cost == 0 {
            return Ok(());
        }
        let moved = (level - balance + cost) as u64;
        word.compare_exchange(seen, seen.wrapping_add(moved << TAG_BITS), AcqRel, Acquire)
            .map(|_| ())
            .map_err(|_| Missed::Moved)
    }

    #[inline(always)]
    fn home(&self, tag: u64) -> usize {
        ((u128::from(tag) * u128::from(self.homes)) >> 64) as usize
    }

    #[inline(always)]
    fn window(&self, tag: u64) -> &[Row] {
        let home = self.home(tag);
        &self.rows[home..home + WINDOW]
    }

    /// The slot of `tag` and its state. May miss one next to which others are coming in.
    #[inline(always)]
    fn find(&self, tag: u64) -> Option<(&Slot, u64)> {
        for Row(slots) in self.window(tag) {
            let mut here = 0u32;
            let mut is_last = false;
            // All four, then one decision: where in a row a key is cannot be foretold.
            for (index, slot) in slots.iter().enumerate() {
                let other = slot.tag.load(Relaxed);
                here |= u32::from(other == tag) << index;
                is_last |= other == 0;
            }
            if here != 0 {
                let slot = &slots[here.trailing_zeros() as usize & 3];
                return slot.state_of(tag).map(|state| (slot, state));
            }
            if is_last {
                return None;
            }
        }
        None
    }

    /// The same for whoever has the entrance, and misses none. Nobody has gone past a slot that is still empty.
    fn search(&self, tag: u64) -> Option<(&Slot, u64)> {
        let slots = self.window(tag).iter().flat_map(|row| &row.0);
        slots
            .take_while(|slot| !slot.is_empty())
            .find_map(|slot| slot.state_of(tag).map(|state| (slot, state)))
    }

    /// The same as [`apply`](Self::apply) for a key that seems to have no slot.
    #[cold]
    #[inline(never)]
    fn enter(
        &self,
        tag: u64,
        clock: &dyn Fn() -> Moment,
        cost: &dyn Fn(i64) -> Option<i64>,
    ) -> Result<(), Unable> {
        let stripe = self.stripe(tag);
        let _one_at_a_time = lock(&stripe.entrance);
        loop {
            let found = self.search(tag);
            let moment = clock();
            // Behind the search: whoever has taken the key's slot away has noted when.
            let produced = moment.produced.max(stripe.evicted_at.load(Acquire));
            let (word, seen) = match found {
                Some((slot, state)) => (&slot.state, state),
                None => {
                    let first = cost(self.burst as i64).unwrap_or_default();
                    if first <= 0 {
                        return Ok(());
                    }
                    let shared = &self.shared[self.home(tag) / HOMES_PER_SHARED];
                    let seen = shared.load(Acquire);
                    let may_settle =
                        self.overflow == Overflow::Refuse || self.is_full(seen, produced);
                    if may_settle && self.settle(tag, produced, first) {
                        return Ok(());
                    }
                    if self.overflow == Overflow::Refuse {
                        stripe.overflows.fetch_add(1, Relaxed);
                        return Err(Unable::Crowded);
                    }
                    (shared, seen)
                }
            };
            let outcome = match self.charge(word, seen, produced, cost) {
                Ok(()) => Ok(()),
                Err(Missed::Short(balance)) => Err(Unable::Short {
                    now: moment.now,
                    // As of the caller's own reading.
                    balance: balance - (produced - moment.produced) as i64,
                }),
                Err(Missed::Moved) => continue,
            };
            if found.is_none() {
                stripe.overflows.fetch_add(1, Relaxed);
            }
            return outcome;
        }
    }

    #[inline(always)]
    fn is_full(&self, state: u64, produced: u64) -> bool {
        level(state, produced) >= self.burst as i64
    }

    /// Gives `tag` a slot with a full bucket, less `cost`. Says whether there was one.
    fn settle(&self, tag: u64, produced: u64, cost: i64) -> bool {
        let stripe = self.stripe(tag);
        while let Some((slot, state)) = self.vacancy(tag, produced) {
            let old = slot.tag.load(Acquire);
            if old != 0 {
                // Before it is gone; if it stays after all, it was full at that time nonetheless.
                self.stripe(old).evicted_at.fetch_max(produced, AcqRel);
            }
            let claim = slot
                .state
                .compare_exchange(state, state | 1, AcqRel, Acquire);
            if claim.is_err() {
                continue;
            }
            let counted = if old == 0 {
                &stripe.filled
            } else {
                &stripe.evictions
            };
            counted.fetch_add(1, Relaxed);
            let position = produced.wrapping_sub(self.burst).wrapping_add(cost as u64);
            let uses = ((state & TAG_MASK) + 2) & TAG_MASK;
            slot.tag.store(tag, Release);
            slot.state.store(position << TAG_BITS | uses, Release);
            return true;
        }
        false
    }

    /// An empty slot of the window; else of the first row with a full bucket the one that was idle for the longest.
    fn vacancy(&self, tag: u64, produced: u64) -> Option<(&Slot, u64)> {
        let mut idlest = None;
        for Row(slots) in self.window(tag) {
            let is_first = idlest.is_none();
            let mut most = self.burst as i64;
            for slot in slots {
                let state = slot.state.load(Acquire);
                if state == 0 && slot.tag.load(Acquire) == 0 {
                    return Some((slot, state));
                }
                let level = level(state, produced);
                if is_first && state & 1 == 0 && level >= most {
                    (most, idlest) = (level, Some((slot, state)));
                }
            }
        }
        idlest
    }

    #[inline(always)]
    fn stripe(&self, tag: u64) -> &Stripe {
        // Its low bits; the home is in the high ones.
        &self.stripes[tag as usize % STRIPES]
    }

    /// Moves the positions of full buckets up to where they are just full.
    #[cold]
    #[inline(never)]
    fn renew(&self, produced: u64) {
        let horizon = self.horizon.load(Relaxed);
        let next = produced + RENEWAL;
        let claim = |seen| {
            self.horizon
                .compare_exchange(seen, next, AcqRel, Relaxed)
                .is_ok()
        };
        if produced < horizon || !claim(horizon) {
            return;
        }
        let slots = self.rows.iter().flat_map(|row| &row.0);
        let used = slots.filter(|slot| slot.tag.load(Acquire) != 0);
        for word in used.map(|slot| &slot.state).chain(&self.shared) {
            let seen = word.load(Acquire);
            if seen & 1 == 0 && self.is_full(seen, produced) {
                let idle = level(seen, produced) as u64 - self.burst;
                let moved = seen.wrapping_add(idle << TAG_BITS);
                // If it fails, somebody else has moved it.
                let _ = word.compare_exchange(seen, moved, AcqRel, Acquire);
            }
        }
    }

    pub(super) fn counts(&self) -> Counts {
        let sum = |count: fn(&Stripe) -> &AtomicU64| {
            let stripes = self.stripes.iter();
            stripes.map(|stripe| count(stripe).load(Relaxed)).sum()
        };
        Counts {
            keys: sum(|stripe| &stripe.filled),
            evictions: sum(|stripe| &stripe.evictions),
            overflows: sum(|stripe| &stripe.overflows),
        }
    }

    /// What the bucket that `tag` would take from has.
    pub(super) fn balance(&self, tag: u64, produced: u64) -> i64 {
        let state = self.find(tag).map(|(_, state)| state);
        let state = state.unwrap_or_else(|| {
            let _nobody_comes_in = lock(&self.stripe(tag).entrance);
            let own = self.search(tag).map(|(_, state)| state);
            own.unwrap_or_else(|| self.shared[self.home(tag) / HOMES_PER_SHARED].load(Acquire))
        });
        level(state, produced).min(self.burst as i64)
    }

    /// Bytes that the table takes.
    #[cfg(all(test, not(any(loom, shuttle))))]
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + size_of_val(&*self.rows)
            + size_of_val(&*self.shared)
            + size_of_val(&*self.stripes)
    }
}

impl Slot {
    fn is_empty(&self) -> bool {
        self.state.load(Acquire) == 0 && self.tag.load(Acquire) == 0
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    /// What is documented at `BucketMap`.
    #[test]
    fn the_memory_is_what_it_is_said_to_be() {
        for capacity in [1, 1_000, 1_000_000] {
            let table = Table::new(capacity, 10, 1 << 49).unwrap();
            let most = 32.25 * capacity as f64 + 5.0 * 1024.0;
            assert!(
                table.bytes() as f64 <= most,
                "{capacity}: {}",
                table.bytes()
            );
        }
        let million = Table::new(1_000_000, 10, 1 << 49).unwrap();
        assert!(million.bytes() <= 34 * 1_000_000);
        assert_eq!((size_of::<Row>(), align_of::<Row>()), (64, 64));
        assert_eq!(std::ptr::from_ref(&million.rows[0]).addr() % 64, 0);
    }
}
