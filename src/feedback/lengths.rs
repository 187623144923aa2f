//! How much was put out, so that it can be estimated how much will be.

use crate::error::OutOfRange;
use crate::sync::{Mutex, lock_soon};
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};

/// So many buckets double the length: whatever is in one differs by less than a 16th.
const PER_DOUBLING: usize = 16;
const BUCKETS: usize = PER_DOUBLING * 21;
/// Odd, so that a single one at either end is forgotten when the counts are halved.
const HALVED_AT: u8 = u8::MAX;

/// What to expect as output: quantiles of the output lengths that were seen, by key and model.
///
/// For providers that charge what was really put out ([`Settlement::Actual`](super::Settlement::Actual)). Whoever reserves
/// `max_tokens` with them, and uses a tenth of it, has most of the limit lie idle until the answers are there. Where the provider
/// itself reserves `max_tokens`, reserve that: a smaller estimate would be refused.
///
/// What was seen is forgotten by halves: lengths count half as much for every 128 that come after them, first when there are
/// 255. Nothing of the names is kept but a fingerprint of 128 bits; they may be anything, of any length.
///
/// Thread-safe, by a lock that is held for about a microsecond. Takes some 450 bytes for each pair of key and model, and for each model.
///
/// ```
/// use llmrl::feedback::{Charging, Lengths, Output, Request};
///
/// let lengths = Lengths::new(1_000)?;
/// assert_eq!(lengths.estimate("key", "model", 900, Some(4_096))?, Some(4_096));
/// for output in 1..=100 {
///     lengths.record("key", "model", output);      // when the permit is settled
/// }
/// // 90, or a 16th more.
/// assert_eq!(lengths.estimate("key", "model", 900, Some(4_096))?, Some(91));
/// let expected = lengths.estimate("key", "model", 900, None)?.unwrap_or(1_024);
/// let rule = Charging { output: Output::Expected, ..Charging::ANTHROPIC };
/// let request = Request { prompt: 1_200, expected, ..Request::default() };
/// assert_eq!(rule.reserve(&request), llmrl::Cost::tokens(1_200, 91));
/// # Ok::<(), llmrl::OutOfRange>(())
/// ```
pub struct Lengths {
    /// Random, so that nobody can find two names with one fingerprint.
    hashers: [RandomState; 2],
    seen: Mutex<Seen>,
}

impl Lengths {
    /// So many lengths have to be seen of a key and model, of a model, or of everything, before they are believed.
    pub const ENOUGH: u64 = 20;
    /// Longer ones count as long as this, 2^24 - 1 tokens.
    pub const LONGEST: u64 = (1 << 24) - 1;
    /// The most names.
    pub const MAX_NAMES: u64 = 1 << 20;

    /// Remembers up to `names` pairs of key and model, and as many models. When there are more, the one makes room of which nothing
    /// was recorded for longest.
    ///
    /// # Errors
    /// `names` outside 1 to [`MAX_NAMES`](Self::MAX_NAMES).
    pub fn new(names: u64) -> Result<Self, OutOfRange> {
        OutOfRange::check("names", names, 1, Self::MAX_NAMES)?;
        Ok(Self {
            hashers: [RandomState::new(), RandomState::new()],
            seen: Mutex::new(Seen {
                everything: Histogram::default(),
                models: Table::new(names),
                pairs: Table::new(names),
            }),
        })
    }

    /// An answer of `model` to `key` had so many output tokens; to be called when its permit is settled. Takes time in proportion
    /// to the size of the names, and allocates for new ones. Lost if another thread was stopped inside.
    pub fn record(&self, key: impl AsRef<[u8]>, model: impl AsRef<[u8]>, output_tokens: u64) {
        let (pair, model) = self.names(key.as_ref(), model.as_ref());
        let bucket = bucket(output_tokens);
        if let Some(mut seen) = lock_soon(&self.seen) {
            seen.everything.add(bucket);
            seen.models.recorded(model).add(bucket);
            seen.pairs.recorded(pair).add(bucket);
        }
    }

