//! A token bucket as an exact ledger, and the same as a fluid.

use super::lows::{Charge, Lows, State};
use super::script::BucketSpec;
use llmrl::{Cost, ManualClock};
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, ToPrimitive, Zero};

/// The deepest debt that charges can make.
pub const MAX_DEBT: i64 = 1 << 47;

/// The end of time, twice as far as the clock driven by hand goes. What is due later is not due at all.
pub const END_NS: u64 = 2 * ManualClock::MAX_NS + 1;

/// Ten years of 366 days.
pub const MAX_PERIOD_NS: u64 = 3660 * 86_400_000_000_000;

fn whole(n: u64) -> BigRational {
    BigRational::from_integer(n.into())
}

/// Production since the beginning, exactly, and what of it has been used.
///
/// A token can be spent from the instant at which it is whole, so production counts by its floor; the fraction
/// is never dropped, also not when the rate changes or when the bucket is full.
#[derive(Clone, Debug)]
pub struct Bucket {
    pub amount: u64,
    pub period_ns: u64,
    pub burst: u64,
    pub when_full: bool,
    /// A unit is counted in so many parts: 1, but for pacing.
    parts: u64,
    since: u64,
    /// When the rate became what it is.
    origin: u64,
    lows: Lows,
    produced: BigRational,
    used: BigInt,
    pub paused_until: u64,
    /// How far the library's 64-bit rate may have run ahead of the exact one.
    ahead: BigRational,
    fluid: Fluid,
}

/// May `n` tokens be taken?
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    Yes,
    /// First at this instant, exactly; `None` is after the end of the clock.
    At(Option<u64>),
    Never,
}

impl Bucket {
    pub fn new(spec: &BucketSpec, now: u64) -> Self {
        let parts = match spec.burst {
            // Of a microsecond, while they are no more than 2^32.
            0 => (spec.period_ns / spec.amount / 1_000).clamp(1, 1 << 32),
            _ => 1,
        };
        let balance = match spec.start_empty {
            // Pacing holds nothing, so it begins by paying for one.
            true if spec.burst == 0 => -(parts as i64),
            true => 0,
            false => spec.burst as i64,
        };
        Self {
            amount: spec.amount,
            period_ns: spec.period_ns,
            burst: spec.burst,
            when_full: spec.when_full,
            parts,
            since: now,
            origin: now,
            lows: Lows::new(&-BigInt::from(balance), spec.burst, parts, now),
            produced: BigRational::zero(),
            used: -BigInt::from(balance),
            paused_until: 0,
            ahead: BigRational::zero(),
            fluid: Fluid {
                level: BigRational::from_integer(balance.into()),
                at: now,
            },
        }
    }

    /// What is produced in a nanosecond, in parts like everything here.
    fn rate(&self) -> BigRational {
        BigRational::new((self.amount * self.parts).into(), self.period_ns.into())
    }

    /// `n` units; what takes years to be produced is all the same.
    fn weight(&self, n: u64) -> u64 {
        match self.burst {
            0 => n.saturating_mul(self.parts).min(MAX_DEBT as u64),
            _ => n,
        }
    }

    fn stretch(&self, now: u64) -> BigRational {
        whole(now - self.since) * self.rate()
    }

    /// Produced by `now`, exactly.
    pub fn produced(&self, now: u64) -> BigRational {
        &self.produced + self.stretch(now)
    }

    /// Of the present rate, which may be older than the present burst.
    fn produced_before(&self, at: u64) -> BigRational {
        let ago = BigRational::from_integer(BigInt::from(at) - BigInt::from(self.since));
        &self.produced + ago * self.rate()
    }

    fn line(&self, now: u64) -> BigInt {
        self.produced(now).floor().to_integer()
    }

    /// Used, after what an idle bucket has forfeited counts as used.
    fn settled(&self, now: u64) -> BigInt {
        self.used.clone().max(self.line(now) - self.burst)
    }

    fn balance(&self, now: u64) -> i64 {
        (self.line(now) - self.settled(now)).to_i64().unwrap()
    }

    /// Tokens that can be taken now; negative is debt.
    pub fn available(&self, now: u64) -> i64 {
        self.balance(now).div_euclid(self.parts as i64)
    }

    fn need(&self, n: u64) -> u64 {
        if self.when_full { n.min(self.burst) } else { n }
    }

    pub fn never(&self, n: u64) -> bool {
        n > self.burst && !self.when_full
    }

    /// Whether `n` can be taken at `now` when `before` have been taken first.
    pub fn check_after(&self, n: u64, before: u64, now: u64) -> Check {
        if self.never(n) {
            return Check::Never;
        }
        let target = self.settled(now) + self.weight(before) + self.need(n);
        let at = match self.line(now) >= target {
            true => Some(now),
            false => self.first(&target),
        };
        match at.map(|at| at.max(self.paused_until)) {
            Some(at) if at <= now => Check::Yes,
            at => Check::At(at),
        }
    }

    pub fn check(&self, n: u64, now: u64) -> Check {
        self.check_after(n, 0, now)
    }

    /// The first nanosecond at which `target` tokens have been produced.
    fn first(&self, target: &BigInt) -> Option<u64> {
        let missing = BigRational::from_integer(target.clone()) - &self.produced;
        let wait = (missing / self.rate()).ceil().to_integer();
        let at = BigInt::from(self.since) + wait;
        at.to_u64().filter(|&at| at <= END_NS)
    }

