//! Keys that share a limiter fairly: one of them stands in its queue, the others wait to be called.

use super::*;
use llmrl::{FairOptions, FairPermit, FairProgress, FairQueue, Share};

/// One slot, taken, and a bucket to give back to.
fn queue(clock: &ManualClock) -> (FairQueue, FairPermit) {
    let bucket = Limit::requests(1).per(SECOND).burst(9);
    let limiter = Limiter::builder()
        .limit(Limit::in_flight(1))
        .limit(bucket)
        .max_waiters(2)
        .clock(Clock::from(clock))
        .build()
        .unwrap();
    let fair = FairQueue::new(&limiter, FairOptions::new()).unwrap();
    let taken = fair.try_acquire(&requests(1)).unwrap();
    (fair, taken)
}

fn share(key: &[u8]) -> Share<'_> {
    Share::new(key).unwrap()
}

/// Nobody waits, the slot is free, and `used` requests are gone.
fn is_settled(fair: &FairQueue, used: i64) {
    let (mine, stats) = (fair.stats(), fair.limiter().stats());
    assert_eq!(
        (mine.waiting, stats.waiting, stats.in_flight),
        (0, 0, 0),
        "{mine:?} {stats:?}"
    );
    assert_eq!(fair.limiter().limit_state(1).unwrap().available, 9 - used);
}

/// `threads` wait for the slot; each gives it to the next one.
pub fn keys_share_a_slot(threads: u8) {
    let (fair, taken) = queue(&ManualClock::new(0));
    let waiters: Vec<_> = (0..threads)
        .map(|key| {
            let fair = fair.clone();
            thread::spawn(move || {
                let permit = fair.acquire(&requests(1), &share(&[key]), None).unwrap();
                assert_eq!(fair.limiter().stats().in_flight, 1);
                permit.release();
            })
        })
        .collect();
    taken.release();
    waiters
        .into_iter()
        .for_each(|waiter| waiter.join().unwrap());
    is_settled(&fair, 1 + i64::from(threads));
}

/// One that stands in front goes away, or is granted, or both, while another one waits behind it.
pub fn a_fair_ticket_leaves() {
    let (fair, taken) = queue(&ManualClock::new(0));
    let mut ticket = fair.enqueue(&requests(1), &share(b"a"), None, 1).unwrap();
    let waiter = {
        let fair = fair.clone();
        thread::spawn(move || {
            let permit = fair.acquire(&requests(1), &share(b"b"), None).unwrap();
            permit.release();
        })
    };
    let helper = thread::spawn(move || taken.release());
    let held = match ticket.poll() {
        FairProgress::Held(permit) => {
            permit.release();
            1
        }
        _ => 0,
    };
    drop(ticket);
    helper.join().unwrap();
    waiter.join().unwrap();
    is_settled(&fair, 2 + held);
}

/// Somebody uses the limiter without the queue: the slot goes from one side to the other.
pub fn a_slot_comes_from_outside() {
    let (fair, taken) = queue(&ManualClock::new(0));
    let direct = {
        let limiter = fair.limiter().clone();
        thread::spawn(move || limiter.acquire(&requests(1)).unwrap().release())
    };
    let waiter = {
        let fair = fair.clone();
        thread::spawn(move || {
            let permit = fair.acquire(&requests(1), &share(b"a"), None).unwrap();
            permit.release();
        })
    };
    taken.release();
    direct.join().unwrap();
    waiter.join().unwrap();
    is_settled(&fair, 3);
}

/// Deadlines behind the front: the clock tells those whom the limiter does not know.
pub fn a_fair_deadline_passes() {
    let clock = ManualClock::new(0);
    let (fair, taken) = queue(&clock);
    let front = fair.enqueue(&requests(1), &share(b"a"), None, 1).unwrap();
    let is_over = Arc::new(AtomicI64::new(0));
    let waiter = {
        let (fair, is_over) = (fair.clone(), is_over.clone());
        thread::spawn(move || {
            let refused = fair.acquire(&requests(1), &share(b"b"), Some(SECOND));
            assert_eq!(refused.unwrap_err(), Refused::Deadline);
            is_over.store(1, SeqCst);
        })
    };
    while is_over.load(SeqCst) == 0 {
        clock.advance(SECOND * 2);
        thread::yield_now();
    }
    waiter.join().unwrap();
    drop(front);
    taken.cancel();
    is_settled(&fair, 0);
}
