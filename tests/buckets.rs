//! Buckets by key, as their users meet them: keys, sizes, refusals, idleness.
#![cfg(not(any(loom, shuttle)))]

use llmrl::{BucketMap, Clock, Cost, Denied, Key, Limit, ManualClock, Meter, Overflow, Oversize};
use std::collections::HashSet;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

fn by_hand(limit: Limit, capacity: usize) -> (BucketMap, ManualClock) {
    let clock = ManualClock::new(0);
    let buckets = BucketMap::new(limit, capacity, &Clock::from(&clock)).unwrap();
    (buckets, clock)
}

/// One token a second, so many at once.
fn holding(burst: u64) -> Limit {
    Limit::requests(1).per(SECOND).burst(burst)
}

fn wait_of(denied: Result<(), Denied>) -> Option<Duration> {
    match denied {
        Err(Denied::Short(short)) => short.wait(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn keys_are_bounded_and_the_error_says_how() {
    let (buckets, _) = by_hand(holding(1), 10);
    let tell = |key: &[u8]| buckets.try_take(key, 1).unwrap_err().to_string();
    assert_eq!(tell(b""), "key length = 0 is outside 1..=65536");
    assert_eq!(
        tell(&[7; 1 << 20]),
        "key length = 1048576 is outside 1..=65536"
    );
    assert_eq!(
        tell(&[7; Key::MAX_LEN + 1]),
        "key length = 65537 is outside 1..=65536"
    );
    assert!(buckets.try_take(&[7; Key::MAX_LEN], 1).is_ok());
    assert!(buckets.charge("", 1).is_err());
    assert!(buckets.refund("", 1).is_err());
    assert!(buckets.available("").is_err());
    assert_eq!(buckets.len(), 1);
}

#[test]
fn keys_that_resemble_each_other_are_others() {
    let (buckets, _) = by_hand(holding(1), 2_000);
    let prefix = "a very long prefix that all of these keys have in common ".repeat(20);
    let mut keys: HashSet<Vec<u8>> = (0..500)
        .map(|n| format!("{prefix}{n}").into_bytes())
        .collect();
    keys.extend((1..500).map(|len| vec![0; len]));
    // Numbers, and the bytes that they are made of, with and without a length before them.
    keys.extend((0u64..100).map(|n| n.to_le_bytes().to_vec()));
    keys.extend((0u64..100).map(|n| [8u64.to_le_bytes(), n.to_le_bytes()].concat()));
    for key in &keys {
        assert!(buckets.try_take(&key[..], 1).is_ok(), "{key:?}");
        assert!(buckets.try_take(&key[..], 1).is_err(), "{key:?}");
    }
    for number in 0u64..100 {
        assert!(buckets.try_take(number, 1).is_ok(), "{number}");
    }
    assert_eq!(buckets.overflows(), 0);
}

#[test]
fn text_and_its_bytes_are_one_key() {
    let (buckets, _) = by_hand(holding(1), 10);
    assert!(buckets.try_take("key", 1).is_ok());
    assert!(buckets.try_take(b"key", 1).is_err());
}

#[test]
fn other_limits_are_refused() {
    let clock = Clock::from(&ManualClock::new(0));
    let tell = |limit, capacity| {
        BucketMap::new(limit, capacity, &clock)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        tell(Limit::in_flight(1), 1),
        "in-flight limits = 1 is outside 0..=0"
    );
    assert_eq!(
        tell(Limit::pacing(Meter::Requests, 1), 1),
        "limits of pacing = 1 is outside 0..=0"
    );
    let window = Limit::fixed_window(Meter::Requests, 1);
    assert_eq!(tell(window, 1), "limits with windows = 1 is outside 0..=0");
    let empty = Limit::requests(1).start_empty();
    assert_eq!(
        tell(empty, 1),
        "limits that start empty = 1 is outside 0..=0"
    );
    assert_eq!(
        tell(Limit::requests(0), 1),
        "amount = 0 is outside 1..=1099511627775"
    );
    assert_eq!(
        tell(holding(1), 0),
        "capacity = 0 is outside 1..=1073741824"
    );
    assert!(tell(holding(1), usize::MAX).starts_with("capacity = "));
}

#[test]
fn what_never_fits_is_told_at_once_and_costs_no_room() {
    let (buckets, _) = by_hand(holding(5), 10);
    for n in [6, Cost::MAX, u64::MAX] {
        match buckets.try_take("key", n) {
            Err(Denied::Short(short)) => assert!(short.is_never()),
            other => panic!("{other:?}"),
        }
    }
    assert!(buckets.try_take("key", 0).is_ok());
    assert!(buckets.refund("key", 5).is_ok());
    assert!(buckets.charge("key", Cost::MAX + 1).is_err());
    assert_eq!(buckets.len(), 0);
}

#[test]
fn oversize_leaves_a_debt() {
    let (buckets, clock) = by_hand(holding(2).oversize(Oversize::WhenFull), 10);
    assert!(buckets.try_take("key", 5).is_ok());
    assert_eq!(buckets.available("key"), Ok(-3));
    assert_eq!(wait_of(buckets.try_take("key", 5)), Some(5 * SECOND));
    clock.advance(5 * SECOND);
    assert!(buckets.try_take("key", 5).is_ok());
}

#[test]
fn refunds_and_charges_are_those_of_a_bucket() {
    let (buckets, clock) = by_hand(holding(10), 10);
    assert!(buckets.try_take("key", 8).is_ok());
    buckets.refund("key", 5).unwrap();
    assert_eq!(buckets.available("key"), Ok(7));
    buckets.refund("key", 5).unwrap();
    assert_eq!(buckets.available("key"), Ok(10));
    buckets.charge("key", 12).unwrap();
    assert_eq!(buckets.available("key"), Ok(-2));
    for _ in 0..200 {
        buckets.charge("key", Cost::MAX).unwrap();
    }
    assert_eq!(buckets.available("key"), Ok(-(1 << 47)));
    clock.advance(SECOND);
    assert_eq!(buckets.available("key"), Ok(1 - (1 << 47)));
}

/// Slots of a table for one key, all of them in reach of every key.
const SLOTS: u64 = 32;

#[test]
fn full_buckets_give_way_and_no_others_do() {
    let (buckets, clock) = by_hand(holding(1), 1);
    for key in 0..SLOTS {
        assert!(buckets.try_take(key, 1).is_ok());
    }
    assert_eq!((buckets.len(), buckets.evictions()), (SLOTS, 0));
    clock.advance(SECOND);
    for key in SLOTS..2 * SLOTS {
        assert!(buckets.try_take(key, 1).is_ok());
    }
    assert_eq!((buckets.len(), buckets.evictions()), (SLOTS, SLOTS));
    for key in SLOTS..2 * SLOTS {
        assert!(buckets.try_take(key, 1).is_err());
    }
    assert_eq!(buckets.overflows(), 0);
}

#[test]
fn without_room_keys_share_and_wait_for_all_of_it() {
    let (buckets, clock) = by_hand(holding(2), 1);
    for key in 0..SLOTS {
        buckets.charge(key, 1_000).unwrap();
    }
    assert!(buckets.try_take("one", 1).is_ok());
    assert!(buckets.try_take("other", 1).is_ok());
    assert_eq!(wait_of(buckets.try_take("third", 1)), Some(SECOND));
    // What is given back to such a key may not be its own.
    buckets.refund("third", 2).unwrap();
    assert_eq!(buckets.available("one"), Ok(0));
    assert_eq!(buckets.overflows(), 3);
    // There is room for it before what it shares is full: it is not let out.
    clock.advance(SECOND);
    buckets.refund(0u64, 1_000).unwrap();
    assert!(buckets.try_take("one", 1).is_ok());
    assert!(buckets.try_take("one", 1).is_err());
    clock.advance(2 * SECOND);
    assert!(buckets.try_take("one", 2).is_ok());
    assert_eq!((buckets.overflows(), buckets.evictions()), (5, 1));
    // In a bucket of its own, so the others do not feel it.
    assert!(buckets.try_take("other", 2).is_ok());
}

#[test]
fn without_room_keys_are_refused_where_that_is_wanted() {
    let (buckets, clock) = by_hand(holding(1), 1);
    let buckets = buckets.overflow(Overflow::Refuse);
    for key in 0..SLOTS {
        assert!(buckets.try_take(key, 1).is_ok());
    }
    assert_eq!(buckets.try_take("key", 1), Err(Denied::Crowded));
    assert_eq!(buckets.charge("key", 1), Err(Denied::Crowded));
    assert_eq!(buckets.refund("key", 1), Ok(()));
    assert_eq!(buckets.overflows(), 2);
    clock.advance(SECOND);
    assert!(buckets.try_take("key", 1).is_ok());
}

/// Far longer than positions last, at the highest rate: as long as the map is used, no key is taken for one in debt.
#[test]
fn idle_keys_are_full_however_long_they_are_idle() {
    let (buckets, clock) = by_hand(Limit::tokens(1).per(Duration::from_nanos(1)).burst(3), 100);
    assert!(buckets.try_take("idle", 3).is_ok());
    buckets.charge("in debt", 1 << 39).unwrap();
    for day in 1..=200 {
        clock.advance(DAY);
        assert!(buckets.try_take("busy", 3).is_ok(), "day {day}");
        assert_eq!(buckets.available("idle"), Ok(3), "day {day}");
        assert_eq!(buckets.available("in debt"), Ok(3), "day {day}");
    }
    assert!(buckets.try_take("idle", 3).is_ok());
}

#[test]
fn a_million_keys_that_have_used_all_find_room() {
    const MILLION: u64 = 1_000_000;
    let (buckets, _) = by_hand(holding(1), MILLION as usize);
    for key in 0..MILLION {
        let _ = buckets.try_take(key, 1);
    }
    // Of each million about 5 are expected to overflow.
    assert!(buckets.overflows() < 60, "{}", buckets.overflows());
    assert_eq!(buckets.len() + buckets.overflows(), MILLION);
    assert_eq!(buckets.evictions(), 0);
    assert!((0..MILLION).all(|key| buckets.try_take(key, 1).is_err()));
}

#[test]
fn threads_take_no_more_than_there_is() {
    const KEYS: u64 = 200;
    let (buckets, _) = by_hand(holding(50), 20);
    let taken: Vec<_> = (0..KEYS)
        .map(|_| std::sync::atomic::AtomicU64::new(0))
        .collect();
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (buckets, taken) = (&buckets, &taken);
            scope.spawn(move || {
                for step in 0..20_000u64 {
                    let key = (step * 7 + thread * 31).wrapping_mul(0x9e37_79b9) % KEYS;
                    if buckets.try_take(key, 1).is_ok() {
                        taken[key as usize].fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let most = taken
        .iter()
        .map(|taken| taken.load(std::sync::atomic::Ordering::Relaxed));
    assert!(most.max().unwrap() <= 50);
}
