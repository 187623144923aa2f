//! Requests
//!
//! A request asks with its estimated cost. Admitted, it is a permit; waiting, it is a
//! ticket, which becomes the permit without changing its number. A permit ends once, by
//! one of
//!
//! ```text
//! llmrl_settle     what was really used replaces the estimate; the answer has told
//! llmrl_release    the estimate stands; it was sent, and nobody knows what it used
//! llmrl_cancel     everything is given back; it was never sent
//! ```
//!
//! and each of them frees its place in flight. What a bucket has refilled since it was
//! charged is not given back a second time. A permit that is never ended costs its
//! estimate, its place in flight for ever, and one of max_permits.
//!
//! Three ways to ask, all in one order: llmrl_try_acquire() now or not at all,
//! llmrl_acquire() with a thread that blocks, llmrl_enqueue() and llmrl_poll() for
//! event loops. Whoever comes first is served first, and nobody passes the queue.

use super::limit::{llmrl_cost, read_cost};
use super::limiter::{LLMRL_MAX_LIMITS, llmrl_limiter, llmrl_permit};
use super::status::*;
use super::table::{Claim, Claimed, Table, Unclaimed};
use super::{guard, keep, refuse, timeout, wait_ns, with_limiter, write};
use crate::limiter::{Grant, Limiter, Step, Ticket};
use std::ptr;
use std::time::Duration;

impl llmrl_limiter {
    /// Whether a permit is to be kept.
    #[inline(always)]
    fn keeps(&self, permit: *mut llmrl_permit) -> Result<bool, llmrl_status> {
        match permit.is_null() {
            true if self.needs_permit => Err(LLMRL_ERR_NULL),
            null => Ok(!null),
        }
    }

    /// Takes a permit out of the table, for good.
    #[inline(always)]
    fn end(&self, permit: llmrl_permit) -> Result<Grant, llmrl_status> {
        match self.table.claim_held(permit) {
            Ok((_ended, grant)) => Ok(grant),
            Err(why) => Err(why.into()),
        }
    }
}

impl From<Unclaimed> for llmrl_status {
    fn from(why: Unclaimed) -> Self {
        match why {
            Unclaimed::Stale => LLMRL_ERR_STALE,
            Unclaimed::Busy => LLMRL_ERR_BUSY,
        }
    }
}

/// Asks now.
///
/// permit may be NULL if the limiter has no in-flight limit: then nothing is kept, and
/// the estimate stands. This is the cheapest way to ask, and llmrl_limiter_charge() can
/// correct it upwards.
///
/// - LLMRL_OK: admitted, and *permit is held.
/// - LLMRL_REFUSED: not now. *wait_ns, if wait_ns is not NULL, is the time after which
///   the same request is admitted, absent others, and a nanosecond before which it is
///   not; or LLMRL_FOREVER, if it takes somebody's release.
/// - LLMRL_ERR_NEVER, LLMRL_ERR_CLOSED, LLMRL_ERR_COST, LLMRL_ERR_NULL, LLMRL_ERR_FLAGS
///   (a reserved field), and LLMRL_ERR_FULL if max_permits are held.
///
/// Cost: one reading of the clock, one atomic exchange for each token bucket that the
/// request touches, one for the limiter, and one for the permit. Never a lock, an
/// allocation or a system call, except to wake somebody whose turn has come.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_try_acquire(
    l: *const llmrl_limiter,
    cost: *const llmrl_cost,
    permit: *mut llmrl_permit,
    wait_ns: *mut u64,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with_limiter(l, |l| {
            let cost = read_cost(cost)?;
            if !l.keeps(permit)? {
                return match l.limiter.admit(&cost, !wait_ns.is_null()) {
                    Ok(_) => Ok(LLMRL_OK),
                    Err(refused) => Err(refuse(refused, wait_ns)),
                };
            }
            // Before the request is admitted, so that a full table takes nothing.
            let claim = l.table.insert().ok_or(LLMRL_ERR_FULL)?;
            match l.limiter.admit(&cost, !wait_ns.is_null()) {
                Ok(grant) => {
                    write(permit, claim.number());
                    claim.hold(grant);
                    Ok(LLMRL_OK)
                }
                Err(refused) => Err(refuse(refused, wait_ns)),
            }
        })
    }
}