    /// Takes what [`check`](Self::check) has allowed.
    pub fn take(&mut self, n: u64, now: u64) {
        self.take_parts(self.weight(n), now);
    }

    /// What is produced next at `now`. Of whatever came to be whole within the last half nanosecond it is as good as now.
    fn upcoming(&self, now: u64) -> BigInt {
        if now == self.origin {
            return self.line(now);
        }
        self.produced_just_before(now).floor().to_integer() + 1
    }

    fn produced_just_before(&self, now: u64) -> BigRational {
        let half = BigRational::new(1.into(), 2.into());
        self.produced_before(now) - half * self.rate()
    }

    fn take_parts(&mut self, n: u64, now: u64) {
        let settled = self.settled(now);
        self.used = match self.burst {
            // A distance begins when it was admitted, not when it could have been.
            0 if n > 0 => settled.max(self.upcoming(now)) + n,
            _ => settled + n,
        };
        self.fluid.run(&self.rate(), self.burst, now);
        self.fluid.level -= whole(n);
    }

    /// Use that nobody asked for. It goes below zero, but not for ever.
    pub fn charge(&mut self, n: u64, now: u64) {
        let room = self.balance(now) + MAX_DEBT;
        self.take_parts(self.weight(n).min(room.max(0) as u64), now);
    }

    fn state(&self, now: u64) -> State {
        State {
            now,
            burst: self.burst,
            used: self.used.clone(),
            produced: self.line(now),
        }
    }

    /// How much is lacking is noted when somebody begins to wait, and when he is admitted.
    pub fn look(&mut self, now: u64) {
        let state = self.state(now);
        self.lows.look(&state);
    }

    /// Gives back `n` of `stands` that were taken at `at`, as a limiter does: what would be there without them.
    pub fn give_back(&mut self, n: u64, stands: u64, at: u64, now: u64) {
        let charge = Charge {
            at,
            produced: (at >= self.origin).then(|| self.produced_before(at).floor().to_integer()),
            stands: self.weight(stands),
        };
        let (state, n) = (self.state(now), self.weight(n));
        self.used -= self.lows.credit(&state, &charge, n);
    }

    /// Gives `n` back, as a bare bucket does.
    pub fn refund(&mut self, n: u64, now: u64) {
        let n = self.weight(n);
        self.used -= n;
        self.fluid.run(&self.rate(), self.burst, now);
        self.fluid.level += whole(n);
        self.fluid.run(&self.rate(), self.burst, now);
    }

    /// Changes rate and burst, or says that they are out of range.
    pub fn retune(&mut self, amount: u64, period_ns: u64, burst: u64, now: u64) -> bool {
        let counts = 1..=Cost::MAX;
        // Pacing stays what it is.
        let bursts = if self.burst == 0 {
            0..=0
        } else {
            1..=Cost::MAX
        };
        let per_ns = (1..=period_ns / self.parts).contains(&amount);
        if !per_ns
            || !counts.contains(&amount)
            || !bursts.contains(&burst)
            || period_ns > MAX_PERIOD_NS
        {
            return false;
        }
        self.used = self.settled(now);
        self.fluid.run(&self.rate(), self.burst, now);
        self.ahead = self.slack(now);
        if u128::from(amount) * u128::from(self.period_ns)
            != u128::from(self.amount) * u128::from(period_ns)
        {
            self.origin = now;
        }
        self.produced = self.produced(now);
        self.since = now;
        (self.amount, self.period_ns, self.burst) = (amount, period_ns, burst);
        self.fluid.run(&self.rate(), burst, now);
        true
    }

    pub fn pause(&mut self, ns: u64, now: u64) {
        self.paused_until = if ns == 0 { 0 } else { now.saturating_add(ns) };
    }

    /// The library's rate has 64 significant bits and is rounded up, so it runs early by one part in 2^63.
    fn slack(&self, now: u64) -> BigRational {
        &self.ahead + self.stretch(now) / (BigInt::one() << 63u32)
    }

    /// Whether the next token is so near at `now` that a rate of 64 bits may show it already.
    ///
    /// The only freedom that the library has. It shows after years of uptime, by one nanosecond.
    pub fn is_hair_breadth(&self, now: u64) -> bool {
        let near = |produced: BigRational| {
            let missing = produced.ceil() - produced;
            !missing.is_zero() && missing <= self.slack(now)
        };
        near(self.produced(now)) || self.burst == 0 && near(self.produced_just_before(now))
    }

    /// The balance of the textbook's continuous bucket, for which a fraction is as good as a whole.
    pub fn fluid(&mut self, now: u64) -> BigRational {
        self.fluid.run(&self.rate(), self.burst, now);
        self.fluid.level.clone()
    }
}

/// The textbook: a level that rises with time and stops at the burst.
#[derive(Clone, Debug)]
struct Fluid {
    level: BigRational,
    at: u64,
}

impl Fluid {
    fn run(&mut self, rate: &BigRational, burst: u64, now: u64) {
        self.level += whole(now - self.at) * rate;
        self.at = now;
        let burst = whole(burst);
        if self.level > burst {
            self.level = burst;
        }
    }
}
