//! Those who wait for their turn, and the one of them who stands in the limiter's queue.
//!
//! One mutex is around all of this. Nobody sleeps under it, and no callback runs under it (`put_off`): what takes it are some steps in
//! trees. Whoever comes by, to join, to look, to leave, brings everything forward that can go forward, for all: [`Queue::drive`].

use super::turns::{Account, Charged, Turns};
use super::{Class, FairOptions, FairStats};
use crate::error::Refused;
use crate::limit::Cost;
use crate::limiter::{Grant, Guest, Limiter, Step, Ticket, Wake, call};
use crate::sync::Arc;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How many of those behind are looked at for a smaller request.
const LOOKS: usize = 8;
/// A request is small beside one of so many times its amount.
const SMALL: u64 = 8;
/// So much after the time of the first somebody else looks, in case its owner does not.
const PATIENCE: Duration = Duration::from_millis(100);

/// Fairness is counted in tokens, and in requests where those have none.
pub(super) fn amount(cost: &Cost) -> u64 {
    (cost.input + cost.output).max(cost.requests)
}

pub(super) type Outcome = Result<(Grant, Charged), Refused>;

/// How one who waits stands.
pub(super) enum Look {
    Over(Outcome),
    Pending { wait: Option<Duration> },
}

struct Waiter {
    account: Account,
    cost: Cost,
    /// When it is no longer put behind the interactive ones.
    ages: u64,
    deadline: u64,
    guest: Arc<dyn Wake>,
    /// How many smaller ones have gone before it.
    passed: u32,
    outcome: Option<Outcome>,
}

struct Front {
    number: u64,
    ticket: Ticket,
    guest: Arc<dyn Wake>,
}

pub(super) struct Queue {
    limiter: Limiter,
    options: FairOptions,
    turns: [Turns; Class::COUNT],
    /// In the order of arrival, with those that are over until their owners have seen it.
    waiters: BTreeMap<u64, Waiter>,
    /// How many of them wait.
    waiting: usize,
    /// Those in the batch class: the first has been there the longest.
    batch: BTreeSet<u64>,
    front: Option<Front>,
    /// Who looks a while after the front's time, in case its owner does not.
    watcher: Option<u64>,
    /// Who looks now, and need not be called.
    looker: Option<u64>,
    joined: u64,
    aged: u64,
    passed: u64,
}

impl Queue {
    pub(super) fn new(limiter: Limiter, options: FairOptions) -> Self {
        Self {
            limiter,
            options,
            turns: Default::default(),
            waiters: BTreeMap::new(),
            waiting: 0,
            batch: BTreeSet::new(),
            front: None,
            watcher: None,
            looker: None,
            joined: 0,
            aged: 0,
            passed: 0,
        }
    }

    /// Whether somebody waits, when all that could go has gone.
    pub(super) fn is_contended(&mut self) -> bool {
        self.drive();
        self.waiting > 0
    }

    /// A request was admitted without waiting: nobody is short of anything.
    pub(super) fn forget(&mut self) {
        self.turns.iter_mut().for_each(Turns::forget);
    }

    pub(super) fn join(
        &mut self,
        account: Account,
        cost: &Cost,
        timeout: Option<Duration>,
        guest: Arc<dyn Wake>,
    ) -> Result<u64, Refused> {
        let alone = self.limiter.wait_alone(cost)?;
        if let (Some(wait), Some(timeout)) = (alone, timeout)
            && wait > timeout
        {
            return Err(Refused::Deadline);
        }
        if self.waiting >= self.options.max_waiters {
            return Err(Refused::Full);
        }
        let number = self.joined;
        self.joined += 1;
        self.waiting += 1;
        self.turns[account.class as usize].join(&account.key, number);
        if account.class == Class::Batch {
            self.batch.insert(number);
        }
        let waiter = Waiter {
            account,
            cost: *cost,
            ages: self.limiter.tick_after(self.options.aging),
            deadline: timeout.map_or(u64::MAX, |timeout| self.limiter.tick_after(timeout)),
            guest,
            passed: 0,
            outcome: None,
        };
        self.waiters.insert(number, waiter);
        // It may be before the one that stands in front.
        self.drive();
        Ok(number)
    }

