//! `RateLimit` and `RateLimit-Policy`, in all of the forms that the IETF's drafts gave them.
//!
//! | draft | example |
//! | --- | --- |
//! | from 08 | `"burst";q=100;w=60, "daily";q=1000;w=86400` and `"burst";r=50;t=30` |
//! | 07 | `limit=100, remaining=50, reset=5` |
//! | to 06 | `600;w=300` |
//!
//! They are read more leniently than RFC 9651 says, as Hugging Face puts two names where there can be one, and others put the
//! whole in quotes. What is no item at all is left out, and the others stand.

use super::number::SECOND;
use super::reading::Axis;
use super::table::hash;

/// One policy, or how it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Item {
    /// Which one; `None` in the drafts before names.
    pub(super) name: Option<u32>,
    pub(super) axis: Option<Axis>,
    pub(super) limit: Option<u64>,
    pub(super) remaining: Option<u64>,
    /// In nanoseconds.
    pub(super) reset: Option<u64>,
    /// In seconds.
    pub(super) window: Option<u32>,
}

/// The items of a value.
pub(super) fn items(value: &[u8]) -> impl Iterator<Item = Item> {
    split(value, b',').filter_map(|item| read(item, true))
}

/// The parts between separators that are not in quotes.
fn split(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut quoted, mut escaped) = (false, false);
        let end = text.iter().position(|&byte| {
            let ends = byte == separator && !quoted;
            quoted ^= byte == b'"' && !escaped;
            escaped = byte == b'\\' && quoted && !escaped;
            ends
        });
        rest = end.map(|end| &text[end + 1..]);
        Some(text[..end.unwrap_or(text.len())].trim_ascii())
    })
}

/// An integer, at most fifteen digits by RFC 9651; more are a large number here.
fn integer(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

fn unquoted(text: &[u8]) -> Option<&[u8]> {
    text.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

fn read(text: &[u8], outermost: bool) -> Option<Item> {
    let mut item = Item::default();
    for part in split(text, b';') {
        if let Some(name) = unquoted(part) {
            if outermost && name.first().is_some_and(u8::is_ascii_digit) && name.contains(&b';') {
                return read(name, false);
            }
            item.name = Some(hash(name));
        } else if let Some(at) = part.iter().position(|&byte| byte == b'=') {
            item.parameter(&part[..at], &part[at + 1..])?;
        } else if let Some(limit) = integer(part) {
            item.limit = Some(limit);
        } else if !part.is_empty() && part.iter().all(u8::is_ascii_graphic) {
            item.name = Some(hash(part));
        } else {
            return None;
        }
    }
    Some(item)
}

impl Item {
    /// `None` if the value cannot be; parameters of which nothing is known are comments.
    fn parameter(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"q" | b"limit" => self.limit = Some(integer(value)?),
            b"r" | b"remaining" => self.remaining = Some(integer(value)?),
            b"t" | b"reset" => self.reset = Some(integer(value)?.saturating_mul(SECOND)),
            b"w" => {
                let window = u32::try_from(integer(value)?).unwrap_or(u32::MAX);
                self.window = Some(window).filter(|&window| window > 0);
            }
            b"qu" => self.axis = Some(unit(unquoted(value)?)),
            _ => {}
        }
        Some(())
    }
}

/// Only three are registered, and none of tokens; those who count tokens will need one of their own.
fn unit(text: &[u8]) -> Axis {
    let has = |word: &[u8]| {
        text.windows(word.len())
            .any(|part| part.eq_ignore_ascii_case(word))
    };
    match text {
        b"requests" => Axis::Requests,
        b"concurrent-requests" => Axis::Concurrency,
        _ if has(b"token") && has(b"input") => Axis::Input,
        _ if has(b"token") && has(b"output") => Axis::Output,
        _ if has(b"token") => Axis::Tokens,
        _ => Axis::Other,
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(value: &str) -> Vec<Item> {
        items(value.as_bytes()).collect()
    }

    fn named(name: &str) -> Item {
        Item {
            name: Some(hash(name.as_bytes())),
            ..Item::default()
        }
    }

    #[test]
    fn named_items() {
        let default = Item {
            remaining: Some(50),
            reset: Some(30 * SECOND),
            ..named("default")
        };
        assert_eq!(all("\"default\";r=50;t=30"), [default]);
        assert_eq!(
            all(" \"default\" ; r=50 ;t=30 ;comment=\"a,b;c\""),
            [default]
        );
        let policies = all("\"burst\";q=100;w=60,\"daily\";q=1000;w=86400");
        assert_eq!(policies.len(), 2);
        assert_eq!(
            (policies[1].limit, policies[1].window),
            (Some(1_000), Some(86_400))
        );
        let bytes = all("\"peruser\";q=65535;qu=\"content-bytes\";w=10");
        assert_eq!(bytes[0].axis, Some(Axis::Other));
        // The partition key is a comment to us, canonical or not.
        assert_eq!(
            all("\"default\";r=999;pk=:dHJpYWwxMjEzMjM=:")[0].remaining,
            Some(999)
        );
        assert_eq!(
            all("\"default\";r=999;pk=:sdfjLJUOUH==:")[0].remaining,
            Some(999)
        );
    }

    #[test]
    fn separators_in_quotes() {
        assert_eq!(
            all("\"a,b;c\";r=1"),
            [Item {
                remaining: Some(1),
                ..named("a,b;c")
            }]
        );
        assert_eq!(all("\"a\\\",b\";r=1").len(), 1);
        assert_eq!(all("\"open;r=1, \"b\";r=2").len(), 1);
    }

    #[test]
    fn what_is_sent_instead() {
        let two_names = all("\"fixed window\";\"api\";q=1000;w=300");
        assert_eq!(
            two_names,
            [Item {
                limit: Some(1_000),
                window: Some(300),
                ..named("api")
            }]
        );
        let old = Item {
            limit: Some(600),
            window: Some(300),
            ..Item::default()
        };
        assert_eq!(all("600;w=300"), [old]);
        assert_eq!(all("\"600;w=300\""), [old]);
        let dictionary = all("limit=100, remaining=50, reset=5");
        assert_eq!(dictionary.len(), 3);
        assert_eq!(dictionary[2].reset, Some(5 * SECOND));
        assert_eq!(
            all("\"a\";r=, \"b\";r=2"),
            [Item {
                remaining: Some(2),
                ..named("b")
            }]
        );
        assert_eq!(all("\"a\";w=0")[0].window, None);
        assert_eq!(
            all(&format!("\"a\";t={}", "9".repeat(400)))[0].reset,
            Some(u64::MAX)
        );
    }

    proptest! {
        #[test]
        fn any_bytes(text in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assert!(items(&text).count() <= text.len() + 1);
        }

        #[test]
        fn almost_items(text in "[\"a-z0-9;=, \\\\:]{0,60}") {
            let _ = items(text.as_bytes()).count();
        }
    }
}
