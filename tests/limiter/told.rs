//! Learning from what the provider answers: limits that are told, and what is left of them.

use super::feedback::{answered, assert_waits, available, learning, refuse};
use super::{SECOND, limiter};
use llmrl::{Clock, Cost, Limit, Limiter, ManualClock, Meter, Mode, Oversize, Permit, Refused};
use std::time::Duration;

#[test]
fn a_limit_told_twice_replaces_the_configured_one() {
    let told = |limiter: &Limiter, limit: &str| {
        let mut permit = limiter.try_acquire(&Cost::request()).unwrap();
        let headers = [
            ("x-ratelimit-limit-requests", limit),
            ("x-ratelimit-remaining-requests", "30"),
        ];
        answered(&mut permit, 200, &headers, "");
        permit.release();
        limiter.limit_state(0).unwrap().limit
    };
    for raises in [false, true] {
        let clock = ManualClock::new(0);
        let limiter = match raises {
            true => learning(&clock, &[Limit::requests(100)]),
            false => limiter(&clock, &[Limit::requests(100)]),
        };
        // With the first answer a guess is one no more.
        answered(
            &mut limiter.try_acquire(&Cost::request()).unwrap(),
            200,
            &[],
            "",
        );
        assert_eq!(told(&limiter, "50"), Limit::requests(100));
        assert_eq!(
            told(&limiter, "50"),
            Limit::requests(50).burst(50).oversize(Oversize::WhenFull)
        );
        told(&limiter, "700");
        let raised = if raises { 700 } else { 100 };
        assert_eq!(told(&limiter, "700"), Limit::requests(raised).burst(raised));
    }
}

#[test]
fn what_others_use_is_charged_once_however_late_it_is_told() {
    let clock = ManualClock::new(0);
    let limiter = limiter(&clock, &[Limit::tokens(60_000)]);
    let cost = Cost::tokens(1_000, 0);
    let mut first = limiter.try_acquire(&cost).unwrap();
    let mut second = limiter.try_acquire(&cost).unwrap();
    clock.advance(SECOND);
    let headers = |remaining| {
        [
            ("x-ratelimit-limit-tokens", "60000"),
            ("x-ratelimit-remaining-tokens", remaining),
        ]
    };
    // Somebody else has used 20,000.
    answered(&mut second, 200, &headers("38000"), "");
    assert_eq!(available(&limiter, 0), 39_000);
    // This one was answered before, and comes late.
    answered(&mut first, 200, &headers("39000"), "");
    assert_eq!(available(&limiter, 0), 39_000);
    clock.advance(5 * SECOND);
    // Nothing new: what was told was so at the time.
    let mut third = limiter.try_acquire(&cost).unwrap();
    clock.advance(30 * SECOND);
    answered(&mut third, 200, &headers("43000"), "");
    assert_eq!(available(&limiter, 0), 60_000);
    [first, second, third].into_iter().for_each(Permit::release);
}

#[test]
fn who_says_that_everything_is_left_gives_nothing_away() {
    let clock = ManualClock::new(0);
    let limiter = limiter(&clock, &[Limit::tokens(60_000).burst(2_000)]);
    let mut used = 0;
    for _ in 0..6_000 {
        clock.advance(Duration::from_millis(10));
        while let Ok(mut permit) = limiter.try_acquire(&Cost::tokens(100, 0)) {
            let headers = [
                ("x-ratelimit-limit-tokens", "60000"),
                ("x-ratelimit-remaining-tokens", "60000"),
            ];
            answered(&mut permit, 200, &headers, "");
            permit.release();
            used += 100;
        }
    }
    assert!((61_000..=62_000).contains(&used), "{used}");
}

#[test]
fn what_cannot_be_is_not_believed() {
    let clock = ManualClock::new(0);
    let limiter = learning(&clock, &[Limit::tokens(60_000)]);
    for limit in ["18446744073709551615", "1099511627775", "0", "-1"] {
        for _ in 0..3 {
            let mut permit = limiter.try_acquire(&Cost::tokens(1, 0)).unwrap();
            let headers = [
                ("x-ratelimit-limit-tokens", limit),
                ("x-ratelimit-remaining-tokens", "0"),
            ];
            answered(&mut permit, 200, &headers, "");
            permit.release();
        }
    }
    assert_eq!(limiter.limit_state(0).unwrap().limit, Limit::tokens(60_000));
    assert_eq!(available(&limiter, 0), 60_000 - 12);
}

