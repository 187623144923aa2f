//! Limiters by key
//!
//! One for each user, team or model, made when it is first asked for, in bounded memory. A
//! limiter is evicted only when nobody can tell it from a new one: full, idle, nobody
//! waiting, nothing held, no pause, and no handle out. So a key never gets a fresh budget
//! by having been forgotten.
//!
//! ```c
//! llmrl_map *users;
//! llmrl_map_new(limits, 2, NULL, 0, 10000, 16, &users, message, sizeof message);
//!
//! llmrl_limiter *alice;
//! llmrl_map_limiter(users, "alice", 5, &alice);      keep it while she is active
//! llmrl_acquire(alice, &cost, timeout, &permit);
//! llmrl_limiter_free(alice);
//! ```

use super::describe::{Sizes, describe, in_c, limits_of};
use super::limit::llmrl_limit;
use super::limiter::{llmrl_limiter, llmrl_options};
use super::status::*;
use super::{
    Magic, Message, Object, Plain, copy_in, copy_out, give, guard, key_of, take_back, with, write,
};
use crate::limiter::{Stats, next_serial};
use crate::map::{LimiterMap, MAX_KEY, MapError};
use std::ffi::{c_char, c_void};

/// Longest key, in bytes.
pub const LLMRL_MAX_KEY: u32 = 1024;
const _: () = assert!(LLMRL_MAX_KEY as usize == MAX_KEY);

/// llmrl_map_top(): by requests admitted.
pub const LLMRL_BY_USE: u32 = 0;
/// llmrl_map_top(): by who waits now.
pub const LLMRL_BY_WAITING: u32 = 1;

/// Many limiters. See llmrl_map_new().
// In disguise, or cbindgen would put the fields into the header.
#[cfg_attr(all(), repr(C))]
pub struct llmrl_map {
    magic: Magic,
    map: LimiterMap,
    /// Of the table of each handle.
    entries: usize,
}

// SAFETY: it is laid out as in C, and the magic word comes first.
unsafe impl Object for llmrl_map {
    const MAGIC: u64 = u64::from_be_bytes(*b"llmrlmap");
}

/// How a map stands. May grow at the end in later versions, so its size is passed along
/// with it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct llmrl_map_stats {
    /// Keys with a limiter of their own.
    pub keys: u64,
    /// Shared limiters that are in use.
    pub shared: u64,
    /// Limiters that were ever made.
    pub created: u64,
    /// Limiters that were evicted.
    pub evictions: u64,
    /// Keys that were refused because the map was full.
    pub full: u64,
    /// Requests admitted by all limiters, the evicted ones included.
    pub granted: u64,
    /// Requests refused by all limiters.
    pub refused: u64,
    /// Who waits now, at all of them.
    pub waiting: u64,
    /// Permits held now, of limiters with an in-flight limit.
    pub in_flight: u64,
}

// SAFETY: integers of one size.
unsafe impl Plain for llmrl_map_stats {}

/// One key of a map. May grow at the end in later versions, so its size is passed along
/// with it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct llmrl_map_key {
    /// Requests admitted since its limiter was made.
    pub granted: u64,
    /// Requests refused.
    pub refused: u64,
    /// Who waits now.
    pub waiting: u64,
    /// Permits held now.
    pub in_flight: u64,
    /// How long the key is, in bytes.
    pub key_size: u64,
    /// Its first 64 bytes, and zeros after them.
    pub key: [u8; 64],
}

// SAFETY: integers, the bytes among them a multiple of eight.
unsafe impl Plain for llmrl_map_key {}

impl From<MapError> for llmrl_status {
    fn from(error: MapError) -> Self {
        match error {
            MapError::Key(_) | MapError::Limits(_) => LLMRL_ERR_RANGE,
            MapError::Full => LLMRL_ERR_FULL,
            MapError::Closed => LLMRL_ERR_CLOSED,
        }
    }
}

