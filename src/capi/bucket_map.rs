//! Token buckets by key
//!
//! One bucket for each user, address or tenant, all with the same limit, for services
//! that refuse rather than let wait. A key that was not seen before has a full bucket.
//!
//! ```c
//! llmrl_limit limit = {.kind = LLMRL_TOKEN_BUCKET, .meter = LLMRL_REQUESTS, .amount = 60};
//! llmrl_bucket_map *users;
//! llmrl_bucket_map_new(&limit, 100000, 0, NULL, &users, NULL, 0);
//!
//! uint64_t wait_ns;
//! if (llmrl_bucket_map_try_take(users, name, strlen(name), 1, &wait_ns) == LLMRL_REFUSED)
//!     ...                                                Retry-After: wait_ns
//! ```
//!
//! The memory is taken when the map is made: 32.25 bytes for each key of the capacity, and
//! 5 KiB. Twice as many buckets fit. One that has become full again, whose key is nothing
//! to remember by, may give way to another key's. No other bucket does: a key that has used
//! up what it has gets nothing new before it is due, however many keys come by.
//!
//! Keys are 1 to 65536 bytes; a number is passed as its bytes. They are told apart by a
//! hash of 64 bits under a random secret, so nobody can choose keys that meet. Two that
//! meet by chance share a bucket.

use super::bucket::amount;
use super::clock::{clock_of, llmrl_clock};
use super::limit::llmrl_limit;
use super::status::*;
use super::{
    Answer, Magic, Message, Object, Plain, copy_out, give, guard, key_of, read, take_back, wait_ns,
    with, write,
};
use crate::buckets::{BucketMap, Denied, Key, Overflow};
use std::ffi::{c_char, c_void};

/// As a flag of llmrl_bucket_map_new(): a new key for which there is no room is answered
/// with LLMRL_ERR_FULL. Without this it shares a bucket with others in its place, until
/// that is full again: it may be refused because of them, and never gets more; what is
/// refunded to it is lost.
pub const LLMRL_REFUSE_WITHOUT_ROOM: u32 = 1;

/// Token buckets by key.
// In disguise, or cbindgen would put the fields into the header.
#[cfg_attr(all(), repr(C))]
pub struct llmrl_bucket_map {
    magic: Magic,
    buckets: BucketMap,
}

// SAFETY: it is laid out as in C, and the magic word comes first.
unsafe impl Object for llmrl_bucket_map {
    const MAGIC: u64 = u64::from_be_bytes(*b"llmrlbmp");
}

/// Counted since the map was made. May grow at the end in later versions, so its size is
/// passed along with it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct llmrl_bucket_map_stats {
    /// Keys that have a bucket of their own, those included whose bucket is full and
    /// waits for somebody else to need it: up to twice the capacity.
    pub keys: u64,
    /// How often a full bucket gave way to another key's.
    pub evictions: u64,
    /// Calls that found no room for their key. If these are not rare, the capacity is
    /// too small.
    pub overflows: u64,
}

// SAFETY: integers of one size.
unsafe impl Plain for llmrl_bucket_map_stats {}

/// Makes a map of buckets for a limit of the kind LLMRL_TOKEN_BUCKET without
/// LLMRL_START_EMPTY, with room for capacity keys at a time, 1 to 2^30. flags is
/// LLMRL_REFUSE_WITHOUT_ROOM or 0. clock is NULL for the machine's. message is as in
/// llmrl_limiter_new(). Free it with llmrl_bucket_map_free().
///
/// Returns LLMRL_OK; LLMRL_ERR_RANGE or LLMRL_ERR_FLAGS, with a message; LLMRL_ERR_NULL if
/// limit or out is; LLMRL_ERR_HANDLE if clock is none; LLMRL_ERR_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_bucket_map_new(
    limit: *const llmrl_limit,
    capacity: usize,
    flags: u32,
    clock: *const llmrl_clock,
    out: *mut *mut llmrl_bucket_map,
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
            let overflow = match flags {
                0 => Overflow::Share,
                LLMRL_REFUSE_WITHOUT_ROOM => Overflow::Refuse,
                _ => {
                    let text = format!("flags = {flags} is outside 0..=1");
                    return Err(message.explain(LLMRL_ERR_FLAGS, text));
                }
            };
            let clock = clock_of(clock)?;
            if out.is_null() {
                return Err(LLMRL_ERR_NULL);
            }
            let buckets = BucketMap::open(limit, capacity, &clock).map_err(|error| match error
                .error
                .field
            {
                "capacity" => message.explain(LLMRL_ERR_RANGE, error.error),
                _ => message.about_limit(None, (LLMRL_ERR_RANGE, error.error.to_string())),
            })?;
            give(
                out,
                llmrl_bucket_map {
                    magic: Magic::of::<llmrl_bucket_map>(),
                    buckets: buckets.ok_or(LLMRL_ERR_MEMORY)?.overflow(overflow),
                },
            )
        }
    })
}

