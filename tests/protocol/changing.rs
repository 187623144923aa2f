//! Limits change, and once a change has returned nothing is admitted by the old rule.

use super::*;
use llmrl::TokenBucket;

/// Once a pause has returned, nothing is admitted.
pub fn pause_against_taker(buckets: usize) {
    let world = world(buckets, 2, 0, 1);
    let taker = spawn(&world, |world| {
        if let Some(held) = world.try_acquire(1) {
            held.release();
        }
    });
    world.limiter.pause(buckets - 1, 10 * SECOND).unwrap();
    let granted = world.limiter.stats().granted;
    taker.join().unwrap();
    assert_eq!(
        world.limiter.stats().granted,
        granted,
        "admitted after the pause"
    );
    world.is_settled(buckets, 2);
}

/// Once a pause has returned, nothing is granted to the queue either; resuming serves it.
pub fn pause_against_queue(buckets: usize) {
    let world = world(buckets, 2, 1, 1);
    let held = world.acquire(1).unwrap();
    let mut ticket = world.enqueue(1);
    let pauser = spawn(&world, |world| {
        world.limiter.pause(0, 10 * SECOND).unwrap();
        let granted = world.limiter.stats().granted;
        world.limiter.try_acquire(&requests(1)).unwrap_err();
        assert_eq!(
            world.limiter.stats().granted,
            granted,
            "granted after the pause"
        );
        world.limiter.pause(0, Duration::ZERO).unwrap();
    });
    held.release();
    pauser.join().unwrap();
    world
        .poll(&mut ticket, 1)
        .expect("nothing bars it any more")
        .release();
    world.is_settled(buckets, 2);
}

/// Once usage has been charged from outside, nothing is admitted against it.
pub fn charge_against_queue(buckets: usize) {
    let world = world(buckets, 2, 1, 1);
    let held = world.acquire(1).unwrap();
    let mut ticket = world.enqueue(1);
    let charger = spawn(&world, |world| {
        world.limiter.charge(&requests(1)).unwrap();
        let granted = world.limiter.stats().granted;
        world.limiter.try_acquire(&requests(1)).unwrap_err();
        assert_eq!(
            world.limiter.stats().granted,
            granted,
            "granted after the charge"
        );
    });
    held.release();
    charger.join().unwrap();
    match world.poll(&mut ticket, 1) {
        Some(held) => held.release(),
        None => world.limiter.cancel(ticket),
    }
    world.is_settled(buckets, 2 - 1);
}

/// Once a bare bucket has been paused, nothing is taken by the line that was before.
pub fn bucket_pauses() {
    let clock = ManualClock::new(0);
    let limit = Limit::requests(1).per(SECOND).burst(2);
    let bucket = TokenBucket::new(limit, &Clock::from(&clock)).unwrap();
    let bucket = Arc::new(bucket);
    let taker = {
        let bucket = bucket.clone();
        thread::spawn(move || bucket.try_take(1).is_ok())
    };
    bucket.pause(SECOND);
    let left = bucket.available();
    taker.join().unwrap();
    assert_eq!(bucket.available(), left, "taken after the pause");
}

/// Slots are taken away and given back under a waiter.
pub fn resize_under_a_waiter(buckets: usize) {
    let world = world(buckets, 3, 2, 1);
    world.limiter.resize(1).unwrap();
    let held = world.acquire(1).unwrap();
    let waiter = spawn(&world, |world| world.acquire(1).unwrap().release());
    world.limiter.resize(2).unwrap();
    waiter.join().unwrap();
    held.release();
    world.is_settled(buckets, 3);
}

/// Closing tells who waits, and who comes.
pub fn close_under_a_waiter(buckets: usize) {
    let world = world(buckets, 1, 0, 1);
    let held = world.acquire(1).unwrap();
    let waiter = spawn(&world, |world| match world.acquire(1) {
        Ok(held) => held.release(),
        Err(refused) => assert_eq!(refused, Refused::Closed),
    });
    world.limiter.close();
    waiter.join().unwrap();
    held.release();
    world.is_quiet();
}
