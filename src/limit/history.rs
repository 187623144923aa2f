//! What was charged when: the memory of the limits that count over windows.
//!
//! An [`Account`]'s `charged` runs on as it does for a bucket; the history remembers where it stood when something was
//! charged for the first time at each *stamp*. Stamps are the windows that the limit's line produces (`line.rs`), so one
//! structure serves all:
//!
//! | limit | a stamp is | usage counts for so many stamps more (`reach`) |
//! | --- | --- | --- |
//! | fixed window | a window | 0 |
//! | sliding window counter | a window | 1, in proportion |
//! | sliding window, never over | the k-th part of a window | k |
//! | sliding window log | a nanosecond | the window less one |
//!
//! ```text
//! entry      stamp: 64
//!            start     63                        12 11       0
//!                     | position of `charged`: 52  | lap: 12  |    lap = index of the entry / number of entries
//! ```
//!
//! Entries form a ring. Those that count are `oldest ..= latest`, and what counts is `charged - start` of the oldest of
//! them: one subtraction, however many there are. An entry is *opened* before the first charge at its stamp, in three
//! steps that anybody can take on: its stamp (which grows from lap to lap, so nobody sets it twice), its start (tagged by
//! the lap), `latest`. A charge that another thread had prepared before counts in the new entry: later than it was made,
//! and so for longer than it had to.
//!
//! A refund goes to the window that was charged: it raises the start of every entry up to that one, so that later windows,
//! which do not contain the charge, do not shrink. A full ring joins its two oldest entries: what they hold counts as long
//! as the younger. A start that is handed on by that must not be raised for the same refund again, so refunds go from the
//! youngest entry down; the one that is overtaken is lost, which is safe.
//!
//! A place belongs to an entry while that is one of `oldest ..= latest`, and is not written for the next lap before. So
//! whoever has read an entry looks at the ends again: only then was it that entry. (Laps are short, and come round again
//! while a thread sleeps; in a word that is exchanged they are what tells it from the next tenant's.)
//!
//! Two threads may see time out of order. Whoever forgets entries says up to which stamp (`floor`), and nobody decides at
//! an earlier one than that, or than the latest entry's.

use super::account::{Account, TAG_BITS, TAG_MASK, View, need};
use super::count::{Count, part_at};
use super::line::{Line, Windows};
use crate::sync::{AcqRel, Acquire, AtomicU64, Relaxed, Release};
use crossbeam_utils::CachePadded;

/// See the [module](self).
pub(crate) struct History {
    entries: Box<[Entry]>,
    reach: AtomicU64,
    /// Stamps in the length of a window.
    span: AtomicU64,
    ends: CachePadded<Ends>,
}

/// Written once per stamp, so not beside what is only read.
struct Ends {
    oldest: AtomicU64,
    latest: AtomicU64,
    floor: AtomicU64,
    /// First tick of the stamp in which the line was last changed.
    began: AtomicU64,
}

struct Entry {
    stamp: AtomicU64,
    start: AtomicU64,
}

/// How many stamps a window has, and for how many more usage counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) span: u64,
    pub(crate) reach: u64,
}

impl History {
    /// A history of `entries` stamps (rounded up to a power of two) that begins with an account at `position`, before any
    /// stamp that counts.
    pub(crate) fn new(entries: usize, extent: Extent, position: u64) -> Self {
        let entries = entries.next_power_of_two();
        let history = Self {
            // The lap before the first, with the oldest of stamps.
            entries: (0..entries)
                .map(|_| Entry {
                    stamp: AtomicU64::new(0),
                    start: AtomicU64::new(TAG_MASK),
                })
                .collect(),
            reach: AtomicU64::new(extent.reach),
            span: AtomicU64::new(extent.span),
            ends: CachePadded::new(Ends {
                oldest: AtomicU64::new(0),
                latest: AtomicU64::new(0),
                floor: AtomicU64::new(0),
                began: AtomicU64::new(0),
            }),
        };
        let first = &history.entries[0];
        first.start.store(position << TAG_BITS, Relaxed);
        history
    }

    /// `next` comes after `line` at `now`. A longer window does not bring back what has left the shorter one.
    pub(crate) fn end_line(&self, account: &Account, line: &Line, next: &Line, now: u64) {
        let count = self.count(account, line.position(now));
        if count.first > count.latest {
            // The last of the past is kept until there is something after it.
            self.open(account, count.stamp);
            let _ = self.count(account, count.stamp);
        }
        let first = line.earliest(line.position(now));
        if first > line.origin() && next.origin() > line.origin() {
            self.ends.began.store(first, Release);
        }
    }

