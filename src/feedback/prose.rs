//! What providers say in sentences. Some say their limits nowhere else: "Limit 10000, Used 8554, Requested 3082. Please try
//! again in 9.816s."

use super::facts::Facts;
use super::number::{Count, SECOND, count, go_duration, scaled};
use super::reading::Axis;
use super::table::window_word;

/// More than this no sentence needs.
const MAX_PROSE: usize = 4_096;

/// Notes what a sentence says. Takes time in proportion to its length.
pub(super) fn prose(text: &[u8], facts: &mut Facts) {
    let words = words(&text[..text.len().min(MAX_PROSE)]);
    for at in 0..words.len() {
        Sentence { words: &words, at }.note(facts);
    }
}

/// Words in lower case without punctuation; hyphens part them, and a slash is one.
fn words(text: &[u8]) -> Vec<Vec<u8>> {
    let mut words = vec![Vec::new()];
    let letter = |at: usize| text.get(at).is_some_and(u8::is_ascii_alphabetic);
    for (at, &byte) in text.iter().enumerate() {
        let hyphen = byte == b'-' && at > 0 && letter(at - 1) && letter(at + 1);
        if byte == b'/' {
            words.extend([b"/".to_vec(), Vec::new()]);
        } else if byte.is_ascii_whitespace() || hyphen {
            words.push(Vec::new());
        } else if let Some(word) = words.last_mut() {
            word.push(byte.to_ascii_lowercase());
        }
    }
    for word in &mut words {
        let inner = |byte: &u8| byte.is_ascii_alphanumeric() || !byte.is_ascii() || *byte == b'/';
        let end = word.iter().rposition(inner).map_or(0, |last| last + 1);
        word.truncate(end);
        // A sign is no punctuation.
        let start = word.iter().position(|byte| inner(byte) || *byte == b'-');
        word.drain(..start.unwrap_or(0));
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Words, and where in them one is.
struct Sentence<'a> {
    words: &'a [Vec<u8>],
    at: usize,
}

impl Sentence<'_> {
    fn word(&self, offset: isize) -> &[u8] {
        let at = self.at.checked_add_signed(offset);
        at.and_then(|at| self.words.get(at))
            .map_or(b"", |word| word)
    }

    fn count(&self, offset: isize) -> Option<u64> {
        match count(self.word(offset))? {
            Count::Known(number) => Some(number),
            Count::Unknown => None,
        }
    }

    fn note(&self, facts: &mut Facts) {
        let (before, next) = (self.word(-1), self.word(1));
        match self.word(0) {
            // xAI's "(actual/limit): 5/4" begins with the other one.
            b"limit" if before != b"/" => {
                let limit = self.count(1);
                facts.limit = facts.limit.or(limit);
                facts.no_quota |= limit == Some(0);
            }
            b"used" | b"current" => facts.used = facts.used.or(self.count(1)),
            b"requested" => facts.requested = facts.requested.or(self.count(1)),
            b"per" | b"/" => self.rate(facts),
            b"in" if matches!(before, b"again" | b"retry") => self.wait(facts),
            b"after" if before == b"retry" => self.wait(facts),
            b"wait" => {
                self.wait(facts);
                facts.concurrent |= self.duration(1) == Some(0);
            }
            b"too" if next == b"large" && before == b"request" => facts.too_large = true,
            b"many" if before == b"too" && next == b"tokens" => facts.tripped(Axis::Tokens),
            b"on" | b"for" => {
                if let Some(axis) = unit(next) {
                    facts.tripped(axis);
                }
            }
            b"token" if next == b"rate" => facts.tripped(Axis::Tokens),
            b"call" if next == b"rate" => facts.tripped(Axis::Requests),
            b"balance" if before == b"credit" => facts.billing = true,
            b"billing" if next == b"details" => facts.speaks_of_billing = true,
            b"overloaded" => facts.overload = true,
            b"throttlingexception" => facts.throttled = true,
            word if word.starts_with(b"concurren") => facts.concurrent = true,
            word => {
                if let Some((axis, seconds)) = acronym(word) {
                    facts.tripped(axis);
                    facts.per(seconds);
                }
            }
        }
    }

    /// `9.816s`, `37 seconds`.
    fn duration(&self, offset: isize) -> Option<u64> {
        let word = self.word(offset);
        let unit = match self.word(offset + 1) {
            b"ms" | b"millisecond" | b"milliseconds" => super::number::MILLISECOND,
            unit => u64::from(window_word(unit).unwrap_or(1)) * SECOND,
        };
        go_duration(word).or_else(|| scaled(word, unit))
    }

    fn wait(&self, facts: &mut Facts) {
        facts.prose_wait = facts.prose_wait.or(self.duration(1));
    }

    /// At "per": `40,000 input tokens per minute`, `20 API calls / minute`, `5 per 0s`.
    fn rate(&self, facts: &mut Facts) {
        let period = self.word(1);
        // A fraction, a date, or a part of an address.
        if self.word(0) == b"/" && period.first().is_some_and(u8::is_ascii_digit) {
            return;
        }
        let seconds = match (window_word(period), go_duration(period)) {
            (Some(seconds), _) => seconds,
            (None, Some(0)) => {
                facts.concurrent = true;
                0
            }
            (None, Some(ns)) => u32::try_from(ns / SECOND).unwrap_or(u32::MAX),
            (None, None) => return,
        };
        let mut axis = None;
        for back in 1..=4 {
            let word = self.word(-back);
            match (word, unit(word), self.count(-back)) {
                (_, Some(Axis::Tokens), _) => axis = axis.or(unit(word)),
                (_, Some(found), _) => axis = Some(found),
                (_, _, Some(limit)) => {
                    facts.limit = facts.limit.or(Some(limit));
                    break;
                }
                (b"api", ..) => {}
                _ => break,
            }
        }
        if let Some(axis) = axis {
            facts.tripped(axis);
        }
        if seconds > 0 {
            facts.per(seconds);
        }
    }
}

