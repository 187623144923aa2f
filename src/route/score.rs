//! Weighted rendezvous: every node draws a number for every key, and the smallest number wins.
//!
//! A node of weight `w` draws `-log(u) / w`, an exponential variate of rate `w`, so it wins with probability `w` in the sum of
//! all weights; and since no node's number depends on the others, a change of one node moves only keys to it or from it.
//! What follows is exact, in integers, for it is a promise: the same key belongs to the same node on every machine, in every
//! language, in every version. `tests/routing/vectors.json` holds it.
//!
//! ```text
//! h    = mix(XXH3_64(key) xor XXH3_64(name, seed 1))      the finaliser of SplitMix64; 0 counts as 1
//! T[i] = floor(2^40 log2(1 + i / 1024))                   i = 0..=1024
//! cost = 64 - log2(h), in 2^-57: log2 is exact at the 1024 points of T and linear between them
//!
//! a before b:   cost_a * weight_b < cost_b * weight_a,  then the larger h,  then the smaller name
//! ```
//!
//! The straight lines are at most 2^-22.4 below the logarithm. Where it would show, near `h = 2^64`, they make the numbers of all nodes
//! longer by one factor, so no share is off by more than 1 in 4000 of itself, whatever the weights.

use std::cmp::Ordering;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

pub(super) fn of_key(key: &[u8]) -> u64 {
    xxh3_64(key)
}

pub(super) fn of_name(name: &[u8]) -> u64 {
    xxh3_64_with_seed(name, 1)
}

/// The finaliser of SplitMix64: a bijection in which every bit of `x` changes half of the others.
#[inline(always)]
pub(super) fn mix(x: u64) -> u64 {
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// Of a key at a node. Never 0.
#[inline(always)]
pub(super) fn hash(key: u64, name: u64) -> u64 {
    mix(key ^ name).max(1)
}

/// What the node of that index has drawn for a key.
#[derive(Clone, Copy)]
pub(super) struct Draw {
    hash: u64,
    cost: u64,
    weight: u32,
    index: u32,
}

impl Draw {
    #[inline]
    pub(super) fn new(key: u64, name: u64, weight: u32, index: u32) -> Self {
        let hash = hash(key, name);
        Self {
            hash,
            cost: (64 << POINT) - log2(hash),
            weight,
            index,
        }
    }

    pub(super) fn index(&self) -> usize {
        self.index as usize
    }

    /// Less is first; equal are those for which the names decide.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        let mine = u128::from(self.cost) * u128::from(other.weight);
        let others = u128::from(other.cost) * u128::from(self.weight);
        mine.cmp(&others).then(other.hash.cmp(&self.hash))
    }

    #[inline]
    pub(super) fn is_before(&self, other: &Self) -> bool {
        self.compare(other) == Ordering::Less
    }
}

const CELL_BITS: u32 = 10;
const CELLS: usize = 1 << CELL_BITS;
/// Of the table, and of what is made of it.
const COARSE_POINT: u32 = 40;
const POINT: u32 = 57;

static LOG: [u64; CELLS + 1] = table();

const fn table() -> [u64; CELLS + 1] {
    let mut table = [1 << COARSE_POINT; CELLS + 1];
    let mut cell = 0;
    while cell < CELLS {
        table[cell] = log2_bits((CELLS + cell) as u64);
        cell += 1;
    }
    table
}

/// The first 40 binary places of `log2(x / 1024)`, for x from 1024 to 2047: squared, a number that is 2 or more has the next place.
const fn log2_bits(x: u64) -> u64 {
    // 1 is 2^63; what each squaring cuts off does not reach the places that are wanted.
    let mut x = x << (63 - CELL_BITS);
    let (mut bits, mut place) = (0, 0);
    while place < COARSE_POINT {
        let square = (x as u128 * x as u128) >> 63;
        let carry = (square >> 64) as u64;
        x = (square >> carry) as u64;
        bits = bits << 1 | carry;
        place += 1;
    }
    bits
}

/// `log2(x)` in 2^-57, for x above 0. Never less for a larger x.
#[inline(always)]
fn log2(x: u64) -> u64 {
    let zeros = x.leading_zeros();
    let mantissa = x << zeros << 1;
    let cell = (mantissa >> (64 - CELL_BITS)) as usize;
    let within = mantissa << CELL_BITS;
    let (low, high) = (LOG[cell], LOG[cell + 1]);
    let step = (high - low) << (POINT - COARSE_POINT);
    let between = (u128::from(step) * u128::from(within)) >> 64;
    (u64::from(63 - zeros) << POINT) + (low << (POINT - COARSE_POINT)) + between as u64
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_logarithm() {
        for (cell, &bits) in LOG.iter().enumerate() {
            let exact = (1.0 + cell as f64 / CELLS as f64).log2() * (1u64 << COARSE_POINT) as f64;
            // A double has twelve places more than the table.
            assert_eq!(bits, (exact + 1e-3).floor() as u64, "{cell}: {exact}");
        }
    }

    #[test]
    fn between_its_points_it_is_nearly_the_logarithm_and_never_above() {
        let unit = (1u64 << POINT) as f64;
        for step in 0..200_000u64 {
            let x = mix(step) >> (step % 64);
            let exact = (x.max(1) as f64).log2();
            let off = exact - log2(x.max(1)) as f64 / unit;
            assert!((-1e-12..1.8e-7).contains(&off), "{x}: off by {off}");
        }
        assert_eq!(
            (log2(1), log2(2), log2(1 << 63)),
            (0, 1 << POINT, 63 << POINT)
        );
    }

    #[test]
    fn it_never_falls() {
        // Where cells meet, and neighbours anywhere.
        let ends = (0..64u32)
            .flat_map(|bit| (0..64).map(move |cell| (1u64 << bit) + ((cell << bit) >> 6)));
        for x in ends
            .chain((0..50_000).map(mix))
            .filter(|&x| x > 1 && x < u64::MAX)
        {
            assert!(log2(x - 1) <= log2(x) && log2(x) <= log2(x + 1), "{x}");
        }
        assert!(log2(u64::MAX) < 64 << POINT);
    }

    /// With equal weights the larger hash is first, which is what `Table` looks at then.
    #[test]
    fn equal_weights_are_decided_by_the_hash() {
        for step in 0..50_000 {
            let (key, names) = (mix(step), [mix(step ^ 1 << 40), mix(step ^ 1 << 41)]);
            let [a, b] = names.map(|name| Draw::new(key, name, 7, 0));
            let by_hash = mix(key ^ names[1]).cmp(&mix(key ^ names[0]));
            assert_eq!(a.compare(&b), by_hash);
        }
        let near = |hash| Draw {
            hash,
            cost: (64 << POINT) - log2(hash),
            weight: 3,
            index: 0,
        };
        assert_eq!(near(u64::MAX).compare(&near(u64::MAX - 1)), Ordering::Less);
    }
}
