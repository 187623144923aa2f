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
//! which do not contain the charge, do not shrink. That one is looked at by a single start at a time makes the order of
//! these steps harmless. A full ring joins its two oldest entries: what they hold counts as long as the younger.
//!
//! Two threads may see time out of order. Whoever forgets entries says up to which stamp (`floor`), and nobody decides at
//! an earlier one than that, or than the latest entry's.

use super::account::{Account, TAG_BITS, TAG_MASK, View, need, signed_position};
use super::line::{Line, Windows};
use crate::sync::{AcqRel, Acquire, AtomicU64, Relaxed, Release, pause};
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

/// What counts at one stamp.
struct Count {
    /// The `charged` word.
    word: u64,
    stamp: u64,
    /// Entries that count; none if the first is beyond the last.
    first: u64,
    latest: u64,
    /// All that counts, whole.
    total: i64,
    /// What of it was charged at this very stamp.
    current: i64,
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

    /// Where the account stood at entry `index`, or nothing if the ring has gone on.
    fn start(&self, index: u64) -> Option<u64> {
        let start = self.entry(index).start.load(Acquire);
        (start & TAG_MASK == self.lap(index)).then_some(start >> TAG_BITS)
    }

    fn counts(&self, index: u64, at: u64) -> bool {
        self.stamp(index).saturating_add(self.reach.load(Relaxed)) >= at
    }

