//! Buckets by key, against an exact bucket for each key and no limit to their number.

use crate::config;
use crate::reference::{Bucket, BucketSpec, Check};
use llmrl::{BucketMap, Clock, Denied, ManualClock, Meter, Overflow};
use proptest::prelude::*;
use std::collections::HashMap;
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;
const CAPACITY: usize = 40;
/// Ten times as many.
const KEYS: u64 = 400;

#[derive(Clone, Debug)]
enum Op {
    Take(u64, u64),
    Refund(u64, u64),
    Charge(u64, u64),
    /// So many keys from the first on take so much each.
    Crowd(u64, u64, u64),
    Pass(u64),
    /// On to this many nanoseconds after (or before) the instant that the last refusal has named.
    Meet(i64),
}

/// Some keys again and again, and all others.
fn keys() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..8, 0u64..KEYS]
}

fn spec() -> impl Strategy<Value = BucketSpec> {
    let rates = prop_oneof![
        Just((1, SECOND)),
        Just((7, 3 * SECOND)),
        (1u64..=1_000_000, Just(60 * SECOND))
    ];
    (rates, 1u64..20, any::<bool>()).prop_map(|((amount, period_ns), burst, when_full)| {
        BucketSpec {
            when_full,
            ..BucketSpec::new(Meter::Tokens, amount, period_ns, burst)
        }
    })
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        8 => (keys(), 1u64..25).prop_map(|(key, n)| Op::Take(key, n)),
        2 => (keys(), 1u64..25).prop_map(|(key, n)| Op::Refund(key, n)),
        1 => (keys(), 1u64..50).prop_map(|(key, n)| Op::Charge(key, n)),
        2 => (0..KEYS, 1u64..CAPACITY as u64, 1u64..25).prop_map(|(first, keys, n)| Op::Crowd(first, keys, n)),
        4 => prop_oneof![0..SECOND, 0..60 * SECOND].prop_map(Op::Pass),
        3 => (-1i64..=1).prop_map(Op::Meet),
    ];
    prop::collection::vec(op, 1..150)
}

struct Pair {
    clock: ManualClock,
    spec: BucketSpec,
    own: HashMap<u64, Bucket>,
    other: BucketMap,
    due: Option<u64>,
}

impl Pair {
    fn new(spec: &BucketSpec, capacity: usize, overflow: Overflow) -> Self {
        let clock = ManualClock::new(0);
        let other = BucketMap::new(spec.limit(), capacity, &Clock::from(&clock)).unwrap();
        Self {
            clock,
            spec: spec.clone(),
            own: HashMap::new(),
            other: other.overflow(overflow),
            due: None,
        }
    }

    fn own(&mut self, key: u64) -> &mut Bucket {
        // A bucket that is not there is a full one, whenever it was made.
        self.own
            .entry(key)
            .or_insert_with(|| Bucket::new(&self.spec, 0))
    }

    fn take(&mut self, key: u64, n: u64) -> Result<(), TestCaseError> {
        let now = self.clock.now_ns();
        let overflows = self.other.overflows();
        let other = self.other.try_take(key, n);
        let own = self.own(key).check(n, now);
        if other.is_ok() {
            prop_assert_eq!(&own, &Check::Yes, "{} for {} at {}", n, key, now);
            self.own(key).take(n, now);
        }
        if self.other.overflows() > overflows {
            return Ok(());
        }
        match other {
            Ok(()) => {}
            Err(Denied::Short(short)) if short.is_never() => prop_assert_eq!(own, Check::Never),
            Err(Denied::Short(short)) => {
                self.due = short.wait().map(|wait| now + wait.as_nanos() as u64);
                prop_assert_eq!(own, Check::At(self.due), "{} for {} at {}", n, key, now);
            }
            Err(denied) => return Err(TestCaseError::fail(format!("{denied}"))),
        }
        Ok(())
    }

    fn apply(&mut self, op: &Op) -> Result<(), TestCaseError> {
        let now = self.clock.now_ns();
        match *op {
            Op::Take(key, n) => self.take(key, n)?,
            Op::Refund(key, n) => {
                self.own(key).refund(n, now);
                self.other.refund(key, n).unwrap();
            }
            Op::Charge(key, n) => match self.other.charge(key, n) {
                Ok(()) => self.own(key).charge(n, now),
                Err(denied) => prop_assert_eq!(denied, Denied::Crowded),
            },
            Op::Crowd(first, keys, n) => {
                for key in first..first + keys {
                    self.take(key % KEYS, n)?;
                }
            }
            Op::Pass(ns) => self.clock.advance(Duration::from_nanos(ns)),
            Op::Meet(by) => {
                let until = self.due.map_or(now, |due| due.saturating_add_signed(by));
                let ns = until.saturating_sub(now).min(86_400 * SECOND);
                self.clock.advance(Duration::from_nanos(ns));
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(config(30))]

    /// Whatever a key is given, a bucket of its own would have given it; whatever it is refused while there is room, that
    /// would have refused, too, and until the same nanosecond.
    #[test]
    fn same_answers_while_there_is_room(
        spec in spec(),
        refuse in any::<bool>(),
        capacity in prop_oneof![Just(1), Just(CAPACITY)],
        ops in ops(),
    ) {
        let overflow = if refuse { Overflow::Refuse } else { Overflow::Share };
        let mut pair = Pair::new(&spec, capacity, overflow);
        for op in &ops {
            pair.apply(op)?;
        }
    }

    /// Whoever has used up what there is gets no more of it when so many others come by that no slot is left as it was.
    #[test]
    fn nobody_is_forgotten(spec in spec(), crowds in prop::collection::vec((1u64..20, 0..9 * SECOND), 10..40)) {
        let mut pair = Pair::new(&spec, CAPACITY, Overflow::Share);
        for (first, (n, ns)) in (0u64..).step_by(CAPACITY).zip(crowds) {
            pair.apply(&Op::Crowd(first, CAPACITY as u64, n))?;
            for drained in 0..8 {
                pair.take(drained, 1)?;
            }
            pair.apply(&Op::Pass(ns))?;
        }
    }

    /// Clocks that disagree, in a table where buckets give way all the time: late by that much, never more than that.
    #[test]
    fn old_readings_make_nothing(
        behind in 1..10 * SECOND,
        steps in prop::collection::vec((0u64..4, 1u64..3, prop_oneof![20 => Just(0), 1 => 0..2 * SECOND]), 100..300),
    ) {
        const BURST: u64 = 3;
        let spec = BucketSpec::new(Meter::Tokens, 1, SECOND, BURST);
        let pair = Pair::new(&spec, 1, Overflow::Share);
        pair.clock.advance(Duration::from_nanos(10 * SECOND));
        // All but two of the slots are taken for good.
        for key in 1_000..1_030 {
            pair.other.charge(key, 1_000_000_000).unwrap();
        }
        pair.clock.disagree(Duration::from_nanos(behind));
        let mut taken = HashMap::<u64, Vec<(u64, u64)>>::new();
        for (key, n, ns) in steps {
            if pair.other.try_take(key, n).is_ok() {
                taken.entry(key).or_default().push((pair.clock.now_ns(), n));
            }
            pair.clock.advance(Duration::from_nanos(ns));
        }
        for taken in taken.values() {
            for first in 0..taken.len() {
                let mut sum = 0;
                for &(at, n) in &taken[first..] {
                    sum += n;
                    let produced = (at - taken[first].0 + behind) / SECOND + 1;
                    prop_assert!(sum <= BURST + produced, "{taken:?}");
                }
            }
        }
    }
}
