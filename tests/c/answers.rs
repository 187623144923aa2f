//! Turns tests/feedback/*.json into a table that tests/c/answers.c runs through.

use super::driver::root;
use serde_json::{Map, Value};
use std::fmt::Write;
use std::fs;

/// A string and its size, as bytes that no compiler takes for anything else.
fn text(text: &str) -> String {
    let mut literal = String::new();
    for byte in text.bytes() {
        write!(literal, "\\{byte:03o}").unwrap();
    }
    format!("\"{literal}\", {}", text.len())
}

/// What C has for a value of JSON.
fn value(key: &str, value: &Value) -> String {
    let name = |prefix: &str, word: &str| format!("LLMRL_{prefix}{}", word.to_uppercase());
    match (key, value) {
        ("tripped", Value::Null) => "LLMRL_NO_QUOTA".into(),
        ("axis", Value::Null) => "0".into(),
        ("axis", Value::String(axis)) if axis == "other" => "LLMRL_OTHER_METER".into(),
        ("axis", Value::String(axis)) => name("", axis),
        ("class", Value::String(class)) => name("CLASS_", class),
        ("pool", Value::String(pool)) => name("POOL_", pool),
        (_, Value::Null) => "LLMRL_UNKNOWN".into(),
        (_, Value::Bool(is)) => u8::from(*is).to_string(),
        // The largest number is not the one that stands for none.
        (_, Value::String(digits)) => {
            let number: u64 = digits.parse().unwrap();
            format!("UINT64_C({})", number.min(u64::MAX - 1))
        }
        (_, Value::Number(number)) => format!("UINT64_C({})", number.as_u64().unwrap()),
        _ => panic!("{key} is {value}"),
    }
}

/// One line for each thing that is expected, with the limit that it is said of.
fn expected(lines: &mut String, expect: &Map<String, Value>, quota: usize) {
    for (key, want) in expect {
        if let Value::Array(quotas) = want {
            writeln!(lines, "    {{QUOTA_COUNT, 0, {}}},", quotas.len()).unwrap();
            for (at, quota) in quotas.iter().enumerate() {
                expected(lines, quota.as_object().unwrap(), at + 1);
            }
        } else {
            let field = key.to_uppercase();
            writeln!(lines, "    {{{field}, {quota}, {}}},", value(key, want)).unwrap();
        }
    }
}

/// All of them, as C.
pub fn table() -> String {
    let (mut tables, mut list) = (String::new(), String::new());
    let mut at = 0;
    for file in ["vectors", "examples"] {
        let path = root().join(format!("tests/feedback/{file}.json"));
        let vectors: Vec<Value> = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        assert!(!vectors.is_empty(), "no {file}");
        for vector in &vectors {
            let headers = vector["headers"].as_array().unwrap();
            // An array in C is never empty.
            writeln!(tables, "static const llmrl_header headers_{at}[] = {{").unwrap();
            for header in headers {
                let [name, value] = [0, 1].map(|part| text(header[part].as_str().unwrap()));
                writeln!(tables, "    {{{name}, {value}}},").unwrap();
            }
            tables += "    {NULL, 0, NULL, 0},\n};\n";
            writeln!(tables, "static const expected expected_{at}[] = {{").unwrap();
            expected(&mut tables, vector["expect"].as_object().unwrap(), 0);
            tables += "};\n";
            writeln!(
                list,
                "    {{\"{}\", {}, headers_{at}, {}, {}, UINT64_C({}), expected_{at}, sizeof expected_{at} / sizeof *expected_{at}}},",
                vector["id"].as_str().unwrap(),
                vector["status"],
                headers.len(),
                text(vector.get("body").map_or("", |body| body.as_str().unwrap())),
                vector.get("now").map_or(0, |now| now.as_u64().unwrap() * 1_000_000_000),
            )
            .unwrap();
            at += 1;
        }
    }
    format!("{tables}\nstatic const vector vectors[] = {{\n{list}}};\n")
}
