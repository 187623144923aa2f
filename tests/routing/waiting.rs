//! Waiting at all nodes at once: the first that admits wins, and the others get everything back.

use super::*;
use llmrl::{Refused, RoutedProgress, RoutedTicket, Wake};
use std::sync::{Arc, Mutex};

fn pending(ticket: &mut RoutedTicket) -> Option<Duration> {
    match ticket.poll() {
        RoutedProgress::Pending { wait } => wait,
        other => panic!("{other:?}"),
    }
}

fn held(ticket: &mut RoutedTicket) -> llmrl::Routed {
    match ticket.poll() {
        RoutedProgress::Held(routed) => routed,
        other => panic!("{other:?}"),
    }
}

fn waiting(limiters: &[Limiter]) -> Vec<u64> {
    limiters.iter().map(|l| l.stats().waiting).collect()
}

fn available(limiters: &[Limiter]) -> Vec<i64> {
    let state = |l: &Limiter| l.limit_state(0).unwrap().available;
    limiters.iter().map(state).collect()
}

#[test]
fn the_wait_spans_all_nodes_and_takes_the_first() {
    let clock = ManualClock::new(0);
    let limiters = [0, 0, 0].map(|burst| bucket(&clock, burst));
    let router = router(&limiters);
    limiters[0].charge(&requests(6)).unwrap();
    limiters[2].charge(&requests(2)).unwrap();
    let mut ticket = router.enqueue(&requests(1), None, None, 1).unwrap();
    assert_eq!(waiting(&limiters), [1, 1, 1]);
    assert_eq!(pending(&mut ticket), Some(SECOND));
    // The one that would be first is paused: now another one is, and has been waited for all along.
    limiters[1].pause(0, 60 * SECOND).unwrap();
    assert_eq!(pending(&mut ticket), Some(3 * SECOND));
    clock.advance(3 * SECOND - Duration::from_nanos(1));
    pending(&mut ticket);
    clock.advance(Duration::from_nanos(1));
    let routed = held(&mut ticket);
    assert_eq!(routed.node().number(), 2);
    assert!(matches!(ticket.poll(), RoutedProgress::Spent));
    assert_eq!(waiting(&limiters), [0, 0, 0]);
    assert_eq!(available(&limiters), [-3, 1, 0], "only one was charged");
    assert_eq!(limiters.each_ref().map(|l| l.stats().cancelled), [1, 1, 0]);
}

#[test]
fn two_that_grant_at_the_same_instant_give_one_permit() {
    let clock = ManualClock::new(0);
    let limits = [Limit::tokens(100).per(100 * SECOND), Limit::in_flight(1)];
    let limiters = [limiter(&clock, &limits), limiter(&clock, &limits)];
    let router = router(&limiters);
    let key = key_of(&router, 1);
    let taken = limiters
        .each_ref()
        .map(|l| l.try_acquire(&Cost::tokens(100, 0)).unwrap());
    let mut ticket = router
        .enqueue(&Cost::tokens(30, 0), Some(&key), None, 1)
        .unwrap();
    assert_eq!(pending(&mut ticket), None);
    clock.advance(50 * SECOND);
    // Both grant before the owner has looked.
    taken.into_iter().for_each(|permit| permit.release());
    assert_eq!(available(&limiters), [20, 20]);
    let routed = held(&mut ticket);
    assert_eq!(
        routed.node().number(),
        1,
        "the node of the key is preferred"
    );
    assert_eq!(
        available(&limiters),
        [50, 20],
        "the other one got everything back"
    );
    assert_eq!(limiters[0].stats().in_flight, 0);
    routed.cancel();
    assert_eq!(available(&limiters), [50, 50]);
    assert_eq!(waiting(&limiters), [0, 0]);
}

#[test]
fn every_queue_keeps_its_order() {
    let clock = ManualClock::new(0);
    let limiters = [0, 0].map(|burst| bucket(&clock, burst));
    let router = router(&limiters);
    let mut first = router.enqueue(&requests(1), None, None, 1).unwrap();
    let mut second = router.enqueue(&requests(1), None, None, 2).unwrap();
    // One that knows nothing of the router stands behind them.
    let mut third = limiters[0].enqueue(&requests(1), None, 3).unwrap();
    assert!(router.try_acquire(&requests(1), None).is_err());
    clock.advance(SECOND);
    pending(&mut second);
    let one = held(&mut first);
    let two = held(&mut second);
    assert_ne!(one.node().number(), two.node().number());
    assert!(
        router.try_acquire(&requests(1), None).is_err(),
        "one waits, one is empty"
    );
    clock.advance(SECOND);
    let admitted = limiters[0].poll(&mut third);
    assert!(matches!(admitted, llmrl::Progress::Held(_)), "{admitted:?}");
}

