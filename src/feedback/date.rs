//! Dates, as nanoseconds since 1970: earlier is 0, and later than the year 2554 is then.

use super::number::{MILLISECOND, SECOND, go_duration, last_place, scaled};
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Weekday};
use std::time::{SystemTime, UNIX_EPOCH};

/// When something comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    In {
        ns: u64,
        /// What is written may have been cut off by less than this.
        step: u64,
        /// A whole number without a unit: seconds, unless the arithmetic says otherwise.
        bare: bool,
    },
    At {
        unix_ns: u64,
    },
}

impl When {
    /// From `now` on. What is over comes at once.
    pub(super) fn after(self, now: u64) -> u64 {
        match self {
            Self::In { ns, .. } => ns,
            Self::At { unix_ns } => unix_ns.saturating_sub(now),
        }
    }
}

pub(super) fn unix_ns(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// `2025-08-21T12:40:59Z`. A leap second is the one that follows.
pub(super) fn rfc3339(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let date = DateTime::parse_from_rfc3339(text).ok()?;
    // Of a leap second chrono counts the nanoseconds on, beyond a second.
    let ns = i128::from(date.timestamp()) * i128::from(SECOND)
        + i128::from(date.timestamp_subsec_nanos());
    Some(u64::try_from(ns.max(0)).unwrap_or(u64::MAX))
}

/// `Sun, 09 Aug 2026 12:05:00 GMT`, and the two older forms.
pub(super) fn http_date(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    httpdate::parse_http_date(text).ok().map(unix_ns)
}

/// A number: seconds from now, or a time since 1970, whose unit its magnitude tells.
pub(super) fn bare(text: &[u8]) -> Option<When> {
    let whole = scaled(text, 1)?;
    let unit = match whole {
        100_000_000_000_000_000.. => 1,
        100_000_000_000_000.. => 1_000,
        100_000_000_000.. => MILLISECOND,
        1_000_000_000.. => SECOND,
        _ => {
            return Some(When::In {
                ns: scaled(text, SECOND)?,
                step: last_place(text),
                bare: !text.contains(&b'.'),
            });
        }
    };
    Some(When::At {
        unix_ns: scaled(text, unit)?,
    })
}

/// Whatever a reset may be written as.
pub(super) fn moment(text: &[u8]) -> Option<When> {
    let text = text.trim_ascii();
    let duration = |ns| When::In {
        ns,
        // Go writes no zeros at the end, and OpenAI no microseconds.
        step: MILLISECOND,
        bare: false,
    };
    let date = |unix_ns| When::At { unix_ns };
    bare(text)
        .or_else(|| go_duration(text).map(duration))
        .or_else(|| rfc3339(text).map(date))
        .or_else(|| http_date(text).map(date))
}

/// How long from `now` until the day ends in California, when Google's daily quotas come back.
///
/// The rule of this one zone has been the same since 2007; a database of all zones is the larger risk. Should it change, a
/// request comes an hour too early, and is told so.
pub(super) fn until_midnight(now: u64) -> u64 {
    let utc = DateTime::from_timestamp_nanos(i64::try_from(now).unwrap_or(i64::MAX)).naive_utc();
    let now = utc - TimeDelta::hours(8);
    let local = now + summer(now);
    let next = local.date() + TimeDelta::days(1);
    // The clocks change after midnight, so it does not matter whose midnight tells whether it is summer.
    let midnight = next.and_time(NaiveTime::MIN);
    let left = midnight - summer(midnight) - now;
    left.num_nanoseconds().unwrap_or_default().unsigned_abs()
}

/// By how much clocks in California are ahead of Pacific Standard Time, which `at` is in.
fn summer(at: NaiveDateTime) -> TimeDelta {
    let sunday = |month, week, hour| {
        let day = NaiveDate::from_weekday_of_month_opt(at.year(), month, Weekday::Sun, week);
        day.and_then(|day| day.and_hms_opt(hour, 0, 0))
    };
    let is_summer = sunday(3, 2, 2) <= Some(at) && Some(at) < sunday(11, 1, 1);
    TimeDelta::hours(is_summer.into())
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: u64 = SECOND;

    #[test]
    fn timestamps() {
        assert_eq!(rfc3339(b"2025-08-21T12:40:59Z"), Some(1_755_780_059 * S));
        assert_eq!(
            rfc3339(b"2024-01-01T02:00:30+02:00"),
            rfc3339(b"2024-01-01T00:00:30Z")
        );
        assert_eq!(
            rfc3339(b"2024-01-01t00:00:01.250z"),
            Some(1_704_067_201_250_000_000)
        );
        assert_eq!(
            rfc3339(b"2016-12-31T23:59:60Z"),
            rfc3339(b"2017-01-01T00:00:00Z")
        );
        assert_eq!(rfc3339(b"0001-01-01T00:00:00Z"), Some(0));
        assert_eq!(rfc3339(b"9999-12-31T23:59:59Z"), Some(u64::MAX));
        for text in [
            "2025-13-01T00:00:00Z",
            "2025-02-30T00:00:00Z",
            "2025-08-21",
            "",
            "\u{b5}",
        ] {
            assert_eq!(rfc3339(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_three_forms_of_http() {
        let then = Some(1_786_277_100 * S);
        assert_eq!(http_date(b"Sun, 09 Aug 2026 12:05:00 GMT"), then);
        assert_eq!(http_date(b"Sunday, 09-Aug-26 12:05:00 GMT"), then);
        assert_eq!(http_date(b"Sun Aug  9 12:05:00 2026"), then);
        assert_eq!(http_date(b"yesterday"), None);
        assert_eq!(http_date(&[0xff; 29]), None);
    }

    #[test]
    fn magnitude_tells_the_unit() {
        let at = |seconds| {
            Some(When::At {
                unix_ns: seconds * S,
            })
        };
        for text in [
            "1770411600",
            "1770411600000",
            "1770411600000000",
            "1770411600000000000",
        ] {
            assert_eq!(bare(text.as_bytes()), at(1_770_411_600), "{text}");
        }
        assert_eq!(
            bare(b"1770411600.5"),
            Some(When::At {
                unix_ns: 1_770_411_600_500_000_000
            })
        );
        assert_eq!(
            bare(b"59"),
            Some(When::In {
                ns: 59 * S,
                step: S,
                bare: true
            })
        );
        assert_eq!(
            bare(b"26.5"),
            Some(When::In {
                ns: 26_500_000_000,
                step: S / 10,
                bare: false
            })
        );
        assert_eq!(bare(b"-3"), None);
        assert_eq!(
            bare("9".repeat(400).as_bytes()),
            Some(When::At { unix_ns: u64::MAX })
        );
    }

    #[test]
    fn days_in_california() {
        let hour = 3_600 * S;
        for (utc, hours) in [
            ("2026-01-15T08:00:00Z", 24),
            ("2026-01-15T07:00:00Z", 1),
            ("2026-07-15T06:00:00Z", 1),
            ("2026-07-15T07:00:00Z", 24),
            // The days on which clocks change, and those before.
            ("2026-03-07T09:00:00Z", 23),
            ("2026-03-08T08:00:00Z", 23),
            ("2026-03-08T09:59:59Z", 22),
            ("2026-03-08T10:00:00Z", 21),
            ("2026-10-31T08:00:00Z", 23),
            ("2026-11-01T07:00:00Z", 25),
            ("2026-11-01T08:30:00Z", 24),
            ("2026-11-01T09:00:00Z", 23),
        ] {
            let wait = until_midnight(rfc3339(utc.as_bytes()).unwrap());
            assert_eq!(wait.div_ceil(hour), hours, "{utc}");
        }
    }

    proptest! {
        #[test]
        fn days_are_no_longer_than_25_hours(now in any::<u64>()) {
            let wait = until_midnight(now);
            prop_assert!(0 < wait && wait <= 25 * 3_600 * S);
        }

        #[test]
        fn any_bytes(text in proptest::collection::vec(any::<u8>(), 0..40), now in any::<u64>()) {
            if let Some(when) = moment(&text) {
                let _ = when.after(now);
            }
        }

        #[test]
        fn almost_dates(text in "[0-9A-Za-z:,. +-]{0,36}") {
            let _ = (rfc3339(text.as_bytes()), http_date(text.as_bytes()), moment(text.as_bytes()));
        }

        #[test]
        fn what_http_writes_is_read(seconds in 0_u64..4_000_000_000) {
            let text = httpdate::fmt_http_date(UNIX_EPOCH + std::time::Duration::from_secs(seconds));
            prop_assert_eq!(http_date(text.as_bytes()), Some(seconds * S));
        }
    }
}
