//! One limit as headers tell it, piece by piece, and what the pieces come to.

use super::date::When;
use super::number::{Count, MILLISECOND, SECOND, count};
use super::period::{Within, from_reset};
use super::reading::{Axis, Period, Quota};
use super::table::Row;
use std::time::Duration;

/// No quota takes longer to come back; whoever says so is wrong.
pub(super) const LONGEST: u64 = 366 * 86_400 * SECOND;

/// What identifies a limit within an answer.
#[derive(Clone, Copy)]
pub(super) struct Id {
    pub(super) row: &'static Row,
    pub(super) window: Option<u32>,
    pub(super) key: Key,
    pub(super) upstream: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// By position, or by the rest of the header's name.
    Plain(u32),
    /// By the name of the policy.
    Named(u32),
    /// A policy without a name, by position. It is for a limit of the same amount.
    Policy(u32),
}

impl Id {
    pub(super) fn same(&self, other: &Self) -> bool {
        self.upstream == other.upstream && self.twin(other)
    }

    /// The same but for who tells it.
    pub(super) fn twin(&self, other: &Self) -> bool {
        std::ptr::eq(self.row, other.row) && self.window == other.window && self.key == other.key
    }
}

#[derive(Clone, Copy, Default)]
pub(super) struct Slot {
    /// `None` is unused.
    pub(super) id: Option<Id>,
    pub(super) axis: Option<Axis>,
    pub(super) window: Option<u32>,
    pub(super) limit: Option<u64>,
    pub(super) remaining: Option<u64>,
    pub(super) reset: Option<When>,
    pub(super) utilization: Option<u32>,
    /// A number was -1.
    pub(super) unknown: bool,
}

/// A value is kept if it is the first.
pub(super) fn first<T>(place: &mut Option<T>, value: Option<T>) {
    if place.is_none() {
        *place = value;
    }
}

impl Slot {
    pub(super) fn count(&mut self, value: &[u8], place: fn(&mut Self) -> &mut Option<u64>) {
        match count(value) {
            Some(Count::Known(number)) => first(place(self), Some(number)),
            Some(Count::Unknown) => self.unknown = true,
            None => {}
        }
    }

    /// What it comes to at `now`. `per_second` is the window of limits without a name.
    pub(super) fn quota(&self, id: &Id, now: u64, per_second: bool) -> Quota {
        let row = id.row;
        let mut quota = Quota::new(self.axis.unwrap_or(row.axis), row.pool);
        let unnamed = row.list && !row.cached;
        let window = self
            .window
            .or(id.window)
            .or((per_second && unnamed).then_some(1));
        quota.window = window.map(|seconds| Duration::from_secs(seconds.into()));
        quota.limit = self.limit;
        quota.utilization = self.utilization;
        let most = self.limit.unwrap_or(u64::MAX);
        let possible = |remaining: &u64| *remaining <= most.saturating_add(row.grain);
        quota.remaining = self
            .remaining
            .filter(possible)
            .map(|remaining| remaining.min(most));
        let bucket = quota
            .limit
            .zip(quota.remaining)
            .map(|(limit, remaining)| Bucket {
                limit,
                used: limit - remaining,
                grain: row.grain,
            });
        let reset = match (self.reset, window) {
            (None, Some(seconds)) if row.aligned && quota.remaining == Some(0) => {
                Some(boundary(now, seconds))
            }
            (Some(reset), Some(seconds)) if !row.list => {
                Some(bucket.map_or(reset, |bucket| bucket.unit(reset, seconds)))
            }
            (reset, _) => reset,
        };
        let Some((reset, ns)) = reset.map(|reset| (reset, reset.after(now))) else {
            return quota;
        };
        if ns <= LONGEST {
            quota.reset = Some(Duration::from_nanos(ns));
            quota.solved = bucket.and_then(|bucket| bucket.period(reset, ns));
        }
        quota
    }
}

/// A limit of which so much is used, if it refills evenly.
#[derive(Clone, Copy)]
struct Bucket {
    limit: u64,
    used: u64,
    grain: u64,
}

impl Bucket {
    /// The period, from a reset that is `ns` away.
    fn period(&self, reset: When, ns: u64) -> Option<Period> {
        let (low, step) = match reset {
            When::In { step, .. } => (ns, step),
            // Both dates are cut off to the second.
            When::At { .. } => (ns.saturating_sub(SECOND), SECOND),
        };
        // A reset of nothing tells nothing: it may be that the sender does not know.
        let within = Within {
            low,
            high: ns.saturating_add(step),
        };
        (low > 0).then(|| from_reset(within, self.limit, self.used, self.grain))?
    }

    /// A whole number is milliseconds where seconds would contradict the window, and milliseconds give just that.
    fn unit(&self, reset: When, window: u32) -> When {
        let When::In { ns, bare: true, .. } = reset else {
            return reset;
        };
        let window = Duration::from_secs(window.into());
        let milliseconds = When::In {
            ns: ns / 1_000,
            step: MILLISECOND,
            bare: false,
        };
        let seconds = self.period(reset, ns);
        let nominal = self
            .period(milliseconds, ns / 1_000)
            .and_then(|period| period.nominal);
        match seconds {
            Some(period) if !period.contains(window) && nominal == Some(window) => milliseconds,
            _ => reset,
        }
    }
}

/// When the window of the wall clock ends.
fn boundary(now: u64, seconds: u32) -> When {
    let window = u64::from(seconds) * SECOND;
    When::In {
        ns: window - now % window,
        step: window,
        bare: false,
    }
}
