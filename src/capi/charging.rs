//! What a request is charged
//!
//! Providers count the same request differently: some take max_tokens at once and keep it,
//! some take what was really put out, some give cached input away. A rule says how; what
//! comes out of it is what to acquire, and later what to settle with.
//!
//! ```c
//! llmrl_charging rule;
//! llmrl_request request = {1200, 0, 1024, 300};
//! llmrl_charging_of("bedrock", &rule, sizeof rule);
//! llmrl_charging_reserve(&rule, sizeof rule, &request, sizeof request, &cost);
//! ```

use super::feedback::LLMRL_UNKNOWN;
use super::limit::{llmrl_cost, read_cost};
use super::status::*;
use super::{Plain, copy_in, copy_out, guard};
use crate::feedback::{Charging, Output, Request, Settlement};
use crate::limit::Cost;
use std::ffi::{CStr, c_char};

/// llmrl_charging.flags: the larger of input and output is charged, as input, instead of
/// both.
pub const LLMRL_CHARGE_JOINTLY: u32 = 1;
/// llmrl_charging.flags: input that the provider reads from its cache counts.
pub const LLMRL_CHARGE_CACHED: u32 = 2;

/// llmrl_charging.output: nothing counts as output before there is any.
pub const LLMRL_OUTPUT_NOTHING: u32 = 0;
/// llmrl_charging.output: what is expected counts.
pub const LLMRL_OUTPUT_EXPECTED: u32 = 1;
/// llmrl_charging.output: max_tokens count; what is expected if they are not given.
pub const LLMRL_OUTPUT_ALLOWED: u32 = 2;

/// llmrl_charging.settlement: what was reserved stands.
pub const LLMRL_SETTLE_ESTIMATE: u32 = 0;
/// llmrl_charging.settlement: what was used stands.
pub const LLMRL_SETTLE_ACTUAL: u32 = 1;
/// llmrl_charging.settlement: the larger of both stands.
pub const LLMRL_SETTLE_MAXIMUM: u32 = 2;

/// How a provider charges a request. May grow at the end in later versions, so its size
/// is passed along with it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct llmrl_charging {
    /// LLMRL_CHARGE_JOINTLY, LLMRL_CHARGE_CACHED, both or none.
    pub flags: u32,
    /// LLMRL_OUTPUT_NOTHING to LLMRL_OUTPUT_ALLOWED.
    pub output: u32,
    /// LLMRL_SETTLE_ESTIMATE to LLMRL_SETTLE_MAXIMUM.
    pub settlement: u32,
    /// How many times output counts in the end, 1 to 1000.
    pub burndown: u32,
}

// SAFETY: integers of one size.
unsafe impl Plain for llmrl_charging {}

/// What is known of a request before it is sent, in tokens. May grow at the end in later
/// versions, so its size is passed along with it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct llmrl_request {
    /// The prompt, all of it.
    pub prompt: u64,
    /// What of it the provider will probably read from its cache.
    pub cached: u64,
    /// The most that it may put out, or LLMRL_UNKNOWN.
    pub max_tokens: u64,
    /// How much it will probably put out.
    pub expected: u64,
}

// SAFETY: integers of one size.
unsafe impl Plain for llmrl_request {}

impl llmrl_charging {
    fn rule(self) -> Result<Charging, llmrl_status> {
        if self.flags & !(LLMRL_CHARGE_JOINTLY | LLMRL_CHARGE_CACHED) != 0 {
            return Err(LLMRL_ERR_FLAGS);
        }
        if !(1..=1_000).contains(&self.burndown) {
            return Err(LLMRL_ERR_RANGE);
        }
        Ok(Charging {
            joint: self.flags & LLMRL_CHARGE_JOINTLY != 0,
            cached: self.flags & LLMRL_CHARGE_CACHED != 0,
            output: match self.output {
                LLMRL_OUTPUT_NOTHING => Output::Nothing,
                LLMRL_OUTPUT_EXPECTED => Output::Expected,
                LLMRL_OUTPUT_ALLOWED => Output::Allowed,
                _ => return Err(LLMRL_ERR_RANGE),
            },
            settlement: match self.settlement {
                LLMRL_SETTLE_ESTIMATE => Settlement::Estimate,
                LLMRL_SETTLE_ACTUAL => Settlement::Actual,
                LLMRL_SETTLE_MAXIMUM => Settlement::Maximum,
                _ => return Err(LLMRL_ERR_RANGE),
            },
            burndown: self.burndown.into(),
        })
    }
}

