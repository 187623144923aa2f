//! Several limits and the queue.

use crate::config;
use crate::reference::subject::build;
use crate::reference::{
    Answer, BucketSpec, LimitSpec, Model, Name, Op, Setup, Subject, Wait, WindowShape, WindowSpec,
};
use llmrl::{Cost, Meter, Weights};
use proptest::prelude::*;

const MINUTE: u64 = 60_000_000_000;

/// A step of a history; names are chosen from those that were given out.
#[derive(Clone, Debug)]
enum Step {
    TryAcquire(Cost),
    Enqueue(Cost, Option<u64>),
    Poll(usize),
    Adjust(usize, Cost),
    Settle(usize, Cost),
    Release(usize),
    Cancel(usize),
    Charge(Cost),
    Retune(usize, (u64, u64), u64),
    Resize(u64),
    Align(usize, u64),
    Pause(usize, u64),
    Close,
    Pass(u64),
    /// On to so many nanoseconds from the instant that the last answer has named.
    Meet(i64),
}

fn costs() -> impl Strategy<Value = Cost> {
    let tokens = prop_oneof![3 => 0u64..=12, 1 => 0u64..=2_000];
    (
        prop_oneof![6 => Just(1), 1 => 1u64..=4],
        tokens.clone(),
        tokens.clone(),
        prop::option::weighted(0.3, (tokens.clone(), tokens)),
    )
        .prop_map(|(requests, input, output, cache)| {
            let (cached, cache_write) = cache.unwrap_or_default();
            Cost {
                requests,
                input,
                output,
                cached,
                cache_write,
            }
        })
}

fn rates() -> impl Strategy<Value = (u64, u64)> {
    prop_oneof![
        3 => (1u64..=30).prop_flat_map(|period| (1..=period, Just(period))),
        3 => (1u64..=10_000, Just(MINUTE)),
        1 => Just((1, 1440 * MINUTE)),
    ]
}

fn bursts() -> impl Strategy<Value = u64> {
    prop_oneof![3 => 1u64..=40, 1 => 1u64..=5_000]
}

fn meters() -> impl Strategy<Value = Meter> {
    let weight = || prop_oneof![Just(0), Just(1_000), 0u32..=10_000];
    let weights = (1u32..=5_000, weight(), weight(), weight());
    prop_oneof![
        Just(Meter::Requests),
        Just(Meter::Tokens),
        Just(Meter::Input),
        Just(Meter::Output),
        weights.prop_map(
            |(input, output, cached, cache_write)| Meter::Weighted(Weights {
                input,
                output,
                cached,
                cache_write
            })
        ),
    ]
}

fn bucket() -> impl Strategy<Value = LimitSpec> {
    let bursts = prop_oneof![4 => bursts(), 1 => Just(0)];
    let flags = (any::<bool>(), prop::bool::weighted(0.2));
    (meters(), rates(), bursts, flags).prop_map(
        |(meter, (amount, period_ns), burst, (when_full, start_empty))| {
            LimitSpec::Bucket(BucketSpec {
                when_full: when_full || burst == 0,
                start_empty,
                ..BucketSpec::new(meter, amount, period_ns, burst)
            })
        },
    )
}

fn window() -> impl Strategy<Value = LimitSpec> {
    let shapes = prop_oneof![
        Just(WindowShape::Fixed),
        Just(WindowShape::Counter),
        (1u64..=8).prop_map(WindowShape::Sliding),
        Just(WindowShape::Log),
    ];
    let flags = (any::<bool>(), prop::bool::weighted(0.2));
    let phase = prop::option::of(any::<prop::sample::Index>());
    (
        shapes,
        meters(),
        periods(),
        bursts(),
        (1u64..=9, phase),
        flags,
    )
        .prop_map(
            |(shape, meter, period_ns, amount, (stamps, phase), (when_full, start_empty))| {
                let phase = phase.filter(|_| shape == WindowShape::Fixed);
                LimitSpec::Window(WindowSpec {
                    resolution: (shape == WindowShape::Log).then_some(stamps),
                    resets_in_ns: phase.map(|phase| phase.index(period_ns as usize + 1) as u64),
                    when_full,
                    start_empty,
                    ..WindowSpec::new(shape, meter, amount, period_ns)
                })
            },
        )
}

