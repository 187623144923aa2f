//! The limits of a limiter, without its queue.

use super::bucket::{Bucket, Check};
use super::script::{LimitSpec, count};
use super::window::Window;
use llmrl::{Cost, Meter};

#[derive(Clone)]
pub enum Ledger {
    Bucket(Box<Bucket>),
    Window(Box<Window>),
}

impl Ledger {
    pub fn available(&self, now: u64) -> i64 {
        match self {
            Self::Bucket(bucket) => bucket.available(now),
            Self::Window(window) => window.available(now),
        }
    }

    pub fn never(&self, n: u64) -> bool {
        match self {
            Self::Bucket(bucket) => bucket.never(n),
            Self::Window(window) => window.never(n),
        }
    }

    fn take(&mut self, n: u64, now: u64) {
        match self {
            Self::Bucket(bucket) => bucket.take(n, now),
            Self::Window(window) => window.take(n, now),
        }
    }

    fn charge(&mut self, n: u64, now: u64) {
        match self {
            Self::Bucket(bucket) => bucket.charge(n, now),
            Self::Window(window) => window.charge(n, now),
        }
    }

    /// Gives back `n` of `stands` that were taken at `at`.
    fn refund(&mut self, n: u64, stands: u64, at: u64, now: u64) {
        match self {
            Self::Bucket(bucket) => bucket.give_back(n, stands, at, now),
            Self::Window(window) => window.refund(n, at),
        }
    }

    pub fn retune(&mut self, amount: u64, period_ns: u64, burst: u64, now: u64) -> bool {
        match self {
            Self::Bucket(bucket) => bucket.retune(amount, period_ns, burst, now),
            Self::Window(window) => window.retune(amount, period_ns, burst, now),
        }
    }

    pub fn pause(&mut self, ns: u64, now: u64) {
        match self {
            Self::Bucket(bucket) => bucket.pause(ns, now),
            Self::Window(window) => window.pause(ns, now),
        }
    }

    pub fn align(&mut self, ns: u64, now: u64) -> Option<bool> {
        match self {
            Self::Bucket(_) => None,
            Self::Window(window) => window.align(ns, now),
        }
    }

    pub fn is_hair_breadth(&self, now: u64) -> bool {
        match self {
            Self::Bucket(bucket) => bucket.is_hair_breadth(now),
            Self::Window(window) => window.is_hair_breadth(now),
        }
    }

    /// Whether `n` can be taken once each of `ahead` has been, in its turn.
    fn check_after(&self, n: u64, ahead: &[u64], now: u64) -> Check {
        match self {
            Self::Bucket(bucket) => bucket.check_after(n, ahead.iter().sum(), now),
            Self::Window(window) => {
                let (mut window, mut then) = (window.clone(), now);
                for &n in ahead.iter().filter(|&&n| n > 0) {
                    match window.check(n, then) {
                        Check::Yes => {}
                        Check::At(Some(at)) => then = at,
                        // It leaves without having taken anything.
                        Check::Never => continue,
                        Check::At(None) => return Check::At(None),
                    }
                    window.take(n, then);
                }
                match window.check(n, then) {
                    Check::Yes if then > now => Check::At(Some(then)),
                    other => other,
                }
            }
        }
    }
}

#[derive(Clone)]
pub enum Rule {
    Quota(Meter, Ledger),
    InFlight { slots: i64, held: i64 },
}

#[derive(Clone)]
pub struct Rules(Vec<Rule>);

impl Rules {
    pub fn new(limits: &[LimitSpec], now: u64) -> Self {
        let rule = |limit: &LimitSpec| match limit {
            LimitSpec::Bucket(spec) => {
                Rule::Quota(spec.meter, Ledger::Bucket(Bucket::new(spec, now).into()))
            }
            LimitSpec::Window(spec) => {
                Rule::Quota(spec.meter, Ledger::Window(Window::new(spec, now).into()))
            }
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
            Rule::Quota(_, ledger) => ledger.available(now),
            Rule::InFlight { slots, held } => slots - held,
        }
    }

    pub fn in_flight(&self) -> u64 {
        let held = |rule: &Rule| match rule {
            Rule::InFlight { held, .. } => *held,
            Rule::Quota(..) => 0,
        };
        self.0.iter().map(held).sum::<i64>() as u64
    }

    pub fn ledgers(&self) -> impl Iterator<Item = (Meter, &Ledger)> {
        self.0.iter().filter_map(|rule| match rule {
            Rule::Quota(meter, ledger) => Some((*meter, ledger)),
            Rule::InFlight { .. } => None,
        })
    }

    fn ledgers_mut(&mut self) -> impl Iterator<Item = (Meter, &mut Ledger)> {
        self.0.iter_mut().filter_map(|rule| match rule {
            Rule::Quota(meter, ledger) => Some((*meter, ledger)),
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
        let mut ledgers = self.ledgers();
        ledgers.any(|(meter, ledger)| ledger.never(count(meter, cost)))
    }

    /// All limits together; a limit on whose meter the request costs nothing has no say.
    pub fn check(&self, cost: &Cost, now: u64) -> Check {
        if self.misfit(cost) {
            return Check::Never;
        }
        if self.slot_is_missing() {
            return Check::At(None);
        }
        match self.due_after(cost, &[], now, |_| true) {
            Some(at) if at <= now => Check::Yes,
            at => Check::At(at),
        }
    }

    /// The first instant at which time alone covers `cost` behind all of `ahead` (at limits that `queues` says); each limit
    /// by itself.
    pub fn due_after(
        &self,
        cost: &Cost,
        ahead: &[Cost],
        now: u64,
        queues: impl Fn(&Ledger) -> bool,
    ) -> Option<u64> {
        let mut due = now;
        for (meter, ledger) in self.ledgers().filter(|(meter, _)| count(*meter, cost) > 0) {
            let before = ahead.iter().filter(|_| queues(ledger));
            let before: Vec<u64> = before.map(|cost| count(meter, cost)).collect();
            match ledger.check_after(count(meter, cost), &before, now) {
                Check::Yes => {}
                Check::At(at) => due = due.max(at?),
                Check::Never => return None,
            }
        }
        Some(due)
    }

    /// Somebody has to wait, or is admitted who has waited.
    pub fn look(&mut self, now: u64) {
        for (_, ledger) in self.ledgers_mut() {
            if let Ledger::Bucket(bucket) = ledger {
                bucket.look(now);
            }
        }
    }

    /// Takes what [`check`](Self::check) has allowed.
    pub fn take(&mut self, cost: &Cost, now: u64) {
        for (meter, ledger) in self.ledgers_mut() {
            if count(meter, cost) > 0 {
                ledger.take(count(meter, cost), now);
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
            Rule::Quota(..) => None,
        });
        found.map(|slots| *slots = n as i64).is_some()
    }

    /// Charges the difference, or gives it back to when it was taken, `at`; says whether there was one.
    pub fn replace(&mut self, old: &Cost, new: &Cost, at: u64, now: u64) -> bool {
        let mut changed = false;
        for (meter, ledger) in self.ledgers_mut() {
            let (old, new) = (count(meter, old), count(meter, new));
            match new < old {
                true => ledger.refund(old - new, old, at, now),
                false if new > old => ledger.charge(new - old, now),
                false => {}
            }
            changed |= new != old;
        }
        changed
    }
}
