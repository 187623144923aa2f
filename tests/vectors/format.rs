//! Reading and writing vectors; `README.md` describes them.

use crate::reference::script::{BucketSpec, LimitSpec, Name, Op, Setup, WindowShape, WindowSpec};
use crate::reference::{Answer, Wait};
use llmrl::{Cost, Meter, Weights};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Limiter,
    Bucket,
    InFlight,
}

#[derive(Clone, Debug)]
pub enum Action {
    Limiter(Op),
    Take(u64),
    Refund(u64),
    Charge(u64),
    Retune(u64, u64, u64),
    Pause(u64),
    Enter,
    Leave,
    Resize(u64),
}

pub struct Expected {
    pub word: String,
    pub wait: Option<Wait>,
    pub available: Option<Vec<i64>>,
}

pub struct Step {
    pub at: u64,
    pub action: Action,
    pub expected: Option<Expected>,
    raw: Map<String, Value>,
}

pub struct Vector {
    pub name: String,
    pub subject: Subject,
    pub setup: Setup,
    pub steps: Vec<Step>,
    raw: Map<String, Value>,
}

pub fn read(path: &Path) -> Vector {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let text = std::fs::read_to_string(path).unwrap();
    let raw: Map<String, Value> =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let fields = Fields(&name, &raw);
    fields.only(&[
        "about",
        "subject",
        "start_ns",
        "limits",
        "max_waiters",
        "steps",
    ]);
    let subject = match fields.text("subject") {
        "limiter" => Subject::Limiter,
        "bucket" => Subject::Bucket,
        "in_flight" => Subject::InFlight,
        other => panic!("{name}: subject {other}"),
    };
    let setup = Setup {
        start_ns: fields.number("start_ns"),
        limits: fields
            .list("limits")
            .iter()
            .map(|limit| read_limit(&name, limit))
            .collect(),
        max_waiters: fields.optional("max_waiters").unwrap_or(64) as usize,
    };
    let mut names = HashMap::new();
    let steps = fields.list("steps").iter().enumerate();
    let steps = steps.map(|(number, step)| {
        let place = format!("{name}, step {}", number + 1);
        read_step(
            &Fields(&place, step.as_object().unwrap()),
            subject,
            &setup.limits,
            &mut names,
        )
    });
    let steps = steps.collect();
    Vector {
        name,
        subject,
        setup,
        steps,
        raw,
    }
}

fn read_limit(name: &str, limit: &Value) -> LimitSpec {
    let fields = Fields(name, limit.as_object().unwrap());
    let kind = fields.text("kind");
    let own: &[&str] = match kind {
        "in_flight" => {
            fields.only(&["kind", "amount"]);
            return LimitSpec::InFlight(fields.number("amount"));
        }
        "token_bucket" => &["burst", "oversize_when_full"],
        "pacing" => &[],
        "fixed_window" => &["oversize_when_full", "resets_in_ns"],
        "sliding_window_counter" => &["oversize_when_full"],
        "sliding_window" | "sliding_window_log" => &["oversize_when_full", "resolution"],
        other => panic!("{name}: kind {other}"),
    };
    let common = [
        "kind",
        "meter",
        "weights",
        "amount",
        "period_ns",
        "start_empty",
    ];
    fields.only(&[&common, own].concat());
    let meter = fields.meter();
    let (amount, period_ns) = (fields.number("amount"), fields.number("period_ns"));
    let flag = |key| fields.1.get(key) == Some(&Value::Bool(true));
    let (when_full, start_empty) = (flag("oversize_when_full"), flag("start_empty"));
    let resolution = fields.optional("resolution");
    let shape = match kind {
        "token_bucket" => {
            return LimitSpec::Bucket(BucketSpec {
                when_full,
                start_empty,
                ..BucketSpec::new(meter, amount, period_ns, fields.number("burst"))
            });
        }
        "pacing" => {
            return LimitSpec::Bucket(BucketSpec {
                start_empty,
                ..BucketSpec::pacing(meter, amount, period_ns)
            });
        }
        "fixed_window" => WindowShape::Fixed,
        "sliding_window_counter" => WindowShape::Counter,
        "sliding_window" => WindowShape::Sliding(resolution.unwrap_or(60)),
        _ => WindowShape::Log,
    };
    LimitSpec::Window(WindowSpec {
        resolution: resolution.filter(|_| shape == WindowShape::Log),
        resets_in_ns: fields.optional("resets_in_ns"),
        when_full,
        start_empty,
        ..WindowSpec::new(shape, meter, amount, period_ns)
    })
}

/// What a step says about the answer, besides what it asks.
const ANSWER: [&str; 3] = ["is", "wait_ns", "available"];

