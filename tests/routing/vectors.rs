//! `vectors.json`: where keys belong, for every language and every version. `LLMRL_VECTORS=fill` writes answers that are missing.
//!
//! They were also computed once by a program in Python, from the definition in `src/route/score.rs`, with another implementation
//! of XXH3 and exact logarithms.

use super::*;
use serde_json::Value;
use std::path::Path;

/// Bytes are text, or `{"hex": "00ff"}`.
fn bytes(value: &Value) -> Vec<u8> {
    if let Some(text) = value.as_str() {
        return text.as_bytes().to_vec();
    }
    let hex = value["hex"].as_str().expect("text or hex");
    let pairs = (0..hex.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

#[test]
fn keys_belong_where_they_always_did() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/routing/vectors.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut cases: Value = serde_json::from_str(&text).unwrap();
    let limiter = bucket(&ManualClock::new(0), 1);
    let mut filled = false;
    for case in cases.as_array_mut().unwrap() {
        let replicas = case["replicas"].as_u64();
        let router = replicas.map_or(Router::new(), |n| Router::ring(n as u32).unwrap());
        for node in case["nodes"].as_array().unwrap() {
            let weight = node["weight"].as_u64().unwrap() as u32;
            router.add(bytes(&node["name"]), weight, &limiter).unwrap();
        }
        let name = case["name"].to_string();
        for key in case["keys"].as_array_mut().unwrap() {
            let number = router.node_for(&bytes(&key[0])).unwrap().number();
            let keys = key.as_array_mut().unwrap();
            if keys.len() == 1 {
                filled = true;
                keys.push(number.into());
            }
            assert_eq!(keys[1], number, "{} of {}", keys[0], name);
        }
    }
    if filled {
        assert_eq!(
            std::env::var("LLMRL_VECTORS").as_deref(),
            Ok("fill"),
            "no answer"
        );
        let lines: Vec<String> = cases
            .as_array()
            .unwrap()
            .iter()
            .map(Value::to_string)
            .collect();
        std::fs::write(path, format!("[\n{}\n]\n", lines.join(",\n"))).unwrap();
    }
}
