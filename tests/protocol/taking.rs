//! Takers on the fast path, against each other and against the queue.

use super::*;

/// One token comes back; a ticket waits for it and a taker tries for it.
pub fn taker_against_ticket(buckets: usize, slots: u64) {
    let world = world(buckets, 1, slots, 1);
    let held = world.acquire(1).unwrap();
    let waiter = spawn(&world, |world| {
        let mut ticket = world.enqueue(1);
        match world.poll(&mut ticket, 1) {
            Some(held) => held.release(),
            None => world.limiter.cancel(ticket),
        }
    });
    held.cancel();
    if let Some(held) = world.try_acquire(1) {
        held.release();
    }
    waiter.join().unwrap();
    world.is_settled(buckets, 1);
}

/// Who has joined the queue is not passed by its own thread's later try.
pub fn nobody_passes(buckets: usize) {
    let world = world(buckets, 2, 0, 2);
    let held = world.acquire(2).unwrap();
    let waiter = spawn(&world, |world| {
        let mut ticket = world.enqueue(1);
        let passed = world.try_acquire(1);
        let mine = world.poll(&mut ticket, 1);
        assert!(
            passed.is_none() || mine.is_some(),
            "passed by a later request"
        );
        [passed, mine].into_iter().flatten().for_each(Held::release);
        world.limiter.cancel(ticket);
    });
    held.cancel();
    waiter.join().unwrap();
    world.is_settled(buckets, 2);
}

/// Whoever is counted as waiting has its turn: one who joins after having seen the count comes later.
pub fn who_is_counted_has_its_turn() {
    let world = world(0, 1, 1, 2);
    let held = world.acquire(1).unwrap();
    let first = Arc::new(AtomicI64::new(0));
    let waiter = spawn(&world, {
        let first = first.clone();
        move |world| {
            let held = world.acquire(1).unwrap();
            first.store(1, SeqCst);
            held.release();
        }
    });
    let counted = world.limiter.stats().waiting == 1;
    let mut ticket = world.enqueue(1);
    held.release();
    match world.poll(&mut ticket, 1) {
        Some(held) => {
            let in_turn = first.load(SeqCst) == 1;
            assert!(in_turn || !counted, "served before one who was counted");
            held.release();
        }
        None => world.limiter.cancel(ticket),
    }
    waiter.join().unwrap();
    world.is_settled(0, 1);
}

/// A taker may stall at any point while a whole grant goes by on the same tokens.
pub fn taker_stalls_across_a_grant(buckets: usize) {
    let world = world(buckets, 1, 0, 1);
    let taker = spawn(&world, |world| {
        if let Some(held) = world.try_acquire(1) {
            held.release();
        }
    });
    let mut ticket = world.enqueue(1);
    match world.poll(&mut ticket, 1) {
        Some(held) => held.release(),
        None => world.limiter.cancel(ticket),
    }
    taker.join().unwrap();
    assert!(world.kept() <= 1);
    world.is_settled(buckets, 1);
}

/// Two takers for one token: one of them has it, and gives it back or keeps it.
pub fn two_takers(buckets: usize, slots: u64) {
    let world = world(buckets, 1, slots, 1);
    let taker = spawn(&world, |world| {
        let held = world.try_acquire(1);
        let had = held.is_some();
        held.into_iter().for_each(Held::cancel);
        had
    });
    let held = world.try_acquire(1);
    let had = held.is_some();
    held.into_iter().for_each(Held::release);
    assert!(taker.join().unwrap() || had, "nobody has the token");
    world.is_settled(buckets, 1);
}

/// Two takers and a waiter for one token that is given back once: one of them has it at a time.
pub fn two_takers_and_a_waiter(buckets: usize) {
    let world = world(buckets, 1, 0, 1);
    let takers: Vec<_> = (0..2)
        .map(|_| {
            spawn(&world, |world| {
                if let Some(held) = world.try_acquire(1) {
                    held.cancel();
                }
            })
        })
        .collect();
    world.acquire(1).unwrap().release();
    takers.into_iter().for_each(|taker| taker.join().unwrap());
    world.is_settled(buckets, 1);
}

/// Takers charge and give back while the queue looks: it must not count a refund whose charge it has not seen.
pub fn refunds_without_their_charges() {
    let world = world(1, 2, 0, 1);
    world.acquire(1).unwrap().release();
    let takers: Vec<_> = (0..2)
        .map(|_| {
            spawn(&world, |world| {
                world.try_acquire(1).into_iter().for_each(Held::release);
            })
        })
        .collect();
    let mut ticket = world.enqueue(2);
    match world.poll(&mut ticket, 2) {
        Some(held) => held.release(),
        None => world.limiter.cancel(ticket),
    }
    takers.into_iter().for_each(|taker| taker.join().unwrap());
    world.is_settled(1, 2);
}

/// A taker that stalls while its bucket refills, and then has to give its charge back, gives back no more
/// than it has taken away: the bucket had overflowed in the meantime.
pub fn rollback_mints_nothing() {
    let world = world(1, 1, 0, 1);
    let taker = spawn(&world, |world| {
        if let Some(held) = world.try_acquire(1) {
            held.release();
        }
    });
    world.clock.advance(SECOND);
    let first = world.try_acquire(1);
    // An event, so that a taker that has charged already must roll back.
    world.limiter.pause(0, Duration::ZERO).unwrap();
    let second = world.try_acquire(1);
    assert!(
        first.is_none() || second.is_none(),
        "two at one instant from a burst of one"
    );
    [first, second]
        .into_iter()
        .flatten()
        .for_each(Held::release);
    taker.join().unwrap();
    world.is_quiet();
}

/// A ticket that waits is granted by whoever passes by, its owner never moves; what it was charged is charged once.
pub fn two_helpers(buckets: usize) {
    let world = world(buckets, 3, 1, 1);
    let held = world.acquire(1).unwrap();
    let mut ticket = world.enqueue(1);
    let helper = spawn(&world, |world| {
        let _ = world.limiter.try_acquire(&requests(3));
    });
    held.release();
    helper.join().unwrap();
    world
        .poll(&mut ticket, 1)
        .expect("granted by somebody")
        .release();
    world.is_settled(buckets, 3);
}
