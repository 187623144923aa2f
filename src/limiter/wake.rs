//! Telling an event loop that a ticket should be polled again.

use crate::sync::{Arc, Mutex, lock};
use std::collections::BTreeMap;

/// Called when a ticket should be polled before the time that its last poll has named.
///
/// At most once per `Pending`; from any thread that touches the limiter, with no lock held. It may call the
/// limiter, also to poll the very ticket: a wake that this brings about on the same thread is called after the
/// present one has returned, not inside it. It should be quick: it runs in the middle of somebody's release. A panic in it is reported as
/// any panic is, and goes no further.
pub trait Wake: Send + Sync {
    /// `token` is what [`Limiter::enqueue`](super::Limiter::enqueue) was given. Tolerate a late one: the ticket may be over.
    fn wake(&self, token: u64);
}

/// One who waits with a callback of its own instead of the limiter's.
#[derive(Clone, Copy)]
pub(crate) struct Guest<'a> {
    pub(crate) wake: &'a Arc<dyn Wake>,
    /// What the callback is given; no two of those who share one have the same.
    pub(crate) token: u64,
    /// Whether it stands in the queues of others at the same time, where most of those ahead of it will be admitted.
    pub(crate) is_elsewhere: bool,
}

/// The guests who wait, by slot: their callbacks, and what these are given.
///
/// The lock is held for a look into the map, when such a waiter comes, goes or is woken, and never during a call.
#[derive(Default)]
pub(super) struct Guests(Mutex<BTreeMap<usize, Callee>>);

#[derive(Clone)]
struct Callee {
    wake: Arc<dyn Wake>,
    token: u64,
}

impl Callee {
    fn is(&self, guest: Guest<'_>) -> bool {
        Arc::ptr_eq(&self.wake, guest.wake) && self.token == guest.token
    }
}

impl Guests {
    pub(super) fn enter(&self, slot: usize, guest: Guest<'_>) {
        let (wake, token) = (guest.wake.clone(), guest.token);
        lock(&self.0).insert(slot, Callee { wake, token });
    }

    /// The slot may have another guest by now, which stays.
    pub(super) fn leave(&self, slot: usize, guest: Guest<'_>) {
        let mut guests = lock(&self.0);
        if guests.get(&slot).is_some_and(|callee| callee.is(guest)) {
            guests.remove(&slot);
        }
    }

    pub(super) fn call(&self, slot: usize) {
        let callee = lock(&self.0).get(&slot).cloned();
        if let Some(Callee { wake, token }) = callee {
            call(&wake, token);
        }
    }
}

#[cfg(not(any(loom, shuttle)))]
type Calls = std::collections::VecDeque<(Arc<dyn Wake>, u64)>;

#[cfg(not(any(loom, shuttle)))]
thread_local! {
    /// Wakes that came up while one was being called on this thread; `None` when none is.
    static PUT_OFF: std::cell::RefCell<Option<Calls>> = const { std::cell::RefCell::new(None) };
}

/// Calls `wake`, now or after the one that is being called on this thread: waking ten thousand must not nest.
#[cfg(not(any(loom, shuttle)))]
pub(crate) fn call(wake: &Arc<dyn Wake>, token: u64) {
    // Without thread-local storage, while the thread ends, there is nothing that could be nested.
    let nested = PUT_OFF.try_with(|calls| match calls.borrow_mut().as_mut() {
        Some(calls) => {
            calls.push_back((wake.clone(), token));
            true
        }
        None => false,
    });
    if nested != Ok(true) {
        put_off(|| call_out(wake, token));
    }
}

/// Does `work`, and calls whoever is to be woken meanwhile by this thread after it: for work under a lock that they take, too.
#[cfg(not(any(loom, shuttle)))]
pub(crate) fn put_off<T>(work: impl FnOnce() -> T) -> T {
    let begun = PUT_OFF.try_with(|calls| {
        let mut calls = calls.borrow_mut();
        let is_first = calls.is_none();
        calls.get_or_insert_default();
        is_first
    });
    let _calls = (begun == Ok(true)).then_some(CallsAfter);
    work()
}

/// Dropped, it makes the calls that were put off, also if the work has panicked.
#[cfg(not(any(loom, shuttle)))]
struct CallsAfter;

#[cfg(not(any(loom, shuttle)))]
impl Drop for CallsAfter {
    fn drop(&mut self) {
        while let Some((wake, token)) = next() {
            call_out(&wake, token);
        }
        let _ = PUT_OFF.try_with(|calls| calls.borrow_mut().take());
    }
}

/// A panic stops here: it belongs to somebody else than the caller, whose work for others is not done yet.
#[cfg(not(any(loom, shuttle)))]
fn call_out(wake: &Arc<dyn Wake>, token: u64) {
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| wake.wake(token)));
}

#[cfg(not(any(loom, shuttle)))]
fn next() -> Option<(Arc<dyn Wake>, u64)> {
    PUT_OFF
        .try_with(|calls| calls.borrow_mut().as_mut()?.pop_front())
        .ok()?
}

/// The checkers run all threads of a model on one thread of the system.
#[cfg(any(loom, shuttle))]
pub(crate) fn call(wake: &Arc<dyn Wake>, token: u64) {
    wake.wake(token);
}

#[cfg(any(loom, shuttle))]
pub(crate) fn put_off<T>(work: impl FnOnce() -> T) -> T {
    work()
}