fn periods() -> impl Strategy<Value = u64> {
    prop_oneof![3 => 8u64..=60, 3 => Just(MINUTE), 1 => 8..=1440 * MINUTE]
}

fn setup() -> impl Strategy<Value = Setup> {
    let in_flight = prop::option::of((1u64..=4, any::<prop::sample::Index>()));
    let waiters = prop_oneof![1usize..=4, Just(64)];
    (
        0u64..1 << 50,
        prop::collection::vec(prop_oneof![bucket(), window()], 0..=7),
        in_flight,
        waiters,
    )
        .prop_map(|(start_ns, mut limits, in_flight, max_waiters)| {
            if let Some((slots, at)) = in_flight {
                limits.insert(at.index(limits.len() + 1), LimitSpec::InFlight(slots));
            } else if limits.is_empty() {
                limits.push(LimitSpec::InFlight(2));
            }
            Setup {
                start_ns,
                limits,
                max_waiters,
            }
        })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = || 0usize..12;
    let timeout = prop_oneof![2 => Just(None), 1 => Just(Some(0)), 2 => (0u64..60).prop_map(Some),
        2 => (0..5 * MINUTE).prop_map(Some)];
    let pass = prop_oneof![3 => 0u64..40, 3 => 0..MINUTE, 1 => 0..3000 * MINUTE];
    let step = prop_oneof![
        10 => costs().prop_map(Step::TryAcquire),
        10 => (costs(), timeout).prop_map(|(cost, timeout)| Step::Enqueue(cost, timeout)),
        12 => name().prop_map(Step::Poll),
        2 => (name(), costs()).prop_map(|(name, cost)| Step::Adjust(name, cost)),
        4 => (name(), costs()).prop_map(|(name, cost)| Step::Settle(name, cost)),
        4 => name().prop_map(Step::Release),
        4 => name().prop_map(Step::Cancel),
        1 => costs().prop_map(Step::Charge),
        1 => (0usize..8, rates(), bursts()).prop_map(|(limit, rate, burst)| Step::Retune(limit, rate, burst)),
        1 => (1u64..=6).prop_map(Step::Resize),
        1 => (0usize..8, prop_oneof![Just(1), 1u64..60, 1..=MINUTE]).prop_map(|(limit, ns)| Step::Align(limit, ns)),
        1 => (0usize..8, prop_oneof![Just(0), 0u64..60, 0..5 * MINUTE]).prop_map(|(limit, ns)| Step::Pause(limit, ns)),
        1 => prop::bool::weighted(0.1).prop_map(|yes| if yes { Step::Close } else { Step::Pass(1) }),
        8 => pass.prop_map(Step::Pass),
        8 => (-1i64..=1).prop_map(Step::Meet),
    ];
    prop::collection::vec(step, 1..80)
}

/// The library and the model, asked the same.
struct Pair<'a> {
    own: Model,
    other: Subject<'a>,
    limits: &'a [LimitSpec],
    /// Those that may still mean something, oldest first.
    names: Vec<Name>,
    next: Name,
    due: Option<u64>,
    /// A history ends where the library may rightly differ; see `Bucket::is_hair_breadth`.
    over: bool,
}

