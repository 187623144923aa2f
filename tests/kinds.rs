//! What each kind of limit allows, in small numbers.
#![cfg(not(any(loom, shuttle)))]

use llmrl::{Clock, Cost, Limit, Limiter, ManualClock, Meter, Progress, Refused, Weights};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn limiter(limit: Limit) -> (ManualClock, Limiter) {
    let clock = ManualClock::new(7_000_000_000);
    let limiter = Limiter::builder()
        .limit(limit)
        .clock(Clock::from(&clock))
        .build()
        .unwrap();
    (clock, limiter)
}

fn tokens(n: u64) -> Cost {
    Cost::tokens(n, 0)
}

/// Takes `n`, or says how long to wait.
fn take(limiter: &Limiter, n: u64) -> Result<(), Option<Duration>> {
    match limiter.try_acquire(&tokens(n)) {
        Ok(permit) => {
            permit.release();
            Ok(())
        }
        Err(Refused::NotNow { wait }) => Err(wait),
        Err(other) => panic!("{other}"),
    }
}

fn after(clock: &ManualClock, time: Duration) {
    clock.advance(time);
}

#[test]
fn pacing_spaces_by_cost() {
    let (clock, limiter) = limiter(Limit::pacing(Meter::Tokens, 600)); // 10 a second
    after(&clock, 100 * SECOND);
    assert_eq!(take(&limiter, 25), Ok(()));
    assert_eq!(take(&limiter, 1), Err(Some(Duration::from_millis(2500))));
    after(&clock, Duration::from_nanos(2_499_999_999));
    assert_eq!(take(&limiter, 1), Err(Some(Duration::from_nanos(1))));
    after(&clock, Duration::from_nanos(1));
    assert_eq!(take(&limiter, 1), Ok(()));
    assert_eq!(take(&limiter, 1), Err(Some(Duration::from_millis(100))));
}

#[test]
fn a_fixed_window_resets_as_a_whole() {
    let limit = Limit::fixed_window(Meter::Tokens, 10).resets_in(20 * SECOND);
    let (clock, limiter) = limiter(limit);
    assert_eq!(take(&limiter, 10), Ok(()));
    assert_eq!(take(&limiter, 1), Err(Some(20 * SECOND)));
    after(&clock, 20 * SECOND - Duration::from_nanos(1));
    assert_eq!(take(&limiter, 10), Err(Some(Duration::from_nanos(1))));
    after(&clock, Duration::from_nanos(1));
    assert_eq!(take(&limiter, 10), Ok(()));
    assert_eq!(take(&limiter, 1), Err(Some(60 * SECOND)));
    after(&clock, 300 * SECOND);
    assert_eq!(take(&limiter, 10), Ok(()), "what was not used is forfeited");
    assert_eq!(take(&limiter, 1), Err(Some(60 * SECOND)));
    limiter.align(0, 5 * SECOND).unwrap();
    assert_eq!(take(&limiter, 1), Err(Some(5 * SECOND)));
    after(&clock, 5 * SECOND);
    assert_eq!(take(&limiter, 4), Ok(()));
    assert_eq!(take(&limiter, 7), Err(Some(60 * SECOND)));
}

#[test]
fn a_refund_belongs_to_the_window_that_was_charged() {
    for limit in [
        Limit::fixed_window(Meter::Tokens, 10),
        Limit::sliding_window(Meter::Tokens, 10).resolution(1),
    ] {
        let (clock, limiter) = limiter(limit);
        let first = limiter.try_acquire(&tokens(8)).unwrap();
        after(&clock, 120 * SECOND);
        assert_eq!(take(&limiter, 6), Ok(()));
        first.settle(&tokens(0)).unwrap();
        assert_eq!(limiter.limit_state(0).unwrap().available, 4);
        let second = limiter.try_acquire(&tokens(4)).unwrap();
        second.settle(&tokens(1)).unwrap();
        assert_eq!(limiter.limit_state(0).unwrap().available, 3);
    }
}

