//! Turns tests/vectors into tables that tests/c/vectors.c runs through. Their format is described in tests/vectors/README.md.

use super::driver::root;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::fmt::Write;
use std::fs;

/// A JSON object, and where it stands.
struct Fields<'a>(&'a str, &'a Map<String, Value>);

impl Fields<'_> {
    fn text(&self, key: &str) -> &str {
        let value = self
            .1
            .get(key)
            .unwrap_or_else(|| panic!("{}: no {key}", self.0));
        value
            .as_str()
            .unwrap_or_else(|| panic!("{}: {key} is {value}", self.0))
    }

    fn list(&self, key: &str) -> &[Value] {
        let value = self.1.get(key).and_then(Value::as_array);
        value.unwrap_or_else(|| panic!("{}: no list {key}", self.0))
    }

    /// A C constant. Numbers that JSON cannot hold exactly are strings of digits.
    fn number(&self, key: &str) -> Option<String> {
        self.1.get(key).map(|value| literal(value, self.0))
    }

    fn number_or(&self, key: &str, default: &str) -> String {
        self.number(key).unwrap_or_else(|| default.into())
    }

    fn flag(&self, key: &str) -> bool {
        self.1.get(key) == Some(&Value::Bool(true))
    }
}

fn literal(value: &Value, place: &str) -> String {
    let digits = match value {
        Value::String(text) if text == "forever" => return "LLMRL_FOREVER".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let number: i128 = digits
        .parse()
        .unwrap_or_else(|_| panic!("{place}: {digits} is no whole number"));
    match number {
        0.. => format!("UINT64_C({number})"),
        _ => format!("-INT64_C({})", -number),
    }
}

fn limit(fields: &Fields) -> String {
    let kind = fields.text("kind").to_uppercase();
    let meter = match fields.1.get("meter") {
        Some(meter) => format!("LLMRL_{}", meter.as_str().unwrap().to_uppercase()),
        None => "0".into(),
    };
    let flags = ["oversize_when_full", "start_empty"].map(|key| u32::from(fields.flag(key)));
    let numbers = ["amount", "period_ns", "burst"].map(|key| fields.number_or(key, "0"));
    let others = ["resolution", "resets_in_ns"].map(|key| fields.number_or(key, "0"));
    let empty = Map::new();
    let weights = fields.1.get("weights").map(|it| it.as_object().unwrap());
    let weights = Fields(fields.0, weights.unwrap_or(&empty));
    let weights =
        ["input", "output", "cached", "cache_write"].map(|key| weights.number_or(key, "0"));
    format!(
        "{{LLMRL_{kind}, {meter}, {}, {}, {}, {}}}",
        numbers.join(", "),
        flags[0] | flags[1] << 1,
        others.join(", "),
        weights.join(", "),
    )
}

fn cost(fields: &Fields) -> String {
    let empty = Map::new();
    let cost = fields
        .1
        .get("cost")
        .map_or(&empty, |cost| cost.as_object().unwrap());
    let cost = Fields(fields.0, cost);
    let counts = ["input", "output", "cached", "cache_write"].map(|key| cost.number_or(key, "0"));
    format!(
        "{{{}, {}, {{0, 0, 0}}}}",
        cost.number_or("requests", "1"),
        counts.join(", ")
    )
}

fn step(fields: &Fields, subject: &str, names: &mut HashMap<String, usize>) -> String {
    let name = ["as", "of"]
        .iter()
        .find_map(|key| fields.1.get(*key))
        .map_or(0, |name| {
            let next = names.len();
            *names.entry(name.as_str().unwrap().into()).or_insert(next)
        });
    let answer = match fields.text("is") {
        outcome @ ("OK" | "PENDING" | "REFUSED") => format!("LLMRL_{outcome}"),
        error => format!("LLMRL_ERR_{error}"),
    };
    let available = fields.list("available");
    let balances: Vec<_> = available
        .iter()
        .map(|value| literal(value, fields.0))
        .collect();
    // One column of the table for what the operations call their numbers.
    let n = ["n", "slots", "ns", "resets_in_ns"]
        .iter()
        .find_map(|key| fields.number(key));
    format!(
        "{{{}, {}_{}, {}, {}, {}, {}, {}, {}, {}, {name}, {answer}, {}, {}, {}, {{{}}}}}",
        fields.number_or("at", "0"),
        subject.to_uppercase(),
        fields.text("op").to_uppercase(),
        fields.number_or("limit", "0"),
        n.unwrap_or("0".into()),
        fields.number_or("amount", "0"),
        fields.number_or("period_ns", "0"),
        fields.number_or("burst", "0"),
        cost(fields),
        fields.number_or("timeout_ns", "LLMRL_FOREVER"),
        u8::from(fields.1.contains_key("wait_ns")),
        fields.number_or("wait_ns", "0"),
        balances.len(),
        balances.join(", "),
    )
}

/// Where other languages have an optional argument, C has 0 for the default, so it cannot ask for a burst of 0. That is
/// refused everywhere else and changes nothing, so what follows stays the same without it.
fn asks_for_nothing(fields: &Fields) -> bool {
    let zero = |key| {
        fields
            .number(key)
            .is_some_and(|number| number == "UINT64_C(0)")
    };
    let asks = fields.text("op") == "retune" && (zero("burst") || zero("period_ns"));
    assert!(!asks || fields.text("is") == "RANGE", "{}", fields.0);
    asks
}

/// All vectors, as C.
pub fn table() -> String {
    let directory = fs::read_dir(root().join("tests/vectors")).expect("tests/vectors");
    let mut paths: Vec<_> = directory.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "json")
    });
    paths.sort();
    assert!(!paths.is_empty(), "no vectors");

    let (mut tables, mut list) = (String::new(), String::new());
    for (at, path) in paths.iter().enumerate() {
        let name = path.file_name().unwrap().to_string_lossy();
        let json = fs::read_to_string(path).unwrap();
        let json: Map<String, Value> =
            serde_json::from_str(&json).unwrap_or_else(|error| panic!("{name}: {error}"));
        let vector = Fields(&name, &json);
        let subject = vector.text("subject");
        let mut names = HashMap::new();
        writeln!(tables, "static const step steps_{at}[] = {{").unwrap();
        for (number, fields) in vector.list("steps").iter().enumerate() {
            let place = format!("{name}, step {}", number + 1);
            let fields = Fields(&place, fields.as_object().unwrap());
            if asks_for_nothing(&fields) {
                continue;
            }
            writeln!(tables, "    {},", step(&fields, subject, &mut names)).unwrap();
        }
        tables += "};\n";
        let limits = vector.list("limits").iter();
        let limits: Vec<_> = limits
            .map(|limits| limit(&Fields(&name, limits.as_object().unwrap())))
            .collect();
        writeln!(
            list,
            "    {{\"{name}\", SUBJECT_{}, {}, {}, {{{}}}, {}, steps_{at}, sizeof steps_{at} / sizeof *steps_{at}, {}}},",
            subject.to_uppercase(),
            vector.number_or("start_ns", "0"),
            vector.number_or("max_waiters", "64"),
            limits.join(", "),
            limits.len(),
            names.len().max(1),
        )
        .unwrap();
    }
    format!("{tables}\nstatic const vector vectors[] = {{\n{list}}};\n")
}
