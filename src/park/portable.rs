//! A mutex and a condition variable beside the word: for systems without a futex, and as the model of one.

use crate::sync::{Acquire, AtomicU32, Condvar, Mutex, lock};
use std::time::Duration;

/// See the [module](super).
pub(crate) struct Sleeper {
    pub(crate) word: AtomicU32,
    /// Held from the look at the word until asleep, and while waking: no wake falls in between.
    door: Mutex<()>,
    bell: Condvar,
}

impl Default for Sleeper {
    fn default() -> Self {
        Self {
            word: AtomicU32::new(0),
            door: Mutex::new(()),
            bell: Condvar::new(),
        }
    }
}

impl Sleeper {
    pub(crate) fn wait(&self, expected: u32, timeout: Option<Duration>) {
        let door = lock(&self.door);
        if self.word.load(Acquire) != expected {
            return;
        }
        match timeout {
            // The checkers' condition variables never time out. Their models run on the manual clock,
            // whose `advance` wakes whoever's time has come.
            Some(timeout) if cfg!(not(any(loom, shuttle))) => {
                drop(self.bell.wait_timeout(door, timeout))
            }
            _ => drop(self.bell.wait(door)),
        }
    }

    pub(crate) fn wake(&self) {
        let _door = lock(&self.door);
        self.bell.notify_one();
    }
}
