//! The bare in-flight limit: how many are inside, and how many may be, in one word.

use super::Limit;
use crate::error::OutOfRange;
use crate::sync::{AcqRel, Acquire, AtomicU64};
use crossbeam_utils::CachePadded;

/// A limit on what goes on at the same time, by itself: no queue, no waiting.
///
/// ```text
/// 63          32 31          0
/// | limit: 32   | count: 32  |
/// ```
///
/// Thread-safe. One compare-exchange to enter, one to leave; a refusal writes nothing.
///
/// ```
/// let limit = llmrl::InFlight::new(2)?;
/// assert!(limit.try_enter() && limit.try_enter());
/// assert!(!limit.try_enter());
/// limit.resize(1)?;                  // nobody is thrown out
/// assert!(limit.leave());
/// assert!(!limit.try_enter());       // one is still inside
/// assert!(limit.leave());
/// assert!(!limit.leave());           // nobody is inside
/// # Ok::<(), llmrl::OutOfRange>(())
/// ```
pub struct InFlight {
    word: CachePadded<AtomicU64>,
}

const COUNT: u64 = u32::MAX as u64;

impl InFlight {
    /// # Errors
    /// `limit` outside 1 to [`Limit::MAX_IN_FLIGHT`].
    pub fn new(limit: u64) -> Result<Self, OutOfRange> {
        Self::check(limit)?;
        Ok(Self {
            word: CachePadded::new(AtomicU64::new(limit << 32)),
        })
    }

    pub(crate) fn check(limit: u64) -> Result<(), OutOfRange> {
        OutOfRange::check("in flight", limit, 1, Limit::MAX_IN_FLIGHT)
    }

    fn update(&self, next: impl Fn(u64) -> Option<u64>) -> bool {
        let mut word = self.word.load(Acquire);
        while let Some(value) = next(word) {
            match self.word.compare_exchange(word, value, AcqRel, Acquire) {
                Ok(_) => return true,
                Err(seen) => word = seen,
            }
        }
        false
    }

    /// Goes in if there is room.
    #[inline]
    #[must_use = "who is refused must not go on"]
    pub fn try_enter(&self) -> bool {
        self.update(|word| (word & COUNT < word >> 32).then_some(word + 1))
    }

    /// Goes out; `false` if nobody is inside, which is an error of the caller's and changes nothing.
    #[inline]
    pub fn leave(&self) -> bool {
        self.update(|word| (word & COUNT > 0).then(|| word - 1))
    }

    /// Another limit from now on. Below the present count it throws nobody out and lets nobody in.
    ///
    /// # Errors
    /// `limit` outside 1 to [`Limit::MAX_IN_FLIGHT`].
    pub fn resize(&self, limit: u64) -> Result<(), OutOfRange> {
        Self::check(limit)?;
        self.update(|word| Some(limit << 32 | word & COUNT));
        Ok(())
    }

    /// How many are inside.
    pub fn count(&self) -> u64 {
        self.word.load(Acquire) & COUNT
    }

    /// How many may be inside.
    pub fn limit(&self) -> u64 {
        self.word.load(Acquire) >> 32
    }
}

impl std::fmt::Debug for InFlight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "InFlight({} of {})", self.count(), self.limit())
    }
}