const SIZES: Sizes = Sizes {
    waiters: 256,
    permits: 256,
};

/// Makes a map of limiters that are made of count limits each, with the options of
/// llmrl_limiter_new(), which also says how limits, options and message work; but
/// max_waiters and max_permits, of each handle, are 256 unless something else is said, and
/// the wake callback serves all of them: the numbers of their tickets differ.
///
/// At most capacity limiters are kept, 1 to 16777216. When all of them are in use, shared
/// more, 1 to 65536, serve all keys for which there is no room: a key keeps to its shared
/// one until that is full again and unused. So it may get less than its limits and never
/// more. With shared 0 such keys are refused.
///
/// - LLMRL_OK: *out is the map, to be freed with llmrl_map_free().
/// - Errors as of llmrl_limiter_new().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_map_new(
    limits: *const llmrl_limit,
    count: usize,
    options: *const llmrl_options,
    options_size: usize,
    capacity: usize,
    shared: usize,
    out: *mut *mut llmrl_map,
    message: *mut c_char,
    message_size: usize,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    let message = unsafe { Message::new(message, message_size) };
    // SAFETY: what C promises of the pointers it gives.
    guard(None, || unsafe {
        if limits.is_null() || out.is_null() {
            return Err(LLMRL_ERR_NULL);
        }
        let options = copy_in(options, options_size)?;
        let described = describe(limits, count, options, SIZES, message)?;
        let map = LimiterMap::new(described.builder, capacity, shared)
            .map_err(|error| message.explain(LLMRL_ERR_RANGE, in_c(&error)))?;
        let magic = Magic::of::<llmrl_map>();
        let entries = described.entries;
        give(
            out,
            llmrl_map {
                magic,
                map,
                entries,
            },
        )
    })
}

/// Gives the map up; NULL is allowed. No other thread may be in a call on it, or make one
/// later. Limiters that it has given out stay usable until they are freed; close the map
/// first to end those who wait.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_map_free(map: *mut llmrl_map) {
    // SAFETY: what C promises of the pointers it gives.
    unsafe { take_back(map, |map| &map.magic) }
}

/// The limiter of a key of 1 to LLMRL_MAX_KEY bytes, which is made if there is none. *out is
/// a handle to it, for any function that takes a limiter, to be freed with
/// llmrl_limiter_free(); the limiter goes on without it. As long as there is one, the
/// limiter stays in the map. Permits and tickets belong to the handle that they came
/// from. To keep a handle spares looking the key up, and making the handle. Closing the
/// limiter closes it for all.
///
/// *is_shared, if is_shared is not NULL, is 1 if there was no room and other keys use the
/// same limiter, else 0.
///
/// Cost: looking the key up without a lock, and memory for the handle's permits; a new
/// key takes a lock and some microseconds.
///
/// - LLMRL_OK.
/// - LLMRL_ERR_RANGE: key_size. LLMRL_ERR_FULL: all limiters are in use, and keys do not
///   share. LLMRL_ERR_CLOSED, LLMRL_ERR_MEMORY, LLMRL_ERR_NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_map_limiter(
    map: *const llmrl_map,
    key: *const c_void,
    key_size: usize,
    out: *mut *mut llmrl_limiter,
    is_shared: *mut i32,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(map, |map| {
            if out.is_null() {
                return Err(LLMRL_ERR_NULL);
            }
            let keyed = map.map.get(key_of(key, key_size, MAX_KEY)?)?;
            write(is_shared, i32::from(keyed.is_shared()));
            let limiter = keyed.limiter();
            let handle = llmrl_limiter::new(limiter, Some(keyed), map.entries, next_serial())?;
            write(out, handle);
            Ok(LLMRL_OK)
        })
    }
}

