//! The limiter from outside: threads, event loops, cancellation, the end. Times on the manual clock.

use llmrl::{Clock, Cost, Limit, Limiter, ManualClock, Progress, Refused, Wake};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
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

fn wait_of(refused: Refused) -> Option<Duration> {
    match refused {
        Refused::NotNow { wait } => wait,
        other => panic!("{other}"),
    }
}

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
fn threads_are_served_in_order() {
    let clock = ManualClock::new(0);
    let limiter = limiter(&clock, &[Limit::requests(60).burst(1)]);
    limiter.try_acquire(&Cost::request()).unwrap().release();
    let (order, served) = mpsc::channel();
    std::thread::scope(|scope| {
        for n in 0..20 {
            let (order, limiter) = (order.clone(), &limiter);
            scope.spawn(move || {
                limiter.acquire(&Cost::request()).unwrap().release();
                order.send(n).unwrap();
            });
            // The next one starts when this one is in the queue.
            while limiter.stats().waiting <= n {
                std::thread::yield_now();
            }
        }
        for n in 0..20 {
            clock.advance(SECOND);
            assert_eq!(served.recv().unwrap(), n);
        }
    });
    assert_eq!(limiter.stats().granted, 21);
    assert_eq!(limiter.stats().waiting, 0);
}

#[test]
fn a_deadline_that_cannot_be_met_is_refused_at_once() {
    let clock = ManualClock::new(0);
    let limiter = limiter(&clock, &[Limit::requests(60).burst(1)]);
    limiter.try_acquire(&Cost::request()).unwrap().release();
    let early = limiter.acquire_timeout(&Cost::request(), SECOND - Duration::from_nanos(1));
    assert_eq!(early.unwrap_err(), Refused::Deadline);
    let mut ticket = limiter.enqueue(&Cost::request(), Some(SECOND), 1).unwrap();
    // One is ahead already.
    let later = limiter.enqueue(&Cost::request(), Some(SECOND), 2);
    assert_eq!(later.unwrap_err(), Refused::Deadline);
    clock.advance(SECOND);
    assert!(matches!(limiter.poll(&mut ticket), Progress::Held(_)));
    assert!(matches!(limiter.poll(&mut ticket), Progress::Spent));
}

#[test]
fn cancelling_anywhere_loses_nothing() {
    let clock = ManualClock::new(0);
    let limiter = limiter(
        &clock,
        &[Limit::requests(60).burst(10), Limit::in_flight(1)],
    );
    let held = limiter.try_acquire(&Cost::request()).unwrap();
    let mut tickets: Vec<_> = (1..=9)
        .map(|token| Some(limiter.enqueue(&Cost::request(), None, token).unwrap()))
        .collect();
    for n in [0, 4, 8] {
        limiter.cancel(tickets[n].take().unwrap());
    }
    held.release();
    for n in [1, 2, 3, 5, 6, 7] {
        let mut ticket = tickets[n].take().unwrap();
        match limiter.poll(&mut ticket) {
            Progress::Held(permit) => permit.release(),
            other => panic!("{n}: {other:?}"),
        }
    }
    assert_eq!(limiter.stats().waiting, 0);
    assert_eq!(limiter.limit_state(0).unwrap().available, 3);
    assert_eq!(limiter.limit_state(1).unwrap().available, 1);
}

#[test]
fn nobody_passes_the_queue_and_an_abandoned_ticket_holds_nobody_up() {
    let clock = ManualClock::new(0);
    let limiter = limiter(&clock, &[Limit::requests(60).burst(2)]);
    limiter
        .try_acquire(&Cost {
            requests: 2,
            ..Cost::default()
        })
        .unwrap()
        .release();
    let abandoned = limiter
        .enqueue(
            &Cost {
                requests: 2,
                ..Cost::default()
            },
            None,
            1,
        )
        .unwrap();
    clock.advance(SECOND);
    // One token is there, and the head wants two.
    assert!(limiter.try_acquire(&Cost::request()).is_err());
    let mut next = limiter.enqueue(&Cost::request(), None, 2).unwrap();
    // It looks when the head is due, because nobody else does; then when it is due itself.
    for _ in 0..2 {
        let Progress::Pending { wait } = limiter.poll(&mut next) else {
            panic!()
        };
        assert_eq!(wait, Some(SECOND));
        clock.advance(SECOND);
    }
    assert!(matches!(limiter.poll(&mut next), Progress::Held(_)));
    assert_eq!(limiter.stats().waiting, 1);
    limiter.cancel(abandoned);
    // Granted in its turn, given back by the cancellation.
    assert_eq!(limiter.limit_state(0).unwrap().available, 2);
    assert_eq!(limiter.stats().waiting, 0);
}

