//! Refunds mint nothing: what was really used stays within burst and production, whenever the rest is given back.

use crate::config;
use llmrl::{Clock, Cost, Limit, Limiter, ManualClock, Permit, TokenBucket};
use proptest::prelude::*;
use std::time::Duration;

const MS: u64 = 1_000_000;
/// Tokens a second, and what a full bucket holds.
const RATE: u64 = 100;
const BURST: u64 = 1_000;

fn limit() -> Limit {
    Limit::tokens(60 * RATE).burst(BURST)
}

/// A request: how long after the one before, what it reserves, what of that it will have used when it is over.
#[derive(Clone, Debug)]
struct Request {
    after_ms: u64,
    reserves: u64,
    uses: u64,
    lasts_ms: u64,
}

fn requests() -> impl Strategy<Value = Vec<Request>> {
    let request = (0u64..400, 1u64..120, 0u64..=2, 0u64..20_000);
    let request = request.prop_map(|(after_ms, reserves, halves, lasts_ms)| Request {
        after_ms,
        reserves,
        uses: reserves * halves / 2,
        lasts_ms,
    });
    prop::collection::vec(request, 1..500)
}

trait Limits {
    type Held<'a>
    where
        Self: 'a;
    fn take(&self, n: u64) -> Option<Self::Held<'_>>;
    fn settle(&self, held: Self::Held<'_>, reserved: u64, used: u64);
}

impl Limits for Limiter {
    type Held<'a> = Permit<'a>;

    fn take(&self, n: u64) -> Option<Permit<'_>> {
        self.try_acquire(&Cost::tokens(n, 0)).ok()
    }

    fn settle(&self, held: Permit<'_>, _: u64, used: u64) {
        match used {
            0 => held.cancel(),
            _ => held.settle(&Cost::tokens(used, 0)).unwrap(),
        }
    }
}

/// What a bucket does by itself: it knows of no charge.
impl Limits for TokenBucket {
    type Held<'a> = ();

    fn take(&self, n: u64) -> Option<()> {
        self.try_take(n).ok()
    }

    fn settle(&self, (): (), reserved: u64, used: u64) {
        self.refund(reserved - used).unwrap();
    }
}

/// When what was used; the requests come as the clock is moved on, and whoever is refused does not come again.
fn used(limits: &impl Limits, clock: &ManualClock, requests: &[Request]) -> Vec<(u64, u64)> {
    let (mut held, mut used) = (Vec::new(), Vec::new());
    for request in requests {
        let at = clock.now_ns() + request.after_ms * MS;
        held.sort_by_key(|held: &(u64, _, _, _)| held.0);
        while held.first().is_some_and(|(over, ..)| *over <= at) {
            let (over, permit, reserved, uses) = held.remove(0);
            clock.advance(Duration::from_nanos(over - clock.now_ns()));
            limits.settle(permit, reserved, uses);
        }
        clock.advance(Duration::from_nanos(at - clock.now_ns()));
        if let Some(permit) = limits.take(request.reserves) {
            let over = at + request.lasts_ms * MS;
            held.push((over, permit, request.reserves, request.uses));
            used.push((at, request.uses));
        }
    }
    used
}

/// By how much more was used in some interval than the bucket held and produced.
fn overshoot(used: &[(u64, u64)]) -> u64 {
    // The most that was used beyond production in an interval that ends here.
    let (mut most, mut beyond, mut before) = (0, 0, 0);
    for &(at, n) in used {
        let produced = (at - before) * RATE / (1_000 * MS);
        beyond = u64::saturating_sub(beyond, produced) + n;
        most = most.max(beyond);
        before = at;
    }
    // Production is rounded down once for each.
    most.saturating_sub(BURST + used.len() as u64)
}

proptest! {
    #![proptest_config(config(100))]

    #[test]
    fn nothing_is_minted(requests in requests()) {
        let clock = ManualClock::new(0);
        let builder = Limiter::builder().limit(limit());
        let limiter = builder.clock(Clock::from(&clock)).build().unwrap();
        prop_assert_eq!(overshoot(&used(&limiter, &clock, &requests)), 0);
    }
}

/// The test above would notice: a bucket that takes back whatever it is given admits far too much.
#[test]
fn naive_refunds_mint() {
    let clock = ManualClock::new(0);
    let bucket = TokenBucket::new(limit(), &Clock::from(&clock)).unwrap();
    // A burst that is not used comes back when the bucket is full again, and behind it goes a burst that is used.
    let reserve = |uses: u64, after_ms: u64| Request {
        after_ms,
        reserves: 100,
        uses,
        lasts_ms: 9_000,
    };
    let requests: Vec<_> = (0..10)
        .map(|_| reserve(0, 1))
        .chain([reserve(100, 8_000)])
        .chain((0..30).map(|_| reserve(100, 100)))
        .collect();
    let minted = overshoot(&used(&bucket, &clock, &requests));
    assert!(minted > BURST / 2, "{minted}");
}

/// While a bucket is in demand, nearly all that is given back counts. (What is reserved at the end is not used.)
#[test]
fn a_busy_bucket_loses_nothing() {
    let clock = ManualClock::new(0);
    let limiter = Limiter::builder()
        .limit(limit())
        .clock(Clock::from(&clock))
        .build()
        .unwrap();
    let requests: Vec<_> = (0..20_000)
        .map(|i| Request {
            after_ms: 20,
            reserves: 40,
            uses: 20,
            lasts_ms: 3_000 + i % 2_000,
        })
        .collect();
    let used: u64 = used(&limiter, &clock, &requests)
        .iter()
        .map(|(_, n)| n)
        .sum();
    let allowed = BURST + 400 * RATE;
    assert!(
        used <= allowed && used + BURST >= allowed * 99 / 100,
        "{used} of {allowed}"
    );
}
