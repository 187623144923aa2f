//! The numbers that C holds instead of pointers: one entry per ticket or permit, allocated once.
//!
//! A number names an entry and one *use* of that entry, so a number that has ended, that belongs to another limiter, or
//! that was made up is told apart from a live one before anything behind it is touched:
//!
//! ```text
//! number     63                    21 20        0
//!           | generation: 43         | index: 21 |        generation = (base + uses) mod 2^43, never 0
//!
//! word       63      46 45        3 2          0
//!           | 0: 18    | uses: 43  | phase: 3   |
//! ```
//!
//! *Uses* counts how often the entry was given back. It returns to an old value after 2^43 uses of one entry: two and a half
//! days of doing nothing but acquire and settle on it at 25 ns each, with the stale number presented at just the right one
//! of those uses. *Base* is the limiter's tag: limiters start at multiples of the golden ratio, which keeps any thousand
//! of them at least 2^31 uses of one entry apart.
//!
//! ```text
//!         insert               hold                      claim
//!  Free ----------> Busy -----------------> Held  ----------------------> Busy ...
//!    ^               |  \ wait             Waiting ----------------------> Busy ...
//!    |   drop        |   `-----------------^
//!    `---------------+-- Missed: a poll came while Busy; `wait` fails and the owner polls again in its place
//! ```
//!
//! Whoever moves an entry to Busy owns its content until it moves it on, so content needs no lock, and of two calls with
//! the same number one is told that the other is at it. Acquire on the way in and Release on the way out order the content.
//!
//! Free entries form a chain that is a mere hint: its links are plain loads and stores, and two threads at once may
//! lose a part of it. Ownership is decided by the compare-exchange on the entry's own word, and what the chain lost is
//! found again by looking at used entries in turn before a fresh one is touched. So one exchange takes an entry and one
//! store gives it back, and memory that was never needed is never resident.

use crate::entries::{Cell, Entries, Zeroed};
use crate::sync::{AcqRel, Acquire, AtomicU32, AtomicU64, Relaxed, Release};
use crossbeam_utils::CachePadded;
use std::mem::{ManuallyDrop, MaybeUninit};

/// Entries that one table can have.
pub(super) const MAX_ENTRIES: usize = 1 << INDEX_BITS;

const INDEX_BITS: u32 = 21;
const COUNT_MASK: u64 = (1 << (64 - INDEX_BITS)) - 1;
const PHASE_BITS: u32 = 3;

const FREE: u64 = 0;
const BUSY: u64 = 1;
const MISSED: u64 = 2;
const WAITING: u64 = 3;
const HELD: u64 = 4;

fn word(uses: u64, phase: u64) -> u64 {
    uses << PHASE_BITS | phase
}

/// The entry that a number names, if there are so many.
#[inline(always)]
fn index(number: u64) -> usize {
    (number & (MAX_ENTRIES as u64 - 1)) as usize
}

/// Used entries that are looked at for one that fell off the chain, before a fresh one is taken.
const PROBES: usize = 8;

union Content<W, H> {
    waiting: ManuallyDrop<W>,
    held: ManuallyDrop<H>,
}

#[repr(align(64))]
struct Entry<W, H> {
    word: AtomicU64,
    /// Index + 1 of the entry that was freed before this one; 0 ends the chain.
    next: AtomicU32,
    content: Cell<MaybeUninit<Content<W, H>>>,
}

// SAFETY: atomics of 0 are valid, and so is content that need not be initialised. A table's content needs no drop.
unsafe impl<W, H> Zeroed for Entry<W, H> {
    #[cfg(any(loom, shuttle))]
    fn zeroed() -> Self {
        Self {
            word: AtomicU64::new(0),
            next: AtomicU32::new(0),
            content: Cell::new(MaybeUninit::uninit()),
        }
    }
}

