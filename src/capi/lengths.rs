//! How much will be put out
//!
//! What providers charge for output is what was really put out, with some of them; whoever
//! reserves max_tokens with those, and uses a tenth of it, has most of the limit lie idle
//! until the answers are there. Here the output lengths that were seen are remembered, by
//! key (a user, an API key, a route, or nothing) and model, and tell what to expect: a
//! quantile of them. Where the provider itself reserves max_tokens, reserve that: a smaller
//! estimate would be refused.
//!
//! ```c
//! llmrl_lengths *lengths;
//! llmrl_lengths_new(1000, &lengths);
//! llmrl_lengths_estimate(lengths, key, strlen(key), model, strlen(model), 900, max_tokens,
//!                        &request.expected);
//! ...
//! llmrl_lengths_record(lengths, key, strlen(key), model, strlen(model), used);
//! ```
//!
//! What was seen is forgotten by halves: lengths count half as much for every 128 that come
//! after them, first when there are 255. Names are any bytes of any number; nothing is kept
//! of them but a fingerprint of 128 bits. Recording and estimating take a lock that is held
//! for about a microsecond, which no admission needs, and time in proportion to the size of
//! the names.

use super::feedback::{LLMRL_UNKNOWN, bytes};
use super::status::*;
use super::{Magic, Object, give, guard, take_back, with, write};
use crate::feedback::Lengths;
use std::ffi::c_char;

/// Output lengths that were seen.
// In disguise, or cbindgen would put the fields into the header.
#[cfg_attr(all(), repr(C))]
pub struct llmrl_lengths {
    magic: Magic,
    lengths: Lengths,
}

// SAFETY: it is laid out as in C, and the magic word comes first.
unsafe impl Object for llmrl_lengths {
    const MAGIC: u64 = u64::from_be_bytes(*b"llmrllen");
}

/// Makes one that remembers up to names pairs of key and model, 1 to 2^20, and as many
/// models; each takes some 450 bytes. When there are more, the one makes room of which
/// nothing was recorded for longest. Free it with llmrl_lengths_free().
///
/// Returns LLMRL_OK, LLMRL_ERR_RANGE or LLMRL_ERR_NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_lengths_new(
    names: u64,
    out: *mut *mut llmrl_lengths,
) -> llmrl_status {
    guard(None, || {
        let lengths = llmrl_lengths {
            magic: Magic::of::<llmrl_lengths>(),
            lengths: Lengths::new(names).map_err(|_| LLMRL_ERR_RANGE)?,
        };
        // SAFETY: what C promises of the pointers it gives.
        unsafe { give(out, lengths) }
    })
}

/// An answer of model to key had so many output tokens; more than 2^24 - 1 count as that.
/// To be called when the permit is settled. Allocates for new names.
///
/// Returns LLMRL_OK, or LLMRL_ERR_NULL also for a name that has a size and is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_lengths_record(
    l: *const llmrl_lengths,
    key: *const c_char,
    key_size: usize,
    model: *const c_char,
    model_size: usize,
    output_tokens: u64,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(l, |l| {
            let (key, model) = names(key, key_size, model, model_size)?;
            l.lengths.record(key, model, output_tokens);
            Ok(LLMRL_OK)
        })
    }
}

/// The length that permille of 1000 answers of model to key did not exceed, at most a 16th
/// more than it was; never more than max_tokens, which may be LLMRL_UNKNOWN. If less than
/// 20 answers were seen, those of the model to all keys tell; if of that less than 20, all
/// answers; if there are none, it is max_tokens.
///
/// Returns LLMRL_OK, LLMRL_ERR_RANGE for permille outside 1 to 1000, or LLMRL_ERR_NULL also
/// for a name that has a size and is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_lengths_estimate(
    l: *const llmrl_lengths,
    key: *const c_char,
    key_size: usize,
    model: *const c_char,
    model_size: usize,
    permille: u32,
    max_tokens: u64,
    out: *mut u64,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with(l, |l| {
            let (key, model) = names(key, key_size, model, model_size)?;
            if out.is_null() {
                return Err(LLMRL_ERR_NULL);
            }
            let max_tokens = (max_tokens != LLMRL_UNKNOWN).then_some(max_tokens);
            let estimate = l.lengths.estimate(key, model, permille, max_tokens);
            let estimate = estimate.map_err(|_| LLMRL_ERR_RANGE)?;
            write(out, estimate.unwrap_or(LLMRL_UNKNOWN));
            Ok(LLMRL_OK)
        })
    }
}

/// Gives it up; NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_lengths_free(l: *mut llmrl_lengths) {
    // SAFETY: what C promises of the pointers it gives.
    unsafe { take_back(l, |l| &l.magic) }
}

/// # Safety
/// The pointers are null or can be read for so many bytes, as long as the result is in use.
unsafe fn names<'a>(
    key: *const c_char,
    key_size: usize,
    model: *const c_char,
    model_size: usize,
) -> Result<(&'a [u8], &'a [u8]), llmrl_status> {
    // SAFETY: passed on. No object is larger than isize::MAX.
    unsafe {
        Ok((
            bytes(key, key_size, isize::MAX as usize)?,
            bytes(model, model_size, isize::MAX as usize)?,
        ))
    }
}
