//! The scenarios that the model checkers run, and what must hold at the end of each schedule.
//!
//! The clock is the manual one and moves only when a scenario says so; sleeping is a modelled condition
//! variable that never times out. So there is no watchdog: a wake-up that is lost stays lost, and the checker
//! reports the deadlock.
//!
//! Counting happens in std's atomics, which the checkers do not see: it adds no schedules.

use llmrl::{
    Clock, Cost, Limit, Limiter, ManualClock, Permit, Progress, Refused, Ticket, TokenBucket, Wake,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::time::Duration;

#[cfg(shuttle)]
pub mod storm;

#[cfg(loom)]
use loom::{
    sync::{Condvar, Mutex},
    thread,
};
#[cfg(shuttle)]
use shuttle::{
    sync::{Condvar, Mutex},
    thread,
};

pub const SECOND: Duration = Duration::from_secs(1);

/// A limiter under test, and a ledger of what its users believe.
pub struct World {
    pub limiter: Limiter,
    pub clock: ManualClock,
    /// Permits held now, and the most that may be.
    held: AtomicI64,
    slots: i64,
    /// Requests admitted and not given back: never more than really are, at any instant.
    kept: AtomicI64,
    burst: i64,
}

/// One token per second and bucket; `burst` of them at the start; `slots` in flight if not zero.
pub fn world(buckets: usize, burst: u64, slots: u64, waiters: usize) -> Arc<World> {
    let clock = ManualClock::new(0);
    let bucket = Limit::requests(1).per(SECOND).burst(burst);
    let mut builder = (0..buckets)
        .fold(Limiter::builder(), |builder, _| builder.limit(bucket))
        .max_waiters(waiters)
        .clock(Clock::from(&clock));
    if slots > 0 {
        builder = builder.limit(Limit::in_flight(slots));
    }
    Arc::new(World {
        limiter: builder.build().unwrap(),
        clock,
        held: AtomicI64::new(0),
        slots: if slots > 0 { slots as i64 } else { i64::MAX },
        kept: AtomicI64::new(0),
        // Without a bucket there is no end to the supply.
        burst: if buckets > 0 {
            burst as i64
        } else {
            i64::MAX / 2
        },
    })
}

pub fn requests(requests: u64) -> Cost {
    Cost {
        requests,
        ..Cost::request()
    }
}

/// A permit that the world knows of.
pub struct Held<'a> {
    world: &'a World,
    permit: Option<Permit<'a>>,
    cost: i64,
}

impl World {
    fn admitted<'a>(&'a self, permit: Permit<'a>, cost: u64) -> Held<'a> {
        let held = self.held.fetch_add(1, SeqCst) + 1;
        assert!(
            held <= self.slots,
            "{held} in flight, {} allowed",
            self.slots
        );
        let kept = self.kept.fetch_add(cost as i64, SeqCst) + cost as i64;
        let supply = self.burst + (self.clock.now_ns() / 1_000_000_000) as i64;
        assert!(kept <= supply, "{kept} admitted, {supply} supplied");
        Held {
            world: self,
            permit: Some(permit),
            cost: cost as i64,
        }
    }

    pub fn acquire(&self, cost: u64) -> Result<Held<'_>, Refused> {
        let permit = self.limiter.acquire(&requests(cost))?;
        Ok(self.admitted(permit, cost))
    }

    pub fn acquire_timeout(&self, cost: u64, timeout: Duration) -> Result<Held<'_>, Refused> {
        let permit = self.limiter.acquire_timeout(&requests(cost), timeout)?;
        Ok(self.admitted(permit, cost))
    }

    pub fn try_acquire(&self, cost: u64) -> Option<Held<'_>> {
        let permit = self.limiter.try_acquire(&requests(cost)).ok()?;
        Some(self.admitted(permit, cost))
    }

    pub fn enqueue(&self, cost: u64) -> Ticket {
        self.limiter.enqueue(&requests(cost), None, 0).unwrap()
    }

    /// The permit, if the ticket has been granted.
    pub fn poll(&self, ticket: &mut Ticket, cost: u64) -> Option<Held<'_>> {
        match self.limiter.poll(ticket) {
            Progress::Held(permit) => Some(self.admitted(permit, cost)),
            _ => None,
        }
    }

    pub fn kept(&self) -> i64 {
        self.kept.load(SeqCst)
    }

    /// Nobody waits, no slot is lost, and every bucket holds exactly what was produced less what was kept.
    ///
    /// For schedules in which no bucket overflows.
    pub fn is_settled(&self, buckets: usize, supply: i64) {
        self.is_quiet();
        for index in 0..buckets {
            let available = self.limiter.limit_state(index).unwrap().available;
            assert_eq!(available, supply - self.kept(), "bucket {index}");
        }
    }

    /// Nobody waits, and no slot is lost.
    pub fn is_quiet(&self) {
        let stats = self.limiter.stats();
        assert_eq!(stats.waiting, 0, "{stats:?}");
        assert_eq!(self.held.load(SeqCst), 0);
        if self.slots < i64::MAX {
            assert_eq!(stats.in_flight, 0, "{stats:?}");
        }
    }
}

