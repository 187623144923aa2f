//! Limits that go on after a restart.
#![cfg(not(any(loom, shuttle)))]

use llmrl::{Clock, Cost, Limit, Limiter, ManualClock, Meter, Saved};
use proptest::prelude::*;
use std::time::{Duration, SystemTime};

const HOUR: Duration = Duration::from_secs(3_600);

/// One wall clock and one program's clock, which starts anew with each program.
struct World {
    wall: SystemTime,
    clock: ManualClock,
    limiter: Limiter,
}

fn build(limits: &[Limit], clock: &ManualClock, saved: Option<Saved>) -> Limiter {
    let mut builder = Limiter::builder().clock(Clock::from(clock));
    for limit in limits {
        builder = builder.limit(*limit);
    }
    if let Some(saved) = saved {
        builder = builder.restore(saved);
    }
    builder.build().unwrap()
}

impl World {
    fn new(limits: &[Limit]) -> Self {
        let clock = ManualClock::new(0);
        Self {
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
            limiter: build(limits, &clock, None),
            clock,
        }
    }

    fn pass(&mut self, time: Duration) {
        self.wall += time;
        self.clock.advance(time);
    }

    /// Another program goes on after `away`.
    fn restart(&mut self, limits: &[Limit], away: Duration) {
        let bytes = self.limiter.save(self.wall);
        self.wall += away;
        let saved = Saved::read(&bytes, self.wall).unwrap();
        self.clock = ManualClock::new(5_000_000_000);
        self.limiter = build(limits, &self.clock, Some(saved));
    }

    fn take(&self, n: u64) -> bool {
        let permit = self.limiter.try_acquire(&Cost::tokens(n, 0));
        permit.map(|permit| permit.release()).is_ok()
    }

    fn available(&self) -> i64 {
        self.limiter.limit_state(0).unwrap().available
    }
}

#[test]
fn a_fixed_window_keeps_its_use_and_its_end() {
    let limits = [Limit::fixed_window(Meter::Tokens, 100)
        .per(24 * HOUR)
        .resets_in(10 * HOUR)];
    let mut world = World::new(&limits);
    assert!(world.take(30));
    world.pass(4 * HOUR);
    // Built from the same configuration, the end of the window is what the new program knows of it.
    let same = [Limit::fixed_window(Meter::Tokens, 100).per(24 * HOUR)];
    world.restart(&same, 5 * HOUR);
    assert_eq!(world.available(), 70);
    world.pass(HOUR - Duration::from_nanos(1));
    assert_eq!(world.available(), 70);
    world.pass(Duration::from_nanos(1));
    assert_eq!(world.available(), 100);
    assert!(world.take(1));
    world.restart(&same, 49 * HOUR);
    assert_eq!(world.available(), 100);
    assert!(world.take(1));
    world.pass(23 * HOUR - Duration::from_nanos(1));
    assert_eq!(world.available(), 99);
    world.pass(Duration::from_nanos(1));
    assert_eq!(world.available(), 100);
}

#[test]
fn a_bucket_refills_while_away() {
    let limits = [Limit::tokens(100).per(100 * HOUR)];
    let mut world = World::new(&limits);
    assert!(world.take(60));
    world.restart(&limits, 10 * HOUR);
    assert_eq!(world.available(), 50);
    world.limiter.charge(&Cost::tokens(70, 0)).unwrap();
    world.restart(&limits, HOUR);
    assert_eq!(world.available(), -19);
    world.restart(&limits, 1_000 * HOUR);
    assert_eq!(world.available(), 100);
}

#[test]
fn a_pause_goes_on() {
    let limits = [Limit::tokens(100)];
    let mut world = World::new(&limits);
    world.limiter.pause(0, 3 * HOUR).unwrap();
    world.restart(&limits, HOUR);
    assert!(!world.take(1));
    world.pass(2 * HOUR);
    assert!(world.take(1));
}

#[test]
fn a_wall_clock_set_back_lets_nothing_pass() {
    let limits = [Limit::tokens(100)];
    let world = World::new(&limits);
    assert!(world.take(100));
    let bytes = world.limiter.save(world.wall);
    let saved = Saved::read(&bytes, world.wall - HOUR).unwrap();
    assert_eq!(
        build(&limits, &world.clock, Some(saved))
            .limit_state(0)
            .unwrap()
            .available,
        0
    );
}

