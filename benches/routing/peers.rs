//! Other placements, as small as they can be: for comparison only.

use super::{Placement, number};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The recipe's: MD5 of "name:i", and a look at each point until one is not below the key's.
pub struct SeedRing(Vec<(u128, u32)>);

impl Placement for SeedRing {
    fn of(names: &[String]) -> Self {
        let points = names.iter().flat_map(|name| {
            let point = move |i| u128::from_be_bytes(md5::compute(format!("{name}:{i}")).0);
            (0..100).map(move |i| (point(i), number(name.as_bytes())))
        });
        let mut points: Vec<_> = points.collect();
        points.sort_unstable();
        Self(points)
    }

    fn node(&self, key: &[u8]) -> u32 {
        let hash = u128::from_be_bytes(md5::compute(key).0);
        let found = self.0.iter().find(|(point, _)| hash <= *point);
        found.unwrap_or(&self.0[0]).1
    }
}

/// Lamping and Veach, 2014. It knows nodes by their place in the list only.
pub struct Jump(Vec<u32>);

impl Placement for Jump {
    fn of(names: &[String]) -> Self {
        Self(names.iter().map(|name| number(name.as_bytes())).collect())
    }

    fn node(&self, key: &[u8]) -> u32 {
        let (mut seed, mut at, mut next) = (xxh3_64(key), 0, 0);
        while next < self.0.len() as i64 {
            at = next;
            seed = seed.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
            next = ((at + 1) as f64 * ((1u64 << 31) as f64 / ((seed >> 33) + 1) as f64)) as i64;
        }
        self.0[at as usize]
    }
}

/// Eisenbud and others, 2016: nodes take entries of a table in turn, each in an order of its own.
pub struct Maglev(Vec<u32>);

const ENTRIES: usize = 65_537;

impl Placement for Maglev {
    fn of(names: &[String]) -> Self {
        let draw = |name: &String, seed| xxh3_64_with_seed(name.as_bytes(), seed) as usize;
        let mut at: Vec<usize> = names.iter().map(|name| draw(name, 0) % ENTRIES).collect();
        let skip: Vec<usize> = names
            .iter()
            .map(|name| draw(name, 1) % (ENTRIES - 1) + 1)
            .collect();
        let mut entries = vec![u32::MAX; ENTRIES];
        let mut left = ENTRIES;
        for node in (0..names.len()).cycle() {
            while entries[at[node]] != u32::MAX {
                at[node] = (at[node] + skip[node]) % ENTRIES;
            }
            entries[at[node]] = number(names[node].as_bytes());
            left -= 1;
            if left == 0 {
                break;
            }
        }
        Self(entries)
    }

    fn node(&self, key: &[u8]) -> u32 {
        self.0[(xxh3_64(key) % ENTRIES as u64) as usize]
    }
}
