//! What no exact limiter can do without: a reading of a clock, a load and a compare-exchange.

use std::sync::atomic::{AtomicU64, Ordering};

/// The machine and the clock behind the floor.
pub fn machine(processors: usize) -> String {
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown processor", |rest| {
        rest.trim_matches([' ', '\t', ':'])
    });
    format!("{model}, {processors} processors; the floor's clock is {CLOCK}")
}

#[cfg(target_arch = "x86_64")]
const CLOCK: &str = "rdtsc";
#[cfg(not(target_arch = "x86_64"))]
const CLOCK: &str = "CLOCK_MONOTONIC";

/// Ticks of about half a nanosecond, or nanoseconds.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: every x86-64 processor has the instruction.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub fn now() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a local.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Counter reads that wait for what stands before them, for comparison.
#[cfg(target_arch = "x86_64")]
pub mod ordered {
    #[inline(always)]
    pub fn fenced() -> u64 {
        // SAFETY: every x86-64 processor has both instructions.
        unsafe {
            core::arch::x86_64::_mm_lfence();
            core::arch::x86_64::_rdtsc()
        }
    }

    #[inline(always)]
    pub fn rdtscp() -> u64 {
        let mut processor = 0;
        // SAFETY: the processors that this is run on have the instruction; the pointer is to a local.
        unsafe { core::arch::x86_64::__rdtscp(&mut processor) }
    }
}

/// The smallest limiter there is: one time stamp, which an admission moves on by `cost`.
#[repr(align(128))]
pub struct Floor {
    stamp: AtomicU64,
    cost: u64,
    burst: u64,
}

impl Floor {
    /// Never refuses.
    pub fn admitting() -> Self {
        Self {
            stamp: AtomicU64::new(0),
            cost: 1,
            burst: u64::MAX >> 2,
        }
    }

    /// Never admits.
    pub fn refusing() -> Self {
        Self {
            stamp: AtomicU64::new(u64::MAX >> 1),
            cost: 1,
            burst: 1,
        }
    }

    #[inline(always)]
    pub fn try_take(&self) -> bool {
        self.try_take_at(now())
    }

    #[inline(always)]
    pub fn try_take_at(&self, now: u64) -> bool {
        advance(&self.stamp, self.cost, self.burst, now)
    }
}

/// Moves a time stamp on by `cost`, unless it would be ahead of `now` by more than `burst`.
#[inline(always)]
pub fn advance(stamp: &AtomicU64, cost: u64, burst: u64, now: u64) -> bool {
    let mut seen = stamp.load(Ordering::Acquire);
    loop {
        let next = seen.max(now) + cost;
        if next - now > burst {
            return false;
        }
        match stamp.compare_exchange(seen, next, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return true,
            Err(other) => seen = other,
        }
    }
}
