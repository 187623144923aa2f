//! Where keys belong: shares, what a change moves, and the placement of the ring that this library began from.

use super::*;
use std::collections::BTreeMap;

const KEYS: u32 = 20_000;

fn named(weights: &[u32], router: Router) -> Router {
    let limiter = bucket(&ManualClock::new(0), 1);
    for (number, weight) in weights.iter().enumerate() {
        router
            .add(format!("node-{number}"), *weight, &limiter)
            .unwrap();
    }
    router
}

fn owners(router: &Router) -> Vec<u32> {
    (0..KEYS)
        .map(|key| router.node_for(&key.to_le_bytes()).unwrap().number())
        .collect()
}

fn shares(owners: &[u32]) -> BTreeMap<u32, f64> {
    owners.iter().fold(BTreeMap::new(), |mut shares, owner| {
        *shares.entry(*owner).or_default() += 1.0 / f64::from(KEYS);
        shares
    })
}

#[test]
fn shares_are_the_weights() {
    for weights in [
        vec![1; 10],
        vec![1, 2, 3, 4],
        vec![1, 1000],
        vec![999_999, 1_000_000, 500_000, 1],
        (1..=60).collect(),
    ] {
        let shares = shares(&owners(&named(&weights, Router::new())));
        let sum: f64 = weights.iter().copied().map(f64::from).sum();
        for (number, weight) in weights.iter().enumerate() {
            let (want, got) = (
                f64::from(*weight) / sum,
                shares.get(&(number as u32)).unwrap_or(&0.0),
            );
            // Five standard deviations.
            let by_chance = 5.0 * (want * (1.0 - want) / f64::from(KEYS)).sqrt();
            assert!(
                (want - got).abs() <= by_chance + 2.0 / f64::from(KEYS),
                "{weights:?}: node {number} has {got}, not {want}"
            );
        }
    }
}

#[test]
fn a_change_moves_only_the_keys_of_the_node_that_changes() {
    for ring in [None, Some(100)] {
        let make = |weights: &[u32]| {
            named(
                weights,
                ring.map_or(Router::new(), |r| Router::ring(r).unwrap()),
            )
        };
        for weights in [vec![1; 9], vec![3, 1, 2, 5, 4, 1, 1, 2, 7]] {
            let limiter = bucket(&ManualClock::new(0), 1);
            let router = make(&weights);
            let before = owners(&router);
            let ninth = router.add("node-9", 2, &limiter).unwrap();
            let with_it = owners(&router);
            let moved = |from: &[u32], to: &[u32], by: u32| {
                let pairs = from.iter().zip(to).filter(|(a, b)| a != b);
                let moved = pairs
                    .inspect(|(a, b)| assert!(**a == by || **b == by))
                    .count();
                assert!(moved > 0);
            };
            moved(&before, &with_it, ninth);
            router.set_weight("node-9", 1).unwrap();
            let lighter = owners(&router);
            moved(&with_it, &lighter, ninth);
            assert!(
                with_it
                    .iter()
                    .zip(&lighter)
                    .all(|(a, b)| a == b || *a == ninth),
                "a node that gets lighter gains nothing"
            );
            router.set_weight("node-9", 0).unwrap();
            assert_eq!(owners(&router), before, "a node of weight 0 has no keys");
            router.set_weight("node-9", 2).unwrap();
            router.remove("node-9").unwrap();
            assert_eq!(owners(&router), before);
            // What was added in another order belongs to the same names.
            router.remove("node-0").unwrap();
            moved(&before, &owners(&router), 0);
            assert_eq!(router.add("node-0", weights[0], &limiter).unwrap(), 10);
            let again = owners(&router);
            assert!(
                before
                    .iter()
                    .zip(&again)
                    .all(|(a, b)| a == b || (*a, *b) == (0, 10))
            );
        }
    }
}

/// The recipe, as it is: MD5 of "name:i" as numbers in order, and a look at each until one is not below the key's.
struct SeedRing(Vec<(u128, String)>);

impl SeedRing {
    fn new(names: &[&str], replicas: u32) -> Self {
        let mut ring = Vec::new();
        for name in names {
            for i in 0..replicas {
                let digest = md5::compute(format!("{name}:{i}"));
                ring.push((
                    u128::from_str_radix(&format!("{digest:x}"), 16).unwrap(),
                    name.to_string(),
                ));
            }
        }
        ring.sort_by_key(|(hash, _)| *hash);
        Self(ring)
    }

