//! Limits and costs
//!
//! The two structs that describe what is allowed and what a request takes. Both are 64
//! bytes and stay so: set them to zero, fill in what you mean, and leave the reserved
//! fields alone. They need not be aligned.

use super::status::*;
use super::{Message, period};
use crate::limit::{Cost, Limit, Meter, Oversize, Shape, Weights};
use std::time::Duration;

/// llmrl_limit.kind: a token bucket. It produces amount per period, evenly, and holds
/// burst at most.
pub const LLMRL_TOKEN_BUCKET: u32 = 1;
/// llmrl_limit.kind: how many permits may be held at the same time. A limiter has at
/// most one limit of this kind.
pub const LLMRL_IN_FLIGHT: u32 = 2;
/// llmrl_limit.kind: a leaky bucket. amount per period at even distances: the first
/// request goes at once, the next when the cost of that has been produced: never sooner,
/// and a microsecond later at most (for less than one an hour, 2^-32 of what a unit
/// takes). It can be retuned up to a thousand times the rate it was made with.
pub const LLMRL_PACING: u32 = 3;
/// llmrl_limit.kind: amount in each period, all of which comes back at its end. The
/// first one begins when the limiter is made, or ends as resets_in_ns says.
pub const LLMRL_FIXED_WINDOW: u32 = 4;
/// llmrl_limit.kind: amount in a period, estimated from two counters: this period's use,
/// and the last one's in proportion to what of it is less than a period ago. In the
/// worst window nearly twice amount is admitted.
pub const LLMRL_SLIDING_WINDOW_COUNTER: u32 = 5;
/// llmrl_limit.kind: never more than amount in any period, counted in resolution parts.
/// Steady use reaches k / (k + 1) of amount with k parts.
pub const LLMRL_SLIDING_WINDOW: u32 = 6;
/// llmrl_limit.kind: never more than amount in any period, with a time stamp to the
/// nanosecond for each admission. When there are more than resolution, the two oldest
/// count as one.
pub const LLMRL_SLIDING_WINDOW_LOG: u32 = 7;

/// llmrl_limit.meter: requests.
pub const LLMRL_REQUESTS: u32 = 1;
/// llmrl_limit.meter: input and output tokens together.
pub const LLMRL_TOKENS: u32 = 2;
/// llmrl_limit.meter: input tokens.
pub const LLMRL_INPUT_TOKENS: u32 = 3;
/// llmrl_limit.meter: output tokens.
pub const LLMRL_OUTPUT_TOKENS: u32 = 4;
/// llmrl_limit.meter: tokens, each class with a weight of its own; a request's sum is
/// rounded up.
pub const LLMRL_WEIGHTED_TOKENS: u32 = 5;

/// llmrl_limit.flags: a request that costs more than burst is admitted when the bucket
/// is full, and leaves it in debt, which is paid before the next one is admitted.
/// Without this flag it is refused with LLMRL_ERR_NEVER.
pub const LLMRL_OVERSIZE_WHEN_FULL: u32 = 1;
/// llmrl_limit.flags: the bucket starts empty instead of full, the window full instead
/// of empty, for limits of which others may have used something.
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
    /// LLMRL_TOKEN_BUCKET to LLMRL_SLIDING_WINDOW_LOG.
    pub kind: u32,
    /// What it counts, LLMRL_REQUESTS to LLMRL_WEIGHTED_TOKENS; 0 for in flight.
    pub meter: u32,
    /// How much in a period, 1 to 2^40 - 1. In flight: the permits, 1 to 524287.
    pub amount: u64,
    /// Up to 3660 days; for a bucket or pacing not so short that more than 10^9 a second
    /// are produced. 0 is one minute, 60000000000. In flight: 0.
    pub period_ns: u64,
    /// Token bucket: what an idle one holds, 1 to 2^40 - 1; 0 is as much as amount. All
    /// others: 0.
    pub burst: u64,
    /// LLMRL_OVERSIZE_WHEN_FULL, LLMRL_START_EMPTY, both or none. In flight: 0.
    pub flags: u32,
    /// Sliding window: its parts, 1 to 1000; 0 is 60. Log: the time stamps it holds, 16
    /// bytes each, 1 to 65536; 0 is as many as amount. All others: 0.
    pub resolution: u32,
    /// Fixed window: the present one ends so long from now, at most a period; 0 is a
    /// whole period. All others: 0.
    pub resets_in_ns: u64,
    /// What an input token counts that is neither read from nor written to a cache, in
    /// thousandths, 0 to 100000. This and the next three are for LLMRL_WEIGHTED_TOKENS,
    /// where not all may be 0; all others: 0.
    pub input_weight: u32,
    /// The same for an output token.
    pub output_weight: u32,
    /// For an input token that the provider takes from its cache.
    pub cached_weight: u32,
    /// For an input token that the provider puts into its cache.
    pub cache_write_weight: u32,
}

