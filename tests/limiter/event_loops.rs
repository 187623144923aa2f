//! Event loops: whom the limiter calls, and when.

use super::*;
use llmrl::Wake;
use std::sync::{Arc, Mutex};

/// The tokens that it was called with.
#[derive(Default)]
struct Loop(Mutex<Vec<u64>>);

impl Loop {
    fn called(&self) -> Vec<u64> {
        self.0.lock().unwrap().clone()
    }
}

impl Wake for Loop {
    fn wake(&self, token: u64) {
        self.0.lock().unwrap().push(token);
    }
}

#[test]
fn event_loops_are_woken_once_and_only_when_the_time_moved() {
    let clock = ManualClock::new(0);
    let woken = Arc::new(Loop::default());
    let limiter = Limiter::builder()
        .limit(Limit::requests(60).burst(1))
        .limit(Limit::in_flight(1))
        .clock(Clock::from(&clock))
        .wake(woken.clone())
        .build()
        .unwrap();
    let held = limiter.try_acquire(&Cost::request()).unwrap();
    let mut tickets: Vec<_> = (1..=3)
        .map(|token| limiter.enqueue(&Cost::request(), None, token).unwrap())
        .collect();
    for ticket in &mut tickets {
        assert!(matches!(limiter.poll(ticket), Progress::Pending { .. }));
    }
    clock.advance(SECOND);
    assert!(woken.called().is_empty(), "no slot, nothing to wake for");
    held.release();
    assert_eq!(woken.called(), [1]);
    limiter.stats();
    let Progress::Held(permit) = limiter.poll(&mut tickets[0]) else {
        panic!()
    };
    permit.release();
    // The second one's slot is free, its token comes in a second: it must look then, and is told so.
    assert_eq!(woken.called(), [1, 2]);
    assert_eq!(pending(&limiter, &mut tickets[1]), Some(SECOND));
    clock.advance(SECOND);
    assert_eq!(woken.called(), [1, 2, 2]);
}

#[test]
fn a_panic_in_a_callback_reaches_neither_the_caller_nor_the_others() {
    struct Clumsy(Loop);
    impl Wake for Clumsy {
        fn wake(&self, token: u64) {
            self.0.wake(token);
            assert_ne!(token, 1, "on purpose");
        }
    }
    let woken = Arc::new(Clumsy(Loop::default()));
    let limiter = Limiter::builder()
        .limit(Limit::requests(60).burst(2))
        .clock(Clock::from(&ManualClock::new(0)))
        .wake(woken.clone())
        .build()
        .unwrap();
    let held = limiter.try_acquire(&requests(2)).unwrap();
    let mut tickets = [1, 2].map(|token| limiter.enqueue(&requests(1), None, token).unwrap());
    for ticket in &mut tickets {
        assert!(pending(&limiter, ticket).is_some());
    }
    // Grants both, and so calls twice.
    held.cancel();
    assert_eq!(woken.0.called(), [1, 2]);
    for ticket in &mut tickets {
        assert!(matches!(limiter.poll(ticket), Progress::Held(_)));
    }
}

#[test]
fn a_ticket_says_nothing_to_another_limiter() {
    let clock = ManualClock::new(0);
    let one = limiter(&clock, &[Limit::requests(1)]);
    let other = limiter(&clock, &[Limit::requests(1)]);
    let held = [&one, &other].map(|l| l.try_acquire(&Cost::request()).unwrap());
    let mut mine = one.enqueue(&Cost::request(), None, 1).unwrap();
    let mut theirs = other.enqueue(&Cost::request(), None, 1).unwrap();
    assert!(matches!(other.poll(&mut mine), Progress::Spent));
    assert!(matches!(one.poll(&mut theirs), Progress::Spent));
    assert!(matches!(one.poll(&mut mine), Progress::Pending { .. }));
    one.cancel(theirs);
    assert_eq!((one.stats().waiting, other.stats().waiting), (1, 1));
    held.into_iter().for_each(|permit| permit.cancel());
    assert!(matches!(one.poll(&mut mine), Progress::Held(_)));
}
