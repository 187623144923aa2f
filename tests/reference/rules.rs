//! The limits of a limiter, without its queue.

use super::bucket::{Bucket, Check};
use super::script::{BucketSpec, LimitSpec};
use llmrl::Cost;

#[derive(Clone)]
pub enum Rule {
    Bucket(BucketSpec, Box<Bucket>),
    InFlight { slots: i64, held: i64 },
}

#[derive(Clone)]
pub struct Rules(Vec<Rule>);

impl Rules {
    pub fn new(limits: &[LimitSpec], now: u64) -> Self {
        let rule = |limit: &LimitSpec| match limit {
            LimitSpec::Bucket(spec) => Rule::Bucket(spec.clone(), Bucket::new(spec, now).into()),
            LimitSpec::InFlight(slots) => Rule::InFlight {
                slots: *slots as i64,
                held: 0,
            },
        };
        Self(limits.iter().map(rule).collect())
    }

    pub fn get_mut(&mut self, limit: usize) -> Option<&mut Rule> {
        self.0.get_mut(limit)
    }

    pub fn available(&self, limit: usize, now: u64) -> i64 {
        match &self.0[limit] {
            Rule::Bucket(_, bucket) => bucket.available(now),
            Rule::InFlight { slots, held } => slots - held,
        }
    }

    pub fn in_flight(&self) -> u64 {
        let held = |rule: &Rule| match rule {
            Rule::InFlight { held, .. } => *held,
            Rule::Bucket(..) => 0,
        };
        self.0.iter().map(held).sum::<i64>() as u64
    }

    pub fn buckets(&self) -> impl Iterator<Item = (&BucketSpec, &Bucket)> {
        self.0.iter().filter_map(|rule| match rule {
            Rule::Bucket(spec, bucket) => Some((spec, &**bucket)),
            Rule::InFlight { .. } => None,
        })
    }

    fn buckets_mut(&mut self) -> impl Iterator<Item = (&BucketSpec, &mut Bucket)> {
        self.0.iter_mut().filter_map(|rule| match rule {
            Rule::Bucket(spec, bucket) => Some((&*spec, &mut **bucket)),
            Rule::InFlight { .. } => None,
        })
    }

    pub fn has_slots(&self) -> bool {
        let is_in_flight = |rule: &Rule| matches!(rule, Rule::InFlight { .. });
        self.0.iter().any(is_in_flight)
    }

    pub fn slot_is_missing(&self) -> bool {
        let is_full = |rule: &Rule| matches!(rule, Rule::InFlight { slots, held } if held >= slots);
        self.0.iter().any(is_full)
    }

    pub fn misfit(&self, cost: &Cost) -> bool {
        let mut buckets = self.buckets();
        buckets.any(|(spec, bucket)| bucket.never(spec.cost(cost)))
    }

    /// All limits together; a limit on whose meter the request costs nothing has no say.
    pub fn check(&self, cost: &Cost, now: u64) -> Check {
        if self.misfit(cost) {
            return Check::Never;
        }
        if self.slot_is_missing() {
            return Check::At(None);
        }
        match self.due_after(cost, &[], now) {
            Some(at) if at <= now => Check::Yes,
            at => Check::At(at),
        }
    }

    /// The first instant at which production alone covers `cost` behind all of `ahead`.
    pub fn due_after(&self, cost: &Cost, ahead: &[Cost], now: u64) -> Option<u64> {
        let mut due = now;
        for (spec, bucket) in self.buckets().filter(|(spec, _)| spec.cost(cost) > 0) {
            let before = ahead.iter().map(|cost| spec.cost(cost)).sum();
            match bucket.check_after(spec.cost(cost), before, now) {
                Check::Yes => {}
                Check::At(at) => due = due.max(at?),
                Check::Never => return None,
            }
        }
        Some(due)
    }

    /// Takes what [`check`](Self::check) has allowed.
    pub fn take(&mut self, cost: &Cost, now: u64) {
        for (spec, bucket) in self.buckets_mut() {
            if spec.cost(cost) > 0 {
                bucket.take(spec.cost(cost), now);
            }
        }
        self.free_slots(-1);
    }

    pub fn free_slots(&mut self, by: i64) {
        for rule in &mut self.0 {
            if let Rule::InFlight { held, .. } = rule {
                *held -= by;
            }
        }
    }

    /// Another number of slots; says whether there are slots.
    pub fn resize(&mut self, n: u64) -> bool {
        let found = self.0.iter_mut().find_map(|rule| match rule {
            Rule::InFlight { slots, .. } => Some(slots),
            Rule::Bucket(..) => None,
        });
        found.map(|slots| *slots = n as i64).is_some()
    }

    /// Charges or gives back the difference; says whether there was one.
    pub fn replace(&mut self, old: &Cost, new: &Cost, now: u64) -> bool {
        let mut changed = false;
        for (spec, bucket) in self.buckets_mut() {
            let (old, new) = (spec.cost(old), spec.cost(new));
            match new < old {
                true => bucket.refund(old - new, now),
                false if new > old => bucket.charge(new - old, now),
                false => {}
            }
            changed |= new != old;
        }
        changed
    }
}
