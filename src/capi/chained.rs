//! Requests at a chain
//!
//! As at a limiter: now or not at all, with a thread that blocks, or with a ticket. A
//! ticket becomes the permit under the same number, which means nothing to other chains,
//! nor to the limiters. A permit ends once, by one of three functions, at every level.

use super::advice::{advise, llmrl_advice};
use super::chain::llmrl_chain;
use super::feedback::llmrl_answer;
use super::limit::{llmrl_cost, read_cost};
use super::limiter::{LLMRL_MAX_LIMITS, llmrl_permit};
use super::permits::{Look, poll, progress};
use super::status::*;
use super::table::{Claim, Claimed};
use super::{Answer, Plain, check_room, copy_out, live, refuse, timeout, with, with_kept};
use crate::chain::{ChainRefused, Grants, MAX_LEVELS, Place, Stand};
use std::ptr;

/// A request that all levels have admitted, or waits at one, or was refused at one. May
/// grow at the end in later versions, so its size is passed along with it.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct llmrl_chained {
    /// With LLMRL_OK the permit, which is held; with LLMRL_PENDING the ticket. Else 0.
    pub permit: llmrl_permit,
    /// With LLMRL_REFUSED the wait of the whole chain, and with LLMRL_PENDING when to
    /// poll; LLMRL_FOREVER if no time is known. Else 0.
    pub wait_ns: u64,
    /// The level that refuses, or at which the ticket waits, counted from the first, 0.
    /// LLMRL_MAX_LEVELS if it is the chain itself that is full, or was freed. With LLMRL_OK
    /// 0.
    pub level: u32,
    /// Index of the limit there that refuses; LLMRL_MAX_LIMITS if it is not one limit's
    /// doing, or nothing was refused.
    pub limit: u32,
}

// SAFETY: integers; the two of half size fill one word together.
unsafe impl Plain for llmrl_chained {}

impl llmrl_chain {
    /// Lets a ticket go as far as it can, and says at which level it has arrived.
    fn look(
        &self,
        number: llmrl_permit,
        place: &mut Place,
        level: &mut usize,
        out: &Out,
    ) -> Result<Look<Grants>, llmrl_status> {
        let stand = self.levels.advance(place, self.caller(number));
        *level = place.level();
        match stand {
            Stand::Held(grants) => Ok(Look::Held(grants)),
            Stand::Pending { wait } => Ok(Look::Pending(wait)),
            Stand::Ended(refused) => Err(out.refused(refused)),
            Stand::Spent => Err(LLMRL_ERR_STALE),
        }
    }
}

/// Where the answer goes. It must be there before anything is taken.
struct Out(*mut llmrl_chained, usize);

impl Out {
    /// # Safety
    /// `to` is null or points to `size` writable bytes.
    unsafe fn new(to: *mut llmrl_chained, size: usize) -> Result<Self, llmrl_status> {
        check_room(to, size)?;
        Ok(Self(to, size))
    }

    fn write(&self, permit: llmrl_permit, wait_ns: u64, level: usize, limit: Option<usize>) {
        let chained = llmrl_chained {
            permit,
            wait_ns,
            level: level as u32,
            limit: limit.map_or(LLMRL_MAX_LIMITS, |limit| limit as u32),
        };
        // SAFETY: checked in `new`, and the memory can be written, as its caller says.
        let _ = unsafe { copy_out(self.0, self.1, &chained) };
    }

    fn held(&self, permit: llmrl_permit) -> Answer {
        self.write(permit, 0, 0, None);
        Ok(LLMRL_OK)
    }

    /// What has become of a ticket.
    fn stands(&self, number: llmrl_permit, wait: Option<u64>, level: usize) -> Answer {
        match wait {
            None => self.held(number),
            Some(wait) => {
                self.write(number, wait, level, None);
                Ok(LLMRL_PENDING)
            }
        }
    }

    fn refused(&self, why: ChainRefused) -> llmrl_status {
        let mut wait = 0;
        // SAFETY: it can be written.
        let status = unsafe { refuse(why.refused, &mut wait) };
        // A bad cost is nobody's doing.
        if status != LLMRL_ERR_COST {
            self.write(0, wait, why.level, why.limit);
        }
        status
    }