#[test]
fn a_ticket_that_is_dropped_has_left_every_queue() {
    let clock = ManualClock::new(0);
    let limiters = [0, 0].map(|burst| bucket(&clock, burst));
    let router = router(&limiters);
    let mut ticket = router.enqueue(&requests(1), None, None, 1).unwrap();
    pending(&mut ticket);
    drop(ticket);
    assert_eq!(waiting(&limiters), [0, 0]);
    let ticket = router.enqueue(&requests(1), None, None, 1).unwrap();
    clock.advance(SECOND);
    // Granted by somebody else, at both nodes, and then cancelled.
    assert!(router.try_acquire(&requests(1), None).is_err());
    assert_eq!(available(&limiters), [0, 0]);
    ticket.cancel();
    assert_eq!(available(&limiters), [1, 1]);
    assert_eq!(waiting(&limiters), [0, 0]);
}

#[test]
fn the_deadline_holds_at_every_node() {
    let clock = ManualClock::new(0);
    let limiters = [0, 0].map(|burst| bucket(&clock, burst));
    let router = router(&limiters);
    limiters[1].charge(&requests(10)).unwrap();
    // Nobody can be in time: that is said at once.
    let late = router
        .enqueue(&requests(1), None, Some(SECOND / 2), 1)
        .unwrap_err();
    assert_eq!(late.refused, Refused::Deadline);
    // Those who wait already do not make it hopeless, for they may be admitted elsewhere; nor is the other node waited for.
    let ahead: Vec<_> = (0..3)
        .map(|_| router.enqueue(&requests(1), None, None, 1).unwrap())
        .collect();
    let mut ticket = router
        .enqueue(&requests(1), None, Some(2 * SECOND), 1)
        .unwrap();
    assert_eq!(waiting(&limiters), [4, 3]);
    pending(&mut ticket);
    clock.advance(2 * SECOND);
    pending(&mut ticket);
    clock.advance(Duration::from_nanos(1));
    let RoutedProgress::Ended(unrouted) = ticket.poll() else {
        panic!()
    };
    assert_eq!(unrouted.refused, Refused::Deadline);
    assert!(matches!(ticket.poll(), RoutedProgress::Spent));
    drop(ahead);
    assert_eq!(waiting(&limiters), [0, 0]);
}

#[test]
fn closed_full_and_unfit_nodes_are_passed_over() {
    let clock = ManualClock::new(0);
    let narrow = Limiter::builder()
        .limit(Limit::requests(1).per(SECOND).burst(9).start_empty())
        .max_waiters(1)
        .clock(Clock::from(&clock))
        .build()
        .unwrap();
    let limiters = [
        narrow,
        bucket(&clock, 2),
        bucket(&clock, 9),
        bucket(&clock, 9),
    ];
    let router = router(&limiters);
    limiters[2].close();
    limiters[3].charge(&requests(12)).unwrap();
    let blocker = limiters[0].enqueue(&requests(9), None, 0).unwrap();
    let mut ticket = router.enqueue(&requests(3), None, None, 1).unwrap();
    assert_eq!(
        waiting(&limiters),
        [1, 0, 0, 1],
        "full, unfit, closed, and one to wait for"
    );
    assert_eq!(pending(&mut ticket), Some(6 * SECOND));
    // Too much for the one that is left, too: never, for full is no more than a matter of time.
    limiters[3].retune(0, 1, SECOND, 2).unwrap();
    let RoutedProgress::Ended(unrouted) = ticket.poll() else {
        panic!()
    };
    assert_eq!(unrouted.refused, Refused::Full);
    limiters[0].cancel(blocker);
    limiters[0].close();
    let never = router.acquire(&requests(3), None, None).unwrap_err();
    assert!(
        matches!(never.refused, Refused::Never { burst: 2, .. }),
        "{never}"
    );
    limiters.iter().for_each(Limiter::close);
    let closed = router.acquire(&requests(3), None, None).unwrap_err();
    assert_eq!(closed.refused, Refused::Closed);
}

#[test]
fn a_node_that_closes_sends_its_waiters_to_the_others() {
    let clock = ManualClock::new(0);
    let limiters = [0, 0].map(|burst| bucket(&clock, burst));
    let router = router(&limiters);
    limiters[1].charge(&requests(5)).unwrap();
    let mut ticket = router.enqueue(&requests(1), None, None, 1).unwrap();
    assert_eq!(pending(&mut ticket), Some(SECOND));
    limiters[0].close();
    assert_eq!(pending(&mut ticket), Some(6 * SECOND));
    limiters[1].close();
    let RoutedProgress::Ended(unrouted) = ticket.poll() else {
        panic!()
    };
    assert_eq!(unrouted.refused, Refused::Closed);
}

