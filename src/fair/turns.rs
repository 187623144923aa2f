//! Whose turn it is: start-time fair queueing, without anything that waits.
//!
//! P. Goyal, H. M. Vin and H. Cheng, *Start-time Fair Queueing*, SIGCOMM 1996. Each key has a tag, how far it has come on a line that all
//! share: a request moves it on by its amount over the key's weight. Whoever is furthest back is next, and the tag at which it is served is
//! the *clock*, where a key begins that has not waited. What a key has not asked for is not saved up.
//!
//! Between any two keys that wait all the time, what they get per weight differs by one request of each at most
//! (theorem 1 there; `tests/fair` checks it). Two things are added: a tag is put right when a request turns out
//! to use more or less than was said, as in Y. Sheng et al., *Fairness in Serving Large Language Models*, OSDI 2024; and the memory is bounded.

use super::Class;
use crate::sync::Arc;
use std::collections::{BTreeSet, HashMap};

pub(super) type Key = Arc<[u8]>;

/// What a unit of weight 1 moves a tag by: divided by the largest weight it still counts to 1 in 4000.
const SCALE: u128 = 1 << 32;
/// As many keys are remembered of which nobody waits.
const REMEMBERED: usize = 1024;

#[derive(Default)]
pub(super) struct Turns {
    /// No key begins before it.
    clock: u128,
    flows: HashMap<Key, Flow>,
    /// The first of each key that has some, by tag; equal tags in the order of arrival.
    heads: BTreeSet<(u128, u64)>,
    /// The other keys. Their tags are after the clock: of one that is not, nothing need be known.
    idle: BTreeSet<(u128, Key)>,
}

/// One key's requests.
struct Flow {
    /// The tag with which it began.
    from: u128,
    tag: u128,
    waiting: BTreeSet<u64>,
}

/// To whom a request is charged.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub key: Key,
    pub weight: u32,
    /// Each has turns of its own.
    pub class: Class,
}

/// What was charged, to be put right when more is known.
#[derive(Clone, Debug)]
pub(super) struct Charged {
    pub account: Account,
    start: u128,
    amount: u64,
}

impl Turns {
    pub(super) fn join(&mut self, key: &Key, number: u64) {
        self.change(key, |flow| {
            flow.waiting.insert(number);
        });
    }

    pub(super) fn leave(&mut self, key: &Key, number: u64) {
        self.change(key, |flow| {
            flow.waiting.remove(&number);
        });
    }

    /// Those whose turn it could be, the next one first: one of each key.
    pub(super) fn heads(&self) -> impl Iterator<Item = u64> {
        self.heads.iter().map(|&(_, number)| number)
    }

    /// How many keys have somebody who waits.
    pub(super) fn keys(&self) -> usize {
        self.heads.len()
    }

    pub(super) fn serve(&mut self, account: &Account, number: u64, amount: u64) -> Charged {
        let mut start = 0;
        self.change(&account.key, |flow| {
            flow.waiting.remove(&number);
            start = flow.tag;
            flow.tag += distance(amount, account.weight);
        });
        self.move_clock(start);
        Charged {
            account: account.clone(),
            start,
            amount,
        }
    }

    /// What was charged turns out to be `amount`.
    pub(super) fn correct(&mut self, charged: &mut Charged, amount: u64) {
        let Account { key, weight, .. } = &charged.account;
        let was = distance(charged.amount, *weight);
        let is = distance(amount, *weight);
        let start = charged.start;
        self.change(key, |flow| {
            if start >= flow.from {
                flow.tag = (flow.tag + is).saturating_sub(was).max(flow.from);
            } else {
                // It began anew since, where it would have begun anyway unless it had come further than that.
                flow.tag += (start + is).saturating_sub(flow.from);
            }
        });
        charged.amount = amount;
    }

    /// Nobody waits, and there is more than anybody asks for: all begin anew.
    pub(super) fn forget(&mut self) {
        if let Some((last, _)) = self.idle.pop_last() {
            self.clock = last;
            self.idle.clear();
            self.flows.clear();
        }
    }

    fn move_clock(&mut self, to: u128) {
        self.clock = self.clock.max(to);
        while let Some((tag, _)) = self.idle.first() {
            if *tag > self.clock && self.idle.len() <= REMEMBERED {
                return;
            }
            // One that must be forgotten before its time gains nothing, as nobody begins before it any more.
            let (tag, key) = self.idle.pop_first().expect("it was there");
            self.clock = self.clock.max(tag);
            self.flows.remove(&key);
        }
    }

    fn change(&mut self, key: &Key, change: impl FnOnce(&mut Flow)) {
        let mut flow = self
            .flows
            .remove(key)
            .unwrap_or_else(|| Flow::new(self.clock));
        match flow.waiting.first() {
            Some(&head) => self.heads.remove(&(flow.tag, head)),
            None => self.idle.remove(&(flow.tag, key.clone())),
        };
        change(&mut flow);
        match flow.waiting.first() {
            Some(&head) => self.heads.insert((flow.tag, head)),
            None if flow.tag > self.clock => self.idle.insert((flow.tag, key.clone())),
            None => return,
        };
        self.flows.insert(key.clone(), flow);
    }
}

impl Flow {
    fn new(clock: u128) -> Self {
        Self {
            from: clock,
            tag: clock,
            waiting: BTreeSet::new(),
        }
    }
}

fn distance(amount: u64, weight: u32) -> u128 {
    u128::from(amount) * SCALE / u128::from(weight)
}