#[test]
fn corrections_come_back_once() {
    let clock = ManualClock::new(0);
    let limiter = limiter(&clock, &[Limit::tokens(1_000)]);
    let told = |permit: &mut Permit<'_>, remaining| {
        answered(
            permit,
            200,
            &[
                ("x-ratelimit-limit-tokens", "1000"),
                ("x-ratelimit-remaining-tokens", remaining),
            ],
            "",
        );
    };
    let mut permit = limiter.try_acquire(&Cost::tokens(10, 0)).unwrap();
    told(&mut permit, "0");
    permit.release();
    clock.advance(59 * SECOND);
    // Nearly full again by itself. Now everything, and what is said to be left on top.
    let mut used = 0;
    for _ in 0..100 {
        clock.advance(Duration::from_millis(1));
        let left = available(&limiter, 0).max(1) as u64;
        if let Ok(mut permit) = limiter.try_acquire(&Cost::tokens(left, 0)) {
            told(&mut permit, "1000");
            permit.release();
            used += left;
        }
    }
    assert!(used <= 1_002, "{used}");
}

/// What a refused request has taken stays with what has refused it, however its permit ends and however often that is told.
#[test]
fn what_is_kept_does_not_come_back_by_another_way() {
    let day = Duration::from_secs(86_400);
    let refuse = |permit: &mut Permit<'_>| {
        let headers = [("retry-after", "1"), ("x-ratelimit-type", "Requests")];
        answered(permit, 429, &headers, "");
    };
    let left = |end: &dyn Fn(Permit<'_>)| {
        let clock = ManualClock::new(0);
        let limits = [Limit::requests(600), Limit::requests(1_000).per(day)];
        let limiter = learning(&clock, &limits);
        // From the first answer on all of it is to be had.
        let mut first = limiter.try_acquire(&Cost::request()).unwrap();
        answered(&mut first, 200, &[], "");
        first.cancel();
        let mut permit = limiter.try_acquire(&Cost::request()).unwrap();
        clock.advance(Duration::from_millis(1));
        refuse(&mut permit);
        end(permit);
        let refused = [available(&limiter, 0), available(&limiter, 1)];
        // Then the provider says that it was nothing.
        for _ in 0..40 {
            let Ok(mut permit) = limiter.try_acquire(&Cost::request()) else {
                clock.advance(Duration::from_millis(50));
                continue;
            };
            let headers = [
                ("x-ratelimit-limit-requests", "600"),
                ("x-ratelimit-remaining-requests", "600"),
            ];
            answered(&mut permit, 200, &headers, "");
            permit.cancel();
        }
        (refused, available(&limiter, 0))
    };
    let ([minute, _], most) = left(&|permit: Permit<'_>| permit.release());
    assert_eq!(
        left(&|permit: Permit<'_>| permit.cancel()),
        ([minute, 1_000], most)
    );
    let told_twice = |mut permit: Permit<'_>| {
        refuse(&mut permit);
        permit.cancel();
    };
    assert_eq!(left(&told_twice).1, most);
}

#[test]
fn a_limit_that_was_told_wrongly_is_not_the_end() {
    let clock = ManualClock::new(0);
    let limiter = limiter(&clock, &[Limit::tokens(200_000).burst(20_000)]);
    for _ in 0..2 {
        let mut permit = limiter.try_acquire(&Cost::tokens(1, 0)).unwrap();
        answered(&mut permit, 200, &[("x-ratelimit-limit-tokens", "100")], "");
        permit.release();
    }
    // It goes when what there is said to be is there, and finds out.
    assert_waits(&limiter, &Cost::tokens(15_000, 0), 60 * SECOND);
    limiter.retune(0, 200_000, 60 * SECOND, 20_000).unwrap();
    assert!(matches!(
        limiter.try_acquire(&Cost::tokens(25_000, 0)),
        Err(Refused::Never { .. })
    ));
}

