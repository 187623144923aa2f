//! The ends of the ranges: slowest and fastest rates, largest weights, decades of uptime, years of idling.
#![cfg(not(any(loom, shuttle)))]

#[path = "reference/mod.rs"]
mod reference;
#[path = "extremes/windows.rs"]
mod windows;

use llmrl::{Clock, Cost, Limit, Limiter, ManualClock, Meter, Refused, TokenBucket};
use reference::{Bucket, BucketSpec, Check};
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const DAY: u64 = 86_400 * SECOND;
const YEAR: u64 = 365 * DAY;

/// The library and the reference on one clock.
struct Pair {
    clock: ManualClock,
    own: Bucket,
    other: TokenBucket,
}

impl Pair {
    fn new(spec: BucketSpec, start: u64) -> Self {
        let clock = ManualClock::new(start);
        Self {
            own: Bucket::new(&spec, start),
            other: TokenBucket::new(spec.limit(), &Clock::from(&clock)).unwrap(),
            clock,
        }
    }

    fn now(&self) -> u64 {
        self.clock.now_ns()
    }

    fn pass(&self, ns: u64) {
        self.clock.advance(Duration::from_nanos(ns));
    }

    /// Takes `n` if the reference allows it; both must be of one mind, also on the time.
    fn take(&mut self, n: u64) -> bool {
        let now = self.now();
        match self.own.check(n, now) {
            Check::Yes => {
                self.own.take(n, now);
                assert!(self.other.try_take(n).is_ok(), "{n} at {now}");
            }
            Check::Never => assert_eq!(self.other.try_take(n).unwrap_err().wait(), None),
            Check::At(at) => {
                let wait = self.other.try_take(n).unwrap_err().wait().unwrap();
                let named = now + wait.as_nanos() as u64;
                let hair = self.own.is_hair_breadth(named);
                assert!(
                    at == Some(named) || hair,
                    "{n} at {now}: due {at:?}, not {named}"
                );
                return false;
            }
        }
        let available = self.other.available();
        assert_eq!(available, self.own.available(now), "available at {now}");
        true
    }

    fn retune(&mut self, amount: u64, period_ns: u64, burst: u64) {
        let now = self.now();
        assert!(self.own.retune(amount, period_ns, burst, now));
        let period = Duration::from_nanos(period_ns);
        self.other.retune(amount, period, burst).unwrap();
    }
}

fn spec(amount: u64, period_ns: u64, burst: u64) -> BucketSpec {
    BucketSpec::new(Meter::Tokens, amount, period_ns, burst)
}

/// Nothing is lost by asking: a token a day, asked for every few milliseconds for as long as it takes.
#[test]
fn polling_a_slow_bucket_loses_nothing() {
    for interval_ms in [1, 3, 7, 50, 170, 200] {
        let mut pair = Pair::new(spec(1, DAY, 3), 0);
        assert!(pair.take(3));
        // The last stretch of the day, at full density, behind a coarse one.
        pair.pass(DAY - 10_000 * interval_ms * 1_000_000);
        for _ in 0..9_999 {
            assert!(pair.other.try_take(1).is_err());
            pair.pass(interval_ms * 1_000_000);
        }
        pair.pass(interval_ms * 1_000_000 - 1);
        assert!(!pair.take(1));
        pair.pass(1);
        assert!(pair.take(1), "asked every {interval_ms} ms");
    }
}

/// Each token of the first thousands comes at its nanosecond, at rates that divide nothing.
#[test]
fn every_token_is_on_time() {
    for (amount, period) in [
        (1, 3),
        (7, 9),
        (999_983, SECOND),
        (499_999, MINUTE),
        (13, DAY),
    ] {
        let mut pair = Pair::new(
            BucketSpec {
                start_empty: true,
                ..spec(amount, period, 1)
            },
            5,
        );
        for _ in 0..2_000 {
            let wait = pair
                .other
                .try_take(1)
                .unwrap_err()
                .wait()
                .unwrap()
                .as_nanos() as u64;
            pair.pass(wait - 1);
            assert!(!pair.take(1));
            pair.pass(1);
            assert!(pair.take(1), "{amount} per {period} ns at {}", pair.now());
        }
    }
}

/// A rate that changes fifty times a second: production is the exact sum of its stretches.
#[test]
fn flips_lose_no_fraction() {
    let slow_and_fast = [(1, MINUTE), (2, MINUTE)];
    let slowest_and_fastest = [(1, 3660 * DAY), (1, 1)];
    let odd = [(499_979, 7 * MINUTE), (3, 11)];
    for rates in [slow_and_fast, slowest_and_fastest, odd] {
        let burst = Cost::MAX;
        let start_empty = true;
        let mut pair = Pair::new(
            BucketSpec {
                start_empty,
                ..spec(1, MINUTE, burst)
            },
            77,
        );
        for flip in 0..5_000 {
            let (amount, period) = rates[flip % 2];
            pair.retune(amount, period, burst);
            pair.pass(20_000_000);
            let exact = pair.own.available(pair.now());
            assert_eq!(
                pair.other.available(),
                exact,
                "{rates:?} after {flip} flips"
            );
        }
    }
}

/// The smallest history in which a fraction that is cut off at a change of rate makes a token late.
#[test]
fn a_fraction_survives_a_fast_stretch() {
    let mut pair = Pair::new(spec(1, 1, 1), 0);
    pair.retune(701_605, MINUTE, 1);
    pair.pass(8);
    pair.retune(1, 1, 1);
    pair.retune(1, DAY, 1);
    pair.own.charge(1, 8);
    pair.other.charge(1).unwrap();
    assert!(!pair.take(1));
}

