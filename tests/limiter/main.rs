//! The limiter from outside: threads, event loops, cancellation, the end. Times on the manual clock.

mod admission;
mod changes;
mod event_loops;
mod feedback;
mod queue;
mod simulation;
mod told;

use llmrl::{Clock, Cost, Limit, Limiter, ManualClock, Progress, Refused, Ticket};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn limiter(clock: &ManualClock, limits: &[Limit]) -> Limiter {
    limits
        .iter()
        .fold(Limiter::builder(), |builder, limit| builder.limit(*limit))
        .clock(Clock::from(clock))
        .build()
        .unwrap()
}

fn requests(requests: u64) -> Cost {
    Cost {
        requests,
        ..Cost::request()
    }
}

/// The time that a refusal names.
fn wait_of(refused: Refused) -> Option<Duration> {
    match refused {
        Refused::NotNow { wait } => wait,
        other => panic!("{other}"),
    }
}

/// The time that a ticket names, which waits.
fn pending(limiter: &Limiter, ticket: &mut Ticket) -> Option<Duration> {
    match limiter.poll(ticket) {
        Progress::Pending { wait } => wait,
        other => panic!("{other:?}"),
    }
}
