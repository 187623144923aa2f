//! Several limits and one queue, one step at a time.

use super::bucket::Check;
use super::rules::{Ledger, Rule, Rules};
use super::script::{Answer, Name, Op, Setup, Wait};
use llmrl::{Cost, Limit};
use std::collections::{HashMap, VecDeque};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the queue; the deadline is the last instant at which a grant is welcome.
    Waiting {
        deadline: Option<u64>,
    },
    /// Decided, but its owner has not asked since.
    Granted,
    TimedOut,
    Misfit,
    Held,
}

#[derive(Clone)]
struct Ticket {
    cost: Cost,
    state: State,
    /// When it was charged; while it waits, when it came.
    at: u64,
}

/// See [`super`].
#[derive(Clone)]
pub struct Model {
    now: u64,
    rules: Rules,
    tickets: HashMap<Name, Ticket>,
    /// In order. One whose name no longer waits has left, and counts until the queue has passed it.
    queue: VecDeque<Name>,
    max_waiters: usize,
    closed: bool,
    /// What the library has answered: see [`apply_beside`](Self::apply_beside).
    other: Option<Answer>,
    pub granted: u64,
}

impl Model {
    pub fn new(setup: &Setup) -> Self {
        Self {
            now: setup.start_ns,
            rules: Rules::new(&setup.limits, setup.start_ns),
            tickets: HashMap::new(),
            queue: VecDeque::new(),
            max_waiters: setup.max_waiters,
            closed: false,
            other: None,
            granted: 0,
        }
    }

    pub fn now(&self) -> u64 {
        self.now
    }

    /// Time by itself changes nothing: somebody has to look.
    pub fn advance_to(&mut self, at: u64) {
        assert!(at >= self.now);
        self.now = at;
    }

    pub fn available(&self, limit: usize) -> i64 {
        self.rules.available(limit, self.now)
    }

    pub fn in_flight(&self) -> u64 {
        self.rules.in_flight()
    }

    /// See [`Bucket::is_hair_breadth`].
    pub fn is_hair_breadth(&self, at: u64) -> bool {
        let mut ledgers = self.rules.ledgers();
        ledgers.any(|(_, ledger)| ledger.is_hair_breadth(at))
    }

    /// Whether the library may say `other` where the model says `own`.
    pub fn agrees(&self, own: &Answer, other: &Answer) -> bool {
        match (own, other) {
            (Answer::Refused(Wait::Open), Answer::Refused(_)) => true,
            (Answer::Pending(Wait::Open), Answer::Pending(_)) => true,
            (Answer::Refused(own), Answer::Refused(other))
            | (Answer::Pending(own), Answer::Pending(other)) => match (own, other) {
                (Wait::Ns(own), Wait::Ns(other)) if own > other => {
                    self.is_hair_breadth(self.now + other)
                }
                _ => own == other,
            },
            _ => own == other,
        }
    }

    fn take(&mut self, cost: &Cost) {
        self.granted += 1;
        self.rules.take(cost, self.now);
    }

    /// Grants from the front whatever can be granted now.
    pub fn pump(&mut self) {
        while let Some(&head) = self.queue.front() {
            if let Some(&Ticket {
                cost,
                state: State::Waiting { deadline },
                ..
            }) = self.tickets.get(&head)
            {
                let outcome = if self.closed {
                    return;
                } else if deadline.is_some_and(|deadline| self.now > deadline) {
                    State::TimedOut
                } else {
                    match self.rules.check(&cost, self.now) {
                        Check::Never => State::Misfit,
                        Check::At(_) => return,
                        Check::Yes => {
                            self.take(&cost);
                            State::Granted
                        }
                    }
                };
                self.tickets.insert(
                    head,
                    Ticket {
                        cost,
                        state: outcome,
                        at: self.now,
                    },
                );
            }
            self.queue.pop_front();
        }
    }

    /// Does as [`apply`](Self::apply), and as the library where it may choose: who joins a queue is told that it takes too
    /// long if that is known, and how long the queue takes at a limit with windows need not be known exactly.
    pub fn apply_beside(&mut self, op: &Op, other: &Answer) -> Answer {
        self.other = Some(*other);
        let own = self.apply(op);
        self.other = None;
        own
    }

