//! The C functions of `include/llmrl.h`. Programs in Rust use the types at the root of the crate instead.
//!
//! One file per object; each is a section of the header, in the order of `tests/header.rs`, and its module comment is
//! the text above that section. What C is promised stands there. This file has what all of them share: objects are
//! recognised by a magic word before a reference to them is made, structs are copied in and out without trusting their
//! alignment or size, and no panic leaves the library.
//!
//! Every function takes raw pointers and is `unsafe` for the same reason, so no function repeats it: a pointer must be
//! null or point to what the header says, for as long as the header says.
#![allow(non_camel_case_types)]
// The contract is the header's, once for all functions; see above.
#![allow(clippy::missing_safety_doc)]

pub mod advice;
pub mod bucket;
pub mod bucket_map;
pub mod chain;
pub mod chained;
pub mod charging;
pub mod clock;
mod describe;
pub mod fair;
pub mod faired;
pub mod feedback;
pub mod in_flight;
pub mod lengths;
pub mod limit;
pub mod limiter;
pub mod map;
pub mod permits;
pub mod route;
pub mod routed;
pub mod stats;
pub mod status;
mod table;
pub mod version;

use crate::clock::nanos;
use crate::error::Refused;
use crate::sync::{Acquire, Arc, Release};
use limiter::llmrl_limiter;
use status::*;
use std::any::Any;
use std::ffi::{c_char, c_void};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
// Not the facade's: this word is a guard against misuse and no part of a protocol.
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// What a call comes to; the two sides differ only in how they are reached.
type Answer = Result<llmrl_status, llmrl_status>;

/// The first thing that is looked at in an object.
struct Magic(AtomicU64);

impl Magic {
    fn of<T: Object>() -> Self {
        Self(AtomicU64::new(T::MAGIC))
    }

    /// From here on the object is not recognised any more.
    fn clear(&self) {
        self.0.store(0, Release);
    }
}

/// Something that C has a pointer to.
///
/// # Safety
/// It begins with its [`Magic`]: so whatever else a pointer leads to, not more than its first word is looked at.
unsafe trait Object {
    /// Unlikely to be found anywhere else.
    const MAGIC: u64;

    /// After a panic in a call on it: nobody knows what state its limiters are in, if it has some.
    fn close_limiters(&self) {}
}

/// Makes a reference from a pointer that C gave, if there is an object of this kind behind it.
///
/// # Safety
/// Null, or an address that can be read. A freed object is recognised with luck only, so this catches mistakes and
/// permits none.
unsafe fn live<'a, T: Object>(object: *const T) -> Result<&'a T, llmrl_status> {
    if object.is_null() {
        return Err(LLMRL_ERR_NULL);
    }
    if !object.is_aligned() {
        return Err(LLMRL_ERR_HANDLE);
    }
    // SAFETY: the caller says that the memory can be read; an atomic word is valid with any content, and the address is
    // aligned for it because that of the object is. No reference to the whole object exists yet.
    let magic = unsafe { &*object.cast::<AtomicU64>() }.load(Acquire);
    if magic != T::MAGIC {
        return Err(LLMRL_ERR_HANDLE);
    }
    // SAFETY: the magic word is written when the object is made and cleared when it is freed.
    Ok(unsafe { &*object })
}

/// Runs the body of an exported function. A panic is a defect of this library; it must not unwind into C. After one in a
/// call on a limiter nobody knows what state that is in, so it is closed: every later call is refused, and whoever waits
/// is told. Other objects see to themselves: [`Object::close_limiters`].
fn guard(limiter: Option<&llmrl_limiter>, body: impl FnOnce() -> Answer) -> llmrl_status {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(status) | Err(status)) => status,
        Err(payload) => after_panic(limiter, payload),
    }
}

/// Once for all functions: in each of them it would cost registers, which the way without a panic saves and restores.
#[cold]
#[inline(never)]
fn after_panic(limiter: Option<&llmrl_limiter>, payload: Box<dyn Any + Send>) -> llmrl_status {
    // Even dropping what was thrown may panic. What that throws is leaked, to come to an end.
    let clean_up = || {
        limiter.inspect(|limiter| limiter.close());
        drop(payload);
    };
    let _ = catch_unwind(AssertUnwindSafe(clean_up)).map_err(std::mem::forget);
    LLMRL_ERR_PANIC
}

/// Runs `body` on a limiter.
///
/// # Safety
/// As [`live`].
unsafe fn with_limiter(
    limiter: *const llmrl_limiter,
    body: impl FnOnce(&llmrl_limiter) -> Answer,
) -> llmrl_status {
    // SAFETY: passed on.
    match unsafe { live(limiter) } {
        Ok(limiter) => guard(Some(limiter), || body(limiter)),
        Err(status) => status,
    }
}

/// Runs `body` on any other object.
///
/// # Safety
/// As [`live`].
unsafe fn with<T: Object>(object: *const T, body: impl FnOnce(&T) -> Answer) -> llmrl_status {
    // SAFETY: passed on.
    match unsafe { live(object) } {
        Ok(object) => guard_object(object, || body(object)),
        Err(status) => status,
    }
}

