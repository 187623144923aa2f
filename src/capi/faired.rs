//! Requests at a fair queue
//!
//! As at a limiter: now or not at all, with a thread that blocks, or with a ticket. A
//! ticket becomes the permit under the same number, which means nothing to other queues,
//! nor to the limiter. A permit ends once, by one of three functions, which also put right
//! what its key is charged.

use super::advice::{advise, llmrl_advice};
use super::fair::llmrl_fair;
use super::feedback::llmrl_answer;
use super::limit::{llmrl_cost, read_cost};
use super::limiter::llmrl_permit;
use super::permits::{Look, poll, progress, stands};
use super::status::*;
use super::table::Claimed;
use super::{key_of, live, read, refuse, timeout, with, with_kept, write};
use crate::fair::{FairPermit, FairProgress, FairTicket, Share};
use crate::map::MAX_KEY;
use std::ffi::c_void;
use std::ptr;

/// llmrl_share.flags: the request is of the batch class.
pub const LLMRL_BATCH: u32 = 1;

/// Largest llmrl_share.weight.
pub const LLMRL_MAX_SHARE_WEIGHT: u32 = 1_000_000;
const _: () = assert!(LLMRL_MAX_SHARE_WEIGHT == Share::MAX_WEIGHT);

/// On whose account a request goes. Set it to zero and fill in what you mean.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct llmrl_share {
    /// key_size bytes of any kind, which are copied.
    pub key: *const c_void,
    /// 1 to 1024.
    pub key_size: usize,
    /// How much it gets beside others, 1 to LLMRL_MAX_SHARE_WEIGHT; 0 is 1. It counts for
    /// this request; others of the same key may have another one.
    pub weight: u32,
    /// LLMRL_BATCH or 0.
    pub flags: u32,
}

/// # Safety
/// Null, or points to a share whose key is null or can be read, as long as the result is in use.
unsafe fn read_share<'k>(share: *const llmrl_share) -> Result<Share<'k>, llmrl_status> {
    // SAFETY: passed on.
    let given = unsafe { read(share) }?;
    if given.flags & !LLMRL_BATCH != 0 {
        return Err(LLMRL_ERR_FLAGS);
    }
    // SAFETY: passed on.
    let key = unsafe { key_of(given.key, given.key_size, MAX_KEY) }?;
    let share = Share::new(key).and_then(|share| share.weight(given.weight.max(1)));
    let share = share.map_err(|_| LLMRL_ERR_RANGE)?;
    Ok(match given.flags {
        LLMRL_BATCH => share.batch(),
        _ => share,
    })
}

fn look(ticket: &mut FairTicket) -> Result<Look<FairPermit>, llmrl_status> {
    match ticket.poll() {
        FairProgress::Held(permit) => Ok(Look::Held(permit)),
        FairProgress::Pending { wait } => Ok(Look::Pending(wait)),
        // SAFETY: null is not written to.
        FairProgress::Ended(refused) => Err(unsafe { refuse(refused, ptr::null_mut()) }),
        FairProgress::Spent => Err(LLMRL_ERR_STALE),
    }
}

/// Asks now. Others who wait have their turns first: while somebody does, it is refused.
///
/// - LLMRL_OK: admitted, and *permit is held.
/// - LLMRL_REFUSED: not now. *wait_ns, if wait_ns is not NULL, is the time after which it
///   might be worth to come again; LLMRL_FOREVER if it takes somebody's release.
/// - LLMRL_ERR_NEVER, LLMRL_ERR_CLOSED; LLMRL_ERR_FULL if as many permits are held as the
///   queue was made for; LLMRL_ERR_COST, LLMRL_ERR_NULL, LLMRL_ERR_FLAGS (a reserved field).
///
/// Cost: that of llmrl_try_acquire(), and a lock.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_fair_try_acquire(
    f: *const llmrl_fair,
    cost: *const llmrl_cost,
    permit: *mut llmrl_permit,
    wait_ns: *mut u64,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(f, |f| {
            let cost = read_cost(cost)?;
            if permit.is_null() {
                return Err(LLMRL_ERR_NULL);
            }
            let claim = f.table.insert().ok_or(LLMRL_ERR_FULL)?;
            let held = f.queue.try_acquire(&cost);
            let held = held.map_err(|refused| refuse(refused, wait_ns))?;
            write(permit, claim.number());
            claim.hold(held);
            Ok(LLMRL_OK)
        })
    }
}

/// Asks, and blocks the thread until its turn comes, for timeout_ns at most; LLMRL_FOREVER
/// waits without end.
///
/// Answers as llmrl_acquire(). LLMRL_ERR_FULL: max_waiters of the queue wait, or as many
/// permits are held as it was made for. LLMRL_ERR_RANGE: the weight or the length of the
/// key. LLMRL_ERR_FLAGS: of the share, too. To get threads out, close the limiter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_fair_acquire(
    f: *const llmrl_fair,
    cost: *const llmrl_cost,
    share: *const llmrl_share,
    timeout_ns: u64,
    permit: *mut llmrl_permit,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with_kept(f, |f| {
            let (cost, share) = (read_cost(cost)?, read_share(share)?);
            if permit.is_null() {
                return Err(LLMRL_ERR_NULL);
            }
            let claim = f.table.insert().ok_or(LLMRL_ERR_FULL)?;
            let held = f.queue.acquire(&cost, &share, timeout(timeout_ns));
            let held = held.map_err(|refused| refuse(refused, ptr::null_mut()))?;
            if live(f).is_err() {
                held.cancel();
                return Err(LLMRL_ERR_CLOSED);
            }
            write(permit, claim.number());
            claim.hold(held);
            Ok(LLMRL_OK)
        })
    }
}

