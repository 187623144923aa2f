//! Chain
//!
//! Limiters one above the other, such as a user's, a team's, and that of the provider's
//! key: a request needs all of them, and gets all or none.
//!
//! ```c
//! const llmrl_limiter *levels[3] = {user, team, provider};
//! llmrl_chain *chain;
//! llmrl_chain_new(levels, 3, NULL, 0, &chain, NULL, 0);
//!
//! llmrl_chained chained;
//! llmrl_chain_acquire(chain, &cost, timeout, &chained, sizeof chained);
//! llmrl_chain_settle(chain, chained.permit, &used);
//! ```
//!
//! The first level is the most private one, the last is shared by most. At each level who
//! comes first is served first. Whoever waits stands in one queue at a time, from the first
//! to the last, and keeps what it has got below; so nobody takes from the shared limit
//! before everything else is there. What was taken goes back when a later level refuses.

use super::describe::{Callback, capacity};
use super::limiter::{llmrl_limiter, llmrl_wake_fn};
use super::status::*;
use super::table::{Claimed, MAX_ENTRIES, Table};
use super::{Magic, Message, Object, Plain, copy_in, guard, live, read, take_back_kept};
use crate::chain::{Caller, Grants, Levels, MAX_LEVELS, Place};
use crate::limiter::{Guest, Limiter, Wake, next_serial};
use crate::map::Keyed;
use crate::sync::Arc;
use std::borrow::Borrow;
use std::ffi::{c_char, c_void};

/// Most levels of a chain.
pub const LLMRL_MAX_LEVELS: u32 = 8;
const _: () = assert!(LLMRL_MAX_LEVELS as usize == MAX_LEVELS);

const DEFAULT_PERMITS: usize = 4096;
const MAX_PERMITS: usize = 1 << 20;
const _: () = assert!(MAX_PERMITS <= MAX_ENTRIES);

/// A chain. See llmrl_chain_new().
// In disguise, or cbindgen would put the fields into the header.
#[cfg_attr(all(), repr(C))]
pub struct llmrl_chain {
    magic: Magic,
    pub(super) levels: Levels<Level>,
    pub(super) table: Table<Place, Grants>,
    wake: Arc<dyn Wake>,
}

// SAFETY: it is laid out as in C, and the magic word comes first.
unsafe impl Object for llmrl_chain {
    const MAGIC: u64 = u64::from_be_bytes(*b"llmrlchn");

    fn close_limiters(&self) {
        self.levels.iter().for_each(Limiter::close);
    }
}

/// A limiter, whatever becomes of the handle to it.
pub(super) struct Level {
    limiter: Limiter,
    /// What keeps it in its map, if it is of one.
    _keyed: Option<Keyed>,
}

impl Borrow<Limiter> for Level {
    fn borrow(&self) -> &Limiter {
        &self.limiter
    }
}

/// Where there is nobody to be called.
struct Nobody;

impl Wake for Nobody {
    fn wake(&self, _: u64) {}
}

/// What can be chosen of a chain. May grow at the end in later versions, so its size is
/// passed along with it; all zeros, like NULL in its place, means the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct llmrl_chain_options {
    /// Zero.
    pub flags: u32,
    /// How many tickets and permits there may be at the same time, up to 1048576; 0 is
    /// 4096. Memory is reserved for all of them, some 600 bytes each, and becomes resident
    /// when it is first used.
    pub max_permits: u32,
    /// Called when a ticket of the chain should be polled, with its number; NULL if
    /// tickets are not used, or are polled anyway. As that of a limiter: see
    /// llmrl_wake_fn. The limiters' own ones are not called for a chain's tickets.
    pub wake: llmrl_wake_fn,
    /// Handed to wake as it is. Must stay valid until llmrl_chain_free() has returned,
    /// and every call on its limiters that was under way by then.
    pub wake_ctx: *mut c_void,
}

// SAFETY: a pair of halves and two pointers, all of which may be zero; there is no padding.
unsafe impl Plain for llmrl_chain_options {}

