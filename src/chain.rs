//! Limiters one above the other: a request needs all of them.

use crate::error::{OutOfRange, Refused};
use crate::feedback::Reading;
use crate::limit::Cost;
use crate::limiter::{Advice, Limiter, Permit, Progress, Ticket};
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
    levels: Vec<&'a Limiter>,
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

/// A request that all levels have admitted. As a [`Permit`], at each of them.
#[derive(Debug)]
#[must_use = "dropping a permit at once frees its slots while the request has not even begun"]
pub struct ChainPermit<'a> {
    permits: Vec<Permit<'a>>,
}

/// A place in the queues of a chain. Dropping it gives everything back.
#[derive(Debug)]
pub struct ChainTicket<'a> {
    chain: Chain<'a>,
    cost: Cost,
    token: u64,
    /// In ticks of the first level's clock.
    deadline: Option<u64>,
    held: Vec<Permit<'a>>,
    /// Where it stands now; `None` once it is over.
    ticket: Option<Ticket>,
}

/// How a chain's ticket stands.
#[derive(Debug)]
pub enum ChainProgress<'a> {
    /// It has become a permit.
    Held(ChainPermit<'a>),
    /// It waits: poll after so long, or when woken; `None`: when woken.
    Pending {
        /// As in [`Progress::Pending`].
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
        OutOfRange::check("levels", levels.len() as u64, 1, MAX_LEVELS as u64)?;
        Ok(Self {
            levels: levels.to_vec(),
        })
    }

    /// Admits the request now, at every level, or nowhere. Never blocks.
    ///
    /// # Errors
    /// The level at which it would wait longest, or can never pass. Under contention it may be refused although it would just
    /// have fitted, as with [`Limiter::try_acquire`].
    pub fn try_acquire(&self, cost: &Cost) -> Result<ChainPermit<'a>, ChainRefused> {
        // Look at all before touching any: most refusals then take nothing, not even for a moment.
        self.look(cost)?;
        let mut permits = Vec::with_capacity(self.levels.len());
        for (level, limiter) in self.levels.iter().enumerate() {
            match limiter.try_acquire(cost) {
                Ok(permit) => permits.push(permit),
                Err(refused) => {
                    give_back(permits);
                    // Somebody was faster. As above, with the wait of all.
                    self.look(cost)?;
                    return Err(self.refusal(level, None, refused));
                }
            }
        }
        Ok(ChainPermit { permits })
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
        self.hopeless(cost, timeout)?;
        let end = self.end(timeout);
        let mut permits = Vec::with_capacity(self.levels.len());
        for (level, limiter) in self.levels.iter().enumerate() {
            let admitted = match end {
                None => limiter.acquire(cost),
                Some(end) => limiter.acquire_timeout(cost, self.levels[0].time_until(end)),
            };
            match admitted {
                Ok(permit) => permits.push(permit),
                Err(refused) => {
                    give_back(permits);
                    return Err(self.refusal(level, None, refused));
                }
            }
        }
        Ok(ChainPermit { permits })
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
        self.hopeless(cost, timeout)?;
        let mut ticket = ChainTicket {
            chain: self.clone(),
            cost: *cost,
            token,
            deadline: self.end(timeout),
            held: Vec::with_capacity(self.levels.len()),
            ticket: None,
        };
        ticket.join()?;
        Ok(ticket)
    }

    /// The level at which the request would wait longest or never pass; fine if it would pass now.
    fn look(&self, cost: &Cost) -> Result<(), ChainRefused> {
        let (mut longest, mut answer) = (Duration::ZERO, Ok(()));
        for (level, limiter) in self.levels.iter().enumerate() {
            match limiter.outlook(cost) {
                Ok(outlook) => {
                    let wait = outlook.wait.unwrap_or(Duration::MAX);
                    if wait > longest {
                        let refused = Refused::NotNow { wait: outlook.wait };
                        longest = wait;
                        answer = Err(self.refusal(level, outlook.limit, refused));
                    }
                }
                // Waiting does not help.
                Err(refused) => return Err(self.refusal(level, None, refused)),
            }
        }
        answer
    }

    /// Refuses at once what cannot be in time at some level.
    fn hopeless(&self, cost: &Cost, timeout: Option<Duration>) -> Result<(), ChainRefused> {
        let Err(why) = self.look(cost) else {
            return Ok(());
        };
        match (why.refused, timeout) {
            (Refused::NotNow { wait: Some(wait) }, Some(timeout)) if wait > timeout => {
                Err(ChainRefused {
                    refused: Refused::Deadline,
                    ..why
                })
            }
            (Refused::NotNow { .. }, _) => Ok(()),
            _ => Err(why),
        }
    }

    fn end(&self, timeout: Option<Duration>) -> Option<u64> {
        timeout.map(|timeout| self.levels[0].tick_after(timeout))
    }

    fn refusal(&self, level: usize, limit: Option<usize>, refused: Refused) -> ChainRefused {
        let limit = match refused {
            Refused::Never { limit, .. } => Some(limit),
            _ => limit,
        };
        ChainRefused {
            level,
            limit,
            refused,
        }
    }
}

