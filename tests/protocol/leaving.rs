//! Those who wait go away: cancelled, or out of time.

use super::*;

/// A ticket is cancelled while a release grants it.
pub fn cancel_against_grant(buckets: usize) {
    let world = world(buckets, 2, 1, 1);
    let held = world.acquire(1).unwrap();
    let ticket = world.enqueue(1);
    let leaver = spawn(&world, move |world| world.limiter.cancel(ticket));
    held.release();
    leaver.join().unwrap();
    world
        .try_acquire(1)
        .expect("the slot and the token came back")
        .release();
    world.is_settled(buckets, 2);
}

/// The head leaves; who stands behind it is affordable and must be told.
pub fn head_leaves(buckets: usize) {
    let world = world(buckets, 3, 0, 2);
    world.acquire(1).unwrap().release();
    let head = world.enqueue(3);
    let waiter = spawn(&world, |world| world.acquire(1).unwrap().release());
    world.limiter.cancel(head);
    waiter.join().unwrap();
    world.is_settled(buckets, 3);
}

/// The head leaves by one thread while a second waits behind and a third one releases what the first waited for.
pub fn head_leaves_as_it_is_granted(buckets: usize) {
    let world = world(buckets, 5, 1, 2);
    let held = world.acquire(1).unwrap();
    let head = world.enqueue(1);
    let waiter = spawn(&world, |world| world.acquire(1).unwrap().release());
    let leaver = spawn(&world, move |world| world.limiter.cancel(head));
    held.release();
    waiter.join().unwrap();
    leaver.join().unwrap();
    world.is_settled(buckets, 5);
}

/// Nor is one who joins while the queue behind a leaving head is found to be empty.
pub fn nobody_passes_while_the_queue_empties(buckets: usize) {
    let world = world(buckets, 3, 0, 2);
    world.acquire(1).unwrap().release();
    let head = world.enqueue(3);
    let waiter = spawn(&world, |world| {
        let mut ticket = world.enqueue(2);
        let passed = world.try_acquire(2);
        let mine = world.poll(&mut ticket, 2);
        assert!(passed.is_none(), "passed by a later request");
        mine.into_iter().for_each(Held::release);
        world.limiter.cancel(ticket);
    });
    world.limiter.cancel(head);
    waiter.join().unwrap();
    world.is_settled(buckets, 3);
}

/// The head's time runs out while it waits for a slot; the next one is served when the slot comes back.
pub fn head_expires(buckets: usize) {
    let world = world(buckets, 5, 1, 2);
    let held = world.acquire(1).unwrap();
    let head = spawn(&world, |world| match world.acquire_timeout(1, SECOND) {
        Ok(held) => held.release(),
        Err(refused) => assert_eq!(refused, Refused::Deadline),
    });
    world.clock.advance(2 * SECOND);
    held.release();
    world.acquire(1).unwrap().release();
    // The head may have come only now, with a deadline that is still ahead.
    world.clock.advance(2 * SECOND);
    head.join().unwrap();
    world.is_quiet();
}

/// The same with one slot for waiters: whoever gets it after the head must not be disturbed by the head's waking up.
pub fn head_expires_on_the_only_slot() {
    let world = world(0, 1, 1, 1);
    let held = world.acquire(1).unwrap();
    let head = spawn(&world, |world| match world.acquire_timeout(1, SECOND) {
        Ok(held) => held.release(),
        Err(refused) => assert!(matches!(refused, Refused::Deadline | Refused::Full)),
    });
    let next = spawn(&world, |world| {
        // A refusal moves the queue on.
        world.try_acquire(1).into_iter().for_each(Held::release);
        match world.acquire(1) {
            Ok(held) => held.release(),
            Err(refused) => assert_eq!(refused, Refused::Full),
        }
    });
    world.clock.advance(2 * SECOND);
    held.release();
    world.clock.advance(2 * SECOND);
    head.join().unwrap();
    next.join().unwrap();
    world.is_quiet();
}

/// One place for waiters, and it comes free while another thread asks for it: whoever asks after that is not
/// refused on account of one that is being refused.
pub fn the_only_slot_comes_free() {
    let world = world(0, 1, 1, 1);
    let held = world.acquire(1).unwrap();
    let ticket = world.enqueue(1);
    let join = |world: &World| world.limiter.enqueue(&requests(1), None, 0).ok();
    let other = spawn(&world, join);
    world.limiter.cancel(ticket);
    let mine = join(&world);
    let others = other.join().unwrap();
    assert!(mine.is_some() || others.is_some(), "nobody has the slot");
    [mine, others]
        .into_iter()
        .flatten()
        .for_each(|ticket| world.limiter.cancel(ticket));
    held.release();
    world.is_quiet();
}