#[test]
fn a_sliding_counter_weighs_the_window_before() {
    let (clock, limiter) = limiter(Limit::sliding_window_counter(Meter::Tokens, 100));
    assert_eq!(take(&limiter, 100), Ok(()));
    // The next window begins with all of this one counting; a tenth of it is over after 6 s.
    assert_eq!(take(&limiter, 10), Err(Some(66 * SECOND)));
    after(&clock, 66 * SECOND);
    assert_eq!(take(&limiter, 10), Ok(()));
    assert_eq!(take(&limiter, 1), Err(Some(Duration::from_millis(600))));
    after(&clock, 24 * SECOND);
    assert_eq!(limiter.limit_state(0).unwrap().available, 40);
    // 10 of this window stay whole: 95 more have to wait for the next one, and 5 of its parts.
    assert_eq!(take(&limiter, 95), Err(Some(60 * SECOND)));
}

#[test]
fn a_sliding_window_never_admits_more() {
    let (clock, limiter) = limiter(Limit::sliding_window(Meter::Tokens, 10).resolution(6));
    after(&clock, 9 * SECOND);
    assert_eq!(take(&limiter, 10), Ok(()));
    // It counts as made at 10 s, the end of its part.
    assert_eq!(take(&limiter, 1), Err(Some(61 * SECOND)));
    after(&clock, 61 * SECOND);
    assert_eq!(take(&limiter, 3), Ok(()));
    after(&clock, 10 * SECOND);
    assert_eq!(take(&limiter, 7), Ok(()));
    assert_eq!(take(&limiter, 3), Err(Some(60 * SECOND)));
    assert_eq!(take(&limiter, 4), Err(Some(70 * SECOND)));
}

#[test]
fn a_log_is_exact() {
    let (clock, limiter) = limiter(Limit::sliding_window_log(Meter::Tokens, 10));
    for _ in 0..5 {
        assert_eq!(take(&limiter, 2), Ok(()));
        after(&clock, SECOND);
    }
    assert_eq!(take(&limiter, 1), Err(Some(55 * SECOND)));
    assert_eq!(take(&limiter, 3), Err(Some(56 * SECOND)));
    assert_eq!(take(&limiter, 10), Err(Some(59 * SECOND)));
    after(&clock, 55 * SECOND - Duration::from_nanos(1));
    assert_eq!(take(&limiter, 1), Err(Some(Duration::from_nanos(1))));
    after(&clock, Duration::from_nanos(1));
    assert_eq!(take(&limiter, 2), Ok(()));
    assert_eq!(take(&limiter, 1), Err(Some(SECOND)));
}

#[test]
fn a_full_log_joins_its_oldest() {
    let (clock, limiter) = limiter(Limit::sliding_window_log(Meter::Tokens, 100).resolution(3));
    for _ in 0..6 {
        assert_eq!(take(&limiter, 10), Ok(()));
        after(&clock, SECOND);
    }
    // There is room for four. The first three count as made at 2 s.
    assert_eq!(limiter.limit_state(0).unwrap().available, 40);
    assert_eq!(take(&limiter, 41), Err(Some(56 * SECOND)));
    assert_eq!(take(&limiter, 90), Err(Some(58 * SECOND)));
    after(&clock, 56 * SECOND);
    assert_eq!(limiter.limit_state(0).unwrap().available, 70);
}

#[test]
fn windows_queue_in_order() {
    let (clock, limiter) = limiter(Limit::fixed_window(Meter::Tokens, 10));
    assert_eq!(take(&limiter, 10), Ok(()));
    let mut first = limiter.enqueue(&tokens(8), None, 1).unwrap();
    let mut second = limiter.enqueue(&tokens(8), None, 2).unwrap();
    let Progress::Pending { wait } = limiter.poll(&mut first) else {
        panic!()
    };
    assert_eq!(wait, Some(60 * SECOND));
    let Progress::Pending { wait } = limiter.poll(&mut second) else {
        panic!()
    };
    assert_eq!(wait, Some(120 * SECOND));
    assert_eq!(
        limiter.enqueue(&tokens(1), Some(60 * SECOND), 3).err(),
        Some(Refused::Deadline),
        "it would fit in beside the first, but it comes after the second"
    );
    after(&clock, 60 * SECOND);
    let Progress::Held(permit) = limiter.poll(&mut first) else {
        panic!()
    };
    // What it does not use goes to the next one at once.
    permit.settle(&tokens(1)).unwrap();
    assert!(matches!(limiter.poll(&mut second), Progress::Held(_)));
}