/// Says how long a request would wait if it came now, behind everybody in the queue. Takes
/// nothing, counts nothing, and promises nothing.
///
/// - LLMRL_OK: *wait_ns is that time, absent others; 0 is now, LLMRL_FOREVER that it takes
///   somebody's release. *limit, if limit is not NULL, is the index of the limit for which
///   it would wait longest; LLMRL_MAX_LIMITS if it would not wait, or would for others in
///   the queue.
/// - LLMRL_ERR_NEVER, LLMRL_ERR_CLOSED, LLMRL_ERR_COST, LLMRL_ERR_NULL, LLMRL_ERR_FLAGS (a
///   reserved field).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_outlook(
    l: *const llmrl_limiter,
    cost: *const llmrl_cost,
    wait_ns: *mut u64,
    limit: *mut u32,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with_limiter(l, |l| {
            let cost = read_cost(cost)?;
            if wait_ns.is_null() {
                return Err(LLMRL_ERR_NULL);
            }
            let outlook = l.limiter.outlook(&cost);
            let outlook = outlook.map_err(|refused| refuse(refused, ptr::null_mut()))?;
            write(wait_ns, super::wait_ns(outlook.wait));
            write(
                limit,
                outlook.limit.map_or(LLMRL_MAX_LIMITS, |limit| limit as u32),
            );
            Ok(LLMRL_OK)
        })
    }
}

/// Asks, and blocks the thread until its turn comes, for timeout_ns at most.
/// LLMRL_FOREVER waits without end; with 0 nothing waits. permit is as in
/// llmrl_try_acquire().
///
/// - LLMRL_OK: admitted, and *permit is held.
/// - LLMRL_ERR_DEADLINE: the timeout has passed; or the turn is known to come later
///   than that, which is told at once.
/// - LLMRL_ERR_CLOSED: the limiter is closed, perhaps while the thread waited.
/// - LLMRL_ERR_NEVER: too much for one of the limits, perhaps since a retune while it
///   waited.
/// - LLMRL_ERR_FULL: max_waiters wait. LLMRL_ERR_COST, LLMRL_ERR_NULL, LLMRL_ERR_FLAGS
///   as in llmrl_try_acquire().
///
/// A thread that waits costs no processor time. It sleeps until its own turn is due,
/// and is woken only if that comes earlier.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_acquire(
    l: *const llmrl_limiter,
    cost: *const llmrl_cost,
    timeout_ns: u64,
    permit: *mut llmrl_permit,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    // A count of its own, so that the limiter is still there when a thread wakes up in the middle of its being freed.
    let l = match unsafe { keep(l) } {
        Ok(l) => l,
        Err(status) => return status,
    };
    guard(Some(&l), || {
        // SAFETY: what C promises of the pointers it gives.
        unsafe {
            let cost = read_cost(cost)?;
            let claim = match l.keeps(permit)? {
                true => Some(l.table.insert().ok_or(LLMRL_ERR_FULL)?),
                false => None,
            };
            match l.limiter.block(&cost, timeout(timeout_ns)) {
                Ok(grant) => {
                    if let Some(claim) = claim {
                        write(permit, claim.number());
                        claim.hold(grant);
                    }
                    Ok(LLMRL_OK)
                }
                Err(refused) => Err(refuse(refused, ptr::null_mut())),
            }
        }
    })
}