/// Why a number cannot be worked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unclaimed {
    /// It names nothing, not any more or not here.
    Stale,
    /// Another call with the same number is under way.
    Busy,
}

/// What a number stands for; the claim on it comes with what was stored.
pub(super) enum Claimed<'a, W, H> {
    Waiting(Claim<'a, W, H>, W),
    Held(Claim<'a, W, H>, H),
}

/// See the [module](self).
pub(super) struct Table<W, H> {
    entries: Entries<Entry<W, H>>,
    base: u64,
    /// Head of the chain of free entries.
    chain: CachePadded<AtomicU32>,
    /// Entries from here on were never used.
    fresh: AtomicU32,
    cursor: AtomicU32,
}

// SAFETY: content is reached only by the thread that moved the entry to Busy, as the module explains; it passes from
// thread to thread, which is what Send allows.
unsafe impl<W: Send, H: Send> Sync for Table<W, H> {}

impl<W, H> Table<W, H> {
    /// A table of `capacity` entries, or nothing if there is no memory for it. `serial` numbers the limiters of the process.
    pub(super) fn new(capacity: usize, serial: u64) -> Option<Self> {
        assert!((1..=MAX_ENTRIES).contains(&capacity));
        Some(Self {
            entries: Entries::new(capacity)?,
            base: (serial.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> INDEX_BITS).max(1),
            chain: CachePadded::new(AtomicU32::new(0)),
            fresh: AtomicU32::new(0),
            cursor: AtomicU32::new(0),
        })
    }

    #[inline(always)]
    fn generation(&self, uses: u64) -> u64 {
        self.base.wrapping_add(uses) & COUNT_MASK
    }

    /// Takes a free entry. A full table is known only after a look at every entry.
    #[inline(always)]
    pub(super) fn insert(&self) -> Option<Claim<'_, W, H>> {
        let first = self.chain.load(Relaxed);
        match first.checked_sub(1).and_then(|index| self.take(index)) {
            Some(claim) => {
                self.chain.store(claim.entry.next.load(Relaxed), Relaxed);
                Some(claim)
            }
            None => self.search(first),
        }
    }

    #[cold]
    #[inline(never)]
    fn search(&self, first: u32) -> Option<Claim<'_, W, H>> {
        if first != 0 {
            // A chain that begins with an entry in use leads nowhere. If its taker is about to move it on, it still will.
            let _ = self.chain.compare_exchange(first, 0, Relaxed, Relaxed);
        }
        let len = self.entries.len();
        let fresh = (self.fresh.load(Relaxed) as usize).min(len);
        if fresh == len {
            return self.look(len, len);
        }
        self.look(PROBES, fresh).or_else(|| {
            let index = self.fresh.fetch_add(1, Relaxed);
            let taken = ((index as usize) < len).then(|| self.take(index));
            taken.flatten().or_else(|| self.look(len, len))
        })
    }

    /// Tries up to `tries` of the first `among` entries, going on where the last search ended.
    fn look(&self, tries: usize, among: usize) -> Option<Claim<'_, W, H>> {
        let tries = tries.min(among);
        let start = self.cursor.load(Relaxed) as usize;
        (0..tries).find_map(|step| {
            let index = ((start + step) % among) as u32;
            let taken = self.take(index);
            if taken.is_some() || step + 1 == tries {
                self.cursor.store((index + 1) % among as u32, Relaxed);
            }
            taken
        })
    }

    /// Moves an entry from Free to Busy.
    #[inline(always)]
    fn take(&self, index: u32) -> Option<Claim<'_, W, H>> {
        let entry = &self.entries[index as usize];
        let seen = entry.word.load(Relaxed);
        let uses = seen >> PHASE_BITS;
        if seen != word(uses, FREE) {
            return None;
        }
        entry
            .word
            .compare_exchange(seen, word(uses, BUSY), Acquire, Relaxed)
            .ok()?;
        Some(Claim {
            table: self,
            entry,
            uses,
            number: self.generation(uses) << INDEX_BITS | u64::from(index),
        })
    }

    /// The entry that a number names, and how often it had been used when the number was given out.
    #[inline(always)]
    fn locate(&self, number: u64) -> Option<(&Entry<W, H>, u64)> {
        let entry = self.entries.get(index(number))?;
        let uses = (number >> INDEX_BITS).wrapping_sub(self.base) & COUNT_MASK;
        Some((entry, uses))
    }

    /// The numbers of all entries that are in use, or were a moment ago.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        let used = (self.fresh.load(Relaxed) as usize).min(self.entries.len());
        (0..used).map(|index| {
            let uses = self.entries[index].word.load(Relaxed) >> PHASE_BITS;
            self.generation(uses) << INDEX_BITS | index as u64
        })
    }

    /// Drops all that is stored and must be dropped; plain data is freed by its claims, or goes with the table.
    pub(super) fn clear(&self) {
        if const { std::mem::needs_drop::<W>() || std::mem::needs_drop::<H>() } {
            self.numbers()
                .for_each(|number| drop(self.claim(number, false)));
        }
    }

    /// Whether `number` is held, without claiming it.
    pub(super) fn is_held(&self, number: u64) -> bool {
        self.locate(number)
            .is_some_and(|(entry, uses)| entry.word.load(Relaxed) == word(uses, HELD))
    }

    /// Takes the entry of a permit. What is no permit, or not yet, is stale.
    #[inline(always)]
    pub(super) fn claim_held(&self, number: u64) -> Result<(Claim<'_, W, H>, H), Unclaimed> {
        let (entry, uses) = self.locate(number).ok_or(Unclaimed::Stale)?;
        let [held, busy, missed] = [HELD, BUSY, MISSED].map(|phase| word(uses, phase));
        // No look before: what it has found instead says why it failed.
        match entry.word.compare_exchange(held, busy, AcqRel, Relaxed) {
            Ok(_) => (),
            Err(seen) if seen == busy || seen == missed => return Err(Unclaimed::Busy),
            Err(_) => return Err(Unclaimed::Stale),
        }
        let claim = Claim {
            table: self,
            entry,
            uses,
            number,
        };
        // SAFETY: it was Held.
        let permit = unsafe { claim.permit() };
        Ok((claim, permit))
    }

    /// Changes a permit, which stays held.
    pub(super) fn change<T>(
        &self,
        number: u64,
        change: impl FnOnce(&mut H) -> T,
    ) -> Result<T, Unclaimed> {
        let (claim, mut permit) = self.claim_held(number)?;
        let changed = change(&mut permit);
        claim.hold(permit);
        Ok(changed)
    }

    /// Takes the entry of `number`, whatever is in it. With `note`, a call that comes second leaves word of that, and the
    /// first one does the second one's work before it answers.
    pub(super) fn claim(&self, number: u64, note: bool) -> Result<Claimed<'_, W, H>, Unclaimed> {
        let (entry, uses) = self.locate(number).ok_or(Unclaimed::Stale)?;
        let mut seen = entry.word.load(Relaxed);
        loop {
            if seen >> PHASE_BITS != uses {
                return Err(Unclaimed::Stale);
            }
            let phase = seen & ((1 << PHASE_BITS) - 1);
            let to = match phase {
                HELD | WAITING => BUSY,
                BUSY if note => MISSED,
                FREE => return Err(Unclaimed::Stale),
                _ => return Err(Unclaimed::Busy),
            };
            // Release as well: what the caller of a noted call did before it must be seen by the call that stands in for it.
            match entry
                .word
                .compare_exchange(seen, word(uses, to), AcqRel, Relaxed)
            {
                Ok(_) if to == MISSED => return Err(Unclaimed::Busy),
                Ok(_) => {
                    let claim = Claim {
                        table: self,
                        entry,
                        uses,
                        number,
                    };
                    return Ok(if phase == HELD {
                        // SAFETY: it was Held.
                        let permit = unsafe { claim.permit() };
                        Claimed::Held(claim, permit)
                    } else {
                        // SAFETY: it was Waiting.
                        let ticket = unsafe { claim.ticket() };
                        Claimed::Waiting(claim, ticket)
                    });
                }
                Err(now) => seen = now,
            }
        }
    }
}