#[test]
fn classes_of_tokens_have_weights() {
    let weights = Weights {
        input: 1_000,
        output: 5_000,
        cached: 100,
        cache_write: 1_250,
    };
    let (_, limiter) = limiter(Limit::bucket(Meter::Weighted(weights), 1_000));
    let cost = Cost {
        requests: 1,
        input: 150,
        output: 10,
        cached: 101,
        cache_write: 40,
    };
    // 9 + 50 + 10.1 + 50, rounded up.
    limiter.try_acquire(&cost).unwrap().release();
    assert_eq!(limiter.limit_state(0).unwrap().available, 1_000 - 120);
}

#[test]
fn a_companion_smooths() {
    let minute = Limit::sliding_window(Meter::Requests, 60);
    let clock = ManualClock::new(0);
    let limiter = Limiter::builder()
        .limit(minute)
        .limit(minute.smoothed(SECOND))
        .clock(Clock::from(&clock))
        .build()
        .unwrap();
    assert!(limiter.try_acquire(&Cost::request()).is_ok());
    let Err(Refused::NotNow { wait: Some(wait) }) = limiter.try_acquire(&Cost::request()) else {
        panic!()
    };
    // Until the end of its sixtieth part of a second is a second ago.
    assert_eq!(wait, Duration::from_nanos(1_016_666_667));
}

#[test]
fn what_cannot_be_is_refused() {
    let refused = |limit: Limit, text: &str| {
        let error = Limiter::builder().limit(limit).build().unwrap_err();
        assert_eq!(error.to_string(), format!("limit 0: {text}"));
    };
    let requests = Meter::Requests;
    refused(
        Limit::sliding_window_log(requests, 65_537),
        "resolution = 65537 is outside 1..=65536",
    );
    refused(
        Limit::sliding_window(requests, 10).per(Duration::from_nanos(59)),
        "resolution = 60 is outside 1..=59",
    );
    refused(
        Limit::fixed_window(requests, 10).resets_in(61 * SECOND),
        "resets_in (ns) = 61000000000 is outside 0..=60000000000",
    );
    refused(
        Limit::fixed_window(requests, 10).burst(11),
        "burst = 11 is outside 10..=10",
    );
    refused(
        Limit::pacing(requests, 10).burst(1),
        "burst = 1 is outside 0..=0",
    );
    refused(
        Limit::requests(10).resolution(2),
        "resolution = 2 is outside 0..=0",
    );
}

#[test]
fn a_refund_finds_its_window_after_a_change() {
    let (clock, limiter) = limiter(Limit::fixed_window(Meter::Tokens, 10));
    let before = limiter.try_acquire(&tokens(8)).unwrap();
    after(&clock, 60 * SECOND);
    let now = limiter.try_acquire(&tokens(6)).unwrap();
    limiter.align(0, 30 * SECOND).unwrap();
    before.cancel();
    assert_eq!(limiter.limit_state(0).unwrap().available, 4);
    now.cancel();
    assert_eq!(limiter.limit_state(0).unwrap().available, 10);
}

#[test]
fn a_pause_is_no_change_to_a_refund() {
    let (clock, limiter) = limiter(Limit::sliding_window(Meter::Tokens, 10).resolution(2));
    limiter.retune(0, 10, 60 * SECOND, 10).unwrap();
    let permit = limiter.try_acquire(&tokens(8)).unwrap();
    after(&clock, 30 * SECOND);
    limiter.pause(0, Duration::ZERO).unwrap();
    permit.cancel();
    assert_eq!(limiter.limit_state(0).unwrap().available, 10);
}