impl llmrl_chain {
    /// Whom the limiters call for the ticket of that number.
    pub(super) fn caller(&self, number: u64) -> Caller<'_> {
        Caller::Guest(Guest {
            wake: &self.wake,
            token: number,
            is_elsewhere: false,
        })
    }

    /// Whoever waits leaves, and what is held is released.
    fn end_all(&self) {
        for number in self.table.numbers() {
            match self.table.claim(number, false) {
                Ok(Claimed::Held(_ended, grants)) => self.levels.release(grants),
                Ok(Claimed::Waiting(_ended, place)) => {
                    self.levels.leave(place, self.caller(number));
                }
                Err(_) => {}
            }
        }
    }
}

impl Drop for llmrl_chain {
    fn drop(&mut self) {
        self.end_all();
    }
}

/// Makes a chain of count limiters, 1 to LLMRL_MAX_LEVELS, the most private first. options
/// may be NULL; options_size is sizeof *options. message is as in llmrl_limiter_new().
///
/// The limiters may be used without the chain, too, and in several chains. It keeps
/// references of its own: a handle of a map's limiter may be freed, and the limiter stays in
/// its map as long as the chain is there. Another limiter is closed by
/// llmrl_limiter_free(), and then the chain answers LLMRL_ERR_CLOSED; that limiter's
/// wake_ctx must outlive every call on the chain that was under way by then. A chain costs
/// a reservation of memory: make it for as long as a user is active, not for each request.
///
/// - LLMRL_OK: *out is the chain, to be freed with llmrl_chain_free().
/// - LLMRL_ERR_RANGE, LLMRL_ERR_FLAGS, and LLMRL_ERR_NULL or LLMRL_ERR_HANDLE for one of
///   the limiters: see message.
/// - LLMRL_ERR_SIZE: options_size. LLMRL_ERR_NULL: limiters or out. LLMRL_ERR_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_chain_new(
    limiters: *const *const llmrl_limiter,
    count: usize,
    options: *const llmrl_chain_options,
    options_size: usize,
    out: *mut *mut llmrl_chain,
    message: *mut c_char,
    message_size: usize,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    guard(None, || unsafe {
        let message = Message::new(message, message_size);
        if limiters.is_null() || out.is_null() {
            return Err(LLMRL_ERR_NULL);
        }
        let options = copy_in(options, options_size)?;
        if options.flags != 0 {
            return Err(message.explain(LLMRL_ERR_FLAGS, "options.flags has unknown bits"));
        }
        let range = |text| message.explain(LLMRL_ERR_RANGE, text);
        let entries = options.max_permits;
        let entries = capacity(entries, DEFAULT_PERMITS, MAX_PERMITS, "max_permits");
        let entries = entries.map_err(range)?;
        // Before so many are read.
        if !(1..=MAX_LEVELS).contains(&count) {
            return Err(range(format!(
                "count = {count} is outside 1..={MAX_LEVELS}"
            )));
        }
        let level = |index: usize| -> Result<Level, llmrl_status> {
            let l = live(read(limiters.add(index))?).map_err(|status| {
                let text = format_args!("limiters[{index}] is not a live limiter");
                message.explain(status, text)
            })?;
            Ok(Level {
                limiter: l.limiter.clone(),
                _keyed: l.keyed.clone(),
            })
        };
        let levels = (0..count).map(level).collect::<Result<Box<_>, _>>()?;
        let chain = Arc::new(llmrl_chain {
            magic: Magic::of::<llmrl_chain>(),
            levels: Levels::new(levels).map_err(|error| range(error.to_string()))?,
            table: Table::new(entries, next_serial()).ok_or(LLMRL_ERR_MEMORY)?,
            wake: match Callback::new(options.wake, options.wake_ctx) {
                Some(wake) => Arc::new(wake),
                None => Arc::new(Nobody),
            },
        });
        out.write_unaligned(Arc::into_raw(chain).cast_mut());
        Ok(LLMRL_OK)
    })
}

/// Gives the chain up; NULL is allowed. No other thread may be in a call on it, or make one
/// later. Its tickets leave their queues and its permits are released. The limiters go on.
///
/// One mistake is forgiven: a thread that is blocked in llmrl_chain_acquire() waits on, for
/// its turn, its timeout, or the end of the limiter; then it returns LLMRL_ERR_CLOSED and
/// holds nothing. To get it out at once, close the limiter at which it waits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_chain_free(c: *mut llmrl_chain) {
    // SAFETY: what C promises of the pointers it gives.
    unsafe { take_back_kept(c, |chain| &chain.magic, llmrl_chain::end_all) }
}