/// What a word counts. `input` comes before `tokens`, and is said for the two.
fn unit(word: &[u8]) -> Option<Axis> {
    Some(match word {
        b"token" | b"tokens" => Axis::Tokens,
        b"input" | b"prompt" => Axis::Input,
        b"output" | b"completion" | b"generated" => Axis::Output,
        b"request" | b"requests" | b"call" | b"calls" => Axis::Requests,
        _ => return None,
    })
}

/// `tpm`, `rpd`, `itpm`.
fn acronym(word: &[u8]) -> Option<(Axis, u32)> {
    let (last, rest) = word.split_last()?;
    let axis = match rest {
        b"rp" => Axis::Requests,
        b"tp" => Axis::Tokens,
        b"itp" => Axis::Input,
        b"otp" => Axis::Output,
        _ => return None,
    };
    let seconds = match last {
        b's' => 1,
        b'm' => 60,
        b'h' => 3_600,
        b'd' => 86_400,
        _ => return None,
    };
    Some((axis, seconds))
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Facts {
        let mut facts = Facts::default();
        prose(text.as_bytes(), &mut facts);
        facts
    }

    #[test]
    fn openai() {
        let facts = read(
            "Rate limit reached for gpt-4 in organization org-x on tokens per min (TPM): Limit 10000, Used 8554, Requested 3082. \
             Please try again in 9.816s. Visit https://platform.openai.com/account/rate-limits to learn more.",
        );
        assert_eq!((facts.axis, facts.window), (Some(Axis::Tokens), Some(60)));
        assert_eq!(
            (facts.limit, facts.used, facts.requested),
            (Some(10_000), Some(8_554), Some(3_082))
        );
        assert_eq!(facts.prose_wait, Some(9_816_000_000));
        assert!(!facts.concurrent && !facts.too_large && !facts.speaks_of_billing);

        let old = read(
            "Rate limit reached for tokens. Limit: 150000.000000 / min. Current: 176000.000000 / min.",
        );
        assert_eq!((old.axis, old.window), (Some(Axis::Tokens), Some(60)));
        assert_eq!((old.limit, old.used), (Some(150_000), Some(176_000)));
        let old = read(
            "Rate limit reached for 10KTPM-200RPM in organization x on tokens per min. Limit: 10000 / min. Please try again in 6ms.",
        );
        assert_eq!(
            (old.axis, old.limit, old.prose_wait),
            (Some(Axis::Tokens), Some(10_000), Some(6_000_000))
        );
    }

    #[test]
    fn rates_in_words() {
        for (text, axis, limit, window) in [
            (
                "of 40,000 input tokens per minute.",
                Some(Axis::Input),
                Some(40_000),
                Some(60),
            ),
            (
                "limited to 20 API calls / minute",
                Some(Axis::Requests),
                Some(20),
                Some(60),
            ),
            (
                "8,000 output tokens/minute",
                Some(Axis::Output),
                Some(8_000),
                Some(60),
            ),
            (
                "on output tokens per minute (OTPM): Limit 1000",
                Some(Axis::Output),
                Some(1_000),
                Some(60),
            ),
            (
                "on requests per day (RPD): Limit 1000",
                Some(Axis::Requests),
                Some(1_000),
                Some(86_400),
            ),
            (
                "Rate limit of 50 per 86400s exceeded",
                None,
                Some(50),
                Some(86_400),
            ),
            ("free-models-per-day", None, None, Some(86_400)),
            (
                "Too many tokens per day, please wait before trying again.",
                Some(Axis::Tokens),
                None,
                Some(86_400),
            ),
            ("5 requests per project per model", None, None, None),
            (
                "requests per second (actual/limit): 4/4",
                Some(Axis::Requests),
                None,
                Some(1),
            ),
            ("since 2026/08/09", None, None, None),
        ] {
            let facts = read(text);
            assert_eq!(
                (facts.axis, facts.limit, facts.window),
                (axis, limit, window),
                "{text}"
            );
            assert_eq!(facts.prose_wait, None, "{text}");
        }
    }

    #[test]
    fn waits_in_words() {
        for (text, ns) in [
            ("Please retry after 37 seconds.", Some(37 * SECOND)),
            ("Please retry in 39.393557456s.", Some(39_393_557_456)),
            ("try again in 14h29m11.04s", Some(52_151_040_000_000)),
            ("try again in 2 minutes", Some(120 * SECOND)),
            ("retry after 250 ms", Some(250_000_000)),
            ("retry after 1.", Some(SECOND)),
            ("try again in -5s", None),
            ("try again in a moment", None),
            ("please wait", None),
        ] {
            assert_eq!(read(text).prose_wait, ns, "{text}");
        }
        assert!(read("Please wait 0 seconds").concurrent);
        assert!(read("Rate limit of 5 per 0s exceeded").concurrent);
        assert!(!read("Please wait 5 seconds").concurrent);
    }

    proptest! {
        #[test]
        fn any_bytes(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            prose(&text, &mut Facts::default());
        }

        #[test]
        fn almost_sentences(text in "((limit|used|requested|per|in|retry|wait|tokens|[0-9]{1,30}s?|-5|/|min)[ ,.-]){0,30}") {
            prose(text.as_bytes(), &mut Facts::default());
        }
    }
}