    /// One look by the owner of `number`.
    pub(super) fn look(&mut self, number: u64) -> Look {
        self.looker = Some(number);
        let front = self.drive();
        self.looker = None;
        let waiter = &self.waiters[&number];
        if waiter.outcome.is_some() {
            let waiter = self.waiters.remove(&number).expect("it was there");
            return Look::Over(waiter.outcome.expect("it was there"));
        }
        if self.limiter.now() > waiter.deadline {
            self.leave(number);
            return Look::Over(Err(Refused::Deadline));
        }
        let ends = (waiter.deadline != u64::MAX)
            .then(|| self.limiter.time_until(waiter.deadline.saturating_add(1)));
        let wait = match front {
            Some((first, wait)) if first == number => wait,
            Some((_, Some(wait))) if *self.watcher.get_or_insert(number) == number => {
                Some(wait + PATIENCE)
            }
            _ => None,
        };
        let wait = wait.into_iter().chain(ends).min();
        Look::Pending { wait }
    }

    /// The owner goes. What it was granted meanwhile comes back.
    pub(super) fn leave(&mut self, number: u64) {
        let Some(waiter) = self.waiters.get(&number) else {
            return;
        };
        match &waiter.outcome {
            Some(Ok((grant, charged))) => {
                let mut charged = charged.clone();
                self.limiter.cancel_grant(*grant);
                self.correct(&mut charged, 0);
            }
            Some(Err(_)) => {}
            None => {
                let Account { key, class, .. } = &waiter.account;
                self.turns[*class as usize].leave(key, number);
                if self.is_front(number) {
                    self.step_back();
                }
                self.retire(number);
            }
        }
        self.waiters.remove(&number);
        self.drive();
    }

    /// A request turns out to be of another size.
    pub(super) fn correct(&mut self, charged: &mut Charged, amount: u64) {
        self.turns[charged.account.class as usize].correct(charged, amount);
    }

    pub(super) fn stats(&self) -> FairStats {
        FairStats {
            waiting: self.waiting as u64,
            batch: self.batch.len() as u64,
            keys: self.turns.iter().map(|turns| turns.keys() as u64).sum(),
            aged: self.aged,
            passed: self.passed,
        }
    }

    /// Calls those whose time is over, on a clock that is driven by hand.
    pub(super) fn ring(&mut self) {
        let now = self.limiter.now();
        for (number, waiter) in &self.waiters {
            if now > waiter.deadline || self.watcher == Some(*number) {
                call(&waiter.guest, 0);
            }
        }
    }

    /// Grants, in order, all that can be granted now, and puts the next one into the limiter's queue. Says who that is, and for how
    /// long it has to wait.
    pub(super) fn drive(&mut self) -> Option<(u64, Option<Duration>)> {
        loop {
            let next = self.select()?;
            let Some(front) = &mut self.front else {
                self.step_up(next);
                continue;
            };
            let number = front.number;
            match self
                .limiter
                .advance_guest(&mut front.ticket, in_front(&front.guest))
            {
                Step::Pending { .. } if number != next => self.step_back(),
                Step::Pending { wait } => match self.smaller(number) {
                    Some(other) => self.pass(number, other),
                    None => return Some((number, wait)),
                },
                step => {
                    self.front = None;
                    self.end(number, outcome(step));
                }
            }
        }
    }

    /// Who is next, after those are gone whose time is over.
    fn select(&mut self) -> Option<u64> {
        let now = self.limiter.now();
        while let Some(oldest) = self.batch.first().copied()
            && self.waiters[&oldest].ages <= now
        {
            self.promote(oldest);
        }
        loop {
            let next = self.turns.iter().flat_map(Turns::heads).next()?;
            // Of the front the limiter says itself that its time is over, or that it was granted just before.
            if self.waiters[&next].deadline >= now || self.is_front(next) {
                return Some(next);
            }
            self.end(next, Err(Refused::Deadline));
        }
    }

    /// From the batch class to the interactive one.
    fn promote(&mut self, number: u64) {
        let waiter = self.waiters.get_mut(&number).expect("it waits");
        let Account { key, class, .. } = &mut waiter.account;
        self.turns[*class as usize].leave(key, number);
        *class = Class::Interactive;
        self.turns[*class as usize].join(key, number);
        self.batch.remove(&number);
        self.aged += 1;
    }

