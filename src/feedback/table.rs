//! Which header means what: a table, with one row for each family of headers. No row knows its provider; what a name means
//! does not depend on who sends it.

use super::reading::{Axis, Pool};
use Axis::*;

/// What of a quota a header tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Limit,
    Remaining,
    Reset,
    /// The length of the window, in seconds.
    Window,
    /// What counts, as `limit;w=seconds`, for each window.
    Policy,
    /// How much is used, 1 is all.
    Utilization,
    /// In words, whether it was exceeded.
    Status,
}

/// The words that stand for them in names.
const FIELDS: [(&str, Field); 7] = [
    ("limit", Field::Limit),
    ("remaining", Field::Remaining),
    ("reset", Field::Reset),
    ("renewalperiod", Field::Window),
    ("policy", Field::Policy),
    ("utilization", Field::Utilization),
    ("status", Field::Status),
];

/// The headers `before` + word + `after`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    before: &'static str,
    after: &'static str,
    pub(super) axis: Axis,
    pub(super) pool: Pool,
    /// The period that the name states, in seconds.
    pub(super) window: Option<u32>,
    /// What is left is rounded, by so much at most.
    pub(super) grain: u64,
    /// The window is one of the wall clock, and ends with it.
    pub(super) aligned: bool,
    /// Values may be lists, with an element for each window.
    pub(super) list: bool,
    /// A field of the IETF's drafts, which caches store.
    pub(super) cached: bool,
}

const fn row(before: &'static str, after: &'static str, axis: Axis) -> Row {
    Row {
        before,
        after,
        axis,
        pool: Pool::Standard,
        window: None,
        grain: 0,
        aligned: false,
        list: false,
        cached: false,
    }
}

impl Row {
    const fn of(mut self, pool: Pool) -> Self {
        self.pool = pool;
        self
    }

    const fn per(mut self, seconds: u32) -> Self {
        self.window = Some(seconds);
        self
    }

    const fn rounded(mut self, grain: u64) -> Self {
        self.grain = grain;
        self
    }

    const fn aligned(mut self) -> Self {
        self.aligned = true;
        self
    }

    const fn list(mut self) -> Self {
        self.list = true;
        self
    }

    const fn cached(mut self) -> Self {
        self.cached = true;
        self
    }
}

const MINUTE: u32 = 60;
const HOUR: u32 = 3_600;
const DAY: u32 = 86_400;
const MONTH: u32 = 2_592_000;

