//! Counts, fractions and durations, as providers write them. Nanoseconds are `u64` and saturate; so do counts.
//!
//! Nothing here rounds up: what is below the last place is cut off.

pub(super) const SECOND: u64 = 1_000_000_000;
pub(super) const MILLISECOND: u64 = 1_000_000;

/// Digits, perhaps with a point and more digits, as multiples of `unit`. No sign, no exponent, no words.
pub(super) fn scaled(text: &[u8], unit: u64) -> Option<u64> {
    let (whole, fraction) = match text.iter().position(|&byte| byte == b'.') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &[][..]),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole = u128::from(digits(whole)?) * u128::from(unit);
    // More places than these cannot be seen in a nanosecond of an hour.
    let (seen, rest) = fraction.split_at(fraction.len().min(18));
    digits(rest)?;
    let part = u128::from(digits(seen)?) * u128::from(unit) / 10_u128.pow(seen.len() as u32);
    Some(u64::try_from(whole + part).unwrap_or(u64::MAX))
}

/// Digits only; none are nothing.
fn digits(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        Some(number.saturating_mul(10).saturating_add(digit))
    })
}

/// The value of the last place of a number of seconds, in nanoseconds: a whole number is cut off to the second.
pub(super) fn last_place(text: &[u8]) -> u64 {
    match text.iter().position(|&byte| byte == b'.') {
        None => SECOND,
        Some(at) => 10_u64.pow(9_u32.saturating_sub((text.len() - at - 1) as u32)),
    }
}

/// What a header says that counts something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    Known(u64),
    /// `-1`: there is no such limit, or the gateway does not know it. Never "none left".
    Unknown,
}

/// `30000`, `30,000`, `30000.0`, `-1`.
pub(super) fn count(text: &[u8]) -> Option<Count> {
    let text = text.trim_ascii();
    if let Some(rest) = text.strip_prefix(b"-") {
        return count(rest).map(|_| Count::Unknown);
    }
    if !text.contains(&b',') {
        return scaled(text, 1).map(Count::Known);
    }
    let mut groups = text.split(|&byte| byte == b',');
    let first = groups
        .next()
        .filter(|first| (1..=3).contains(&first.len()))?;
    let number = groups.try_fold(digits(first)?, |number, group| {
        let group = digits(group).filter(|_| group.len() == 3)?;
        Some(number.saturating_mul(1_000).saturating_add(group))
    });
    number.map(Count::Known)
}

/// `true`, `yes`, `1` and their opposites, in any case.
pub(super) fn word(text: &[u8]) -> Option<bool> {
    let is = |words: [&str; 3]| {
        words
            .iter()
            .any(|word| text.eq_ignore_ascii_case(word.as_bytes()))
    };
    match () {
        () if is(["true", "yes", "1"]) => Some(true),
        () if is(["false", "no", "0"]) => Some(false),
        () => None,
    }
}

/// Units of Go's durations. `µ` is U+00B5 or U+03BC.
const UNITS: [(&str, u64); 8] = [
    ("h", 3_600 * SECOND),
    ("m", 60 * SECOND),
    ("s", SECOND),
    ("ms", MILLISECOND),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ns", 1),
];

/// `6m0s`, `20ms`, `23h18m29.144s`: numbers with units, in any order. A unit is all that stands before the next number, so
/// that `20ms` is not twenty minutes.
pub(super) fn go_duration(text: &[u8]) -> Option<u64> {
    let mut rest = text.trim_ascii();
    let mut sum = None;
    while !rest.is_empty() {
        let number = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
        let (value, tail) = rest.split_at(rest.iter().position(|byte| !number(byte))?);
        let end = tail.iter().position(number).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let (_, unit) = UNITS.iter().find(|known| known.0.as_bytes() == unit)?;
        sum = Some(scaled(value, *unit)?.saturating_add(sum.unwrap_or(0)));
        rest = tail;
    }
    sum
}

/// `39.393557456s`, as protocol buffers write durations in JSON. Before now is now.
pub(super) fn pb_duration(text: &[u8]) -> Option<u64> {
    let text = text.strip_suffix(b"s")?;
    match text.strip_prefix(b"-") {
        Some(number) => scaled(number, SECOND).map(|_| 0),
        None => scaled(text, SECOND),
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations() {
        let known: &[(&str, u64)] = &[
            ("20ms", 20_000_000),
            ("6m0s", 360_000_000_000),
            ("23h18m29.144s", 83_909_144_000_000),
            ("10s5m", 310_000_000_000),
            ("1.5h", 5_400_000_000_000),
            ("1\u{b5}s", 1_000),
            ("1\u{3bc}s", 1_000),
            (" .5s ", 500_000_000),
            ("99999999h", u64::MAX),
            ("0.0000000000000000000001h", 0),
        ];
        for &(text, ns) in known {
            assert_eq!(go_duration(text.as_bytes()), Some(ns), "{text}");
        }
        for text in [
            "", "s", "6m0", "-1s", "1e3s", "nan", "inf", "1d", "1 s", "1..5s", ".s", "5S",
        ] {
            assert_eq!(go_duration(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn protocol_buffer_durations() {
        assert_eq!(pb_duration(b"0.000000001s"), Some(1));
        assert_eq!(pb_duration(b"-5s"), Some(0));
        for text in ["1h2m", "5", "s", "-s", "5 s", "inf"] {
            assert_eq!(pb_duration(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn counts() {
        let many = "9".repeat(400);
        for (text, number) in [
            ("30,000", 30_000),
            ("1,000,000", 1_000_000),
            ("150000.000000", 150_000),
            ("18446744073709551616", u64::MAX),
            (many.as_str(), u64::MAX),
            (" 7 ", 7),
        ] {
            assert_eq!(count(text.as_bytes()), Some(Count::Known(number)), "{text}");
        }
        assert_eq!(count(b"-1"), Some(Count::Unknown));
        for text in [
            "", "oops", "1,5", "1,", ",100", "1000,000", "1 000", "--1", "1e3", "-",
        ] {
            assert!(
                !matches!(count(text.as_bytes()), Some(Count::Known(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn places() {
        assert_eq!(last_place(b"12"), SECOND);
        assert_eq!(last_place(b"26.5"), 100_000_000);
        assert_eq!(last_place(b"1.1234567890123"), 1);
    }

    proptest! {
        #[test]
        fn any_bytes(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = (go_duration(&text), pb_duration(&text), count(&text), word(&text), scaled(&text, SECOND));
        }

        #[test]
        fn what_go_writes_is_read(h in 0_u64..1_000, m in 0_u64..60, ms in 0_u64..60_000) {
            let text = format!("{h}h{m}m{}.{:03}s", ms / 1_000, ms % 1_000);
            let ns = ((h * 60 + m) * 60_000 + ms) * MILLISECOND;
            prop_assert_eq!(go_duration(text.as_bytes()), Some(ns));
        }

        #[test]
        fn numbers_never_wrap(text in "[0-9]{1,400}(\\.[0-9]{0,400})?") {
            let more = scaled(format!("9{text}").as_bytes(), SECOND);
            prop_assert!(scaled(text.as_bytes(), SECOND) <= more);
        }
    }
}
