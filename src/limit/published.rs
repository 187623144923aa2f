//! A small block of words that is read often, replaced rarely, and never read half-replaced.

use crate::sync::{Acquire, AtomicU64, Relaxed, Release};

/// `N` words published together: no lock, no allocation, wait-free unless writers are at it.
///
/// Two copies and a generation: readers take the copy of the current parity, the writer fills the other
/// one and then moves the generation on. A reader is disturbed only if *two* publications overlap its
/// read, and it notices: each store of the second one is a `Release` behind the generation of the first.
/// (A seqlock with one copy would stop every reader while its writer is preempted.)
///
/// One writer at a time: callers of [`publish`](Self::publish) hold a lock.
pub(crate) struct TwoCopies<const N: usize> {
    generation: AtomicU64,
    copies: [[AtomicU64; N]; 2],
}

impl<const N: usize> TwoCopies<N> {
    pub(crate) fn new(words: [u64; N]) -> Self {
        Self {
            generation: AtomicU64::new(0),
            copies: [words.map(AtomicU64::new), words.map(AtomicU64::new)],
        }
    }

    #[inline(always)]
    pub(crate) fn read(&self) -> [u64; N] {
        loop {
            let generation = self.generation.load(Acquire);
            let copy = &self.copies[(generation & 1) as usize];
            // Acquire on each word: the second look at the generation must come after all of them.
            let words = std::array::from_fn(|i| copy[i].load(Acquire));
            if self.generation.load(Acquire) == generation {
                return words;
            }
            crate::sync::pause();
        }
    }

    pub(crate) fn publish(&self, words: [u64; N]) {
        let next = self.generation.load(Relaxed) + 1;
        for (word, value) in self.copies[(next & 1) as usize].iter().zip(words) {
            word.store(value, Release);
        }
        self.generation.store(next, Release);
    }
}

#[cfg(not(loom))]
pub(crate) use TwoCopies as Published;
#[cfg(loom)]
pub(crate) use versions::Versions as Published;

/// The same contract in one modelled access, so that the loom models of the protocol spend their
/// schedules on the protocol. `TwoCopies` has a model of its own below.
#[cfg(loom)]
mod versions {
    use crate::sync::{Acquire, AtomicU64, Release};

    pub(crate) struct Versions<const N: usize> {
        latest: AtomicU64,
        // std's mutex is invisible to loom: order comes from `latest` alone.
        all: std::sync::Mutex<Vec<[u64; N]>>,
    }

    impl<const N: usize> Versions<N> {
        pub(crate) fn new(words: [u64; N]) -> Self {
            Self {
                latest: AtomicU64::new(0),
                all: vec![words].into(),
            }
        }

        pub(crate) fn read(&self) -> [u64; N] {
            let version = self.latest.load(Acquire);
            self.all.lock().unwrap()[version as usize]
        }

        pub(crate) fn publish(&self, words: [u64; N]) {
            let version = {
                let mut all = self.all.lock().unwrap();
                all.push(words);
                all.len() as u64 - 1
            };
            self.latest.store(version, Release);
        }
    }
}

#[cfg(all(test, loom))]
mod tests {
    use super::TwoCopies;
    use crate::sync::Arc;

    /// Two publications against a reader: whatever it returns was published as a whole, and never goes back.
    #[test]
    fn a_block_is_read_whole() {
        loom::model(|| {
            let block = Arc::new(TwoCopies::new([0u64, 0]));
            let writer = {
                let block = block.clone();
                loom::thread::spawn(move || (1..=3).for_each(|n| block.publish([n, n])))
            };
            let [a, b] = block.read();
            assert_eq!(a, b);
            let [c, d] = block.read();
            assert_eq!(c, d);
            assert!(c >= a);
            writer.join().unwrap();
        });
    }
}
