//! Learning from what the provider answers: refusals, and how limits recover from them.

use super::{SECOND, limiter, wait_of};
use llmrl::feedback::{Class, read_answer};
use llmrl::{
    Advice, Clock, Cost, LONGEST_PAUSE, Limit, Limiter, ManualClock, Meter, Mode, Permit, Refused,
    Weights,
};
use proptest::prelude::*;
use std::time::{Duration, SystemTime};

type Headers<'a> = &'a [(&'a str, &'a str)];

pub(super) fn answered(
    permit: &mut Permit<'_>,
    status: u16,
    headers: Headers<'_>,
    body: &str,
) -> Advice {
    let reading = read_answer(
        status,
        headers.iter().copied(),
        body.as_bytes(),
        SystemTime::now(),
    );
    permit.feedback(&reading)
}

/// As OpenAI refuses tokens.
pub(super) fn refuse(permit: &mut Permit<'_>, wait_ms: &str) -> Advice {
    let body = r#"{"error": {"message": "Rate limit reached", "type": "tokens", "code": "rate_limit_exceeded"}}"#;
    answered(permit, 429, &[("retry-after-ms", wait_ms)], body)
}

pub(super) fn learning(clock: &ManualClock, limits: &[Limit]) -> Limiter {
    let builder = limits
        .iter()
        .fold(Limiter::builder(), |builder, limit| builder.limit(*limit));
    builder
        .clock(Clock::from(clock))
        .raise_limits(true)
        .build()
        .unwrap()
}

pub(super) fn available(limiter: &Limiter, index: usize) -> i64 {
    limiter.limit_state(index).unwrap().available
}

#[test]
fn a_refusal_holds_back_what_has_refused_and_nothing_else() {
    let clock = ManualClock::new(0);
    let limiter = limiter(&clock, &[Limit::requests(600), Limit::tokens(60_000)]);
    let mut permit = limiter.try_acquire(&Cost::tokens(1_000, 0)).unwrap();
    let advice = refuse(&mut permit, "2500");
    permit.release();
    assert_eq!(
        (advice.class, advice.retry, advice.wait),
        (Class::Rate, true, Duration::ZERO)
    );
    // In 2.5 s the provider has a thousand tokens, 2,500 of them produced until then, as far as is known.
    let wait = wait_of(limiter.try_acquire(&Cost::tokens(1_000, 0)).unwrap_err());
    assert!(wait >= Some(Duration::from_millis(2_500)), "{wait:?}");
    assert!(wait <= Some(5 * SECOND), "{wait:?}");
    assert_eq!(available(&limiter, 0), 599);
    assert!(limiter.try_acquire(&Cost::request()).is_ok());
}

#[test]
fn twenty_refusals_at_once_are_one() {
    let clock = ManualClock::new(0);
    let limiter = limiter(&clock, &[Limit::tokens(60_000)]);
    let cost = Cost::tokens(500, 0);
    let mut permits: Vec<_> = (0..20)
        .map(|_| limiter.try_acquire(&cost).unwrap())
        .collect();
    clock.advance(Duration::from_millis(50));
    refuse(&mut permits[0], "4000");
    let state = limiter.limit_state(0).unwrap();
    let one = (state.available, state.limit);
    assert_eq!(state.mode, Mode::Throttled);
    for permit in &mut permits[1..] {
        refuse(permit, "4000");
    }
    permits.into_iter().for_each(Permit::release);
    let state = limiter.limit_state(0).unwrap();
    assert_eq!((state.available, state.limit), one);
    // A limit was not told, so the rate feels its way: down to 0.7, once.
    assert_eq!(state.limit, Limit::tokens(42_000).burst(60_000));
}

#[test]
fn a_rate_that_was_cut_grows_back() {
    let clock = ManualClock::new(0);
    let limiter = limiter(&clock, &[Limit::tokens(60_000)]);
    let cost = Cost::tokens(500, 0);
    let mut permit = limiter.try_acquire(&cost).unwrap();
    refuse(&mut permit, "1000");
    permit.release();
    let mut modes = Vec::new();
    for _ in 0..4_000 {
        clock.advance(Duration::from_millis(20));
        if let Ok(mut permit) = limiter.try_acquire(&cost) {
            answered(&mut permit, 200, &[], "");
            permit.release();
        }
        modes.push(limiter.limit_state(0).unwrap().mode);
    }
    modes.dedup();
    // It was refused at all of the rate, so there is nothing to find out beyond.
    assert_eq!(modes, [Mode::Throttled, Mode::Normal]);
    assert_eq!(
        limiter.limit_state(0).unwrap().limit,
        Limit::tokens(60_000).burst(60_000)
    );
}