    pub fn apply(&mut self, op: &Op) -> Answer {
        match *op {
            Op::TryAcquire { name, ref cost } => self.try_acquire(name, cost),
            Op::Enqueue {
                name,
                ref cost,
                timeout_ns,
            } => self.enqueue(name, cost, timeout_ns),
            Op::Poll(name) => self.poll(name),
            Op::Adjust(name, ref cost) => self.settle(name, Some(cost), false),
            Op::Settle(name, ref cost) => self.settle(name, Some(cost), true),
            Op::Release(name) => self.settle(name, None, true),
            Op::Cancel(name) => self.cancel(name),
            Op::Charge(ref cost) => {
                if !in_range(cost) {
                    return Answer::Cost;
                }
                if self.rules.replace(&NOTHING, cost, self.now, self.now) {
                    self.pump();
                }
                Answer::Ok
            }
            Op::Retune {
                limit,
                amount,
                period_ns,
                burst,
            } => self.change(limit, |ledger, now| {
                Some(ledger.retune(amount, period_ns, burst, now))
            }),
            Op::Align {
                limit,
                resets_in_ns,
            } => self.change(limit, |ledger, now| ledger.align(resets_in_ns, now)),
            Op::Pause { limit, ns } => self.change(limit, |ledger, now| {
                ledger.pause(ns, now);
                Some(true)
            }),
            Op::Resize(n) => {
                let in_range = (1..=Limit::MAX_IN_FLIGHT).contains(&n);
                if !in_range || !self.rules.resize(n) {
                    return Answer::Range;
                }
                self.pump();
                Answer::Ok
            }
            Op::Close => {
                self.closed = true;
                Answer::Ok
            }
        }
    }

    fn try_acquire(&mut self, name: Name, cost: &Cost) -> Answer {
        if !is_request(cost) {
            return Answer::Cost;
        }
        if self.closed {
            return Answer::Closed;
        }
        self.pump();
        match self.rules.check(cost, self.now) {
            Check::Never => Answer::Never,
            Check::Yes if self.queue.is_empty() => {
                self.take(cost);
                let (cost, state, at) = (*cost, State::Held, self.now);
                self.tickets.insert(name, Ticket { cost, state, at });
                Answer::Ok
            }
            // Who comes from outside does not pass those who wait.
            Check::Yes => Answer::Refused(Wait::Open),
            Check::At(_) if self.rules.slot_is_missing() => Answer::Refused(Wait::Forever),
            Check::At(_) if !self.queue.is_empty() => Answer::Refused(Wait::Open),
            Check::At(at) => Answer::Refused(self.until(at)),
        }
    }

    fn until(&self, at: Option<u64>) -> Wait {
        at.map_or(Wait::Forever, |at| Wait::Ns(at - self.now))
    }

    fn enqueue(&mut self, name: Name, cost: &Cost, timeout_ns: Option<u64>) -> Answer {
        if !is_request(cost) {
            return Answer::Cost;
        }
        if self.closed {
            return Answer::Closed;
        }
        if self.rules.misfit(cost) {
            return Answer::Never;
        }
        // Whether who is turned away moves the queue is the library's business. But nobody is turned away for
        // the sake of those who would have left.
        let mut moved = self.clone();
        moved.pump();
        let deadline = timeout_ns.map(|timeout| self.now.saturating_add(timeout));
        let ahead: Vec<Cost> = moved.waiting().map(|ticket| ticket.cost).collect();
        let is_late = |queues: fn(&Ledger) -> bool| {
            let due = moved.rules.due_after(cost, &ahead, self.now, queues);
            let due = due.map(|due| due.max(moved.head_settled()));
            deadline.is_some_and(|deadline| due.is_none_or(|due| due > deadline))
        };
        let is_known = |ledger: &Ledger| matches!(ledger, Ledger::Bucket(_));
        let may_choose = self.other.is_some_and(|other| other != Answer::Deadline);
        if is_late(is_known) || is_late(|_| true) && !may_choose {
            return Answer::Deadline;
        }
        if moved.places_taken() >= self.max_waiters {
            return Answer::Full;
        }
        let (cost, state, at) = (*cost, State::Waiting { deadline }, self.now);
        self.tickets.insert(name, Ticket { cost, state, at });
        self.queue.push_back(name);
        self.poll(name)
    }

    /// The instant before which nobody comes after the head, if nothing comes back: it is due, or its time is over.
    fn head_settled(&self) -> u64 {
        let Some(head) = self.waiting().next() else {
            return 0;
        };
        let due = match self.rules.check(&head.cost, self.now) {
            Check::At(due) => due.unwrap_or(0),
            _ => 0,
        };
        match head.state {
            State::Waiting {
                deadline: Some(deadline),
            } => due.min(deadline + 1),
            _ => due,
        }
    }

    fn waiting(&self) -> impl Iterator<Item = &Ticket> {
        let tickets = self.queue.iter().filter_map(|name| self.tickets.get(name));
        tickets.filter(|ticket| matches!(ticket.state, State::Waiting { .. }))
    }

