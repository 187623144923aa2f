//! Router
//!
//! Limiters by name. For one limit in many parts: which part a key belongs to, always
//! the same one in every process and language. And for many deployments of one model:
//! the one that can admit a request soonest, with a key to keep to or without.
//!
//! A key draws a number at each node, and belongs to the node with the smallest:
//! weighted rendezvous. A node that comes takes keys from all others in proportion to
//! its weight, one that goes leaves its keys to them, and nothing else moves.
//!
//! ```text
//! llmrl_router_new(NULL, 0, &router, NULL, 0);
//! llmrl_router_add(router, "east", 4, 3, east, NULL, NULL, 0);
//! llmrl_router_add(router, "west", 4, 1, west, NULL, NULL, 0);
//! llmrl_router_acquire(router, &cost, "tenant 17", 9, LLMRL_FOREVER,
//!                      &routed, sizeof routed);
//! ...                                     send it to node routed.node
//! llmrl_settle(routed.limiter, routed.permit, &used);
//! ```

use super::describe::Callback;
use super::limit::{llmrl_cost, read_cost};
use super::limiter::{llmrl_limiter, llmrl_permit, llmrl_wake_fn};
use super::status::*;
use super::{
    Answer, Magic, Message, Object, Plain, check_room, copy_in, copy_out, give, guard, live,
    refuse, take_back, timeout, wait_ns, write,
};
use crate::route::{Node, Routed, RoutedProgress, RoutedTicket, Router, Unrouted};
use crate::sync::{Arc, Mutex, lock};
use std::collections::HashMap;
use std::ffi::{c_char, c_void};
use std::ptr;

/// A router. See llmrl_router_new().
// In disguise, or cbindgen would put the fields into the header.
#[cfg_attr(all(), repr(C))]
pub struct llmrl_router {
    magic: Magic,
    router: Router,
    tickets: Mutex<HashMap<u64, Place>>,
}

// SAFETY: it is laid out as in C, and the magic word comes first.
unsafe impl Object for llmrl_router {
    const MAGIC: u64 = u64::from_be_bytes(*b"llmrlrtr");
}

/// What can be chosen of a router. May grow at the end in later versions, so its size is
/// passed along with it; all zeros, like NULL in its place, means the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct llmrl_router_options {
    /// Zero.
    pub flags: u32,
    /// 0: weighted rendezvous. 1 to 10000: keys are placed on a ring instead, on which
    /// each node has so many points for each unit of its weight, at the MD5 of "name:0",
    /// "name:1" and so on; for those whose keys are placed like that already. There may be
    /// 1048576 points in all, of 32 bytes each.
    pub replicas: u32,
    /// Called when a ticket of the router should be polled, with its number; NULL if
    /// tickets are not used, or are polled anyway. As that of a limiter: see
    /// llmrl_wake_fn.
    pub wake: llmrl_wake_fn,
    /// Handed to wake as it is. Must stay valid until llmrl_router_free() has returned,
    /// and every call on its limiters that was under way by then.
    pub wake_ctx: *mut c_void,
}

// SAFETY: a pair of halves and two pointers, all of which may be zero; there is no padding.
unsafe impl Plain for llmrl_router_options {}

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

// SAFETY: words, and a pair of halves; a pointer may be zero, and there is no padding on 64 bits or on 32.
unsafe impl Plain for llmrl_routed {}

/// A ticket, unless a call has it in its hands.
#[derive(Default)]
struct Place {
    ticket: Option<RoutedTicket>,
    /// Another poll came in the meantime, and is to be answered by the one that goes on.
    is_missed: bool,
}

/// Runs `body` on a router. After a panic nobody knows what state its limiters are in.
///
/// # Safety
/// As [`live`].
unsafe fn with_router(
    router: *const llmrl_router,
    body: impl FnOnce(&llmrl_router) -> Answer,
) -> llmrl_status {
    // SAFETY: passed on.
    match unsafe { live(router) } {
        Ok(router) => match guard(None, || body(router)) {
            LLMRL_ERR_PANIC => guard(None, || {
                router
                    .router
                    .nodes()
                    .iter()
                    .for_each(|node| node.limiter().close());
                Err(LLMRL_ERR_PANIC)
            }),
            status => status,
        },
        Err(status) => status,
    }
}

/// Bytes that C has; empty if there are none.
///
/// # Safety
/// Null, or points to `size` readable bytes.
unsafe fn bytes<'a>(from: *const c_void, size: usize) -> Result<&'a [u8], llmrl_status> {
    match (from.is_null(), size) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(LLMRL_ERR_NULL),
        // SAFETY: not null, so `size` bytes can be read, as the caller says. No object of Rust is larger than isize::MAX.
        (false, 1..=0x7fff_ffff) => Ok(unsafe { std::slice::from_raw_parts(from.cast(), size) }),
        (false, _) => Err(LLMRL_ERR_SIZE),
    }
}

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
        // As C has it, so not made of a reference.
        limiter: node
            .home()
            .map_or(ptr::null(), |home| Arc::as_ptr(home).cast()),
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

