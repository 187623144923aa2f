//! What providers say
//!
//! Answers tell how much is left, how long it takes to come back, and why a request was
//! refused: in headers, in bodies, and in sentences, each provider in its own way.
//! llmrl_answer_read() makes one struct of all of them. It needs no limiter, and no
//! provider's name: headers mean what their names say, and a value is recognised by its
//! form.
//!
//! ```c
//! llmrl_header headers[1] = {{"retry-after-ms", 14, "120", 3}};
//! llmrl_answer answer = {0};
//! llmrl_reading reading;
//! answer.status = 429;
//! answer.headers = headers;
//! answer.header_count = 1;
//! llmrl_answer_read(&answer, sizeof answer, &reading, sizeof reading);
//! if (reading.answer_class == LLMRL_CLASS_RATE) wait_for(reading.wait_ns);
//! ```
//!
//! Nothing that an answer says makes this fail: what is malformed, unknown or impossible
//! is left out.

use super::limiter::wall_clock;
use super::status::*;
use super::{Plain, copy_in, copy_out, guard, read};
use crate::feedback::{Axis, Class, MAX_QUOTAS, Pool, Quota, Reading, read_answer};
use std::ffi::{c_char, c_void};
use std::time::Duration;

/// As a count, a duration or a share in what is read: it was not said, or cannot be.
pub const LLMRL_UNKNOWN: u64 = u64::MAX;
/// As an index into llmrl_reading.quotas: none of them.
pub const LLMRL_NO_QUOTA: u32 = u32::MAX;
/// How many limits a reading has room for. The most that a provider is known to send is
/// 12; beyond these the rest is left out.
pub const LLMRL_MAX_QUOTAS: usize = 16;

/// llmrl_reading.answer_class: the request was answered, with a status below 400.
pub const LLMRL_CLASS_OK: u32 = 1;
/// llmrl_reading.answer_class: more than the rate. Pause what is counted there, for all.
pub const LLMRL_CLASS_RATE: u32 = 2;
/// llmrl_reading.answer_class: too many at the same time. Lower the number in flight;
/// what is there comes through in a second or so.
pub const LLMRL_CLASS_CONCURRENCY: u32 = 3;
/// llmrl_reading.answer_class: the provider is short of capacity, which has nothing to do
/// with the account's limits. Back off.
pub const LLMRL_CLASS_OVERLOAD: u32 = 4;
/// llmrl_reading.answer_class: a rate over a day or longer that is not back within an
/// hour, or whatever takes a day. Park the request, or send it elsewhere.
pub const LLMRL_CLASS_LONG: u32 = 5;
/// llmrl_reading.answer_class: money or permission is missing. It does not pass with time.
pub const LLMRL_CLASS_BILLING: u32 = 6;
/// llmrl_reading.answer_class: the request is larger than the limit, which is the tripped
/// one, and would be refused for ever.
pub const LLMRL_CLASS_OVERSIZE: u32 = 7;
/// llmrl_reading.answer_class: another failure. So is a number that you do not know.
pub const LLMRL_CLASS_OTHER: u32 = 8;

/// llmrl_quota.meter, beside LLMRL_REQUESTS to LLMRL_OUTPUT_TOKENS: requests at the same
/// time.
pub const LLMRL_CONCURRENCY: u32 = 100;
/// llmrl_quota.meter: something else, such as bytes, or the share of a subscription.
pub const LLMRL_OTHER_METER: u32 = 101;

/// llmrl_quota.pool: the usual account of what is counted.
pub const LLMRL_POOL_STANDARD: u32 = 1;
/// llmrl_quota.pool: OpenAI's limit of a project.
pub const LLMRL_POOL_PROJECT: u32 = 2;
/// llmrl_quota.pool: OpenAI's "tokens_usage_based".
pub const LLMRL_POOL_USAGE_BASED: u32 = 3;
/// llmrl_quota.pool: Anthropic's Priority Tier.
pub const LLMRL_POOL_PRIORITY: u32 = 4;
/// llmrl_quota.pool: Anthropic's fast mode.
pub const LLMRL_POOL_FAST: u32 = 5;
/// llmrl_quota.pool: a subscription's share, as Anthropic's "unified" headers tell it.
pub const LLMRL_POOL_SUBSCRIPTION: u32 = 6;
/// llmrl_quota.pool: what a subscription allows beyond its share.
pub const LLMRL_POOL_OVERAGE: u32 = 7;
/// llmrl_quota.pool: Fireworks' prompt tokens that no cache had.
pub const LLMRL_POOL_UNCACHED: u32 = 8;
/// llmrl_quota.pool: set by a gateway, not by the provider behind it.
pub const LLMRL_POOL_GATEWAY: u32 = 9;