/// Whoever is woken by what was learned may ask the limiter about it, there and then.
#[test]
fn a_wake_may_call_the_limiter() {
    use std::sync::{Arc, OnceLock};
    #[derive(Default)]
    struct Asks(
        OnceLock<std::sync::Weak<Limiter>>,
        std::sync::Mutex<Vec<Mode>>,
    );
    impl llmrl::Wake for Asks {
        fn wake(&self, _: u64) {
            let limiter = self.0.get().and_then(std::sync::Weak::upgrade).unwrap();
            let mode = limiter.limit_state(0).unwrap().mode;
            self.1.lock().unwrap().push(mode);
        }
    }
    let (clock, wake) = (ManualClock::new(0), Arc::new(Asks::default()));
    let builder = Limiter::builder().limit(Limit::tokens(60_000).burst(1_000));
    let builder = builder.clock(Clock::from(&clock)).raise_limits(true);
    let limiter = Arc::new(builder.wake(wake.clone()).build().unwrap());
    wake.0.set(Arc::downgrade(&limiter)).unwrap();
    let mut permit = limiter.try_acquire(&Cost::tokens(1, 0)).unwrap();
    answered(&mut permit, 200, &[], "");
    limiter.charge(&Cost::tokens(999, 0)).unwrap();
    let mut ticket = limiter.enqueue(&Cost::tokens(1_000, 0), None, 7).unwrap();
    assert_eq!(super::pending(&limiter, &mut ticket), Some(SECOND));
    // Ten times the rate, so the one who waits is due sooner.
    for _ in 0..2 {
        answered(
            &mut permit,
            200,
            &[("x-ratelimit-limit-tokens", "600000")],
            "",
        );
    }
    assert_eq!(*wake.1.lock().unwrap(), [Mode::Normal]);
    assert_eq!(super::pending(&limiter, &mut ticket), Some(SECOND / 10));
    limiter.cancel(ticket);
    permit.release();
}

/// All requests of a first burst are on their way before a wrong guess can be noticed, so only half of it goes.
#[test]
fn half_of_a_guess_waits_for_the_first_answer() {
    let clock = ManualClock::new(0);
    let limits = [
        Limit::tokens(60_000),
        Limit::fixed_window(Meter::Requests, 600),
        Limit::pacing(Meter::Requests, 600),
    ];
    let guess = learning(&clock, &limits);
    assert_eq!((available(&guess, 0), available(&guess, 1)), (30_000, 300));
    let mut permit = guess.try_acquire(&Cost::tokens(10_000, 0)).unwrap();
    answered(&mut permit, 200, &[], "");
    assert_eq!((available(&guess, 0), available(&guess, 1)), (50_000, 599));
    answered(&mut permit, 200, &[], "");
    assert_eq!((available(&guess, 0), available(&guess, 1)), (50_000, 599));
    permit.release();
    assert_eq!(available(&limiter(&clock, &limits), 0), 60_000);
}

/// The first answer is believed, as there was nothing but a guess before; what a smaller bucket cannot hold does not come back.
#[test]
fn a_guess_yields_to_the_first_answer() {
    let clock = ManualClock::new(0);
    for told in [30_000, 40_000, 60_000, 120_000] {
        let limiter = learning(&clock, &[Limit::tokens(60_000)]);
        let mut permit = limiter.try_acquire(&Cost::tokens(20_000, 0)).unwrap();
        let header = told.to_string();
        answered(
            &mut permit,
            200,
            &[("x-ratelimit-limit-tokens", header.as_str())],
            "",
        );
        let limit = limiter.limit_state(0).unwrap().limit;
        let expected = Limit::tokens(told).burst(1);
        assert_eq!(
            limit.burst(1).oversize(Oversize::WhenFull),
            expected.oversize(Oversize::WhenFull)
        );
        // Of a larger bucket it is not known that it was full.
        assert_eq!(available(&limiter, 0), told.min(60_000) as i64 - 20_000);
        permit.release();
    }
}

/// A refusal says what there is; what was held back is no credit on top of that.
#[test]
fn a_guess_that_was_refused_gives_nothing_back() {
    let clock = ManualClock::new(0);
    let limiter = learning(&clock, &[Limit::tokens(60_000)]);
    let mut first = limiter.try_acquire(&Cost::tokens(1_000, 0)).unwrap();
    let mut second = limiter.try_acquire(&Cost::tokens(1_000, 0)).unwrap();
    refuse(&mut first, "2500");
    let left = available(&limiter, 0);
    assert!(left <= 1_000 - 2_500, "{left}");
    answered(&mut second, 200, &[], "");
    assert_eq!(available(&limiter, 0), left);
}
