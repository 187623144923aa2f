//! How evenly keys are spread over nodes, how many move when a node comes or goes, and what a look-up costs:
//! this library's two placements beside the recipe's ring, jump hashing and Maglev. `cargo bench --bench routing`.

mod peers;

use llmrl::{Limit, Limiter, Router};
use peers::{Jump, Maglev, SeedRing};
use std::hint::black_box;
use std::time::Instant;

const KEYS: usize = 200_000;
const NODES: [usize; 3] = [8, 10, 64];
/// So often is each look-up timed; the fastest round counts, the one in which nobody else wanted the processor.
const ROUNDS: usize = 15;

/// Something that says to which of its nodes a key belongs, by the node's name.
pub trait Placement {
    /// With nodes of these names.
    fn of(names: &[String]) -> Self;
    /// The number at the end of the name of the key's node.
    fn node(&self, key: &[u8]) -> u32;
}

/// Names end in the number of their node.
fn number(name: &[u8]) -> u32 {
    let digits = name.rsplit(|byte| !byte.is_ascii_digit()).next();
    digits
        .and_then(|d| std::str::from_utf8(d).ok()?.parse().ok())
        .expect("a number")
}

fn filled(router: Router, names: &[String], weight: impl Fn(u32) -> u32) -> Ours {
    let limiter = Limiter::builder().limit(Limit::requests(1)).max_waiters(1);
    let limiter = limiter.build().expect("a limiter");
    let numbers = names.iter().map(|name| {
        let number = number(name.as_bytes());
        router.add(name, weight(number), &limiter).expect("a node");
        number
    });
    Ours {
        numbers: numbers.collect(),
        router,
    }
}

struct Ours {
    router: Router,
    /// Of the nodes, in the order in which they were added.
    numbers: Vec<u32>,
}

impl Ours {
    fn look_up(&self, key: &[u8]) -> u32 {
        self.numbers[self.router.node_for(key).expect("a node").number() as usize]
    }
}

macro_rules! ours {
    ($($name:ident: $router:expr, $weight:expr;)*) => {$(
        struct $name(Ours);
        impl Placement for $name {
            fn of(names: &[String]) -> Self {
                Self(filled($router, names, $weight))
            }
            fn node(&self, key: &[u8]) -> u32 {
                self.0.look_up(key)
            }
        }
    )*};
}

ours! {
    Rendezvous: Router::new(), |_| 1;
    Weighted: Router::new(), weight_of;
    Ring160: Router::ring(160).expect("a ring"), |_| 1;
}

fn weight_of(number: u32) -> u32 {
    number % 4 + 1
}

fn names(numbers: impl Iterator<Item = usize>) -> Vec<String> {
    numbers.map(|number| format!("node-{number}")).collect()
}

/// The most loaded node's keys, in those that it should have.
fn most(owners: &[u32], nodes: usize, weight: impl Fn(u32) -> u32) -> f64 {
    let mut count = vec![0.0; nodes];
    owners
        .iter()
        .for_each(|&owner| count[owner as usize] += 1.0);
    let sum: u32 = (0..nodes as u32).map(&weight).sum();
    let share = |number: u32| KEYS as f64 * f64::from(weight(number)) / f64::from(sum);
    let loads = (0..nodes as u32).map(|number| count[number as usize] / share(number));
    loads.fold(0.0, f64::max)
}

fn percent(of: impl Iterator<Item = bool>) -> f64 {
    100.0 * of.filter(|&is| is).count() as f64 / KEYS as f64
}

fn row<P: Placement>(what: &str, keys: &[Vec<u8>], weight: impl Fn(u32) -> u32 + Copy) {
    for nodes in NODES {
        let owners =
            |placement: &P| -> Vec<u32> { keys.iter().map(|key| placement.node(key)).collect() };
        let placement = P::of(&names(0..nodes));
        let before = owners(&placement);
        let more = owners(&P::of(&names(0..=nodes)));
        let gone = nodes / 2;
        let less = owners(&P::of(&names((0..nodes).filter(|&n| n != gone))));
        let (added, gone) = (nodes as u32, gone as u32);
        let moved = percent(before.iter().zip(&more).map(|(a, b)| a != b));
        let needless = percent(before.iter().zip(&more).map(|(a, b)| a != b && *b != added));
        let moved_off = percent(before.iter().zip(&less).map(|(a, b)| a != b));
        let needless_off = percent(before.iter().zip(&less).map(|(a, b)| a != b && *a != gone));
        let times = (0..ROUNDS).map(|_| {
            let start = Instant::now();
            for key in keys {
                black_box(placement.node(black_box(key)));
            }
            start.elapsed().as_nanos() as f64 / KEYS as f64
        });
        let fastest = times.fold(f64::MAX, f64::min);
        println!(
            "| {what:<34} | {nodes:>5} | {:>5.3} | {moved:>6.2} | {needless:>6.2} | {moved_off:>6.2} | {needless_off:>6.2} | {:>7.1} |",
            most(&before, nodes, weight),
            fastest,
        );
    }
}

fn main() {
    // `cargo test --benches` wants to see that it starts, and no more.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let keys: Vec<Vec<u8>> = (0..KEYS)
        .map(|key| format!("user:{key}").into_bytes())
        .collect();
    println!("{KEYS} keys; shares in percent of all keys\n");
    println!(
        "|                                    | nodes | most  | added  | needl. | gone   | needl. | ns      |"
    );
    println!(
        "| ---------------------------------- | ----- | ----- | ------ | ------ | ------ | ------ | ------- |"
    );
    row::<Rendezvous>("rendezvous (the default)", &keys, |_| 1);
    row::<Weighted>("rendezvous, weights 1 to 4", &keys, weight_of);
    row::<Ring160>("ring of 160", &keys, |_| 1);
    row::<SeedRing>("the recipe's ring of 100", &keys, |_| 1);
    row::<Jump>("jump", &keys, |_| 1);
    row::<Maglev>("Maglev, 65537", &keys, |_| 1);
}