/// The last first: what most wait for comes back first.
fn give_back(permits: Vec<Permit<'_>>) {
    permits.into_iter().rev().for_each(Permit::cancel);
}

impl<'a> ChainTicket<'a> {
    /// Where it stands. Only within a poll can all have admitted it.
    fn limiter(&self) -> &'a Limiter {
        self.chain.levels[self.held.len()]
    }

    fn join(&mut self) -> Result<(), ChainRefused> {
        let clock = self.chain.levels[0];
        let timeout = self.deadline.map(|end| clock.time_until(end));
        match self.limiter().enqueue(&self.cost, timeout, self.token) {
            Ok(ticket) => {
                self.ticket = Some(ticket);
                Ok(())
            }
            Err(refused) => {
                let refused = self.chain.refusal(self.held.len(), None, refused);
                give_back(std::mem::take(&mut self.held));
                Err(refused)
            }
        }
    }

    /// How it stands, after it has gone as far as it can now.
    pub fn poll(&mut self) -> ChainProgress<'a> {
        loop {
            let limiter = self.limiter();
            let Some(ticket) = &mut self.ticket else {
                return ChainProgress::Spent;
            };
            match limiter.poll(ticket) {
                Progress::Pending { wait } => return ChainProgress::Pending { wait },
                Progress::Spent => return ChainProgress::Spent,
                Progress::Ended(refused) => {
                    self.ticket = None;
                    let refused = self.chain.refusal(self.held.len(), None, refused);
                    give_back(std::mem::take(&mut self.held));
                    return ChainProgress::Ended(refused);
                }
                Progress::Held(permit) => {
                    self.held.push(permit);
                    self.ticket = None;
                    if self.held.len() == self.chain.levels.len() {
                        let permits = std::mem::take(&mut self.held);
                        return ChainProgress::Held(ChainPermit { permits });
                    }
                    if let Err(refused) = self.join() {
                        return ChainProgress::Ended(refused);
                    }
                }
            }
        }
    }
}

impl Drop for ChainTicket<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.limiter().cancel(ticket);
        }
        give_back(std::mem::take(&mut self.held));
    }
}

impl<'a> ChainPermit<'a> {
    /// The request is over and has used `cost`. See [`Permit::settle`].
    ///
    /// # Errors
    /// [`Refused::Cost`] if a count is out of range; then the estimate stands.
    pub fn settle(self, cost: &Cost) -> Result<(), Refused> {
        let settled = self.permits.into_iter().map(|permit| permit.settle(cost));
        settled.fold(Ok(()), Result::and)
    }

    /// The request goes on and will use `cost`. See [`Permit::adjust`].
    ///
    /// # Errors
    /// [`Refused::Cost`] if a count is out of range; then nothing has changed.
    pub fn adjust(&mut self, cost: &Cost) -> Result<(), Refused> {
        let adjusted = self.permits.iter_mut().map(|permit| permit.adjust(cost));
        adjusted.fold(Ok(()), Result::and)
    }

    /// The request is over and the estimate stands.
    pub fn release(self) {
        self.permits.into_iter().for_each(Permit::release);
    }

    /// The request was not sent: everything is given back.
    pub fn cancel(self) {
        give_back(self.permits);
    }

    /// The provider has answered: the last level, which is the provider's, learns from it. See [`Permit::feedback`].
    pub fn feedback(&mut self, reading: &Reading) -> Advice {
        let (last, others) = self.permits.split_last_mut().expect("a chain has a level");
        let advice = last.feedback(reading);
        if reading.is_refused() {
            others.iter_mut().for_each(Permit::give_tokens_back);
        }
        advice
    }
}