#[test]
fn nodes_may_live_on_different_clocks() {
    let (slow, fast) = (ManualClock::new(0), ManualClock::new(1 << 60));
    let limiters = [bucket(&slow, 0), bucket(&fast, 0)];
    let router = router(&limiters);
    let mut ticket = router
        .enqueue(&requests(1), None, Some(5 * SECOND), 1)
        .unwrap();
    slow.advance(SECOND / 2);
    assert_eq!(pending(&mut ticket), Some(SECOND / 2));
    fast.advance(SECOND);
    assert_eq!(held(&mut ticket).node().number(), 1);
}

#[derive(Default)]
struct Bell(Mutex<Vec<u64>>);

impl Bell {
    fn rung(&self) -> Vec<u64> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Wake for Bell {
    fn wake(&self, token: u64) {
        self.0.lock().unwrap().push(token);
    }
}

#[test]
fn an_event_loop_is_called_once_however_many_nodes_grant() {
    let clock = ManualClock::new(0);
    let (mine, others) = (Arc::new(Bell::default()), Arc::new(Bell::default()));
    let limiters = [(); 3].map(|()| {
        let builder = Limiter::builder().limit(Limit::in_flight(1));
        let builder = builder.wake(others.clone()).clock(Clock::from(&clock));
        builder.build().unwrap()
    });
    let router = Router::new().wake(mine.clone());
    for (number, limiter) in limiters.iter().enumerate() {
        router.add(format!("n{number}"), 1, limiter).unwrap();
    }
    let taken = limiters
        .each_ref()
        .map(|l| l.try_acquire(&requests(1)).unwrap());
    let mut ticket = router.enqueue(&requests(1), None, None, 7).unwrap();
    let mut behind = limiters[0].enqueue(&requests(1), None, 8).unwrap();
    pending(&mut ticket);
    assert!(matches!(
        limiters[0].poll(&mut behind),
        llmrl::Progress::Pending { .. }
    ));
    let mut taken = taken.into_iter();
    taken.next().unwrap().release();
    assert_eq!(mine.rung(), [7]);
    taken.for_each(|permit| permit.release());
    assert!(mine.rung().is_empty(), "called, and has not looked since");
    let routed = held(&mut ticket);
    // The ticket of the limiter itself is told by the limiter, when its turn has come.
    match routed.node().number() {
        0 => assert!(others.rung().is_empty()),
        _ => assert_eq!(others.rung(), [8]),
    }
    routed.release();
    assert!(matches!(
        limiters[0].poll(&mut behind),
        llmrl::Progress::Held(_)
    ));
    assert!(mine.rung().is_empty());
}

#[test]
fn a_blocked_thread_is_admitted_where_it_is_possible_first() {
    let clock = ManualClock::new(0);
    let limiters = [0, 0].map(|burst| bucket(&clock, burst));
    let router = router(&limiters);
    limiters[0].charge(&requests(1_000)).unwrap();
    limiters[1].charge(&requests(500)).unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let routed = router.acquire(&requests(1), None, None).unwrap();
            routed.node().number()
        });
        while waiting(&limiters) != [1, 1] {
            std::thread::yield_now();
        }
        clock.advance(501 * SECOND);
        assert_eq!(waiter.join().unwrap(), 1);
        // By its own time, and by the end of the last node.
        let late = scope.spawn(|| {
            let timeout = Some(10_000 * SECOND);
            router
                .acquire(&requests(1), None, timeout)
                .unwrap_err()
                .refused
        });
        while waiting(&limiters) != [1, 1] {
            std::thread::yield_now();
        }
        limiters.iter().for_each(Limiter::close);
        assert_eq!(late.join().unwrap(), Refused::Closed);
    });
    assert_eq!(waiting(&limiters), [0, 0]);
}

#[test]
fn no_limiter_remembers_whom_it_was_to_call() {
    let clock = ManualClock::new(0);
    let bell = Arc::new(Bell::default());
    let limiters = [0, 0].map(|burst| bucket(&clock, burst));
    let router = Router::new().wake(bell.clone());
    for (name, limiter) in ["a", "b"].iter().zip(&limiters) {
        router.add(name, 1, limiter).unwrap();
    }
    let enqueue = |timeout| router.enqueue(&requests(1), None, timeout, 1).unwrap();
    let known = || Arc::strong_count(&bell);
    assert_eq!(known(), 2, "here and in the router");
    let mut granted = enqueue(None);
    let mut late = enqueue(Some(2 * SECOND));
    assert_eq!(known(), 4, "one callback for each ticket");
    drop(enqueue(None));
    assert_eq!(known(), 4);
    limiters
        .iter()
        .for_each(|limiter| limiter.pause(0, 9 * SECOND).unwrap());
    clock.advance(3 * SECOND);
    assert!(matches!(late.poll(), RoutedProgress::Ended(_)));
    clock.advance(9 * SECOND);
    held(&mut granted).release();
    drop((late, granted));
    assert_eq!(known(), 2);
}