/// Asks, and joins the queue if it is not yet the request's turn. Never blocks.
///
/// - LLMRL_OK: admitted at once, and *ticket is a permit that is held.
/// - LLMRL_PENDING: *ticket waits. Poll it when *wait_ns have passed (wait_ns may be
///   NULL; LLMRL_FOREVER means that time alone brings nothing), or when the wake
///   callback is called with it, whichever is first. That may be before this function
///   returns, and then even the ticket's number is news to the caller; the callback has
///   it.
/// - LLMRL_ERR_DEADLINE: its turn is known to come later than timeout_ns. Other errors
///   as in llmrl_acquire().
///
/// A ticket that is not polled is granted in its turn all the same and delays nobody,
/// but what it asked for is then taken. End it with llmrl_cancel() when nobody waits
/// for it any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_enqueue(
    l: *const llmrl_limiter,
    cost: *const llmrl_cost,
    timeout_ns: u64,
    ticket: *mut llmrl_permit,
    wait_ns: *mut u64,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with_limiter(l, |l| {
            let cost = read_cost(cost)?;
            if ticket.is_null() {
                return Err(LLMRL_ERR_NULL);
            }
            let claim = l.table.insert().ok_or(LLMRL_ERR_FULL)?;
            let number = claim.number();
            if let Some(grant) = l.limiter.admit_now(&cost) {
                write(ticket, number);
                claim.hold(grant);
                return Ok(LLMRL_OK);
            }
            let place = l.limiter.enqueue(&cost, timeout(timeout_ns), number);
            let place = place.map_err(|refused| refuse(refused, ptr::null_mut()))?;
            let wait = progress(claim, place, |place| look(&l.limiter, place))?;
            write(ticket, number);
            Ok(stands(wait, wait_ns))
        })
    }
}

/// Looks how a ticket stands, and moves the queue along.
///
/// - LLMRL_OK: it is a permit and held; also when that is no news.
/// - LLMRL_PENDING: as in llmrl_enqueue(), with another *wait_ns.
/// - LLMRL_ERR_DEADLINE, LLMRL_ERR_CLOSED, LLMRL_ERR_NEVER: it has ended, for the
///   reason given in llmrl_acquire().
/// - LLMRL_ERR_STALE: it had ended before.
/// - LLMRL_ERR_BUSY: another thread polls it, and will be told what this call would have
///   been.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_poll(
    l: *const llmrl_limiter,
    ticket: llmrl_permit,
    wait_ns: *mut u64,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with_limiter(l, |l| {
            let wait = poll(&l.table, ticket, |place| look(&l.limiter, place))?;
            Ok(stands(wait, wait_ns))
        })
    }
}

/// What a look at a ticket finds that has not failed.
pub(super) enum Look<H> {
    Held(H),
    Pending(Option<Duration>),
}

/// Polls a ticket by its number: `None` when it is held, else for how long it waits.
pub(super) fn poll<W, H>(
    table: &Table<W, H>,
    number: llmrl_permit,
    look: impl FnMut(&mut W) -> Result<Look<H>, llmrl_status>,
) -> Result<Option<u64>, llmrl_status> {
    if table.is_held(number) {
        return Ok(None);
    }
    match table.claim(number, true)? {
        Claimed::Held(claim, held) => {
            claim.hold(held);
            Ok(None)
        }
        Claimed::Waiting(claim, ticket) => progress(claim, ticket, look),
    }
}

/// Polls a ticket that is claimed and leaves behind what it has become, as [`poll`].
pub(super) fn progress<W, H>(
    mut claim: Claim<'_, W, H>,
    mut ticket: W,
    mut look: impl FnMut(&mut W) -> Result<Look<H>, llmrl_status>,
) -> Result<Option<u64>, llmrl_status> {
    loop {
        match look(&mut ticket)? {
            Look::Held(held) => {
                claim.hold(held);
                return Ok(None);
            }
            Look::Pending(wait) => match claim.wait(ticket) {
                Ok(()) => return Ok(Some(wait_ns(wait))),
                // It was woken before it could be found in the table.
                Err(again) => (claim, ticket) = again,
            },
        }
    }
}

