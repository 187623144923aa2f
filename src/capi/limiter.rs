//! Limiter
//!
//! Up to 8 limits that admit a request all together or not at all, and one queue of
//! those who wait, first in, first out. Everything that is needed is allocated when the
//! limiter is made.

use super::clock::llmrl_clock;
use super::describe::{Sizes, describe, in_c};
use super::limit::{
    LLMRL_FIXED_WINDOW, LLMRL_IN_FLIGHT, LLMRL_PACING, llmrl_cost, llmrl_limit, read_cost,
};
use super::status::*;
use super::table::{Claimed, Table};
use super::{
    Answer, Magic, Message, Object, Plain, copy_in, guard, live, period, refuse, with_limiter,
};
use crate::limiter::{Grant, Limiter, Ticket};
use crate::map::Keyed;
use crate::sync::Arc;
use std::ffi::{c_char, c_void};
use std::ptr;
use std::time::{Duration, SystemTime};

/// Most limits of one limiter.
pub const LLMRL_MAX_LIMITS: u32 = 8;

/// A ticket and the permit it becomes. It is a number, not a pointer: nothing needs to
/// be freed, it can be copied and kept, and using it after its end, or with another
/// limiter, is answered with LLMRL_ERR_STALE. Never 0.
pub type llmrl_permit = u64;

/// Called when a ticket should be polled before the time that its last poll has named.
/// It means that and nothing else: the ticket may or may not be held now, it may even
/// have ended.
///
/// It is called at most once for each LLMRL_PENDING, by any thread that is in a call on
/// the limiter or moves its clock, and perhaps before the call that answers
/// LLMRL_PENDING has returned. No lock is held, so it may call functions of this
/// library, also llmrl_poll() for the same ticket. It must return: no longjmp and no
/// exception may leave it. It should be quick, because it runs in the middle of
/// somebody's call; to set a flag or to write to a pipe is its usual work.
pub type llmrl_wake_fn = Option<unsafe extern "C" fn(context: *mut c_void, ticket: llmrl_permit)>;

/// A limiter. See llmrl_limiter_new().
// In disguise, or cbindgen would put the fields into the header.
#[cfg_attr(all(), repr(C))]
pub struct llmrl_limiter {
    magic: Magic,
    /// Whether a permit must be kept, because its release gives a slot back.
    pub(super) needs_permit: bool,
    pub(super) limiter: Limiter,
    /// What keeps it in its map, if it is of one: then it goes on without this object.
    pub(super) keyed: Option<Keyed>,
    pub(super) table: Table<Ticket, Grant>,
}

// SAFETY: it is laid out as in C, and the magic word comes first.
unsafe impl Object for llmrl_limiter {
    const MAGIC: u64 = u64::from_be_bytes(*b"llmrllim");
}

impl llmrl_limiter {
    /// With a count that belongs to C. `serial` tells its tickets and permits from those of other objects.
    pub(super) fn new(
        limiter: Limiter,
        keyed: Option<Keyed>,
        entries: usize,
        serial: u64,
    ) -> Result<*mut Self, llmrl_status> {
        let object = Arc::new(Self {
            magic: Magic::of::<Self>(),
            needs_permit: limiter.has_in_flight(),
            table: Table::new(entries, serial).ok_or(LLMRL_ERR_MEMORY)?,
            keyed,
            limiter,
        });
        Ok(Arc::into_raw(object).cast_mut())
    }

    pub(super) fn close(&self) {
        self.limiter.close();
    }

    /// C gives it up: its limiter ends with it, or what was taken through it does.
    fn leave(&self) {
        if self.keyed.is_none() {
            return self.close();
        }
        for number in self.table.numbers() {
            match self.table.claim(number, false) {
                Ok(Claimed::Held(_ended, grant)) => self.limiter.release_grant(grant),
                Ok(Claimed::Waiting(_ended, ticket)) => self.limiter.leave(ticket),
                Err(_) => {}
            }
        }
    }
}

/// llmrl_options.flags: llmrl_feedback() may raise limits above what they are here, to what
/// the provider says. By default it only lowers them. As what is configured is then only a
/// guess, half of what each limit lets pass at once waits for the provider's first answer.
pub const LLMRL_RAISE_LIMITS: u32 = 1;

