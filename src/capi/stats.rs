//! How a limiter stands
//!
//! What it has counted, what each of its limits would admit, and how to keep that over a
//! restart. To be looked at now and then; nothing here is needed for admitting.

use super::limit::*;
use super::limiter::{llmrl_limiter, wall_clock};
use super::status::*;
use super::{Plain, copy_out, wait_ns, with_limiter};
use crate::limit::Kind;
use crate::limiter::Mode;
use std::ffi::c_void;
use std::ptr;

/// Counted since the limiter was made. May grow at the end in later versions, so its
/// size is passed along with it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct llmrl_stats {
    /// Requests admitted, at once or after waiting.
    pub granted: u64,
    /// Requests refused, with LLMRL_REFUSED or an error.
    pub refused: u64,
    /// Waiting now, or with an outcome that has not been polled.
    pub waiting: u64,
    /// Permits held now, if there is an in-flight limit.
    pub in_flight: u64,
    /// Tickets cancelled.
    pub cancelled: u64,
    /// Waits that ended because their timeout had passed.
    pub timed_out: u64,
    /// Threads woken and callbacks called.
    pub wakes: u64,
    /// How long all who waited and were admitted have waited, together.
    pub wait_total_ns: u64,
    /// The longest of these waits.
    pub wait_max_ns: u64,
}

// SAFETY: integers of one size.
unsafe impl Plain for llmrl_stats {}

/// llmrl_limit_state.mode: it admits as it is configured, or as the provider says.
pub const LLMRL_NORMAL: u32 = 0;
/// llmrl_limit_state.mode: less or nothing, because the provider has refused.
pub const LLMRL_THROTTLED: u32 = 1;
/// llmrl_limit_state.mode: on its way back from there.
pub const LLMRL_RECOVERING: u32 = 2;

/// How one limit stands. May grow at the end in later versions, so its size is passed
/// along with it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct llmrl_limit_state {
    /// As in llmrl_limit, like the next four, with all changes since.
    pub kind: u32,
    /// See llmrl_limit.
    pub meter: u32,
    /// See llmrl_limit.
    pub amount: u64,
    /// See llmrl_limit; the default is spelled out.
    pub period_ns: u64,
    /// See llmrl_limit; the default is spelled out.
    pub burst: u64,
    /// What could be taken now: tokens, or permits. Negative: debt, or more held than a
    /// resize allows.
    pub available: i64,
    /// For how long it is still paused.
    pub paused_ns: u64,
    /// LLMRL_NORMAL to LLMRL_RECOVERING: what llmrl_feedback() has made of it.
    pub mode: u32,
    /// Zero.
    pub reserved0: u32,
}

// SAFETY: integers; those of half size fill one word together in pairs.
unsafe impl Plain for llmrl_limit_state {}

/// Reads the counters; out_size is sizeof *out. Costs a few loads and a lock that is
/// never held for long. Exact when nothing is going on; otherwise the numbers are of
/// slightly different instants.
///
/// Returns LLMRL_OK, LLMRL_ERR_SIZE or LLMRL_ERR_NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_limiter_stats(
    l: *const llmrl_limiter,
    out: *mut llmrl_stats,
    out_size: usize,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with_limiter(l, |l| {
            let stats = l.limiter.stats();
            let stats = llmrl_stats {
                granted: stats.granted,
                refused: stats.refused,
                waiting: stats.waiting,
                in_flight: stats.in_flight,
                cancelled: stats.cancelled,
                timed_out: stats.timed_out,
                wakes: stats.wakes,
                wait_total_ns: wait_ns(Some(stats.wait_total)),
                wait_max_ns: wait_ns(Some(stats.wait_max)),
            };
            copy_out(out, out_size, &stats)
        })
    }
}

/// Reads how the limit of that index stands; out_size is sizeof *out.
///
/// Returns LLMRL_OK, LLMRL_ERR_INDEX, LLMRL_ERR_SIZE or LLMRL_ERR_NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_limiter_limit_state(
    l: *const llmrl_limiter,
    index: u32,
    out: *mut llmrl_limit_state,
    out_size: usize,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe { with_limiter(l, |l| copy_out(out, out_size, &l.state(index)?)) }
}

/// Writes what has been used of each limit, to be kept over a restart and given to
/// llmrl_limiter_new() as options->saved: for limits of a day or a month. now_ns is the
/// wall-clock time, nanoseconds since 1970; 0 for the system's. What is reserved counts
/// as used; permits and waiters are not saved. To be called when nothing goes on; else
/// each limit is saved at an instant of its own.
///
/// - LLMRL_OK: *size bytes were written to buffer, which has room for buffer_size.
/// - LLMRL_ERR_SIZE: there is too little room. *size says how much is needed, now; it is
///   the one case in which something is written with an error. buffer may be NULL then.
/// - LLMRL_ERR_NULL: size, or buffer although there would be room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_limiter_save(
    l: *const llmrl_limiter,
    now_ns: u64,
    buffer: *mut c_void,
    buffer_size: usize,
    size: *mut usize,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with_limiter(l, |l| {
            if size.is_null() {
                return Err(LLMRL_ERR_NULL);
            }
            let bytes = l.limiter.save(wall_clock(now_ns));
            let fits = bytes.len() <= buffer_size;
            if fits && buffer.is_null() {
                return Err(LLMRL_ERR_NULL);
            }
            size.write_unaligned(bytes.len());
            if !fits {
                return Err(LLMRL_ERR_SIZE);
            }
            ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.cast(), bytes.len());
            Ok(LLMRL_OK)
        })
    }
}

impl llmrl_limiter {
    pub(super) fn state(&self, index: u32) -> Result<llmrl_limit_state, llmrl_status> {
        let state = self.limiter.limit_state(index as usize);
        let state = state.map_err(|_| LLMRL_ERR_INDEX)?;
        let (available, paused_ns) = (state.available, wait_ns(Some(state.paused)));
        let mode = match state.mode {
            Mode::Normal => LLMRL_NORMAL,
            Mode::Throttled => LLMRL_THROTTLED,
            Mode::Recovering => LLMRL_RECOVERING,
        };
        Ok(match state.limit.0 {
            Kind::Quota(quota) => llmrl_limit_state {
                kind: quota.shape as u32,
                meter: quota.meter.number(),
                amount: quota.amount,
                period_ns: quota.period_ns,
                burst: quota.holds(),
                available,
                paused_ns,
                mode,
                reserved0: 0,
            },
            Kind::InFlight(slots) => llmrl_limit_state {
                kind: LLMRL_IN_FLIGHT,
                meter: 0,
                amount: slots,
                period_ns: 0,
                burst: 0,
                available,
                paused_ns,
                mode,
                reserved0: 0,
            },
        })
    }
}
