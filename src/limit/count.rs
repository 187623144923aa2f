//! What a history counts at one stamp, and when that will be less.

use super::account::{TAG_BITS, signed_position};
use super::line::Line;

/// What counts at one stamp.
pub(super) struct Count {
    /// The `charged` word.
    pub(super) word: u64,
    pub(super) stamp: u64,
    /// Entries that count; none if the first is beyond the last.
    pub(super) first: u64,
    pub(super) latest: u64,
    /// All that counts, whole.
    pub(super) total: i64,
    /// What of it was charged at this very stamp.
    pub(super) current: i64,
}

impl Count {
    /// What was charged since the account stood at `start`.
    pub(super) fn since(&self, start: u64) -> i64 {
        signed_position((self.word >> TAG_BITS).wrapping_sub(start)).max(0)
    }

    /// What was charged at the stamp before, if more was not given back to it: an estimate that was raised later.
    pub(super) fn before(&self) -> i64 {
        (self.total - self.current).max(0)
    }

    /// The first stamp, and part of it, at which no more than `room` counts in a sliding window counter.
    pub(super) fn sliding(&self, room: i64, now: u64) -> (u64, u64) {
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
    pub(super) fn poured(&self, wanted: u64, line: &Line) -> (u64, u64) {
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
pub(super) fn part_at(line: &Line, now: u64, stamp: u64) -> u64 {
    match line.position(now) == stamp {
        true => line.part(now),
        false => 0,
    }
}
