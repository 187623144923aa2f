//! Maps for long: memory that stays flat, and keys that come and go on two threads. `make soak` gives it a million keys and a minute
//! (`LLMRL_SOAK_KEYS`, `LLMRL_SOAK_SECONDS`), with ThreadSanitizer `make test-tsan`; else it is short.
#![cfg(not(any(loom, shuttle)))]

use llmrl::{BucketMap, Clock, Cost, Limit, Limiter, LimiterMap, ManualClock, Refused};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Counts the bytes that are allocated: resident memory is also what others in the process have, and what a sanitizer adds.
struct Counting;

static ALLOCATED: AtomicI64 = AtomicI64::new(0);

// SAFETY: everything is done by the system's allocator, as it is asked.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size() as i64, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size() as i64, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// One test at a time: they share the memory that is counted, and the processors.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn keys_leave_no_trace() {
    let _alone = alone();
    let keys = setting("LLMRL_SOAK_KEYS", 20_000) as u32;
    let hand = ManualClock::new(0);
    let limit = Limit::requests(1).per(Duration::from_secs(1));
    let template = Limiter::builder().limit(limit).clock(Clock::from(&hand));
    let map = LimiterMap::new(template, 1_000, 16).unwrap();
    let mut levels = Vec::new();
    for key in 0..keys {
        let limiter = map.get(&key.to_le_bytes()).unwrap();
        let _ = limiter.try_acquire(&Cost::request());
        // A tenth of the map is in use at a time.
        hand.advance(Duration::from_millis(10));
        if (key + 1) % (keys / 10) == 0 {
            levels.push(ALLOCATED.load(Relaxed) / 1024);
        }
    }
    let stats = map.snapshot(0);
    assert!(stats.keys <= 1_000, "{stats:?}");
    assert_eq!(stats.evictions + stats.keys as u64, u64::from(keys));
    println!("allocated, in KiB, after each tenth of {keys} keys: {levels:?}");
    // Half-way everything has its size.
    let (half, end) = (levels[4], levels[9]);
    assert!(end <= half + half / 10, "{levels:?}");
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Two threads run `step` with random numbers until the time is over.
fn two_threads(step: impl Fn(u64) + Sync) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in [1u64, 2] {
            let (step, is_over) = (&step, &is_over);
            scope.spawn(move || {
                let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                while !is_over.load(Relaxed) {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    step(random);
                }
            });
        }
        std::thread::sleep(Duration::from_secs(setting("LLMRL_SOAK_SECONDS", 2)));
        is_over.store(true, Relaxed);
    });
}

const KEYS: usize = 512;
const BURST: u64 = 5;
const PER_SECOND: u64 = 500;

/// For each key: what it was admitted, of which it may have a burst and what has come since the start.
struct Tally {
    start: Instant,
    admitted: Vec<AtomicU64>,
}

impl Tally {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            admitted: (0..KEYS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Some of those that are in use now; others come all the time, and those before them become full again.
    fn key(&self, random: u64) -> usize {
        let first = self.start.elapsed().as_millis() as usize * 4;
        (first + (random >> 20) as usize % 32) % KEYS
    }

    fn check(&self) {
        let most = BURST + self.start.elapsed().as_millis() as u64 * PER_SECOND / 1000 + 1;
        let admitted = self.admitted.iter().map(|admitted| admitted.load(Relaxed));
        for (key, admitted) in admitted.clone().enumerate() {
            assert!(admitted <= most, "key {key}: {admitted} of {most}");
        }
        assert!(admitted.sum::<u64>() > 0);
    }
}

#[test]
fn limiters_come_and_go_on_two_threads() {
    let _alone = alone();
    let limit = Limit::requests(PER_SECOND)
        .per(Duration::from_secs(1))
        .burst(BURST);
    let template = Limiter::builder().limit(limit).limit(Limit::in_flight(2));
    let map = LimiterMap::new(template, KEYS / 8, 4).unwrap();
    let tally = Tally::new();
    two_threads(|random| {
        let key = tally.key(random);
        let limiter = map.get(&key.to_le_bytes()).unwrap();
        let permit = match random % 8 {
            // Waits for a moment: the queue is made, and left again.
            0 => limiter.acquire_timeout(&Cost::request(), Duration::from_micros(50)),
            _ => limiter.try_acquire(&Cost::request()),
        };
        match permit {
            Ok(permit) => {
                tally.admitted[key].fetch_add(1, Relaxed);
                permit.release();
            }
            Err(Refused::NotNow { .. } | Refused::Deadline) => {}
            Err(other) => panic!("{other}"),
        }
    });
    tally.check();
    let stats = map.snapshot(0);
    assert!(stats.evictions > 0 && stats.keys <= KEYS / 8, "{stats:?}");
}

#[test]
fn buckets_come_and_go_on_two_threads() {
    let _alone = alone();
    let limit = Limit::requests(PER_SECOND)
        .per(Duration::from_secs(1))
        .burst(BURST);
    let map = BucketMap::new(limit, KEYS / 8, &Clock::machine()).unwrap();
    let tally = Tally::new();
    two_threads(|random| {
        let key = tally.key(random);
        if map.try_take(key as u64, 1).is_ok() {
            tally.admitted[key].fetch_add(1, Relaxed);
        }
    });
    tally.check();
    assert!(map.evictions() > 0);
}