/// What can be chosen of a limiter. May grow at the end in later versions, so its size
/// is passed along with it; all zeros, like NULL in its place, means the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct llmrl_options {
    /// LLMRL_RAISE_LIMITS or none.
    pub flags: u32,
    /// How many may wait at the same time, threads and tickets together, up to 1048576;
    /// 0 is 4096. One that has left counts until the queue has moved past it.
    pub max_waiters: u32,
    /// How many permits may be held at the same time, besides, up to 1048576; 0 is
    /// 65536. Memory is reserved for all of them, and becomes resident when it is first
    /// used.
    pub max_permits: u32,
    /// Zero.
    pub reserved0: u32,
    /// NULL for the machine's clock. The limiter keeps the clock alive for itself.
    pub clock: *mut llmrl_clock,
    /// Called when a ticket should be polled; NULL if tickets are not used, or are
    /// polled anyway.
    pub wake: llmrl_wake_fn,
    /// Handed to wake as it is. Must stay valid until llmrl_limiter_free() has
    /// returned.
    pub wake_ctx: *mut c_void,
    /// What llmrl_limiter_save() wrote, to go on from there; NULL for a fresh start.
    pub saved: *const c_void,
    /// How many bytes that are.
    pub saved_size: usize,
    /// Wall-clock time, nanoseconds since 1970, by which the time since then is known; 0
    /// for the system's.
    pub saved_now_ns: u64,
}

// SAFETY: integers and pointers, all of which may be zero; those of half size come in pairs and fill words together, so
// there is no padding.
unsafe impl Plain for llmrl_options {}

/// Makes a limiter of count limits, 1 to LLMRL_MAX_LIMITS, which are referred to by
/// their index from then on. limits may be forgotten afterwards. options may be NULL;
/// options_size is sizeof *options.
///
/// If something is wrong with a limit or an option, message says which field, what it was,
/// and what it may be:
///
/// ```text
/// limits[1].amount = 0 is outside 1..=1099511627775
/// ```
///
/// Up to message_size bytes are written, the terminating zero always among them; 128 are
/// enough. It may be NULL. When there is nothing to be said, it is made "".
///
/// The first limiter of a process on the machine's clock takes the time to measure it,
/// normally below a millisecond.
///
/// - LLMRL_OK: *out is the limiter, to be freed with llmrl_limiter_free().
/// - LLMRL_ERR_RANGE, LLMRL_ERR_FLAGS, LLMRL_ERR_SAVED: see message.
/// - LLMRL_ERR_SIZE: options_size. LLMRL_ERR_NULL: limits or out. LLMRL_ERR_HANDLE:
///   options->clock. LLMRL_ERR_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_limiter_new(
    limits: *const llmrl_limit,
    count: usize,
    options: *const llmrl_options,
    options_size: usize,
    out: *mut *mut llmrl_limiter,
    message: *mut c_char,
    message_size: usize,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    let message = unsafe { Message::new(message, message_size) };
    // SAFETY: what C promises of the pointers it gives.
    guard(None, || unsafe {
        make(limits, count, options, options_size, out, message)
    })
}

/// # Safety As the header says of the function above.
unsafe fn make(
    limits: *const llmrl_limit,
    count: usize,
    options: *const llmrl_options,
    options_size: usize,
    out: *mut *mut llmrl_limiter,
    message: Message,
) -> Answer {
    // SAFETY: passed on.
    let explain = |status, text: &str| unsafe { message.explain(status, text) };
    if limits.is_null() || out.is_null() {
        return Err(LLMRL_ERR_NULL);
    }
    // SAFETY: passed on.
    let described = unsafe {
        let options = copy_in(options, options_size)?;
        describe(limits, count, options, Sizes::LIMITER, message)?
    };
    let limiter = described.builder.build().map_err(|error| {
        let status = match error.error.field.starts_with("saved") {
            true => LLMRL_ERR_SAVED,
            false => LLMRL_ERR_RANGE,
        };
        explain(status, &in_c(&error))
    })?;
    let serial = limiter.serial();
    let object = llmrl_limiter::new(limiter, None, described.entries, serial)?;
    // SAFETY: not null, so it can be written, as the caller says.
    unsafe { out.write_unaligned(object) };
    Ok(LLMRL_OK)
}

/// Wall-clock time as C gives it.
pub(super) fn wall_clock(ns: u64) -> SystemTime {
    match ns {
        0 => SystemTime::now(),
        ns => SystemTime::UNIX_EPOCH + Duration::from_nanos(ns),
    }
}

/// Ends the limiter: everyone who waits, in llmrl_acquire() or with a ticket, is told
/// LLMRL_ERR_CLOSED, and so is everyone who comes later. Permits that are held can
/// still be settled. Any thread, any number of times.
///
/// Returns LLMRL_OK.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_limiter_close(l: *const llmrl_limiter) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with_limiter(l, |l| {
            l.close();
            Ok(LLMRL_OK)
        })
    }
}

