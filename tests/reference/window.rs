//! Limits that count over windows, as an exact log of what was charged when.

use super::bucket::{Check, END_NS, MAX_DEBT, MAX_PERIOD_NS};
use super::script::{WindowShape, WindowSpec};
use llmrl::Cost;
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, ToPrimitive, Zero};
use std::collections::VecDeque;

/// Time is cut into steps: windows, the parts of one, or nanoseconds. What was charged in a step counts in that one and
/// in so many more (`reach`); with a sliding counter, in the last of them in proportion.
#[derive(Clone, Debug)]
pub struct Window {
    shape: WindowShape,
    pub amount: u64,
    pub period_ns: u64,
    when_full: bool,
    /// Time stamps that a log has room for.
    room: usize,
    stretches: Vec<Stretch>,
    log: VecDeque<Charged>,
    pub paused_until: u64,
    /// What was taken before this is not given back: it cannot be said any more in which step it was.
    known_since: u64,
    /// How far the library's 64-bit rate may have run ahead of the exact one, in steps.
    ahead: BigRational,
}

/// Steps of one length.
#[derive(Clone, Debug)]
struct Stretch {
    since: u64,
    begun: BigRational,
    per_ns: BigRational,
}

impl Stretch {
    fn steps(&self, at: u64) -> BigRational {
        &self.begun + whole(at - self.since) * &self.per_ns
    }
}

/// What was charged in a step, less what of it was given back.
#[derive(Clone, Copy, Debug)]
struct Charged {
    step: i128,
    sum: i64,
}

fn whole(n: u64) -> BigRational {
    BigRational::from_integer(n.into())
}

impl Window {
    pub fn new(spec: &WindowSpec, now: u64) -> Self {
        let stamps = spec.resolution.unwrap_or(spec.amount) as usize;
        let mut window = Self {
            shape: spec.shape,
            amount: spec.amount,
            period_ns: spec.period_ns,
            when_full: spec.when_full,
            room: (stamps + 1).next_power_of_two(),
            stretches: vec![Stretch {
                since: now,
                begun: BigRational::zero(),
                per_ns: per_ns(spec.shape, spec.period_ns),
            }],
            log: VecDeque::new(),
            paused_until: 0,
            known_since: 0,
            ahead: BigRational::zero(),
        };
        if let Some(ns) = spec.resets_in_ns.filter(|&ns| ns > 0) {
            window.stretches[0].begun = window.done_before(ns);
            window.ahead = hair();
        }
        if spec.start_empty {
            window.take(spec.amount, now);
        }
        window
    }

    fn stretch(&self) -> &Stretch {
        self.stretches.last().unwrap()
    }

    /// Steps and parts of a step that are over at `at`, a time to come or gone.
    fn steps(&self, at: u64) -> BigRational {
        let mut stretches = self.stretches.iter().rev();
        let then = stretches.find(|stretch| stretch.since <= at);
        then.unwrap_or(&self.stretches[0]).steps(at)
    }

    fn step(&self, at: u64) -> i128 {
        self.steps(at).floor().to_integer().to_i128().unwrap()
    }

    fn reach(&self) -> i128 {
        match self.shape {
            WindowShape::Fixed => 0,
            WindowShape::Counter => 1,
            WindowShape::Sliding(parts) => parts.into(),
            WindowShape::Log => i128::from(self.period_ns) - 1,
        }
    }

    fn counts(&self, charged: &Charged, step: i128) -> bool {
        charged.step + self.reach() >= step
    }

    /// What counts at `at`, if nothing happens until then; at a sliding counter, if it counted whole.
    fn all(&self, at: u64) -> i64 {
        let step = self.step(at);
        let counting = self.log.iter().filter(|charged| self.counts(charged, step));
        // More may have been given back to a step than was charged there: what was added to an estimate later.
        counting.map(|charged| charged.sum).sum::<i64>().max(0)
    }

