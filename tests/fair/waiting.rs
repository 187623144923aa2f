//! Waiting, leaving, being refused.

use super::*;
use llmrl::{OutOfRange, Refused, Wake};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

#[test]
fn nothing_is_counted_while_nobody_waits() {
    let hand = ManualClock::new(0);
    let limit = Limit::tokens(100).per(SECOND).burst(1000);
    let fair = FairQueue::new(&limiter(&hand, limit), FairOptions::new()).unwrap();
    for _ in 0..9 {
        fair.acquire(&tokens(100), &share("hot"), None)
            .unwrap()
            .release();
    }
    fair.try_acquire(&tokens(100)).unwrap().release();
    let mut hot = join(&fair, "hot", 100);
    let mut calm = join(&fair, "calm", 100);
    hand.advance(SECOND);
    assert!(held(&mut calm).is_none());
    assert!(held(&mut hot).is_some());
    let refused = fair.try_acquire(&tokens(1)).unwrap_err();
    assert!(
        matches!(refused, Refused::NotNow { wait: Some(_) }),
        "{refused}"
    );
}

#[test]
fn nobody_passes_those_who_wait() {
    let hand = ManualClock::new(0);
    let fair = fair(&hand, FairOptions::new());
    let mut first = join(&fair, "a", 100);
    hand.advance(SECOND / 2);
    // Fifty are there.
    assert!(fair.try_acquire(&tokens(1)).is_err());
    hand.advance(SECOND / 2);
    // Whoever comes by brings the others forward first.
    assert!(fair.try_acquire(&tokens(1)).is_err());
    assert_eq!(fair.stats().waiting, 0);
    assert!(held(&mut first).is_some());
}

#[test]
fn a_ticket_that_leaves_gives_everything_back() {
    let hand = ManualClock::new(0);
    let fair = fair(&hand, FairOptions::new());
    let mut tickets: Vec<_> = (0..4).map(|n| join(&fair, &n.to_string(), 100)).collect();
    let mut last = tickets.pop().unwrap();
    assert_eq!(wait(&mut tickets[0]), Some(SECOND));
    hand.advance(SECOND * 2);
    // Grants the first two, which nobody picks up.
    assert!(held(&mut last).is_none());
    tickets.remove(2).cancel();
    tickets.clear();
    let stats = fair.stats();
    assert_eq!((stats.waiting, stats.keys), (0, 0));
    held(&mut last).unwrap().cancel();
    assert!(fair.try_acquire(&tokens(200)).is_ok());
}

#[test]
fn a_cancelled_permit_costs_its_key_nothing() {
    let hand = ManualClock::new(0);
    let fair = fair(&hand, FairOptions::new());
    let mut a: Vec<_> = (0..3).map(|_| join(&fair, "a", 100)).collect();
    let mut b: Vec<_> = (0..3).map(|_| join(&fair, "b", 100)).collect();
    hand.advance(SECOND);
    held(&mut a[0]).unwrap().cancel();
    // What came back goes to the one that stood in front. Then it is as if the first had never been there.
    assert!(held(&mut b[0]).is_some());
    for next in [1, 2] {
        hand.advance(SECOND);
        assert!(held(&mut b[1]).is_none());
        assert!(held(&mut a[next]).is_some());
    }
    hand.advance(SECOND);
    assert!(held(&mut b[1]).is_some());
}

#[test]
fn deadlines_hold_wherever_one_stands() {
    let hand = ManualClock::new(0);
    let fair = fair(&hand, FairOptions::new());
    let timed = |key: &str, cost, timeout| {
        let share = Share::new(key.as_bytes()).unwrap();
        fair.enqueue(&tokens(cost), &share, Some(timeout), 1)
    };
    // Known to be too late.
    assert_eq!(timed("x", 101, SECOND).unwrap_err(), Refused::Deadline);
    let mut front = timed("a", 100, SECOND).unwrap();
    let mut behind = timed("b", 50, SECOND).unwrap();
    let mut patient = join(&fair, "c", 50);
    assert_eq!(wait(&mut front), Some(SECOND));
    assert_eq!(wait(&mut behind), Some(SECOND + Duration::from_nanos(1)));
    hand.advance(SECOND);
    // Granted in time by somebody else.
    assert!(held(&mut patient).is_none());
    hand.advance(Duration::from_nanos(1));
    assert!(held(&mut front).is_some());
    assert!(matches!(
        behind.poll(),
        FairProgress::Ended(Refused::Deadline)
    ));
    assert!(matches!(behind.poll(), FairProgress::Spent));
    assert!(held(&mut patient).is_none());
    hand.advance(SECOND / 2);
    assert!(held(&mut patient).is_some());
}