    /// Into the limiter's queue.
    fn step_up(&mut self, number: u64) {
        let waiter = &self.waiters[&number];
        let guest = waiter.guest.clone();
        let left = (waiter.deadline != u64::MAX).then(|| self.limiter.time_until(waiter.deadline));
        match self
            .limiter
            .enqueue_guest(&waiter.cost, left, in_front(&guest))
        {
            Ok(ticket) => {
                self.front = Some(Front {
                    number,
                    ticket,
                    guest,
                });
                // To learn for how long it has to wait.
                self.call(number);
                self.hand_over(number);
            }
            Err(refused) => self.end(number, Err(refused)),
        }
    }

    /// Out of the limiter's queue again.
    fn step_back(&mut self) {
        if let Some(front) = self.front.take() {
            self.limiter
                .leave_guest(front.ticket, in_front(&front.guest));
        }
    }

    /// A request that is small beside the first one, could go now, and may.
    fn smaller(&self, first: u64) -> Option<u64> {
        let waiter = &self.waiters[&first];
        if waiter.passed >= self.options.passes {
            return None;
        }
        let small = amount(&waiter.cost) / SMALL;
        let fits = |number: &u64| {
            let waiter = &self.waiters[number];
            amount(&waiter.cost) <= small
                && self.limiter.wait_alone(&waiter.cost) == Ok(Some(Duration::ZERO))
        };
        let heads = self.turns.iter().flat_map(Turns::heads);
        heads.skip(1).take(LOOKS).find(fits)
    }

    /// Lets a smaller request go, while the first one waits for more. The first one waits for longer by what it takes; how often, is
    /// bounded, and an attempt counts: somebody else in the limiter's queue may be before both by now.
    fn pass(&mut self, first: u64, number: u64) {
        self.step_back();
        self.waiters.get_mut(&first).expect("it waits").passed += 1;
        if let Some(grant) = self.limiter.admit_now(&self.waiters[&number].cost) {
            self.passed += 1;
            self.end(number, Ok(grant));
        }
    }

    /// Somebody's waiting has come to an end that its owner does not know yet.
    fn end(&mut self, number: u64, result: Result<Grant, Refused>) {
        let waiter = self.waiters.get_mut(&number).expect("it waits");
        let Account { key, class, .. } = &waiter.account;
        let turns = &mut self.turns[*class as usize];
        waiter.outcome = Some(match result {
            Ok(grant) => Ok((
                grant,
                turns.serve(&waiter.account, number, amount(&waiter.cost)),
            )),
            Err(refused) => {
                turns.leave(key, number);
                Err(refused)
            }
        });
        self.call(number);
        self.retire(number);
    }

    fn retire(&mut self, number: u64) {
        self.batch.remove(&number);
        self.waiting -= 1;
        self.hand_over(number);
    }

    /// If `number` was to watch, somebody else has to, and is told so by being called.
    fn hand_over(&mut self, number: u64) {
        if self.watcher == Some(number) {
            self.watcher = None;
            let mut others = self.waiters.iter().rev();
            let other = others.find(|(other, waiter)| {
                waiter.outcome.is_none() && **other != number && !self.is_front(**other)
            });
            if let Some((&other, _)) = other {
                self.call(other);
            }
        }
    }

    fn is_front(&self, number: u64) -> bool {
        self.front
            .as_ref()
            .is_some_and(|front| front.number == number)
    }

    fn call(&self, number: u64) {
        if self.looker != Some(number) {
            call(&self.waiters[&number].guest, 0);
        }
    }
}

/// As the limiter knows the one in front.
fn in_front(wake: &Arc<dyn Wake>) -> Guest<'_> {
    Guest {
        wake,
        token: 0,
        is_elsewhere: false,
    }
}

fn outcome(step: Step) -> Result<Grant, Refused> {
    match step {
        Step::Held(grant) => Ok(grant),
        Step::TimedOut => Err(Refused::Deadline),
        Step::Never(refused) => Err(refused),
        Step::Closed | Step::Spent | Step::Pending { .. } => Err(Refused::Closed),
    }
}
