//! What is short comes round again: places, slots, and the counters in packed words.

use super::*;

/// One slot for waiters, many laps: it is never handed to two, and never lost.
pub fn laps(rounds: usize) {
    let world = world(1, 1, 1, 1);
    let held = world.acquire(1).unwrap();
    let waiter = spawn(&world, move |world| {
        for _ in 0..rounds {
            match world.limiter.enqueue(&requests(1), None, 0) {
                Ok(ticket) => world.limiter.cancel(ticket),
                Err(refused) => assert_eq!(refused, Refused::Full),
            }
        }
    });
    for _ in 0..rounds {
        match world.limiter.enqueue(&requests(1), None, 0) {
            Ok(ticket) => world.limiter.cancel(ticket),
            Err(refused) => assert_eq!(refused, Refused::Full),
        }
    }
    waiter.join().unwrap();
    held.cancel();
    world.try_acquire(1).expect("the queue is open").release();
    world.is_settled(1, 1);
}

/// A helper stalls while so many tickets pass that a short number comes round again: that of the head at the gate,
/// so that "granted" was said of another ticket, or that of the last one that has passed at the account, so that one
/// looks paid that is not. For builds with tiny fields.
pub fn tickets_go_round(tickets: usize) {
    let world = world(1, 2, 0, tickets);
    world.acquire(1).unwrap().release();
    // Granted through the queue, so that the gate says "granted" of ticket 0.
    let mut first = world.enqueue(1);
    world.poll(&mut first, 1).unwrap().release();
    let gone = world.enqueue(1);
    let joiner = spawn(&world, move |world| {
        for _ in 2..tickets {
            let ticket = world.enqueue(1);
            world.limiter.cancel(ticket);
        }
        world.enqueue(1)
    });
    world.limiter.cancel(gone);
    let mut last = joiner.join().unwrap();
    assert!(
        world.poll(&mut last, 1).is_none(),
        "granted from an empty bucket"
    );
    world.clock.advance(SECOND);
    world.poll(&mut last, 1).expect("its turn").release();
    world.is_settled(1, 3);
}

/// A helper that has found the queue empty stalls before it says so, while the short counter of events goes
/// round: those who have joined since must not be forgotten. For builds with tiny fields.
pub fn empty_of_another_round(events: usize) {
    let world = world(1, 1, 0, events + 1);
    let held = world.acquire(1).unwrap();
    let gone = world.enqueue(1);
    let joiner = spawn(&world, move |world| -> Vec<_> {
        (0..events).map(|_| world.enqueue(1)).collect()
    });
    world.limiter.cancel(gone);
    let tickets = joiner.join().unwrap();
    held.cancel();
    for mut ticket in tickets {
        world.poll(&mut ticket, 1).expect("each in turn").cancel();
    }
    world.is_settled(1, 1);
}
