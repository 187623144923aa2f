//! What a chain does, over limiters that are borrowed or owned. It keeps nothing but them: what a request holds is plain data,
//! for whoever asked to keep.

use super::{ChainRefused, MAX_LEVELS};
use crate::error::{OutOfRange, Refused};
use crate::feedback::Reading;
use crate::limit::Cost;
use crate::limiter::{Advice, Grant, Guest, Limiter, Step, Ticket};
use std::borrow::Borrow;
use std::time::Duration;

/// Limiters one above the other, the most private first.
#[derive(Debug)]
pub(crate) struct Levels<L>(Box<[L]>);

/// What a request holds, from the first level up to the one at which it has arrived.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Grants {
    grants: [Option<Grant>; MAX_LEVELS],
    len: usize,
}

impl Grants {
    fn push(&mut self, grant: Grant) {
        self.grants[self.len] = Some(grant);
        self.len += 1;
    }

    fn pop(&mut self) -> Option<Grant> {
        self.len = self.len.checked_sub(1)?;
        self.grants[self.len].take()
    }
}

/// One who waits: in one queue at a time, holding what the levels below have granted.
#[derive(Debug)]
pub(crate) struct Place {
    cost: Cost,
    /// In ticks of the first level's clock.
    deadline: Option<u64>,
    held: Grants,
    /// In the queue of the first level that has not granted.
    ticket: Option<Ticket>,
    is_over: bool,
}

impl Place {
    /// The level at which it waits.
    pub(crate) fn level(&self) -> usize {
        self.held.len
    }
}

/// Whom the limiters call for one who waits.
#[derive(Clone, Copy)]
pub(crate) enum Caller<'a> {
    /// Each limiter its own callback, with this token.
    Limiters(u64),
    Guest(Guest<'a>),
}

/// How one who waits stands.
#[expect(
    clippy::large_enum_variant,
    reason = "a box would be an allocation for each request"
)]
pub(crate) enum Stand {
    Held(Grants),
    Pending { wait: Option<Duration> },
    Ended(ChainRefused),
    Spent,
}