/// What has become of a ticket.
///
/// # Safety
/// As [`write`].
pub(super) unsafe fn stands(wait: Option<u64>, wait_ns: *mut u64) -> llmrl_status {
    match wait {
        None => LLMRL_OK,
        Some(wait) => {
            // SAFETY: passed on.
            unsafe { write(wait_ns, wait) };
            LLMRL_PENDING
        }
    }
}

fn look(limiter: &Limiter, ticket: &mut Ticket) -> Result<Look<Grant>, llmrl_status> {
    match limiter.advance_ticket(ticket) {
        Step::Held(grant) => Ok(Look::Held(grant)),
        Step::Pending { wait } => Ok(Look::Pending(wait)),
        Step::TimedOut => Err(LLMRL_ERR_DEADLINE),
        Step::Never(_) => Err(LLMRL_ERR_NEVER),
        Step::Closed => Err(LLMRL_ERR_CLOSED),
        Step::Spent => Err(LLMRL_ERR_STALE),
    }
}

/// Replaces the estimate of a permit, which stays held: by what was used at least,
/// while an answer streams in, or by a better guess. What it costs less is given back
/// at once; what it costs more is charged, below zero if need be.
///
/// Returns LLMRL_OK; LLMRL_ERR_STALE or LLMRL_ERR_BUSY; LLMRL_ERR_COST, LLMRL_ERR_FLAGS or
/// LLMRL_ERR_NULL: nothing has changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_adjust(
    l: *const llmrl_limiter,
    permit: llmrl_permit,
    so_far: *const llmrl_cost,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with_limiter(l, |l| {
            let cost = read_cost(so_far)?;
            let adjusted = l
                .table
                .change(permit, |grant| l.limiter.adjust_grant(grant, &cost))?;
            adjusted.map_err(|refused| refuse(refused, ptr::null_mut()))?;
            Ok(LLMRL_OK)
        })
    }
}

/// Ends a permit: what was really used replaces the estimate, and its place in flight
/// is free.
///
/// Returns LLMRL_OK; LLMRL_ERR_STALE or LLMRL_ERR_BUSY; LLMRL_ERR_COST, LLMRL_ERR_FLAGS or
/// LLMRL_ERR_NULL: it is still held.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_settle(
    l: *const llmrl_limiter,
    permit: llmrl_permit,
    actual: *const llmrl_cost,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with_limiter(l, |l| {
            let cost = read_cost(actual)?;
            // Before the permit is taken out: with a cost that cannot be, it stays held.
            cost.amounts().map_err(|_| LLMRL_ERR_COST)?;
            let settled = l.limiter.settle_grant(l.end(permit)?, &cost);
            settled.map_err(|refused| refuse(refused, ptr::null_mut()))?;
            Ok(LLMRL_OK)
        })
    }
}

/// Ends a permit: the estimate stands, and its place in flight is free.
///
/// Returns LLMRL_OK, LLMRL_ERR_STALE or LLMRL_ERR_BUSY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_release(
    l: *const llmrl_limiter,
    permit: llmrl_permit,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with_limiter(l, |l| {
            l.limiter.release_grant(l.end(permit)?);
            Ok(LLMRL_OK)
        })
    }
}

/// Ends a permit or a ticket, whatever it is at this moment, and gives everything back.
/// A ticket leaves the queue.
///
/// Returns LLMRL_OK; LLMRL_ERR_STALE; or LLMRL_ERR_BUSY, when a thread polls it right now:
/// cancel again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_cancel(
    l: *const llmrl_limiter,
    permit: llmrl_permit,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with_limiter(l, |l| {
            match l.table.claim(permit, false)? {
                Claimed::Held(_ended, grant) => l.limiter.cancel_grant(grant),
                Claimed::Waiting(_ended, ticket) => l.limiter.leave(ticket),
            }
            Ok(LLMRL_OK)
        })
    }
}