/// [`with`] for an object that somebody may free while the thread is blocked.
///
/// # Safety
/// As [`keep`].
unsafe fn with_kept<T: Object>(object: *const T, body: impl FnOnce(&T) -> Answer) -> llmrl_status {
    // SAFETY: passed on.
    match unsafe { keep(object) } {
        Ok(object) => guard_object(&*object, || body(&object)),
        Err(status) => status,
    }
}

fn guard_object<T: Object>(object: &T, body: impl FnOnce() -> Answer) -> llmrl_status {
    match guard(None, body) {
        LLMRL_ERR_PANIC => guard(None, || {
            object.close_limiters();
            Err(LLMRL_ERR_PANIC)
        }),
        status => status,
    }
}

/// A count of an object of its own.
///
/// # Safety
/// As [`live`]; objects of this kind come from `Arc::into_raw`.
unsafe fn keep<T: Object>(object: *const T) -> Result<Arc<T>, llmrl_status> {
    // SAFETY: passed on.
    unsafe { live(object) }?;
    // SAFETY: it is live and came from `Arc::into_raw`, so it has a count, of which nothing is taken here.
    Ok(unsafe {
        Arc::increment_strong_count(object);
        Arc::from_raw(object)
    })
}

/// Hands a new object to C.
///
/// # Safety
/// `out` is null or can be written.
unsafe fn give<T>(out: *mut *mut T, object: T) -> Answer {
    if out.is_null() {
        return Err(LLMRL_ERR_NULL);
    }
    // SAFETY: not null, so it can be written, as the caller says.
    unsafe { out.write_unaligned(Box::into_raw(Box::new(object))) };
    Ok(LLMRL_OK)
}

/// Takes an object back that [`give`] gave, and drops it. What is not one is left alone.
///
/// # Safety
/// As [`live`]; the object is not used by anybody else, now or later.
unsafe fn take_back<T: Object>(object: *mut T, magic: impl FnOnce(&T) -> &Magic) {
    // SAFETY: passed on.
    if let Ok(live) = unsafe { live(object) } {
        magic(live).clear();
        // SAFETY: it was live, so it came from `give`, and it can be freed only once, as it is not recognised any more.
        let object = unsafe { Box::from_raw(object) };
        guard(None, || {
            drop(object);
            Ok(LLMRL_OK)
        });
    }
}

/// [`take_back`] for an object that threads are blocked in: it goes when the last of them has left. `end` is for what cannot wait.
///
/// # Safety
/// As [`keep`].
unsafe fn take_back_kept<T: Object>(
    object: *mut T,
    magic: impl FnOnce(&T) -> &Magic,
    end: impl FnOnce(&T),
) {
    // SAFETY: passed on.
    if let Ok(live) = unsafe { live(object) } {
        magic(live).clear();
        // SAFETY: it was live, so it came from `Arc::into_raw`; not recognised any more, it is not freed twice. Those who are
        // blocked have counts of their own.
        let object = unsafe { Arc::from_raw(object) };
        guard(None, || {
            end(&object);
            drop(object);
            Ok(LLMRL_OK)
        });
    }
}

/// Reads what a pointer points to, aligned or not.
///
/// # Safety
/// Null, or points to a `T`.
unsafe fn read<T: Copy>(from: *const T) -> Result<T, llmrl_status> {
    if from.is_null() {
        return Err(LLMRL_ERR_NULL);
    }
    // SAFETY: not null, so it points to a T, as the caller says.
    Ok(unsafe { from.read_unaligned() })
}

/// Writes where a pointer points to, aligned or not, unless it is null.
///
/// # Safety
/// Null, or points to writable memory of the size of a `T`.
unsafe fn write<T: Copy>(to: *mut T, value: T) {
    if !to.is_null() {
        // SAFETY: not null, so it can be written, as the caller says.
        unsafe { to.write_unaligned(value) }
    }
}

/// A key of a map as C gives it, 1 to `most` bytes.
///
/// # Safety
/// Null, or points to `size` bytes that can be read, as long as the result is in use.
unsafe fn key_of<'a>(
    key: *const c_void,
    size: usize,
    most: usize,
) -> Result<&'a [u8], llmrl_status> {
    // Before there is a slice, so that a wild size does no harm.
    if !(1..=most).contains(&size) {
        return Err(LLMRL_ERR_RANGE);
    }
    if key.is_null() {
        return Err(LLMRL_ERR_NULL);
    }
    // SAFETY: not null, so so many bytes can be read, as the caller says.
    Ok(unsafe { std::slice::from_raw_parts(key.cast(), size) })
}

/// No struct of this library will ever be as large; larger means that something else was passed.
const MAX_STRUCT: usize = 4096;

fn check_size(size: usize) -> Answer {
    match size {
        1..=MAX_STRUCT => Ok(LLMRL_OK),
        _ => Err(LLMRL_ERR_SIZE),
    }
}