#[test]
fn all_hear_of_it_when_the_limiter_is_closed() {
    let hand = ManualClock::new(0);
    let fair = fair(&hand, FairOptions::new());
    let mut tickets: Vec<_> = (0..3).map(|n| join(&fair, &n.to_string(), 100)).collect();
    fair.limiter().close();
    for ticket in &mut tickets {
        assert!(matches!(
            ticket.poll(),
            FairProgress::Ended(Refused::Closed)
        ));
    }
    let late = fair.enqueue(&tokens(1), &share("late"), None, 1);
    assert_eq!(late.unwrap_err(), Refused::Closed);
    assert_eq!(fair.try_acquire(&tokens(1)).unwrap_err(), Refused::Closed);
}

#[test]
fn bad_input_is_named() {
    let hand = ManualClock::new(0);
    let fair = fair(&hand, FairOptions::new().max_waiters(2));
    let message = |error: OutOfRange| error.to_string();
    assert_eq!(
        message(Share::new(b"").unwrap_err()),
        "key (bytes) = 0 is outside 1..=1024"
    );
    assert!(Share::new(&[0; 1024]).is_ok());
    assert!(Share::new(&[0; 1025]).is_err());
    assert_eq!(
        message(share("a").weight(0).unwrap_err()),
        "weight = 0 is outside 1..=1000000"
    );
    assert!(share("a").weight(1_000_001).is_err());
    for waiters in [0, FairOptions::MAX_WAITERS + 1] {
        let options = FairOptions::new().max_waiters(waiters);
        assert_eq!(
            FairQueue::new(fair.limiter(), options).unwrap_err().field,
            "max_waiters"
        );
    }
    let enqueue = |cost: &Cost| fair.enqueue(cost, &share("a"), None, 1);
    let never = enqueue(&tokens(10_001)).unwrap_err();
    assert!(matches!(never, Refused::Never { limit: 0, .. }), "{never}");
    let none = Cost {
        requests: 0,
        ..Cost::request()
    };
    assert!(matches!(enqueue(&none), Err(Refused::Cost(_))));
    assert!(matches!(
        fair.acquire(&none, &share("a"), None),
        Err(Refused::Cost(_))
    ));
    let _tickets = [enqueue(&tokens(1)).unwrap(), enqueue(&tokens(1)).unwrap()];
    assert_eq!(enqueue(&tokens(1)).unwrap_err(), Refused::Full);
}

/// Polls a ticket from its own callback.
#[derive(Default)]
struct Polls {
    tickets: Mutex<Vec<FairTicket>>,
    calls: AtomicU64,
    held: AtomicU64,
}

impl Wake for Polls {
    fn wake(&self, _: u64) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let mut tickets = std::mem::take(&mut *self.tickets.lock().unwrap());
        tickets.retain_mut(|ticket| match held(ticket) {
            Some(permit) => {
                self.held.fetch_add(1, Ordering::Relaxed);
                permit.release();
                false
            }
            None => true,
        });
        self.tickets.lock().unwrap().extend(tickets);
    }
}

#[test]
fn a_callback_may_come_back() {
    let hand = ManualClock::new(0);
    let polls = Arc::new(Polls::default());
    let fair = fair(&hand, FairOptions::new().wake(polls.clone()));
    for n in 0..20 {
        let mut ticket = join(&fair, &(n % 7).to_string(), 100);
        assert!(held(&mut ticket).is_none());
        polls.tickets.lock().unwrap().push(ticket);
    }
    for _ in 0..20 {
        hand.advance(SECOND);
    }
    assert_eq!(polls.held.load(Ordering::Relaxed), 20);
    let calls = polls.calls.load(Ordering::Relaxed);
    assert!(calls <= 80, "{calls}");
}

/// Notes who was called.
#[derive(Default)]
struct Calls(Mutex<Vec<u64>>);

impl Wake for Calls {
    fn wake(&self, token: u64) {
        self.0.lock().unwrap().push(token);
    }
}

