//! What is admitted at once, and what is refused.

use super::*;

#[test]
fn all_or_nothing() {
    let clock = ManualClock::new(0);
    let limiter = limiter(
        &clock,
        &[
            Limit::requests(60),
            Limit::tokens(6_000),
            Limit::in_flight(2),
        ],
    );
    let first = limiter.try_acquire(&Cost::tokens(4_000, 1_000)).unwrap();
    // 1000 tokens are left; 1500 take 5 seconds more. Neither the request nor the slot is taken.
    let refused = limiter.try_acquire(&Cost::tokens(1_500, 0)).unwrap_err();
    assert_eq!(wait_of(refused), Some(5 * SECOND));
    assert_eq!(limiter.limit_state(0).unwrap().available, 59);
    assert_eq!(limiter.stats().in_flight, 1);
    let second = limiter.try_acquire(&Cost::tokens(1_000, 0)).unwrap();
    // No slot: no time is known.
    clock.advance(60 * SECOND);
    let refused = limiter.try_acquire(&Cost::request()).unwrap_err();
    assert_eq!(wait_of(refused), None);
    first.release();
    limiter.try_acquire(&Cost::request()).unwrap().cancel();
    second.settle(&Cost::tokens(10, 0)).unwrap();
    assert_eq!(limiter.stats().in_flight, 0);
    assert_eq!(limiter.stats().granted, 3);
    assert_eq!(limiter.stats().refused, 2);
}

#[test]
fn exact_time() {
    let clock = ManualClock::new(7);
    let limiter = limiter(&clock, &[Limit::requests(7).per(Duration::from_secs(3))]);
    for _ in 0..7 {
        limiter.try_acquire(&Cost::request()).unwrap().release();
    }
    for _ in 0..50 {
        let wait = wait_of(limiter.try_acquire(&Cost::request()).unwrap_err()).unwrap();
        clock.advance(wait - Duration::from_nanos(1));
        let rest = wait_of(limiter.try_acquire(&Cost::request()).unwrap_err());
        assert_eq!(rest, Some(Duration::from_nanos(1)));
        clock.advance(Duration::from_nanos(1));
        limiter.try_acquire(&Cost::request()).unwrap().release();
    }
}

#[test]
fn never_and_costs_out_of_range() {
    let clock = ManualClock::new(0);
    let limiter = limiter(&clock, &[Limit::requests(60), Limit::tokens(1_000)]);
    assert_eq!(
        limiter.try_acquire(&Cost::tokens(900, 101)).unwrap_err(),
        Refused::Never {
            limit: 1,
            cost: 1_001,
            burst: 1_000
        }
    );
    assert!(matches!(
        limiter.acquire(&Cost::tokens(1_001, 0)),
        Err(Refused::Never { .. })
    ));
    let zero = Cost {
        requests: 0,
        ..Cost::default()
    };
    let error = limiter.try_acquire(&zero).unwrap_err().to_string();
    assert_eq!(error, "cost: requests = 0 is outside 1..=1099511627775");
    let error = limiter
        .try_acquire(&Cost::tokens(Cost::MAX, 1))
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("cost: input + output = 1099511627776")
    );
    assert_eq!(limiter.limit_state(0).unwrap().available, 60);
}

#[test]
fn configurations_out_of_range_are_refused_by_name() {
    let error = |limits: &[Limit]| {
        let clock = ManualClock::new(0);
        limits
            .iter()
            .fold(Limiter::builder().clock(Clock::from(&clock)), |b, l| {
                b.limit(*l)
            })
            .build()
            .unwrap_err()
            .to_string()
    };
    assert_eq!(error(&[]), "limits = 0 is outside 1..=8");
    assert_eq!(
        error(&[Limit::requests(1); 9]),
        "limits = 9 is outside 1..=8"
    );
    assert_eq!(
        error(&[Limit::requests(1), Limit::tokens(0)]),
        "limit 1: amount = 0 is outside 1..=1099511627775"
    );
    assert_eq!(
        error(&[Limit::tokens(5).burst(1 << 40)]),
        "limit 0: burst = 1099511627776 is outside 1..=1099511627775"
    );
    assert_eq!(
        error(&[Limit::requests(1).per(Duration::ZERO)]),
        "limit 0: period (ns) = 0 is outside 1..=316224000000000000"
    );
    assert_eq!(
        error(&[Limit::requests(2).per(Duration::from_nanos(1))]),
        "limit 0: amount = 2 is outside 1..=1"
    );
    assert_eq!(
        error(&[Limit::in_flight(0)]),
        "limit 0: in flight = 0 is outside 1..=524287"
    );
    assert_eq!(
        error(&[Limit::in_flight(1), Limit::in_flight(1)]),
        "limit 1: in-flight limits = 2 is outside 0..=1"
    );
}
