//! The body of a refusal: JSON if it can be read as such, else prose.
//!
//! Providers, and gateways in front of them, wrap the same members in different ways: in an array, under `error`, in an
//! escaped string, behind a sentence. So members are looked for by name at any depth.

use super::facts::Facts;
use super::headers::Headers;
use super::number::{Count, SECOND, count, pb_duration, scaled};
use super::prose::prose;
use super::reading::{Axis, MAX_QUOTAS, Pool, Quota};
use super::table::hash;
use serde_json::{Deserializer, Map, Number, Value};
use std::time::Duration;

/// More of a body is not looked at.
const MAX_BODY: usize = 65_536;
/// Where an event says what it is.
const MAX_TYPE: usize = 256;
/// JSON in strings in JSON.
const MAX_NESTING: u32 = 3;

/// What a body adds to the headers.
pub(super) struct Body<'a> {
    pub(super) headers: &'a mut Headers,
    /// Quotas that Google says were exceeded.
    pub(super) violated: [Option<Quota>; MAX_QUOTAS],
}

/// Whether a body is the event that tells limits. Whatever answers say in their text is escaped there.
pub(super) fn is_event(body: &[u8]) -> bool {
    let start = &body[..body.len().min(MAX_TYPE)];
    let name = b"\"rate_limits.updated\"";
    start.windows(name.len()).any(|part| part == name)
}

