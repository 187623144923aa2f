//! What takes two clocks, played by one thread.

use crate::sync::Relaxed;
use crate::{Clock, Cost, Limit, Limiter, ManualClock};
use std::time::Duration;

/// Whoever pays may have read an older clock than the one who has decided: the bucket was full by then, and what it
/// could not hold is gone.
#[test]
fn a_grant_is_not_paid_before_it_was_decided() {
    let body = || {
        let clock = ManualClock::new(0);
        let limits = [Limit::requests(60).start_empty(), Limit::in_flight(1)];
        let builder = limits
            .into_iter()
            .fold(Limiter::builder(), |b, l| b.limit(l));
        let builder = builder.clock(Clock::from(&clock)).max_waiters(1);
        let limiter = builder.build().unwrap();
        clock.advance(Duration::from_secs(50));
        let first = limiter.try_acquire(&Cost::request()).unwrap();
        let ticket = limiter.enqueue(&Cost::request(), None, 1).unwrap();
        let core = &limiter.core;
        let head = core.queue.ring.head();
        let minute = core.scale.to_ticks(60_000_000_000);
        // Somebody else's clock is a minute ahead.
        let later = core.clock.now() + minute;
        core.waiter(0).decided.store(later, Relaxed);
        core.pass(0, 0, head, true);
        assert_eq!(core.view(0, &core.line(0), later).balance, 59);
        core.waiter(0).decided.store(0, Relaxed);
        first.release();
        limiter.cancel(ticket);
    };
    #[cfg(loom)]
    loom::model(body);
    #[cfg(not(loom))]
    body();
}
