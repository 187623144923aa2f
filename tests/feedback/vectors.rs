//! `vectors.json` has a case for each of the 116 vectors of the research, `examples.json` what providers have been seen to
//! send. Only what `expect` names is compared; `quotas` must be all there are.

use llmrl::feedback::{Axis, Class, Pool, Quota, Reading, read_answer};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn axis(axis: Axis) -> &'static str {
    match axis {
        Axis::Requests => "requests",
        Axis::Tokens => "tokens",
        Axis::Input => "input_tokens",
        Axis::Output => "output_tokens",
        Axis::Concurrency => "concurrency",
        _ => "other",
    }
}

fn pool(pool: Pool) -> &'static str {
    match pool {
        Pool::Standard => "standard",
        Pool::Project => "project",
        Pool::UsageBased => "usage_based",
        Pool::Priority => "priority",
        Pool::Fast => "fast",
        Pool::Subscription => "subscription",
        Pool::Overage => "overage",
        Pool::Uncached => "uncached",
        Pool::Gateway => "gateway",
        _ => "unknown",
    }
}

fn class(class: Class) -> &'static str {
    match class {
        Class::Ok => "ok",
        Class::Rate => "rate",
        Class::Concurrency => "concurrency",
        Class::Overload => "overload",
        Class::Long => "long",
        Class::Billing => "billing",
        Class::Oversize => "oversize",
        _ => "other",
    }
}

fn ns(time: Option<Duration>) -> Value {
    json!(time.map(|time| time.as_nanos() as u64))
}

fn shown_quota(quota: &Quota) -> Value {
    let solved = |pick: fn(&llmrl::feedback::Period) -> Option<Duration>| {
        json!(
            quota
                .solved
                .as_ref()
                .and_then(pick)
                .map(|time| time.as_secs())
        )
    };
    json!({
        "axis": axis(quota.axis),
        "pool": pool(quota.pool),
        "limit": quota.limit,
        "remaining": quota.remaining,
        "reset_ns": ns(quota.reset),
        "window_ns": ns(quota.window),
        "utilization": quota.utilization,
        "period_ns": ns(quota.period()),
        "solved_low_s": solved(|period| Some(period.low)),
        "solved_high_s": solved(|period| period.high),
        "mislabelled": quota.mislabelled(),
        "exhausted": quota.exhausted(),
    })
}

fn shown(reading: &Reading) -> Value {
    json!({
        "class": class(reading.class),
        "axis": reading.axis.map(axis),
        "wait_ns": ns(reading.wait),
        "should_retry": reading.should_retry,
        "retryable": reading.retryable(),
        "warning": reading.warning,
        "requested": reading.requested,
        "tripped": reading.tripped(),
        "quotas": reading.quotas().iter().map(shown_quota).collect::<Vec<_>>(),
    })
}

/// Numbers that some readers of JSON would round are written as strings.
fn same(want: &Value, got: &Value) -> bool {
    match (want, got) {
        (Value::String(want), Value::Number(got)) => *want == got.to_string(),
        _ => want == got,
    }
}

fn compare(id: &str, want: &Value, got: &Value) {
    let want = want.as_object().unwrap();
    assert!(!want.is_empty(), "{id} asserts nothing");
    for (key, want) in want {
        let got = got.get(key).unwrap_or_else(|| panic!("{id}: no {key}"));
        if key == "quotas" {
            let (want, got) = (want.as_array().unwrap(), got.as_array().unwrap());
            assert_eq!(want.len(), got.len(), "{id}: {got:#?}");
            want.iter()
                .zip(got)
                .for_each(|(want, got)| compare(id, want, got));
        } else {
            assert!(same(want, got), "{id}: {key} is {got}, not {want}");
        }
    }
}

fn run(file: &str) -> BTreeMap<String, Value> {
    let vectors: Vec<Value> = serde_json::from_str(file).unwrap();
    let mut ids = BTreeMap::new();
    for vector in &vectors {
        let id = vector["id"].as_str().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_string();
        let headers: Vec<(String, String)> = vector["headers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|header| (text(&header[0]), text(&header[1])))
            .collect();
        let body = vector.get("body").map(text).unwrap_or_default();
        let now = match vector.get("now") {
            Some(now) => UNIX_EPOCH + Duration::from_secs(now.as_u64().unwrap()),
            None => SystemTime::now(),
        };
        let status = vector["status"].as_u64().unwrap() as u16;
        let reading = read_answer(status, headers, body.as_bytes(), now);
        compare(id, &vector["expect"], &shown(&reading));
        assert!(
            ids.insert(id.to_string(), vector["kind"].clone()).is_none(),
            "{id} twice"
        );
    }
    ids
}

#[test]
fn the_research() {
    let ids = run(include_str!("vectors.json"));
    let groups = [
        ('D', 36),
        ('B', 4),
        ('P', 7),
        ('R', 12),
        ('E', 3),
        ('T', 6),
        ('N', 6),
        ('S', 11),
        ('X', 17),
        ('M', 14),
    ];
    for (letter, count) in groups {
        for number in 1..=count {
            let id = format!("{letter}{number:02}");
            assert!(ids.contains_key(&id), "{id} is missing");
        }
    }
    assert_eq!(ids.len(), 116);
}

#[test]
fn what_has_been_seen() {
    assert!(run(include_str!("examples.json")).len() >= 54);
}

/// A vector that is wrong must be noticed.
#[test]
#[should_panic(expected = "wait_ns")]
fn a_wrong_vector_fails() {
    let reading = read_answer(429, [("retry-after", "5")], b"", SystemTime::now());
    compare(
        "X",
        &json!({ "wait_ns": 5_000_000_001_u64 }),
        &shown(&reading),
    );
}
