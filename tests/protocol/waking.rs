//! Something comes back or comes due, and who waits for it is told.

use super::sync::{Condvar, Mutex};
use super::*;
use llmrl::Wake;

/// A waiter on the only slot; its release is all that can help.
pub fn release_is_the_only_source(buckets: usize) {
    let world = world(buckets, 5, 1, 1);
    let held = world.acquire(1).unwrap();
    let waiter = spawn(&world, |world| world.acquire(1).unwrap().release());
    held.release();
    waiter.join().unwrap();
    world.is_settled(buckets, 5);
}

/// A waiter on an empty bucket, on a clock that stands; a refund is all that can help.
pub fn refund_is_the_only_source(buckets: usize) {
    let world = world(buckets, 1, 0, 1);
    let held = world.acquire(1).unwrap();
    let waiter = spawn(&world, |world| world.acquire(1).unwrap().release());
    held.cancel();
    waiter.join().unwrap();
    world.is_settled(buckets, 1);
}

/// An event loop polls, sleeps until it is called, and polls again: a release is all that can help.
pub fn event_loop_is_called(buckets: usize) {
    #[derive(Default)]
    struct Bell(Mutex<u64>, Condvar);
    impl Wake for Bell {
        fn wake(&self, token: u64) {
            *self.0.lock().unwrap() = token;
            self.1.notify_one();
        }
    }
    let bell = Arc::new(Bell::default());
    let builder = Limiter::builder().limit(Limit::in_flight(1)).max_waiters(1);
    let bucket = Limit::requests(1).per(SECOND).burst(5);
    let limiter = (0..buckets)
        .fold(builder, |builder, _| builder.limit(bucket))
        .clock(Clock::from(&ManualClock::new(0)))
        .wake(bell.clone())
        .build()
        .unwrap();
    let limiter = Arc::new(limiter);
    let held = limiter.try_acquire(&requests(1)).unwrap();
    let waiter = {
        let limiter = limiter.clone();
        thread::spawn(move || {
            let mut ticket = limiter.enqueue(&requests(1), None, 7).unwrap();
            loop {
                match limiter.poll(&mut ticket) {
                    Progress::Held(permit) => return permit.release(),
                    Progress::Pending { .. } => {}
                    other => panic!("{other:?}"),
                }
                let mut called = bell.0.lock().unwrap();
                while *called != 7 {
                    called = bell.1.wait(called).unwrap();
                }
                *called = 0;
            }
        })
    };
    held.release();
    waiter.join().unwrap();
    assert_eq!(limiter.stats().in_flight, 0);
}

/// A waker that means an event loop's ticket comes late, when a thread has the slot: it must not disarm it for good.
pub fn a_thread_inherits_the_slot() {
    struct Silent;
    impl Wake for Silent {
        fn wake(&self, _: u64) {}
    }
    let limiter = Limiter::builder()
        .limit(Limit::in_flight(1))
        .max_waiters(1)
        .wake(Arc::new(Silent))
        .clock(Clock::from(&ManualClock::new(0)))
        .build()
        .unwrap();
    let limiter = Arc::new(limiter);
    std::mem::forget(limiter.try_acquire(&requests(1)).unwrap());
    let mut ticket = limiter.enqueue(&requests(1), None, 7).unwrap();
    assert!(matches!(
        limiter.poll(&mut ticket),
        Progress::Pending { .. }
    ));
    let run = |task: Box<dyn FnOnce(&Limiter) + Send>| {
        let limiter = limiter.clone();
        thread::spawn(move || task(&limiter))
    };
    // A second slot, and so the event loop's grant and its wake; a third, which is the thread's.
    let waker = run(Box::new(|limiter| {
        limiter.resize(2).unwrap();
        limiter.resize(3).unwrap();
    }));
    let event_loop = run(Box::new(move |limiter| match limiter.poll(&mut ticket) {
        Progress::Held(permit) => std::mem::forget(permit),
        _ => limiter.cancel(ticket),
    }));
    match limiter.acquire(&requests(1)) {
        Ok(permit) => permit.release(),
        Err(refused) => assert_eq!(refused, Refused::Full),
    }
    waker.join().unwrap();
    event_loop.join().unwrap();
}

/// Sleepers are woken by the clock alone, each in its turn.
pub fn waiters_and_the_clock(buckets: usize, waiters: usize) {
    let most = waiters as u64;
    let world = world(buckets, most, 0, waiters);
    world.acquire(most).unwrap().release();
    let waiters: Vec<_> = (0..waiters)
        .map(|_| spawn(&world, |world| world.acquire(1).unwrap().release()))
        .collect();
    for _ in 0..most {
        world.clock.advance(SECOND);
    }
    waiters
        .into_iter()
        .for_each(|waiter| waiter.join().unwrap());
    world.is_settled(buckets, 2 * most as i64);
}

/// A taker charges one account, finds the other one short and gives back, while a waiter is made to believe
/// that the first one is short.
pub fn half_a_charge() {
    let clock = ManualClock::new(0);
    let limiter = Limiter::builder()
        .limit(Limit::requests(1).per(SECOND).burst(3))
        .limit(Limit::tokens(1).per(SECOND).burst(1))
        .clock(Clock::from(&clock))
        .max_waiters(1)
        .build()
        .unwrap();
    let limiter = Arc::new(limiter);
    let taker = {
        let limiter = limiter.clone();
        thread::spawn(move || drop(limiter.try_acquire(&Cost::tokens(1, 0))))
    };
    drop(limiter.try_acquire(&Cost::tokens(1, 0)));
    // One of the two at most has the one token, so two requests are left.
    limiter.acquire(&requests(2)).unwrap().release();
    taker.join().unwrap();
    let taken = limiter.stats().granted as i64 - 1;
    assert!((0..=1).contains(&taken));
    assert_eq!(limiter.limit_state(0).unwrap().available, 1 - taken);
    assert_eq!(limiter.limit_state(1).unwrap().available, 1 - taken);
}
