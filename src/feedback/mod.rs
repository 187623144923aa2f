//! What providers say about their limits, read from their answers.
//!
//! [`read_answer`] makes a [`Reading`] of an answer's status, headers and body. No provider needs to be named: headers mean
//! what their names say, and a value is recognised by its form.
//!
//! ```
//! use llmrl::feedback::{Axis, Class, read_answer};
//! use std::time::{Duration, SystemTime};
//!
//! let headers = [("x-ratelimit-limit-requests", "500"), ("x-ratelimit-remaining-requests", "0"),
//!     ("x-ratelimit-reset-requests", "1m0s"), ("retry-after-ms", "120")];
//! let body = br#"{"error": {"message": "Rate limit reached", "type": "requests"}}"#;
//! let reading = read_answer(429, headers, body, SystemTime::now());
//!
//! assert_eq!((reading.class, reading.axis), (Class::Rate, Some(Axis::Requests)));
//! assert_eq!(reading.wait, Some(Duration::from_millis(120)));
//! // The period is not said anywhere, but it follows: and so when five more requests may go.
//! let requests = reading.quotas()[0];
//! assert_eq!(requests.period(), Some(Duration::from_secs(60)));
//! assert_eq!(requests.until(5), Some(Duration::from_millis(600)));
//! ```

// number and date know how values are written; structured, table and prose what is meant; headers and body
// collect it in slots and facts; decide draws the conclusion. charging and lengths say what to acquire. Nothing in here
// knows a limiter, or reads a clock.
mod body;
mod charging;
mod date;
mod decide;
mod facts;
mod headers;
mod lengths;
mod number;
mod period;
mod prose;
mod reading;
mod slot;
mod structured;
mod table;

use body::{Body, is_event};
pub use charging::{Charging, Output, Request, Settlement};
use headers::Headers;
pub use lengths::Lengths;
pub use reading::{Axis, Class, MAX_QUOTAS, Period, Pool, Quota, Reading};
use std::time::SystemTime;

/// Reads what an answer says about limits.
///
/// `headers` are all of the answer's, as pairs of name and value, in any case and order: what `http::HeaderMap::iter` gives,
/// or a slice of pairs. The body is looked at only if `status` is 400 or above, and only its first 64 KiB, so none needs to
/// be given of an answer that streams; or if it is the event `rate_limits.updated` of OpenAI's Realtime API, with status 200. `now` is the wall clock's time, normally `SystemTime::now()`; dates are compared with the
/// answer's own `Date` instead, when it has one.
///
/// Never fails, and never panics: what is malformed, unknown or impossible is left out. Takes time in proportion to the size
/// of headers and body: some 7 us for twenty headers, and 5 us more for an error's body. Allocates only for a body.
pub fn read_answer<N: AsRef<[u8]>, V: AsRef<[u8]>>(
    status: u16,
    headers: impl IntoIterator<Item = (N, V)>,
    body: &[u8],
    now: SystemTime,
) -> Reading {
    let mut collected = Headers::default();
    for (name, value) in headers {
        collected.header(name.as_ref(), value.as_ref());
    }
    let mut body_reader = Body {
        headers: &mut collected,
        violated: [None; MAX_QUOTAS],
    };
    if status >= 400 {
        body_reader.read(body);
    } else if is_event(body) {
        body_reader.event(body);
    }
    let violated = body_reader.violated;
    decide::decide(status, collected, &violated, date::unix_ns(now))
}
