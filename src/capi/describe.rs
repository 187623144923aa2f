//! Reading what limiters are to be made of.

use super::clock::clock_of;
use super::limit::llmrl_limit;
use super::limiter::{
    LLMRL_MAX_LIMITS, LLMRL_RAISE_LIMITS, llmrl_options, llmrl_permit, llmrl_wake_fn, wall_clock,
};
use super::status::*;
use super::{Message, read};
use crate::error::ConfigError;
use crate::limit::Limit;
use crate::limiter::{Builder, Limiter, MAX_LIMITS, Saved, Wake};
use crate::sync::Arc;
use std::ffi::c_void;

const MAX_PERMITS: usize = Builder::MAX_WAITERS;
const _: () = assert!(Builder::MAX_WAITERS + MAX_PERMITS <= super::table::MAX_ENTRIES);
const _: () = assert!(LLMRL_MAX_LIMITS as usize == MAX_LIMITS);

pub(super) struct Callback {
    function: unsafe extern "C" fn(*mut c_void, llmrl_permit),
    context: *mut c_void,
}

impl Callback {
    /// Nothing, if C has given none.
    pub(super) fn new(function: llmrl_wake_fn, context: *mut c_void) -> Option<Self> {
        function.map(|function| Self { function, context })
    }
}

// SAFETY: the header says that the function is called by any thread, with the context that it was given.
unsafe impl Send for Callback {}
// SAFETY: likewise, by several at once.
unsafe impl Sync for Callback {}

impl Wake for Callback {
    fn wake(&self, token: u64) {
        // SAFETY: the header says what the function must bear and that the context outlives the limiter.
        unsafe { (self.function)(self.context, token) }
    }
}

/// A capacity, with 0 for the default.
pub(super) fn capacity(
    given: u32,
    default: usize,
    max: usize,
    field: &str,
) -> Result<usize, String> {
    match given as usize {
        0 => Ok(default),
        n if n <= max => Ok(n),
        n => Err(format!("options.{field} = {n} is outside 0..={max}")),
    }
}

/// What is wrong, with the limit named as C names it.
pub(super) fn in_c(error: &ConfigError) -> String {
    match error.limit {
        Some(index) => format!("limits[{index}].{}", error.error),
        None => error.error.to_string(),
    }
}

/// What limiters are made of that C describes.
pub(super) struct Description {
    pub(super) builder: Builder,
    /// Of the table: those who wait, and permits.
    pub(super) entries: usize,
}

/// How many waiters and permits there can be if nothing is said about them.
pub(super) struct Sizes {
    pub(super) waiters: usize,
    pub(super) permits: usize,
}

impl Sizes {
    pub(super) const LIMITER: Self = Self {
        waiters: Builder::DEFAULT_WAITERS,
        permits: 65536,
    };
}

/// Limits as C gives them.
///
/// # Safety
/// `count` limits can be read.
pub(super) unsafe fn limits_of(
    limits: *const llmrl_limit,
    count: usize,
    message: Message,
) -> Result<Vec<Limit>, llmrl_status> {
    let limit = |index| {
        // SAFETY: as the caller says.
        let limit = unsafe { read(limits.add(index)) }?;
        // SAFETY: passed on.
        let wrong = |wrong| unsafe { message.about_limit(Some(index), wrong) };
        limit.to_limit().map_err(wrong)
    };
    (0..count).map(limit).collect()
}

/// # Safety As the header says of llmrl_limiter_new().
pub(super) unsafe fn describe(
    limits: *const llmrl_limit,
    count: usize,
    options: llmrl_options,
    sizes: Sizes,
    message: Message,
) -> Result<Description, llmrl_status> {
    // SAFETY: passed on.
    let explain = |status, text: &str| unsafe { message.explain(status, text) };
    if options.flags & !LLMRL_RAISE_LIMITS != 0 || options.reserved0 != 0 {
        let text = "options.flags has unknown bits, or options.reserved0 is not zero";
        return Err(explain(LLMRL_ERR_FLAGS, text));
    }
    let range = |text: String| explain(LLMRL_ERR_RANGE, &text);
    if !(1..=MAX_LIMITS).contains(&count) {
        return Err(range(format!(
            "count = {count} is outside 1..={MAX_LIMITS}"
        )));
    }
    let waiters = options.max_waiters;
    let waiters = capacity(waiters, sizes.waiters, Builder::MAX_WAITERS, "max_waiters");
    let waiters = waiters.map_err(range)?;
    let permits = capacity(
        options.max_permits,
        sizes.permits,
        MAX_PERMITS,
        "max_permits",
    );
    let permits = permits.map_err(range)?;

    // SAFETY: passed on.
    let limits = unsafe { limits_of(limits, count, message) }?;
    let mut builder = Limiter::builder()
        .limits(&limits)
        .max_waiters(waiters)
        .raise_limits(options.flags & LLMRL_RAISE_LIMITS != 0)
        // SAFETY: a live clock, or what is checked there, as the caller says.
        .clock(unsafe { clock_of(options.clock) }?);
    if let Some(wake) = Callback::new(options.wake, options.wake_ctx) {
        builder = builder.wake(Arc::new(wake));
    }
    if !options.saved.is_null() {
        let bytes = options.saved.cast::<u8>();
        // SAFETY: so many bytes can be read, as the caller says.
        let bytes = unsafe { std::slice::from_raw_parts(bytes, options.saved_size) };
        let saved = Saved::read(bytes, wall_clock(options.saved_now_ns))
            .map_err(|corrupt| explain(LLMRL_ERR_SAVED, &corrupt.to_string()))?;
        builder = builder.restore(saved);
    }
    Ok(Description {
        builder,
        entries: waiters + permits,
    })
}