fn refusal(level: usize, limit: Option<usize>, refused: Refused) -> ChainRefused {
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

impl<L: Borrow<Limiter>> Levels<L> {
    pub(crate) fn new(levels: Box<[L]>) -> Result<Self, OutOfRange> {
        OutOfRange::check("levels", levels.len() as u64, 1, MAX_LEVELS as u64)?;
        Ok(Self(levels))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Limiter> {
        self.0.iter().map(Borrow::borrow)
    }

    fn level(&self, level: usize) -> &Limiter {
        self.0[level].borrow()
    }

    fn held<'a>(
        &'a self,
        grants: &'a mut Grants,
    ) -> impl Iterator<Item = (&'a Limiter, &'a mut Grant)> {
        self.iter().zip(grants.grants.iter_mut().flatten())
    }

    pub(crate) fn admit(&self, cost: &Cost) -> Result<Grants, ChainRefused> {
        // Look at all before touching any: most refusals then take nothing, not even for a moment.
        self.look(cost)?;
        let mut grants = Grants::default();
        for (level, limiter) in self.iter().enumerate() {
            match limiter.admit(cost, true) {
                Ok(grant) => grants.push(grant),
                Err(refused) => {
                    self.cancel(grants);
                    // Somebody was faster. As above, with the wait of all.
                    self.look(cost)?;
                    return Err(refusal(level, None, refused));
                }
            }
        }
        Ok(grants)
    }

    pub(crate) fn block(
        &self,
        cost: &Cost,
        timeout: Option<Duration>,
    ) -> Result<Grants, ChainRefused> {
        self.hopeless(cost, timeout)?;
        let end = self.end(timeout);
        let mut grants = Grants::default();
        for (level, limiter) in self.iter().enumerate() {
            match limiter.block(cost, self.left(end)) {
                Ok(grant) => grants.push(grant),
                Err(refused) => {
                    self.cancel(grants);
                    return Err(refusal(level, None, refused));
                }
            }
        }
        Ok(grants)
    }

    pub(crate) fn enqueue(
        &self,
        cost: &Cost,
        timeout: Option<Duration>,
        caller: Caller<'_>,
    ) -> Result<Place, ChainRefused> {
        self.hopeless(cost, timeout)?;
        let mut place = Place {
            cost: *cost,
            deadline: self.end(timeout),
            held: Grants::default(),
            ticket: None,
            is_over: false,
        };
        self.join(&mut place, caller)?;
        Ok(place)
    }

    /// Goes to the next level: past it, or into its queue.
    fn join(&self, place: &mut Place, caller: Caller<'_>) -> Result<(), ChainRefused> {
        let limiter = self.level(place.held.len);
        // A limiter that nobody has waited for has no queue, and need not make one.
        if let Some(grant) = limiter.admit_now(&place.cost) {
            place.held.push(grant);
            return Ok(());
        }
        let timeout = self.left(place.deadline);
        let joined = match caller {
            Caller::Limiters(token) => limiter.enqueue(&place.cost, timeout, token),
            Caller::Guest(guest) => limiter.enqueue_guest(&place.cost, timeout, guest),
        };
        match joined {
            Ok(ticket) => {
                place.ticket = Some(ticket);
                Ok(())
            }
            Err(refused) => Err(self.end_at(place, refused)),
        }
    }

    /// It is over at the level where it stands; what it holds goes back.
    fn end_at(&self, place: &mut Place, refused: Refused) -> ChainRefused {
        place.is_over = true;
        place.ticket = None;
        let refused = refusal(place.held.len, None, refused);
        self.cancel(std::mem::take(&mut place.held));
        refused
    }

    /// Lets it go as far as it can.
    pub(crate) fn advance(&self, place: &mut Place, caller: Caller<'_>) -> Stand {
        while !place.is_over {
            if place.held.len == self.0.len() {
                place.is_over = true;
                return Stand::Held(std::mem::take(&mut place.held));
            }
            let Some(ticket) = &mut place.ticket else {
                match self.join(place, caller) {
                    Ok(()) => continue,
                    Err(refused) => return Stand::Ended(refused),
                }
            };
            let limiter = self.level(place.held.len);
            let step = match caller {
                Caller::Limiters(_) => limiter.advance_ticket(ticket),
                Caller::Guest(guest) => limiter.advance_guest(ticket, guest),
            };
            let refused = match step {
                Step::Held(grant) => {
                    place.held.push(grant);
                    place.ticket = None;
                    continue;
                }
                Step::Pending { wait } => return Stand::Pending { wait },
                Step::TimedOut => Refused::Deadline,
                Step::Never(refused) => refused,
                Step::Closed | Step::Spent => Refused::Closed,
            };
            return Stand::Ended(self.end_at(place, refused));
        }
        Stand::Spent
    }

    pub(crate) fn leave(&self, place: Place, caller: Caller<'_>) {
        if let Some(ticket) = place.ticket {
            let limiter = self.level(place.held.len);
            match caller {
                Caller::Limiters(_) => limiter.leave(ticket),
                Caller::Guest(guest) => limiter.leave_guest(ticket, guest),
            }
        }
        self.cancel(place.held);
    }

    /// The level at which the request would wait longest or never pass; fine if it would pass now.
    fn look(&self, cost: &Cost) -> Result<(), ChainRefused> {
        let (mut longest, mut answer) = (Duration::ZERO, Ok(()));
        for (level, limiter) in self.iter().enumerate() {
            match limiter.outlook(cost) {
                Ok(outlook) => {
                    let wait = outlook.wait.unwrap_or(Duration::MAX);
                    if wait > longest {
                        let refused = Refused::NotNow { wait: outlook.wait };
                        longest = wait;
                        answer = Err(refusal(level, outlook.limit, refused));
                    }
                }
                // Waiting does not help.
                Err(refused) => return Err(refusal(level, None, refused)),
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
        timeout.map(|timeout| self.level(0).tick_after(timeout))
    }

    fn left(&self, end: Option<u64>) -> Option<Duration> {
        end.map(|end| self.level(0).time_until(end))
    }

    /// The last error, if there is one, stands for all.
    pub(crate) fn settle(&self, mut grants: Grants, cost: &Cost) -> Result<(), Refused> {
        self.held(&mut grants)
            .map(|(limiter, grant)| {
                limiter
                    .settle_grant(*grant, cost)
                    .inspect_err(|_| limiter.release_grant(*grant))
            })
            .fold(Ok(()), Result::and)
    }

    pub(crate) fn adjust(&self, grants: &mut Grants, cost: &Cost) -> Result<(), Refused> {
        self.held(grants)
            .map(|(limiter, grant)| limiter.adjust_grant(grant, cost))
            .fold(Ok(()), Result::and)
    }

    pub(crate) fn release(&self, mut grants: Grants) {
        self.held(&mut grants)
            .for_each(|(limiter, grant)| limiter.release_grant(*grant));
    }

    /// The last first: what most wait for comes back first.
    pub(crate) fn cancel(&self, mut grants: Grants) {
        while let Some(grant) = grants.pop() {
            self.level(grants.len).cancel_grant(grant);
        }
    }

    pub(crate) fn feedback(&self, grants: &mut Grants, reading: &Reading) -> Advice {
        let mut advice = None;
        for (level, (limiter, grant)) in self.held(grants).enumerate() {
            if level + 1 == self.0.len() {
                advice = Some(limiter.feedback_grant(grant, reading));
            } else if reading.is_refused() {
                limiter.give_tokens_back(grant);
            }
        }
        advice.expect("a permit of every level")
    }
}