/// Makes a router without nodes. options may be NULL; options_size is sizeof *options.
/// message is as in llmrl_limiter_new().
///
/// - LLMRL_OK: *out is the router, to be freed with llmrl_router_free().
/// - LLMRL_ERR_RANGE, LLMRL_ERR_FLAGS: see message.
/// - LLMRL_ERR_SIZE: options_size. LLMRL_ERR_NULL: out.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_router_new(
    options: *const llmrl_router_options,
    options_size: usize,
    out: *mut *mut llmrl_router,
    message: *mut c_char,
    message_size: usize,
) -> llmrl_status {
    let message = Message {
        buffer: message,
        size: message_size,
    };
    // SAFETY: what C promises of the pointers it gives.
    guard(None, || unsafe {
        message.explain(LLMRL_OK, "");
        let options = copy_in(options, options_size)?;
        if options.flags != 0 {
            return Err(message.explain(LLMRL_ERR_FLAGS, "options.flags has unknown bits"));
        }
        let router = match options.replicas {
            0 => Router::new(),
            replicas => Router::ring(replicas)
                .map_err(|error| message.explain(LLMRL_ERR_RANGE, format!("options.{error}")))?,
        };
        let router = match Callback::new(options.wake, options.wake_ctx) {
            Some(wake) => router.wake(Arc::new(wake)),
            None => router,
        };
        give(
            out,
            llmrl_router {
                magic: Magic::of::<llmrl_router>(),
                router,
                tickets: Mutex::default(),
            },
        )
    })
}

/// Gives the router up; NULL is allowed. No other thread may be in a call on it, or make
/// one later. Tickets leave their queues. Its limiters, and permits, are not touched.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_router_free(r: *mut llmrl_router) {
    // SAFETY: what C promises of the pointers it gives.
    unsafe { take_back(r, |router| &router.magic) }
}

/// Adds a node. name is name_size bytes, 1 to 255 and of any kind, and no other node's;
/// weight is its share of the keys and requests, 0 to 1000000, in the sum of all weights:
/// with 0 it gets none. There may be 1024 nodes. message is as in llmrl_limiter_new().
///
/// *node, if node is not NULL, is the number by which answers name the node: how many
/// had been added before. No other one gets it when this one has gone.
///
/// The limiter may be used without the router, too, and in several routers. Its memory
/// stays for as long as it is a node. llmrl_limiter_free() closes it: then the router
/// passes it over, until it is removed.
///
/// Others may use the router meanwhile. Whoever waits has no place at the new node.
///
/// Returns LLMRL_OK; LLMRL_ERR_RANGE, see message; LLMRL_ERR_NULL; LLMRL_ERR_HANDLE: l.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_router_add(
    r: *const llmrl_router,
    name: *const c_void,
    name_size: usize,
    weight: u32,
    l: *const llmrl_limiter,
    node: *mut u32,
    message: *mut c_char,
    message_size: usize,
) -> llmrl_status {
    let message = Message {
        buffer: message,
        size: message_size,
    };
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with_router(r, |r| {
            message.explain(LLMRL_OK, "");
            if name.is_null() {
                return Err(LLMRL_ERR_NULL);
            }
            let name = bytes(name, name_size)?;
            let limiter = live(l)?;
            // A count of its own; it is live, so it came from `Arc::into_raw`.
            Arc::increment_strong_count(l);
            let home = Arc::from_raw(l);
            let added = r
                .router
                .add_home(name, weight, &limiter.limiter, Some(home));
            let number = added.map_err(|error| message.explain(LLMRL_ERR_RANGE, error))?;
            write(node, number);
            Ok(LLMRL_OK)
        })
    }
}

/// Another weight for the node of that name. Keys move only to it, or only away from it.
///
/// Returns LLMRL_OK; LLMRL_ERR_NODE; LLMRL_ERR_RANGE: above 1000000, or too many points on
/// the ring; LLMRL_ERR_NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_router_set_weight(
    r: *const llmrl_router,
    name: *const c_void,
    name_size: usize,
    weight: u32,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with_router(r, |r| {
            if name.is_null() {
                return Err(LLMRL_ERR_NULL);
            }
            let changed = r.router.set_weight(bytes(name, name_size)?, weight);
            changed.map_err(|error| match error.field == Router::NO_SUCH_NODE {
                true => LLMRL_ERR_NODE,
                false => LLMRL_ERR_RANGE,
            })?;
            Ok(LLMRL_OK)
        })
    }
}

/// Takes the node of that name away: it gets no keys and no more requests. Permits that
/// are held are not touched. Tickets and threads that wait may still be admitted there;
/// close its limiter, and they wait for the other nodes only.
///
/// Returns LLMRL_OK, LLMRL_ERR_NODE or LLMRL_ERR_NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_router_remove(
    r: *const llmrl_router,
    name: *const c_void,
    name_size: usize,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with_router(r, |r| {
            if name.is_null() {
                return Err(LLMRL_ERR_NULL);
            }
            let removed = r.router.remove(bytes(name, name_size)?);
            removed.map_err(|_| LLMRL_ERR_NODE)?;
            Ok(LLMRL_OK)
        })
    }
}

/// The node to which a key belongs, whatever its limiter would say: to spread one limit
/// over parts. A key is key_size bytes of any kind, also none. *node is its number and
/// *l its limiter, as it was added; either may be NULL.
///
/// Returns LLMRL_OK; LLMRL_ERR_NODE: no node has a weight; LLMRL_ERR_NULL.
///
/// Cost: some nanoseconds for each node, more if weights differ; on a ring one MD5 and a
/// binary search. A lock is held for some nanoseconds.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_router_node_for(
    r: *const llmrl_router,
    key: *const c_void,
    key_size: usize,
    node: *mut u32,
    l: *mut *const llmrl_limiter,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with_router(r, |r| {
            let key = bytes(key, key_size)?;
            let found = r.router.node_for(key).ok_or(LLMRL_ERR_NODE)?;
            write(node, found.number());
            write(l, at(&found, 0, 0).limiter);
            Ok(LLMRL_OK)
        })
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
        with_router(r, |r| {
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
        with_router(r, |r| {
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
        with_router(r, |r| {
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
        with_router(r, |r| {
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
        with_router(r, |r| {
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
