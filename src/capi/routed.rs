//! Requests at a router
//!
//! As at a limiter, with a key or without: now or not at all, with a thread that blocks,
//! or with a ticket. What comes of it is a permit of the node's limiter.

use super::limit::{llmrl_cost, read_cost};
use super::limiter::{llmrl_limiter, llmrl_permit};
use super::route::{Place, bytes, llmrl_router, pointer};
use super::status::*;
use super::{Answer, Plain, check_room, copy_out, refuse, timeout, wait_ns, with};
use crate::route::{Node, Routed, RoutedProgress, RoutedTicket, Unrouted};
use crate::sync::lock;
use std::ffi::c_void;
use std::ptr;

/// A request that was admitted at a node, or waits at all of them, or was refused. May
/// grow at the end in later versions, so its size is passed along with it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct llmrl_routed {
    /// With LLMRL_OK the permit, which is held: to be ended with llmrl_settle() and the
    /// like, and with the limiter below. Else 0.
    pub permit: llmrl_permit,
    /// With LLMRL_PENDING the number of the router's ticket. Else 0.
    pub ticket: u64,
    /// With LLMRL_REFUSED the shortest wait of all nodes, and with LLMRL_PENDING when to
    /// poll; LLMRL_FOREVER if no time is known. Else 0.
    pub wait_ns: u64,
    /// The node's limiter, as it was added: of the node that has admitted the request,
    /// or that refuses it for the shortest time. With LLMRL_PENDING NULL.
    pub limiter: *const llmrl_limiter,
    /// The number of that node; see llmrl_router_add(). With LLMRL_PENDING 0.
    pub node: u32,
    /// Zero.
    pub reserved0: u32,
}

// SAFETY: words, a pointer that may be zero, and a pair of halves: no padding where pointers have 64 bits, nor on 32-bit x86.
unsafe impl Plain for llmrl_routed {}

/// No key, or one that may be empty.
///
/// # Safety
/// As [`bytes`].
unsafe fn key_of<'a>(key: *const c_void, size: usize) -> Result<Option<&'a [u8]>, llmrl_status> {
    // SAFETY: passed on.
    let bytes = unsafe { bytes(key, size) }?;
    Ok((!key.is_null()).then_some(bytes))
}

/// The limiter that C has added as this node.
fn home(node: &Node) -> Option<&llmrl_limiter> {
    node.home()?.downcast_ref()
}

/// What is to be said about a node.
fn at(node: &Node, permit: llmrl_permit, wait_ns: u64) -> llmrl_routed {
    llmrl_routed {
        permit,
        ticket: 0,
        wait_ns,
        limiter: pointer(node),
        node: node.number(),
        reserved0: 0,
    }
}

/// Where the answer goes. It must be there before anything is taken.
struct Out(*mut llmrl_routed, usize);

impl Out {
    /// # Safety
    /// `to` is null or points to `size` writable bytes.
    unsafe fn new(to: *mut llmrl_routed, size: usize) -> Result<Self, llmrl_status> {
        check_room(to, size)?;
        Ok(Self(to, size))
    }

    fn write(&self, routed: &llmrl_routed) {
        // SAFETY: checked in `new`, and the memory can be written, as its caller says.
        let _ = unsafe { copy_out(self.0, self.1, routed) };
    }

    /// Leaves the permit with the limiter that has given it.
    fn held(&self, routed: Routed) -> Answer {
        let (node, grant) = routed.into_parts();
        let claim = home(&node).and_then(|home| home.table.insert());
        let Some(claim) = claim else {
            node.limiter().cancel_grant(grant);
            return Err(LLMRL_ERR_FULL);
        };
        self.write(&at(&node, claim.number(), 0));
        claim.hold(grant);
        Ok(LLMRL_OK)
    }

    fn refused(&self, unrouted: Unrouted) -> llmrl_status {
        let mut wait = 0;
        // SAFETY: it can be written.
        let status = unsafe { refuse(unrouted.refused, &mut wait) };
        if let (LLMRL_REFUSED, Some(node)) = (status, &unrouted.node) {
            self.write(&at(node, 0, wait));
        }
        status
    }
}

/// Asks now. With a key, its node is asked first, and then the others in an order that is
/// the key's own; without (key is NULL), a node chosen by weight comes first. out_size is
/// sizeof *out.
///
/// - LLMRL_OK: admitted at *out's node. The permit belongs to *out's limiter.
/// - LLMRL_REFUSED: not now. *out says after how long, and where; nothing is held.
/// - LLMRL_ERR_NEVER: too much for every node that is not closed. LLMRL_ERR_CLOSED: all
///   are. LLMRL_ERR_NODE: there is none, or none that has a weight. LLMRL_ERR_FULL: as
///   many permits are held at the node as it was made for. LLMRL_ERR_COST, LLMRL_ERR_NULL,
///   LLMRL_ERR_FLAGS, LLMRL_ERR_SIZE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_router_try_acquire(
    r: *const llmrl_router,
    cost: *const llmrl_cost,
    key: *const c_void,
    key_size: usize,
    out: *mut llmrl_routed,
    out_size: usize,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(r, |r| {
            let (out, cost) = (Out::new(out, out_size)?, read_cost(cost)?);
            match r.router.try_acquire(&cost, key_of(key, key_size)?) {
                Ok(routed) => out.held(routed),
                Err(unrouted) => Err(out.refused(unrouted)),
            }
        })
    }
}