/// Gives a key limits of its own instead of the map's: of the same number, kinds and
/// meters, in the same order. A limiter that is there is retuned. With count 0 the map's
/// come back. They are remembered until then, whether the key has a limiter or not.
///
/// Returns LLMRL_OK; LLMRL_ERR_RANGE or LLMRL_ERR_FLAGS: see message; LLMRL_ERR_NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_map_set_limits(
    map: *const llmrl_map,
    key: *const c_void,
    key_size: usize,
    limits: *const llmrl_limit,
    count: usize,
    message: *mut c_char,
    message_size: usize,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    let message = unsafe { Message::new(message, message_size) };
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(map, |map| {
            let key = key_of(key, key_size, MAX_KEY)?;
            if count > super::limiter::LLMRL_MAX_LIMITS as usize {
                return Err(message.explain(
                    LLMRL_ERR_RANGE,
                    format_args!("count = {count} is outside 0..=8"),
                ));
            }
            let limits = limits_of(limits, count, message)?;
            map.map.set_limits(key, &limits).map_err(|error| {
                let text = match &error {
                    MapError::Limits(error) => in_c(error),
                    error => error.to_string(),
                };
                message.explain(error.into(), text)
            })?;
            Ok(LLMRL_OK)
        })
    }
}

/// Closes every limiter of the map, as llmrl_limiter_close() does, and refuses new keys.
///
/// Returns LLMRL_OK.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_map_close(map: *const llmrl_map) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(map, |map| {
            map.map.close();
            Ok(LLMRL_OK)
        })
    }
}

/// Sums over all limiters of the map. Looks at each of them; no key can be created
/// meanwhile.
///
/// Returns LLMRL_OK, LLMRL_ERR_NULL or LLMRL_ERR_SIZE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_map_get_stats(
    map: *const llmrl_map,
    stats: *mut llmrl_map_stats,
    stats_size: usize,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(map, |map| {
            let now = map.map.snapshot(0);
            let filled = llmrl_map_stats {
                keys: now.keys as u64,
                shared: now.shared as u64,
                created: now.created,
                evictions: now.evictions,
                full: now.full,
                granted: now.granted,
                refused: now.refused,
                waiting: now.waiting,
                in_flight: now.in_flight,
            };
            copy_out(stats, stats_size, &filled)
        })
    }
}

/// The keys with most requests admitted (LLMRL_BY_USE) or most who wait (LLMRL_BY_WAITING),
/// most first; only those with any. Up to count of them, at most 1000, are written to keys,
/// an array of structs of key_struct_size bytes each, and *written says how many. Looks at
/// each limiter of the map, as llmrl_map_get_stats() does.
///
/// Returns LLMRL_OK, LLMRL_ERR_NULL, LLMRL_ERR_SIZE, or LLMRL_ERR_RANGE: by or count.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_map_top(
    map: *const llmrl_map,
    by: u32,
    keys: *mut llmrl_map_key,
    key_struct_size: usize,
    count: usize,
    written: *mut usize,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(map, |map| {
            if keys.is_null() || written.is_null() {
                return Err(LLMRL_ERR_NULL);
            }
            super::check_size(key_struct_size)?;
            if by > LLMRL_BY_WAITING || count > 1000 {
                return Err(LLMRL_ERR_RANGE);
            }
            let now = map.map.snapshot(count);
            let top = match by {
                LLMRL_BY_USE => now.top_by_use,
                _ => now.top_by_waiting,
            };
            for (index, (key, stats)) in top.iter().enumerate() {
                let to = keys.cast::<u8>().add(index * key_struct_size);
                copy_out(to.cast(), key_struct_size, &entry(key, stats))?;
            }
            write(written, top.len());
            Ok(LLMRL_OK)
        })
    }
}

fn entry(key: &[u8], stats: &Stats) -> llmrl_map_key {
    let mut first = [0; 64];
    let known = key.len().min(first.len());
    first[..known].copy_from_slice(&key[..known]);
    llmrl_map_key {
        granted: stats.granted,
        refused: stats.refused,
        waiting: stats.waiting,
        in_flight: stats.in_flight,
        key_size: key.len() as u64,
        key: first,
    }
}
