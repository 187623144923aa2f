//! The bare token bucket.

use crate::config;
use crate::reference::bucket::END_NS;
use crate::reference::{Bucket, BucketSpec, Check};
use llmrl::{Clock, ManualClock, Meter, TokenBucket};
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::One;
use proptest::prelude::*;
use std::time::Duration;

#[derive(Clone, Debug)]
enum Op {
    Take(u64),
    Refund(u64),
    Charge(u64),
    Retune {
        amount: u64,
        period_ns: u64,
        burst: u64,
    },
    Pause(u64),
    /// So many nanoseconds pass.
    Pass(u64),
    /// On to this many nanoseconds after (or before) the instant that the last refusal has named.
    Meet(i64),
}

const DAY: u64 = 86_400_000_000_000;

/// Tokens that may be produced between two looks at a bucket, 2^57: 4 years at 10^9 a second, 4 000 at 10^6.
/// The library's ledger is ambiguous from 2^59 on.
const MOST_IDLE: u64 = 1 << 57;

/// Rates at which every remainder occurs.
fn toys() -> impl Strategy<Value = (u64, u64)> {
    (1u64..=60).prop_flat_map(|period| (1..=period, Just(period)))
}

/// From a token a day to one per nanosecond, and toy numbers.
fn rates() -> impl Strategy<Value = (u64, u64)> {
    prop_oneof![
        3 => toys(),
        2 => (1u64..=1_000_000, Just(60_000_000_000)),
        1 => (1u64..=1 << 40, 1u64..=3660 * DAY).prop_map(|(a, p)| (a.min(p).min((1 << 40) - 1), p)),
        1 => Just((1, DAY)),
        1 => Just((1, 1)),
    ]
}

fn bursts() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 1u64..=20, 2 => 1u64..=1_000_000, 1 => Just((1 << 40) - 1), 1 => Just(1)]
}

fn counts() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 1u64..=25, 2 => 1u64..=1_000_000, 1 => 1u64..1 << 40]
}

fn spec() -> impl Strategy<Value = BucketSpec> {
    (rates(), bursts(), any::<bool>(), any::<bool>()).prop_map(
        |((amount, period_ns), burst, when_full, start_empty)| BucketSpec {
            when_full,
            start_empty,
            ..BucketSpec::new(Meter::Tokens, amount, period_ns, burst)
        },
    )
}

fn ops(with_changes: bool) -> impl Strategy<Value = Vec<Op>> {
    let changes = if with_changes { 2 } else { 0 };
    let op = prop_oneof![
        8 => counts().prop_map(Op::Take),
        2 => counts().prop_map(Op::Refund),
        changes => counts().prop_map(Op::Charge),
        changes => (rates(), bursts()).prop_map(|((amount, period_ns), burst)| Op::Retune { amount, period_ns, burst }),
        changes => prop_oneof![Just(0), 1u64..100, 1u64..DAY].prop_map(Op::Pause),
        4 => prop_oneof![4 => 0u64..100, 2 => 0u64..10_000_000_000, 1 => 0..100 * DAY].prop_map(Op::Pass),
        6 => (-1i64..=1).prop_map(Op::Meet),
    ];
    prop::collection::vec(op, 1..60)
}

/// The library and the model, moved together.
struct Pair {
    clock: ManualClock,
    own: Bucket,
    other: TokenBucket,
    due: Option<u64>,
    /// Taken and given back, with their times.
    taken: Vec<(u64, i128)>,
    largest: u64,
    over: bool,
}

impl Pair {
    fn new(spec: &BucketSpec, start: u64) -> Self {
        let clock = ManualClock::new(start);
        Self {
            own: Bucket::new(spec, start),
            other: TokenBucket::new(spec.limit(), &Clock::from(&clock)).unwrap(),
            clock,
            due: None,
            taken: Vec::new(),
            largest: spec.burst,
            over: false,
        }
    }

    /// On by `ns`, but no further than a test may take the clock, and not to a hair's breadth.
    fn pass(&mut self, ns: u64) {
        let ns = ns
            .min((END_NS / 2).saturating_sub(self.clock.now_ns()))
            .min(MOST_IDLE.saturating_mul(self.own.period_ns / self.own.amount));
        self.clock.advance(Duration::from_nanos(ns));
        for step in 0..40 {
            if !self.own.is_hair_breadth(self.clock.now_ns()) {
                return;
            }
            self.clock.advance(Duration::from_nanos(1 << step));
        }
        // A whole number of tokens a nanosecond stays there for ever.
        self.over = true;
    }

