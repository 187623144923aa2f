//! Fair shares of one limiter: whose turn it is depends on what each has had, not on who came first.
//!
//! * `turns.rs` whose turn it is: a data structure, without anything that waits
//! * `queue.rs` those who wait, and the one of them who stands in the limiter's queue
//! * `permit.rs` what they get

mod permit;
mod queue;
mod turns;

pub use permit::{FairPermit, FairProgress, FairTicket};

use crate::clock::Alarm;
use crate::error::{OutOfRange, Refused};
use crate::limit::Cost;
use crate::limiter::{Caller, Limiter, Wake, put_off};
use crate::map::MAX_KEY;
use crate::sync::{Arc, Mutex, Weak, lock};
use queue::Queue;
use std::fmt;
use std::time::Duration;
use turns::Account;

/// A limiter that many share, each by weight.
///
/// A limiter's own queue serves who comes first: whoever sends a thousand requests has a thousand places in it. Here each key (a user, a
/// tenant, a job) gets its share, however much it asks for: while keys wait, what they get in tokens is as their weights, to within one
/// request of each. What one does not use goes to the others. Within a key who comes first is served first.
///
/// Requests of the [`Batch`](Class::Batch) class come after all interactive ones, and by shares of their own; one that has waited for
/// [`aging`](FairOptions::aging) counts as interactive. With [`passes`](FairOptions::passes) a small request need not wait for a large one.
///
/// Shares are counted by the estimates, and put right when permits are settled, adjusted or cancelled. Nothing is counted while nobody has to
/// wait. The one whose turn it is stands in the limiter's own queue: who uses the limiter directly is one more who stands there.
///
/// Thread-safe, and cheap to clone; clones are the same queue. Acquiring and settling take a lock, for some hundred nanoseconds; nobody waits
/// or is called under it.
///
/// ```
/// use llmrl::{Cost, FairOptions, FairQueue, Limit, Limiter, Share};
///
/// let provider = Limiter::builder().limit(Limit::tokens(200_000)).build()?;
/// let fair = FairQueue::new(&provider, FairOptions::new())?;
///
/// let alice = Share::new(b"alice")?.weight(3)?;
/// let permit = fair.acquire(&Cost::tokens(1_200, 400), &alice, None)?;
/// permit.settle(&Cost::tokens(1_180, 212))?;
///
/// let nightly = Share::new(b"nightly job")?.batch();
/// fair.acquire(&Cost::tokens(1_200, 400), &nightly, None)?.release();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct FairQueue {
    core: Arc<Core>,
}

struct Core {
    limiter: Limiter,
    queue: Mutex<Queue>,
    wake: Option<Arc<dyn Wake>>,
}

/// Who goes first among those whose turn it could be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Class {
    /// Somebody waits for the answer.
    #[default]
    Interactive = 0,
    /// After all that is interactive; but not for longer than [`FairOptions::aging`], then as if it were.
    Batch = 1,
}

impl Class {
    const COUNT: usize = 2;
}

/// On whose account a request goes.
#[derive(Clone, Copy, Debug)]
pub struct Share<'k> {
    key: &'k [u8],
    weight: u32,
    class: Class,
}

impl<'k> Share<'k> {
    /// Largest weight.
    pub const MAX_WEIGHT: u32 = 1_000_000;

    /// The share of `key`, of 1 to [`MAX_KEY`] bytes, with weight 1, interactive.
    ///
    /// # Errors
    /// The length of the key.
    pub fn new(key: &'k [u8]) -> Result<Self, OutOfRange> {
        OutOfRange::check("key (bytes)", key.len() as u64, 1, MAX_KEY as u64)?;
        let (weight, class) = (1, Class::Interactive);
        Ok(Self { key, weight, class })
    }

    /// 1 to [`MAX_WEIGHT`](Self::MAX_WEIGHT): how much it gets beside others. It counts for this request; others of the same key may
    /// have another one.
    ///
    /// # Errors
    /// A weight out of range.
    pub fn weight(mut self, weight: u32) -> Result<Self, OutOfRange> {
        OutOfRange::check("weight", weight.into(), 1, Self::MAX_WEIGHT.into())?;
        self.weight = weight;
        Ok(self)
    }