    /// When what is given back now was charged, if it was charged at tick `at`; nothing if a former line knew.
    pub(crate) fn stamp_of(&self, line: &Line, at: u64) -> Option<u64> {
        (at >= line.origin() || at >= self.ends.began.load(Acquire)).then(|| line.position(at))
    }

    /// Another length of window, in stamps.
    pub(crate) fn set(&self, extent: Extent) {
        self.reach.store(extent.reach, Relaxed);
        self.span.store(extent.span, Relaxed);
    }

    fn entry(&self, index: u64) -> &Entry {
        &self.entries[index as usize & (self.entries.len() - 1)]
    }

    fn lap(&self, index: u64) -> u64 {
        index >> self.entries.len().trailing_zeros() & TAG_MASK
    }

    fn stamp(&self, index: u64) -> u64 {
        self.entry(index).stamp.load(Acquire)
    }

    /// Where the account stood at entry `index`.
    fn start(&self, index: u64) -> u64 {
        self.entry(index).start.load(Acquire) >> TAG_BITS
    }

    /// Whether everything that was read of entries `first` and later was theirs.
    fn has(&self, first: u64) -> bool {
        self.ends.oldest.load(Acquire) <= first
    }

    /// The latest entry and its stamp.
    fn latest(&self) -> (u64, u64) {
        loop {
            let latest = self.ends.latest.load(Acquire);
            let stamp = self.stamp(latest);
            // Else it may be the stamp of one that is being opened in its place, to which nothing is charged yet.
            if self.ends.latest.load(Acquire) == latest {
                return (latest, stamp);
            }
        }
    }

    fn counts(&self, index: u64, at: u64) -> bool {
        self.stamp(index).saturating_add(self.reach.load(Relaxed)) >= at
    }

    fn count(&self, account: &Account, stamp: u64) -> Count {
        loop {
            let oldest = self.ends.oldest.load(Acquire);
            let floor = self.ends.floor.load(Acquire);
            let (latest, newest) = self.latest();
            let stamp = stamp.max(floor).max(newest);
            let mut first = oldest;
            while first <= latest && !self.counts(first, stamp) {
                first += 1;
            }
            let kept = first.min(latest);
            if first > oldest {
                self.forget(oldest, kept, stamp);
            }
            // Starts before `charged`: a refund that is counted must not be of a charge that is not.
            let (start, newest_start) = (self.start(kept), self.start(latest));
            let mut count = Count {
                word: account.word(),
                stamp,
                first,
                latest,
                total: 0,
                current: 0,
            };
            // Whatever is in `word` was charged in entries that have been looked at.
            if self.ends.latest.load(Acquire) != latest || !self.has(kept) {
                continue;
            }
            if first <= latest {
                count.total = count.since(start);
            }
            if newest == stamp {
                count.current = count.since(newest_start);
            }
            return count;
        }
    }

    /// Entries before `first` do not count any more at `stamp`. Said before it is done: whoever does not find them
    /// knows at which stamp that was right.
    fn forget(&self, oldest: u64, first: u64, stamp: u64) {
        self.ends.floor.fetch_max(stamp, AcqRel);
        let _ = self
            .ends
            .oldest
            .compare_exchange(oldest, first, AcqRel, Acquire);
    }

    /// The state at tick `now`. Its balance is what could be charged.
    #[cold]
    #[inline(never)]
    pub(crate) fn view(&self, account: &Account, line: &Line, now: u64) -> View {
        let count = self.count(account, line.position(now));
        let used = match line.windows {
            Some(Windows::Sliding) => {
                let before = count.before();
                let part = part_at(line, now, count.stamp);
                // Rounded up, as what is left is rounded down.
                count.total - ((before as u128 * u128::from(part)) >> 64) as i64
            }
            _ => count.total,
        };
        View::of_window(count.word, line.burst as i64 - used, count.stamp)
    }

    /// What counts at tick `now`, the oldest first: how many stamps ago, and how much.
    pub(crate) fn usage(&self, account: &Account, line: &Line, now: u64) -> Vec<(u64, u64)> {
        loop {
            let count = self.count(account, line.position(now));
            let mut left = count.total;
            let usage = (count.first..=count.latest).map(|index| {
                let ago = count.stamp.saturating_sub(self.stamp(index));
                let after = self.left_after(&count, index);
                let used = (left - after).max(0) as u64;
                left = after;
                (ago, used)
            });
            let usage = usage.collect();
            if self.has(count.first) {
                return usage;
            }
        }
    }

    /// What counts still when entry `index` does not.
    fn left_after(&self, count: &Count, index: u64) -> i64 {
        match index < count.latest {
            true => count.since(self.start(index + 1)),
            false => 0,
        }
    }

