//! Limits and costs
//!
//! The two structs that describe what is allowed and what a request takes. Both are 64
//! bytes and stay so: set them to zero, fill in what you mean, and leave the reserved
//! fields alone. They need not be aligned.

use super::status::*;
use super::{Message, period};
use crate::limit::{Cost, Limit, Meter, Oversize};

/// llmrl_limit.kind: a token bucket. It produces amount per period, evenly, and holds
/// burst at most.
pub const LLMRL_TOKEN_BUCKET: u32 = 1;
/// llmrl_limit.kind: how many permits may be held at the same time. A limiter has at
/// most one limit of this kind.
pub const LLMRL_IN_FLIGHT: u32 = 2;

/// llmrl_limit.meter: requests.
pub const LLMRL_REQUESTS: u32 = 1;
/// llmrl_limit.meter: input and output tokens together.
pub const LLMRL_TOKENS: u32 = 2;
/// llmrl_limit.meter: input tokens.
pub const LLMRL_INPUT_TOKENS: u32 = 3;
/// llmrl_limit.meter: output tokens.
pub const LLMRL_OUTPUT_TOKENS: u32 = 4;

/// llmrl_limit.flags: a request that costs more than burst is admitted when the bucket
/// is full, and leaves it in debt, which is paid before the next one is admitted.
/// Without this flag it is refused with LLMRL_ERR_NEVER.
pub const LLMRL_OVERSIZE_WHEN_FULL: u32 = 1;
/// llmrl_limit.flags: the bucket starts empty instead of full, for limits of which
/// others may have used something.
pub const LLMRL_START_EMPTY: u32 = 2;

/// One rule.
///
/// ```c
/// llmrl_limit limits[3] = {
///     {.kind = LLMRL_TOKEN_BUCKET, .meter = LLMRL_REQUESTS, .amount = 500},          500 requests a minute
///     {.kind = LLMRL_TOKEN_BUCKET, .meter = LLMRL_TOKENS,   .amount = 200000},       200000 tokens a minute
///     {.kind = LLMRL_IN_FLIGHT,                             .amount = 50},           50 at the same time
/// };
/// ```
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct llmrl_limit {
    /// LLMRL_TOKEN_BUCKET or LLMRL_IN_FLIGHT.
    pub kind: u32,
    /// What a token bucket counts, LLMRL_REQUESTS to LLMRL_OUTPUT_TOKENS; 0 for in
    /// flight.
    pub meter: u32,
    /// Token bucket: what a period produces, 1 to 2^40 - 1. In flight: the permits, 1
    /// to 524287.
    pub amount: u64,
    /// Up to 3660 days, and not so short that more than 10^9 a second are produced. 0
    /// is one minute, 60000000000. In flight: 0.
    pub period_ns: u64,
    /// What an idle bucket holds, 1 to 2^40 - 1. 0 is as much as amount. In flight: 0.
    pub burst: u64,
    /// LLMRL_OVERSIZE_WHEN_FULL, LLMRL_START_EMPTY, both or none. In flight: 0.
    pub flags: u32,
    /// Zero.
    pub reserved0: u32,
    /// Zero.
    pub reserved: [u64; 3],
}

/// What a request will use, or has used. Each count is at most 2^40 - 1, input_tokens +
/// output_tokens as well.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct llmrl_cost {
    /// Usually 1, and at least that; in llmrl_limiter_charge() also 0.
    pub requests: u64,
    /// Tokens of the prompt.
    pub input_tokens: u64,
    /// Tokens of the answer; beforehand, an estimate.
    pub output_tokens: u64,
    /// Input tokens that the provider takes from its cache. Part of input_tokens; no
    /// meter of this version counts them.
    pub cached_tokens: u64,
    /// Input tokens that the provider puts into its cache. Part of input_tokens; no
    /// meter of this version counts them.
    pub cache_write_tokens: u64,
    /// Zero.
    pub reserved: [u64; 3],
}

/// # Safety Null, or points to a cost.
#[inline]
pub(super) unsafe fn read_cost(cost: *const llmrl_cost) -> Result<Cost, llmrl_status> {
    // SAFETY: passed on.
    let cost = unsafe { super::read(cost) }?;
    // As arrays they would be compared in memory, behind a copy.
    let [a, b, c] = cost.reserved;
    if a | b | c != 0 {
        return Err(LLMRL_ERR_FLAGS);
    }
    Ok(Cost {
        requests: cost.requests,
        input: cost.input_tokens,
        output: cost.output_tokens,
        cached: cost.cached_tokens,
        cache_write: cost.cache_write_tokens,
    })
}

impl llmrl_limit {
    /// What the core understands, or what is wrong, in words.
    pub(super) fn to_limit(self) -> Result<Limit, (llmrl_status, String)> {
        let known = LLMRL_OVERSIZE_WHEN_FULL | LLMRL_START_EMPTY;
        if self.flags & !known != 0 {
            let unknown = self.flags & !known;
            return Err((
                LLMRL_ERR_FLAGS,
                format!("flags has the unknown bits 0x{unknown:x}"),
            ));
        }
        if self.reserved0 != 0 || self.reserved != [0; 3] {
            return Err((LLMRL_ERR_FLAGS, "a reserved field is not zero".into()));
        }
        let range = |field: &str, value: u64, range: &str| {
            Err((
                LLMRL_ERR_RANGE,
                format!("{field} = {value} is outside {range}"),
            ))
        };
        match self.kind {
            LLMRL_TOKEN_BUCKET => {
                let meter = match self.meter {
                    LLMRL_REQUESTS => Meter::Requests,
                    LLMRL_TOKENS => Meter::Tokens,
                    LLMRL_INPUT_TOKENS => Meter::Input,
                    LLMRL_OUTPUT_TOKENS => Meter::Output,
                    other => return range("meter", other.into(), "1..=4"),
                };
                let mut limit = Limit::bucket(meter, self.amount).per(period(self.period_ns));
                if self.burst != 0 {
                    limit = limit.burst(self.burst);
                }
                if self.flags & LLMRL_OVERSIZE_WHEN_FULL != 0 {
                    limit = limit.oversize(Oversize::WhenFull);
                }
                if self.flags & LLMRL_START_EMPTY != 0 {
                    limit = limit.start_empty();
                }
                Ok(limit)
            }
            LLMRL_IN_FLIGHT => {
                let unused = [
                    ("meter", self.meter.into()),
                    ("period_ns", self.period_ns),
                    ("burst", self.burst),
                    ("flags", self.flags.into()),
                ];
                match unused.iter().find(|(_, value)| *value != 0) {
                    Some((field, value)) => {
                        range(field, *value, "0..=0, as the limit is in flight")
                    }
                    None => Ok(Limit::in_flight(self.amount)),
                }
            }
            other => range("kind", other.into(), "1..=2"),
        }
    }
}

impl Message {
    /// Explains what is wrong with a limit; `index` is left out where there is only
    /// one.
    ///
    /// # Safety As [`Message::explain`].
    pub(super) unsafe fn about_limit(
        self,
        index: Option<usize>,
        (status, text): (llmrl_status, String),
    ) -> llmrl_status {
        let text = match index {
            Some(index) => format!("limits[{index}].{text}"),
            None => format!("limit.{text}"),
        };
        // SAFETY: passed on.
        unsafe { self.explain(status, text) }
    }
}