impl Calls {
    fn take(&self) -> Vec<u64> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// Tickets of `costs`, each of its own key, which all have looked. The token is the index.
fn called(fair: &FairQueue, costs: &[u64]) -> Vec<FairTicket> {
    let join = |(n, cost): (usize, &u64)| {
        let name = n.to_string();
        let mut ticket = fair
            .enqueue(&tokens(*cost), &share(&name), None, n as u64)
            .unwrap();
        assert!(held(&mut ticket).is_none());
        ticket
    };
    costs.iter().enumerate().map(join).collect()
}

#[test]
fn the_next_in_turn_is_told_for_how_long_and_one_watches() {
    let hand = ManualClock::new(0);
    let calls = Arc::new(Calls::default());
    let fair = fair(&hand, FairOptions::new().wake(calls.clone()));
    let mut tickets = called(&fair, &[100, 100, 100, 100]);
    let waits: Vec<_> = tickets.iter_mut().map(wait).collect();
    // The second looks a little after the first, in case nobody looks after that one.
    let watch = SECOND + Duration::from_millis(100);
    assert_eq!(waits, [Some(SECOND), Some(watch), None, None]);
    assert!(calls.take().is_empty());
    hand.advance(SECOND);
    assert!(held(&mut tickets[0]).is_some());
    // The first was called by the clock; the watcher, too, but now it is the next, so another one has to watch.
    assert_eq!(calls.take(), [0, 1, 3]);
    let waits: Vec<_> = tickets[1..].iter_mut().map(wait).collect();
    assert_eq!(waits, [Some(SECOND), Some(watch), None]);
}

#[test]
fn an_owner_that_is_busy_keeps_nobody_waiting() {
    let hand = ManualClock::new(0);
    let calls = Arc::new(Calls::default());
    let limiter = limiter(&hand, Limit::in_flight(2));
    let fair = FairQueue::new(&limiter, FairOptions::new().wake(calls.clone())).unwrap();
    let taken = [(); 2].map(|()| fair.try_acquire(&Cost::request()).unwrap());
    let mut tickets = called(&fair, &[0, 0, 0]);
    // The first two do not look again.
    taken.into_iter().for_each(FairPermit::release);
    assert_eq!(fair.stats().waiting, 1);
    drop(tickets.drain(..2));
    assert!(held(&mut tickets[0]).is_some());
    assert!(calls.take().ends_with(&[2]));
}

#[test]
fn who_passes_is_called() {
    let hand = ManualClock::new(0);
    let calls = Arc::new(Calls::default());
    let options = FairOptions::new().passes(1).wake(calls.clone());
    let fair = fair(&hand, options);
    let mut tickets = called(&fair, &[1000, 900, 125]);
    hand.advance(SECOND * 2);
    calls.take();
    assert!(held(&mut tickets[0]).is_none());
    assert!(calls.take().contains(&2));
    assert!(held(&mut tickets[2]).is_some());
}

#[test]
fn threads_wait_without_being_looked_after() {
    let hand = ManualClock::new(0);
    let fair = fair(&hand, FairOptions::new());
    let served = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for n in 0..8 {
            let (fair, served) = (&fair, &served);
            scope.spawn(move || {
                for _ in 0..25 {
                    let permit = fair.acquire(&tokens(10), &share(&n.to_string()), None);
                    permit.unwrap().release();
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while served.load(Ordering::Relaxed) < 200 {
            hand.advance(SECOND / 100);
            std::thread::yield_now();
        }
    });
    assert_eq!(fair.stats().waiting, 0);
}

#[test]
fn slots_are_shared_like_tokens() {
    let hand = ManualClock::new(0);
    let fair = FairQueue::new(&limiter(&hand, Limit::in_flight(1)), FairOptions::new()).unwrap();
    let mut running = fair.try_acquire(&Cost::request()).unwrap();
    let mut hot: Vec<_> = (0..6).map(|_| join(&fair, "hot", 0)).collect();
    let mut calm: Vec<_> = (0..3).map(|_| join(&fair, "calm", 0)).collect();
    let mut order = String::new();
    while order.len() < 9 {
        assert_eq!(wait_of_any(&mut hot, &mut calm), None);
        running.release();
        let (name, permit) = hot
            .iter_mut()
            .map(|ticket| ('h', ticket))
            .chain(calm.iter_mut().map(|ticket| ('c', ticket)))
            .find_map(|(name, ticket)| match ticket.poll() {
                FairProgress::Held(permit) => Some((name, permit)),
                _ => None,
            })
            .unwrap();
        order.push(name);
        running = permit;
    }
    assert_eq!(order, "hchchchhh");
}

/// Of the first one that waits.
fn wait_of_any(hot: &mut [FairTicket], calm: &mut [FairTicket]) -> Option<Duration> {
    let mut tickets = hot.iter_mut().chain(calm);
    tickets.find_map(|ticket| match ticket.poll() {
        FairProgress::Pending { wait } => Some(wait),
        _ => None,
    })?
}