/// Asks, and blocks the thread until a node admits it, for timeout_ns at most. It waits
/// in the queues of all nodes, in its turn in each, and is admitted by the first; a node
/// that is paused, closed, full, or too small for it is passed over.
///
/// Answers as llmrl_acquire(), of the node that came closest, and as
/// llmrl_router_try_acquire(). LLMRL_ERR_DEADLINE at once only if the timeout is too short
/// for every node even without those who wait already. To get threads out, close the
/// limiters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_router_acquire(
    r: *const llmrl_router,
    cost: *const llmrl_cost,
    key: *const c_void,
    key_size: usize,
    timeout_ns: u64,
    out: *mut llmrl_routed,
    out_size: usize,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(r, |r| {
            let (out, cost) = (Out::new(out, out_size)?, read_cost(cost)?);
            let key = key_of(key, key_size)?;
            match r.router.acquire(&cost, key, timeout(timeout_ns)) {
                Ok(routed) => out.held(routed),
                Err(unrouted) => Err(out.refused(unrouted)),
            }
        })
    }
}

/// Asks, and joins the queues of all nodes if none admits it now. Never blocks.
///
/// - LLMRL_OK: admitted at once, as in llmrl_router_try_acquire().
/// - LLMRL_PENDING: *out's ticket waits. Poll it when *out's wait_ns have passed, or when
///   the router's wake callback is called with it, whichever is first: see
///   llmrl_enqueue().
/// - Errors as in llmrl_router_acquire().
///
/// A ticket has a place in each queue. One that is not polled may be granted at several
/// nodes, all of which hold its cost until it is polled or cancelled: then all but one
/// get everything back.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_router_enqueue(
    r: *const llmrl_router,
    cost: *const llmrl_cost,
    key: *const c_void,
    key_size: usize,
    timeout_ns: u64,
    out: *mut llmrl_routed,
    out_size: usize,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(r, |r| {
            let (out, cost) = (Out::new(out, out_size)?, read_cost(cost)?);
            let key = key_of(key, key_size)?;
            let refused = |unrouted| out.refused(unrouted);
            if let Some(routed) = r.router.admit_now(&cost, key).map_err(refused)? {
                return out.held(routed);
            }
            let number = next_number();
            // Before it can be woken.
            lock(&r.tickets).insert(number, Place::default());
            let ticket = r.router.enqueue(&cost, key, timeout(timeout_ns), number);
            let ticket = ticket.map_err(|unrouted| {
                lock(&r.tickets).remove(&number);
                refused(unrouted)
            })?;
            r.progress(number, ticket, &out)
        })
    }
}

/// Looks how a ticket stands, and moves all queues along.
///
/// - LLMRL_OK: admitted, as in llmrl_router_try_acquire(). The ticket has ended; from here
///   on there is a permit.
/// - LLMRL_PENDING: as in llmrl_router_enqueue(), with another wait.
/// - LLMRL_ERR_DEADLINE, LLMRL_ERR_CLOSED, LLMRL_ERR_NEVER, LLMRL_ERR_FULL: it has ended, at
///   every node, and this is what the one says that came closest.
/// - LLMRL_ERR_STALE: it had ended before, or is not this router's.
/// - LLMRL_ERR_BUSY: another thread polls it, and will be told what this call would have
///   been.
/// - LLMRL_ERR_NULL, LLMRL_ERR_SIZE: out. It waits as before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_router_poll(
    r: *const llmrl_router,
    ticket: u64,
    out: *mut llmrl_routed,
    out_size: usize,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(r, |r| {
            let out = Out::new(out, out_size)?;
            let place = r.take(ticket, true)?;
            r.progress(ticket, place, &out)
        })
    }
}

/// Ends a ticket: it leaves all queues, and what was granted gets everything back.
///
/// Returns LLMRL_OK; LLMRL_ERR_STALE; or LLMRL_ERR_BUSY, when a thread polls it right now:
/// cancel again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_router_cancel(r: *const llmrl_router, ticket: u64) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(r, |r| {
            let place = r.take(ticket, false)?;
            lock(&r.tickets).remove(&ticket);
            place.cancel();
            Ok(LLMRL_OK)
        })
    }
}

/// Never 0, and never twice in a process.
fn next_number() -> u64 {
    // Not through the facade: a number that differs is all that is asked of it.
    static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

impl llmrl_router {
    /// Takes a ticket into a call's hands. With `note`, a call that comes second leaves word of that.
    fn take(&self, number: u64, note: bool) -> Result<RoutedTicket, llmrl_status> {
        let mut tickets = lock(&self.tickets);
        let place = tickets.get_mut(&number).ok_or(LLMRL_ERR_STALE)?;
        place.is_missed |= note && place.ticket.is_none();
        place.ticket.take().ok_or(LLMRL_ERR_BUSY)
    }

    /// Polls a ticket that was taken, and leaves behind what it has become.
    fn progress(&self, number: u64, mut ticket: RoutedTicket, out: &Out) -> Answer {
        let end = || lock(&self.tickets).remove(&number);
        loop {
            match ticket.poll() {
                RoutedProgress::Held(routed) => {
                    end();
                    return out.held(routed);
                }
                RoutedProgress::Ended(unrouted) => {
                    end();
                    return Err(out.refused(unrouted));
                }
                RoutedProgress::Spent => {
                    end();
                    return Err(LLMRL_ERR_STALE);
                }
                RoutedProgress::Pending { wait } => {
                    let mut tickets = lock(&self.tickets);
                    let place = tickets.entry(number).or_default();
                    if std::mem::take(&mut place.is_missed) {
                        continue;
                    }
                    place.ticket = Some(ticket);
                    drop(tickets);
                    out.write(&llmrl_routed {
                        permit: 0,
                        ticket: number,
                        wait_ns: wait_ns(wait),
                        limiter: ptr::null(),
                        node: 0,
                        reserved0: 0,
                    });
                    return Ok(LLMRL_PENDING);
                }
            }
        }
    }
}