#[test]
fn the_queue_is_bounded() {
    let clock = ManualClock::new(0);
    let limiter = Limiter::builder()
        .limit(Limit::requests(60).burst(1))
        .max_waiters(3)
        .clock(Clock::from(&clock))
        .build()
        .unwrap();
    limiter.try_acquire(&Cost::request()).unwrap().release();
    for round in 0..50 {
        let tickets: Vec<_> = (1..=3)
            .map(|token| limiter.enqueue(&Cost::request(), None, token).unwrap())
            .collect();
        assert_eq!(
            limiter.enqueue(&Cost::request(), None, 4).unwrap_err(),
            Refused::Full
        );
        for mut ticket in tickets {
            clock.advance(SECOND);
            assert!(
                matches!(limiter.poll(&mut ticket), Progress::Held(_)),
                "{round}"
            );
        }
    }
}

#[test]
fn close_tells_everybody() {
    let clock = ManualClock::new(0);
    let limiter = limiter(&clock, &[Limit::requests(1)]);
    let held = limiter.try_acquire(&Cost::request()).unwrap();
    let mut ticket = limiter.enqueue(&Cost::request(), None, 1).unwrap();
    std::thread::scope(|scope| {
        let waiters: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| limiter.acquire(&Cost::request()).map(drop)))
            .collect();
        while limiter.stats().waiting < 5 {
            std::thread::yield_now();
        }
        limiter.close();
        limiter.close();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), Err(Refused::Closed));
        }
    });
    assert!(matches!(
        limiter.poll(&mut ticket),
        Progress::Ended(Refused::Closed)
    ));
    assert_eq!(
        limiter.try_acquire(&Cost::request()).unwrap_err(),
        Refused::Closed
    );
    assert_eq!(
        limiter.enqueue(&Cost::request(), None, 1).unwrap_err(),
        Refused::Closed
    );
    held.cancel();
    assert_eq!(limiter.limit_state(0).unwrap().available, 1);
}

#[test]
fn changes_reach_those_who_wait() {
    let clock = ManualClock::new(0);
    let limiter = limiter(&clock, &[Limit::requests(60).burst(5), Limit::in_flight(1)]);
    limiter
        .try_acquire(&Cost {
            requests: 5,
            ..Cost::default()
        })
        .unwrap()
        .release();
    let mut ticket = limiter
        .enqueue(
            &Cost {
                requests: 3,
                ..Cost::default()
            },
            None,
            1,
        )
        .unwrap();
    let pending = |ticket: &mut _| match limiter.poll(ticket) {
        Progress::Pending { wait } => wait,
        other => panic!("{other:?}"),
    };
    assert_eq!(pending(&mut ticket), Some(3 * SECOND));
    limiter.retune(0, 120, 60 * SECOND, 5).unwrap();
    assert_eq!(pending(&mut ticket), Some(SECOND * 3 / 2));
    limiter.pause(0, 10 * SECOND).unwrap();
    assert_eq!(pending(&mut ticket), Some(10 * SECOND));
    limiter.pause(0, Duration::ZERO).unwrap();
    // The burst falls below what the ticket costs.
    limiter.retune(0, 120, 60 * SECOND, 2).unwrap();
    assert!(matches!(
        limiter.poll(&mut ticket),
        Progress::Ended(Refused::Never {
            limit: 0,
            cost: 3,
            burst: 2
        })
    ));
    let held = {
        clock.advance(SECOND);
        limiter.try_acquire(&Cost::request()).unwrap()
    };
    limiter.resize(2).unwrap();
    let second = limiter.try_acquire(&Cost::request()).unwrap();
    limiter.resize(1).unwrap();
    second.release();
    assert_eq!(limiter.limit_state(1).unwrap().available, 0);
    held.release();
    assert_eq!(limiter.limit_state(1).unwrap().available, 1);
    let error = limiter.retune(1, 1, SECOND, 1).unwrap_err();
    assert_eq!(error.limit, Some(1));
    assert!(limiter.retune(2, 1, SECOND, 1).is_err());
}

struct Loop(Mutex<Vec<u64>>, AtomicU64);

impl Wake for Loop {
    fn wake(&self, token: u64) {
        self.0.lock().unwrap().push(token);
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn event_loops_are_woken_once_and_only_when_the_time_moved() {
    let clock = ManualClock::new(0);
    let woken = Arc::new(Loop(Mutex::new(Vec::new()), AtomicU64::new(0)));
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
    assert_eq!(
        woken.1.load(Ordering::Relaxed),
        0,
        "no slot, nothing to wake for"
    );
    held.release();
    assert_eq!(*woken.0.lock().unwrap(), [1]);
    limiter.stats();
    let Progress::Held(permit) = limiter.poll(&mut tickets[0]) else {
        panic!()
    };
    permit.release();
    // The second one's slot is free, its token comes in a second: it must look then, and is told so.
    assert_eq!(*woken.0.lock().unwrap(), [1, 2]);
    let Progress::Pending { wait } = limiter.poll(&mut tickets[1]) else {
        panic!()
    };
    assert_eq!(wait, Some(SECOND));
    clock.advance(SECOND);
    assert_eq!(*woken.0.lock().unwrap(), [1, 2, 2]);
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