    /// Those in the queue, also who has left and was not passed yet, and those with an outcome not asked for.
    fn places_taken(&self) -> usize {
        let unasked = [State::Granted, State::TimedOut, State::Misfit];
        let decided = self
            .tickets
            .values()
            .filter(|ticket| unasked.contains(&ticket.state));
        self.queue.len() + decided.count()
    }

    fn poll(&mut self, name: Name) -> Answer {
        if !self.tickets.contains_key(&name) {
            return Answer::Stale;
        }
        if let Some(answer) = self.outcome(name) {
            return answer;
        }
        self.pump();
        if let Some(answer) = self.outcome(name) {
            return answer;
        }
        let Some(Ticket {
            cost,
            state: State::Waiting { deadline },
            at,
        }) = self.tickets.get(&name)
        else {
            return Answer::Stale;
        };
        let (cost, deadline) = (*cost, *deadline);
        // Who has no time at all is not there at the last instant either.
        let has_none = deadline == Some(*at);
        if self.closed || has_none || deadline.is_some_and(|deadline| self.now > deadline) {
            self.tickets.remove(&name);
            self.pump();
            return if self.closed {
                Answer::Closed
            } else {
                Answer::Deadline
            };
        }
        self.rules.look(self.now);
        // Time changes something when it is covered, or when it is too late.
        if self.queue.front() != Some(&name) {
            return Answer::Pending(Wait::Open);
        }
        let Check::At(due) = self.rules.check(&cost, self.now) else {
            unreachable!("a head that can be decided has been")
        };
        let late = deadline.map(|deadline| deadline.saturating_add(1));
        Answer::Pending(self.until(due.into_iter().chain(late).min()))
    }

    /// What the owner of `name` gets to know without the queue being looked at.
    fn outcome(&mut self, name: Name) -> Option<Answer> {
        let ticket = self.tickets.get_mut(&name)?;
        let answer = match ticket.state {
            State::Waiting { .. } => return None,
            State::Held => return Some(Answer::Ok),
            State::Granted => {
                ticket.state = State::Held;
                self.rules.look(self.now);
                return Some(Answer::Ok);
            }
            State::TimedOut => Answer::Deadline,
            State::Misfit => Answer::Never,
        };
        self.tickets.remove(&name);
        Some(answer)
    }

    /// Replaces the estimate by `actual`, or lets it stand; `ends` frees the slot.
    fn settle(&mut self, name: Name, actual: Option<&Cost>, ends: bool) -> Answer {
        let Some(Ticket {
            cost,
            state: State::Held,
            at,
        }) = self.tickets.get(&name)
        else {
            return Answer::Stale;
        };
        let (reserved, actual, at) = (*cost, *actual.unwrap_or(cost), *at);
        if !is_request(&actual) {
            return Answer::Cost;
        }
        let mut told = self.rules.replace(&reserved, &actual, at, self.now);
        if ends {
            self.tickets.remove(&name);
            self.rules.free_slots(1);
            told |= self.rules.has_slots();
        } else {
            let (cost, state) = (actual, State::Held);
            self.tickets.insert(name, Ticket { cost, state, at });
        }
        if told {
            self.pump();
        }
        Answer::Ok
    }

    fn cancel(&mut self, name: Name) -> Answer {
        let Some(ticket) = self.tickets.remove(&name) else {
            return Answer::Stale;
        };
        if matches!(ticket.state, State::Held | State::Granted) {
            let Ticket { cost, at, .. } = ticket;
            self.rules.replace(&cost, &NOTHING, at, self.now);
            self.rules.free_slots(1);
        }
        self.pump();
        Answer::Ok
    }

    /// Makes a change; nothing is said of a limit that cannot be changed so.
    fn change(
        &mut self,
        limit: usize,
        change: impl FnOnce(&mut Ledger, u64) -> Option<bool>,
    ) -> Answer {
        let now = self.now;
        let changed = match self.rules.get_mut(limit) {
            None => return Answer::Index,
            Some(Rule::Quota(_, ledger)) => change(ledger, now),
            Some(Rule::InFlight { .. }) => Some(false),
        };
        match changed {
            Some(true) => {
                self.pump();
                Answer::Ok
            }
            Some(false) => Answer::Range,
            None => Answer::Index,
        }
    }
}

const NOTHING: Cost = Cost {
    requests: 0,
    input: 0,
    output: 0,
    cached: 0,
    cache_write: 0,
};

fn in_range(cost: &Cost) -> bool {
    let Cost {
        requests,
        input,
        output,
        cached,
        cache_write,
    } = *cost;
    let tokens = input.saturating_add(output);
    requests.max(tokens) <= Cost::MAX && cached.max(cache_write) <= Cost::MAX_CACHED
}

/// A cost that can be asked for, or settled.
fn is_request(cost: &Cost) -> bool {
    cost.requests > 0 && in_range(cost)
}