impl From<Charging> for llmrl_charging {
    fn from(rule: Charging) -> Self {
        let flag = |set, flag| if set { flag } else { 0 };
        Self {
            flags: flag(rule.joint, LLMRL_CHARGE_JOINTLY) | flag(rule.cached, LLMRL_CHARGE_CACHED),
            output: match rule.output {
                Output::Nothing => LLMRL_OUTPUT_NOTHING,
                Output::Expected => LLMRL_OUTPUT_EXPECTED,
                Output::Allowed => LLMRL_OUTPUT_ALLOWED,
            },
            settlement: match rule.settlement {
                Settlement::Estimate => LLMRL_SETTLE_ESTIMATE,
                Settlement::Actual => LLMRL_SETTLE_ACTUAL,
                Settlement::Maximum => LLMRL_SETTLE_MAXIMUM,
            },
            // The named ones' is small.
            burndown: rule.burndown as u32,
        }
    }
}

impl From<llmrl_request> for Request {
    fn from(request: llmrl_request) -> Self {
        Self {
            prompt: request.prompt,
            cached: request.cached,
            max_tokens: (request.max_tokens != LLMRL_UNKNOWN).then_some(request.max_tokens),
            expected: request.expected,
        }
    }
}

/// The rule of a provider: "openai", "azure", "anthropic", "anthropic-reserving" (as it was
/// until 2025), "gemini" or "bedrock". out_size is sizeof *out.
///
/// Returns LLMRL_OK, LLMRL_ERR_NULL, LLMRL_ERR_SIZE, or LLMRL_ERR_RANGE for another name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_charging_of(
    provider: *const c_char,
    out: *mut llmrl_charging,
    out_size: usize,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    guard(None, || unsafe {
        if provider.is_null() {
            return Err(LLMRL_ERR_NULL);
        }
        let name = CStr::from_ptr(provider).to_str().unwrap_or("");
        let rule = Charging::of(name).ok_or(LLMRL_ERR_RANGE)?;
        copy_out(out, out_size, &rule.into())
    })
}

/// What to acquire for a request: one request and its tokens, never out of range.
/// charging_size is sizeof *charging, request_size sizeof *request.
///
/// Returns LLMRL_OK, LLMRL_ERR_NULL, LLMRL_ERR_SIZE, LLMRL_ERR_FLAGS or LLMRL_ERR_RANGE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_charging_reserve(
    charging: *const llmrl_charging,
    charging_size: usize,
    request: *const llmrl_request,
    request_size: usize,
    out: *mut llmrl_cost,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    guard(None, || unsafe {
        let (rule, request) = rule_and_request(charging, charging_size, request, request_size)?;
        give(out, rule.reserve(&request))
    })
}

/// What to settle with, when the answer says what was used.
///
/// Returns as llmrl_charging_reserve().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn llmrl_charging_settle(
    charging: *const llmrl_charging,
    charging_size: usize,
    request: *const llmrl_request,
    request_size: usize,
    used: *const llmrl_cost,
    out: *mut llmrl_cost,
) -> llmrl_status {
    // SAFETY: what C promises of the pointers it gives.
    guard(None, || unsafe {
        let (rule, request) = rule_and_request(charging, charging_size, request, request_size)?;
        let used = read_cost(used)?;
        give(out, rule.settle(&request, &used))
    })
}

/// # Safety
/// The pointers are null or point to so many readable bytes.
unsafe fn rule_and_request(
    charging: *const llmrl_charging,
    charging_size: usize,
    request: *const llmrl_request,
    request_size: usize,
) -> Result<(Charging, Request), llmrl_status> {
    if charging.is_null() || request.is_null() {
        return Err(LLMRL_ERR_NULL);
    }
    // SAFETY: passed on.
    let (charging, request) = unsafe {
        (
            copy_in(charging, charging_size)?,
            copy_in(request, request_size)?,
        )
    };
    Ok((charging.rule()?, request.into()))
}

/// # Safety
/// Null, or points to a cost that can be written.
unsafe fn give(out: *mut llmrl_cost, cost: Cost) -> Result<llmrl_status, llmrl_status> {
    if out.is_null() {
        return Err(LLMRL_ERR_NULL);
    }
    let cost = llmrl_cost {
        requests: cost.requests,
        input_tokens: cost.input,
        output_tokens: cost.output,
        ..llmrl_cost::default()
    };
    // SAFETY: not null, so it can be written, as the caller says.
    unsafe { out.write_unaligned(cost) };
    Ok(LLMRL_OK)
}