    /// An entry for what is to come, before anything is taken.
    fn claim<'a>(&self, chain: &'a llmrl_chain) -> Result<Claim<'a, Place, Grants>, llmrl_status> {
        let claim = chain.table.insert();
        claim.ok_or_else(|| self.by_chain(LLMRL_ERR_FULL))
    }

    /// It is the chain's doing and no level's.
    fn by_chain(&self, status: llmrl_status) -> llmrl_status {
        self.write(0, 0, MAX_LEVELS, None);
        status
    }
}

/// Asks now, at every level or nowhere. out_size is sizeof *out.
///
/// - LLMRL_OK: admitted; *out has the permit.
/// - LLMRL_REFUSED: not now. *out says at which level, for which limit, and after how long:
///   of all levels, the one at which it would wait longest. Nothing is held.
/// - LLMRL_ERR_NEVER, LLMRL_ERR_CLOSED: *out says at which level. LLMRL_ERR_FULL: as many
///   tickets and permits of the chain as it was made for. LLMRL_ERR_COST, LLMRL_ERR_NULL,
///   LLMRL_ERR_FLAGS (a reserved field), LLMRL_ERR_SIZE: *out is not touched.
///
/// Cost: that of llmrl_outlook() and llmrl_try_acquire() at each level. All are looked at
/// before one is touched; somebody else may still be faster, and then a level below has
/// lacked the request's cost for a moment.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_chain_try_acquire(
    c: *const llmrl_chain,
    cost: *const llmrl_cost,
    out: *mut llmrl_chained,
    out_size: usize,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(c, |c| {
            let (out, cost) = (Out::new(out, out_size)?, read_cost(cost)?);
            let claim = out.claim(c)?;
            let grants = c.levels.admit(&cost).map_err(|why| out.refused(why))?;
            let number = claim.number();
            claim.hold(grants);
            out.held(number)
        })
    }
}

/// Asks, and blocks the thread until its turn has come at one level after the other, for
/// timeout_ns in all; LLMRL_FOREVER waits without end.
///
/// Answers as llmrl_acquire(), with the level in *out, and as llmrl_chain_try_acquire().
/// LLMRL_ERR_DEADLINE comes at once if the request is known to be late at some level, and
/// then nothing was taken at any. LLMRL_ERR_FULL may be a level's queue. To get threads out,
/// close a limiter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_chain_acquire(
    c: *const llmrl_chain,
    cost: *const llmrl_cost,
    timeout_ns: u64,
    out: *mut llmrl_chained,
    out_size: usize,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with_kept(c, |c| {
            let (out, cost) = (Out::new(out, out_size)?, read_cost(cost)?);
            let claim = out.claim(c)?;
            let grants = c.levels.block(&cost, timeout(timeout_ns));
            let grants = grants.map_err(|why| out.refused(why))?;
            if live(c).is_err() {
                c.levels.cancel(grants);
                return Err(out.by_chain(LLMRL_ERR_CLOSED));
            }
            let number = claim.number();
            claim.hold(grants);
            out.held(number)
        })
    }
}

/// Asks, and joins a queue if it is not yet the request's turn. Never blocks.
///
/// - LLMRL_OK: admitted at once, and *out's permit is held.
/// - LLMRL_PENDING: *out's permit is the number of a ticket that waits at *out's level.
///   Poll it when *out's wait_ns have passed, or when the chain's wake callback is called
///   with it, whichever is first: see llmrl_enqueue().
/// - Errors as in llmrl_chain_acquire().
///
/// A ticket goes on to the next level when it is polled. One that is not polled is granted
/// in its turn where it stands, and keeps that until it is polled or cancelled.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_chain_enqueue(
    c: *const llmrl_chain,
    cost: *const llmrl_cost,
    timeout_ns: u64,
    out: *mut llmrl_chained,
    out_size: usize,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(c, |c| {
            let (out, cost) = (Out::new(out, out_size)?, read_cost(cost)?);
            let claim = out.claim(c)?;
            let number = claim.number();
            let place = c
                .levels
                .enqueue(&cost, timeout(timeout_ns), c.caller(number));
            let place = place.map_err(|why| out.refused(why))?;
            let mut level = 0;
            let wait = progress(claim, place, |place| {
                c.look(number, place, &mut level, &out)
            })?;
            out.stands(number, wait, level)
        })
    }
}

