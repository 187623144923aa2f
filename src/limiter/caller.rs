//! One who waits for something that more than one ticket decides.

use super::Wake;
use crate::park::Sleeper;
use crate::sync::{AcqRel, Acquire, Arc, AtomicU32, Release};
use std::time::Duration;

/// The one who waits, as the limiters call it.
pub(crate) enum Caller {
    /// Its word changes with every call.
    Thread(Sleeper),
    EventLoop {
        wake: Option<Arc<dyn Wake>>,
        token: u64,
        /// 1 from a look at the ticket until it is called.
        armed: AtomicU32,
    },
}

impl Caller {
    pub(crate) fn thread() -> Self {
        Self::Thread(Sleeper::default())
    }

    pub(crate) fn event_loop(wake: Option<Arc<dyn Wake>>, token: u64) -> Self {
        let armed = AtomicU32::new(0);
        Self::EventLoop { wake, token, armed }
    }

    /// The calls so far, before a look.
    pub(crate) fn heard(&self) -> u32 {
        match self {
            Self::Thread(sleeper) => sleeper.word.load(Acquire),
            Self::EventLoop { armed, .. } => armed.swap(1, AcqRel),
        }
    }

    /// Sleeps unless there was a call after so many.
    pub(crate) fn sleep(&self, heard: u32, wait: Option<Duration>) {
        if let Self::Thread(sleeper) = self {
            sleeper.wait(heard, wait);
        }
    }
}

impl Wake for Caller {
    fn wake(&self, _: u64) {
        match self {
            Self::Thread(sleeper) => {
                sleeper.word.fetch_add(1, Release);
                sleeper.wake();
            }
            Self::EventLoop { wake, token, armed } => {
                if let (1, Some(wake)) = (armed.swap(0, AcqRel), wake) {
                    wake.wake(*token);
                }
            }
        }
    }
}