    fn node(&self, key: &str) -> &str {
        let hash = u128::from_str_radix(&format!("{:x}", md5::compute(key)), 16).unwrap();
        for (point, name) in &self.0 {
            if hash <= *point {
                return name;
            }
        }
        &self.0[0].1
    }
}

#[test]
fn the_ring_is_the_recipes() {
    let names = ["primary", "secondary", "eu-west", "ü", "a:1", "a"];
    for replicas in [1, 3, 100] {
        let router = Router::ring(replicas).unwrap();
        for name in names {
            router
                .add(name, 1, &bucket(&ManualClock::new(0), 1))
                .unwrap();
        }
        let recipe = SeedRing::new(&names, replicas);
        // So many that some come after the last point, and each point itself is a key's hash or near one.
        for key in (0..5_000).map(|key| format!("user:{key}")) {
            let node = router.node_for(key.as_bytes()).unwrap();
            assert_eq!(node.name(), recipe.node(&key).as_bytes(), "{key}");
        }
        // The key "primary:0" is where the first point of that node is.
        let node = router.node_for(b"primary:0").unwrap();
        assert_eq!(node.name(), b"primary");
    }
}

#[test]
fn what_cannot_be_is_named() {
    let limiter = bucket(&ManualClock::new(0), 1);
    let router = Router::new();
    let said = |result: Result<u32, llmrl::OutOfRange>| result.unwrap_err().to_string();
    assert_eq!(
        said(router.add("", 1, &limiter)),
        "name (bytes) = 0 is outside 1..=255"
    );
    assert_eq!(
        said(router.add([7; 256], 1, &limiter)),
        "name (bytes) = 256 is outside 1..=255"
    );
    router.add([0; 255], 1, &limiter).unwrap();
    assert_eq!(
        said(router.add([0; 255], 1, &limiter)),
        "nodes of that name = 2 is outside 1..=1"
    );
    assert_eq!(
        said(router.add("a", 1_000_001, &limiter)),
        "weight = 1000001 is outside 0..=1000000"
    );
    assert_eq!(
        said(router.remove("a").map(|()| 0)),
        "nodes of that name = 0 is outside 1..=1"
    );
    assert_eq!(
        said(router.set_weight("a", 1).map(|()| 0)),
        "nodes of that name = 0 is outside 1..=1"
    );
    assert_eq!(
        said(router.set_weight([0; 255], u32::MAX).map(|()| 0)),
        "weight = 4294967295 is outside 0..=1000000"
    );
    assert_eq!(router.nodes().len(), 1);
    // What failed has used no number up.
    for number in 1..1024 {
        assert_eq!(router.add(format!("{number}"), 0, &limiter), Ok(number));
    }
    assert_eq!(
        said(router.add("b", 1, &limiter)),
        "nodes = 1025 is outside 0..=1024"
    );

    let replicas = Router::ring(0).unwrap_err();
    assert_eq!(replicas.to_string(), "replicas = 0 is outside 1..=10000");
    assert!(Router::ring(10_001).is_err());
    let ring = Router::ring(10_000).unwrap();
    ring.add("a", 1, &limiter).unwrap();
    assert_eq!(
        said(ring.add("b", 104, &limiter)),
        "points on the ring = 1050000 is outside 0..=1048576"
    );
    assert_eq!(ring.nodes().len(), 1);
}

#[test]
fn without_nodes_no_key_belongs_anywhere() {
    for router in [Router::new(), Router::ring(3).unwrap()] {
        assert!(router.node_for(b"key").is_none());
        router
            .add("a", 0, &bucket(&ManualClock::new(0), 1))
            .unwrap();
        assert!(router.node_for(b"key").is_none());
        router.set_weight("a", 2).unwrap();
        assert_eq!(router.node_for(b"key").unwrap().weight(), 2);
    }
}

#[test]
fn nodes_change_while_others_route() {
    let limiter = bucket(&ManualClock::new(0), 1);
    let router = named(&[1; 8], Router::new());
    std::thread::scope(|scope| {
        let changing = scope.spawn(|| {
            for round in 0..200 {
                router.add("guest", round % 3, &limiter).unwrap();
                router.set_weight("guest", 2).unwrap();
                router.remove("guest").unwrap();
            }
        });
        let before = owners(&named(&[1; 8], Router::new()));
        while !changing.is_finished() {
            for (key, owner) in (0..KEYS).zip(&before).step_by(97) {
                let node = router.node_for(&key.to_le_bytes()).unwrap();
                assert!(node.number() == *owner || node.name() == b"guest");
            }
        }
    });
}