/// What stands between `before` and `after` must be a word of `FIELDS`, so no two rows fit the same name.
static ROWS: [Row; 46] = [
    // The IETF's drafts; `ietf` knows that they are here.
    row("ratelimit-", "", Requests).list().cached(),
    // OpenAI, Azure, GitHub Models, Groq, xAI, Nebius, LiteLLM. The period of `requests` is a minute or a day, and not said.
    // Nebius' `x-ratelimit-dynamic-...` tell by what factor the limit has been changed, and when it may be again: it is in
    // these already. What a query has cost (`...-query-cost`, Mistral, Kong) is in the usage that the answer tells.
    row("x-ratelimit-", "-project-tokens", Tokens).of(Pool::Project),
    row("x-ratelimit-", "-tokens_usage_based", Tokens).of(Pool::UsageBased),
    row("x-ratelimit-", "-input_tokens", Input),
    row("x-ratelimit-", "-output_tokens", Output),
    row("x-ratelimit-", "-requests", Requests),
    row("x-ratelimit-", "-tokens", Tokens),
    // Anthropic. What is left of tokens is rounded to thousands.
    row("anthropic-ratelimit-requests-", "", Requests),
    row("anthropic-ratelimit-tokens-", "", Tokens).rounded(500),
    row("anthropic-ratelimit-input-tokens-", "", Input).rounded(500),
    row("anthropic-ratelimit-output-tokens-", "", Output).rounded(500),
    row("anthropic-priority-input-tokens-", "", Input).of(Pool::Priority),
    row("anthropic-priority-output-tokens-", "", Output).of(Pool::Priority),
    row("anthropic-fast-input-tokens-", "", Input).of(Pool::Fast),
    row("anthropic-fast-output-tokens-", "", Output).of(Pool::Fast),
    row("anthropic-ratelimit-unified-5h-", "", Other)
        .of(Pool::Subscription)
        .per(5 * HOUR),
    row("anthropic-ratelimit-unified-7d-", "", Other)
        .of(Pool::Subscription)
        .per(7 * DAY),
    // A week of one family of models.
    row("anthropic-ratelimit-unified-7d_opus-", "", Other)
        .of(Pool::Subscription)
        .per(7 * DAY),
    row("anthropic-ratelimit-unified-7d_sonnet-", "", Other)
        .of(Pool::Subscription)
        .per(7 * DAY),
    row("anthropic-ratelimit-unified-7d_oi-", "", Other)
        .of(Pool::Subscription)
        .per(7 * DAY),
    // Of `representative-claim`, the window that counts most, the reset and the status are in the last of these; nothing
    // about limits is in `fallback-percentage`, `overage-disabled-reason` and `upgrade-paths`.
    row("anthropic-ratelimit-unified-overage-", "", Other).of(Pool::Overage),
    row("anthropic-ratelimit-unified-", "", Other).of(Pool::Subscription),
    // Mistral. Its minutes are those of the wall clock.
    row("x-ratelimit-", "-req-minute", Requests)
        .per(MINUTE)
        .aligned(),
    row("x-ratelimit-", "-custom-day", Other).per(DAY),
    row("x-ratelimitbysize-", "-minute", Tokens)
        .per(MINUTE)
        .aligned(),
    row("x-ratelimitbysize-", "-month", Tokens).per(MONTH),
    row("ratelimitbysize-", "", Tokens),
    // Cerebras; the tokens of a minute are Mistral's as well.
    row("x-ratelimit-", "-requests-minute", Requests).per(MINUTE),
    row("x-ratelimit-", "-requests-hour", Requests).per(HOUR),
    row("x-ratelimit-", "-requests-day", Requests).per(DAY),
    row("x-ratelimit-", "-tokens-minute", Tokens).per(MINUTE),
    row("x-ratelimit-", "-tokens-hour", Tokens).per(HOUR),
    row("x-ratelimit-", "-tokens-day", Tokens).per(DAY),
    // Kong's other limiter, in front of anything.
    row("x-ratelimit-", "-second", Requests)
        .of(Pool::Gateway)
        .per(1),
    row("x-ratelimit-", "-minute", Requests)
        .of(Pool::Gateway)
        .per(MINUTE),
    row("x-ratelimit-", "-hour", Requests)
        .of(Pool::Gateway)
        .per(HOUR),
    row("x-ratelimit-", "-day", Requests)
        .of(Pool::Gateway)
        .per(DAY),
    // Cohere, with a trial key, and with any.
    row("x-trial-endpoint-call-", "", Requests).per(MINUTE),
    row("x-endpoint-monthly-call-", "", Requests).per(MONTH),
    // Fireworks tells tokens per second, whatever it enforces.
    row("x-ratelimit-", "-tokens-cache-adjusted-prompt", Input)
        .of(Pool::Uncached)
        .per(1),
    row("x-ratelimit-", "-tokens-prompt", Input).per(1),
    row("x-ratelimit-", "-tokens-generated", Output).per(1),
    // Together: tokens, and with them the requests below, per second.
    row(TOGETHER, "", Tokens).per(1),
    // Together, OpenRouter, GitHub and many others.
    row("x-ratelimit-", "", Requests).list(),
    // APISIX and Kong, by the name of what is behind them; see `gateway`.
    row("x-ai-ratelimit-", "", Tokens).of(Pool::Gateway),
    row("x-ai-ratelimit-", "-", Tokens).of(Pool::Gateway),
];

const TOGETHER: &str = "x-tokenlimit-";

/// The row of the headers without a field in their name, `RateLimit`, and of `RateLimit-Policy`.
pub(super) fn ietf() -> &'static Row {
    &ROWS[0]
}

/// Where a header's value belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meaning {
    pub(super) row: &'static Row,
    pub(super) field: Field,
    pub(super) window: Option<u32>,
    /// Tells limits apart that have the same row.
    pub(super) key: u32,
    /// A sender whose unnamed limits are per second.
    pub(super) per_second: bool,
}

/// What the header of this name tells, which is in lower case.
pub(super) fn look_up(name: &[u8]) -> Option<Meaning> {
    let (row, middle) = ROWS.iter().find_map(|row| {
        let rest = name.strip_prefix(row.before.as_bytes())?;
        if row.after == "-" {
            return Some((row, rest));
        }
        let middle = rest.strip_suffix(row.after.as_bytes())?;
        field(middle).map(|_| (row, middle))
    })?;
    if row.after == "-" {
        return gateway(row, middle);
    }
    Some(Meaning {
        row,
        field: field(middle)?,
        window: row.window,
        key: 0,
        per_second: row.before == TOGETHER,
    })
}

fn field(word: &[u8]) -> Option<Field> {
    let known = FIELDS.iter().find(|known| known.0.as_bytes() == word);
    known.map(|known| known.1)
}

/// `limit-30-azure`, `remaining-hour-openai` (Kong: window and provider) and `limit-name` (APISIX: instance).
fn gateway(row: &'static Row, rest: &[u8]) -> Option<Meaning> {
    let at = rest.iter().position(|&byte| byte == b'-')?;
    let (word, instance) = (&rest[..at], &rest[at + 1..]);
    let window = instance.split(|&byte| byte == b'-').next()?;
    Some(Meaning {
        row,
        field: field(word)?,
        window: window_word(window),
        key: hash(instance),
        per_second: false,
    })
}

