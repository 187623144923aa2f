//! Random operations by several threads, with a log from which every window is checked.

use super::*;
use shuttle::rand::{Rng, thread_rng};
use std::sync::Mutex;

/// What happened, between which readings of the clock, in whole seconds.
struct Event {
    start: i64,
    end: i64,
    admitted: i64,
    refunded: i64,
}

#[derive(Default)]
struct Log(Mutex<Vec<Event>>);

impl Log {
    fn note(&self, world: &World, start: i64, admitted: i64, refunded: i64) {
        // Before the lock, which the checker does not see: no step of the model may be taken under it.
        let end = seconds(world);
        self.0.lock().unwrap().push(Event {
            start,
            end,
            admitted,
            refunded,
        });
    }

    /// In no window was more admitted than the burst and the window's production, beyond what was refunded.
    fn check(&self, burst: i64) {
        let log = self.0.lock().unwrap();
        let times = || log.iter().flat_map(|event| [event.start, event.end]);
        for from in times() {
            for to in times().filter(|&to| to >= from) {
                let admitted: i64 = log
                    .iter()
                    .filter(|event| event.start >= from && event.end <= to)
                    .map(|event| event.admitted)
                    .sum();
                // A refund that may have fallen into the window counts.
                let refunded: i64 = log
                    .iter()
                    .filter(|event| event.end >= from && event.start <= to)
                    .map(|event| event.refunded)
                    .sum();
                assert!(
                    admitted - refunded <= burst + to - from,
                    "window {from}..{to}: {admitted} admitted, {refunded} refunded, burst {burst}"
                );
            }
        }
    }
}

fn seconds(world: &World) -> i64 {
    (world.clock.now_ns() / 1_000_000_000) as i64
}

fn draw(most: u64) -> u64 {
    thread_rng().gen_range(1..=most)
}

fn finish(world: &World, log: &Log, start: i64, held: Held<'_>, cost: u64) {
    log.note(world, start, cost as i64, 0);
    match draw(3) {
        1 => {
            let start = seconds(world);
            held.cancel();
            log.note(world, start, 0, cost as i64);
        }
        _ => held.release(),
    }
}

/// One thread's life: `steps` random operations.
fn live(world: &World, log: &Log, burst: u64, steps: usize) {
    for _ in 0..steps {
        let cost = draw(burst);
        let start = seconds(world);
        match draw(8) {
            1 | 2 => {
                if let Some(held) = world.try_acquire(cost) {
                    finish(world, log, start, held, cost);
                }
            }
            // The clock goes on for as long as anybody waits; see `storm`.
            3 | 4 => match world.acquire(cost) {
                Ok(held) => finish(world, log, start, held, cost),
                // Tickets that have been cancelled count until they are passed.
                Err(refused) => assert_eq!(refused, Refused::Full),
            },
            5 => match world.acquire_timeout(cost, draw(4) as u32 * SECOND) {
                Ok(held) => finish(world, log, start, held, cost),
                Err(refused) => assert!(matches!(refused, Refused::Deadline | Refused::Full)),
            },
            6 | 7 => {
                let Ok(mut ticket) = world.limiter.enqueue(&requests(cost), None, 0) else {
                    continue;
                };
                match world.poll(&mut ticket, cost) {
                    Some(held) => finish(world, log, start, held, cost),
                    None => {
                        // It may be granted before the cancellation, and then it is refunded.
                        world.limiter.cancel(ticket);
                        log.note(world, start, cost as i64, cost as i64);
                    }
                }
            }
            _ => world
                .limiter
                .pause(0, SECOND * draw(2) as u32 - SECOND)
                .unwrap(),
        }
    }
}

/// Several threads do whatever they like while the clock runs.
pub fn storm(threads: usize, buckets: usize, burst: u64, slots: u64, waiters: usize) {
    let world = world(buckets, burst, slots, waiters);
    let log = Arc::new(Log::default());
    let running = Arc::new(AtomicI64::new(threads as i64));
    let tasks: Vec<_> = (0..threads)
        .map(|_| {
            let (log, running) = (log.clone(), running.clone());
            spawn(&world, move |world| {
                live(world, &log, burst, 4);
                running.fetch_sub(1, SeqCst);
            })
        })
        .collect();
    while running.load(SeqCst) > 0 {
        world.clock.advance(SECOND);
        thread::yield_now();
    }
    tasks.into_iter().for_each(|task| task.join().unwrap());
    log.check(burst as i64);
    world.is_quiet();
    // However long it went: the buckets fill up again, to the brim and not above.
    world.limiter.pause(0, Duration::ZERO).unwrap();
    world.clock.advance(100 * SECOND);
    for index in 0..buckets {
        let state = world.limiter.limit_state(index).unwrap();
        assert_eq!(state.available, burst as i64);
    }
    world
        .try_acquire(burst)
        .expect("a full bucket admits")
        .release();
}