impl Pair<'_> {
    fn name(&self, index: usize) -> Name {
        let back = index % self.names.len().max(1);
        let last = self.names.len().wrapping_sub(1);
        self.names
            .get(last.wrapping_sub(back))
            .copied()
            .unwrap_or(0)
    }

    fn new_name(&mut self) -> Name {
        self.next += 1;
        self.names.push(self.next);
        self.next
    }

    fn op(&mut self, step: &Step) -> Option<Op> {
        let index = |limit: usize| limit % self.limits.len();
        Some(match *step {
            Step::TryAcquire(cost) => Op::TryAcquire {
                name: self.new_name(),
                cost,
            },
            Step::Enqueue(cost, timeout_ns) => Op::Enqueue {
                name: self.new_name(),
                cost,
                timeout_ns,
            },
            Step::Poll(name) => Op::Poll(self.name(name)),
            Step::Adjust(name, cost) => Op::Adjust(self.name(name), cost),
            Step::Settle(name, cost) => Op::Settle(self.name(name), cost),
            Step::Release(name) => Op::Release(self.name(name)),
            Step::Cancel(name) => Op::Cancel(self.name(name)),
            Step::Charge(cost) => Op::Charge(cost),
            Step::Retune(limit, (amount, period_ns), burst) => Op::Retune {
                limit: index(limit),
                amount,
                period_ns,
                burst: self.limits[index(limit)].burst_at(amount).unwrap_or(burst),
            },
            Step::Align(limit, resets_in_ns) => Op::Align {
                limit: index(limit),
                resets_in_ns,
            },
            Step::Resize(slots) => Op::Resize(slots),
            Step::Pause(limit, ns) => Op::Pause {
                limit: index(limit),
                ns,
            },
            Step::Close => Op::Close,
            Step::Pass(ns) => {
                self.pass(self.own.now() + ns);
                return None;
            }
            Step::Meet(by) => {
                if let Some(due) = self.due {
                    let at = due.saturating_add_signed(by);
                    self.pass(at.clamp(self.own.now(), self.own.now() + (1 << 57)));
                }
                return None;
            }
        })
    }

    fn pass(&mut self, mut at: u64) {
        for step in 0..40 {
            self.own.advance_to(at);
            self.other.advance_to(at);
            if !self.own.is_hair_breadth(at) {
                return;
            }
            at += 1 << step;
        }
        self.over = true;
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        if let Some(op) = self.op(step) {
            let now = self.own.now();
            let other = self.other.apply(&op);
            let own = self.own.apply_beside(&op, &other);
            let agrees = self.own.agrees(&own, &other);
            prop_assert!(agrees, "at {now} {op:?}: {other:?} instead of {own:?}");
            if let Some(Wait::Ns(ns)) = own.wait() {
                self.due = Some(now.saturating_add(ns));
            }
            if let (Op::TryAcquire { .. } | Op::Enqueue { .. }, Answer::Refused(_)) = (&op, &own) {
                self.names.pop();
            }
            // What a refusal or the end of a ticket leaves to be granted may be granted there and then, or by
            // whoever comes next.
            if matches!(own, Answer::Deadline | Answer::Full) || matches!(op, Op::Cancel(_)) {
                self.own.pump();
                self.other.pump();
            }
        }
        self.compare()
    }

    fn compare(&self) -> Result<(), TestCaseError> {
        for limit in 0..self.limits.len() {
            let (own, other) = (self.own.available(limit), self.other.available(limit));
            let now = self.own.now();
            prop_assert_eq!(own, other, "available of limit {} at {}", limit, now);
        }
        prop_assert_eq!(self.own.granted, self.other.granted());
        prop_assert_eq!(self.own.in_flight(), self.other.in_flight());
        Ok(())
    }
}

proptest! {
    #![proptest_config(config(120))]

    /// Every answer, every balance and every count is that of the reference.
    #[test]
    fn same_answers(setup in setup(), steps in steps()) {
        let built = build(&setup);
        let mut pair = Pair {
            own: Model::new(&setup),
            other: Subject::new(&built),
            limits: &setup.limits,
            names: Vec::new(),
            next: 0,
            due: None,
            over: false,
        };
        pair.compare()?;
        for step in &steps {
            pair.step(step)?;
            if pair.over {
                return Ok(());
            }
        }
    }
}
