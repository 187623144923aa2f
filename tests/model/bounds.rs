//! What the documentation says of the most that is admitted, on schedules that mean harm.

use crate::config;
use llmrl::{Clock, Cost, Limit, Limiter, ManualClock, Meter, Refused};
use proptest::prelude::*;
use std::time::Duration;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
const MINUTE: u64 = 60 * SECOND;
const AMOUNT: u64 = 40;

fn build(limit: Limit) -> (ManualClock, Limiter) {
    let clock = ManualClock::new(7);
    let limiter = Limiter::builder()
        .limit(limit)
        .clock(Clock::from(&clock))
        .build()
        .unwrap();
    (clock, limiter)
}

/// Takes `n` tokens, or says how many nanoseconds to wait.
fn take(limiter: &Limiter, n: u64) -> Result<(), u64> {
    match limiter.try_acquire(&Cost::tokens(n, 0)) {
        Ok(permit) => {
            permit.release();
            Ok(())
        }
        Err(Refused::NotNow { wait: Some(wait) }) => Err(wait.as_nanos() as u64),
        Err(other) => panic!("{other}"),
    }
}

/// What was admitted: when, and how much.
type Admitted = Vec<(u64, u64)>;

/// The most in any `length`, which is half open.
fn most_in(admitted: &Admitted, length: u64) -> u64 {
    let within = |from: u64| {
        admitted
            .iter()
            .filter(move |(at, _)| (from..from + length).contains(at))
    };
    let sums = admitted
        .iter()
        .map(|&(from, _)| within(from).map(|(_, n)| n).sum());
    sums.max().unwrap_or(0)
}

/// What somebody does who wants as much as he can get.
#[derive(Clone, Debug)]
enum Greed {
    Ask(u64),
    /// As much as there is.
    All,
    Pass(u64),
    /// As long as the last refusal has said.
    Wait,
}

fn greed() -> impl Strategy<Value = Vec<Greed>> {
    let edge =
        (0u64..40, -2i64..=2).prop_map(|(part, ns)| (part * MINUTE / 8).saturating_add_signed(ns));
    let step = prop_oneof![
        4 => (1..=AMOUNT).prop_map(Greed::Ask),
        3 => Just(Greed::All),
        2 => edge.prop_map(Greed::Pass),
        2 => (0..2 * MINUTE).prop_map(Greed::Pass),
        4 => Just(Greed::Wait),
    ];
    prop::collection::vec(step, 1..120)
}

/// Plays it, and holds refusals to their word: not a nanosecond sooner, and no later.
fn play(limit: Limit, greed: &[Greed]) -> Result<Admitted, TestCaseError> {
    let (clock, limiter) = build(limit);
    let (mut admitted, mut refused) = (Admitted::new(), None);
    for step in greed {
        let left = limiter.limit_state(0).unwrap().available.max(0) as u64;
        let asked = match *step {
            Greed::Ask(n) => n,
            Greed::All if left > 0 => left,
            Greed::All => 1,
            Greed::Pass(ns) => {
                clock.advance(Duration::from_nanos(ns));
                refused = None;
                continue;
            }
            Greed::Wait => {
                let Some((n, wait)) = refused.take() else {
                    continue;
                };
                clock.advance(Duration::from_nanos(wait - 1));
                prop_assert_eq!(take(&limiter, n), Err(1), "too soon");
                clock.advance(Duration::from_nanos(1));
                prop_assert_eq!(take(&limiter, n), Ok(()), "too late");
                admitted.push((clock.now_ns() - 7, n));
                continue;
            }
        };
        match take(&limiter, asked) {
            Ok(()) => {
                admitted.push((clock.now_ns() - 7, asked));
                refused = None;
            }
            Err(wait) => refused = Some((asked, wait)),
        }
    }
    Ok(admitted)
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn never_more_in_any_window(greed in greed(), parts in 1u64..=9) {
        for limit in [
            Limit::sliding_window(Meter::Tokens, AMOUNT).resolution(parts),
            Limit::sliding_window_log(Meter::Tokens, AMOUNT),
            Limit::sliding_window_log(Meter::Tokens, AMOUNT).resolution(parts),
        ] {
            let most = most_in(&play(limit, &greed)?, MINUTE);
            prop_assert!(most <= AMOUNT, "{most} by {limit:?}");
        }
    }

    #[test]
    fn never_more_in_a_window_of_the_calendar(greed in greed()) {
        for limit in [
            Limit::fixed_window(Meter::Tokens, AMOUNT),
            Limit::sliding_window_counter(Meter::Tokens, AMOUNT),
        ] {
            let admitted = play(limit, &greed)?;
            for window in admitted.chunk_by(|a, b| a.0 / MINUTE == b.0 / MINUTE) {
                let sum: u64 = window.iter().map(|(_, n)| n).sum();
                prop_assert!(sum <= AMOUNT, "{sum} by {limit:?}");
            }
            prop_assert!(most_in(&admitted, MINUTE) <= 2 * AMOUNT);
        }
    }

    /// From one admission to the next is at least what the first one takes to be produced.
    #[test]
    fn pacing_keeps_its_distance(greed in greed()) {
        let admitted = play(Limit::pacing(Meter::Tokens, AMOUNT), &greed)?;
        for pair in admitted.windows(2) {
            let (distance, takes) = (pair[1].0 - pair[0].0, pair[0].1 * MINUTE / AMOUNT);
            prop_assert!(distance >= takes, "{distance} ns after {:?}", pair[0]);
        }
    }
}

