//! Buckets by key: what a random access to as much memory costs, ours, and governor's.

use crate::floor;
use crate::measure::{Against::Admit, Case};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use llmrl::{BucketMap, Clock, Cost, Limit, Limiter, LimiterMap};
use std::hash::Hash;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const PLENTY: u64 = 1_000_000_000;
const SECOND: Duration = Duration::from_secs(1);

/// Of so many keys a random one, again and again; another sequence in each run.
struct Keys {
    state: u64,
    count: u64,
}

impl Keys {
    fn new(count: u64) -> Self {
        static RUNS: AtomicU64 = AtomicU64::new(1);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        Self {
            state: run.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            count,
        }
    }

    #[inline(always)]
    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        ((u128::from(self.state) * u128::from(self.count)) >> 64) as u64
    }
}

/// Nothing of the next request is begun before this one is done. Else the processor has several cache misses at a time, the
/// more of them the less there is to do in between: the floor would be of another kind than what is above it.
#[inline(always)]
fn one_at_a_time() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has the instruction.
    unsafe {
        core::arch::x86_64::_mm_lfence();
    }
}

/// A time stamp in a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Line(AtomicU64);

/// 16 bytes, made without a look at memory, so that what is measured is the look-up.
#[inline(always)]
fn text(key: u64) -> [u8; 16] {
    let mut text = *b"user-00000000000";
    text[8..].copy_from_slice(&key.to_le_bytes());
    text
}

fn case<'a>(name: &'static str, keys: u64, take: impl Fn(u64) -> bool + Sync + 'a) -> Case<'a> {
    // Every key is known before it is measured.
    (0..keys).for_each(|key| assert!(take(key)));
    Case::new(name, Admit, move |times| {
        let mut keys = Keys::new(keys);
        for _ in 0..times {
            black_box(take(keys.next()));
            one_at_a_time();
        }
    })
}

fn ours(keys: u64) -> BucketMap {
    let limit = Limit::tokens(PLENTY).per(SECOND);
    BucketMap::new(limit, keys as usize, &Clock::machine()).unwrap()
}

fn governor<K: Hash + Eq + Clone>() -> DefaultKeyedRateLimiter<K> {
    RateLimiter::keyed(Quota::per_second(NonZeroU32::new(PLENTY as u32).unwrap()))
}

/// Whole limiters, of which a million would need 6 GB.
const MOST_LIMITERS: u64 = 10_000;

fn limiters(keys: u64) -> Case<'static> {
    let limit = Limit::tokens(PLENTY).per(SECOND);
    let map = LimiterMap::new(Limiter::builder().limit(limit), keys as usize, 1).unwrap();
    case("LimiterMap, get and acquire", keys, move |key| {
        let limiter = map.get(&text(key)).unwrap();
        limiter.try_acquire(&Cost::tokens(1, 0)).is_ok()
    })
}

pub fn all(keys: u64) -> Vec<Case<'static>> {
    // As many lines as our table has.
    let lines: Vec<_> = (0..keys.div_ceil(2)).map(|_| Line::default()).collect();
    let (by_number, by_text) = (ours(keys), ours(keys));
    let (governed, governed_text) = (governor(), governor());
    let mut cases = vec![
        case("floor F of a random line", keys, move |key| {
            let Line(stamp) = &lines[(key / 2) as usize];
            floor::advance(stamp, 1, u64::MAX >> 2, floor::now())
        }),
        case("BucketMap, number", keys, move |key| {
            by_number.try_take(key, 1).is_ok()
        })
        .target(1.40),
        case("BucketMap, 16 bytes", keys, move |key| {
            by_text.try_take(&text(key), 1).is_ok()
        })
        .target(1.40),
        case("governor check_key, number", keys, move |key| {
            governed.check_key(&key).is_ok()
        }),
        case("governor check_key, 16 bytes", keys, move |key| {
            governed_text.check_key(&text(key)).is_ok()
        }),
    ];
    if keys <= MOST_LIMITERS {
        cases.push(limiters(keys));
    }
    cases
}