fn read_step(
    fields: &Fields,
    subject: Subject,
    limits: &[LimitSpec],
    names: &mut HashMap<String, Name>,
) -> Step {
    let mut name = |key| {
        let next = names.len() as Name;
        *names.entry(fields.text(key).to_owned()).or_insert(next)
    };
    let number = |key| fields.number(key);
    let limit = || number("limit") as usize;
    let limiter = Action::Limiter;
    let op = fields.text("op");
    let (keys, action): (&[&str], Action) = match (subject, op) {
        (Subject::Limiter, "try_acquire") => (
            &["cost", "as"],
            limiter(Op::TryAcquire {
                name: name("as"),
                cost: fields.cost(),
            }),
        ),
        (Subject::Limiter, "enqueue") => (
            &["cost", "timeout_ns", "as"],
            limiter(Op::Enqueue {
                name: name("as"),
                cost: fields.cost(),
                timeout_ns: fields.optional("timeout_ns"),
            }),
        ),
        (Subject::Limiter, "poll") => (&["of"], limiter(Op::Poll(name("of")))),
        (Subject::Limiter, "release") => (&["of"], limiter(Op::Release(name("of")))),
        (Subject::Limiter, "cancel") => (&["of"], limiter(Op::Cancel(name("of")))),
        (Subject::Limiter, "adjust") => (
            &["of", "cost"],
            limiter(Op::Adjust(name("of"), fields.cost())),
        ),
        (Subject::Limiter, "settle") => (
            &["of", "cost"],
            limiter(Op::Settle(name("of"), fields.cost())),
        ),
        (Subject::Limiter, "charge") => (&["cost"], limiter(Op::Charge(fields.cost()))),
        (Subject::Limiter, "close") => (&[], limiter(Op::Close)),
        (Subject::Limiter, "resize") => (&["limit", "slots"], limiter(Op::Resize(number("slots")))),
        (Subject::Limiter, "pause") => (
            &["limit", "ns"],
            limiter(Op::Pause {
                limit: limit(),
                ns: number("ns"),
            }),
        ),
        (Subject::Limiter, "retune") => (
            &["limit", "amount", "period_ns", "burst"],
            limiter(Op::Retune {
                limit: limit(),
                amount: number("amount"),
                period_ns: number("period_ns"),
                burst: limits
                    .get(limit())
                    .and_then(|limit| limit.burst_at(number("amount")))
                    .unwrap_or_else(|| number("burst")),
            }),
        ),
        (Subject::Limiter, "align") => (
            &["limit", "resets_in_ns"],
            limiter(Op::Align {
                limit: limit(),
                resets_in_ns: number("resets_in_ns"),
            }),
        ),
        (Subject::Bucket, "take") => (&["n"], Action::Take(number("n"))),
        (Subject::Bucket, "refund") => (&["n"], Action::Refund(number("n"))),
        (Subject::Bucket, "charge") => (&["n"], Action::Charge(number("n"))),
        (Subject::Bucket, "pause") => (&["ns"], Action::Pause(number("ns"))),
        (Subject::Bucket, "retune") => (
            &["amount", "period_ns", "burst"],
            Action::Retune(number("amount"), number("period_ns"), number("burst")),
        ),
        (Subject::InFlight, "enter") => (&[], Action::Enter),
        (Subject::InFlight, "leave") => (&[], Action::Leave),
        (Subject::InFlight, "resize") => (&["slots"], Action::Resize(number("slots"))),
        _ => panic!("{}: {op} is no operation of {subject:?}", fields.0),
    };
    fields.only(&[&["at", "op"], keys, &ANSWER].concat());
    let expected = fields.1.get("is").map(|word| Expected {
        word: word.as_str().unwrap().to_owned(),
        wait: fields.1.get("wait_ns").map(|wait| match wait.as_str() {
            Some("forever") => Wait::Forever,
            _ => Wait::Ns(fields.number("wait_ns")),
        }),
        available: fields.1.get("available").map(|available| {
            let available = available.as_array().unwrap().iter();
            available
                .map(|left| i64::try_from(integer(left).unwrap()).unwrap())
                .collect()
        }),
    });
    Step {
        at: number("at"),
        action,
        expected,
        raw: fields.1.clone(),
    }
}

impl Step {
    /// Writes down `answer` as the right one.
    pub fn fill(&mut self, answer: &Answer, available: Vec<i64>) {
        let mut put = |key: &str, value| self.raw.insert(key.to_owned(), value);
        put("is", answer.word().into());
        match answer.wait() {
            Some(Wait::Ns(ns)) => drop(put("wait_ns", to_value(ns.into()))),
            Some(Wait::Forever) => drop(put("wait_ns", "forever".into())),
            Some(Wait::Open) | None => {}
        }
        let available = available.into_iter().map(|left| to_value(left.into()));
        put("available", Value::Array(available.collect()));
    }
}