    /// In the [`Batch`](Class::Batch) class.
    pub fn batch(mut self) -> Self {
        self.class = Class::Batch;
        self
    }

    fn account(&self) -> Account {
        Account {
            key: self.key.into(),
            weight: self.weight,
            class: self.class,
        }
    }
}

/// How a [`FairQueue`] goes about it.
#[derive(Clone)]
pub struct FairOptions {
    aging: Duration,
    passes: u32,
    max_waiters: usize,
    wake: Option<Arc<dyn Wake>>,
}

impl FairOptions {
    /// Most waiters that can be asked for, 2^20.
    pub const MAX_WAITERS: usize = 1 << 20;

    /// Aging after a minute, no passing, 2^16 waiters.
    pub fn new() -> Self {
        Self {
            aging: Duration::from_secs(60),
            passes: 0,
            max_waiters: 1 << 16,
            wake: None,
        }
    }

    /// After so long a batch request counts as an interactive one. [`Duration::MAX`]: never.
    pub fn aging(mut self, aging: Duration) -> Self {
        self.aging = aging;
        self
    }

    /// So many requests may pass one that waits for its tokens, if they could go now and each is an eighth of it or less. Only those among
    /// the next eight keys. It waits for longer by what they take: `passes` eighths of its cost at most.
    pub fn passes(mut self, passes: u32) -> Self {
        self.passes = passes;
        self
    }

    /// How many may wait at once, 1 to [`MAX_WAITERS`](Self::MAX_WAITERS).
    pub fn max_waiters(mut self, max_waiters: usize) -> Self {
        self.max_waiters = max_waiters;
        self
    }

    /// Whom to tell that a [ticket](FairQueue::enqueue) should be polled again.
    pub fn wake(mut self, wake: Arc<dyn Wake>) -> Self {
        self.wake = Some(wake);
        self
    }
}

impl Default for FairOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for FairOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FairOptions")
            .field("aging", &self.aging)
            .field("passes", &self.passes)
            .field("max_waiters", &self.max_waiters)
            .finish_non_exhaustive()
    }
}

/// How a [`FairQueue`] stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FairStats {
    /// Who waits now.
    pub waiting: u64,
    /// Of those, in the batch class.
    pub batch: u64,
    /// Keys of which somebody waits; one that has both classes counts twice.
    pub keys: u64,
    /// Batch requests that have become interactive, since the beginning.
    pub aged: u64,
    /// Requests that have passed a larger one, since the beginning.
    pub passed: u64,
}

impl FairQueue {
    /// A queue in front of `limiter`.
    ///
    /// # Errors
    /// `max_waiters` out of range.
    pub fn new(limiter: &Limiter, options: FairOptions) -> Result<Self, OutOfRange> {
        let (waiters, most) = (options.max_waiters, FairOptions::MAX_WAITERS);
        OutOfRange::check("max_waiters", waiters as u64, 1, most as u64)?;
        let core = Arc::new(Core {
            limiter: limiter.clone(),
            wake: options.wake.clone(),
            queue: Mutex::new(Queue::new(limiter.clone(), options)),
        });
        let alarm = Arc::downgrade(&core) as Weak<dyn Alarm>;
        limiter.attach(alarm);
        Ok(Self { core })
    }

    /// What is shared.
    pub fn limiter(&self) -> &Limiter {
        &self.core.limiter
    }

    /// Admits the request now, or refuses it; always refuses it while others wait.
    ///
    /// # Errors
    /// As [`Limiter::try_acquire`]. While others wait, the time is when it might be worth to come again.
    pub fn try_acquire(&self, cost: &Cost) -> Result<FairPermit, Refused> {
        self.core.locked(|queue| match queue.is_contended() {
            true => Err(Refused::NotNow {
                wait: self.core.limiter.outlook(cost)?.wait,
            }),
            false => {
                let grant = self.core.limiter.admit(cost, true)?;
                queue.forget();
                Ok(FairPermit::new(&self.core, grant, None))
            }
        })
    }

