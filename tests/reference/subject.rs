//! The library behind the same words.

use super::script::{Answer, Name, Op, Setup, Wait};
use llmrl::{Clock, ConfigError, Limiter, ManualClock, Permit, Progress, Refused, Ticket};
use std::collections::HashMap;
use std::time::Duration;

/// Builds the limiter of `setup` on a clock of its own.
pub fn build(setup: &Setup) -> (Limiter, ManualClock) {
    let clock = ManualClock::new(setup.start_ns);
    let builder = Limiter::builder()
        .clock(Clock::from(&clock))
        .max_waiters(setup.max_waiters);
    let limits = setup.limits.iter();
    let builder = limits.fold(builder, |builder, limit| builder.limit(limit.limit()));
    (builder.build().expect("the set-up is in range"), clock)
}

enum Held<'a> {
    Ticket(Ticket),
    Permit(Permit<'a>),
}

/// A limiter with the permits and tickets of those who use it.
pub struct Subject<'a> {
    limiter: &'a Limiter,
    clock: &'a ManualClock,
    held: HashMap<Name, Held<'a>>,
}

impl<'a> Subject<'a> {
    pub fn new((limiter, clock): &'a (Limiter, ManualClock)) -> Self {
        Self {
            limiter,
            clock,
            held: HashMap::new(),
        }
    }

    pub fn advance_to(&mut self, at: u64) {
        let by = at - self.clock.now_ns();
        if by > 0 {
            self.clock.advance(Duration::from_nanos(by));
        }
    }

    pub fn available(&self, limit: usize) -> i64 {
        self.limiter
            .limit_state(limit)
            .expect("an index in range")
            .available
    }

    pub fn granted(&self) -> u64 {
        self.limiter.stats().granted
    }

    pub fn in_flight(&self) -> u64 {
        self.limiter.stats().in_flight
    }

    /// Has the queue moved as far as it goes now, by a change that changes nothing.
    pub fn pump(&self) {
        let is_bucket = |limit: &usize| {
            let paused = self
                .limiter
                .limit_state(*limit)
                .map_or(Duration::ZERO, |state| state.paused);
            self.limiter.pause(*limit, paused).is_ok()
        };
        if (0..self.limiter.limits()).find(is_bucket).is_none() {
            let slots = self.available(0) + self.in_flight() as i64;
            self.limiter
                .resize(slots as u64)
                .expect("the only limit is in flight");
        }
    }

    pub fn apply(&mut self, op: &Op) -> Answer {
        match *op {
            Op::TryAcquire { name, ref cost } => {
                let permit = self.limiter.try_acquire(cost);
                self.keep(name, permit.map(Held::Permit))
            }
            Op::Enqueue {
                name,
                ref cost,
                timeout_ns,
            } => {
                let timeout = timeout_ns.map(Duration::from_nanos);
                let ticket = self.limiter.enqueue(cost, timeout, 1 + u64::from(name));
                match self.keep(name, ticket.map(Held::Ticket)) {
                    Answer::Ok => self.poll(name),
                    refused => refused,
                }
            }
            Op::Poll(name) => self.poll(name),
            Op::Adjust(name, ref cost) => match self.held.get_mut(&name) {
                Some(Held::Permit(permit)) => done(permit.adjust(cost)),
                _ => Answer::Stale,
            },
            Op::Settle(name, ref cost) => match self.permit(name) {
                Some(permit) => done(permit.settle(cost)),
                None => Answer::Stale,
            },
            Op::Release(name) => match self.permit(name) {
                Some(permit) => {
                    permit.release();
                    Answer::Ok
                }
                None => Answer::Stale,
            },
            Op::Cancel(name) => match self.held.remove(&name) {
                Some(Held::Permit(permit)) => {
                    permit.cancel();
                    Answer::Ok
                }
                Some(Held::Ticket(ticket)) => {
                    self.limiter.cancel(ticket);
                    Answer::Ok
                }
                None => Answer::Stale,
            },
            Op::Charge(ref cost) => done(self.limiter.charge(cost)),
            Op::Retune {
                limit,
                amount,
                period_ns,
                burst,
            } => {
                let period = Duration::from_nanos(period_ns);
                changed(self.limiter.retune(limit, amount, period, burst))
            }
            Op::Align {
                limit,
                resets_in_ns,
            } => {
                let resets_in = Duration::from_nanos(resets_in_ns);
                changed(self.limiter.align(limit, resets_in))
            }
            Op::Resize(slots) => changed(self.limiter.resize(slots)),
            Op::Pause { limit, ns } => changed(self.limiter.pause(limit, Duration::from_nanos(ns))),
            Op::Close => {
                self.limiter.close();
                Answer::Ok
            }
        }
    }

    fn keep(&mut self, name: Name, held: Result<Held<'a>, Refused>) -> Answer {
        match held {
            Ok(held) => {
                self.held.insert(name, held);
                Answer::Ok
            }
            Err(refused) => word(refused),
        }
    }

    fn permit(&mut self, name: Name) -> Option<Permit<'a>> {
        match self.held.remove(&name)? {
            Held::Permit(permit) => Some(permit),
            ticket => {
                self.held.insert(name, ticket);
                None
            }
        }
    }

    fn poll(&mut self, name: Name) -> Answer {
        match self.held.get_mut(&name) {
            None => Answer::Stale,
            Some(Held::Permit(_)) => Answer::Ok,
            Some(Held::Ticket(ticket)) => match self.limiter.poll(ticket) {
                Progress::Pending { wait } => Answer::Pending(from(wait)),
                Progress::Held(permit) => {
                    self.held.insert(name, Held::Permit(permit));
                    Answer::Ok
                }
                Progress::Ended(refused) => {
                    self.held.remove(&name);
                    word(refused)
                }
                Progress::Spent => panic!("the ticket had not ended before"),
            },
        }
    }
}

pub fn from(wait: Option<Duration>) -> Wait {
    wait.map_or(Wait::Forever, |wait| {
        Wait::Ns(wait.as_nanos().try_into().expect("584 years at most"))
    })
}

fn done(result: Result<(), Refused>) -> Answer {
    result.map_or_else(word, |()| Answer::Ok)
}

fn changed(result: Result<(), ConfigError>) -> Answer {
    match result {
        Ok(()) => Answer::Ok,
        Err(refused) if ["index", "fixed windows"].contains(&refused.error.field) => Answer::Index,
        Err(_) => Answer::Range,
    }
}

fn word(refused: Refused) -> Answer {
    match refused {
        Refused::NotNow { wait } => Answer::Refused(from(wait)),
        Refused::Never { .. } => Answer::Never,
        Refused::Full => Answer::Full,
        Refused::Deadline => Answer::Deadline,
        Refused::Closed => Answer::Closed,
        Refused::Cost(_) => Answer::Cost,
        other => panic!("an answer without a word: {other}"),
    }
}