/// A burst after a year, as after ten: the burst, and then nothing but what is produced.
#[test]
fn idling_saves_up_the_burst() {
    for (amount, period, burst) in [
        (1, DAY, 1),
        (1_000_000, MINUTE, 250_000),
        (SECOND, SECOND, 1),
        (SECOND, SECOND, Cost::MAX),
        (Cost::MAX, 3660 * DAY, Cost::MAX),
    ] {
        for idle in [YEAR, 10 * YEAR] {
            let mut pair = Pair::new(spec(amount, period, burst), 0);
            assert!(pair.take(1));
            pair.pass(idle);
            assert!(pair.take(burst), "{burst} after {idle} ns");
            assert!(!pair.take(1));
            // Production has a phase of its own, so the next token comes within a token's time.
            pair.pass(period.div_ceil(amount));
            assert!(pair.take(1));
        }
    }
}

/// A century of use, a look every few months: the ledger never loses its way.
#[test]
fn a_century_of_uptime() {
    for (amount, period, burst) in [
        (1, DAY, 5),
        (500, MINUTE, 500),
        (2_000_000, MINUTE, 100_000),
        (999_999_937, SECOND, 1_000_000),
        (1, 1, 1_000),
        (7, 9, 3),
    ] {
        for start in [0, 10 * YEAR, 45 * YEAR] {
            let mut pair = Pair::new(spec(amount, period, burst), start);
            for _ in 0..300 {
                assert!(
                    pair.take(burst),
                    "{amount} per {period} ns at {}",
                    pair.now()
                );
                pair.take(1);
                pair.pass(YEAR / 3 + 12_345_678_901);
            }
        }
    }
}

/// Being looked at is no use: a full bucket stays full, however much it would have produced.
#[test]
fn a_bucket_that_is_only_looked_at_stays_full() {
    for (amount, period) in [(1, 1), (4, 14), (1_000_000, SECOND)] {
        let pair = Pair::new(spec(amount, period, 10), 0);
        for day in 0..200 {
            pair.pass(DAY);
            assert_eq!(
                pair.other.available(),
                10,
                "{amount} per {period} ns, day {day}"
            );
        }
    }
}

/// The same for a limit that every request passes by, because it costs nothing there.
#[test]
fn a_limit_that_is_only_passed_by_stays_full() {
    let clock = ManualClock::new(0);
    let limiter = Limiter::builder()
        .limit(
            Limit::requests(SECOND)
                .per(Duration::from_secs(1))
                .burst(10),
        )
        .limit(Limit::tokens(SECOND).per(Duration::from_secs(1)).burst(10))
        .clock(Clock::from(&clock))
        .build()
        .unwrap();
    for day in 0..200 {
        clock.advance(Duration::from_nanos(DAY));
        limiter.try_acquire(&Cost::request()).unwrap().release();
        assert_eq!(limiter.limit_state(1).unwrap().available, 10, "day {day}");
    }
    assert!(limiter.try_acquire(&Cost::tokens(10, 0)).is_ok());
}

/// Weights up to 2^40 - 1, one token at a time less than the burst, and debts that add up.
#[test]
fn the_largest_weights() {
    let mut pair = Pair::new(spec(Cost::MAX, Cost::MAX, Cost::MAX), 3);
    assert!(pair.take(Cost::MAX));
    assert!(!pair.take(Cost::MAX));
    pair.pass(Cost::MAX - 1);
    assert!(!pair.take(Cost::MAX));
    pair.pass(1);
    assert!(pair.take(Cost::MAX));
    for _ in 0..200 {
        let now = pair.now();
        pair.own.charge(Cost::MAX, now);
        pair.other.charge(Cost::MAX).unwrap();
        assert_eq!(pair.other.available(), pair.own.available(now));
    }
    assert_eq!(pair.other.available(), -reference::bucket::MAX_DEBT);
    pair.pass(1 << 47);
    assert!(!pair.take(1));
    pair.pass(1);
    assert!(pair.take(1));
}

/// A wait that ends after the clock does is not named as if it ended.
#[test]
fn waits_beyond_the_clock() {
    let clock = ManualClock::new(0);
    let limiter = Limiter::builder()
        .limit(
            Limit::tokens(1)
                .per(Duration::from_nanos(DAY))
                .burst(Cost::MAX),
        )
        .clock(Clock::from(&clock))
        .build()
        .unwrap();
    let all = Cost::tokens(Cost::MAX, 0);
    limiter.try_acquire(&all).unwrap().release();
    let again = limiter.try_acquire(&all).unwrap_err();
    assert_eq!(again, Refused::NotNow { wait: None });
    let soon = limiter.try_acquire(&Cost::tokens(100_000, 0)).unwrap_err();
    let days = Duration::from_nanos(100_000 * DAY);
    assert_eq!(soon, Refused::NotNow { wait: Some(days) });
}

/// The fastest rate is a token a nanosecond; a wait is then as many nanoseconds as tokens are missing.
#[test]
fn a_token_a_nanosecond() {
    let mut pair = Pair::new(spec(SECOND, SECOND, 1_000_000), 0);
    assert!(pair.take(1_000_000));
    for n in [1, 2, 3, 1_000, 999_999, 1_000_000] {
        let wait = pair.other.try_take(n).unwrap_err().wait();
        assert_eq!(wait, Some(Duration::from_nanos(n)));
        pair.pass(n - 1);
        assert!(!pair.take(n));
        pair.pass(1);
        assert!(pair.take(n));
    }
}
