//! The scenarios that the model checkers run, and what must hold at the end of each schedule.
//!
//! The clock is the manual one and moves only when a scenario says so; sleeping is a modelled condition
//! variable that never times out. So there is no watchdog: a wake-up that is lost stays lost, and the checker
//! reports the deadlock.
//!
//! Counting happens in std's atomics, which the checkers do not see: it adds no schedules.

use llmrl::{
    Builder, Clock, Cost, Limit, Limiter, ManualClock, Meter, Permit, Progress, Refused, Ticket,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::time::Duration;

mod buckets;
mod changing;
mod fairness;
mod keys;
mod leaving;
mod rounds;
mod routing;
#[cfg(shuttle)]
pub mod storm;
mod taking;
mod waking;
mod windows;

#[cfg(loom)]
use loom::{sync, thread};
#[cfg(shuttle)]
use shuttle::{sync, thread};

pub mod scenarios {
    pub use super::{
        buckets::*, changing::*, fairness::*, keys::*, leaving::*, rounds::*, routing::*,
        taking::*, waking::*, windows::*,
    };
}

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
    let bucket = Limit::requests(1).per(SECOND).burst(burst);
    let builder = (0..buckets).fold(Limiter::builder(), |builder, _| builder.limit(bucket));
    // Without a bucket there is no end to the supply.
    let burst = match buckets {
        0 => i64::MAX / 2,
        _ => burst as i64,
    };
    world_of(builder, slots, burst, waiters)
}

fn world_of(builder: Builder, slots: u64, burst: i64, waiters: usize) -> Arc<World> {
    let clock = ManualClock::new(0);
    let mut builder = builder.max_waiters(waiters).clock(Clock::from(&clock));
    if slots > 0 {
        builder = builder.limit(Limit::in_flight(slots));
    }
    Arc::new(World {
        limiter: builder.build().unwrap(),
        clock,
        held: AtomicI64::new(0),
        slots: if slots > 0 { slots as i64 } else { i64::MAX },
        kept: AtomicI64::new(0),
        burst,
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

pub fn spawn<T: Send + 'static>(
    world: &Arc<World>,
    task: impl FnOnce(&World) -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let world = world.clone();
    thread::spawn(move || task(&world))
}