/// What a request will use, or has used. Each count is at most 2^40 - 1, input_tokens +
/// output_tokens as well; the two of the cache are at most 2^36 - 1.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct llmrl_cost {
    /// Usually 1, and at least that; in llmrl_limiter_charge() also 0.
    pub requests: u64,
    /// Tokens of the prompt.
    pub input_tokens: u64,
    /// Tokens of the answer; beforehand, an estimate.
    pub output_tokens: u64,
    /// Input tokens that the provider takes from its cache. Part of input_tokens; only
    /// LLMRL_WEIGHTED_TOKENS looks at them.
    pub cached_tokens: u64,
    /// Input tokens that the provider puts into its cache. Part of input_tokens; only
    /// LLMRL_WEIGHTED_TOKENS looks at them.
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

/// Out of range, in words.
fn range<T>(field: &str, value: u64, range: &str) -> Result<T, (llmrl_status, String)> {
    let text = format!("{field} = {value} is outside {range}");
    Err((LLMRL_ERR_RANGE, text))
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
        let weights = [
            ("input_weight", self.input_weight.into()),
            ("output_weight", self.output_weight.into()),
            ("cached_weight", self.cached_weight.into()),
            ("cache_write_weight", self.cache_write_weight.into()),
        ];
        let zero =
            |fields: &[(&str, u64)], why: &str| match fields.iter().find(|field| field.1 != 0) {
                Some((field, value)) => range(field, *value, &format!("0..=0, {why}")),
                None => Ok(()),
            };
        if self.kind == LLMRL_IN_FLIGHT {
            let why = "as the limit is in flight";
            zero(
                &[
                    ("meter", self.meter.into()),
                    ("period_ns", self.period_ns),
                    ("burst", self.burst),
                    ("flags", self.flags.into()),
                    ("resolution", self.resolution.into()),
                    ("resets_in_ns", self.resets_in_ns),
                ],
                why,
            )?;
            zero(&weights, why)?;
            return Ok(Limit::in_flight(self.amount));
        }
        if self.meter != LLMRL_WEIGHTED_TOKENS {
            zero(&weights, "as the meter has no weights")?;
        }
        let Some(shape) = SHAPES.get(self.kind as usize).copied().flatten() else {
            return range("kind", self.kind.into(), "1..=7");
        };
        let meter = match self.meter {
            LLMRL_REQUESTS => Meter::Requests,
            LLMRL_TOKENS => Meter::Tokens,
            LLMRL_INPUT_TOKENS => Meter::Input,
            LLMRL_OUTPUT_TOKENS => Meter::Output,
            LLMRL_WEIGHTED_TOKENS => Meter::Weighted(Weights {
                input: self.input_weight,
                output: self.output_weight,
                cached: self.cached_weight,
                cache_write: self.cache_write_weight,
            }),
            other => return range("meter", other.into(), "1..=5"),
        };
        let mut limit = Limit::quota(shape, meter, self.amount).per(period(self.period_ns));
        if self.burst != 0 {
            limit = limit.burst(self.burst);
        }
        if self.resolution != 0 {
            limit = limit.resolution(self.resolution.into());
        }
        if self.resets_in_ns != 0 {
            limit = limit.resets_in(Duration::from_nanos(self.resets_in_ns));
        }
        if self.flags & LLMRL_OVERSIZE_WHEN_FULL != 0 {
            limit = limit.oversize(Oversize::WhenFull);
        }
        if self.flags & LLMRL_START_EMPTY != 0 {
            limit = limit.start_empty();
        }
        Ok(limit)
    }
}

/// By kind, those that are counted over a period.
const SHAPES: [Option<Shape>; 8] = [
    None,
    Some(Shape::Bucket),
    None,
    Some(Shape::Pacing),
    Some(Shape::FixedWindow),
    Some(Shape::SlidingCounter),
    Some(Shape::SlidingWindow),
    Some(Shape::SlidingLog),
];

// The core's numbers are the interface's.
const _: () = {
    assert!(Shape::Bucket as u32 == LLMRL_TOKEN_BUCKET && Shape::Pacing as u32 == LLMRL_PACING);
    assert!(Shape::FixedWindow as u32 == LLMRL_FIXED_WINDOW);
    assert!(Shape::SlidingCounter as u32 == LLMRL_SLIDING_WINDOW_COUNTER);
    assert!(Shape::SlidingWindow as u32 == LLMRL_SLIDING_WINDOW);
    assert!(Shape::SlidingLog as u32 == LLMRL_SLIDING_WINDOW_LOG);
};

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