/// llmrl_reading.flags: the same request may pass later.
pub const LLMRL_RETRYABLE: u32 = 1;
/// llmrl_reading.flags: the answer has "x-should-retry: true".
pub const LLMRL_SHOULD_RETRY: u32 = 2;
/// llmrl_reading.flags: it has "x-should-retry: false". Not to be obeyed blindly:
/// Cerebras sends it with what passes soonest.
pub const LLMRL_SHOULD_NOT_RETRY: u32 = 4;
/// llmrl_reading.flags: served, but over or near a limit.
pub const LLMRL_WARNING: u32 = 8;

/// llmrl_quota.flags: the provider states another period than follows from its numbers.
pub const LLMRL_MISLABELLED: u32 = 1;

/// A header of an answer. Neither string needs a zero at its end, and names may be in any
/// case.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct llmrl_header {
    /// The name, in name_size bytes; NULL if that is 0.
    pub name: *const c_char,
    /// See name.
    pub name_size: usize,
    /// The value, in value_size bytes; NULL if that is 0.
    pub value: *const c_char,
    /// See value.
    pub value_size: usize,
}

/// An answer. May grow at the end in later versions, so its size is passed along with it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct llmrl_answer {
    /// The status, 100 to 999.
    pub status: u32,
    /// Zero.
    pub reserved0: u32,
    /// The headers, header_count of them; NULL if that is 0.
    pub headers: *const llmrl_header,
    /// See headers.
    pub header_count: usize,
    /// The body, in body_size bytes; NULL if that is 0. It is looked at only if status is
    /// 400 or above, and only its first 65536 bytes, so none needs to be given of an
    /// answer that streams; or if it is the event "rate_limits.updated" of OpenAI's
    /// Realtime API, with status 200.
    pub body: *const c_void,
    /// See body.
    pub body_size: usize,
    /// The wall-clock time, nanoseconds since 1970; 0 for the system's. Dates are compared
    /// with the answer's own "Date" instead, when it has one.
    pub wall_now_ns: u64,
}

// SAFETY: integers and pointers. The two of half size come first and fill one word together; the sizes are as wide as the
// pointers, of which there are an even number before the last word.
unsafe impl Plain for llmrl_answer {}

/// What an answer says about one limit.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct llmrl_quota {
    /// What it counts: LLMRL_REQUESTS to LLMRL_OUTPUT_TOKENS, LLMRL_CONCURRENCY or
    /// LLMRL_OTHER_METER. LLMRL_TOKENS are usually input and output tokens together.
    pub meter: u32,
    /// Which of several accounts, LLMRL_POOL_STANDARD to LLMRL_POOL_GATEWAY.
    pub pool: u32,
    /// LLMRL_MISLABELLED or none.
    pub flags: u32,
    /// Zero.
    pub reserved0: u32,
    /// How much in a period, or LLMRL_UNKNOWN.
    pub limit: u64,
    /// How much of it is left, at most limit, or LLMRL_UNKNOWN. Providers round it,
    /// Anthropic to thousands.
    pub remaining: u64,
    /// How long until all of it is back (a bucket), or the window ends; at most 366 days,
    /// or LLMRL_UNKNOWN. Of the next request it says nothing: of a bucket that refills
    /// evenly, n are there after (n - remaining) / limit * period_ns.
    pub reset_ns: u64,
    /// How much is used, in millionths, where shares are told instead of counts; or
    /// LLMRL_UNKNOWN. May be above a million.
    pub utilization: u64,
    /// The period that the provider states, by the header's name or in its text, or
    /// LLMRL_UNKNOWN.
    pub window_ns: u64,
    /// The period that follows from limit, remaining and reset if it is a bucket that
    /// refills evenly, else the one that is stated, or LLMRL_UNKNOWN.
    pub period_ns: u64,
    /// The period that follows is at least this, or LLMRL_UNKNOWN if none follows,
    pub solved_low_ns: u64,
    /// and shorter than this, or LLMRL_UNKNOWN if there is no bound.
    pub solved_high_ns: u64,
    /// Zero.
    pub reserved: [u64; 2],
}