/// Runs `body` on a map with a key.
///
/// # Safety
/// `m` as in [`with`], `key` as in [`key_of`].
unsafe fn with_key(
    m: *const llmrl_bucket_map,
    key: *const c_void,
    size: usize,
    body: impl FnOnce(&BucketMap, Key<'_>) -> Answer,
) -> llmrl_status {
    // SAFETY: passed on.
    unsafe {
        with(m, |m| {
            let key = key_of(key, size, Key::MAX_LEN)?;
            body(&m.buckets, Key::Bytes(key))
        })
    }
}

/// What is left when it was no refusal for a time.
fn status_of(denied: &Denied) -> llmrl_status {
    match denied {
        Denied::Short(_) => LLMRL_ERR_NEVER,
        Denied::Crowded => LLMRL_ERR_FULL,
        Denied::Invalid(_) => LLMRL_ERR_RANGE,
    }
}

/// Takes n from the bucket of the key of key_size bytes now, or nothing.
///
/// - LLMRL_OK: they are the caller's.
/// - LLMRL_REFUSED: there are not enough; wait_ns is as in llmrl_bucket_try_take().
/// - LLMRL_ERR_NEVER: more than a bucket ever holds.
/// - LLMRL_ERR_FULL: no room; only with LLMRL_REFUSE_WITHOUT_ROOM.
/// - LLMRL_ERR_COST: n is 0 or above 2^40 - 1.
/// - LLMRL_ERR_RANGE: key_size is 0 or above 65536.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_bucket_map_try_take(
    m: *const llmrl_bucket_map,
    key: *const c_void,
    key_size: usize,
    n: u64,
    wait_ns: *mut u64,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with_key(m, key, key_size, |buckets, key| {
            match buckets.try_take(key, amount(n)?) {
                Ok(()) => Ok(LLMRL_OK),
                Err(Denied::Short(short)) if !short.is_never() => {
                    if !wait_ns.is_null() {
                        write(wait_ns, self::wait_ns(short.wait()));
                    }
                    Ok(LLMRL_REFUSED)
                }
                Err(denied) => Err(status_of(&denied)),
            }
        })
    }
}

/// Gives back n of what was taken for this key. No bucket ever holds more than its burst.
///
/// Returns LLMRL_OK, LLMRL_ERR_COST or LLMRL_ERR_RANGE, as llmrl_bucket_map_try_take().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_bucket_map_refund(
    m: *const llmrl_bucket_map,
    key: *const c_void,
    key_size: usize,
    n: u64,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with_key(m, key, key_size, |buckets, key| {
            let refunded = buckets.refund(key, amount(n)?);
            refunded.map_err(|denied| status_of(&denied))?;
            Ok(LLMRL_OK)
        })
    }
}

/// Counts n that were used for this key without asking. The bucket may go below zero;
/// nothing is admitted for the key until that is made good.
///
/// Returns LLMRL_OK, LLMRL_ERR_COST, LLMRL_ERR_RANGE or LLMRL_ERR_FULL, as
/// llmrl_bucket_map_try_take().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_bucket_map_charge(
    m: *const llmrl_bucket_map,
    key: *const c_void,
    key_size: usize,
    n: u64,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with_key(m, key, key_size, |buckets, key| {
            let charged = buckets.charge(key, amount(n)?);
            charged.map_err(|denied| status_of(&denied))?;
            Ok(LLMRL_OK)
        })
    }
}

/// What could be taken for this key now; negative is debt.
///
/// Returns LLMRL_OK, LLMRL_ERR_RANGE or LLMRL_ERR_NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_bucket_map_available(
    m: *const llmrl_bucket_map,
    key: *const c_void,
    key_size: usize,
    out: *mut i64,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with_key(m, key, key_size, |buckets, key| {
            if out.is_null() {
                return Err(LLMRL_ERR_NULL);
            }
            write(out, buckets.available(key).map_err(|_| LLMRL_ERR_RANGE)?);
            Ok(LLMRL_OK)
        })
    }
}

/// Reads the counters; out_size is sizeof *out.
///
/// Returns LLMRL_OK, LLMRL_ERR_NULL or LLMRL_ERR_SIZE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_bucket_map_read_stats(
    m: *const llmrl_bucket_map,
    out: *mut llmrl_bucket_map_stats,
    out_size: usize,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(m, |m| {
            let stats = llmrl_bucket_map_stats {
                keys: m.buckets.len(),
                evictions: m.buckets.evictions(),
                overflows: m.buckets.overflows(),
            };
            copy_out(out, out_size, &stats)
        })
    }
}

/// Gives the map up; NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_bucket_map_free(m: *mut llmrl_bucket_map) {
    // SAFETY: what C promises of the pointers it gives.
    unsafe { take_back(m, |m| &m.magic) }
}
