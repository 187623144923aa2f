//! Limiters one above the other: a request needs all of them.

mod levels;

use crate::error::{OutOfRange, Refused};
use crate::feedback::Reading;
use crate::limit::Cost;
use crate::limiter::{Advice, Limiter};
use crate::sync::Arc;
pub(crate) use levels::{Caller, Grants, Levels, Place, Stand};
use std::time::Duration;

/// Most levels of one chain.
pub const MAX_LEVELS: usize = 8;

/// Limiters one above the other, such as a user's, a team's, and that of the provider's key: a request needs all of them.
///
/// The first level is the most private one, the last is shared by most. At each level who comes first is served first. Whoever waits
/// stands in one queue at a time, from the first to the last, and keeps what it has got below; so nobody takes from the
/// shared limit before everything else is there.
///
/// ```
/// use llmrl::{Chain, Cost, Limit, Limiter};
///
/// let provider = Limiter::builder().limit(Limit::tokens(200_000)).limit(Limit::in_flight(50)).build()?;
/// let user = Limiter::builder().limit(Limit::tokens(10_000)).build()?;
/// let chain = Chain::new(&[&user, &provider])?;
///
/// chain.try_acquire(&Cost::tokens(10_000, 0))?.settle(&Cost::tokens(9_000, 0))?;
/// let refused = chain.try_acquire(&Cost::tokens(1_001, 0)).unwrap_err();
/// assert_eq!((refused.level, refused.limit), (0, Some(0)));      // the user's first limit
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Chain<'a> {
    levels: Arc<Levels<&'a Limiter>>,
}

/// Why a chain has not admitted a request. Nothing was taken, at any level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChainRefused {
    /// The level, counted from the first, 0.
    pub level: usize,
    /// Index of the limit there, if it is one limit's doing.
    pub limit: Option<usize>,
    /// Why. A wait is that of the whole chain.
    pub refused: Refused,
}

impl std::fmt::Display for ChainRefused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "level {}", self.level)?;
        if let Some(limit) = self.limit {
            write!(f, ", limit {limit}")?;
        }
        write!(f, ": {}", self.refused)
    }
}

impl std::error::Error for ChainRefused {}

/// A request that all levels have admitted. As a [`Permit`](crate::Permit), at each of them.
#[derive(Debug)]
#[must_use = "dropping a permit at once frees its slots while the request has not even begun"]
pub struct ChainPermit<'a> {
    chain: Chain<'a>,
    grants: Grants,
}

/// A place in the queues of a chain. Dropping it gives everything back.
#[derive(Debug)]
pub struct ChainTicket<'a> {
    chain: Chain<'a>,
    token: u64,
    /// `None` while it is dropped.
    place: Option<Place>,
}

/// How a chain's ticket stands.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a box would be an allocation for each request"
)]
pub enum ChainProgress<'a> {
    /// It has become a permit.
    Held(ChainPermit<'a>),
    /// It waits: poll after so long, or when woken; `None`: when woken.
    Pending {
        /// As in [`Progress::Pending`](crate::Progress::Pending).
        wait: Option<Duration>,
    },
    /// It is over, and everything was given back.
    Ended(ChainRefused),
    /// It was over before.
    Spent,
}

impl<'a> Chain<'a> {
    /// A chain of 1 to [`MAX_LEVELS`] limiters, the most private first.
    ///
    /// # Errors
    /// Too many, or none.
    pub fn new(levels: &[&'a Limiter]) -> Result<Self, OutOfRange> {
        Ok(Self {
            levels: Arc::new(Levels::new(levels.into())?),
        })
    }

    /// Admits the request now, at every level, or nowhere. Never blocks.
    ///
    /// # Errors
    /// The level at which it would wait longest, or can never pass. Under contention it may be refused although it would just
    /// have fitted, as with [`Limiter::try_acquire`].
    pub fn try_acquire(&self, cost: &Cost) -> Result<ChainPermit<'a>, ChainRefused> {
        Ok(self.permit(self.levels.admit(cost)?))
    }

    /// Waits at one level after the other, for `timeout` in all; `None` is as long as it takes.
    ///
    /// # Errors
    /// As [`Limiter::acquire_timeout`] at the level that it names.
    pub fn acquire(
        &self,
        cost: &Cost,
        timeout: Option<Duration>,
    ) -> Result<ChainPermit<'a>, ChainRefused> {
        Ok(self.permit(self.levels.block(cost, timeout)?))
    }

    /// Joins the first queue and comes back at once, for event loops; as [`Limiter::enqueue`], with the same `token` at each
    /// level.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    pub fn enqueue(
        &self,
        cost: &Cost,
        timeout: Option<Duration>,
        token: u64,
    ) -> Result<ChainTicket<'a>, ChainRefused> {
        let caller = Caller::Limiters(token);
        Ok(ChainTicket {
            chain: self.clone(),
            token,
            place: Some(self.levels.enqueue(cost, timeout, caller)?),
        })
    }

    fn permit(&self, grants: Grants) -> ChainPermit<'a> {
        let chain = self.clone();
        ChainPermit { chain, grants }
    }
}

impl<'a> ChainTicket<'a> {
    /// How it stands, after it has gone as far as it can now.
    pub fn poll(&mut self) -> ChainProgress<'a> {
        let Some(place) = &mut self.place else {
            return ChainProgress::Spent;
        };
        let caller = Caller::Limiters(self.token);
        match self.chain.levels.advance(place, caller) {
            Stand::Held(grants) => ChainProgress::Held(self.chain.permit(grants)),
            Stand::Pending { wait } => ChainProgress::Pending { wait },
            Stand::Ended(refused) => ChainProgress::Ended(refused),
            Stand::Spent => ChainProgress::Spent,
        }
    }
}

impl Drop for ChainTicket<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            let caller = Caller::Limiters(self.token);
            self.chain.levels.leave(place, caller);
        }
    }
}

impl ChainPermit<'_> {
    /// The request is over and has used `cost`. See [`Permit::settle`](crate::Permit::settle).
    ///
    /// # Errors
    /// [`Refused::Cost`] if a count is out of range; then the estimate stands.
    pub fn settle(mut self, cost: &Cost) -> Result<(), Refused> {
        let grants = self.take();
        self.chain.levels.settle(grants, cost)
    }

    /// The request goes on and will use `cost`. See [`Permit::adjust`](crate::Permit::adjust).
    ///
    /// # Errors
    /// [`Refused::Cost`] if a count is out of range; then nothing has changed.
    pub fn adjust(&mut self, cost: &Cost) -> Result<(), Refused> {
        self.chain.levels.adjust(&mut self.grants, cost)
    }

    /// The request is over and the estimate stands.
    pub fn release(self) {}

    /// The request was not sent: everything is given back.
    pub fn cancel(mut self) {
        let grants = self.take();
        self.chain.levels.cancel(grants);
    }

    /// The provider has answered: the last level, which is the provider's, learns from it. See
    /// [`Permit::feedback`](crate::Permit::feedback).
    pub fn feedback(&mut self, reading: &Reading) -> Advice {
        self.chain.levels.feedback(&mut self.grants, reading)
    }

    /// From here on there is nothing to release.
    fn take(&mut self) -> Grants {
        std::mem::take(&mut self.grants)
    }
}

impl Drop for ChainPermit<'_> {
    fn drop(&mut self) {
        let grants = self.take();
        self.chain.levels.release(grants);
    }
}