/// What one answer says about limits. May grow at the end in later versions, so its size
/// is passed along with it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct llmrl_reading {
    /// What became of the request: LLMRL_CLASS_OK to LLMRL_CLASS_OTHER.
    pub answer_class: u32,
    /// What was exceeded, as in llmrl_quota; 0 if it is not told and not the only
    /// thing that can be meant.
    pub meter: u32,
    /// LLMRL_RETRYABLE to LLMRL_WARNING, any of them.
    pub flags: u32,
    /// How many of quotas there are.
    pub quota_count: u32,
    /// The one of them that refused the request, or LLMRL_NO_QUOTA.
    pub tripped: u32,
    /// Zero.
    pub reserved0: u32,
    /// How long the provider says to wait, from when it answered; at most 366 days. 0,
    /// which comes with LLMRL_CLASS_CONCURRENCY only, is "at once, but fewer at a time".
    /// LLMRL_UNKNOWN when nothing was said, where waiting does not help, and with
    /// LLMRL_CLASS_OK.
    pub wait_ns: u64,
    /// How much the refused request asked for, or LLMRL_UNKNOWN.
    pub requested: u64,
    /// What was said about each limit, in the order of the answer. The rest is zero.
    pub quotas: [llmrl_quota; LLMRL_MAX_QUOTAS],
}

// SAFETY: integers, those of half size in pairs that fill one word together.
unsafe impl Plain for llmrl_reading {}

const _: () = assert!(LLMRL_MAX_QUOTAS == MAX_QUOTAS);

/// No header is looked at whose name or value is longer; a bit more shows that it is.
const MAX_HEADER: usize = 16_384;
/// More of a body is not looked at.
const MAX_BODY: usize = 65_536;

/// Reads what an answer says about limits; answer_size is sizeof *answer, and out_size
/// sizeof *out. Any thread. Takes time in proportion to the size of headers and body,
/// some 7 us for twenty headers and 5 more for an error's body, and allocates only for a
/// body.
///
/// Returns LLMRL_OK, LLMRL_ERR_NULL (also for a string, headers or a body that has a size
/// and is NULL), LLMRL_ERR_SIZE, LLMRL_ERR_FLAGS, or LLMRL_ERR_RANGE for the status.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_answer_read(
    answer: *const llmrl_answer,
    answer_size: usize,
    out: *mut llmrl_reading,
    out_size: usize,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    guard(None, || unsafe {
        if answer.is_null() {
            return Err(LLMRL_ERR_NULL);
        }
        let answer = copy_in(answer, answer_size)?;
        let reading = answer.reading()?;
        copy_out(out, out_size, &llmrl_reading::from(&reading))
    })
}

impl llmrl_answer {
    /// # Safety The pointers lead to what the header says.
    pub(super) unsafe fn reading(&self) -> Result<Reading, llmrl_status> {
        if self.reserved0 != 0 {
            return Err(LLMRL_ERR_FLAGS);
        }
        let status = u16::try_from(self.status).ok();
        let status = status.filter(|status| (100..1_000).contains(status));
        let status = status.ok_or(LLMRL_ERR_RANGE)?;
        if self.header_count > 0 && self.headers.is_null() {
            return Err(LLMRL_ERR_NULL);
        }
        // SAFETY: passed on.
        let body = unsafe { bytes(self.body.cast(), self.body_size, MAX_BODY) }?;
        // SAFETY: there are so many headers, as the caller says, and their strings are as long as they say.
        let header = |at| unsafe {
            let header = read(self.headers.add(at))?;
            let name = bytes(header.name, header.name_size, MAX_HEADER)?;
            let value = bytes(header.value, header.value_size, MAX_HEADER)?;
            Ok((name, value))
        };
        let mut error = None;
        let headers = (0..self.header_count).map_while(|at| match header(at) {
            Ok(header) => Some(header),
            Err(status) => {
                error = Some(status);
                None
            }
        });
        let reading = read_answer(status, headers, body, wall_clock(self.wall_now_ns));
        error.map_or(Ok(reading), Err)
    }
}

