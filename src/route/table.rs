//! The nodes as they are at one time, and the order in which a key looks at them.

use super::Node;
use super::ring::{self, Ring};
use super::score::{self, Draw, mix};
use crate::sync::Arc;

/// What never changes; a change makes another one.
pub(super) struct Table {
    /// In the order in which they were added.
    pub(super) nodes: Box<[Arc<Node>]>,
    /// Those that have a weight, by name: of two that are alike the first one counts.
    live: Box<[Live]>,
    placement: Placement,
}

/// What a look-up needs of a node, side by side.
struct Live {
    hash: u64,
    weight: u32,
    index: u32,
}

enum Placement {
    /// If all weights are the same, hashes can be compared without logarithms.
    Rendezvous {
        is_even: bool,
    },
    Ring(Ring),
}

/// Where a key stands: the upper half for rendezvous, all of it on the ring.
#[derive(Clone, Copy)]
pub(super) struct Spot(u128);

impl Spot {
    fn new(hash: u64) -> Self {
        Self(u128::from(hash) << 64)
    }

    fn upper(self) -> u64 {
        (self.0 >> 64) as u64
    }
}

impl Table {
    /// With points on a ring, or without a ring.
    pub(super) fn new(nodes: Vec<Arc<Node>>, replicas: Option<u32>) -> Self {
        let mut by_name: Vec<_> = (0..nodes.len()).collect();
        by_name.retain(|&index| nodes[index].weight > 0);
        by_name.sort_unstable_by(|&a, &b| nodes[a].name.cmp(&nodes[b].name));
        let live = by_name.into_iter().map(|index| Live {
            hash: nodes[index].hash,
            weight: nodes[index].weight,
            index: index as u32,
        });
        let live: Box<[_]> = live.collect();
        let is_even = live.windows(2).all(|pair| pair[0].weight == pair[1].weight);
        let placement = match replicas {
            Some(replicas) => Placement::Ring(Ring::new(&nodes, replicas)),
            None => Placement::Rendezvous { is_even },
        };
        Self {
            nodes: nodes.into(),
            live,
            placement,
        }
    }

    pub(super) fn spot(&self, key: &[u8]) -> Spot {
        match self.placement {
            Placement::Rendezvous { .. } => Spot::new(score::of_key(key)),
            Placement::Ring(_) => Spot(ring::of_key(key)),
        }
    }

    /// Where the request of that number stands, which has no key: anywhere, so that all together are spread by weight.
    pub(super) fn anywhere(number: u64) -> Spot {
        Spot::new(mix(number.wrapping_add(0x9e37_79b9_7f4a_7c15)))
    }

    /// The node to which `spot` belongs, if any has a weight.
    pub(super) fn first(&self, spot: Spot) -> Option<&Arc<Node>> {
        let index = match &self.placement {
            Placement::Rendezvous { is_even: true } => {
                let hashes = self
                    .live
                    .iter()
                    .map(|live| score::hash(spot.upper(), live.hash));
                let best = |best: (u64, usize), (at, hash)| match hash > best.0 {
                    true => (hash, at),
                    false => best,
                };
                let (_, at) = hashes.enumerate().fold((0, 0), best);
                self.live.get(at)?.index as usize
            }
            Placement::Rendezvous { is_even: false } => {
                let first = |a: Draw, b: Draw| if b.is_before(&a) { b } else { a };
                self.drawn(spot).reduce(first)?.index()
            }
            Placement::Ring(ring) => ring.from(spot.0).next()?,
        };
        Some(&self.nodes[index])
    }

    /// All nodes that have a weight, beginning with the one to which `spot` belongs; each next one is where it would belong
    /// without those before.
    pub(super) fn order(&self, spot: Spot) -> Vec<Arc<Node>> {
        match &self.placement {
            Placement::Rendezvous { .. } => {
                let mut drawn: Vec<_> = self.drawn(spot).collect();
                // Stable, for those that are alike.
                drawn.sort_by(Draw::compare);
                let nodes = drawn.iter().map(|draw| self.nodes[draw.index()].clone());
                nodes.collect()
            }
            Placement::Ring(ring) => {
                let count = self.live.len();
                let mut is_there = vec![false; self.nodes.len()];
                let first_points = ring
                    .from(spot.0)
                    .filter(|&index| !std::mem::replace(&mut is_there[index], true));
                first_points
                    .take(count)
                    .map(|index| self.nodes[index].clone())
                    .collect()
            }
        }
    }

    fn drawn(&self, spot: Spot) -> impl Iterator<Item = Draw> {
        let draw = move |live: &Live| Draw::new(spot.upper(), live.hash, live.weight, live.index);
        self.live.iter().map(draw)
    }
}
