use super::*;
use crate::{Clock, Cost, Limiter, ManualClock, Progress, Refused};
use proptest::prelude::*;
use std::time::Duration;

fn tokens(n: u64) -> Cost {
    Cost::tokens(n, 0)
}

fn users(clock: &ManualClock, capacity: usize, shared: usize) -> LimiterMap {
    let template = Limiter::builder().limit(Limit::tokens(1_000).per(Duration::from_secs(1)));
    LimiterMap::new(template.clock(Clock::from(clock)), capacity, shared).unwrap()
}

#[test]
fn each_key_has_its_own_limits() {
    let clock = ManualClock::new(0);
    let users = users(&clock, 10, 0);
    let alice = users.get(b"alice").unwrap();
    alice.try_acquire(&tokens(1_000)).unwrap().release();
    assert!(
        users
            .get(b"alice")
            .unwrap()
            .try_acquire(&tokens(1))
            .is_err()
    );
    assert!(
        users
            .get(b"bob")
            .unwrap()
            .try_acquire(&tokens(1_000))
            .is_ok()
    );
    assert!(!alice.is_shared());
    let stats = users.snapshot(1);
    assert_eq!(
        (stats.keys, stats.created, stats.granted, stats.refused),
        (2, 2, 2, 1)
    );
    assert_eq!(stats.top_by_use.len(), 1);
}

#[test]
fn only_what_is_as_new_makes_room() {
    let clock = ManualClock::new(0);
    let users = users(&clock, 2, 0);
    let used = users.get(b"used").unwrap();
    used.try_acquire(&tokens(1)).unwrap().release();
    drop(used);
    let held = users.get(b"held").unwrap();
    assert_eq!(users.get(b"third").unwrap_err(), MapError::Full);
    // A token is back after a millisecond; a nanosecond earlier it is not.
    clock.advance(Duration::from_nanos(999_999));
    assert_eq!(users.get(b"third").unwrap_err(), MapError::Full);
    clock.advance(Duration::from_nanos(1));
    drop(users.get(b"third").unwrap());
    drop(held);
    drop(users.get(b"fourth").unwrap());
    let stats = users.snapshot(5);
    assert_eq!(
        (stats.keys, stats.evictions, stats.full, stats.granted),
        (1, 3, 2, 1)
    );
}

#[test]
fn what_waits_is_held_paused_or_changed_stays() {
    let clock = ManualClock::new(0);
    let template = Limiter::builder()
        .limit(Limit::requests(1_000_000_000))
        .limit(Limit::in_flight(1));
    let template = template.clock(Clock::from(&clock));
    let users = LimiterMap::new(template, 1, 0).unwrap();
    // Whether another key gets the only place, after `change` and enough time for the bucket.
    let goes_after = |change: &dyn Fn(&Limiter)| {
        change(&users.get(b"one").unwrap());
        clock.advance(Duration::from_secs(1));
        users.get(b"two").is_ok()
    };
    let minute = Duration::from_secs(60);
    assert!(!goes_after(&|one| one.pause(0, minute).unwrap()));
    assert!(!goes_after(&|one| {
        one.pause(0, Duration::ZERO).unwrap();
        one.resize(2).unwrap();
    }));
    assert!(!goes_after(&|one| {
        one.resize(1).unwrap();
        one.retune(0, 1_000, minute, 1_000).unwrap();
    }));
    let one = users.get(b"one").unwrap();
    one.retune(0, 1_000_000_000, minute, 1_000_000_000).unwrap();
    let permit = one.try_acquire(&Cost::request()).unwrap();
    let mut ticket = one.enqueue(&Cost::request(), None, 1).unwrap();
    assert!(!goes_after(&|_| ()));
    permit.release();
    drop(one);
    // Granted and not picked up.
    assert!(!goes_after(&|one| assert_eq!(one.stats().in_flight, 1)));
    let one = users.get(b"one").unwrap();
    assert!(matches!(one.poll(&mut ticket), Progress::Held(_)));
    drop(one);
    // As large as it is again, it has to fill.
    assert!(!goes_after(&|_| ()));
    clock.advance(minute);
    assert!(goes_after(&|_| ()));
}

