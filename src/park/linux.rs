//! Futex: wait and wake by atomic-wait, and a wait with a deadline, which that crate does not have.

use crate::sync::AtomicU32;
use std::ptr;
use std::time::Duration;

/// See the [module](super).
#[derive(Default)]
pub(crate) struct Sleeper {
    pub(crate) word: AtomicU32,
}

impl Sleeper {
    /// Sleeps while the word is `expected`: until woken, or for `timeout` at most.
    pub(crate) fn wait(&self, expected: u32, timeout: Option<Duration>) {
        match timeout {
            None => atomic_wait::wait(&self.word, expected),
            Some(timeout) => self.wait_until(expected, deadline(timeout)),
        }
    }

    /// An absolute deadline, so that a signal in the middle costs no precision: the caller computes its
    /// sleep once and the kernel holds it.
    fn wait_until(&self, expected: u32, deadline: libc::timespec) {
        loop {
            // SAFETY: the word outlives the call, and the kernel only compares it; the timespec is a
            // valid local. FUTEX_WAIT_BITSET takes its timeout as absolute CLOCK_MONOTONIC.
            let status = unsafe {
                libc::syscall(
                    libc::SYS_futex,
                    ptr::from_ref(&self.word),
                    libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG,
                    expected,
                    ptr::from_ref(&deadline),
                    ptr::null::<u32>(),
                    libc::FUTEX_BITSET_MATCH_ANY,
                )
            };
            if status == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
                return;
            }
        }
    }

    pub(crate) fn wake(&self) {
        atomic_wait::wake_one(&self.word);
    }
}

fn deadline(timeout: Duration) -> libc::timespec {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is a valid place for the answer, and CLOCK_MONOTONIC always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    let nanos = now.tv_nsec + libc::c_long::from(timeout.subsec_nanos() as i32);
    libc::timespec {
        tv_sec: now
            .tv_sec
            .saturating_add(timeout.as_secs().min(i32::MAX as u64) as libc::time_t)
            .saturating_add(nanos / 1_000_000_000),
        tv_nsec: nanos % 1_000_000_000,
    }
}
