//! The same for pacing and for the kinds that count over windows.

use crate::reference::subject::build;
use crate::reference::{
    Answer, BucketSpec, LimitSpec, Model, Op, Setup, Subject, Wait, WindowShape, WindowSpec,
};
use crate::{DAY, SECOND, YEAR};
use llmrl::{Cost, Limiter, ManualClock, Meter};

const SHAPES: [WindowShape; 5] = [
    WindowShape::Fixed,
    WindowShape::Counter,
    WindowShape::Sliding(1),
    WindowShape::Sliding(60),
    WindowShape::Log,
];

/// Every kind of window of `amount` in `period_ns`, and pacing.
fn kinds(amount: u64, period_ns: u64) -> impl Iterator<Item = LimitSpec> {
    let pacing = BucketSpec::pacing(Meter::Tokens, amount, period_ns);
    let has_parts = move |shape: &WindowShape| match shape {
        WindowShape::Sliding(parts) => *parts <= period_ns,
        _ => true,
    };
    let windows = SHAPES.into_iter().filter(has_parts).map(move |shape| {
        LimitSpec::Window(WindowSpec {
            resolution: (shape == WindowShape::Log).then_some(amount.min(1 << 10)),
            ..WindowSpec::new(shape, Meter::Tokens, amount, period_ns)
        })
    });
    let can_pace = amount <= period_ns;
    windows.chain(can_pace.then_some(LimitSpec::Bucket(pacing)))
}

/// The library and the reference, moved together.
struct Both<'a> {
    own: Model,
    other: Subject<'a>,
    about: String,
    name: u32,
}

fn built(limit: &LimitSpec, start_ns: u64) -> (Setup, (Limiter, ManualClock)) {
    let setup = Setup {
        start_ns,
        limits: vec![limit.clone()],
        max_waiters: 1,
    };
    let built = build(&setup);
    (setup, built)
}

impl<'a> Both<'a> {
    fn new((setup, built): &'a (Setup, (Limiter, ManualClock))) -> Self {
        Self {
            own: Model::new(setup),
            other: Subject::new(built),
            about: format!("{:?}", setup.limits[0]),
            name: 0,
        }
    }

    fn pass(&mut self, ns: u64) {
        let mut at = self.own.now() + ns;
        // Not to where a rate of 64 bits may rightly be early.
        while self.own.is_hair_breadth(at) {
            at += 1;
        }
        self.own.advance_to(at);
        self.other.advance_to(at);
    }

    fn apply(&mut self, op: &Op) -> Answer {
        let now = self.own.now();
        let (own, other) = (self.own.apply(op), self.other.apply(op));
        let agrees = self.own.agrees(&own, &other);
        assert!(
            agrees,
            "{other:?} instead of {own:?} at {now}: {}",
            self.about
        );
        let left = (self.own.available(0), self.other.available(0));
        assert_eq!(left.1, left.0, "available at {now}: {}", self.about);
        own
    }

    fn take(&mut self, n: u64) -> Answer {
        self.name += 1;
        self.apply(&Op::TryAcquire {
            name: self.name,
            cost: Cost::tokens(n, 0),
        })
    }

    /// Takes `n`, which has to wait: not a nanosecond less than the refusal says.
    fn take_in_time(&mut self, n: u64) {
        let Answer::Refused(Wait::Ns(wait)) = self.take(n) else {
            panic!("{n} need not wait: {}", self.about)
        };
        if wait > 1 {
            self.pass(wait - 1);
            assert_ne!(self.take(n), Answer::Ok, "{}", self.about);
        }
        self.pass(1);
        assert_eq!(self.take(n), Answer::Ok, "{}", self.about);
    }
}

/// One a day, asked for every few milliseconds while it is due.
#[test]
fn polling_loses_nothing() {
    for limit in kinds(1, DAY) {
        for interval_ms in [1, 3, 50, 200] {
            let built = built(&limit, 5);
            let mut both = Both::new(&built);
            both.pass(DAY / 3);
            assert_eq!(both.take(1), Answer::Ok);
            let Answer::Refused(Wait::Ns(wait)) = both.take(1) else {
                panic!("{limit:?}")
            };
            both.pass(wait - 300 * interval_ms * 1_000_000 - 1);
            for _ in 0..300 {
                let limiter = &built.1.0;
                assert!(
                    limiter.try_acquire(&Cost::tokens(1, 0)).is_err(),
                    "{limit:?}"
                );
                both.pass(interval_ms * 1_000_000);
            }
            assert_ne!(both.take(1), Answer::Ok);
            both.pass(1);
            assert_eq!(
                both.take(1),
                Answer::Ok,
                "every {interval_ms} ms: {limit:?}"
            );
        }
    }
}

