//! Threads whose clocks disagree: about half of the readings are behind. What is admitted may be late then, never too much.

use crate::config;
use llmrl::{Clock, Cost, Limit, Limiter, ManualClock, Meter, Progress};
use proptest::prelude::*;
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const AMOUNT: u64 = 60;

/// How the clock moves on and what is asked for then; through the queue or past it.
#[derive(Clone, Debug)]
struct Step {
    pass: u64,
    ask: u64,
    queued: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pass = prop_oneof![3 => Just(0), 3 => 0..5 * SECOND, 1 => 0..2 * MINUTE];
    let step = (pass, 1..=AMOUNT / 2, any::<bool>());
    let step = step.prop_map(|(pass, ask, queued)| Step { pass, ask, queued });
    prop::collection::vec(step, 1..120)
}

/// Asks, and says when what was admitted. The clock shows the latest of all readings.
fn play(limit: Limit, behind: u64, steps: &[Step]) -> Vec<(u64, u64)> {
    let clock = ManualClock::new(MINUTE);
    let builder = Limiter::builder().limit(limit);
    let limiter = builder.clock(Clock::from(&clock)).build().unwrap();
    clock.disagree(Duration::from_nanos(behind));
    let mut admitted = Vec::new();
    for step in steps {
        clock.advance(Duration::from_nanos(step.pass));
        let cost = Cost::tokens(step.ask, 0);
        let is_admitted = match step.queued {
            false => limiter.try_acquire(&cost).is_ok(),
            true => {
                let mut ticket = limiter.enqueue(&cost, None, 1).unwrap();
                let held = matches!(limiter.poll(&mut ticket), Progress::Held(_));
                limiter.cancel(ticket);
                held
            }
        };
        if is_admitted {
            admitted.push((clock.now_ns(), step.ask));
        }
    }
    admitted
}

/// The most that was admitted from one admission on, within `length`, beyond `allowed(time since then)`.
fn is_within(admitted: &[(u64, u64)], length: u64, allowed: impl Fn(u64) -> u64) -> bool {
    (0..admitted.len()).all(|first| {
        let from = admitted[first].0;
        let mut sum = 0;
        let mut later = admitted[first..]
            .iter()
            .take_while(|(at, _)| at - from < length);
        later.all(|(at, n)| {
            sum += n;
            sum <= allowed(at - from)
        })
    })
}

proptest! {
    #![proptest_config(config(100))]

    #[test]
    fn no_window_holds_more(behind in 1..10 * SECOND, steps in steps(), parts in 1u64..9) {
        for limit in [
            Limit::sliding_window(Meter::Tokens, AMOUNT).resolution(parts),
            Limit::sliding_window_log(Meter::Tokens, AMOUNT),
            Limit::sliding_window_log(Meter::Tokens, AMOUNT).resolution(parts),
        ] {
            let admitted = play(limit, behind, &steps);
            // Whoever is behind leaves the window as much too soon.
            prop_assert!(is_within(&admitted, MINUTE - behind, |_| AMOUNT), "{limit:?}: {admitted:?}");
        }
        let admitted = play(Limit::sliding_window_counter(Meter::Tokens, AMOUNT), behind, &steps);
        prop_assert!(is_within(&admitted, MINUTE, |_| 2 * AMOUNT), "{admitted:?}");
        let admitted = play(Limit::fixed_window(Meter::Tokens, AMOUNT), behind, &steps);
        for window in admitted.chunk_by(|a, b| a.0 / MINUTE == b.0 / MINUTE) {
            // What was admitted just after the end of a window may be of that window.
            let sum: u64 = window.iter().filter(|(at, _)| at % MINUTE >= behind).map(|(_, n)| n).sum();
            prop_assert!(sum <= AMOUNT, "{window:?}");
        }
    }

    #[test]
    fn no_bucket_makes_tokens(behind in 1..10 * SECOND, steps in steps()) {
        for burst in [AMOUNT, 2 * AMOUNT] {
            let limit = Limit::bucket(Meter::Tokens, AMOUNT).burst(burst);
            let admitted = play(limit, behind, &steps);
            let produced = |time: u64| (time + behind) / SECOND + 1;
            prop_assert!(is_within(&admitted, u64::MAX, |time| burst + produced(time)), "{admitted:?}");
        }
        for pair in play(Limit::pacing(Meter::Tokens, AMOUNT), behind, &steps).windows(2) {
            prop_assert!(pair[1].0 - pair[0].0 + behind >= pair[0].1 * SECOND, "{pair:?}");
        }
    }
}
