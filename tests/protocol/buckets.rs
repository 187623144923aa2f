//! Buckets by key: who comes in, who gives way, and what they take meanwhile.

use super::*;
use llmrl::BucketMap;

/// Buckets of one token a second in four slots, and what their keys have taken.
struct Keyed {
    buckets: BucketMap,
    clock: ManualClock,
    burst: i64,
    taken: [AtomicI64; 8],
}

/// The keys from 1000 on, `drained` of them, fill slots for good.
fn keyed(limit: Limit, burst: u64, drained: u64) -> Arc<Keyed> {
    let clock = ManualClock::new(0);
    let limit = limit.burst(burst);
    let buckets = BucketMap::new(limit, 1, &Clock::from(&clock)).unwrap();
    for key in 0..drained {
        buckets.charge(1_000 + key, 1_000_000).unwrap();
    }
    Arc::new(Keyed {
        buckets,
        clock,
        burst: burst as i64,
        taken: Default::default(),
    })
}

fn a_second() -> Limit {
    Limit::requests(1).per(SECOND)
}

impl Keyed {
    fn take(&self, key: u64, n: u64) -> bool {
        let is_taken = self.buckets.try_take(key, n).is_ok();
        if is_taken {
            self.taken[key as usize].fetch_add(n as i64, SeqCst);
        }
        is_taken
    }

    fn refund(&self, key: u64, n: u64) {
        self.taken[key as usize].fetch_sub(n as i64, SeqCst);
        self.buckets.refund(key, n).unwrap();
    }

    /// Takes all that `key` can have now, and says how much that is with all that it has had.
    fn drain(&self, key: u64) -> i64 {
        while self.take(key, 1) {}
        self.taken[key as usize].load(SeqCst)
    }

    fn is_within(&self, key: u64) {
        let most = self.burst + (self.clock.now_ns() / 1_000_000_000) as i64;
        let taken = self.drain(key);
        assert!(taken <= most, "key {key} has taken {taken}, not {most}");
    }
}

fn spawn(keyed: &Arc<Keyed>, task: impl FnOnce(&Keyed) + Send + 'static) -> thread::JoinHandle<()> {
    let keyed = keyed.clone();
    thread::spawn(move || task(&keyed))
}

/// A key that nobody has seen before, by all threads at once, has one bucket.
pub fn first_takers(threads: usize) {
    let keyed = keyed(a_second(), 1, 0);
    let take = |keyed: &Keyed| {
        keyed.take(1, 1);
    };
    let others: Vec<_> = (1..threads).map(|_| spawn(&keyed, take)).collect();
    take(&keyed);
    others.into_iter().for_each(|other| other.join().unwrap());
    assert_eq!(keyed.drain(1), 1);
    assert_eq!(keyed.buckets.len(), 1);
}

/// Two threads bring a key in, while another one that comes in takes the slot before.
pub fn first_takers_of_two() {
    let keyed = keyed(a_second(), 1, 0);
    let take = |key: u64| {
        move |keyed: &Keyed| {
            keyed.take(key, 1);
        }
    };
    let others = [spawn(&keyed, take(1)), spawn(&keyed, take(2))];
    take(2)(&keyed);
    others.into_iter().for_each(|other| other.join().unwrap());
    assert_eq!((keyed.drain(1), keyed.drain(2)), (1, 1));
    assert_eq!(keyed.buckets.len(), 2);
}

/// A full bucket is taken from while it gives way to another key's.
pub fn a_bucket_gives_way() {
    let keyed = keyed(a_second(), 1, 3);
    keyed.take(1, 1);
    keyed.clock.advance(SECOND);
    let other = spawn(&keyed, |keyed| {
        keyed.take(2, 1);
    });
    keyed.take(1, 1);
    other.join().unwrap();
    keyed.is_within(1);
    assert_eq!(keyed.drain(2), 1);
}

/// A bucket has become full and given way when its key comes back with a reading of the clock from before.
pub fn a_key_comes_back() {
    let keyed = keyed(a_second(), 2, 2);
    keyed.take(1, 1);
    keyed.take(2, 2);
    keyed.clock.advance(SECOND);
    let other = spawn(&keyed, |keyed| {
        keyed.take(2, 1);
    });
    keyed.clock.advance(SECOND);
    // The first of them takes the place of the bucket that is idle for longer.
    keyed.take(3, 1);
    keyed.take(4, 1);
    other.join().unwrap();
    keyed.is_within(2);
}

/// A refund fills a bucket, which gives way at once to one that then looks the same.
pub fn a_refund_makes_way() {
    let keyed = keyed(a_second(), 2, 3);
    keyed.take(1, 1);
    let other = spawn(&keyed, |keyed| {
        keyed.take(1, 1);
    });
    keyed.refund(1, 1);
    keyed.take(2, 1);
    other.join().unwrap();
    keyed.is_within(1);
    keyed.is_within(2);
}

/// A key that shares a bucket gets one of its own when somebody's is full, and what it has had by then counts.
pub fn out_of_a_shared_bucket() {
    let keyed = keyed(a_second(), 2, 3);
    keyed.take(1, 1);
    keyed.take(2, 2);
    keyed.clock.advance(SECOND);
    let other = spawn(&keyed, |keyed| {
        keyed.take(2, 1);
    });
    keyed.clock.advance(SECOND);
    keyed.take(2, 1);
    other.join().unwrap();
    keyed.is_within(2);
}

/// Idle buckets are moved on while somebody takes from them.
pub fn buckets_are_renewed() {
    let keyed = keyed(Limit::requests(1_000_000_000).per(SECOND), 1, 0);
    keyed.take(1, 1);
    keyed.clock.advance(Duration::from_nanos(1 << 48));
    let before = keyed.taken[1].swap(0, SeqCst);
    let other = spawn(&keyed, |keyed| {
        keyed.take(1, 1);
    });
    keyed.take(1, 1);
    other.join().unwrap();
    assert_eq!((before, keyed.drain(1)), (1, 1));
}

/// More keys than slots; everybody takes, gives back and moves the clock.
#[cfg(shuttle)]
pub fn many_keys(threads: usize, rounds: u64) {
    use shuttle::rand::Rng;
    let keyed = keyed(a_second(), 2, 1);
    let work = move |keyed: &Keyed| {
        let mut random = shuttle::rand::thread_rng();
        for _ in 0..rounds {
            let key = random.gen_range(1..6);
            if keyed.take(key, random.gen_range(1..3)) && random.gen_bool(0.3) {
                keyed.refund(key, 1);
            }
            if random.gen_bool(0.3) {
                keyed.clock.advance(SECOND);
            }
        }
    };
    let others: Vec<_> = (1..threads).map(|_| spawn(&keyed, work)).collect();
    work(&keyed);
    others.into_iter().for_each(|other| other.join().unwrap());
    (1..6).for_each(|key| keyed.is_within(key));
}
