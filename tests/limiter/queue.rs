//! Those who wait: their order, their deadlines, their leaving.

use super::*;
use std::sync::mpsc;

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
fn without_time_nobody_waits_for_a_slot() {
    let clock = ManualClock::new(0);
    let limiter = limiter(&clock, &[Limit::in_flight(1)]);
    let held = limiter.try_acquire(&Cost::request()).unwrap();
    let mut ticket = limiter
        .enqueue(&Cost::request(), Some(Duration::ZERO), 1)
        .unwrap();
    assert!(matches!(
        limiter.poll(&mut ticket),
        Progress::Ended(Refused::Deadline)
    ));
    let refused = limiter.acquire_timeout(&Cost::request(), Duration::ZERO);
    assert_eq!(refused.unwrap_err(), Refused::Deadline);
    assert_eq!(limiter.stats().waiting, 0);
    held.release();
    let admitted = limiter.acquire_timeout(&Cost::request(), Duration::ZERO);
    admitted.unwrap().release();
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
    limiter.try_acquire(&requests(2)).unwrap().release();
    let abandoned = limiter.enqueue(&requests(2), None, 1).unwrap();
    clock.advance(SECOND);
    // One token is there, and the head wants two.
    assert!(limiter.try_acquire(&Cost::request()).is_err());
    let mut next = limiter.enqueue(&Cost::request(), None, 2).unwrap();
    // It looks when the head is due, because nobody else does; then when it is due itself.
    for _ in 0..2 {
        assert_eq!(pending(&limiter, &mut next), Some(SECOND));
        clock.advance(SECOND);
    }
    assert!(matches!(limiter.poll(&mut next), Progress::Held(_)));
    assert_eq!(limiter.stats().waiting, 1);
    limiter.cancel(abandoned);
    // Granted in its turn, given back by the cancellation: the bucket would have been full, less the last request.
    assert_eq!(limiter.limit_state(0).unwrap().available, 1);
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

/// Input and output tokens apart, one a second of each; the output bucket is empty.
fn no_output_left(clock: &ManualClock) -> Limiter {
    let limiter = limiter(clock, &[Limit::input_tokens(60), Limit::output_tokens(60)]);
    limiter.try_acquire(&Cost::tokens(0, 60)).unwrap().release();
    limiter
}

#[test]
fn a_refusal_counts_the_wait_of_the_head_for_another_limit() {
    let clock = ManualClock::new(0);
    let limiter = no_output_left(&clock);
    let head = limiter.enqueue(&Cost::tokens(0, 10), None, 1).unwrap();
    let refused = limiter.try_acquire(&Cost::tokens(5, 0)).unwrap_err();
    assert_eq!(wait_of(refused), Some(10 * SECOND));
    clock.advance(10 * SECOND);
    limiter.try_acquire(&Cost::tokens(5, 0)).unwrap().release();
    limiter.cancel(head);
}

#[test]
fn the_second_in_line_looks_when_an_abandoned_head_is_out_of_time() {
    let clock = ManualClock::new(0);
    let limiter = no_output_left(&clock);
    let head = limiter.enqueue(&Cost::tokens(0, 10), Some(20 * SECOND), 1);
    // Now its deadline comes long before its turn.
    limiter.pause(1, 60 * SECOND).unwrap();
    let mut next = limiter.enqueue(&Cost::tokens(5, 0), None, 2).unwrap();
    let instant = Duration::from_nanos(1);
    assert_eq!(pending(&limiter, &mut next), Some(20 * SECOND + instant));
    clock.advance(20 * SECOND);
    assert_eq!(pending(&limiter, &mut next), Some(instant));
    clock.advance(instant);
    assert!(matches!(limiter.poll(&mut next), Progress::Held(_)));
    assert!(matches!(
        limiter.poll(&mut head.unwrap()),
        Progress::Ended(Refused::Deadline)
    ));
}
