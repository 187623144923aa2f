//! A limiter of a map, with a word that says who has it and whether it is still there:
//!
//! ```text
//! pins   63     62                                   0
//!       | dead | handles: 63                          |
//! ```
//!
//! Looking a key up is lock-free: find the entry, count a handle, and if it was not dead, use it. Creating and evicting is done
//! by one thread at a time. It evicts by the exchange *no handles, alive* -> *dead*; from then on nobody gets a handle, so nothing
//! changes any more, and if the limiter turns out to be [as new](Limiter::is_as_new), it goes; else it is let live again. So a
//! limiter that has forgotten nothing is never replaced by one that knows nothing.

use crate::limit::Limit;
use crate::limiter::Limiter;
use crate::sync::{AcqRel, Acquire, Arc, AtomicU64, Relaxed, Release};
use std::ops::Deref;

const DEAD: u64 = 1 << 63;

/// A limiter of a map, by its key. As long as there is one, it stays.
pub struct Keyed {
    entry: Arc<Entry>,
}

pub(super) struct Entry {
    pins: AtomicU64,
    /// Empty for those that are shared.
    pub(super) key: Box<[u8]>,
    pub(super) limiter: Limiter,
}

impl Entry {
    pub(super) fn new(key: &[u8], limiter: Limiter) -> Arc<Self> {
        Arc::new(Self {
            pins: AtomicU64::new(0),
            key: key.into(),
            limiter,
        })
    }

    pub(super) fn pin(self: &Arc<Self>) -> Option<Keyed> {
        if self.pins.fetch_add(1, AcqRel) & DEAD != 0 {
            self.pins.fetch_sub(1, Release);
            return None;
        }
        Some(Keyed {
            entry: self.clone(),
        })
    }

    /// Makes it dead, if nobody has a handle and it is as one new made of `limits`.
    pub(super) fn retire(&self, limits: &[Limit]) -> bool {
        if self
            .pins
            .compare_exchange(0, DEAD, AcqRel, Acquire)
            .is_err()
        {
            return false;
        }
        let goes = self.limiter.is_as_new(limits);
        if !goes {
            self.pins.fetch_and(!DEAD, Release);
        }
        goes
    }
}

impl Deref for Keyed {
    type Target = Limiter;

    fn deref(&self) -> &Limiter {
        &self.entry.limiter
    }
}

impl Keyed {
    /// The limiter, for whoever keeps the handle as well.
    pub(crate) fn limiter(&self) -> Limiter {
        self.entry.limiter.clone()
    }

    /// Whether the limiter is shared with other keys, because there was no room for one more.
    pub fn is_shared(&self) -> bool {
        self.entry.key.is_empty()
    }
}

impl Clone for Keyed {
    fn clone(&self) -> Self {
        // It is not dead, as there is a handle.
        self.entry.pins.fetch_add(1, Relaxed);
        Self {
            entry: self.entry.clone(),
        }
    }
}

impl Drop for Keyed {
    fn drop(&mut self) {
        // What was done with this handle is to be seen by whoever finds that there is none.
        self.entry.pins.fetch_sub(1, Release);
    }
}

impl std::fmt::Debug for Keyed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.entry.limiter.fmt(f)
    }
}