    fn take(&mut self, n: u64) -> Result<(), TestCaseError> {
        let now = self.clock.now_ns();
        let before = self.other.available();
        let (own, other) = (self.own.check(n, now), self.other.try_take(n));
        match own {
            Check::Yes => {
                prop_assert!(other.is_ok(), "{n} at {now}: not taken, but due");
                self.own.take(n, now);
                self.taken.push((now, n.into()));
                self.largest = self.largest.max(n);
            }
            Check::Never => {
                let short = other.unwrap_err();
                prop_assert_eq!((short.wait(), short.is_never()), (None, true));
            }
            Check::At(at) => {
                let Err(short) = other else {
                    return Err(TestCaseError::fail(format!(
                        "{n} at {now}: taken, due at {at:?}"
                    )));
                };
                prop_assert!(!short.is_never(), "{n} at {now}: never, due at {at:?}");
                // None is beyond the end of the clock.
                let named = short
                    .wait()
                    .map_or(u64::MAX, |wait| now.saturating_add(wait.as_nanos() as u64));
                let hair = named < at.unwrap_or(u64::MAX) && self.own.is_hair_breadth(named);
                let right = at.map_or(named > END_NS, |at| at == named);
                prop_assert!(hair || right, "{n} at {now}: due {at:?}, not {named}");
                prop_assert_eq!(
                    self.other.available(),
                    before,
                    "a refusal has taken something"
                );
                self.due = at;
            }
        }
        Ok(())
    }

    fn apply(&mut self, op: &Op) -> Result<(), TestCaseError> {
        let now = self.clock.now_ns();
        if self.over {
            return Ok(());
        }
        match *op {
            Op::Take(n) => self.take(n)?,
            Op::Refund(n) => {
                self.own.refund(n, now);
                self.other.refund(n).unwrap();
                self.taken.push((now, -i128::from(n)));
            }
            Op::Charge(n) => {
                self.own.charge(n, now);
                self.other.charge(n).unwrap();
            }
            Op::Retune {
                amount,
                period_ns,
                burst,
            } => {
                self.own.retune(amount, period_ns, burst, now);
                let period = Duration::from_nanos(period_ns);
                self.other.retune(amount, period, burst).unwrap();
            }
            Op::Pause(ns) => {
                self.own.pause(ns, now);
                self.other.pause(Duration::from_nanos(ns));
            }
            Op::Pass(ns) => self.pass(ns),
            Op::Meet(by) => {
                if let Some(due) = self.due {
                    // Within what the test may take of the clock.
                    self.pass(
                        due.saturating_add_signed(by)
                            .saturating_sub(now)
                            .min(20_000 * DAY),
                    );
                }
            }
        }
        self.compare()
    }

    fn compare(&mut self) -> Result<(), TestCaseError> {
        if self.over {
            return Ok(());
        }
        let now = self.clock.now_ns();
        let (own, other) = (self.own.available(now), self.other.available());
        prop_assert_eq!(own, other, "available at {}", now);
        prop_assert!(own <= self.own.burst as i64);
        let apart = BigRational::from_integer(other.into()) - self.own.fluid(now);
        let one = BigRational::one();
        prop_assert!(
            -&one < apart && apart < one,
            "{apart} tokens from the fluid"
        );
        Ok(())
    }
}

proptest! {
    #![proptest_config(config(200))]

    /// Takes, waits and balances are those of the reference, to the token and to the nanosecond.
    #[test]
    fn same_answers(spec in spec(), start in 0u64..1 << 50, ops in ops(true)) {
        let mut pair = Pair::new(&spec, start);
        pair.compare()?;
        for op in &ops {
            pair.apply(op)?;
        }
    }

    /// What is taken minus what is given back stays, over every interval, within burst and production.
    #[test]
    fn bound(spec in spec(), ops in ops(false)) {
        let mut pair = Pair::new(&spec, 0);
        for op in &ops {
            pair.apply(op)?;
        }
        let fresh = Bucket::new(&spec, 0);
        for from in 0..pair.taken.len() {
            let mut net = 0;
            for &(at, n) in &pair.taken[from..] {
                net += n;
                let start = pair.taken[from].0;
                let produced = fresh.produced(at).floor() - fresh.produced(start).floor();
                let most = BigRational::from_integer(pair.largest.into()) + produced;
                prop_assert!(BigRational::from_integer(BigInt::from(net)) <= most, "{net} in {start}..={at}");
            }
        }
    }

    /// Taken and given back at the same instant is as good as never taken.
    #[test]
    fn take_and_refund_is_nothing(spec in spec(), ops in ops(true), n in counts()) {
        let mut pair = Pair::new(&spec, 0);
        for op in &ops {
            pair.apply(op)?;
            if !pair.over && pair.other.try_take(n).is_ok() {
                pair.other.refund(n).unwrap();
            }
            pair.compare()?;
        }
    }

    /// A change of rate, however often, makes and loses nothing.
    #[test]
    fn retunes_carry_the_fraction(steps in prop::collection::vec((toys(), 0u64..30), 1..60)) {
        let burst = (1 << 40) - 1;
        let spec = BucketSpec { start_empty: true, ..BucketSpec::new(Meter::Tokens, 1, 3, burst) };
        let mut pair = Pair::new(&spec, 0);
        for ((amount, period_ns), ns) in steps {
            pair.apply(&Op::Retune { amount, period_ns, burst })?;
            for _ in 0..ns {
                pair.apply(&Op::Pass(1))?;
            }
        }
    }
}