/// The first bytes of a string or a body, at most `most`.
///
/// # Safety
/// `from` is null or can be read for `size` bytes, as long as the result is in use.
pub(super) unsafe fn bytes<'a>(
    from: *const c_char,
    size: usize,
    most: usize,
) -> Result<&'a [u8], llmrl_status> {
    match (size, from.is_null()) {
        (0, _) => Ok(&[]),
        (_, true) => Err(LLMRL_ERR_NULL),
        // SAFETY: so many bytes can be read, as the caller says.
        _ => Ok(unsafe { std::slice::from_raw_parts(from.cast(), size.min(most)) }),
    }
}

/// A known time is never mistaken for an unknown one.
fn time(time: Option<Duration>) -> u64 {
    super::wait_ns(time)
}

fn number(number: Option<u64>) -> u64 {
    number.map_or(LLMRL_UNKNOWN, |number| number.min(LLMRL_UNKNOWN - 1))
}

fn meter(axis: Axis) -> u32 {
    match axis {
        Axis::Requests => super::limit::LLMRL_REQUESTS,
        Axis::Tokens => super::limit::LLMRL_TOKENS,
        Axis::Input => super::limit::LLMRL_INPUT_TOKENS,
        Axis::Output => super::limit::LLMRL_OUTPUT_TOKENS,
        Axis::Concurrency => LLMRL_CONCURRENCY,
        Axis::Other => LLMRL_OTHER_METER,
    }
}

fn pool(pool: Pool) -> u32 {
    match pool {
        Pool::Standard => LLMRL_POOL_STANDARD,
        Pool::Project => LLMRL_POOL_PROJECT,
        Pool::UsageBased => LLMRL_POOL_USAGE_BASED,
        Pool::Priority => LLMRL_POOL_PRIORITY,
        Pool::Fast => LLMRL_POOL_FAST,
        Pool::Subscription => LLMRL_POOL_SUBSCRIPTION,
        Pool::Overage => LLMRL_POOL_OVERAGE,
        Pool::Uncached => LLMRL_POOL_UNCACHED,
        Pool::Gateway => LLMRL_POOL_GATEWAY,
    }
}

pub(super) fn class(class: Class) -> u32 {
    match class {
        Class::Ok => LLMRL_CLASS_OK,
        Class::Rate => LLMRL_CLASS_RATE,
        Class::Concurrency => LLMRL_CLASS_CONCURRENCY,
        Class::Overload => LLMRL_CLASS_OVERLOAD,
        Class::Long => LLMRL_CLASS_LONG,
        Class::Billing => LLMRL_CLASS_BILLING,
        Class::Oversize => LLMRL_CLASS_OVERSIZE,
        Class::Other => LLMRL_CLASS_OTHER,
    }
}

impl From<&Quota> for llmrl_quota {
    fn from(quota: &Quota) -> Self {
        Self {
            meter: meter(quota.axis),
            pool: pool(quota.pool),
            flags: if quota.mislabelled() {
                LLMRL_MISLABELLED
            } else {
                0
            },
            reserved0: 0,
            limit: number(quota.limit),
            remaining: number(quota.remaining),
            reset_ns: time(quota.reset),
            utilization: number(quota.utilization.map(u64::from)),
            window_ns: time(quota.window),
            period_ns: time(quota.period()),
            solved_low_ns: time(quota.solved.map(|solved| solved.low)),
            solved_high_ns: time(quota.solved.and_then(|solved| solved.high)),
            reserved: [0; 2],
        }
    }
}

impl From<&Reading> for llmrl_reading {
    fn from(reading: &Reading) -> Self {
        // SAFETY: Plain says that zeros are a value.
        let mut out = unsafe { std::mem::zeroed::<Self>() };
        for (to, from) in out.quotas.iter_mut().zip(reading.quotas()) {
            *to = from.into();
        }
        let flag = |set, flag| if set { flag } else { 0 };
        out.answer_class = class(reading.class);
        out.meter = reading.axis.map_or(0, meter);
        out.flags = flag(reading.retryable(), LLMRL_RETRYABLE)
            | flag(reading.should_retry == Some(true), LLMRL_SHOULD_RETRY)
            | flag(reading.should_retry == Some(false), LLMRL_SHOULD_NOT_RETRY)
            | flag(reading.warning, LLMRL_WARNING);
        out.quota_count = reading.quotas().len() as u32;
        out.tripped = reading.tripped().map_or(LLMRL_NO_QUOTA, |at| at as u32);
        out.wait_ns = time(reading.wait);
        out.requested = number(reading.requested);
        out
    }
}