    /// The length that `permille` of 1000 answers of `model` to `key` did not exceed, at most a 16th more than it was; never more
    /// than `max_tokens`.
    ///
    /// If less than [`ENOUGH`](Self::ENOUGH) answers were seen, those of the model to all keys tell; if of that less than enough, all
    /// answers; if there are none, it is `max_tokens`. `None` if that is not given either. Takes time in proportion to the size of the
    /// names, and changes nothing.
    ///
    /// # Errors
    /// `permille` outside 1 to 1000.
    pub fn estimate(
        &self,
        key: impl AsRef<[u8]>,
        model: impl AsRef<[u8]>,
        permille: u32,
        max_tokens: Option<u64>,
    ) -> Result<Option<u64>, OutOfRange> {
        OutOfRange::check("permille", permille.into(), 1, 1_000)?;
        let (pair, model) = self.names(key.as_ref(), model.as_ref());
        let seen = lock_soon(&self.seen).and_then(|seen| {
            let levels = [seen.pairs.get(pair), seen.models.get(model)];
            let mut levels = levels.into_iter().flatten().chain([&seen.everything]);
            let histogram = levels.find(|histogram| u64::from(histogram.total) >= Self::ENOUGH)?;
            Some(histogram.quantile(permille))
        });
        let most = max_tokens.unwrap_or(u64::MAX);
        Ok(seen.map(|length| length.min(most)).or(max_tokens))
    }

    fn names(&self, key: &[u8], model: &[u8]) -> (u128, u128) {
        let fingerprint = |state: fn(&RandomState, &[u8], &[u8]) -> u64| {
            self.hashers.iter().fold(0, |bits, hasher| {
                bits << 64 | u128::from(state(hasher, key, model))
            })
        };
        (
            // A slice is hashed with its length, so no two pairs run into one.
            fingerprint(|hasher, key, model| hasher.hash_one((key, model))),
            fingerprint(|hasher, _, model| hasher.hash_one(model)),
        )
    }
}

struct Seen {
    everything: Histogram,
    models: Table,
    pairs: Table,
}

/// Histograms by the fingerprint of their name, at most so many.
struct Table {
    most: usize,
    entries: HashMap<u128, Entry>,
    /// Names by when they were last recorded.
    order: BTreeMap<u64, u128>,
    records: u64,
}

#[derive(Default)]
struct Entry {
    recorded: u64,
    /// Apart, so that a table that grows need not move them.
    histogram: Box<Histogram>,
}

impl Table {
    fn new(most: u64) -> Self {
        Self {
            most: most as usize,
            entries: HashMap::new(),
            order: BTreeMap::new(),
            records: 0,
        }
    }

    fn get(&self, name: u128) -> Option<&Histogram> {
        self.entries.get(&name).map(|entry| &*entry.histogram)
    }

    fn recorded(&mut self, name: u128) -> &mut Histogram {
        if let Some(entry) = self.entries.get(&name) {
            self.order.remove(&entry.recorded);
        } else if self.entries.len() == self.most
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.entries.remove(&oldest);
        }
        self.records += 1;
        self.order.insert(self.records, name);
        let entry = self.entries.entry(name).or_default();
        entry.recorded = self.records;
        &mut entry.histogram
    }
}

/// How often each length was seen.
struct Histogram {
    counts: [u8; BUCKETS],
    total: u8,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: [0; BUCKETS],
            total: 0,
        }
    }
}

impl Histogram {
    fn add(&mut self, bucket: usize) {
        self.counts[bucket] += 1;
        self.total += 1;
        if self.total == HALVED_AT {
            self.halve();
        }
    }

    /// Halves how many there are up to each length, rather than each count: many buckets of one are half as many then, not
    /// all or none.
    fn halve(&mut self) {
        let mut odd = 0;
        for count in &mut self.counts {
            let sum = u16::from(*count) + odd;
            (*count, odd) = ((sum / 2) as u8, sum % 2);
        }
        self.total /= 2;
    }

    /// The longest that is in the bucket where so many of 1000 are reached.
    fn quantile(&self, permille: u32) -> u64 {
        let rank = (u32::from(self.total) * permille).div_ceil(1_000).max(1);
        let mut up_to = 0;
        let reached = self.counts.iter().position(|&count| {
            up_to += u32::from(count);
            up_to >= rank
        });
        reached.map_or(0, longest_in)
    }
}