#[test]
fn other_limits_are_refused() {
    let limits = [Limit::sliding_window(Meter::Requests, 10)];
    let world = World::new(&limits);
    let bytes = world.limiter.save(world.wall);
    let restored = |limit: Limit| {
        let saved = Saved::read(&bytes, world.wall).unwrap();
        let limiter = Limiter::builder().limit(limit).restore(saved).build();
        limiter.map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(restored(limits[0]), Ok(()));
    assert_eq!(restored(Limit::sliding_window(Meter::Requests, 99)), Ok(()));
    let error = restored(limits[0].per(HOUR)).unwrap_err();
    assert_eq!(
        error,
        "limit 0: saved period (ns) = 60000000000 is outside 3600000000000..=3600000000000"
    );
    assert!(
        restored(limits[0].resolution(3))
            .unwrap_err()
            .contains("saved resolution = 0")
    );
    assert!(
        restored(Limit::requests(10))
            .unwrap_err()
            .contains("saved kind = 262")
    );
    let saved = Saved::read(&bytes, world.wall).unwrap();
    let both = Limiter::builder()
        .limit(limits[0])
        .limit(limits[0])
        .restore(saved)
        .build();
    assert_eq!(
        both.unwrap_err().to_string(),
        "saved limits = 1 is outside 2..=2"
    );
}

#[test]
fn bytes_are_not_believed() {
    let limits = [
        Limit::sliding_window_log(Meter::Tokens, 100),
        Limit::in_flight(3),
    ];
    let world = World::new(&limits);
    for _ in 0..5 {
        assert!(world.take(7));
        world.clock.advance(Duration::from_secs(1));
    }
    let good = world.limiter.save(world.wall);
    let read = |bytes: &[u8]| Saved::read(bytes, world.wall).map_err(|corrupt| corrupt.to_string());
    assert!(read(&good).is_ok());
    assert_eq!(
        read(&[]).unwrap_err(),
        "saved state: it is empty; start without it"
    );
    assert!(
        read(b"something else entirely")
            .unwrap_err()
            .contains("something else")
    );
    for end in 0..good.len() {
        assert!(read(&good[..end]).is_err(), "{end}");
    }
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            assert!(read(&bad).is_err(), "byte {at} bit {bit}");
        }
    }
    let mut newer = good.clone();
    newer[0] += 1;
    assert!(read(&newer).unwrap_err().contains("another version"));
}

fn limit() -> impl Strategy<Value = Limit> {
    let kind = prop_oneof![
        Just(Limit::fixed_window(Meter::Tokens, 50)),
        Just(Limit::sliding_window_counter(Meter::Tokens, 50)),
        Just(Limit::sliding_window(Meter::Tokens, 50).resolution(7)),
        Just(Limit::sliding_window_log(Meter::Tokens, 50)),
    ];
    (kind, 1u64..200).prop_map(|(limit, ms)| limit.per(Duration::from_millis(ms)))
}

proptest! {
    /// Restarting is no event: whatever was used, and however long the program was away, what can be had is what could
    /// be had had it not been away.
    #[test]
    fn a_restart_changes_nothing(
        limit in limit(),
        steps in prop::collection::vec((0u64..100_000_000, 1u64..30, prop::bool::weighted(0.3)), 1..40),
    ) {
        let limits = [limit];
        let (mut one, mut other) = (World::new(&limits), World::new(&limits));
        for (ns, n, restart) in steps {
            let time = Duration::from_nanos(ns);
            one.pass(time);
            if restart {
                other.restart(&limits, time);
            } else {
                other.pass(time);
            }
            prop_assert_eq!(one.available(), other.available());
            prop_assert_eq!(one.take(n), other.take(n));
        }
    }

    #[test]
    fn no_bytes_do_harm(words in prop::collection::vec(prop_oneof![any::<u64>(), 0u64..4], 0..40)) {
        // With a right head and checksum, so that the rest is looked at.
        let mut bytes = b"\x01llmrl-s".to_vec();
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        let sum = bytes.iter().fold(0xcbf2_9ce4_8422_2325u64, |sum, byte| {
            (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        });
        bytes.extend(sum.to_le_bytes());
        if let Ok(saved) = Saved::read(&bytes, SystemTime::now()) {
            let _ = Limiter::builder().limit(Limit::tokens(5)).restore(saved).build();
        }
    }
}