/// Plain integers and pointers: any bytes are a valid value, zeros among them, and there is no padding.
///
/// # Safety
/// As said.
unsafe trait Plain: Copy {}

/// Copies in a struct that may grow from version to version. A caller's shorter one lacks fields, which are then zero; a
/// longer one has fields of which this version knows nothing, which only zero can be safely ignored in.
///
/// # Safety
/// `from` is null or points to `size` readable bytes.
unsafe fn copy_in<T: Plain>(from: *const T, size: usize) -> Result<T, llmrl_status> {
    // SAFETY: Plain says that zeros are a value.
    let mut value = unsafe { std::mem::zeroed::<T>() };
    if from.is_null() {
        return Ok(value);
    }
    check_size(size)?;
    let known = size.min(size_of::<T>());
    // SAFETY: `size` bytes can be read, as the caller says, and the tail ends with them.
    let tail = unsafe { std::slice::from_raw_parts(from.cast::<u8>().add(known), size - known) };
    if tail.iter().any(|&byte| byte != 0) {
        return Err(LLMRL_ERR_SIZE);
    }
    // SAFETY: `known` bytes are within both, and any bytes are a T, as Plain says.
    unsafe { ptr::copy_nonoverlapping(from.cast::<u8>(), (&raw mut value).cast(), known) };
    Ok(value)
}

/// Whether [`copy_out`] can write there.
fn check_room<T>(to: *const T, size: usize) -> Result<(), llmrl_status> {
    match size {
        _ if to.is_null() => Err(LLMRL_ERR_NULL),
        1..=MAX_STRUCT => Ok(()),
        _ => Err(LLMRL_ERR_SIZE),
    }
}

/// Copies out a struct that may grow: a caller's shorter one gets the fields that it has, the rest of a longer one is zeroed.
///
/// # Safety
/// `to` is null or points to `size` writable bytes.
unsafe fn copy_out<T: Plain>(to: *mut T, size: usize, value: &T) -> Answer {
    check_room(to, size)?;
    let known = size.min(size_of::<T>());
    let to = to.cast::<u8>();
    // SAFETY: both ranges lie within the `size` bytes that can be written, as the caller says.
    unsafe {
        ptr::copy_nonoverlapping(ptr::from_ref(value).cast::<u8>(), to, known);
        to.add(known).write_bytes(0, size - known);
    }
    Ok(LLMRL_OK)
}

/// Where an explanation goes: a buffer of the caller's, which may be missing or too small.
#[derive(Clone, Copy)]
struct Message {
    buffer: *mut c_char,
    size: usize,
}

impl Message {
    /// Empty, until there is something to explain.
    ///
    /// # Safety
    /// The buffer is null or has `size` writable bytes, for as long as the message is in use.
    unsafe fn new(buffer: *mut c_char, size: usize) -> Self {
        let message = Self { buffer, size };
        // SAFETY: passed on.
        unsafe { message.explain(LLMRL_OK, "") };
        message
    }

    /// Writes as much as there is room for, always with the terminating zero. Hands the status through.
    ///
    /// # Safety
    /// The buffer is null or has `size` writable bytes.
    unsafe fn explain(self, status: llmrl_status, text: impl fmt::Display) -> llmrl_status {
        if self.buffer.is_null() || self.size == 0 {
            return status;
        }
        let text = text.to_string();
        let mut len = text.len().min(self.size - 1);
        while !text.is_char_boundary(len) {
            len -= 1;
        }
        // SAFETY: `len + 1` bytes are within the buffer, which can be written, as the caller says.
        unsafe {
            ptr::copy_nonoverlapping(text.as_ptr(), self.buffer.cast(), len);
            self.buffer.add(len).write(0);
        }
        status
    }
}

/// Nanoseconds for C; `None` is for ever, which no known time is mistaken for.
fn wait_ns(wait: Option<Duration>) -> u64 {
    wait.map_or(LLMRL_FOREVER, |wait| nanos(wait).min(LLMRL_FOREVER - 1))
}

fn timeout(ns: u64) -> Option<Duration> {
    (ns != LLMRL_FOREVER).then(|| Duration::from_nanos(ns))
}

/// The period of a limit: zero stands for the usual one.
fn period(ns: u64) -> Duration {
    Duration::from_nanos(if ns == 0 { 60_000_000_000 } else { ns })
}

/// The status of a refusal; of one that passes with time, also when.
///
/// # Safety
/// As [`write`].
unsafe fn refuse(refused: Refused, wait: *mut u64) -> llmrl_status {
    match refused {
        Refused::NotNow { wait: time } => {
            // SAFETY: passed on.
            unsafe { write(wait, wait_ns(time)) };
            LLMRL_REFUSED
        }
        Refused::Never { .. } => LLMRL_ERR_NEVER,
        Refused::Full => LLMRL_ERR_FULL,
        Refused::Deadline => LLMRL_ERR_DEADLINE,
        Refused::Closed => LLMRL_ERR_CLOSED,
        Refused::NoNode => LLMRL_ERR_NODE,
        Refused::Cost(_) => LLMRL_ERR_COST,
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
