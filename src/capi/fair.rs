//! Fair queue
//!
//! A limiter that many share, each by weight. In a limiter's own queue whoever sends a
//! thousand requests has a thousand places. Here each key (a user, a tenant, a job) gets
//! its share, however much it asks for: while keys wait, what they get in tokens is as
//! their weights. What one does not use goes to the others. Within a key who comes first
//! is served first.
//!
//! ```c
//! llmrl_fair *fair;
//! llmrl_fair_new(limiter, NULL, 0, &fair, NULL, 0);
//!
//! llmrl_share share = {.key = "alice", .key_size = 5, .weight = 3};
//! llmrl_permit permit;
//! llmrl_fair_acquire(fair, &cost, &share, timeout, &permit);
//! llmrl_fair_settle(fair, permit, &used);
//! ```
//!
//! Requests of the batch class come after all others, and by shares of their own; one that
//! has waited for aging_ns counts as one of the others. With passes a small request need
//! not wait for a large one.
//!
//! Shares are counted by the estimates, and put right when permits are settled, adjusted or
//! cancelled. Nothing is counted while nobody has to wait. The one whose turn it is stands
//! in the limiter's own queue: who uses the limiter directly is one more who stands there.

use super::describe::{Callback, capacity};
use super::limiter::{llmrl_limiter, llmrl_wake_fn};
use super::status::*;
use super::table::{MAX_ENTRIES, Table};
use super::{
    Magic, Message, Object, Plain, copy_in, copy_out, guard, live, take_back_kept, timeout, with,
};
use crate::fair::{FairOptions, FairPermit, FairQueue, FairTicket};
use crate::limiter::next_serial;
use crate::map::Keyed;
use crate::sync::Arc;
use std::ffi::{c_char, c_void};
use std::time::Duration;

const DEFAULT_ENTRIES: usize = 1 << 16;
const MAX_PERMITS: usize = 1 << 20;
const _: () = assert!(FairOptions::MAX_WAITERS + MAX_PERMITS <= MAX_ENTRIES);

/// A fair queue. See llmrl_fair_new().
// In disguise, or cbindgen would put the fields into the header.
#[cfg_attr(all(), repr(C))]
pub struct llmrl_fair {
    magic: Magic,
    pub(super) queue: FairQueue,
    pub(super) table: Table<FairTicket, FairPermit>,
    /// What keeps the limiter in its map, if it is of one.
    _keyed: Option<Keyed>,
}

// SAFETY: it is laid out as in C, and the magic word comes first.
unsafe impl Object for llmrl_fair {
    const MAGIC: u64 = u64::from_be_bytes(*b"llmrlfar");

    fn close_limiters(&self) {
        self.queue.limiter().close();
    }
}

/// What can be chosen of a fair queue. May grow at the end in later versions, so its size
/// is passed along with it; all zeros, like NULL in its place, means the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct llmrl_fair_options {
    /// Zero.
    pub flags: u32,
    /// So many requests may pass one that waits for its tokens, if they could go now and
    /// each is an eighth of it or less; only those among the next eight keys. It waits for
    /// longer by what they take: passes eighths of its cost at most. 0 is none.
    pub passes: u32,
    /// How many may wait at once, up to 1048576; 0 is 65536.
    pub max_waiters: u32,
    /// How many permits there may be at the same time, up to 1048576; 0 is 65536. Memory
    /// is reserved for all of them and for all who may wait, 128 bytes each, and becomes
    /// resident when it is first used.
    pub max_permits: u32,
    /// After so long a batch request counts as one of the others; 0 is a minute,
    /// 60000000000. LLMRL_FOREVER: never.
    pub aging_ns: u64,
    /// Called when a ticket of the queue should be polled, with its number; NULL if
    /// tickets are not used, or are polled anyway. As that of a limiter: see
    /// llmrl_wake_fn. The limiter's own one is not called for the queue's tickets.
    pub wake: llmrl_wake_fn,
    /// Handed to wake as it is. Must stay valid until llmrl_fair_free() has returned,
    /// and every call on its limiter that was under way by then.
    pub wake_ctx: *mut c_void,
}

// SAFETY: two pairs of halves, a word, and two pointers, all of which may be zero; there is no padding.
unsafe impl Plain for llmrl_fair_options {}