    /// The same, as it counts, rounded up.
    fn used(&self, at: u64) -> i64 {
        let gone = self.gone(at).floor().to_integer();
        self.all(at) - gone.to_i64().unwrap()
    }

    /// What of it is over the edge of a sliding counter's window.
    fn gone(&self, at: u64) -> BigRational {
        if self.shape != WindowShape::Counter {
            return BigRational::zero();
        }
        let steps = self.steps(at);
        let step = self.step(at);
        let here = self.log.iter().find(|charged| charged.step == step);
        let here = here.map_or(0, |charged| charged.sum.max(0));
        whole((self.all(at) - here).max(0) as u64) * (&steps - steps.floor())
    }

    /// What can be taken now; negative is debt.
    pub fn available(&self, now: u64) -> i64 {
        self.amount as i64 - self.used(now)
    }

    pub fn never(&self, n: u64) -> bool {
        n > self.amount && !self.when_full
    }

    pub fn check(&self, n: u64, now: u64) -> Check {
        if self.never(n) {
            return Check::Never;
        }
        let most = self.amount as i64 - n.min(self.amount) as i64;
        match self.first(most, now).map(|at| at.max(self.paused_until)) {
            Some(at) if at <= now => Check::Yes,
            at => Check::At(at),
        }
    }

    /// The first nanosecond from `now` at which no more than `most` counts: looked for, not computed.
    fn first(&self, most: i64, now: u64) -> Option<u64> {
        let fits = |at: &u64| self.used(*at) <= most;
        if fits(&now) {
            return Some(now);
        }
        // What counts changes when a step's charges leave, and at a counter all the time but for new windows.
        let leaving = self.log.iter().flat_map(|charged| {
            let left = charged.step + self.reach() + 1;
            match self.shape {
                WindowShape::Counter => vec![left - 1, left],
                _ => vec![left],
            }
        });
        let mut from = now;
        for left in leaving.map(|step| self.begin(step)) {
            let left = left?;
            if left <= from {
                continue;
            }
            if fits(&(left - 1)) {
                let (mut short, mut enough) = (from, left - 1);
                while enough - short > 1 {
                    let middle = short + (enough - short) / 2;
                    let end = if fits(&middle) {
                        &mut enough
                    } else {
                        &mut short
                    };
                    *end = middle;
                }
                return Some(enough);
            }
            if fits(&left) {
                return Some(left);
            }
            from = left;
        }
        unreachable!("an empty window has room")
    }

    /// The first nanosecond of a step, unless the clock ends before.
    fn begin(&self, step: i128) -> Option<u64> {
        let stretch = self.stretch();
        let missing = BigRational::from_integer(step.into()) - &stretch.begun;
        let wait = (missing / &stretch.per_ns).ceil().to_integer();
        let at = BigInt::from(stretch.since) + wait;
        match at < BigInt::zero() {
            true => Some(0),
            false => at.to_u64().filter(|&at| at <= END_NS),
        }
    }

    /// Takes what [`check`](Self::check) has allowed.
    pub fn take(&mut self, n: u64, now: u64) {
        let step = self.step(now);
        self.forget(now);
        if n == 0 {
            return;
        }
        if self.log.back().is_none_or(|last| last.step < step) {
            if self.shape == WindowShape::Log && self.log.len() == self.room {
                let oldest = self.log.pop_front().unwrap();
                self.log[0].sum += oldest.sum;
            }
            self.log.push_back(Charged { step, sum: 0 });
        }
        self.log.back_mut().unwrap().sum += n as i64;
    }

    /// What counts no more will not count again.
    fn forget(&mut self, now: u64) {
        let step = self.step(now);
        let reach = self.reach();
        self.log.retain(|charged| charged.step + reach >= step);
    }

    /// Use that nobody asked for. It goes below zero, but not for ever.
    pub fn charge(&mut self, n: u64, now: u64) {
        let room = self.available(now) + MAX_DEBT;
        self.take(n.min(room.max(0) as u64), now);
    }

