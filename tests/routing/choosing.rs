//! Asking now: which node admits, and what a refusal says.

use super::*;
use llmrl::Refused;

#[test]
fn a_key_keeps_to_its_node_while_that_admits() {
    let clock = ManualClock::new(0);
    let limiters = [3, 3, 3].map(|burst| bucket(&clock, burst));
    let router = router(&limiters);
    let key = key_of(&router, 1);
    let mut visited = Vec::new();
    while let Ok(routed) = router.try_acquire(&requests(1), Some(&key)) {
        visited.push(routed.node().number());
        routed.release();
    }
    let second = visited[3];
    assert_ne!(second, 1);
    let third = 3 - 1 - second;
    assert_eq!(
        visited,
        [1, 1, 1, second, second, second, third, third, third]
    );
    // The second choice is where the key belongs without the first.
    router.remove("n1").unwrap();
    assert_eq!(router.node_for(&key).unwrap().number(), second);
}

#[test]
fn without_a_key_requests_are_spread_by_weight() {
    let clock = ManualClock::new(0);
    let router = Router::new();
    for (name, weight) in [("a", 1), ("b", 2), ("c", 5), ("off", 0)] {
        router.add(name, weight, &bucket(&clock, 10_000)).unwrap();
    }
    let mut count = [0i32; 4];
    for _ in 0..8_000 {
        let routed = router.try_acquire(&requests(1), None).unwrap();
        count[routed.node().number() as usize] += 1;
    }
    for (got, want) in count.into_iter().zip([1_000, 2_000, 5_000, 0]) {
        assert!((got - want).abs() <= 200, "{count:?}");
    }
    assert_eq!(count[3], 0);
}

#[test]
fn a_refusal_names_the_shortest_wait_and_its_node() {
    let clock = ManualClock::new(0);
    let limiters = [1, 1, 1].map(|burst| bucket(&clock, burst));
    let router = router(&limiters);
    for limiter in &limiters {
        limiter.try_acquire(&requests(1)).unwrap().release();
    }
    limiters[0].charge(&requests(4)).unwrap();
    limiters[2].charge(&requests(1)).unwrap();
    for key in [None, Some(&key_of(&router, 0)[..])] {
        let unrouted = router.try_acquire(&requests(1), key).unwrap_err();
        let wait = Some(SECOND);
        assert_eq!(unrouted.refused, Refused::NotNow { wait });
        assert_eq!(unrouted.node.as_ref().unwrap().number(), 1);
        assert_eq!(
            unrouted.to_string(),
            "Node(\"n1\", weight 1): not now; try again in 1s"
        );
    }
    clock.advance(SECOND);
    let routed = router.try_acquire(&requests(1), None).unwrap();
    assert_eq!(routed.node().number(), 1);
    // A node that knows no time is no better than any that does.
    let slot = limiter(&clock, &[Limit::in_flight(1)]);
    std::mem::forget(slot.try_acquire(&requests(1)).unwrap());
    let router = Router::new();
    router.add("slot", 1, &slot).unwrap();
    let refused = |router: &Router| router.try_acquire(&requests(1), None).unwrap_err().refused;
    assert_eq!(refused(&router), Refused::NotNow { wait: None });
    router.add("slow", 1, &limiters[0]).unwrap();
    let wait = Some(4 * SECOND);
    assert_eq!(refused(&router), Refused::NotNow { wait });
}

#[test]
fn paused_and_closed_nodes_are_passed_over() {
    let clock = ManualClock::new(0);
    let limiters = [9, 9, 9].map(|burst| bucket(&clock, burst));
    let router = router(&limiters);
    let key = key_of(&router, 2);
    let node = |router: &Router| {
        let routed = router.try_acquire(&requests(1), Some(&key)).unwrap();
        routed.node().number()
    };
    assert_eq!(node(&router), 2);
    limiters[2].pause(0, 5 * SECOND).unwrap();
    let second = node(&router);
    assert_ne!(second, 2);
    limiters[second as usize].close();
    let third = node(&router);
    assert_eq!(third, 3 - 2 - second);
    clock.advance(5 * SECOND);
    assert_eq!(node(&router), 2);
    // The shard of a key stays where it is, whatever its limiter says.
    limiters[2].pause(0, 5 * SECOND).unwrap();
    assert_eq!(router.node_for(&key).unwrap().number(), 2);
}

#[test]
fn never_only_if_every_open_node_says_so() {
    let clock = ManualClock::new(0);
    let limiters = [3, 5, 8].map(|burst| bucket(&clock, burst));
    let router = router(&limiters);
    let ask = |cost| router.try_acquire(&requests(cost), Some(b"key"));
    let routed = ask(4).unwrap();
    assert_ne!(routed.node().number(), 0);
    routed.cancel();
    limiters[1].close();
    let routed = ask(6).unwrap();
    assert_eq!(routed.node().number(), 2, "the only one that holds so much");
    let refused = ask(7).unwrap_err();
    assert!(
        matches!(refused.refused, Refused::NotNow { .. }),
        "{refused}"
    );
    assert_eq!(refused.node.unwrap().number(), 2);
    limiters[2].close();
    assert!(matches!(
        ask(7).unwrap_err().refused,
        Refused::Never { burst: 3, .. }
    ));
    limiters[0].close();
    assert_eq!(ask(7).unwrap_err().refused, Refused::Closed);
}

#[test]
fn nobody_to_ask_and_a_cost_that_cannot_be() {
    let router = Router::new();
    let unrouted = router.try_acquire(&requests(1), None).unwrap_err();
    assert_eq!(
        (&unrouted.refused, unrouted.node.is_none()),
        (&Refused::NoNode, true)
    );
    router
        .add("off", 0, &bucket(&ManualClock::new(0), 1))
        .unwrap();
    let unrouted = router
        .acquire(&requests(1), Some(b"key"), None)
        .unwrap_err();
    assert_eq!(unrouted.refused, Refused::NoNode);
    let unrouted = router.enqueue(&requests(0), None, None, 1).unwrap_err();
    assert!(matches!(unrouted.refused, Refused::Cost(error) if error.field == "requests"));
}

#[test]
fn a_routed_permit_is_settled_where_it_came_from() {
    let clock = ManualClock::new(0);
    let limits = [Limit::tokens(100).per(100 * SECOND), Limit::in_flight(2)];
    let limiters = [limiter(&clock, &limits), limiter(&clock, &limits)];
    let router = router(&limiters);
    let key = key_of(&router, 1);
    let left = || {
        limiters
            .each_ref()
            .map(|l| [0, 1].map(|i| l.limit_state(i).unwrap().available))
    };
    let ask = || {
        router
            .try_acquire(&Cost::tokens(40, 0), Some(&key))
            .unwrap()
    };

    ask().settle(&Cost::tokens(10, 0)).unwrap();
    assert_eq!(left(), [[100, 2], [90, 2]]);
    ask().cancel();
    assert_eq!(left(), [[100, 2], [90, 2]]);
    drop(ask());
    assert_eq!(left(), [[100, 2], [50, 2]]);
    let mut held = ask();
    held.adjust(&Cost::tokens(20, 0)).unwrap();
    assert_eq!(left(), [[100, 2], [30, 1]]);
    // A node that is taken away still takes its permits back.
    router.remove("n1").unwrap();
    let bad = Cost {
        requests: 0,
        ..Cost::tokens(5, 0)
    };
    assert!(held.adjust(&bad).is_err());
    assert!(held.settle(&bad).is_err());
    assert_eq!(left(), [[100, 2], [30, 2]], "the estimate stands");
}