/// One step a line, so that a difference can be read.
pub fn write(path: &Path, vector: &Vector) {
    let line = |map: &Map<String, Value>, order: &[&str]| {
        let fields = order.iter().filter_map(|key| Some((key, map.get(*key)?)));
        let fields: Vec<_> = fields
            .map(|(key, value)| format!("\"{key}\": {}", spaced(value)))
            .collect();
        format!("{{{}}}", fields.join(", "))
    };
    let limits = vector.raw["limits"].as_array().unwrap().iter();
    let limit = [
        "kind",
        "meter",
        "weights",
        "amount",
        "period_ns",
        "burst",
        "resolution",
        "resets_in_ns",
        "oversize_when_full",
        "start_empty",
    ];
    let limits: Vec<_> = limits
        .map(|l| line(l.as_object().unwrap(), &limit))
        .collect();
    let step = [
        "at",
        "op",
        "limit",
        "n",
        "slots",
        "ns",
        "resets_in_ns",
        "amount",
        "period_ns",
        "burst",
        "cost",
        "timeout_ns",
        "of",
        "as",
        "is",
        "wait_ns",
        "available",
    ];
    let steps: Vec<_> = vector.steps.iter().map(|s| line(&s.raw, &step)).collect();
    let mut text = String::from("{\n");
    for key in ["about", "subject", "start_ns", "max_waiters"] {
        if let Some(value) = vector.raw.get(key) {
            text += &format!("  \"{key}\": {value},\n");
        }
    }
    let list = |lines: Vec<String>| lines.join(",\n    ");
    text += &format!("  \"limits\": [\n    {}\n  ],\n", list(limits));
    text += &format!("  \"steps\": [\n    {}\n  ]\n}}\n", list(steps));
    std::fs::write(path, text).unwrap();
}

fn spaced(value: &Value) -> String {
    match value {
        Value::Array(items) => format!(
            "[{}]",
            items.iter().map(spaced).collect::<Vec<_>>().join(", ")
        ),
        Value::Object(map) => {
            let fields = map
                .iter()
                .map(|(key, value)| format!("\"{key}\": {}", spaced(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// The largest integer that a double holds together with all smaller ones.
const LARGEST_IN_JSON: i128 = 1 << 53;

fn to_value(n: i128) -> Value {
    match i64::try_from(n) {
        Ok(small) if n.abs() <= LARGEST_IN_JSON => small.into(),
        _ => n.to_string().into(),
    }
}

fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::String(digits) => digits.parse().ok(),
        Value::Number(number) => {
            let n = number.as_i64()?.into();
            (-LARGEST_IN_JSON..=LARGEST_IN_JSON)
                .contains(&n)
                .then_some(n)
        }
        _ => None,
    }
}

/// An object, and where it stands.
struct Fields<'a>(&'a str, &'a Map<String, Value>);

impl Fields<'_> {
    fn only(&self, keys: &[&str]) {
        for key in self.1.keys() {
            assert!(keys.contains(&key.as_str()), "{}: what is {key}?", self.0);
        }
    }

    fn get(&self, key: &str) -> &Value {
        self.1
            .get(key)
            .unwrap_or_else(|| panic!("{}: no {key}", self.0))
    }

    fn text(&self, key: &str) -> &str {
        self.get(key)
            .as_str()
            .unwrap_or_else(|| panic!("{}: {key} is no string", self.0))
    }

    fn list(&self, key: &str) -> &Vec<Value> {
        self.get(key)
            .as_array()
            .unwrap_or_else(|| panic!("{}: {key} is no list", self.0))
    }

    fn optional(&self, key: &str) -> Option<u64> {
        let value = self.1.get(key)?;
        let number = integer(value).and_then(|n| u64::try_from(n).ok());
        Some(number.unwrap_or_else(|| panic!("{}: {key} is {value}", self.0)))
    }

    fn number(&self, key: &str) -> u64 {
        self.optional(key)
            .unwrap_or_else(|| panic!("{}: no {key}", self.0))
    }

    fn meter(&self) -> Meter {
        match self.text("meter") {
            "requests" => Meter::Requests,
            "tokens" => Meter::Tokens,
            "input_tokens" => Meter::Input,
            "output_tokens" => Meter::Output,
            "weighted_tokens" => {
                let weights = Fields(self.0, self.get("weights").as_object().unwrap());
                weights.only(&["input", "output", "cached", "cache_write"]);
                let weight = |key| u32::try_from(weights.number(key)).unwrap();
                Meter::Weighted(Weights {
                    input: weight("input"),
                    output: weight("output"),
                    cached: weight("cached"),
                    cache_write: weight("cache_write"),
                })
            }
            other => panic!("{}: meter {other}", self.0),
        }
    }

    fn cost(&self) -> Cost {
        let fields = Fields(self.0, self.get("cost").as_object().unwrap());
        fields.only(&["requests", "input", "output", "cached", "cache_write"]);
        let count = |key| fields.optional(key).unwrap_or(0);
        Cost {
            requests: fields.optional("requests").unwrap_or(1),
            input: count("input"),
            output: count("output"),
            cached: count("cached"),
            cache_write: count("cache_write"),
        }
    }
}
