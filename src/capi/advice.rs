//! Learning from answers
//!
//! Hand each answer to the limiter that let its request through, and it finds out by
//! itself what the limits are, how much is left of them, who else uses them, and when the
//! provider has had enough.

use super::feedback::llmrl_answer;
use super::limiter::{llmrl_limiter, llmrl_permit};
use super::status::*;
use super::{Answer, Plain, check_size, copy_in, copy_out, wait_ns, with_limiter};
use crate::feedback::Reading;
use crate::limiter::Advice;

/// llmrl_advice.flags: the same request may be admitted later.
pub const LLMRL_ADVICE_RETRY: u32 = 1;

/// What to do with a request, now that it was answered. May grow at the end in later
/// versions, so its size is passed along with it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct llmrl_advice {
    /// What became of it: LLMRL_CLASS_OK to LLMRL_CLASS_OTHER.
    pub answer_class: u32,
    /// LLMRL_ADVICE_RETRY or none.
    pub flags: u32,
    /// How long to wait before asking the limiter again. 0 where the limiter itself holds
    /// requests back, which it does for 300000000000 at most because of one answer: more
    /// means that the provider said so, and that another one may be the better choice.
    pub wait_ns: u64,
}

// SAFETY: integers; the two of half size come first and fill one word together.
unsafe impl Plain for llmrl_advice {}

/// Hands an answer to whoever learns from it, and passes on the advice.
///
/// # Safety
/// The pointers are null or lead to what the header says.
pub(super) unsafe fn advise(
    answer: *const llmrl_answer,
    answer_size: usize,
    out: *mut llmrl_advice,
    out_size: usize,
    learn: impl FnOnce(&Reading) -> Result<Advice, llmrl_status>,
) -> Answer {
    if answer.is_null() {
        return Err(LLMRL_ERR_NULL);
    }
    // First: what was learned cannot be taken back.
    if !out.is_null() {
        check_size(out_size)?;
    }
    // SAFETY: passed on.
    let reading = unsafe { copy_in(answer, answer_size)?.reading() }?;
    let advice = learn(&reading)?;
    if out.is_null() {
        return Ok(LLMRL_OK);
    }
    let advice = llmrl_advice {
        answer_class: super::feedback::class(advice.class),
        flags: if advice.retry { LLMRL_ADVICE_RETRY } else { 0 },
        wait_ns: wait_ns(Some(advice.wait)),
    };
    // SAFETY: passed on.
    unsafe { copy_out(out, out_size, &advice) }
}

/// The provider has answered the request of this permit, which stays held. Call it for
/// every answer, before llmrl_settle(); answer_size is sizeof *answer, out_size sizeof
/// *out, and out may be NULL.
///
/// Limits that are told twice in a row replace the configured ones, upwards only with
/// LLMRL_RAISE_LIMITS. What is left of a bucket is compared with how it stood when the
/// request was admitted, so answers may come late and in any order. A refusal pauses the
/// limit that has refused, once for all requests that were on their way; it has used no
/// tokens, and they are given back here: llmrl_release() the permit, wait as advised, and
/// ask for another one. Takes some microseconds, and a lock that admissions do not need.
///
/// Returns LLMRL_OK; LLMRL_ERR_STALE or LLMRL_ERR_BUSY; or as llmrl_answer_read().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_feedback(
    l: *const llmrl_limiter,
    permit: llmrl_permit,
    answer: *const llmrl_answer,
    answer_size: usize,
    out: *mut llmrl_advice,
    out_size: usize,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    unsafe {
        with_limiter(l, |l| {
            advise(answer, answer_size, out, out_size, |reading| {
                Ok(l.table
                    .change(permit, |grant| l.limiter.feedback_grant(grant, reading))?)
            })
        })
    }
}
