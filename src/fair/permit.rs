//! What those who wait get: a place, and a permit.

use super::Core;
use super::queue::{Look, amount};
use super::turns::Charged;
use crate::error::Refused;
use crate::feedback::Reading;
use crate::limit::Cost;
use crate::limiter::{Advice, Caller, Grant};
use crate::sync::Arc;
use std::fmt;
use std::time::Duration;

/// An admitted request, and what it has cost its key's share. As a [`Permit`](crate::Permit); dropped, it frees its slot, and the
/// estimate stands.
#[must_use = "dropping a permit at once frees its slot while the request has not even begun"]
pub struct FairPermit {
    core: Arc<Core>,
    grant: Grant,
    /// Nothing, if nobody waited.
    charged: Option<Charged>,
    is_over: bool,
}

impl FairPermit {
    pub(super) fn new(core: &Arc<Core>, grant: Grant, charged: Option<Charged>) -> Self {
        Self {
            core: core.clone(),
            grant,
            charged,
            is_over: false,
        }
    }

    /// As [`Permit::settle`](crate::Permit::settle).
    ///
    /// # Errors
    /// As there.
    pub fn settle(mut self, cost: &Cost) -> Result<(), Refused> {
        self.core.limiter.settle_grant(self.grant, cost)?;
        self.is_over = true;
        self.count(amount(cost));
        Ok(())
    }

    /// As [`Permit::adjust`](crate::Permit::adjust).
    ///
    /// # Errors
    /// As there.
    pub fn adjust(&mut self, cost: &Cost) -> Result<(), Refused> {
        self.core.limiter.adjust_grant(&mut self.grant, cost)?;
        self.count(amount(cost));
        Ok(())
    }

    /// As [`Permit::feedback`](crate::Permit::feedback).
    pub fn feedback(&mut self, reading: &Reading) -> Advice {
        self.core.limiter.feedback_grant(&mut self.grant, reading)
    }

    /// As [`Permit::release`](crate::Permit::release).
    pub fn release(self) {}

    /// As [`Permit::cancel`](crate::Permit::cancel).
    pub fn cancel(mut self) {
        self.is_over = true;
        self.core.limiter.cancel_grant(self.grant);
        self.count(0);
    }

    /// Puts the share right, and lets others go on with what has come back.
    fn count(&mut self, amount: u64) {
        let charged = &mut self.charged;
        self.core.locked(|queue| {
            if let Some(charged) = charged {
                queue.correct(charged, amount);
            }
            queue.drive();
        });
    }
}

impl Drop for FairPermit {
    fn drop(&mut self) {
        if !self.is_over {
            self.core.limiter.release_grant(self.grant);
            self.core.locked(|queue| queue.drive());
        }
    }
}

impl fmt::Debug for FairPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FairPermit").field(&self.grant).finish()
    }
}

/// A place in a [`FairQueue`](super::FairQueue). Dropped, it leaves, and what was granted meanwhile is given back.
#[must_use = "a ticket that is dropped has left the queue"]
pub struct FairTicket {
    core: Arc<Core>,
    number: u64,
    caller: Arc<Caller>,
    is_over: bool,
}

/// How a [`FairTicket`] stands.
#[derive(Debug)]
pub enum FairProgress {
    /// It has become a permit.
    Held(FairPermit),
    /// It waits.
    Pending {
        /// After so long time alone may have brought somebody's turn: poll then, or when woken. `None`: when woken.
        wait: Option<Duration>,
    },
    /// It is over: [`Refused::Deadline`], [`Refused::Closed`], or [`Refused::Never`] after a retune.
    Ended(Refused),
    /// It was over before this poll.
    Spent,
}

impl FairTicket {
    pub(super) fn new(core: &Arc<Core>, number: u64, caller: Arc<Caller>) -> Self {
        Self {
            core: core.clone(),
            number,
            caller,
            is_over: false,
        }
    }

    /// Looks how it stands, after it has brought forward all who can go. Any answer but `Pending` ends the ticket.
    pub fn poll(&mut self) -> FairProgress {
        if self.is_over {
            return FairProgress::Spent;
        }
        self.caller.heard();
        self.look()
    }

    /// Leaves the queue.
    pub fn cancel(self) {}

    pub(super) fn block(mut self) -> Result<FairPermit, Refused> {
        loop {
            let heard = self.caller.heard();
            match self.look() {
                FairProgress::Held(permit) => return Ok(permit),
                FairProgress::Pending { wait } => self.caller.sleep(heard, wait),
                FairProgress::Ended(refused) => return Err(refused),
                FairProgress::Spent => return Err(Refused::Closed),
            }
        }
    }

    fn look(&mut self) -> FairProgress {
        let look = self.core.locked(|queue| queue.look(self.number));
        self.is_over = !matches!(look, Look::Pending { .. });
        match look {
            Look::Pending { wait } => FairProgress::Pending { wait },
            Look::Over(Ok((grant, charged))) => {
                FairProgress::Held(FairPermit::new(&self.core, grant, Some(charged)))
            }
            Look::Over(Err(refused)) => FairProgress::Ended(refused),
        }
    }
}

impl Drop for FairTicket {
    fn drop(&mut self) {
        if !self.is_over {
            self.core.locked(|queue| queue.leave(self.number));
        }
    }
}

impl fmt::Debug for FairTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FairTicket").field(&self.number).finish()
    }
}
