//! Fair shares of one limiter. Times on the manual clock.
#![cfg(not(any(loom, shuttle)))]

mod classes;
mod shares;
mod waiting;

use llmrl::{
    Clock, Cost, FairOptions, FairPermit, FairProgress, FairQueue, FairTicket, Limit, Limiter,
    ManualClock, Share,
};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A hundred tokens a second, none at the start, and a queue in front.
fn fair(hand: &ManualClock, options: FairOptions) -> FairQueue {
    let limit = Limit::tokens(100).per(SECOND).burst(10_000).start_empty();
    FairQueue::new(&limiter(hand, limit), options).unwrap()
}

fn limiter(hand: &ManualClock, limit: Limit) -> Limiter {
    let builder = Limiter::builder().limit(limit);
    builder.clock(Clock::from(hand)).build().unwrap()
}

fn tokens(tokens: u64) -> Cost {
    Cost::tokens(tokens, 0)
}

fn share(key: &str) -> Share<'_> {
    Share::new(key.as_bytes()).unwrap()
}

fn join(fair: &FairQueue, key: &str, cost: u64) -> FairTicket {
    fair.enqueue(&tokens(cost), &share(key), None, 1).unwrap()
}

fn held(ticket: &mut FairTicket) -> Option<FairPermit> {
    match ticket.poll() {
        FairProgress::Held(permit) => Some(permit),
        FairProgress::Pending { .. } => None,
        other => panic!("{other:?}"),
    }
}

fn wait(ticket: &mut FairTicket) -> Option<Duration> {
    match ticket.poll() {
        FairProgress::Pending { wait } => wait,
        other => panic!("{other:?}"),
    }
}
