//! The router from outside: where keys belong, and which node admits first. Times on the manual clock.
#![cfg(not(any(loom, shuttle)))]

mod choosing;
mod placement;
mod vectors;
mod waiting;

use llmrl::{Clock, Cost, Limit, Limiter, ManualClock, Router};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// One request a second, `burst` of them at the start; 0 is none, with room for one.
fn bucket(clock: &ManualClock, burst: u64) -> Limiter {
    let limit = Limit::requests(1).per(SECOND).burst(burst.max(1));
    let limit = if burst == 0 {
        limit.start_empty()
    } else {
        limit
    };
    limiter(clock, &[limit])
}

fn limiter(clock: &ManualClock, limits: &[Limit]) -> Limiter {
    let builder = limits
        .iter()
        .fold(Limiter::builder(), |builder, limit| builder.limit(*limit));
    builder.clock(Clock::from(clock)).build().unwrap()
}

/// Nodes `n0`, `n1`, ... of these limiters, each of weight 1.
fn router(limiters: &[Limiter]) -> Router {
    let router = Router::new();
    for (number, limiter) in limiters.iter().enumerate() {
        router.add(format!("n{number}"), 1, limiter).unwrap();
    }
    router
}

fn requests(requests: u64) -> Cost {
    Cost {
        requests,
        ..Cost::request()
    }
}

/// A key that belongs to the node of that number.
fn key_of(router: &Router, number: u32) -> [u8; 4] {
    (0u32..)
        .map(u32::to_le_bytes)
        .find(|key| router.node_for(key).unwrap().number() == number)
        .unwrap()
}
