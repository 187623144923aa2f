//! Any bytes as answers, a zero between two of them: whatever a limiter learns, it admits no more than it is configured for,
//! and is open again in time.
#![no_main]

mod input;

use libfuzzer_sys::fuzz_target;
use llmrl::{Clock, Cost, LONGEST_PAUSE, Limit, Limiter, ManualClock, Meter, Refused};
use std::time::Duration;

const STEP: Duration = Duration::from_millis(500);
const COST: u64 = 100;
const BURST: u64 = 2_000;

fuzz_target!(|answers: &[u8]| {
    let clock = ManualClock::new(0);
    let builder = Limiter::builder()
        .limit(Limit::tokens(60_000).burst(BURST))
        .limit(Limit::requests(600))
        .limit(Limit::pacing(Meter::Input, 60_000))
        .limit(Limit::fixed_window(Meter::Requests, 10_000).per(Duration::from_secs(86_400)))
        .limit(Limit::in_flight(10));
    let builder = builder.clock(Clock::from(&clock)).max_waiters(1);
    let limiter = builder.build().unwrap();
    let cost = Cost::tokens(COST, 0);
    let (mut used, mut held) = (0, Vec::new());
    for answer in answers.split(|&byte| byte == 0) {
        clock.advance(STEP);
        let Ok(permit) = limiter.try_acquire(&cost) else {
            continue;
        };
        used += COST;
        held.push(permit);
        // Answers come late, and in another order.
        if held.len() > 2 {
            let mut permit = held.swap_remove(0);
            permit.feedback(&input::reading(answer));
            permit.release();
        }
    }
    assert!(used <= BURST + clock.now_ns() / 1_000_000, "{used}");
    held.clear();
    match limiter.try_acquire(&cost) {
        Ok(_) => {}
        Err(Refused::NotNow { wait }) => assert!(wait.unwrap() <= 3 * LONGEST_PAUSE, "{wait:?}"),
        Err(other) => panic!("{other}"),
    }
});