#[test]
fn a_window_is_paused_and_never_for_ever() {
    let clock = ManualClock::new(0);
    let limiter = limiter(&clock, &[Limit::sliding_window(Meter::Tokens, 60_000)]);
    let cost = Cost::tokens(500, 0);
    let mut permit = limiter.try_acquire(&cost).unwrap();
    assert_eq!(refuse(&mut permit, "5000").wait, Duration::ZERO);
    assert_eq!(
        wait_of(limiter.try_acquire(&cost).unwrap_err()),
        Some(5 * SECOND)
    );
    assert_eq!(limiter.limit_state(0).unwrap().mode, Mode::Throttled);
    // A year is told to the caller, and not waited here.
    let year = 365 * 86_400;
    let advice = answered(&mut permit, 429, &[("retry-after", &year.to_string())], "");
    permit.release();
    assert_eq!(
        (advice.class, advice.wait),
        (Class::Long, year as u32 * SECOND)
    );
    assert_eq!(
        wait_of(limiter.try_acquire(&cost).unwrap_err()),
        Some(LONGEST_PAUSE)
    );
}

#[test]
fn too_many_at_the_same_time_are_fewer_and_then_more_again() {
    let clock = ManualClock::new(0);
    let limiter = limiter(&clock, &[Limit::in_flight(10)]);
    let mut permits: Vec<_> = (0..10)
        .map(|_| limiter.try_acquire(&Cost::request()).unwrap())
        .collect();
    clock.advance(SECOND);
    let body = r#"{"error": {"message": "Too many concurrent requests"}}"#;
    for permit in &mut permits {
        let headers = [
            ("x-ratelimit-type", "UserConcurrentRequests"),
            ("retry-after", "0"),
        ];
        assert_eq!(
            answered(permit, 429, &headers, body).class,
            Class::Concurrency
        );
    }
    permits.into_iter().for_each(Permit::release);
    let state = limiter.limit_state(0).unwrap();
    assert_eq!(
        (state.limit, state.mode),
        (Limit::in_flight(7), Mode::Recovering)
    );
    for _ in 0..40 {
        let mut permits = Vec::new();
        while let Ok(permit) = limiter.try_acquire(&Cost::request()) {
            permits.push(permit);
        }
        permits.iter_mut().for_each(|permit| {
            answered(permit, 200, &[], "");
        });
    }
    let state = limiter.limit_state(0).unwrap();
    assert_eq!(
        (state.limit, state.mode),
        (Limit::in_flight(10), Mode::Normal)
    );
}

/// Tokens of another kind are nearer to what was told than requests are.
#[test]
fn a_refusal_of_tokens_does_not_hold_requests_back() {
    let weights = Weights {
        output: 5_000,
        ..Weights::PLAIN
    };
    for meter in [Meter::Weighted(weights), Meter::Input] {
        let clock = ManualClock::new(0);
        let limiter = limiter(
            &clock,
            &[Limit::requests(600), Limit::bucket(meter, 60_000)],
        );
        let mut permit = limiter.try_acquire(&Cost::tokens(1_000, 0)).unwrap();
        refuse(&mut permit, "2500");
        permit.release();
        assert!(limiter.try_acquire(&Cost::tokens(1_000, 0)).is_err());
        assert!(limiter.try_acquire(&Cost::request()).is_ok());
    }
}

#[test]
fn too_many_at_the_same_time_without_such_a_limit_wait() {
    let clock = ManualClock::new(0);
    let limiter = limiter(&clock, &[Limit::tokens(60_000)]);
    let mut permit = limiter.try_acquire(&Cost::tokens(1, 0)).unwrap();
    let headers = [
        ("x-ratelimit-type", "UserConcurrentRequests"),
        ("retry-after", "0"),
    ];
    let advice = answered(&mut permit, 429, &headers, "");
    permit.release();
    assert_eq!((advice.class, advice.wait), (Class::Concurrency, SECOND));
}

