//! The one door to shared memory: std's primitives, or those of a model checker.
//!
//! Everything that two threads can touch is reached through this module, so that `--cfg loom` and
//! `--cfg shuttle` see every access. Orderings in this crate are `Acquire`, `Release`, `AcqRel` and,
//! for hints and statistics, `Relaxed`. There is no `SeqCst` access and no fence: neither ThreadSanitizer
//! nor loom follows those faithfully, and the protocol needs none (see ARCHITECTURE.md).

#[cfg(not(any(loom, shuttle)))]
mod imp {
    #[cfg(any(not(target_os = "linux"), llmrl_portable))]
    pub(crate) use std::sync::Condvar;
    pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64};
    pub(crate) use std::sync::{Arc, Mutex, MutexGuard, Weak};
}

#[cfg(loom)]
mod imp {
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64};
    pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
    // loom's Arc has no Weak; the counts of these handles are no part of any protocol here.
    pub(crate) use std::sync::{Arc, Weak};
}

#[cfg(shuttle)]
mod imp {
    pub(crate) use shuttle::sync::atomic::{AtomicU32, AtomicU64};
    pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};
    pub(crate) use std::sync::{Arc, Weak};
}

pub(crate) use imp::*;
pub(crate) use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

/// Locks a mutex whose critical sections cannot leave broken state behind, so a poisoned one is as good as any.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Locks a mutex that is never held for more than some microseconds; not if a thread that was stopped while it held it
/// keeps everybody out.
#[cfg(not(any(loom, shuttle)))]
pub(crate) fn lock_soon<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    const PATIENCE: usize = 10_000;
    (0..PATIENCE).find_map(|_| match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(std::sync::TryLockError::WouldBlock) => {
            std::hint::spin_loop();
            None
        }
    })
}

/// The checkers' threads do not stop.
#[cfg(any(loom, shuttle))]
pub(crate) fn lock_soon<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    Some(lock(mutex))
}

/// Tells a model checker that this thread waits for another one's step.
#[inline(always)]
pub(crate) fn pause() {
    #[cfg(loom)]
    loom::thread::yield_now();
    #[cfg(shuttle)]
    shuttle::thread::yield_now();
}

/// `len` zeroed 64-bit atomics.
///
/// The queue of a limiter is sized for its worst case; memory that comes zeroed from the system is not
/// resident until it is first written, so a large bound costs address space and nothing else.
pub(crate) fn zeroed(len: usize) -> Box<[AtomicU64]> {
    #[cfg(not(any(loom, shuttle)))]
    {
        let words = Box::into_raw(vec![0u64; len].into_boxed_slice());
        // SAFETY: AtomicU64 has the size, alignment and bit validity of u64, and the box came from
        // `into_raw`, so it is handed over whole.
        unsafe { Box::from_raw(words as *mut [AtomicU64]) }
    }
    #[cfg(any(loom, shuttle))]
    {
        (0..len).map(|_| AtomicU64::new(0)).collect()
    }
}
