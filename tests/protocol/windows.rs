//! Limits that count over windows: who comes as one ends and the next one begins.

use super::*;

/// `limit` requests in a window of a second, counted in one of the ways in which a second later all are back.
pub fn second(kind: fn(Meter, u64) -> Limit, limit: u64) -> Limit {
    kind(Meter::Requests, limit).per(SECOND)
}

fn windows(limit: Limit, waiters: usize) -> Arc<World> {
    world_of(Limiter::builder().limit(limit), 0, i64::MAX / 2, waiters)
}

fn available(world: &World) -> i64 {
    world.limiter.limit_state(0).unwrap().available
}

/// A ticket waits for the next window and a taker tries for it: one of them has its only request.
pub fn a_window_turns(limit: Limit) {
    let world = windows(limit, 1);
    let held = world.acquire(1).unwrap();
    let waiter = spawn(&world, |world| {
        let mut ticket = world.enqueue(1);
        match world.poll(&mut ticket, 1) {
            Some(held) => held.release(),
            None => world.limiter.cancel(ticket),
        }
    });
    world.clock.advance(SECOND);
    if let Some(held) = world.try_acquire(1) {
        held.release();
    }
    waiter.join().unwrap();
    held.release();
    assert!(world.kept() <= 2, "two of one");
    assert_eq!(available(&world), 2 - world.kept());
    world.is_quiet();
}

/// A taker has to take its charge back when the next window has begun. That one has lost nothing but what was
/// charged in it, and gained nothing.
pub fn a_rollback_meets_a_turn(limit: Limit) {
    let world = windows(limit, 1);
    let taker = spawn(&world, |world| {
        let start = world.clock.now_ns();
        let held = world.try_acquire(1);
        let kept = held.is_some();
        held.into_iter().for_each(Held::release);
        kept && start > 0
    });
    world.clock.advance(SECOND);
    let mine = world.try_acquire(1);
    // An event, so that a taker that has charged already must roll back.
    world.limiter.pause(0, Duration::ZERO).unwrap();
    let kept = i64::from(mine.is_some()) + i64::from(taker.join().unwrap());
    mine.into_iter().for_each(Held::release);
    let left = available(&world);
    assert!((0..=2 - kept).contains(&left), "{left} left, {kept} kept");
    world.clock.advance(SECOND);
    assert_eq!(available(&world), 2);
}

/// What was taken in the last window is given back: it helps nobody who waits in this one. What was taken in this one
/// does.
pub fn a_refund_meets_a_grant(limit: Limit) {
    let world = windows(limit, 1);
    let held = world.acquire(1).unwrap();
    world.clock.advance(SECOND);
    let mine = world.acquire(1).unwrap();
    let waiter = spawn(&world, |world| {
        world.acquire(1).unwrap().release();
        assert_eq!(world.kept(), 1, "granted for what the last window lost");
    });
    held.cancel();
    mine.cancel();
    waiter.join().unwrap();
    assert_eq!(available(&world), 0);
    world.is_quiet();
}

/// A refund is all that can help; the window does not end.
pub fn a_refund_within_the_window(limit: Limit) {
    let world = windows(limit, 1);
    let held = world.acquire(1).unwrap();
    let waiter = spawn(&world, |world| world.acquire(1).unwrap().release());
    held.cancel();
    waiter.join().unwrap();
    assert_eq!(available(&world), 0);
    world.is_quiet();
}

/// The period changes: the new line does not say in which window something was charged before.
pub fn a_refund_from_before_the_line() {
    let world = windows(second(Limit::fixed_window, 2), 1);
    let first = world.acquire(2).unwrap();
    world.clock.advance(SECOND);
    let second = world.acquire(2).unwrap();
    world.limiter.retune(0, 2, 2 * SECOND, 2).unwrap();
    first.cancel();
    assert_eq!(available(&world), 0, "given back to the window after");
    second.cancel();
    assert_eq!(available(&world), 2, "of the window that is still there");
}

/// Several threads take, wait and give back while the clock runs: in no second is more kept than a window holds.
#[cfg(shuttle)]
pub fn a_storm_over_windows(limit: Limit, holds: i64) {
    use shuttle::rand::{Rng, thread_rng};
    type Log = std::sync::Mutex<Vec<(u64, u64, i64)>>;
    let world = windows(limit, 3);
    let log = Arc::new(Log::default());
    let tasks: Vec<_> = (0..3)
        .map(|_| {
            let log = log.clone();
            spawn(&world, move |world| {
                for _ in 0..4 {
                    let cost = thread_rng().gen_range(1..=holds as u64);
                    let start = world.clock.now_ns();
                    let held = match thread_rng().gen_range(0..3) {
                        0 => {
                            let Ok(mut ticket) = world.limiter.enqueue(&requests(cost), None, 0)
                            else {
                                continue;
                            };
                            let held = world.poll(&mut ticket, cost);
                            world.limiter.cancel(ticket);
                            held
                        }
                        _ => world.try_acquire(cost),
                    };
                    let Some(held) = held else { continue };
                    let end = world.clock.now_ns();
                    if thread_rng().gen_bool(0.3) {
                        held.cancel();
                    } else {
                        held.release();
                        log.lock().unwrap().push((start, end, cost as i64));
                    }
                }
            })
        })
        .collect();
    for _ in 0..4 {
        world.clock.advance(SECOND / 2);
        thread::yield_now();
    }
    tasks.into_iter().for_each(|task| task.join().unwrap());
    let log = log.lock().unwrap();
    for from in log.iter().map(|event| event.0) {
        let second = from - from % SECOND.as_nanos() as u64;
        let kept = log
            .iter()
            .filter(|event| event.0 >= second && event.1 < second + SECOND.as_nanos() as u64)
            .map(|event| event.2)
            .sum::<i64>();
        assert!(kept <= holds, "{kept} kept in a second of {holds}");
    }
    world.clock.advance(2 * SECOND);
    assert_eq!(available(&world), holds);
    world.is_quiet();
}