/// Asks, and joins the queue if it is not yet the request's turn. Never blocks.
///
/// - LLMRL_OK: admitted at once, and *ticket is a permit that is held.
/// - LLMRL_PENDING: *ticket waits. Poll it when *wait_ns have passed (wait_ns may be NULL;
///   LLMRL_FOREVER means that time alone brings nothing), or when the queue's wake callback
///   is called with it, whichever is first: see llmrl_enqueue().
/// - Errors as in llmrl_fair_acquire().
///
/// Whoever is polled, joins or leaves brings all forward whose turn has come. What was
/// granted to a ticket is taken until it is polled or cancelled.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_fair_enqueue(
    f: *const llmrl_fair,
    cost: *const llmrl_cost,
    share: *const llmrl_share,
    timeout_ns: u64,
    ticket: *mut llmrl_permit,
    wait_ns: *mut u64,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(f, |f| {
            let (cost, share) = (read_cost(cost)?, read_share(share)?);
            if ticket.is_null() {
                return Err(LLMRL_ERR_NULL);
            }
            let claim = f.table.insert().ok_or(LLMRL_ERR_FULL)?;
            let number = claim.number();
            let refused = |refused| refuse(refused, ptr::null_mut());
            if let Some(held) = f.queue.admit_now(&cost).map_err(refused)? {
                write(ticket, number);
                claim.hold(held);
                return Ok(LLMRL_OK);
            }
            let place = f.queue.enqueue(&cost, &share, timeout(timeout_ns), number);
            let wait = progress(claim, place.map_err(refused)?, look)?;
            write(ticket, number);
            Ok(stands(wait, wait_ns))
        })
    }
}

/// Looks how a ticket stands, and moves the queue along.
///
/// - LLMRL_OK: it is a permit and held; also when that is no news.
/// - LLMRL_PENDING: as in llmrl_fair_enqueue(), with another *wait_ns.
/// - LLMRL_ERR_DEADLINE, LLMRL_ERR_CLOSED, LLMRL_ERR_NEVER, LLMRL_ERR_FULL: it has ended.
///   The last one is said of the limiter's own queue.
/// - LLMRL_ERR_STALE: it had ended before, or is not this queue's.
/// - LLMRL_ERR_BUSY: another thread polls it, and will be told what this call would have
///   been.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_fair_poll(
    f: *const llmrl_fair,
    ticket: llmrl_permit,
    wait_ns: *mut u64,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe { with(f, |f| Ok(stands(poll(&f.table, ticket, look)?, wait_ns))) }
}

/// Replaces the estimate of a permit, as llmrl_adjust(), and what its key is charged. It
/// stays held.
///
/// Returns LLMRL_OK; LLMRL_ERR_STALE or LLMRL_ERR_BUSY; LLMRL_ERR_COST, LLMRL_ERR_FLAGS or
/// LLMRL_ERR_NULL: nothing has changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_fair_adjust(
    f: *const llmrl_fair,
    permit: llmrl_permit,
    so_far: *const llmrl_cost,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(f, |f| {
            let cost = read_cost(so_far)?;
            let adjusted = f.table.change(permit, |held| held.adjust(&cost))?;
            adjusted.map_err(|refused| refuse(refused, ptr::null_mut()))?;
            Ok(LLMRL_OK)
        })
    }
}

/// Ends a permit: what was really used replaces the estimate, also in what its key is
/// charged, and its place in flight is free.
///
/// Returns LLMRL_OK; LLMRL_ERR_STALE or LLMRL_ERR_BUSY; LLMRL_ERR_COST, LLMRL_ERR_FLAGS or
/// LLMRL_ERR_NULL: it is still held.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_fair_settle(
    f: *const llmrl_fair,
    permit: llmrl_permit,
    actual: *const llmrl_cost,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(f, |f| {
            let cost = read_cost(actual)?;
            // Before the permit is taken out: with a cost that cannot be, it stays held.
            cost.amounts().map_err(|_| LLMRL_ERR_COST)?;
            let (_ended, held) = f.table.claim_held(permit)?;
            let settled = held.settle(&cost);
            settled.map_err(|refused| refuse(refused, ptr::null_mut()))?;
            Ok(LLMRL_OK)
        })
    }
}

/// Ends a permit: the estimate stands, and its place in flight is free.
///
/// Returns LLMRL_OK, LLMRL_ERR_STALE or LLMRL_ERR_BUSY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_fair_release(
    f: *const llmrl_fair,
    permit: llmrl_permit,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(f, |f| {
            let (_ended, held) = f.table.claim_held(permit)?;
            held.release();
            Ok(LLMRL_OK)
        })
    }
}

/// Ends a permit or a ticket, whatever it is at this moment, and gives everything back: its
/// key is charged nothing. A ticket leaves the queue.
///
/// Returns LLMRL_OK; LLMRL_ERR_STALE; or LLMRL_ERR_BUSY, when a thread polls it right now:
/// cancel again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_fair_cancel(
    f: *const llmrl_fair,
    permit: llmrl_permit,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(f, |f| {
            match f.table.claim(permit, false)? {
                Claimed::Held(_ended, held) => held.cancel(),
                Claimed::Waiting(_ended, place) => place.cancel(),
            }
            Ok(LLMRL_OK)
        })
    }
}

/// The provider has answered the request of this permit, which stays held: the limiter
/// learns from it, as with llmrl_feedback().
///
/// Returns as llmrl_feedback().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_fair_feedback(
    f: *const llmrl_fair,
    permit: llmrl_permit,
    answer: *const llmrl_answer,
    answer_size: usize,
    out: *mut llmrl_advice,
    out_size: usize,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(f, |f| {
            advise(answer, answer_size, out, out_size, |reading| {
                Ok(f.table.change(permit, |held| held.feedback(reading))?)
            })
        })
    }
}