/// 10^9 a second, all at once; and one in each nanosecond.
#[test]
fn the_fastest() {
    for limit in kinds(SECOND, SECOND) {
        let built = built(&limit, 0);
        let mut both = Both::new(&built);
        assert_eq!(both.take(SECOND), Answer::Ok);
        both.take_in_time(1);
        both.take_in_time(SECOND);
    }
    for limit in kinds(1, 1) {
        let built = built(&limit, 0);
        let mut both = Both::new(&built);
        for _ in 0..1_000 {
            assert_eq!(both.take(1), Answer::Ok, "{limit:?}");
            assert_ne!(both.take(1), Answer::Ok, "{limit:?}");
            both.pass(1 + u64::from(limit_reach(&limit)));
        }
    }
}

/// Steps of a nanosecond for which more what was used still counts.
fn limit_reach(limit: &LimitSpec) -> bool {
    let sliding = [WindowShape::Sliding(1), WindowShape::Counter];
    matches!(limit, LimitSpec::Window(spec) if sliding.contains(&spec.shape))
}

/// The largest amounts and the longest period; debts that add up to the deepest; and so often that positions wrap.
#[test]
fn the_largest() {
    const LONGEST: u64 = 3660 * DAY;
    for limit in kinds(Cost::MAX, LONGEST) {
        let built = built(&limit, 3);
        let mut both = Both::new(&built);
        assert_eq!(both.take(Cost::MAX), Answer::Ok);
        both.take_in_time(Cost::MAX - 1);
        for _ in 0..200 {
            both.apply(&Op::Charge(Cost::tokens(Cost::MAX, 0)));
        }
        let deepest = both.own.available(0);
        both.apply(&Op::Charge(Cost::tokens(Cost::MAX, 0)));
        assert_eq!(both.own.available(0), deepest, "{limit:?}");
    }
    for limit in kinds(Cost::MAX, 3) {
        let built = built(&limit, 3);
        let (limiter, clock) = &built.1;
        for _ in 0..10_000 {
            let all = limiter.try_acquire(&Cost::tokens(Cost::MAX, 0));
            all.unwrap_or_else(|refused| panic!("{refused}: {limit:?}"))
                .release();
            assert!(
                limiter.try_acquire(&Cost::tokens(1, 0)).is_err(),
                "{limit:?}"
            );
            clock.advance(std::time::Duration::from_nanos(6));
        }
    }
}

/// A burst after a year, after decades of uptime: the amount, and then nothing but what is due.
#[test]
fn idling_saves_up_nothing() {
    for start in [0, 10 * YEAR, 45 * YEAR] {
        for limit in kinds(1_000, DAY).chain(kinds(7, 9)) {
            let built = built(&limit, start);
            let mut both = Both::new(&built);
            for idle in [YEAR, 1, 10 * YEAR + 12_345, YEAR / 3] {
                both.pass(idle);
                if both.take(7) == Answer::Ok {
                    both.take(900);
                    both.take(93);
                }
                both.take(1);
            }
        }
    }
}

/// Another rate fifty times a second: what was used stays, and so does the part of a window that is over.
#[test]
fn flips() {
    for (slow, fast) in [
        ((1_000, DAY), (1_000, 7)),
        ((5, 3 * SECOND), (900, 61 * SECOND)),
    ] {
        for limit in kinds(slow.0, slow.1) {
            let built = built(&limit, 77);
            let mut both = Both::new(&built);
            for flip in 0..200 {
                let (amount, period_ns) = if flip % 2 == 0 { fast } else { slow };
                // Not all kinds can be as fast, and those say so.
                both.apply(&Op::Retune {
                    limit: 0,
                    amount,
                    period_ns,
                    burst: limit.burst_at(amount).unwrap(),
                });
                both.take(1 + flip % 4);
                both.pass(20_000_000);
            }
        }
    }
}