#[test]
fn an_estimate_that_was_raised_is_given_back_once() {
    let (clock, limiter) = limiter(Limit::sliding_window_counter(Meter::Tokens, 100));
    let mut permit = limiter.try_acquire(&tokens(5)).unwrap();
    after(&clock, 60 * SECOND);
    permit.adjust(&tokens(15)).unwrap();
    after(&clock, 30 * SECOND);
    permit.cancel();
    assert_eq!(limiter.limit_state(0).unwrap().available, 100);
    assert_eq!(take(&limiter, 100), Ok(()));
}

#[test]
fn a_longer_window_brings_nothing_back() {
    for looks in [false, true] {
        let (clock, limiter) = limiter(Limit::sliding_window_log(Meter::Tokens, 10));
        assert_eq!(take(&limiter, 10), Ok(()));
        after(&clock, 60 * SECOND);
        if looks {
            assert_eq!(limiter.limit_state(0).unwrap().available, 10);
        }
        limiter.retune(0, 10, 120 * SECOND, 10).unwrap();
        assert_eq!(limiter.limit_state(0).unwrap().available, 10);
    }
}

/// Who joins a queue in time for his turn is not told that he is late.
#[test]
fn nobody_is_late_who_is_in_time() {
    use llmrl::Oversize;
    let fixed = Limit::fixed_window(Meter::Tokens, 10).oversize(Oversize::WhenFull);
    let (clock, limiter) = limiter(fixed);
    assert_eq!(take(&limiter, 1), Ok(()));
    // The large one gets the second window to itself, and the next one the third.
    let mut large = limiter.enqueue(&tokens(35), None, 1).unwrap();
    let in_time = Some(120 * SECOND);
    let mut next = limiter.enqueue(&tokens(10), in_time, 2).unwrap();
    after(&clock, 60 * SECOND);
    assert!(matches!(limiter.poll(&mut large), Progress::Held(_)));
    after(&clock, 60 * SECOND);
    assert!(matches!(limiter.poll(&mut next), Progress::Held(_)));
}

#[test]
fn a_sliding_counter_lets_more_than_its_amount_pass_behind_each_other() {
    let (clock, limiter) = limiter(Limit::sliding_window_counter(Meter::Tokens, 100));
    assert_eq!(take(&limiter, 100), Ok(()));
    after(&clock, 114 * SECOND);
    // The last tenth of the first window weighs 10, soon 9.
    let mut first = limiter.enqueue(&tokens(91), None, 1).unwrap();
    let mut second = limiter.enqueue(&tokens(10), None, 2).unwrap();
    // 102 in all. One comes as soon as two of the first 91 are over, 1.32 s into the next window.
    let in_time = Some(Duration::from_millis(7_320));
    let mut third = limiter.enqueue(&tokens(1), in_time, 3).unwrap();
    after(&clock, Duration::from_millis(600));
    assert!(matches!(limiter.poll(&mut first), Progress::Held(_)));
    after(&clock, Duration::from_millis(6_720));
    assert!(matches!(limiter.poll(&mut second), Progress::Held(_)));
    assert!(matches!(limiter.poll(&mut third), Progress::Held(_)));
}

#[test]
fn a_companion_resets_with_its_window() {
    let minute = Limit::fixed_window(Meter::Tokens, 60).resets_in(25 * SECOND);
    let (clock, limiter) = limiter(minute.smoothed(10 * SECOND));
    assert_eq!(take(&limiter, 10), Ok(()));
    assert_eq!(take(&limiter, 1), Err(Some(5 * SECOND)));
    after(&clock, 5 * SECOND);
    assert_eq!(take(&limiter, 10), Ok(()));
    assert_eq!(take(&limiter, 1), Err(Some(10 * SECOND)));
}

#[test]
fn what_starts_empty_has_nothing_yet() {
    for (limit, wait) in [
        (Limit::pacing(Meter::Tokens, 60), SECOND),
        (Limit::bucket(Meter::Tokens, 60), SECOND),
        (Limit::fixed_window(Meter::Tokens, 60), 60 * SECOND),
        (Limit::sliding_window_log(Meter::Tokens, 60), 60 * SECOND),
    ] {
        let (_, limiter) = limiter(limit.start_empty());
        assert_eq!(take(&limiter, 1), Err(Some(wait)), "{limit:?}");
    }
}
