//! The nodes as they are at one time, and the order in which a key looks at them.

use super::Node;
use super::ring::{self, Ring};
use super::score::{self, Draw, mix};
use crate::sync::Arc;
use std::cmp::Ordering;

/// What never changes; a change makes another one.
pub(super) struct Table {
    /// In the order in which they were added.
    pub(super) nodes: Box<[Arc<Node>]>,
    placement: Placement,
}

enum Placement {
    /// If all weights that are not 0 are the same, hashes can be compared without logarithms.
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
        let placement = match replicas {
            Some(replicas) => Placement::Ring(Ring::new(&nodes, replicas)),
            None => {
                let mut weights = nodes.iter().map(|node| node.weight).filter(|&w| w > 0);
                let first = weights.next();
                let is_even = weights.all(|weight| Some(weight) == first);
                Placement::Rendezvous { is_even }
            }
        };
        let nodes = nodes.into();
        Self { nodes, placement }
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
        match &self.placement {
            Placement::Rendezvous { is_even: true } => {
                let hash = |node: &Node| mix(spot.upper() ^ node.hash).max(1);
                self.live()
                    .max_by(|a, b| hash(a).cmp(&hash(b)).then_with(|| b.name.cmp(&a.name)))
            }
            Placement::Rendezvous { is_even: false } => {
                self.drawn(spot).min_by(before).map(|(_, node)| node)
            }
            Placement::Ring(ring) => ring.from(spot.0).next().map(|index| &self.nodes[index]),
        }
    }

    /// All nodes that have a weight, beginning with the one to which `spot` belongs; each next one is where it would belong
    /// without those before.
    pub(super) fn order(&self, spot: Spot) -> Vec<Arc<Node>> {
        match &self.placement {
            Placement::Rendezvous { .. } => {
                let mut drawn: Vec<_> = self.drawn(spot).collect();
                drawn.sort_unstable_by(before);
                drawn.into_iter().map(|(_, node)| node.clone()).collect()
            }
            Placement::Ring(ring) => {
                let count = self.live().count();
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

    fn drawn(&self, spot: Spot) -> impl Iterator<Item = (Draw, &Arc<Node>)> {
        let draw = move |node: &Node| Draw::new(spot.upper(), node.hash, node.weight);
        self.live().map(move |node| (draw(node), node))
    }

    fn live(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.iter().filter(|node| node.weight > 0)
    }
}

fn before(a: &(Draw, &Arc<Node>), b: &(Draw, &Arc<Node>)) -> Ordering {
    a.0.compare(&b.0).then_with(|| a.1.name.cmp(&b.1.name))
}
