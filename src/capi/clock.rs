//! Manual clock
//!
//! A limiter keeps the machine's monotonic time, unless it is given a clock that is
//! moved by hand. Then nothing in it happens by itself, and a test can go through an
//! hour of waiting in a microsecond, exactly:
//!
//! ```c
//! llmrl_clock *clock;
//! llmrl_clock_new(0, &clock);
//! llmrl_options options = {0};
//! options.clock = clock;
//! llmrl_limiter_new(limits, 2, &options, sizeof options, &limiter, NULL, 0);
//! ...
//! llmrl_clock_advance(clock, 60 * UINT64_C(1000000000));     a minute has passed
//! ```
//!
//! Many limiters and buckets may share one clock. Each keeps it alive for itself, so it
//! may be freed before them.

use super::status::*;
use super::{Magic, Object, give, guard, live, take_back, with, write};
use crate::clock::{Clock, ManualClock};
use std::time::Duration;

/// A clock that is moved by hand.
// In disguise, or cbindgen would put the fields into the header.
#[cfg_attr(all(), repr(C))]
pub struct llmrl_clock {
    magic: Magic,
    clock: ManualClock,
}

// SAFETY: it is laid out as in C, and the magic word comes first.
unsafe impl Object for llmrl_clock {
    const MAGIC: u64 = u64::from_be_bytes(*b"llmrlclk");
}

/// The clock that C has chosen: the machine's, if none is given.
///
/// # Safety
/// As [`live`].
pub(super) unsafe fn clock_of(clock: *const llmrl_clock) -> Result<Clock, llmrl_status> {
    if clock.is_null() {
        return Ok(Clock::machine());
    }
    // SAFETY: passed on.
    Ok(Clock::from(&unsafe { live(clock) }?.clock))
}

/// Makes a clock that shows start_ns nanoseconds, of which only differences ever matter.
/// Free it with llmrl_clock_free().
///
/// Returns LLMRL_OK or LLMRL_ERR_NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_clock_new(
    start_ns: u64,
    out: *mut *mut llmrl_clock,
) -> llmrl_status {
    guard(None, || {
        let clock = llmrl_clock {
            magic: Magic::of::<llmrl_clock>(),
            clock: ManualClock::new(start_ns),
        };
        // SAFETY: what C promises of the pointers it gives.
        unsafe { give(out, clock) }
    })
}

/// Moves the clock forward and wakes all whose time has come: threads in llmrl_acquire(),
/// and tickets by their callback, on this thread, before the function returns. The clock
/// stops at 2^62 - 1 nanoseconds, after 146 years.
///
/// Returns LLMRL_OK.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_clock_advance(clock: *const llmrl_clock, ns: u64) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(clock, |clock| {
            clock.clock.advance(Duration::from_nanos(ns));
            Ok(LLMRL_OK)
        })
    }
}

/// Reads what the clock shows.
///
/// Returns LLMRL_OK or LLMRL_ERR_NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_clock_now(clock: *const llmrl_clock, ns: *mut u64) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(clock, |clock| {
            if ns.is_null() {
                return Err(LLMRL_ERR_NULL);
            }
            write(ns, clock.clock.now_ns());
            Ok(LLMRL_OK)
        })
    }
}

/// Gives the clock up; NULL is allowed. Limiters and buckets that have it go on with
/// it, at the time that it shows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_clock_free(clock: *mut llmrl_clock) {
    // SAFETY: what C promises of the pointers it gives.
    unsafe { take_back(clock, |clock| &clock.magic) }
}