    /// Waits until it is its turn and there is enough, for `timeout` at most; `None` is as long as it takes.
    ///
    /// # Errors
    /// As [`Limiter::acquire_timeout`].
    pub fn acquire(
        &self,
        cost: &Cost,
        share: &Share<'_>,
        timeout: Option<Duration>,
    ) -> Result<FairPermit, Refused> {
        match self.admit_now(cost)? {
            Some(permit) => Ok(permit),
            None => self.stand(cost, share, timeout, Caller::thread())?.block(),
        }
    }

    /// Joins the queue and comes back at once, for event loops: to be [polled](FairTicket::poll) at the time that the last poll has
    /// named, and when the [`Wake`] of the [options](FairOptions::wake) is called with `token`. One that could be admitted now is so at
    /// the first poll.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    ///
    /// ```
    /// use llmrl::{Clock, Cost, FairOptions, FairProgress, FairQueue, Limit, Limiter, ManualClock, Share};
    /// use std::time::Duration;
    ///
    /// let hand = ManualClock::new(0);
    /// let limit = Limit::requests(60).burst(1);
    /// let limiter = Limiter::builder().limit(limit).clock(Clock::from(&hand)).build()?;
    /// let fair = FairQueue::new(&limiter, FairOptions::new())?;
    /// fair.try_acquire(&Cost::request())?.release();
    ///
    /// let [hot, calm] = [Share::new(b"hot")?, Share::new(b"calm")?];
    /// let mut first = fair.enqueue(&Cost::request(), &hot, None, 1)?;
    /// let mut second = fair.enqueue(&Cost::request(), &hot, None, 2)?;
    /// let mut calm = fair.enqueue(&Cost::request(), &calm, None, 3)?;
    /// let FairProgress::Pending { wait } = first.poll() else { panic!() };
    /// assert_eq!(wait, Some(Duration::from_secs(1)));
    ///
    /// hand.advance(Duration::from_secs(1));
    /// assert!(matches!(first.poll(), FairProgress::Held(_)));
    /// hand.advance(Duration::from_secs(1));
    /// assert!(matches!(second.poll(), FairProgress::Pending { .. }));
    /// assert!(matches!(calm.poll(), FairProgress::Held(_)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn enqueue(
        &self,
        cost: &Cost,
        share: &Share<'_>,
        timeout: Option<Duration>,
        token: u64,
    ) -> Result<FairTicket, Refused> {
        let caller = Caller::event_loop(self.core.wake.clone(), token);
        self.stand(cost, share, timeout, caller)
    }

    /// Its counts. Takes the lock.
    pub fn stats(&self) -> FairStats {
        self.core.locked(|queue| queue.stats())
    }

    /// An admission without waiting, if there is one.
    pub(crate) fn admit_now(&self, cost: &Cost) -> Result<Option<FairPermit>, Refused> {
        cost.amounts()?;
        Ok(self.core.locked(|queue| {
            if queue.is_contended() {
                return None;
            }
            let grant = self.core.limiter.admit_now(cost)?;
            queue.forget();
            Some(FairPermit::new(&self.core, grant, None))
        }))
    }

    fn stand(
        &self,
        cost: &Cost,
        share: &Share<'_>,
        timeout: Option<Duration>,
        caller: Caller,
    ) -> Result<FairTicket, Refused> {
        let caller = Arc::new(caller);
        let guest = caller.clone() as Arc<dyn Wake>;
        let number = self
            .core
            .locked(|queue| queue.join(share.account(), cost, timeout, guest))?;
        Ok(FairTicket::new(&self.core, number, caller))
    }
}

impl Core {
    /// Callbacks that come up meanwhile are called when the lock is free again: they may come here, too.
    fn locked<T>(&self, work: impl FnOnce(&mut Queue) -> T) -> T {
        put_off(|| work(&mut lock(&self.queue)))
    }
}

impl Alarm for Core {
    fn ring(&self) {
        self.locked(|queue| queue.ring());
    }
}

impl fmt::Debug for FairQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FairQueue")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
