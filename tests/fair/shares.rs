//! Who gets how much, while all want more.

use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

/// A key that always has `depth` requests in the queue.
struct Client {
    name: String,
    weight: u32,
    sizes: Vec<u64>,
    depth: usize,
    /// Part of what it reserves that it uses, in percent.
    uses: u64,
    sent: usize,
    waiting: VecDeque<(FairTicket, u64)>,
    /// What it has used.
    got: u64,
}

impl Client {
    fn new(number: usize, weight: u32, sizes: &[u64], depth: usize, uses: u64) -> Self {
        Self {
            name: format!("client {number}"),
            weight,
            sizes: sizes.to_vec(),
            depth,
            uses,
            sent: 0,
            waiting: VecDeque::new(),
            got: 0,
        }
    }

    fn fill(&mut self, fair: &FairQueue) {
        while self.waiting.len() < self.depth {
            let size = self.sizes[self.sent % self.sizes.len()];
            self.sent += 1;
            let share = share(&self.name).weight(self.weight).unwrap();
            let ticket = fair.enqueue(&tokens(size), &share, None, 0).unwrap();
            self.waiting.push_back((ticket, size));
        }
    }

    /// Takes what it was granted. Its requests are served in order.
    fn take(&mut self) -> bool {
        let mut any = false;
        while let Some((ticket, size)) = self.waiting.front_mut()
            && let Some(permit) = held(ticket)
        {
            let used = *size * self.uses / 100;
            permit.settle(&tokens(used)).unwrap();
            self.got += used;
            self.waiting.pop_front();
            any = true;
        }
        any
    }
}

/// Lets all clients ask for `seconds`, in steps in which one token comes; after each step `look` sees them.
fn run(clients: &mut [Client], seconds: u64, mut look: impl FnMut(&[Client])) {
    let hand = ManualClock::new(0);
    let fair = fair(&hand, FairOptions::new());
    for _ in 0..seconds * 100 {
        clients.iter_mut().for_each(|client| client.fill(&fair));
        // What is settled for less lets others go at once.
        while clients
            .iter_mut()
            .fold(false, |any, client| any | client.take())
        {}
        look(clients);
        hand.advance(SECOND / 100);
    }
}

/// 1: all get the same per weight; 1 / n: one gets everything.
fn jain(clients: &[Client]) -> f64 {
    let per_weight = clients
        .iter()
        .map(|client| client.got as f64 / f64::from(client.weight));
    let sum: f64 = per_weight.clone().sum();
    let squares: f64 = per_weight.map(|x| x * x).sum();
    sum * sum / (squares * clients.len() as f64)
}

#[test]
fn one_that_asks_for_a_hundred_times_as_much_gets_the_same() {
    let mut clients: Vec<_> = (0..10)
        .map(|n| Client::new(n, 1, &[10], if n == 0 { 500 } else { 5 }, 100))
        .collect();
    run(&mut clients, 30, |_| {});
    let index = jain(&clients);
    println!("hot demand: Jain {index:.4}");
    assert!(index > 0.99, "{index}");
}

#[test]
fn even_demand_is_even() {
    let mut clients: Vec<_> = (0..10)
        .map(|n| Client::new(n, 1, &[5, 20, 80], 3, 100))
        .collect();
    run(&mut clients, 60, |_| {});
    let index = jain(&clients);
    println!("even demand: Jain {index:.4}");
    assert!(index > 0.99, "{index}");
}

#[test]
fn sizes_do_not_matter_and_weights_do() {
    let mut clients: Vec<_> = [(1, 10), (2, 100), (5, 50), (1, 200), (3, 7)]
        .iter()
        .enumerate()
        .map(|(n, &(weight, size))| Client::new(n, weight, &[size], 4, 100))
        .collect();
    run(&mut clients, 200, |_| {});
    let index = jain(&clients);
    println!("weights 1 2 5 1 3, sizes 10 100 50 200 7: Jain {index:.4}");
    assert!(index > 0.99, "{index}");
    let all: u64 = clients.iter().map(|client| client.got).sum();
    // Nothing is held back while the limit allows it: 100 a second, less what the one that waits has not got yet.
    assert!((19_700..=20_000).contains(&all), "{all}");
}