/// How a fair queue stands. May grow at the end in later versions, so its size is passed
/// along with it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct llmrl_fair_stats {
    /// Who waits now.
    pub waiting: u64,
    /// Of those, in the batch class.
    pub batch: u64,
    /// Keys of which somebody waits; one that has both classes counts twice.
    pub keys: u64,
    /// Batch requests that have become as the others, since the beginning.
    pub aged: u64,
    /// Requests that have passed a larger one, since the beginning.
    pub passed: u64,
}

// SAFETY: integers of one size.
unsafe impl Plain for llmrl_fair_stats {}

/// Makes a fair queue in front of a limiter. options may be NULL; options_size is sizeof
/// *options. message is as in llmrl_limiter_new().
///
/// It keeps a reference of its own: a handle of a map's limiter may be freed, and the
/// limiter stays in its map as long as the queue is there. Another limiter is closed by
/// llmrl_limiter_free(), and then the queue answers LLMRL_ERR_CLOSED. Make one queue for a
/// limiter: two know nothing of each other's keys, and share it as equals.
///
/// - LLMRL_OK: *out is the queue, to be freed with llmrl_fair_free().
/// - LLMRL_ERR_RANGE, LLMRL_ERR_FLAGS: see message.
/// - LLMRL_ERR_SIZE: options_size. LLMRL_ERR_NULL: l or out. LLMRL_ERR_HANDLE: l.
///   LLMRL_ERR_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_fair_new(
    l: *const llmrl_limiter,
    options: *const llmrl_fair_options,
    options_size: usize,
    out: *mut *mut llmrl_fair,
    message: *mut c_char,
    message_size: usize,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    guard(None, || unsafe {
        let message = Message::new(message, message_size);
        if out.is_null() {
            return Err(LLMRL_ERR_NULL);
        }
        let l = live(l)?;
        let given = copy_in(options, options_size)?;
        if given.flags != 0 {
            return Err(message.explain(LLMRL_ERR_FLAGS, "options.flags has unknown bits"));
        }
        let range = |text| message.explain(LLMRL_ERR_RANGE, text);
        let (most, default) = (FairOptions::MAX_WAITERS, DEFAULT_ENTRIES);
        let waiters = capacity(given.max_waiters, default, most, "max_waiters").map_err(range)?;
        let permits = capacity(given.max_permits, default, MAX_PERMITS, "max_permits");
        let entries = waiters + permits.map_err(range)?;
        let mut options = FairOptions::new().passes(given.passes).max_waiters(waiters);
        if given.aging_ns != 0 {
            options = options.aging(timeout(given.aging_ns).unwrap_or(Duration::MAX));
        }
        if let Some(wake) = Callback::new(given.wake, given.wake_ctx) {
            options = options.wake(Arc::new(wake));
        }
        let fair = Arc::new(llmrl_fair {
            magic: Magic::of::<llmrl_fair>(),
            table: Table::new(entries, next_serial()).ok_or(LLMRL_ERR_MEMORY)?,
            queue: FairQueue::new(&l.limiter, options).map_err(|error| range(error.to_string()))?,
            _keyed: l.keyed.clone(),
        });
        out.write_unaligned(Arc::into_raw(fair).cast_mut());
        Ok(LLMRL_OK)
    })
}

/// Gives the queue up; NULL is allowed. No other thread may be in a call on it, or make one
/// later. Its tickets leave it and its permits are released. The limiter goes on.
///
/// One mistake is forgiven: a thread that is blocked in llmrl_fair_acquire() waits on, for
/// its turn, its timeout, or the end of the limiter; then it returns LLMRL_ERR_CLOSED and
/// holds nothing. To get it out at once, close the limiter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_fair_free(f: *mut llmrl_fair) {
    // SAFETY: what C promises of the pointers it gives.
    unsafe { take_back_kept(f, |fair| &fair.magic, |fair| fair.table.clear()) }
}

/// Reads the queue's counts. out_size is sizeof *out. Takes a lock, for some nanoseconds.
///
/// Returns LLMRL_OK, LLMRL_ERR_NULL or LLMRL_ERR_SIZE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_fair_get_stats(
    f: *const llmrl_fair,
    out: *mut llmrl_fair_stats,
    out_size: usize,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(f, |f| {
            let stats = f.queue.stats();
            let stats = llmrl_fair_stats {
                waiting: stats.waiting,
                batch: stats.batch,
                keys: stats.keys,
                aged: stats.aged,
                passed: stats.passed,
            };
            copy_out(out, out_size, &stats)
        })
    }
}