#[test]
fn what_time_does_not_heal_changes_nothing() {
    let clock = ManualClock::new(0);
    let limiter = limiter(&clock, &[Limit::tokens(60_000)]);
    for (status, body, class) in [
        (401, "", Class::Other),
        (402, "", Class::Billing),
        (413, "", Class::Oversize),
        (
            429,
            r#"{"error": {"code": "insufficient_quota"}}"#,
            Class::Billing,
        ),
        (
            529,
            r#"{"error": {"type": "overloaded_error"}}"#,
            Class::Overload,
        ),
    ] {
        let mut permit = limiter.try_acquire(&Cost::tokens(1_000, 0)).unwrap();
        assert_eq!(answered(&mut permit, status, &[], body).class, class);
        permit.cancel();
        assert_eq!(available(&limiter, 0), 60_000, "{status}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever headers say, no more is admitted than configured, and never nothing for longer than the longest pause.
    #[test]
    fn lies_do_no_harm(lies in prop::collection::vec((0u16..5, any::<u64>(), any::<u64>(), any::<u32>()), 1..60)) {
        let clock = ManualClock::new(0);
        let limiter = limiter(&clock, &[Limit::tokens(60_000).burst(2_000), Limit::requests(600)]);
        let (mut used, cost) = (0, Cost::tokens(100, 0));
        for (status, limit, remaining, wait) in lies {
            clock.advance(Duration::from_millis(500));
            if let Ok(mut permit) = limiter.try_acquire(&cost) {
                let texts = [limit, remaining, wait.into()].map(|number: u64| number.to_string());
                let headers = [
                    ("x-ratelimit-limit-tokens", texts[0].as_str()), ("x-ratelimit-remaining-tokens", &texts[1]),
                    ("x-ratelimit-limit-requests", &texts[1]), ("retry-after-ms", &texts[2]),
                ];
                answered(&mut permit, [200, 429, 429, 503, 413][usize::from(status)], &headers, r#"{"error": {"type": "tokens"}}"#);
                permit.release();
                used += 100;
            }
        }
        prop_assert!(used <= 2_000 + clock.now_ns() / 1_000_000, "{used}");
        // By then one is admitted.
        match limiter.try_acquire(&cost) {
            Err(Refused::NotNow { wait }) => {
                let wait = wait.unwrap();
                prop_assert!(wait <= 2 * LONGEST_PAUSE, "{wait:?}");
            }
            Ok(_) => {}
            Err(other) => return Err(TestCaseError::fail(other.to_string())),
        }
    }
}

/// What one refusal, or two, may cost at most.
pub(super) fn assert_waits(limiter: &Limiter, cost: &Cost, longest: Duration) {
    match limiter.try_acquire(cost) {
        Ok(_) => {}
        Err(refused) => {
            let wait = wait_of(refused);
            assert!(wait <= Some(longest), "{wait:?}");
        }
    }
}

#[test]
fn pacing_recovers_from_a_refusal() {
    let clock = ManualClock::new(0);
    let limiter = limiter(&clock, &[Limit::pacing(Meter::Requests, 600)]);
    let mut permit = limiter.try_acquire(&Cost::request()).unwrap();
    let advice = answered(&mut permit, 429, &[("retry-after", "1")], "");
    permit.release();
    // Nobody else is held back, so the one who was refused waits by himself.
    assert_eq!(advice.wait, SECOND);
    assert_eq!(
        limiter.limit_state(0).unwrap().limit,
        Limit::pacing(Meter::Requests, 420).burst(0)
    );
    for _ in 0..600 {
        clock.advance(Duration::from_millis(200));
        if let Ok(mut permit) = limiter.try_acquire(&Cost::request()) {
            answered(&mut permit, 200, &[], "");
            permit.release();
        }
    }
    assert_eq!(
        limiter.limit_state(0).unwrap().limit,
        Limit::pacing(Meter::Requests, 600).burst(0)
    );
}

#[test]
fn no_debt_outlives_the_longest_pause() {
    let cost = Cost::tokens(100, 0);
    // The rate is cut when the wait is told; the limit turns out to be a hundredth.
    for headers in [
        &[("retry-after", "60")][..],
        &[
            ("retry-after", "60"),
            ("x-ratelimit-limit-tokens", "10000"),
            ("x-ratelimit-remaining-tokens", "0"),
        ],
    ] {
        let clock = ManualClock::new(0);
        let limiter = limiter(&clock, &[Limit::tokens(1_000_000)]);
        for _ in 0..3 {
            clock.advance(SECOND);
            if let Ok(mut permit) = limiter.try_acquire(&cost) {
                answered(
                    &mut permit,
                    429,
                    headers,
                    r#"{"error": {"type": "tokens"}}"#,
                );
                permit.release();
            }
        }
        assert_waits(&limiter, &cost, LONGEST_PAUSE + 10 * SECOND);
    }
}

#[test]
fn what_an_idle_bucket_forfeits_was_not_admitted() {
    let clock = ManualClock::new(0);
    let limiter = limiter(&clock, &[Limit::tokens(60_000)]);
    let cost = Cost::tokens(1_000, 0);
    let mut early = limiter.try_acquire(&cost).unwrap();
    let mut late = limiter.try_acquire(&cost).unwrap();
    clock.advance(SECOND);
    answered(&mut early, 200, &[], "");
    clock.advance(3_600 * SECOND);
    refuse(&mut late, "1000");
    [early, late].into_iter().for_each(Permit::release);
    assert_waits(&limiter, &cost, 10 * SECOND);
}

#[test]
fn a_refusal_that_says_nothing_of_days_does_not_use_one_up() {
    let clock = ManualClock::new(0);
    let limiter = limiter(
        &clock,
        &[Limit::requests(1_000).per(Duration::from_secs(86_400))],
    );
    let mut permit = limiter.try_acquire(&Cost::request()).unwrap();
    answered(&mut permit, 429, &[], "");
    permit.release();
    assert_waits(&limiter, &Cost::request(), SECOND);
    assert_eq!(available(&limiter, 0), 999);
}