#[test]
fn what_is_reserved_and_not_used_does_not_count() {
    // The second reserves ten times what it uses.
    let mut clients = vec![
        Client::new(0, 1, &[20], 4, 100),
        Client::new(1, 1, &[200], 4, 10),
    ];
    run(&mut clients, 60, |_| {});
    let index = jain(&clients);
    println!("one reserves ten times what it uses: Jain {index:.4}");
    assert!(index > 0.99, "{index}");
}

#[test]
fn what_is_used_beyond_the_estimate_counts() {
    // One request at a time, said to be small.
    let mut clients = vec![
        Client::new(0, 1, &[20], 4, 100),
        Client::new(1, 1, &[2], 1, 1000),
    ];
    run(&mut clients, 60, |_| {});
    let index = jain(&clients);
    println!("one uses ten times what it says: Jain {index:.4}");
    assert!(index > 0.99, "{index}");
}

#[test]
fn who_comes_late_has_not_saved_up() {
    let hand = ManualClock::new(0);
    let fair = fair(&hand, FairOptions::new());
    let mut early: Vec<_> = (0..40).map(|_| join(&fair, "early", 100)).collect();
    for ticket in &mut early[..20] {
        hand.advance(SECOND);
        held(ticket).unwrap().release();
    }
    // The twenty-first stands at the front already.
    let mut late: Vec<_> = (0..20).map(|_| join(&fair, "late", 100)).collect();
    let mut order = String::new();
    for _ in 0..12 {
        hand.advance(SECOND);
        for (name, tickets) in [('e', &mut early), ('l', &mut late)] {
            tickets.retain_mut(|ticket| match ticket.poll() {
                FairProgress::Held(permit) => {
                    permit.release();
                    order.push(name);
                    false
                }
                FairProgress::Pending { .. } => true,
                _ => false,
            });
        }
    }
    assert_eq!(order, "lelelelelele");
}

#[test]
fn many_keys_that_come_once_are_forgotten() {
    let hand = ManualClock::new(0);
    let fair = fair(&hand, FairOptions::new());
    let mut patient: Vec<_> = (0..3).map(|_| join(&fair, "patient", 1)).collect();
    let mut served = 0;
    let mut rounds = 0;
    // New keys begin where the clock is, before the second of one that has been served. Not for ever.
    while served < 3 {
        rounds += 1;
        assert!(rounds < 5_000);
        let mut once = join(&fair, &format!("key {rounds}"), 1);
        hand.advance(SECOND / 50);
        while served < 3
            && let Some(permit) = held(&mut patient[served])
        {
            permit.release();
            served += 1;
        }
        held(&mut once);
        std::mem::forget(once);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Goyal, Vin and Cheng, theorem 1: over any interval in which both wait, what two keys get per weight differs by at most one of
    /// the largest requests of each.
    #[test]
    fn never_further_apart_than_a_request_of_each(
        clients in prop::collection::vec((1u32..20, prop::collection::vec(1u64..100, 1..4), 2usize..4), 2..6)
    ) {
        let mut clients: Vec<_> = clients
            .iter()
            .enumerate()
            .map(|(n, (weight, sizes, depth))| Client::new(n, *weight, sizes, *depth, 100))
            .collect();
        let mut seen: Vec<Vec<u64>> = Vec::new();
        run(&mut clients, 30, |clients| seen.push(clients.iter().map(|client| client.got).collect()));
        let bound = |client: &Client| *client.sizes.iter().max().unwrap() as f64 / f64::from(client.weight);
        for (i, a) in clients.iter().enumerate() {
            for (j, b) in clients.iter().enumerate().skip(i + 1) {
                // The largest difference over any interval is that between the extremes of the running difference.
                let apart = seen.iter().map(|got| {
                    got[i] as f64 / f64::from(a.weight) - got[j] as f64 / f64::from(b.weight)
                });
                let most = apart.clone().fold(f64::MIN, f64::max);
                let least = apart.fold(f64::MAX, f64::min);
                prop_assert!(most - least <= bound(a) + bound(b) + 1e-6, "{i} {j}: {most} {least}");
            }
        }
    }
}