    /// Gives back what was taken at `at`: to the window of that time. Joined to a younger one, it is lost.
    pub fn refund(&mut self, n: u64, at: u64) {
        if at < self.known_since {
            return;
        }
        let step = self.step(at);
        let mut log = self.log.iter_mut().rev();
        if let Some(charged) = log.find(|charged| charged.step <= step) {
            charged.sum -= n as i64;
        }
    }

    /// Changes amount and period, or says that they are out of range.
    pub fn retune(&mut self, amount: u64, period_ns: u64, burst: u64, now: u64) -> bool {
        let least = match self.shape {
            WindowShape::Sliding(parts) => parts,
            _ => 1,
        };
        let periods = least..=MAX_PERIOD_NS;
        if amount != burst || !(1..=Cost::MAX).contains(&amount) || !periods.contains(&period_ns) {
            return false;
        }
        self.forget(now);
        self.ahead = self.slack(now);
        // Windows of the same length are the same windows.
        if period_ns != self.period_ns {
            let begun = self.steps(now);
            self.go_on(now, begun, period_ns);
        }
        (self.amount, self.period_ns) = (amount, period_ns);
        true
    }

    fn go_on(&mut self, now: u64, begun: BigRational, period_ns: u64) {
        if self.shape != WindowShape::Log {
            let began = self.begin(self.step(now)).unwrap();
            self.known_since = self.known_since.max(began.min(now));
        }
        self.stretches.push(Stretch {
            since: now,
            begun,
            per_ns: per_ns(self.shape, period_ns),
        });
    }

    /// The part of a step that is over when it ends in `ns`.
    fn done_before(&self, ns: u64) -> BigRational {
        let left = whole(ns) / whole(self.period_ns);
        let done = BigRational::one() - &left;
        &done - done.floor()
    }

    /// A fixed window ends in `ns`; or there is none, or it cannot.
    pub fn align(&mut self, ns: u64, now: u64) -> Option<bool> {
        if self.shape != WindowShape::Fixed {
            return None;
        }
        if !(1..=self.period_ns).contains(&ns) {
            return Some(false);
        }
        let begun = self.steps(now).floor() + self.done_before(ns);
        self.ahead = hair();
        self.go_on(now, begun, self.period_ns);
        Some(true)
    }

    pub fn pause(&mut self, ns: u64, now: u64) {
        self.paused_until = if ns == 0 { 0 } else { now.saturating_add(ns) };
    }

    /// The library's rate has 64 significant bits and is rounded up, so it runs early by one part in 2^63.
    fn slack(&self, now: u64) -> BigRational {
        let stretch = self.stretch();
        let run = whole(now - stretch.since) * &stretch.per_ns;
        &self.ahead + run * hair()
    }

    /// Whether something is so near at `now` that a rate of 64 bits may show it already; see `Bucket::is_hair_breadth`.
    pub fn is_hair_breadth(&self, now: u64) -> bool {
        if self.shape == WindowShape::Log {
            return false;
        }
        let near = |exact: BigRational, slack: BigRational| {
            let missing = exact.ceil() - exact;
            !missing.is_zero() && missing <= slack
        };
        let slack = self.slack(now);
        near(self.steps(now), slack.clone())
            || near(self.gone(now), slack * whole(self.all(now) as u64))
    }
}

/// The rounding of a rate of 64 bits, over one step.
fn hair() -> BigRational {
    BigRational::new(BigInt::one(), BigInt::one() << 63u32)
}

fn per_ns(shape: WindowShape, period_ns: u64) -> BigRational {
    let steps = match shape {
        WindowShape::Fixed | WindowShape::Counter => 1,
        WindowShape::Sliding(parts) => parts,
        WindowShape::Log => period_ns,
    };
    whole(steps) / whole(period_ns)
}
