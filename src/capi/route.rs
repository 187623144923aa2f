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
use super::limiter::{llmrl_limiter, llmrl_wake_fn};
use super::status::*;
use super::{Magic, Message, Object, Plain, copy_in, give, guard, keep, take_back, with, write};
use crate::route::{Node, RoutedTicket, Router};
use crate::sync::{Arc, Mutex};
use std::collections::HashMap;
use std::ffi::{c_char, c_void};
use std::ptr;

/// A router. See llmrl_router_new().
// In disguise, or cbindgen would put the fields into the header.
#[cfg_attr(all(), repr(C))]
pub struct llmrl_router {
    magic: Magic,
    pub(super) router: Router,
    pub(super) tickets: Mutex<HashMap<u64, Place>>,
}

// SAFETY: it is laid out as in C, and the magic word comes first.
unsafe impl Object for llmrl_router {
    const MAGIC: u64 = u64::from_be_bytes(*b"llmrlrtr");

    fn close_limiters(&self) {
        let nodes = self.router.nodes();
        nodes.iter().for_each(|node| node.limiter().close());
    }
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

/// A ticket, unless a call has it in its hands.
#[derive(Default)]
pub(super) struct Place {
    pub(super) ticket: Option<RoutedTicket>,
    /// Another poll came in the meantime, and is to be answered by the one that goes on.
    pub(super) is_missed: bool,
}

/// Bytes that C has; empty if there are none.
///
/// # Safety
/// Null, or points to `size` readable bytes.
pub(super) unsafe fn bytes<'a>(from: *const c_void, size: usize) -> Result<&'a [u8], llmrl_status> {
    match (from.is_null(), size) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(LLMRL_ERR_NULL),
        // SAFETY: not null, so `size` bytes can be read, as the caller says. No object of Rust is larger than isize::MAX.
        (false, 1..=0x7fff_ffff) => Ok(unsafe { std::slice::from_raw_parts(from.cast(), size) }),
        (false, _) => Err(LLMRL_ERR_SIZE),
    }
}

/// The limiter that C has added as this node, as C has it: so not made of a reference.
pub(super) fn pointer(node: &Node) -> *const llmrl_limiter {
    node.home()
        .map_or(ptr::null(), |home| Arc::as_ptr(home).cast())
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
    // SAFETY: what C promises of the pointers it gives.
    let message = unsafe { Message::new(message, message_size) };
    // SAFETY: what C promises of the pointers it gives.
    guard(None, || unsafe {
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
    // SAFETY: what C promises of the pointers it gives.
    let message = unsafe { Message::new(message, message_size) };
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(r, |r| {
            if name.is_null() {
                return Err(LLMRL_ERR_NULL);
            }
            let name = bytes(name, name_size)?;
            let home = keep(l)?;
            let added = r
                .router
                .add_home(name, weight, &home.limiter, Some(home.clone()));
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
        with(r, |r| {
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
        with(r, |r| {
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
        with(r, |r| {
            let key = bytes(key, key_size)?;
            let found = r.router.node_for(key).ok_or(LLMRL_ERR_NODE)?;
            write(node, found.number());
            write(l, pointer(&found));
            Ok(LLMRL_OK)
        })
    }
}
