//! What all limiters of a map come to.

use super::LimiterMap;
use crate::limiter::Stats;
use crate::sync::lock;

/// How a map stands, and who uses it most. See [`LimiterMap::snapshot`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct MapStats {
    /// Keys with a limiter of their own.
    pub keys: usize,
    /// Shared limiters that are in use.
    pub shared: usize,
    /// Limiters that were ever made.
    pub created: u64,
    /// Limiters that were evicted.
    pub evictions: u64,
    /// Keys that were refused because the map was full.
    pub full: u64,
    /// Requests admitted by all limiters, the evicted ones included.
    pub granted: u64,
    /// Requests refused by all limiters.
    pub refused: u64,
    /// Who waits now, at all of them.
    pub waiting: u64,
    /// What is in flight now.
    pub in_flight: u64,
    /// The keys with most requests admitted since their limiter was made, most first.
    pub top_by_use: Vec<(Box<[u8]>, Stats)>,
    /// The keys with most waiting now, most first; only those with any.
    pub top_by_waiting: Vec<(Box<[u8]>, Stats)>,
}

impl LimiterMap {
    /// How the map stands, with the `top` keys by use and by waiting. Looks at every limiter, a hundred nanoseconds each, while
    /// no key can be created; looking keys up goes on.
    pub fn snapshot(&self, top: usize) -> MapStats {
        let making = lock(&self.making);
        let mut all: Vec<_> = making
            .entries
            .iter()
            .map(|entry| (entry, entry.limiter.stats()))
            .collect();
        let shared: Vec<_> = making
            .shared
            .iter()
            .flatten()
            .map(|entry| entry.limiter.stats())
            .collect();
        let mut stats = MapStats {
            keys: all.len(),
            shared: shared.len(),
            created: making.created,
            evictions: making.evictions,
            full: making.refused,
            granted: making.granted,
            refused: making.denied,
            ..MapStats::default()
        };
        for one in all.iter().map(|(_, stats)| stats).chain(&shared) {
            stats.granted += one.granted;
            stats.refused += one.refused;
            stats.waiting += one.waiting;
            stats.in_flight += one.in_flight;
        }
        let mut most = |count: fn(&Stats) -> u64| {
            let top = top.min(all.len());
            if top > 0 {
                all.select_nth_unstable_by_key(top - 1, |(_, stats)| {
                    std::cmp::Reverse(count(stats))
                });
            }
            let mut first: Vec<_> = all[..top]
                .iter()
                .filter(|(_, stats)| count(stats) > 0)
                .map(|(entry, stats)| (entry.key.clone(), *stats))
                .collect();
            first.sort_by_key(|(_, stats)| std::cmp::Reverse(count(stats)));
            first
        };
        stats.top_by_use = most(|stats| stats.granted);
        stats.top_by_waiting = most(|stats| stats.waiting);
        stats
    }
}
