//! What a fuzzer writes, taken for answers: as HTTP has them, with the wall clock's time beside the status.
//!
//! ```text
//! 429 1786277100
//! retry-after: 5
//!
//! {"error": ...}
//! ```

use llmrl::feedback::{Reading, read_answer};
use std::time::{Duration, UNIX_EPOCH};

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

pub fn reading(answer: &[u8]) -> Reading {
    let mut rest = answer;
    let mut lines = std::iter::from_fn(|| {
        let end = rest.iter().position(|&byte| byte == b'\n');
        let line = &rest[..end.unwrap_or(rest.len())];
        rest = end.map_or(&[], |end| &rest[end + 1..]);
        (!line.is_empty()).then_some(line)
    });
    let first = lines.next().unwrap_or_default();
    let mut words = first.split(|&byte| byte == b' ');
    let status = words.next().and_then(number).unwrap_or(429);
    let now = words.next().and_then(number).unwrap_or(1_786_277_100);
    let headers: Vec<_> = lines
        .map(|line| {
            let colon = line.iter().position(|&byte| byte == b':');
            let (name, value) = line.split_at(colon.unwrap_or(line.len()));
            (name, value.get(1..).unwrap_or_default())
        })
        .collect();
    let status = u16::try_from(status).unwrap_or(429).clamp(100, 999);
    let now = UNIX_EPOCH + Duration::from_secs(now.min(1 << 34));
    read_answer(status, headers, rest, now)
}
