//! In-flight limit, by itself
//!
//! How many are inside at the same time, without a queue. Entering and leaving are one
//! atomic exchange each.

use super::status::*;
use super::{Magic, Object, give, guard, take_back, with, write};
use crate::limit::InFlight;

/// An in-flight limit without a queue.
// In disguise, or cbindgen would put the fields into the header.
#[cfg_attr(all(), repr(C))]
pub struct llmrl_in_flight {
    magic: Magic,
    in_flight: InFlight,
}

// SAFETY: it is laid out as in C, and the magic word comes first.
unsafe impl Object for llmrl_in_flight {
    const MAGIC: u64 = u64::from_be_bytes(*b"llmrlinf");
}

/// Makes one that lets limit inside, 1 to 524287. Free it with llmrl_in_flight_free().
///
/// Returns LLMRL_OK, LLMRL_ERR_RANGE or LLMRL_ERR_NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_in_flight_new(
    limit: u64,
    out: *mut *mut llmrl_in_flight,
) -> llmrl_status {
    guard(None, || {
        let in_flight = llmrl_in_flight {
            magic: Magic::of::<llmrl_in_flight>(),
            in_flight: InFlight::new(limit).map_err(|_| LLMRL_ERR_RANGE)?,
        };
        // SAFETY: what C promises of the pointers it gives.
        unsafe { give(out, in_flight) }
    })
}

/// Goes in, if there is room.
///
/// - LLMRL_OK: the caller is inside, and leaves with llmrl_in_flight_leave().
/// - LLMRL_REFUSED: there is no room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_in_flight_try_enter(g: *const llmrl_in_flight) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(g, |g| {
            Ok(if g.in_flight.try_enter() {
                LLMRL_OK
            } else {
                LLMRL_REFUSED
            })
        })
    }
}

/// Goes out.
///
/// Returns LLMRL_OK, or LLMRL_ERR_STALE if nobody is inside: somebody has left twice.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_in_flight_leave(g: *const llmrl_in_flight) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(g, |g| {
            if g.in_flight.leave() {
                Ok(LLMRL_OK)
            } else {
                Err(LLMRL_ERR_STALE)
            }
        })
    }
}

/// Another limit from now on. Nobody is thrown out: below the present count, it lets
/// nobody in until enough have left.
///
/// Returns LLMRL_OK or LLMRL_ERR_RANGE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_in_flight_resize(
    g: *const llmrl_in_flight,
    limit: u64,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(g, |g| {
            g.in_flight.resize(limit).map_err(|_| LLMRL_ERR_RANGE)?;
            Ok(LLMRL_OK)
        })
    }
}

/// How many are inside.
///
/// Returns LLMRL_OK or LLMRL_ERR_NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_in_flight_count(
    g: *const llmrl_in_flight,
    count: *mut u64,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(g, |g| {
            if count.is_null() {
                return Err(LLMRL_ERR_NULL);
            }
            write(count, g.in_flight.count());
            Ok(LLMRL_OK)
        })
    }
}

/// Gives it up; NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_in_flight_free(g: *mut llmrl_in_flight) {
    // SAFETY: what C promises of the pointers it gives.
    unsafe { take_back(g, |g| &g.magic) }
}
