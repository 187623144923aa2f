//! Answers
//!
//! Every function that can fail returns an llmrl_status, and nothing else tells of the
//! failure: there is no errno and no "last error". Zero and above are outcomes, below
//! zero are errors:
//!
//! ```c
//! llmrl_status status = llmrl_acquire(limiter, &cost, timeout, &permit);
//! if (status < 0) fprintf(stderr, "%s\n", llmrl_strerror(status));
//! ```
//!
//! A function that answers with an error has changed nothing and has written nothing to
//! its out-parameters. The numbers never change their meaning; new ones may come, so
//! treat an unknown negative one as a failure.

use std::ffi::c_char;

/// What came of a call: LLMRL_OK, LLMRL_PENDING, LLMRL_REFUSED, or an error.
pub type llmrl_status = i32;

/// Done; or, of a request: it is admitted, and held until it is settled, released or
/// cancelled.
pub const LLMRL_OK: llmrl_status = 0;

/// The ticket waits in the queue. Poll it after wait_ns, or when the wake callback is
/// called for it.
pub const LLMRL_PENDING: llmrl_status = 1;

/// Not now. The request has taken nothing, and is not in the queue; wait_ns says when
/// to come again.
pub const LLMRL_REFUSED: llmrl_status = 2;

/// A pointer that is needed is NULL. That includes a permit to be written, where the
/// limiter counts requests in flight.
pub const LLMRL_ERR_NULL: llmrl_status = -1;

/// The size of a struct is 0, above 4096, or larger than this version knows with
/// something else than zeros at the end.
pub const LLMRL_ERR_SIZE: llmrl_status = -2;

/// A flag that this version does not know, or a reserved field that is not zero.
pub const LLMRL_ERR_FLAGS: llmrl_status = -3;

/// A field of a limit or an option is outside its range, or a key is too short or too long. The functions that make an
/// object say which in their message.
pub const LLMRL_ERR_RANGE: llmrl_status = -4;

/// A cost outside its range: each count is at most 2^40 - 1, input and output tokens
/// together as well, and the requests are at least 1, except of llmrl_limiter_charge().
/// For bare buckets: n is 1 to 2^40 - 1.
pub const LLMRL_ERR_COST: llmrl_status = -5;

/// The limiter has no limit of that index, or not one of the kind that the function is
/// for.
pub const LLMRL_ERR_INDEX: llmrl_status = -6;

/// The request costs more than one of the limits can ever hold. Waiting does not help;
/// a smaller request does.
pub const LLMRL_ERR_NEVER: llmrl_status = -7;

/// As many wait, or hold permits, as the limiter was made for. In a map of buckets: there
/// is no room for another key.
pub const LLMRL_ERR_FULL: llmrl_status = -8;

/// The timeout has passed, or would have before the request could be admitted: that is
/// told at once.
pub const LLMRL_ERR_DEADLINE: llmrl_status = -9;

/// The limiter is closed.
pub const LLMRL_ERR_CLOSED: llmrl_status = -10;

/// The number names nothing that the call could work on: it has ended, or it belongs to
/// another limiter, or it was never given out, or it is a ticket that still waits where
/// a permit is needed.
pub const LLMRL_ERR_STALE: llmrl_status = -11;

/// Another thread is in a call with the same number at this very moment. This call has
/// done nothing; make it again. Of two polls, the other one answers for both.
pub const LLMRL_ERR_BUSY: llmrl_status = -12;

/// No memory. Only the functions that make an object need any.
pub const LLMRL_ERR_MEMORY: llmrl_status = -13;

/// A defect in this library was caught before it could do harm. The limiter is closed.
pub const LLMRL_ERR_PANIC: llmrl_status = -14;

/// The pointer is not to a live object of the right kind. This catches most mistakes,
/// not all: a pointer into freed memory may be followed before it is found out.
pub const LLMRL_ERR_HANDLE: llmrl_status = -15;

/// What was saved cannot be read, or is of other limits. Make the limiter without it.
pub const LLMRL_ERR_SAVED: llmrl_status = -16;

/// The router has no node of that name; or none that a request could go to: it has no node, or
/// all weights are 0.
pub const LLMRL_ERR_NODE: llmrl_status = -17;

/// As a timeout: wait without end. As a wait: no time is known, because it takes an
/// event, such as the release of a permit.
pub const LLMRL_FOREVER: u64 = u64::MAX;

/// A sentence in English about a status, without a full stop. Never NULL, whatever the
/// number; static, not to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn llmrl_strerror(status: llmrl_status) -> *const c_char {
    let text = match status {
        LLMRL_OK => c"done",
        LLMRL_PENDING => c"the ticket waits in the queue",
        LLMRL_REFUSED => c"not now; try again after the wait",
        LLMRL_ERR_NULL => c"a pointer that is needed is NULL",
        LLMRL_ERR_SIZE => c"wrong size of a struct",
        LLMRL_ERR_FLAGS => c"unknown flag, or a reserved field that is not zero",
        LLMRL_ERR_RANGE => c"a field is outside its range",
        LLMRL_ERR_COST => c"the cost is outside its range",
        LLMRL_ERR_INDEX => c"no limit of that index and kind",
        LLMRL_ERR_NEVER => c"the request costs more than a limit can ever hold",
        LLMRL_ERR_FULL => c"too many wait or hold permits, or no room for another key",
        LLMRL_ERR_DEADLINE => c"the wait would outlast the timeout, or has",
        LLMRL_ERR_CLOSED => c"the limiter is closed",
        LLMRL_ERR_STALE => c"the ticket or permit has ended, or is not of this limiter",
        LLMRL_ERR_BUSY => c"the ticket or permit is in use by another thread",
        LLMRL_ERR_MEMORY => c"no memory",
        LLMRL_ERR_PANIC => c"defect in libllmrl; the limiter is closed",
        LLMRL_ERR_HANDLE => c"not a live object of this kind",
        LLMRL_ERR_SAVED => c"the saved state is damaged, or of other limits; start without it",
        LLMRL_ERR_NODE => c"no such node, or no node has a weight",
        _ => c"unknown status",
    };
    text.as_ptr()
}