    fn count(&self, account: &Account, stamp: u64) -> Count {
        loop {
            let oldest = self.ends.oldest.load(Acquire);
            let floor = self.ends.floor.load(Acquire);
            let latest = self.ends.latest.load(Acquire);
            let stamp = stamp.max(floor).max(self.stamp(latest));
            let mut first = oldest;
            while first <= latest && !self.counts(first, stamp) {
                first += 1;
            }
            if first > oldest {
                self.forget(oldest, first.min(latest), stamp);
            }
            // Starts before `charged`: a refund that is counted must not be of a charge that is not.
            let is_current = self.stamp(latest) == stamp;
            let (Some(start), Some(newest)) = (self.start(first.min(latest)), self.start(latest))
            else {
                pause();
                continue;
            };
            let word = account.word();
            // Whatever is in `word` was charged in entries that have been looked at.
            if self.ends.latest.load(Acquire) != latest {
                continue;
            }
            let mut count = Count {
                word,
                stamp,
                first,
                latest,
                total: 0,
                current: 0,
            };
            if first <= latest {
                count.total = count.since(start);
            }
            if is_current {
                count.current = count.since(newest);
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
        let count = self.count(account, line.position(now));
        let mut usage = Vec::new();
        let mut left = count.total;
        for index in count.first..=count.latest {
            let stamp = self.stamp(index);
            let after = match index == count.latest {
                true => Some(0),
                false => self.start(index + 1).map(|start| count.since(start)),
            };
            // The ring has gone on under the eyes: what is left counts as the youngest that was seen.
            let after = after.unwrap_or(0);
            usage.push((
                count.stamp.saturating_sub(stamp),
                (left - after).max(0) as u64,
            ));
            left = after;
        }
        usage
    }

    /// Makes sure that what is charged from now on counts as charged at `stamp` or later.
    #[cold]
    #[inline(never)]
    pub(crate) fn open(&self, account: &Account, stamp: u64) {
        loop {
            let latest = self.ends.latest.load(Acquire);
            let newest = self.stamp(latest);
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
                if start & TAG_MASK != lap.wrapping_sub(1) & TAG_MASK {
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
        if next - oldest < self.entries.len() as u64 {
            return true;
        }
        if self.counts(oldest, stamp) {
            let (Some(start), Some(_)) = (self.start(oldest), self.start(oldest + 1)) else {
                return false;
            };
            let younger = self.entry(oldest + 1);
            let seen = younger.start.load(Acquire);
            let joined = start << TAG_BITS | self.lap(oldest + 1);
            let same_lap = seen & TAG_MASK == joined & TAG_MASK;
            if !same_lap
                || younger
                    .start
                    .compare_exchange(seen, joined, AcqRel, Acquire)
                    .is_err()
            {
                return false;
            }
            let _ = self
                .ends
                .oldest
                .compare_exchange(oldest, oldest + 1, AcqRel, Acquire);
        } else {
            self.forget(oldest, oldest + 1, stamp);
        }
        false
    }

    /// Takes `amount` out of what was charged at `stamp`; nothing is left to do when that does not count any more.
    #[cold]
    #[inline(never)]
    pub(crate) fn refund(&self, stamp: u64, amount: u64) {
        let latest = self.ends.latest.load(Acquire);
        let oldest = self.ends.oldest.load(Acquire);
        // The youngest first: a start that is joined into the next one meanwhile must not be raised there again.
        for index in (oldest..=latest).rev() {
            if self.stamp(index) > stamp {
                continue;
            }
            let (start, lap) = (&self.entry(index).start, self.lap(index));
            let mut seen = start.load(Acquire);
            while seen & TAG_MASK == lap {
                let raised = seen.wrapping_add(amount << TAG_BITS);
                match start.compare_exchange(seen, raised, AcqRel, Acquire) {
                    Ok(_) => break,
                    Err(now_there) => seen = now_there,
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
        let count = self.count(account, line.position(now));
        let own = need(cost, line);
        // It may be one large request, that gets a window to itself.
        let ahead = if line.admit_oversize { 0 } else { ahead };
        let wanted = ahead + own;
        if let Some(Windows::Sliding) = line.windows {
            let part = part_at(line, now, count.stamp);
            let room = line.burst.saturating_sub(own) as i64;
            let due = count.sliding(room, part).max(count.poured(wanted, line));
            return match due <= (count.stamp, part) {
                true => now,
                false => line.earliest_part(due.0, due.1),
            };
        }
        // No window takes more than a burst, so each whole one ahead is a window's length.
        let rounds = wanted.saturating_sub(1) / line.burst;
        let room = (line.burst - (wanted - rounds * line.burst)) as i64;
        if rounds == 0 && count.total <= room {
            return now;
        }
        let later = rounds.saturating_mul(self.span.load(Relaxed));
        line.earliest(self.leaves(&count, room).saturating_add(later))
    }

    /// The first stamp at which no more than `room` counts.
    fn leaves(&self, count: &Count, room: i64) -> u64 {
        let mut stamp = count.stamp;
        let (mut index, mut left) = (count.first, count.total);
        while index <= count.latest && left > room {
            stamp = self
                .stamp(index)
                .saturating_add(self.reach.load(Relaxed) + 1);
            index += 1;
            // The ring has gone on: whoever is asked again knows better.
            let Some(start) = self.start(index) else {
                break;
            };
            left = count.since(start);
        }
        stamp
    }
}

impl Count {
    /// What was charged since the account stood at `start`.
    fn since(&self, start: u64) -> i64 {
        signed_position((self.word >> TAG_BITS).wrapping_sub(start)).max(0)
    }

    /// What was charged at the stamp before, if more was not given back to it: an estimate that was raised later.
    fn before(&self) -> i64 {
        (self.total - self.current).max(0)
    }

    /// The first stamp, and part of it, at which no more than `room` counts in a sliding window counter.
    fn sliding(&self, room: i64, now: u64) -> (u64, u64) {
        let before = self.before();
        if let Some(part) = part_until(before, room - self.current) {
            return (self.stamp, part.max(now));
        }
        match part_until(self.current, room) {
            Some(part) => (self.stamp + 1, part),
            None => (self.stamp + 2, 0),
        }
    }

    /// A stamp, and part of it, before which a sliding window counter does not let `wanted` pass, however it is cut up:
    /// this window is filled first, and in each later one as much can be had as of it is over.
    fn poured(&self, wanted: u64, line: &Line) -> (u64, u64) {
        let left = line.burst.saturating_sub(self.current as u64);
        let Some(rest) = wanted.checked_sub(left + 1) else {
            return (self.stamp, 0);
        };
        let part = (u128::from(rest % line.burst) << 64) / u128::from(line.burst);
        let windows = rest / line.burst;
        (self.stamp.saturating_add(1 + windows), part as u64)
    }
}

/// How much of a window must be over before a window before that holds `count` weighs no more than `room`, in 2^-64;
/// nothing if it must be over whole.
fn part_until(count: i64, room: i64) -> Option<u64> {
    if room < 0 || room == 0 && count > 0 {
        return None;
    }
    let excess = (count - room).max(0) as u128;
    Some((excess << 64).div_ceil(count.max(1) as u128) as u64)
}

/// How much of the window `stamp` is over; nothing, for a clock that is not there yet.
fn part_at(line: &Line, now: u64, stamp: u64) -> u64 {
    match line.position(now) == stamp {
        true => line.part(now),
        false => 0,
    }
}

#[cfg(all(test, loom))]
#[path = "history_tests.rs"]
mod tests;