/// Gives the limiter up; NULL is allowed. No other thread may be in a call on it, or
/// make one later. To get there: close it, let the threads that waited return, then
/// free it.
///
/// One mistake is forgiven, because it is common: threads that are blocked in
/// llmrl_acquire() are woken and return LLMRL_ERR_CLOSED, and the memory goes with the
/// last of them.
///
/// Permits and tickets need no farewell. Their numbers mean nothing any more. A limiter of
/// a map goes on without its handle; its permits are released, and its tickets cancelled.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_limiter_free(l: *mut llmrl_limiter) {
    // SAFETY: what C promises of the pointers it gives.
    let Ok(live) = (unsafe { live(l) }) else {
        return;
    };
    guard(None, || {
        live.leave();
        Ok(LLMRL_OK)
    });
    live.magic.clear();
    // SAFETY: it was live, so it came from `Arc::into_raw`; not recognised any more, it is not freed twice. Those who are
    // blocked have counts of their own.
    let object = unsafe { Arc::from_raw(ptr::from_ref(live)) };
    guard(None, || {
        drop(object);
        Ok(LLMRL_OK)
    });
}

/// Changes the limit of that index, from now on. A token bucket gets another rate and
/// burst, with the ranges and defaults of llmrl_limit; what is in it stays, as far as
/// the new burst allows, and so does the part of a token that was under way. What has
/// windows gets another amount and period; what was used stays used, and the part of the
/// window that is over stays that part. An in-flight limit gets another number of permits (period_ns and burst are 0); below
/// what is held, it takes nothing away and admits nothing until enough has been
/// released. Who waits is re-timed.
///
/// Returns LLMRL_OK, LLMRL_ERR_INDEX or LLMRL_ERR_RANGE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_limiter_retune(
    l: *const llmrl_limiter,
    index: u32,
    amount: u64,
    period_ns: u64,
    burst: u64,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with_limiter(l, |l| {
            let kind = l.state(index)?.kind;
            let changed = if kind != LLMRL_IN_FLIGHT {
                let burst = match burst {
                    0 if kind != LLMRL_PACING => amount,
                    burst => burst,
                };
                l.limiter
                    .retune(index as usize, amount, period(period_ns), burst)
            } else if period_ns != 0 || burst != 0 {
                return Err(LLMRL_ERR_RANGE);
            } else {
                l.limiter.resize(amount)
            };
            changed.map_err(|_| LLMRL_ERR_RANGE)?;
            Ok(LLMRL_OK)
        })
    }
}

/// Admits nothing that needs the limit of that index, for duration_ns from now, whatever
/// an earlier pause said; 0 resumes. A bucket fills meanwhile, and windows go on. This is
/// for a provider's "retry after".
///
/// Returns LLMRL_OK, or LLMRL_ERR_INDEX: no such limit, or it is in flight.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_limiter_pause(
    l: *const llmrl_limiter,
    index: u32,
    duration_ns: u64,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with_limiter(l, |l| {
            l.limiter
                .pause(index as usize, Duration::from_nanos(duration_ns))
                .map_err(|_| LLMRL_ERR_INDEX)?;
            Ok(LLMRL_OK)
        })
    }
}

/// The fixed window of that index ends resets_in_ns from now, 1 to a period, whatever
/// was known before; what it has used stays used until then. This is for a provider that
/// says when its window resets.
///
/// Returns LLMRL_OK; LLMRL_ERR_INDEX: no such limit, or not a fixed window;
/// LLMRL_ERR_RANGE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_limiter_align(
    l: *const llmrl_limiter,
    index: u32,
    resets_in_ns: u64,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with_limiter(l, |l| {
            if l.state(index)?.kind != LLMRL_FIXED_WINDOW {
                return Err(LLMRL_ERR_INDEX);
            }
            l.limiter
                .align(index as usize, Duration::from_nanos(resets_in_ns))
                .map_err(|_| LLMRL_ERR_RANGE)?;
            Ok(LLMRL_OK)
        })
    }
}

/// Counts use that did not pass here: what another program used, or what a report says;
/// also tokens without a request, with cost->requests 0. Token buckets may go below zero;
/// nothing is admitted until that is made good.
///
/// Returns LLMRL_OK, LLMRL_ERR_COST, LLMRL_ERR_FLAGS (a reserved field) or LLMRL_ERR_NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_limiter_charge(
    l: *const llmrl_limiter,
    cost: *const llmrl_cost,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with_limiter(l, |l| {
            let charged = l.limiter.charge(&read_cost(cost)?);
            charged.map_err(|refused| refuse(refused, ptr::null_mut()))?;
            Ok(LLMRL_OK)
        })
    }
}
