//! Whatever comes over the wire: nothing panics, wraps, takes long, or is believed beyond reason.

use super::sane::{LONGEST, sane};
use llmrl::feedback::{Class, MAX_QUOTAS, Reading, read_answer};
use proptest::collection::vec;
use proptest::prelude::*;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const NAMES: [&str; 26] = [
    "date",
    "age",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
    "x-ratelimit-type",
    "ratelimit",
    "ratelimit-policy",
    "x-ratelimit-policy",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "ratelimit-limit",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
    "x-ratelimit-renewalperiod-tokens",
    "anthropic-ratelimit-tokens-limit",
    "anthropic-ratelimit-tokens-remaining",
    "anthropic-ratelimit-tokens-reset",
    "anthropic-ratelimit-unified-5h-utilization",
    "x-ratelimit-limit-req-minute",
    "x-ratelimit-remaining-req-minute",
    "x-ai-ratelimit-limit-30-a",
    "x-tokenlimit-limit",
    "llm_provider-x-ratelimit-limit-tokens",
];

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..40),
        "[0-9.]{1,40}[hmsun]{0,2}".prop_map(String::into_bytes),
        "-?[0-9]{1,3}".prop_map(String::into_bytes),
        "[0-9]{400}".prop_map(String::into_bytes),
        "(\"[ab]\";[qrtw]=[0-9]{0,3}[,;]){1,4}".prop_map(String::into_bytes),
        "[0-9]{1,3}(;w=[0-9])?(, [0-9]{1,3}(;w=[0-9])?){0,3}".prop_map(String::into_bytes),
        "20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]Z"
            .prop_map(String::into_bytes),
        Just(b"Sun, 09 Aug 2026 12:05:00 GMT".to_vec()),
    ]
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let json = "\\{\"(message|code|retry_after|retryDelay|quotaId|headers|error)\":(\"[^\"\\\\]{0,40}\"|[0-9]{1,40}|\\{\\}|\\[\\])\\}";
    let prose = "Limit [0-9]{1,30}, Used [0-9]{1,30}, Requested [0-9]{1,30}. Please try again in [0-9]{1,30}(s|h|ms)";
    prop_oneof![
        vec(any::<u8>(), 0..100),
        "[\\[{]{1,200}".prop_map(String::into_bytes),
        json.prop_map(String::into_bytes),
        prose.prop_map(String::into_bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_answer(
        status in 100_u16..600,
        headers in vec((prop::sample::select(&NAMES[..]), value()), 0..30),
        body in body(),
        now in any::<u64>(),
    ) {
        let now = UNIX_EPOCH + Duration::from_nanos(now);
        sane(&read_answer(status, headers, &body, now));
    }

    #[test]
    fn any_names(headers in vec((vec(any::<u8>(), 0..100), vec(any::<u8>(), 0..100)), 0..20)) {
        sane(&read_answer(429, headers, b"", SystemTime::now()));
    }
}

fn read(headers: &[(&str, &str)], body: &[u8]) -> Reading {
    let reading = read_answer(429, headers.iter().copied(), body, SystemTime::now());
    sane(&reading);
    reading
}

#[test]
fn numbers_of_four_hundred_digits() {
    let many = "9".repeat(400);
    assert_eq!(read(&[("retry-after", &many)], b"").wait, Some(LONGEST));
    assert_eq!(read(&[("retry-after-ms", &many)], b"").wait, Some(LONGEST));
    let quota = read(
        &[
            ("x-ratelimit-limit-tokens", &many),
            ("x-ratelimit-reset-tokens", &many),
        ],
        b"",
    )
    .quotas()[0];
    assert_eq!((quota.limit, quota.reset), (Some(u64::MAX), None));
    // As JSON it is no number, so what is left is its text.
    let body =
        format!("{{\"message\": \"Please retry after 5 seconds.\", \"retry_after\": {many}}}");
    assert_eq!(
        read(&[], body.as_bytes()).wait,
        Some(Duration::from_secs(5))
    );
    read(
        &[],
        format!("Limit {many}, Used {many}, Requested {many}. Try again in {many}h").as_bytes(),
    );
}

#[test]
fn a_wait_beyond_a_day_is_told_apart() {
    let reading = read(&[("retry-after", "99999999")], b"");
    assert_eq!((reading.class, reading.wait), (Class::Long, Some(LONGEST)));
}

#[test]
fn huge_lists_of_headers() {
    let names: Vec<String> = (0..100_000)
        .map(|at| format!("x-ai-ratelimit-limit-{at}-name"))
        .collect();
    let headers = names.iter().map(|name| (name.as_str(), "5"));
    let start = Instant::now();
    let reading = read_answer(200, headers, b"", SystemTime::now());
    sane(&reading);
    assert_eq!(reading.quotas().len(), MAX_QUOTAS);
    let list = "1, ".repeat(2_000);
    sane(&read_answer(
        200,
        vec![("x-ratelimit-limit", list.as_str()); 1_000],
        b"",
        SystemTime::now(),
    ));
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn bodies_made_to_take_long() {
    let start = Instant::now();
    let mut nested = "\"retry in 1s\"".to_string();
    for _ in 0..12 {
        nested = serde_json::json!({ "message": nested }).to_string();
    }
    for body in [
        "[".repeat(100_000),
        "{\"a\":".repeat(100_000),
        "a-".repeat(100_000),
        "/".repeat(100_000),
        "limit 1 per 1 ".repeat(10_000),
        format!("[{}1]", "{\"message\":\"{\"},".repeat(3_000)),
        format!(
            "{{\"headers\":{{{}\"a\":\"1\"}}}}",
            "\"x-ratelimit-limit\":\"1,1,1,1,1,1\",".repeat(1_500)
        ),
        nested,
    ] {
        read(&[], body.as_bytes());
    }
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn only_the_beginning_of_a_body_is_looked_at() {
    let mut body = b"Please retry after 5 seconds. ".to_vec();
    body.resize(50_000_000, b' ');
    let start = Instant::now();
    assert_eq!(read(&[], &body).wait, Some(Duration::from_secs(5)));
    let mut late = vec![b' '; 70_000];
    late.extend(b"retry after 5 seconds");
    assert_eq!(read(&[], &late).wait, None);
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn secrets_are_not_shown() {
    let headers = [
        ("authorization", "Bearer sk-secret"),
        ("x-ratelimit-limit-requests", "sk-secret"),
        ("x-request-id", "sk-secret"),
    ];
    let shown = format!(
        "{:?}",
        read(&headers, b"{\"message\": \"key sk-secret of org-secret\"}")
    );
    assert!(!shown.contains("secret"), "{shown}");
}