/// A period by its name, or in seconds.
pub(super) fn window_word(word: &[u8]) -> Option<u32> {
    let named = match word.strip_suffix(b"s").unwrap_or(word) {
        b"second" | b"sec" => 1,
        b"minute" | b"min" => MINUTE,
        b"hour" => HOUR,
        b"day" => DAY,
        b"week" => 7 * DAY,
        b"month" => MONTH,
        _ => 0,
    };
    match named {
        0 => std::str::from_utf8(word)
            .ok()?
            .parse()
            .ok()
            .filter(|&seconds| seconds > 0),
        seconds => Some(seconds),
    }
}

/// FNV-1a, of names that are only compared with each other within one answer.
pub(super) fn hash(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |sum, byte| {
        (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    fn found(name: &str) -> Option<(Axis, Pool, Option<u32>, Field)> {
        let meaning = look_up(name.as_bytes())?;
        Some((
            meaning.row.axis,
            meaning.row.pool,
            meaning.window,
            meaning.field,
        ))
    }

    #[test]
    fn names() {
        use Field::*;
        let standard = Pool::Standard;
        for (name, meaning) in [
            (
                "x-ratelimit-limit-requests",
                (Requests, standard, None, Limit),
            ),
            (
                "x-ratelimit-renewalperiod-tokens",
                (Tokens, standard, None, Window),
            ),
            (
                "x-ratelimit-reset-project-tokens",
                (Tokens, Pool::Project, None, Reset),
            ),
            (
                "x-ratelimit-remaining-tokens_usage_based",
                (Tokens, Pool::UsageBased, None, Remaining),
            ),
            (
                "anthropic-ratelimit-input-tokens-reset",
                (Input, standard, None, Reset),
            ),
            (
                "anthropic-fast-output-tokens-limit",
                (Output, Pool::Fast, None, Limit),
            ),
            (
                "anthropic-ratelimit-unified-5h-utilization",
                (Other, Pool::Subscription, Some(18_000), Utilization),
            ),
            (
                "anthropic-ratelimit-unified-status",
                (Other, Pool::Subscription, None, Status),
            ),
            (
                "x-ratelimit-remaining-req-minute",
                (Requests, standard, Some(60), Remaining),
            ),
            (
                "x-ratelimitbysize-limit-month",
                (Tokens, standard, Some(MONTH), Limit),
            ),
            (
                "ratelimitbysize-remaining",
                (Tokens, standard, None, Remaining),
            ),
            (
                "x-ratelimit-limit-requests-day",
                (Requests, standard, Some(DAY), Limit),
            ),
            (
                "x-trial-endpoint-call-remaining",
                (Requests, standard, Some(60), Remaining),
            ),
            (
                "x-endpoint-monthly-call-limit",
                (Requests, standard, Some(MONTH), Limit),
            ),
            (
                "x-ratelimit-limit-tokens-cache-adjusted-prompt",
                (Input, Pool::Uncached, Some(1), Limit),
            ),
            (
                "x-tokenlimit-remaining",
                (Tokens, standard, Some(1), Remaining),
            ),
            ("x-ratelimit-reset", (Requests, standard, None, Reset)),
            ("ratelimit-limit", (Requests, standard, None, Limit)),
            (
                "x-ai-ratelimit-limit-30-azure",
                (Tokens, Pool::Gateway, Some(30), Limit),
            ),
            (
                "x-ai-ratelimit-remaining-hour-openai",
                (Tokens, Pool::Gateway, Some(3_600), Remaining),
            ),
            (
                "x-ai-ratelimit-reset-my-instance",
                (Tokens, Pool::Gateway, None, Reset),
            ),
            ("x-ai-ratelimit-reset", (Tokens, Pool::Gateway, None, Reset)),
        ] {
            assert_eq!(found(name), Some(meaning), "{name}");
        }
        for name in [
            "",
            "x-ratelimit-",
            "x-ratelimit-tokens-query-cost",
            "ratelimitbysize-query-cost",
            "x-ai-ratelimit-query-cost",
            "x-ratelimit-dynamic-scale-tokens",
            "x-ratelimit-dynamic-period-usage-tokens",
            "anthropic-ratelimit-unified-representative-claim",
            "anthropic-ratelimit-unified-overage-disabled-reason",
            "x-ai-ratelimit-",
            "authorization",
            "limit",
        ] {
            assert_eq!(found(name), None, "{name}");
        }
    }

    #[test]
    fn every_row_can_be_found() {
        for row in ROWS.iter().filter(|row| row.after != "-") {
            let name = format!("{}limit{}", row.before, row.after);
            let found = look_up(name.as_bytes()).unwrap().row;
            assert!(std::ptr::eq(found, row), "{name}");
        }
        assert_eq!(ietf().before, "ratelimit-");
    }
}