impl<W, H> Drop for Table<W, H> {
    fn drop(&mut self) {
        self.clear();
    }
}

/// An entry that is this call's alone. Dropped, it is free again and its number stale. The entry and the use are kept
/// beside the number that names them: to find them again, with all checks, takes a nanosecond each time.
pub(super) struct Claim<'a, W, H> {
    table: &'a Table<W, H>,
    entry: &'a Entry<W, H>,
    uses: u64,
    number: u64,
}

impl<W, H> Claim<'_, W, H> {
    #[inline(always)]
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Leaves a permit in the entry.
    #[inline(always)]
    pub(super) fn hold(self, permit: H) {
        // SAFETY: the entry is Busy by this claim.
        unsafe {
            self.entry.content.with(|c| {
                (*c).write(Content {
                    held: ManuallyDrop::new(permit),
                })
            });
        }
        // A noted poll needs no other answer: this call reports that the permit is held.
        self.entry.word.store(word(self.uses, HELD), Release);
        std::mem::forget(self);
    }

    /// Leaves a ticket in the entry, unless a poll came in the meantime: then it gives everything back, to poll once more.
    pub(super) fn wait(self, ticket: W) -> Result<(), (Self, W)> {
        let uses = self.uses;
        let (busy, missed) = (word(uses, BUSY), word(uses, MISSED));
        // SAFETY: the entry is Busy by this claim.
        unsafe {
            self.entry.content.with(|c| {
                (*c).write(Content {
                    waiting: ManuallyDrop::new(ticket),
                })
            });
        }
        let waiting = word(uses, WAITING);
        let state = &self.entry.word;
        if state
            .compare_exchange(busy, waiting, AcqRel, Acquire)
            .is_ok()
        {
            std::mem::forget(self);
            return Ok(());
        }
        // Only the owner leaves Missed, so this exchange cannot fail; it takes over what the noted call had seen.
        let _ = state.compare_exchange(missed, busy, AcqRel, Acquire);
        // SAFETY: the ticket was written above.
        let ticket = unsafe { self.ticket() };
        Err((self, ticket))
    }

    /// Moves the permit out.
    ///
    /// # Safety
    /// `hold` was the last to write here, and the permit is moved out once.
    #[inline(always)]
    unsafe fn permit(&self) -> H {
        // SAFETY: the entry is Busy by this claim, and the caller answers for what is in it.
        let permit = unsafe { self.entry.content.with(|c| (*c).assume_init_read().held) };
        ManuallyDrop::into_inner(permit)
    }

    /// Moves the ticket out.
    ///
    /// # Safety
    /// `wait` was the last to write here, and the ticket is moved out once.
    unsafe fn ticket(&self) -> W {
        // SAFETY: the entry is Busy by this claim, and the caller answers for what is in it.
        let ticket = unsafe { self.entry.content.with(|c| (*c).assume_init_read().waiting) };
        ManuallyDrop::into_inner(ticket)
    }
}

impl<W, H> Drop for Claim<'_, W, H> {
    #[inline(always)]
    fn drop(&mut self) {
        let mut uses = (self.uses + 1) & COUNT_MASK;
        if self.table.generation(uses) == 0 {
            uses = (uses + 1) & COUNT_MASK;
        }
        let chain = &self.table.chain;
        self.entry.next.store(chain.load(Relaxed), Relaxed);
        self.entry.word.store(word(uses, FREE), Release);
        chain.store(index(self.number) as u32 + 1, Relaxed);
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