/// Lengths below 32 have a bucket each; then 16 are as wide as the length has bits more.
///
/// ```text
/// bucket   0 ..  31   32      33         47      48         335
/// length   0 ..  31   32-33   34-35 ..   62-63   64-67 ..   2^24 - 2^19 to 2^24 - 1
/// ```
fn bucket(length: u64) -> usize {
    let length = length.min(Lengths::LONGEST);
    let shift = (length | PER_DOUBLING as u64).ilog2() - PER_DOUBLING.ilog2();
    shift as usize * PER_DOUBLING + (length >> shift) as usize
}

fn longest_in(bucket: usize) -> u64 {
    let shift = (bucket / PER_DOUBLING).saturating_sub(1);
    let top = bucket - shift * PER_DOUBLING;
    ((top as u64 + 1) << shift) - 1
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::iter::repeat_n;

    fn of(lengths: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        histogram.extend(lengths);
        histogram
    }

    impl Extend<u64> for Histogram {
        fn extend<T: IntoIterator<Item = u64>>(&mut self, lengths: T) {
            lengths
                .into_iter()
                .for_each(|length| self.add(bucket(length)));
        }
    }

    /// Lengths as they come, and the edges of buckets.
    fn length() -> impl Strategy<Value = u64> {
        let edge = (0..24u32, 0..=2u64).prop_map(|(bits, more)| (1 << bits) + more - 1);
        prop_oneof![0..=40u64, 0..=5_000u64, edge, 0..=Lengths::LONGEST]
            .prop_map(|length| length.min(Lengths::LONGEST))
    }

    #[test]
    fn buckets_follow_each_other() {
        let mut next = 0;
        for at in 0..BUCKETS {
            assert_eq!(
                (bucket(next), bucket(longest_in(at))),
                (at, at),
                "from {next}"
            );
            next = longest_in(at) + 1;
        }
        assert_eq!(next, Lengths::LONGEST + 1);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    proptest! {
        #[test]
        fn a_sixteenth_at_most(mut lengths in vec(length(), 1..usize::from(HALVED_AT)), permille in 1..=1_000u32) {
            let estimate = of(lengths.iter().copied()).quantile(permille);
            lengths.sort_unstable();
            let exact = lengths[(lengths.len() * permille as usize).div_ceil(1_000) - 1];
            prop_assert!((exact..=exact + exact / 16).contains(&estimate), "{estimate} for {exact}");
        }

        /// The reference halves the weight of each length; the counts are whole, so they lack less than 2 of it.
        #[test]
        fn the_newest_count_most(lengths in vec(length(), 255..900), permille in 1..=1_000u32) {
            let estimate = of(lengths.iter().copied()).quantile(permille);
            let (mut total, mut weights) = (0u32, Vec::new());
            for length in lengths {
                weights.push((length, 1.0));
                total += 1;
                if total == 255 {
                    total = 127;
                    weights.iter_mut().for_each(|(_, weight)| *weight /= 2.0);
                }
            }
            let weight_of = |counts: &dyn Fn(u64) -> bool| -> f64 {
                weights.iter().filter(|(length, _)| counts(*length)).map(|(_, weight)| weight).sum()
            };
            let rank = f64::from((total * permille).div_ceil(1_000));
            prop_assert!(weight_of(&|length| length <= estimate) >= rank);
            prop_assert!(weight_of(&|length| length + length / 16 < estimate) < rank + 2.0);
        }

        #[test]
        fn a_shift_is_followed(short in 0..1_000u64, more in 100..100_000u64, before in 20..700usize) {
            let long = short * 2 + more;
            let mut lengths = of(repeat_n(short, before));
            lengths.extend(repeat_n(long, 29));
            prop_assert!(lengths.quantile(900) >= long, "a tenth of what counts is longer");
            let mut lengths = of(repeat_n(long, before));
            lengths.extend(repeat_n(short, 4 * 128));
            prop_assert!(lengths.quantile(900) < long, "nine tenths of it are shorter");
            lengths.extend(repeat_n(short, 4 * 128));
            prop_assert!(lengths.quantile(1_000) < long, "all of the longer ones are forgotten");
        }

        #[test]
        fn never_above_max_tokens(length: u64, max_tokens: u64, seen in 0..40u64, permille in 1..=1_000u32) {
            let lengths = Lengths::new(1).unwrap();
            (0..seen).for_each(|_| lengths.record("key", "model", length));
            let estimate = lengths.estimate("key", "model", permille, Some(max_tokens)).unwrap().unwrap();
            prop_assert!(estimate <= max_tokens);
            prop_assert!(seen >= Lengths::ENOUGH || estimate == max_tokens);
        }

        #[test]
        fn names_are_any_bytes(key in vec(any::<u8>(), 0..40), model in vec(any::<u8>(), 0..40), cut in 0..40usize) {
            let lengths = Lengths::new(100).unwrap();
            (0..20).for_each(|_| lengths.record(&key, &model, 7));
            // The same bytes, parted elsewhere.
            let joined = [&key[..], &model].concat();
            let (other_key, other_model) = joined.split_at(cut.min(joined.len()));
            if other_key != key {
                (0..20).for_each(|_| lengths.record(other_key, other_model, 9));
            }
            prop_assert_eq!(lengths.estimate(&key, &model, 1_000, None).unwrap(), Some(7));
        }
    }

    #[test]
    fn a_single_one_is_forgotten_at_either_end() {
        for (one, permille) in [(1, 1), (1_000_000, 1_000)] {
            let mut lengths = of([one]);
            lengths.extend(repeat_n(100, 253));
            assert_eq!(bucket(lengths.quantile(permille)), bucket(one));
            lengths.extend([100]);
            assert_eq!(bucket(lengths.quantile(permille)), bucket(100));
        }
    }

    #[test]
    fn from_the_pair_to_its_model_to_everything() {
        let lengths = Lengths::new(10).unwrap();
        let estimate = |key, model| lengths.estimate(key, model, 500, None).unwrap();
        (0..19).for_each(|_| lengths.record("a", "m", 1));
        assert_eq!(estimate("a", "m"), None);
        (0..30).for_each(|_| lengths.record("b", "m", 2));
        assert_eq!(estimate("a", "m"), Some(2), "of all keys of the model");
        lengths.record("a", "m", 1);
        assert_eq!(estimate("a", "m"), Some(1), "20 are enough");
        (0..100).for_each(|_| lengths.record("b", "n", 3));
        assert_eq!(estimate("a", "n"), Some(3));
        assert_eq!(estimate("c", "o"), Some(3), "of everything");
        assert_eq!(estimate("a", "m"), Some(1));
    }

    #[test]
    fn the_one_that_was_not_recorded_for_longest_makes_room() {
        let lengths = Lengths::new(10).unwrap();
        let estimate = |key: u64| {
            let key = key.to_ne_bytes();
            lengths.estimate(key, "m", 500, None).unwrap()
        };
        for key in 0..100u64 {
            for _ in 0..20 {
                lengths.record(key.to_ne_bytes(), "m", 1_000 + 100 * key);
                lengths.record(0u64.to_ne_bytes(), "m", 5);
            }
        }
        let seen = lock_soon(&lengths.seen).unwrap();
        assert_eq!((seen.pairs.entries.len(), seen.pairs.order.len()), (10, 10));
        assert_eq!((seen.models.entries.len(), seen.models.order.len()), (1, 1));
        drop(seen);
        assert_eq!(estimate(0), Some(5), "recorded all the time");
        let of_model = estimate(1_000);
        for key in 1..91 {
            assert_eq!(estimate(key), of_model, "of {key} nothing is left");
        }
        for key in 91..100 {
            let length = 1_000 + 100 * key;
            assert!((length..=length + length / 16).contains(&estimate(key).unwrap()));
        }
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        for names in [0, Lengths::MAX_NAMES + 1, u64::MAX] {
            let error = Lengths::new(names).err().unwrap();
            assert_eq!(
                error.to_string(),
                format!("names = {names} is outside 1..=1048576")
            );
        }
        for permille in [0, 1_001, u32::MAX] {
            let lengths = Lengths::new(1).unwrap();
            let error = lengths.estimate("", "", permille, Some(1)).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("permille = {permille} is outside 1..=1000")
            );
        }
    }

    #[test]
    fn all_threads_are_heard() {
        let lengths = Lengths::new(4).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let lengths = &lengths;
                scope.spawn(move || {
                    for _ in 0..100 {
                        lengths.record(thread.to_ne_bytes(), "m", thread);
                    }
                });
            }
        });
        for thread in 0..4u64 {
            let estimate = lengths.estimate(thread.to_ne_bytes(), "m", 900, None);
            assert_eq!(estimate.unwrap(), Some(thread));
        }
    }
}
