//! Changes under those who wait, and the end.

use super::*;

#[test]
fn close_tells_everybody() {
    let clock = ManualClock::new(0);
    let limiter = limiter(&clock, &[Limit::requests(1)]);
    let held = limiter.try_acquire(&Cost::request()).unwrap();
    let mut ticket = limiter.enqueue(&Cost::request(), None, 1).unwrap();
    std::thread::scope(|scope| {
        let waiters: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| limiter.acquire(&Cost::request()).map(drop)))
            .collect();
        while limiter.stats().waiting < 5 {
            std::thread::yield_now();
        }
        limiter.close();
        limiter.close();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), Err(Refused::Closed));
        }
    });
    assert!(matches!(
        limiter.poll(&mut ticket),
        Progress::Ended(Refused::Closed)
    ));
    assert_eq!(
        limiter.try_acquire(&Cost::request()).unwrap_err(),
        Refused::Closed
    );
    assert_eq!(
        limiter.enqueue(&Cost::request(), None, 1).unwrap_err(),
        Refused::Closed
    );
    held.cancel();
    assert_eq!(limiter.limit_state(0).unwrap().available, 1);
}

#[test]
fn changes_reach_those_who_wait() {
    let clock = ManualClock::new(0);
    let limiter = limiter(&clock, &[Limit::requests(60).burst(5), Limit::in_flight(1)]);
    limiter.try_acquire(&requests(5)).unwrap().release();
    let mut ticket = limiter.enqueue(&requests(3), None, 1).unwrap();
    assert_eq!(pending(&limiter, &mut ticket), Some(3 * SECOND));
    limiter.retune(0, 120, 60 * SECOND, 5).unwrap();
    assert_eq!(pending(&limiter, &mut ticket), Some(SECOND * 3 / 2));
    limiter.pause(0, 10 * SECOND).unwrap();
    assert_eq!(pending(&limiter, &mut ticket), Some(10 * SECOND));
    limiter.pause(0, Duration::ZERO).unwrap();
    // The burst falls below what the ticket costs.
    limiter.retune(0, 120, 60 * SECOND, 2).unwrap();
    assert!(matches!(
        limiter.poll(&mut ticket),
        Progress::Ended(Refused::Never {
            limit: 0,
            cost: 3,
            burst: 2
        })
    ));
    let held = {
        clock.advance(SECOND);
        limiter.try_acquire(&Cost::request()).unwrap()
    };
    limiter.resize(2).unwrap();
    let second = limiter.try_acquire(&Cost::request()).unwrap();
    limiter.resize(1).unwrap();
    second.release();
    assert_eq!(limiter.limit_state(1).unwrap().available, 0);
    held.release();
    assert_eq!(limiter.limit_state(1).unwrap().available, 1);
    let error = limiter.retune(1, 1, SECOND, 1).unwrap_err();
    assert_eq!(error.limit, Some(1));
    assert!(limiter.retune(2, 1, SECOND, 1).is_err());
}

#[test]
fn what_is_told_never_stays_never() {
    let clock = ManualClock::new(0);
    let limiter = limiter(&clock, &[Limit::requests(60).burst(5)]);
    limiter.try_acquire(&requests(5)).unwrap().release();
    let mut ticket = limiter.enqueue(&requests(3), None, 1).unwrap();
    let mut next = limiter.enqueue(&requests(1), None, 2).unwrap();
    // Too small a burst for a moment: the queue passes the ticket, before its owner looks.
    limiter.retune(0, 60, 60 * SECOND, 2).unwrap();
    limiter.retune(0, 60, 60 * SECOND, 5).unwrap();
    assert!(matches!(
        limiter.poll(&mut ticket),
        Progress::Ended(Refused::Never {
            limit: 0,
            cost: 3,
            ..
        })
    ));
    assert!(matches!(limiter.poll(&mut ticket), Progress::Spent));
    // The one behind has the turn, as if the first had never been there.
    assert_eq!(pending(&limiter, &mut next), Some(SECOND));
    assert_eq!(limiter.stats().waiting, 1);
}
