//! Keys that come and go in a map that has room for one.

use super::{SECOND, requests, thread};
use llmrl::{Clock, Limit, Limiter, LimiterMap, ManualClock, MapError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// One thread uses a key up, others push it out with keys of their own; whatever happens, nobody gets a second bucket.
pub fn keys_come_and_go(others: usize, shared: usize) {
    let clock = ManualClock::new(0);
    let bucket = Limit::requests(1).per(SECOND).burst(2);
    let template = Limiter::builder().limit(bucket).max_waiters(1);
    let map = LimiterMap::new(template.clock(Clock::from(&clock)), 1, shared).unwrap();
    let map = Arc::new(map);
    // There, and as new: whoever comes next may evict it.
    drop(map.get(b"key"));
    let admitted = Arc::new(AtomicU64::new(0));
    let take = |map: &LimiterMap, key: &[u8], admitted: &AtomicU64| match map.get(key) {
        Ok(limiter) => {
            if let Ok(permit) = limiter.try_acquire(&requests(1)) {
                admitted.fetch_add(1, SeqCst);
                permit.release();
            }
        }
        Err(error) => assert_eq!(error, MapError::Full),
    };
    let threads: Vec<_> = (0..others)
        .map(|_| {
            let map = map.clone();
            thread::spawn(move || drop(map.get(b"other")))
        })
        .chain([{
            let (map, admitted) = (map.clone(), admitted.clone());
            thread::spawn(move || take(&map, b"key", &admitted))
        }])
        .collect();
    take(&map, b"key", &admitted);
    take(&map, b"key", &admitted);
    for thread in threads {
        thread.join().unwrap();
    }
    take(&map, b"key", &admitted);
    let admitted = admitted.load(SeqCst);
    assert!(admitted <= 2, "{admitted} admitted with a burst of 2");
}