/// The worst that can be done to a sliding counter. It is the price of two counters, and what the documentation says.
#[test]
fn a_sliding_counter_admits_nearly_twice_its_amount() {
    let (clock, limiter) = build(Limit::sliding_window_counter(Meter::Tokens, 1_000));
    // All of a window in its last instant, and as much as the next one gives before that is a window ago.
    clock.advance(Duration::from_nanos(MINUTE - 1));
    let mut admitted = vec![(MINUTE - 1, 1_000)];
    assert_eq!(take(&limiter, 1_000), Ok(()));
    clock.advance(Duration::from_nanos(MINUTE - 1));
    let rest = limiter.limit_state(0).unwrap().available as u64;
    assert_eq!(take(&limiter, rest), Ok(()));
    admitted.push((2 * MINUTE - 2, rest));
    let most = most_in(&admitted, MINUTE);
    assert!((1_900..=2_000).contains(&most), "{most}");
}

/// And around the reset of a fixed window, exactly twice.
#[test]
fn a_fixed_window_admits_twice_its_amount_around_its_reset() {
    let (clock, limiter) = build(Limit::fixed_window(Meter::Tokens, 1_000));
    clock.advance(Duration::from_nanos(MINUTE - 1));
    assert_eq!(take(&limiter, 1_000), Ok(()));
    clock.advance(Duration::from_nanos(1));
    assert_eq!(take(&limiter, 1_000), Ok(()));
    assert!(take(&limiter, 1).is_err());
}

/// Whoever always takes what there is gets k / (k + 1) of a sliding window in k parts, and all of a log.
#[test]
fn steady_throughput() {
    const WINDOWS: u64 = 50;
    let got = |limit: Limit| {
        let (clock, limiter) = build(limit);
        let mut got = 0;
        loop {
            match take(&limiter, 1) {
                Ok(()) => got += 1,
                Err(wait) => clock.advance(Duration::from_nanos(wait)),
            }
            if clock.now_ns() - 7 >= WINDOWS * MINUTE {
                return got;
            }
        }
    };
    for parts in [1, 2, 6, 60] {
        let got = got(Limit::sliding_window(Meter::Tokens, 120).resolution(parts));
        let least = WINDOWS * 120 * parts / (parts + 1);
        // The first window begins full.
        assert!(
            (least..=least + 120).contains(&got),
            "{got} with {parts} parts, at least {least}"
        );
    }
    let log = got(Limit::sliding_window_log(Meter::Tokens, 120));
    assert!((WINDOWS * 120..=WINDOWS * 120 + 1).contains(&log), "{log}");
}

/// Threads that take, give back and move the clock: nobody gets more together than alone.
#[test]
fn threads_stay_below_it_together() {
    for limit in [
        Limit::sliding_window(Meter::Tokens, AMOUNT).resolution(5),
        Limit::sliding_window_log(Meter::Tokens, AMOUNT),
        Limit::sliding_window_log(Meter::Tokens, AMOUNT).resolution(4),
    ] {
        let (clock, limiter) = build(limit);
        let work = |thread: u64| {
            let mut admitted = Vec::new();
            for round in 0..3_000 {
                let n = 1 + (round * 7 + thread * 3) % 5;
                let before = clock.now_ns();
                let permit = limiter.try_acquire(&Cost::tokens(n, 0));
                let after = clock.now_ns();
                match permit {
                    Ok(permit) if round % 5 == 0 => permit.cancel(),
                    Ok(permit) => {
                        permit.release();
                        admitted.push((before, after, n));
                    }
                    Err(_) => clock.advance(Duration::from_nanos(50 * MS + round)),
                }
            }
            admitted
        };
        let admitted: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|thread| scope.spawn(move || work(thread)))
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(admitted.len() > 100, "{}", admitted.len());
        // It was admitted between two looks at the clock: what was surely in a window is counted.
        for &(from, ..) in &admitted {
            let surely = admitted
                .iter()
                .filter(|(before, after, _)| *before >= from && *after < from + MINUTE);
            let sum: u64 = surely.map(|(_, _, n)| n).sum();
            assert!(sum <= AMOUNT, "{sum} from {from} by {limit:?}");
        }
    }
}