    /// Makes sure that what is charged from now on counts as charged at `stamp` or later.
    #[cold]
    #[inline(never)]
    pub(crate) fn open(&self, account: &Account, stamp: u64) {
        loop {
            let (latest, newest) = self.latest();
            if newest >= stamp {
                return;
            }
            let next = latest + 1;
            if !self.make_room(next, stamp) {
                continue;
            }
            let entry = self.entry(next);
            let seen = entry.stamp.load(Acquire);
            if seen <= newest {
                let _ = entry.stamp.compare_exchange(seen, stamp, AcqRel, Acquire);
            }
            // The start is read when the stamp stands: who charges at that stamp or later comes here first.
            let lap = self.lap(next);
            loop {
                let start = entry.start.load(Acquire);
                let is_last_lap = start & TAG_MASK == lap.wrapping_sub(1) & TAG_MASK;
                if !is_last_lap || self.ends.latest.load(Acquire) != latest {
                    break;
                }
                let opened = account.word() & !TAG_MASK | lap;
                let _ = entry.start.compare_exchange(start, opened, AcqRel, Acquire);
            }
            let _ = self
                .ends
                .latest
                .compare_exchange(latest, next, AcqRel, Acquire);
        }
    }

    /// Sees to it that the place of entry `next` does not count; says whether it was so already.
    fn make_room(&self, next: u64, stamp: u64) -> bool {
        let oldest = self.ends.oldest.load(Acquire);
        if next < oldest + self.entries.len() as u64 {
            return true;
        }
        if !self.counts(oldest, stamp) {
            self.forget(oldest, oldest + 1, stamp);
            return false;
        }
        let younger = &self.entry(oldest + 1).start;
        let seen = younger.load(Acquire);
        let joined = self.start(oldest) << TAG_BITS | seen & TAG_MASK;
        if self.has(oldest)
            && younger
                .compare_exchange(seen, joined, AcqRel, Acquire)
                .is_ok()
        {
            let _ = self
                .ends
                .oldest
                .compare_exchange(oldest, oldest + 1, AcqRel, Acquire);
        }
        false
    }

    /// Takes `amount` out of what was charged at `stamp`; nothing is left to do when that does not count any more.
    #[cold]
    #[inline(never)]
    pub(crate) fn refund(&self, stamp: u64, amount: u64) {
        let latest = self.ends.latest.load(Acquire);
        let oldest = self.ends.oldest.load(Acquire);
        for index in (oldest..=latest).rev() {
            if self.stamp(index) > stamp {
                continue;
            }
            let start = &self.entry(index).start;
            loop {
                let seen = start.load(Acquire);
                if !self.has(index) {
                    return;
                }
                let raised = seen.wrapping_add(amount << TAG_BITS);
                if start
                    .compare_exchange(seen, raised, AcqRel, Acquire)
                    .is_ok()
                {
                    break;
                }
            }
        }
    }

    /// First tick at which `cost` would be covered after `ahead`, if nothing else happened. More than a window's worth
    /// ahead makes it a lower bound.
    #[cold]
    pub(crate) fn earliest(
        &self,
        account: &Account,
        line: &Line,
        now: u64,
        ahead: u64,
        cost: u64,
    ) -> u64 {
        let own = need(cost, line);
        // It may be one large request, that gets a window to itself.
        let ahead = if line.admit_oversize { 0 } else { ahead };
        let wanted = ahead + own;
        // No window takes more than a burst, so each whole one ahead is a window's length.
        let rounds = wanted.saturating_sub(1) / line.burst;
        let later = rounds.saturating_mul(self.span.load(Relaxed));
        loop {
            let count = self.count(account, line.position(now));
            let here = (count.stamp, part_at(line, now, count.stamp));
            let due = match line.windows {
                Some(Windows::Sliding) => {
                    let room = line.burst.saturating_sub(own) as i64;
                    count.sliding(room, here.1).max(count.poured(wanted, line))
                }
                _ => {
                    let alone = line.burst.saturating_sub(own) as i64;
                    let room = (line.burst - (wanted - rounds * line.burst)) as i64;
                    let behind = self.leaves(&count, room).saturating_add(later);
                    (self.leaves(&count, alone).max(behind), 0)
                }
            };
            if self.has(count.first) {
                return match due <= here {
                    true => now,
                    false => line.earliest_part(due.0, due.1),
                };
            }
        }
    }

    /// The first stamp at which no more than `room` counts.
    fn leaves(&self, count: &Count, room: i64) -> u64 {
        let (mut stamp, mut left) = (count.stamp, count.total);
        for index in count.first..=count.latest {
            if left <= room {
                break;
            }
            let reach = self.reach.load(Relaxed);
            stamp = self.stamp(index).saturating_add(reach + 1);
            left = self.left_after(count, index);
        }
        stamp
    }
}

#[cfg(all(test, not(shuttle)))]
#[path = "history_tests.rs"]
mod tests;