/// Looks how a ticket stands, moves the queue along, and lets it go as far as it can.
///
/// - LLMRL_OK: it is a permit and held; also when that is no news.
/// - LLMRL_PENDING: as in llmrl_chain_enqueue(), perhaps at a later level.
/// - LLMRL_ERR_DEADLINE, LLMRL_ERR_CLOSED, LLMRL_ERR_NEVER, LLMRL_ERR_FULL: it has ended at
///   *out's level, and everything went back.
/// - LLMRL_ERR_STALE: it had ended before, or is not this chain's.
/// - LLMRL_ERR_BUSY: another thread polls it, and will be told what this call would have
///   been.
/// - LLMRL_ERR_NULL, LLMRL_ERR_SIZE: out. It waits as before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_chain_poll(
    c: *const llmrl_chain,
    ticket: llmrl_permit,
    out: *mut llmrl_chained,
    out_size: usize,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(c, |c| {
            let out = Out::new(out, out_size)?;
            let mut level = 0;
            let wait = poll(&c.table, ticket, |place| {
                c.look(ticket, place, &mut level, &out)
            })?;
            out.stands(ticket, wait, level)
        })
    }
}

/// Replaces the estimate of a permit at every level, as llmrl_adjust(). It stays held.
///
/// Returns LLMRL_OK; LLMRL_ERR_STALE or LLMRL_ERR_BUSY; LLMRL_ERR_COST, LLMRL_ERR_FLAGS or
/// LLMRL_ERR_NULL: nothing has changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_chain_adjust(
    c: *const llmrl_chain,
    permit: llmrl_permit,
    so_far: *const llmrl_cost,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(c, |c| {
            let cost = read_cost(so_far)?;
            let adjusted = c
                .table
                .change(permit, |grants| c.levels.adjust(grants, &cost))?;
            adjusted.map_err(|refused| refuse(refused, ptr::null_mut()))?;
            Ok(LLMRL_OK)
        })
    }
}

/// Ends a permit: what was really used replaces the estimate at every level, and its places
/// in flight are free.
///
/// Returns LLMRL_OK; LLMRL_ERR_STALE or LLMRL_ERR_BUSY; LLMRL_ERR_COST, LLMRL_ERR_FLAGS or
/// LLMRL_ERR_NULL: it is still held.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_chain_settle(
    c: *const llmrl_chain,
    permit: llmrl_permit,
    actual: *const llmrl_cost,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(c, |c| {
            let cost = read_cost(actual)?;
            // Before the permit is taken out: with a cost that cannot be, it stays held.
            cost.amounts().map_err(|_| LLMRL_ERR_COST)?;
            let (_ended, grants) = c.table.claim_held(permit)?;
            let settled = c.levels.settle(grants, &cost);
            settled.map_err(|refused| refuse(refused, ptr::null_mut()))?;
            Ok(LLMRL_OK)
        })
    }
}

/// Ends a permit: the estimate stands at every level, and its places in flight are free.
///
/// Returns LLMRL_OK, LLMRL_ERR_STALE or LLMRL_ERR_BUSY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_chain_release(
    c: *const llmrl_chain,
    permit: llmrl_permit,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(c, |c| {
            let (_ended, grants) = c.table.claim_held(permit)?;
            c.levels.release(grants);
            Ok(LLMRL_OK)
        })
    }
}

/// Ends a permit or a ticket, whatever it is at this moment, and gives everything back at
/// every level, the last one first. A ticket leaves its queue.
///
/// Returns LLMRL_OK; LLMRL_ERR_STALE; or LLMRL_ERR_BUSY, when a thread polls it right now:
/// cancel again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_chain_cancel(
    c: *const llmrl_chain,
    permit: llmrl_permit,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(c, |c| {
            match c.table.claim(permit, false)? {
                Claimed::Held(_ended, grants) => c.levels.cancel(grants),
                Claimed::Waiting(_ended, place) => c.levels.leave(place, c.caller(permit)),
            }
            Ok(LLMRL_OK)
        })
    }
}

/// The provider has answered the request of this permit, which stays held: the last level,
/// which is the provider's, learns from it, as with llmrl_feedback(). A request that was
/// refused has used no tokens, and gets them back at every level.
///
/// Returns as llmrl_feedback().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_chain_feedback(
    c: *const llmrl_chain,
    permit: llmrl_permit,
    answer: *const llmrl_answer,
    answer_size: usize,
    out: *mut llmrl_advice,
    out_size: usize,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(c, |c| {
            advise(answer, answer_size, out, out_size, |reading| {
                Ok(c.table
                    .change(permit, |grants| c.levels.feedback(grants, reading))?)
            })
        })
    }
}
