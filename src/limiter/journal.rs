//! How a bucket stood when a request was admitted: to compare with what the provider says of that instant, much later.

use crate::limit::line::Line;

/// Samples that are kept. When there are more, every second one goes, so they reach back as far as answers take.
const SAMPLES: usize = 128;

/// A bucket at an instant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) tick: u64,
    /// Where production must be for the bucket to be full if nothing else is charged. Charges move it up, corrections too.
    pub(super) full: u64,
    /// The part of that which was charged because the provider said so.
    pub(super) corrected: i64,
}

impl Sample {
    /// What was admitted from another sample on to this one and is not produced yet. (What a full bucket forfeits moves it,
    /// too.)
    pub(super) fn admitted_since(&self, then: &Self, line: &Line) -> i64 {
        let moved = self.full as i64 - then.full.max(line.position(then.tick)) as i64;
        let lacks = self.full as i64 - line.position(self.tick) as i64;
        let admitted = moved - (self.corrected - then.corrected);
        admitted.min(lacks - self.corrected).max(0)
    }
}

/// Between which two values a balance was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Between {
    pub(super) low: i64,
    pub(super) high: i64,
}

#[derive(Clone, Debug)]
pub(super) struct Journal {
    samples: Vec<Sample>,
}

impl Journal {
    pub(super) fn new(first: Sample) -> Self {
        Self {
            samples: vec![first],
        }
    }

    pub(super) fn note(&mut self, sample: Sample) {
        if self.samples.len() == SAMPLES {
            let mut index = 0;
            self.samples.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
        if self.last().tick < sample.tick {
            self.samples.push(sample);
        } else if let Some(last) = self.samples.last_mut() {
            *last = sample;
        }
    }

    /// So much of what was corrected is of no account any more, at any time.
    pub(super) fn forget(&mut self, corrected: i64) {
        let samples = self.samples.iter_mut();
        samples.for_each(|sample| sample.corrected -= corrected);
    }

    pub(super) fn last(&self) -> Sample {
        *self.samples.last().expect("there is always one")
    }

    /// The first sample at `tick` or later.
    pub(super) fn after(&self, tick: u64) -> Sample {
        let after = self.samples.partition_point(|sample| sample.tick < tick);
        *self.samples.get(after).unwrap_or(&self.last())
    }

    fn before(&self, tick: u64) -> Option<Sample> {
        let after = self.samples.partition_point(|sample| sample.tick <= tick);
        after.checked_sub(1).map(|before| self.samples[before])
    }

    /// What was left of `line` behind a request of `cost` that was admitted at `at` and seen by the provider no later than
    /// `within` ticks after, as is known by now: corrections made since count as if they had been made then.
    pub(super) fn balance(&self, line: &Line, at: u64, within: u64, cost: u64) -> Option<Between> {
        if at < line.origin() {
            return None;
        }
        let produced = line.position(at) as i64;
        let corrected = self.last().corrected;
        let burst = line.burst as i64;
        let left = |sample: Sample, cost: u64| {
            let full = (sample.full + cost) as i64 + (corrected - sample.corrected);
            burst - (full - produced).max(0)
        };
        Some(Between {
            low: left(self.after(at.saturating_add(within)), 0),
            high: left(self.before(at)?, cost).min(burst),
        })
    }
}
