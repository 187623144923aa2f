//! One who waits at two nodes, both of which may grant before it has looked.

use super::sync::{Condvar, Mutex};
use super::*;
use llmrl::{Routed, RoutedProgress, Router, Wake};

struct Nodes {
    router: Router,
    limiters: [Limiter; 2],
}

/// Two nodes with one slot each, both taken, and tokens to give back in `buckets`.
fn nodes(buckets: usize, wake: Option<Arc<dyn Wake>>) -> (Arc<Nodes>, [Routed; 2]) {
    let clock = ManualClock::new(0);
    let limiters = [(); 2].map(|()| {
        let bucket = Limit::requests(1).per(SECOND).burst(2);
        let builder = Limiter::builder().limit(Limit::in_flight(1)).max_waiters(1);
        let builder = (0..buckets).fold(builder, |builder, _| builder.limit(bucket));
        builder.clock(Clock::from(&clock)).build().unwrap()
    });
    let router = wake.map_or(Router::new(), |wake| Router::new().wake(wake));
    for (name, limiter) in ["a", "b"].iter().zip(&limiters) {
        router.add(name, 1, limiter).unwrap();
    }
    let taken = [(); 2].map(|()| router.try_acquire(&requests(1), None).unwrap());
    (Arc::new(Nodes { router, limiters }), taken)
}

impl Nodes {
    /// Nobody waits, every slot is free, and of each bucket `used` are gone in all.
    fn is_settled(&self, buckets: usize, used: i64) {
        for limiter in &self.limiters {
            let stats = limiter.stats();
            assert_eq!((stats.waiting, stats.in_flight), (0, 0), "{stats:?}");
        }
        for index in 1..=buckets {
            let left = |limiter: &Limiter| limiter.limit_state(index).unwrap().available;
            let left: i64 = self.limiters.iter().map(left).sum();
            assert_eq!(left, 4 - used, "bucket {index}");
        }
    }
}

/// A thread waits at both, and both come free.
pub fn two_nodes_grant(buckets: usize) {
    let (nodes, [first, second]) = nodes(buckets, None);
    let waiter = {
        let nodes = nodes.clone();
        thread::spawn(move || {
            let routed = nodes.router.acquire(&requests(1), None, None).unwrap();
            let slots = nodes.limiters.iter().map(|l| l.stats().in_flight);
            assert!(slots.sum::<u64>() >= 1);
            routed.release();
        })
    };
    let helper = thread::spawn(move || first.release());
    second.release();
    waiter.join().unwrap();
    helper.join().unwrap();
    nodes.is_settled(buckets, 3);
}

/// The same, and the one who waits goes away.
pub fn a_ticket_leaves_as_two_nodes_grant(buckets: usize) {
    let (nodes, [first, second]) = nodes(buckets, None);
    let mut ticket = nodes.router.enqueue(&requests(1), None, None, 1).unwrap();
    let helper = thread::spawn(move || first.release());
    let other = thread::spawn(move || second.release());
    let held = match ticket.poll() {
        RoutedProgress::Held(routed) => {
            routed.release();
            1
        }
        _ => 0,
    };
    drop(ticket);
    helper.join().unwrap();
    other.join().unwrap();
    nodes.is_settled(buckets, 2 + held);
}

/// An event loop polls, sleeps until it is called, and polls again: one of the two nodes comes free.
pub fn a_routed_event_loop_is_called(buckets: usize) {
    #[derive(Default)]
    struct Bell(Mutex<u64>, Condvar);
    impl Wake for Bell {
        fn wake(&self, token: u64) {
            *self.0.lock().unwrap() = token;
            self.1.notify_one();
        }
    }
    let bell = Arc::new(Bell::default());
    let (nodes, [first, second]) = nodes(buckets, Some(bell.clone()));
    let waiter = {
        let (nodes, bell) = (nodes.clone(), bell.clone());
        thread::spawn(move || {
            let mut ticket = nodes.router.enqueue(&requests(1), None, None, 7).unwrap();
            loop {
                match ticket.poll() {
                    RoutedProgress::Held(routed) => return routed.release(),
                    RoutedProgress::Pending { .. } => {}
                    other => panic!("{other:?}"),
                }
                let mut called = bell.0.lock().unwrap();
                while *called != 7 {
                    called = bell.1.wait(called).unwrap();
                }
                *called = 0;
            }
        })
    };
    second.release();
    waiter.join().unwrap();
    first.release();
    nodes.is_settled(buckets, 3);
    // The limiters have forgotten whom they were to call.
    drop(nodes);
    assert_eq!(Arc::strong_count(&bell), 1);
}