impl Body<'_> {
    pub(super) fn read(&mut self, body: &[u8]) {
        self.text(&body[..body.len().min(MAX_BODY)], 0);
    }

    fn text(&mut self, text: &[u8], nesting: u32) {
        if !self.json(text, nesting) {
            prose(text, self.facts());
        }
    }

    /// OpenAI's Realtime API has no headers, but an event of its own: `{"type": "rate_limits.updated", "rate_limits": [{"name":
    /// "requests", "limit": 1000, "remaining": 999, "reset_seconds": 60}]}`. It tells what headers tell of the same names.
    pub(super) fn event(&mut self, body: &[u8]) {
        let event: Option<Value> = serde_json::from_slice(&body[..body.len().min(MAX_BODY)]).ok();
        let limits = event.as_ref().and_then(|event| event.get("rate_limits"));
        for limit in limits.and_then(Value::as_array).into_iter().flatten() {
            let name = limit
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let fields = [
                ("limit", "limit"),
                ("remaining", "remaining"),
                ("reset_seconds", "reset"),
            ];
            for (member, field) in fields {
                if let Some(Value::Number(number)) = limit.get(member) {
                    let header = format!("x-ratelimit-{field}-{name}");
                    let number = number.to_string();
                    self.headers.header(header.as_bytes(), number.as_bytes());
                }
            }
        }
    }

    fn facts(&mut self) -> &mut Facts {
        &mut self.headers.facts
    }

    /// Reads the JSON that begins with the first brace, whatever follows it. False if there is none.
    fn json(&mut self, text: &[u8], nesting: u32) -> bool {
        let start = match text.trim_ascii_start().first() {
            Some(b'[') => Some(0),
            _ => text.iter().position(|&byte| byte == b'{'),
        };
        let Some(start) = start.filter(|_| nesting <= MAX_NESTING) else {
            return false;
        };
        let mut values = Deserializer::from_slice(&text[start..]).into_iter::<Value>();
        let Some(Ok(value)) = values.next() else {
            return false;
        };
        if start > 0 {
            prose(&text[..start], self.facts());
        }
        self.value("", &value, nesting);
        true
    }

    fn value(&mut self, key: &str, value: &Value, nesting: u32) {
        match value {
            Value::Object(members) => self.object(key, members, nesting),
            Value::Array(values) => values
                .iter()
                .for_each(|value| self.value(key, value, nesting)),
            Value::String(text) => self.string(key, text, nesting),
            Value::Number(number) => self.number(key, number),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn object(&mut self, key: &str, members: &Map<String, Value>, nesting: u32) {
        // OpenRouter's `error.metadata.headers`.
        if key == "headers" {
            for (name, value) in members {
                if let Some(value) = value.as_str() {
                    self.headers.header(name.as_bytes(), value.as_bytes());
                }
            }
            return;
        }
        let name = |key| members.get(key).and_then(Value::as_str);
        if let Some(id) = name("quotaId").or(name("quotaMetric")) {
            self.violation(id, members.get("quotaValue"));
        }
        for (key, value) in members {
            self.value(key, value, nesting);
        }
    }

    fn string(&mut self, key: &str, text: &str, nesting: u32) {
        let bytes = text.as_bytes();
        match key {
            "message" | "Message" | "msg" | "error" | "detail" | "title" => {
                self.text(bytes, nesting + 1);
            }
            "code" | "type" | "__type" | "param" => self.code(text),
            "status" => self.facts().google |= text == "RESOURCE_EXHAUSTED",
            "retryDelay" => {
                let facts = self.facts();
                facts.retry_delay = facts.retry_delay.max(pb_duration(bytes));
            }
            "retry_after" => self.retry_after(bytes),
            "violated-policies" => {
                let facts = self.facts();
                facts.policy = facts.policy.or(Some(hash(bytes)));
            }
            _ => {}
        }
    }

    fn number(&mut self, key: &str, number: &Number) {
        match key {
            "retry_after" => self.retry_after(number.to_string().as_bytes()),
            "code" => self.code(&number.to_string()),
            _ => {}
        }
    }

    fn retry_after(&mut self, text: &[u8]) {
        let facts = self.facts();
        facts.retry_after = facts.retry_after.or(scaled(text.trim_ascii(), SECOND));
    }

    /// A word for programs.
    fn code(&mut self, code: &str) {
        let facts = self.facts();
        // Of a URL or a qualified name, what comes last.
        match code.rsplit('#').next().unwrap_or(code) {
            "insufficient_quota" | "billing_hard_limit_reached" | "billing_not_active" => {
                facts.billing = true;
            }
            "enforced_spend_limit_reached" => facts.billing = true,
            // Cerebras' queue, and Z.ai's number for what it says is a rate.
            "queue_exceeded" | "1302" => facts.concurrent = true,
            "request_quota_exceeded" | "requests" => facts.tripped(Axis::Requests),
            "token_quota_exceeded" | "tokens" => facts.tripped(Axis::Tokens),
            "input_tokens" => facts.tripped(Axis::Input),
            "output_tokens" => facts.tripped(Axis::Output),
            "request_too_large" => facts.too_large = true,
            "overloaded_error" | "temporary-reduced-capacity" => facts.overload = true,
            "rate_limit_error" | "rate_limit_exceeded" | "ThrottlingException" => {
                facts.throttled = true;
            }
            "quota-exceeded" | "abnormal-usage-detected" => facts.throttled = true,
            _ => {}
        }
    }

    /// `GenerateRequestsPerDayPerProjectPerModel-FreeTier`, or Vertex' `..._requests_per_minute_per_project_...`.
    fn violation(&mut self, id: &str, value: Option<&Value>) {
        let has = |words: [&str; 2]| words.iter().any(|word| id.contains(word));
        let axis = match () {
            () if has(["InputToken", "input_token"]) => Axis::Input,
            () if has(["OutputToken", "output_token"]) => Axis::Output,
            () if has(["Token", "token"]) => Axis::Tokens,
            () if has(["Request", "request"]) => Axis::Requests,
            () => Axis::Other,
        };
        let window = match () {
            () if has(["PerDay", "per_day"]) => Some(86_400),
            () if has(["PerHour", "per_hour"]) => Some(3_600),
            () if has(["PerMinute", "per_minute"]) => Some(60),
            () => None,
        };
        let limit = match value {
            Some(Value::String(text)) => count(text.as_bytes()),
            Some(Value::Number(number)) => number.as_u64().map(Count::Known),
            _ => None,
        };
        let mut quota = Quota::new(axis, Pool::Standard);
        quota.window = window.map(|seconds| Duration::from_secs(seconds.into()));
        quota.remaining = Some(0);
        if let Some(Count::Known(limit)) = limit {
            quota.limit = Some(limit);
        }
        let facts = self.facts();
        facts.google = true;
        facts.no_quota |= quota.limit == Some(0);
        // Of several, the day's takes longest to come back.
        if window == Some(86_400) && !facts.calendar {
            facts.calendar = true;
            (facts.axis, facts.window, facts.limit) = (None, None, quota.limit);
        }
        facts.tripped(axis);
        facts.window = facts.window.or(window);
        if let Some(free) = self.violated.iter_mut().find(|violated| violated.is_none()) {
            *free = Some(quota);
        }
    }
}