impl Held<'_> {
    pub fn release(mut self) {
        self.world.held.fetch_sub(1, SeqCst);
        self.permit.take().unwrap().release();
    }

    /// Gives everything back.
    pub fn cancel(mut self) {
        self.world.held.fetch_sub(1, SeqCst);
        self.world.kept.fetch_sub(self.cost, SeqCst);
        self.permit.take().unwrap().cancel();
    }
}

pub fn spawn(
    world: &Arc<World>,
    task: impl FnOnce(&World) + Send + 'static,
) -> thread::JoinHandle<()> {
    let world = world.clone();
    thread::spawn(move || task(&world))
}

pub mod scenarios {
    use super::*;

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

    /// A helper stalls between its look at the gate and at the head, while the short counter of heads goes round:
    /// what the gate said then was about another ticket. For builds with tiny fields.
    pub fn gate_of_another_lap(heads: u64) {
        let world = world(1, 2, 0, 2);
        world.acquire(1).unwrap().release();
        // Granted through the queue, so that the gate says "granted" of ticket 0.
        let mut first = world.enqueue(1);
        world.poll(&mut first, 1).unwrap().release();
        let gone = world.enqueue(1);
        let last = Arc::new(std::sync::Mutex::new(None));
        let joiner = spawn(&world, {
            let last = last.clone();
            move |world| {
                world.limiter.cancel(gone);
                for _ in 2..heads {
                    let ticket = world.enqueue(1);
                    world.limiter.cancel(ticket);
                }
                let ticket = world.enqueue(1);
                *last.lock().unwrap() = Some(ticket);
            }
        });
        assert!(world.try_acquire(1).is_none());
        joiner.join().unwrap();
        let mut last = last.lock().unwrap().take().unwrap();
        assert!(
            world.poll(&mut last, 1).is_none(),
            "granted from an empty bucket"
        );
        world.limiter.cancel(last);
        world.is_settled(1, 2);
    }

    /// A helper that has found the queue empty stalls before it says so, while the short counter of events goes
    /// round: those who have joined since must not be forgotten. For builds with tiny fields.
    pub fn empty_of_another_round(events: usize) {
        let world = world(1, 1, 0, events + 1);
        let held = world.acquire(1).unwrap();
        let gone = world.enqueue(1);
        let tickets = Arc::new(std::sync::Mutex::new(Vec::new()));
        let joiner = spawn(&world, {
            let tickets = tickets.clone();
            move |world| {
                for _ in 0..events {
                    let ticket = world.enqueue(1);
                    tickets.lock().unwrap().push(ticket);
                }
            }
        });
        world.limiter.cancel(gone);
        joiner.join().unwrap();
        held.cancel();
        for mut ticket in tickets.lock().unwrap().drain(..) {
            world.poll(&mut ticket, 1).expect("each in turn").cancel();
        }
        world.is_settled(1, 1);
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
        // A second slot, and so the event loop's grant and its wake.
        let waker = run(Box::new(|limiter| limiter.resize(2).unwrap()));
        let event_loop = run(Box::new(move |limiter| match limiter.poll(&mut ticket) {
            Progress::Held(permit) => permit.release(),
            _ => limiter.cancel(ticket),
        }));
        match limiter.acquire(&requests(1)) {
            Ok(permit) => permit.release(),
            Err(refused) => assert_eq!(refused, Refused::Full),
        }
        waker.join().unwrap();
        event_loop.join().unwrap();
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
}
