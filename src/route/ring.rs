//! The ring of virtual nodes: the placement of the recipe that this library began from, to the key.
//!
//! Each node has `replicas` points for each unit of its weight, at the MD5 of `name:0`, `name:1` and so on; a key belongs to the
//! node of the first point that is not before the key's own MD5, or of the first of all.

use super::Node;
use crate::sync::Arc;

pub(super) fn of_key(key: &[u8]) -> u128 {
    u128::from_be_bytes(md5::compute(key).0)
}

/// Points in order, each with the index of its node.
pub(super) struct Ring(Box<[(u128, u32)]>);

impl Ring {
    pub(super) fn new(nodes: &[Arc<Node>], replicas: u32) -> Self {
        let mut points = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            for number in 0..u64::from(node.weight()) * u64::from(replicas) {
                let mut hash = md5::Context::new();
                hash.consume(node.name());
                hash.consume(format!(":{number}"));
                points.push((u128::from_be_bytes(hash.finalize().0), index as u32));
            }
        }
        points.sort_unstable();
        Self(points.into())
    }

    /// The nodes of all points from `hash` on, once around.
    pub(super) fn from(&self, hash: u128) -> impl Iterator<Item = usize> {
        let start = self.0.partition_point(|&(point, _)| point < hash);
        let (before, after) = self.0.split_at(start);
        after.iter().chain(before).map(|&(_, index)| index as usize)
    }
}
