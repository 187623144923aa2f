//! Token bucket, by itself
//!
//! One limit without a queue, for those who want no more. Taking is one reading of the
//! clock and one atomic exchange; a refusal writes nothing. What n counts is the
//! caller's business.
//!
//! Over any interval, what is taken less what is refunded is at most the burst plus
//! what the interval produces.

use super::clock::{clock_of, llmrl_clock};
use super::limit::llmrl_limit;
use super::status::*;
use super::{Magic, Message, Object, give, guard, period, read, take_back, wait_ns, with, write};
use crate::limit::{Cost, TokenBucket};
use std::ffi::c_char;
use std::time::Duration;

/// A token bucket without a queue.
// In disguise, or cbindgen would put the fields into the header.
#[cfg_attr(all(), repr(C))]
pub struct llmrl_bucket {
    magic: Magic,
    bucket: TokenBucket,
}

// SAFETY: it is laid out as in C, and the magic word comes first.
unsafe impl Object for llmrl_bucket {
    const MAGIC: u64 = u64::from_be_bytes(*b"llmrlbkt");
}

/// An amount that C gave: nothing at all is a mistake, as it is in a request.
pub(super) fn amount(n: u64) -> Result<u64, llmrl_status> {
    if (1..=Cost::MAX).contains(&n) {
        Ok(n)
    } else {
        Err(LLMRL_ERR_COST)
    }
}

/// Makes a bucket for a limit of the kind LLMRL_TOKEN_BUCKET. clock is NULL for the
/// machine's. message is as in llmrl_limiter_new(). Free it with llmrl_bucket_free().
///
/// Returns LLMRL_OK; LLMRL_ERR_RANGE or LLMRL_ERR_FLAGS, with a message; LLMRL_ERR_NULL if
/// limit or out is; LLMRL_ERR_HANDLE if clock is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_bucket_new(
    limit: *const llmrl_limit,
    clock: *const llmrl_clock,
    out: *mut *mut llmrl_bucket,
    message: *mut c_char,
    message_size: usize,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    let message = unsafe { Message::new(message, message_size) };
    guard(None, || {
        // SAFETY: what C promises of the pointers it gives.
        unsafe {
            let limit = read(limit)?
                .to_limit()
                .map_err(|wrong| message.about_limit(None, wrong))?;
            let clock = clock_of(clock)?;
            let bucket = TokenBucket::new(limit, &clock).map_err(|error| {
                message.about_limit(None, (LLMRL_ERR_RANGE, error.error.to_string()))
            })?;
            give(
                out,
                llmrl_bucket {
                    magic: Magic::of::<llmrl_bucket>(),
                    bucket,
                },
            )
        }
    })
}

/// Takes n now, or nothing.
///
/// - LLMRL_OK: they are the caller's.
/// - LLMRL_REFUSED: there are not enough. *wait_ns, if wait_ns is not NULL, is the time
///   after which the same take succeeds, absent others, and a nanosecond before which it
///   does not; or LLMRL_FOREVER, if no clock runs for so long. To find that out is most of
///   what a refusal costs.
/// - LLMRL_ERR_NEVER: more than the bucket ever holds.
/// - LLMRL_ERR_COST: n is 0 or above 2^40 - 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_bucket_try_take(
    b: *const llmrl_bucket,
    n: u64,
    wait_ns: *mut u64,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(b, |b| match b.bucket.try_take(amount(n)?) {
            Ok(()) => Ok(LLMRL_OK),
            Err(short) if short.is_never() => Err(LLMRL_ERR_NEVER),
            Err(short) => {
                if !wait_ns.is_null() {
                    write(wait_ns, self::wait_ns(short.wait()));
                }
                Ok(LLMRL_REFUSED)
            }
        })
    }
}

/// Gives back n of what was taken. The bucket never holds more than its burst.
///
/// Returns LLMRL_OK or LLMRL_ERR_COST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_bucket_refund(b: *const llmrl_bucket, n: u64) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(b, |b| {
            b.bucket.refund(amount(n)?).map_err(|_| LLMRL_ERR_COST)?;
            Ok(LLMRL_OK)
        })
    }
}

/// Counts n that were used without asking. The bucket may go below zero; nothing is
/// admitted until that is made good.
///
/// Returns LLMRL_OK or LLMRL_ERR_COST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_bucket_charge(b: *const llmrl_bucket, n: u64) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(b, |b| {
            b.bucket.charge(amount(n)?).map_err(|_| LLMRL_ERR_COST)?;
            Ok(LLMRL_OK)
        })
    }
}

/// Another rate and burst from now on, with the ranges and defaults of llmrl_limit.
/// What is in the bucket stays, as far as the new burst allows, and so does the part of
/// a token that was under way.
///
/// Returns LLMRL_OK or LLMRL_ERR_RANGE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_bucket_retune(
    b: *const llmrl_bucket,
    amount: u64,
    period_ns: u64,
    burst: u64,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(b, |b| {
            let burst = if burst == 0 { amount } else { burst };
            b.bucket
                .retune(amount, period(period_ns), burst)
                .map_err(|_| LLMRL_ERR_RANGE)?;
            Ok(LLMRL_OK)
        })
    }
}

/// Admits nothing for duration_ns from now, whatever an earlier pause said; 0 resumes.
/// The bucket fills meanwhile.
///
/// Returns LLMRL_OK.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_bucket_pause(
    b: *const llmrl_bucket,
    duration_ns: u64,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(b, |b| {
            b.bucket.pause(Duration::from_nanos(duration_ns));
            Ok(LLMRL_OK)
        })
    }
}

/// What could be taken now; negative is debt.
///
/// Returns LLMRL_OK or LLMRL_ERR_NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_bucket_available(
    b: *const llmrl_bucket,
    out: *mut i64,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(b, |b| {
            if out.is_null() {
                return Err(LLMRL_ERR_NULL);
            }
            write(out, b.bucket.available());
            Ok(LLMRL_OK)
        })
    }
}

/// Gives the bucket up; NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_bucket_free(b: *mut llmrl_bucket) {
    // SAFETY: what C promises of the pointers it gives.
    unsafe { take_back(b, |b| &b.magic) }
}