#[test]
fn keys_have_limits_of_their_own() {
    let clock = ManualClock::new(0);
    let users = users(&clock, 10, 0);
    let second = Duration::from_secs(1);
    let twice = [Limit::tokens(2_000).per(second)];
    let alice = users.get(b"alice").unwrap();
    alice.try_acquire(&tokens(1_000)).unwrap().release();
    users.set_limits(b"alice", &twice).unwrap();
    users.set_limits(b"bob", &twice).unwrap();
    // Nothing is minted; the rate is the new one.
    let wait = Duration::from_micros(500);
    assert_eq!(
        alice.try_acquire(&tokens(1)).unwrap_err(),
        Refused::NotNow { wait: Some(wait) }
    );
    assert!(
        users
            .get(b"bob")
            .unwrap()
            .try_acquire(&tokens(2_000))
            .is_ok()
    );
    users.set_limits(b"bob", &[]).unwrap();
    assert!(matches!(
        users.get(b"bob").unwrap().try_acquire(&tokens(2_000)),
        Err(Refused::Never { .. })
    ));
    for wrong in [
        &[][..],
        &[Limit::requests(5)],
        &[Limit::tokens(0)],
        &[Limit::tokens(5), Limit::tokens(6)],
    ] {
        assert_eq!(
            users.set_limits(b"carol", wrong).is_err(),
            !wrong.is_empty(),
            "{wrong:?}"
        );
    }
    let error = users.set_limits(b"carol", &[Limit::tokens(0)]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "limit 0: amount = 0 is outside 1..=1099511627775"
    );
}

#[test]
fn hostile_keys_are_refused_clearly() {
    let clock = ManualClock::new(0);
    let users = users(&clock, 2, 1);
    for key in [&[][..], &[7; MAX_KEY + 1], &vec![0; 1 << 20]] {
        let error = users.get(key).unwrap_err();
        let text = format!("key length = {} is outside 1..=1024", key.len());
        assert_eq!(error.to_string(), text);
    }
    // The same for all but the last byte; zeros; what is no text.
    for key in [&[0; MAX_KEY][..], &[0; MAX_KEY - 1], &[0xff, 0], &[0xff]] {
        users.get(key).unwrap();
    }
    assert_eq!(users.snapshot(9).keys, 2);
    users.close();
    assert_eq!(users.get(b"new").unwrap_err(), MapError::Closed);
}

#[test]
fn a_shared_limiter_is_kept_until_it_is_full_again() {
    let clock = ManualClock::new(0);
    let users = users(&clock, 1, 1);
    let own = users.get(b"own").unwrap();
    let late = users.get(b"late").unwrap();
    assert!(late.is_shared());
    late.try_acquire(&tokens(1_000)).unwrap().release();
    drop(late);
    drop(own);
    // There is room now, but what it has used is known at the shared one only.
    let late = users.get(b"late").unwrap();
    assert!(late.is_shared() && late.try_acquire(&tokens(1)).is_err());
    clock.advance(Duration::from_secs(1));
    assert!(users.get(b"late").unwrap().is_shared());
    drop(late);
    assert!(!users.get(b"late").unwrap().is_shared());
}

#[test]
fn nobody_waits_nobody_has_a_queue() {
    let clock = ManualClock::new(0);
    let users = users(&clock, 10, 0);
    let alice = users.get(b"alice").unwrap();
    alice.try_acquire(&tokens(1_000)).unwrap().release();
    assert!(alice.try_acquire(&tokens(1)).is_err());
    assert!(!alice.has_queue());
    let ticket = alice.enqueue(&tokens(1), None, 1).unwrap();
    assert!(alice.has_queue());
    alice.cancel(ticket);
}

/// What a key may have, by itself and for ever: a bucket in exact numbers, thousandths of a token.
#[derive(Clone)]
struct Exact {
    level: u64,
    at: u64,
}

impl Exact {
    fn at(&mut self, now_us: u64) -> &mut u64 {
        self.level = (self.level + (now_us - self.at)).min(1_000_000);
        self.at = now_us;
        &mut self.level
    }
}

proptest! {
    /// Ten times as many keys as there is room for: whatever is evicted and made anew, nobody gets more than its bucket.
    #[test]
    fn churn_never_resets_a_drained_bucket(
        shares in any::<bool>(),
        steps in proptest::collection::vec((0u8..80, 1u64..=1_000, 0u64..400_000, 0u8..4), 1..400),
    ) {
        let clock = ManualClock::new(0);

        let users = users(&clock, 8, if shares { 3 } else { 0 });
        let mut exact = vec![Exact { level: 1_000_000, at: 0 }; 80];
        let (mut now_us, mut handles) = (0, Vec::new());
        for (key, n, pass_us, keep) in steps {
            clock.advance(Duration::from_micros(pass_us));
            now_us += pass_us;
            let keyed = match users.get(&[b'k', key]) {
                Ok(keyed) => keyed,
                Err(error) => {
                    prop_assert!(!shares && error == MapError::Full);
                    handles.clear();
                    continue;
                }
            };
            let level = exact[usize::from(key)].at(now_us);
            match keyed.try_acquire(&tokens(n)) {
                Ok(permit) => {
                    permit.release();
                    prop_assert!(*level >= n * 1_000, "key {key} got {n} with {level} thousandths left");
                    *level -= n * 1_000;
                }
                Err(_) => prop_assert!(shares || *level < n * 1_000, "key {key} was refused {n} with {level}"),
            }
            match keep {
                0 => handles.push(keyed),
                1 => handles.clear(),
                _ => {}
            }
        }
        prop_assert!(users.snapshot(0).keys <= 8);
    }
}
