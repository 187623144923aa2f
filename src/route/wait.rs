//! A request that stands in the queues of several limiters and goes with the first that grants it.
//!
//! It has a ticket at each of them, all with one callback, so it is in FIFO order everywhere. Several may grant it before its owner
//! has looked: the owner takes the first in its order, and each other one gets everything back, at once. The deadline stands in
//! each ticket, on the clock of its limiter.

use super::Node;
use crate::error::Refused;
use crate::feedback::Reading;
use crate::limit::Cost;
use crate::limiter::{Advice, Caller, Grant, Guest, Step, Ticket, Wake};
use crate::sync::Arc;
use std::fmt;
use std::time::Duration;

/// An admitted request, and the node that has admitted it. To be settled like a [`Permit`](crate::Permit); dropped, it
/// frees its slot, and the estimate stands.
#[derive(Debug)]
#[must_use = "dropping a permit at once frees its slot while the request has not even begun"]
pub struct Routed {
    node: Arc<Node>,
    grant: Grant,
    is_over: bool,
}

impl Routed {
    pub(super) fn new(node: Arc<Node>, grant: Grant) -> Self {
        Self {
            node,
            grant,
            is_over: false,
        }
    }

    /// Where the request is to be sent.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// As [`Permit::settle`](crate::Permit::settle).
    ///
    /// # Errors
    /// As there.
    pub fn settle(mut self, cost: &Cost) -> Result<(), Refused> {
        self.node.limiter.settle_grant(self.grant, cost)?;
        self.is_over = true;
        Ok(())
    }

    /// As [`Permit::adjust`](crate::Permit::adjust).
    ///
    /// # Errors
    /// As there.
    pub fn adjust(&mut self, cost: &Cost) -> Result<(), Refused> {
        self.node.limiter.adjust_grant(&mut self.grant, cost)
    }

    /// As [`Permit::feedback`](crate::Permit::feedback).
    pub fn feedback(&mut self, reading: &Reading) -> Advice {
        self.node.limiter.feedback_grant(&mut self.grant, reading)
    }

    /// As [`Permit::release`](crate::Permit::release).
    pub fn release(self) {}

    /// As [`Permit::cancel`](crate::Permit::cancel).
    pub fn cancel(self) {
        let (node, grant) = self.into_parts();
        node.limiter.cancel_grant(grant);
    }

    /// The grant is the caller's from here on.
    pub(crate) fn into_parts(mut self) -> (Arc<Node>, Grant) {
        self.is_over = true;
        (self.node.clone(), self.grant)
    }
}

impl Drop for Routed {
    fn drop(&mut self) {
        if !self.is_over {
            self.node.limiter.release_grant(self.grant);
        }
    }
}

/// Why no node admits a request. It has taken nothing, from any of them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Unrouted {
    /// What the node says that came closest: [`NotNow`](Refused::NotNow) with the shortest wait, or else full, too late, never,
    /// closed, in this order. [`NoNode`](Refused::NoNode) if there is none to ask.
    pub refused: Refused,
    /// That node; `None` if no node was asked.
    pub node: Option<Arc<Node>>,
}

impl Unrouted {
    pub(super) fn unasked(refused: Refused) -> Self {
        let node = None;
        Self { refused, node }
    }
}

impl fmt::Display for Unrouted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Some(node) => write!(f, "{node:?}: {}", self.refused),
            None => self.refused.fmt(f),
        }
    }
}

impl std::error::Error for Unrouted {}

/// What nodes have said, as far as it matters: the best of it.
#[derive(Debug, Default)]
pub(super) struct Refusals(Option<Unrouted>);

impl Refusals {
    pub(super) fn note(&mut self, node: &Arc<Node>, refused: Refused) {
        let is_better = |best: &Unrouted| rank(&refused) < rank(&best.refused);
        if self.0.as_ref().is_none_or(is_better) {
            let node = Some(node.clone());
            self.0 = Some(Unrouted { refused, node });
        }
    }

    pub(super) fn best(&mut self) -> Unrouted {
        self.0.take().unwrap_or(Unrouted::unasked(Refused::NoNode))
    }
}

/// Less is closer to being admitted.
fn rank(refused: &Refused) -> (u32, Duration) {
    match refused {
        Refused::NotNow { wait: Some(wait) } => (0, *wait),
        Refused::NotNow { wait: None } => (1, Duration::ZERO),
        Refused::Full => (2, Duration::ZERO),
        Refused::Deadline => (3, Duration::ZERO),
        Refused::Never { .. } => (4, Duration::ZERO),
        Refused::Closed | Refused::NoNode | Refused::Cost(_) => (5, Duration::ZERO),
    }
}

/// As the limiters know the one who waits. Its callback has the token.
fn guest(wake: &Arc<dyn Wake>) -> Guest<'_> {
    Guest {
        wake,
        token: 0,
        is_elsewhere: true,
    }
}

/// A place in the queue of each node of a [`Router`](super::Router). Dropped, it leaves them all, and what was granted
/// meanwhile is given back.
#[must_use = "a ticket that is dropped has left the queues"]
pub struct RoutedTicket {
    /// Those that are left, in the order in which they are preferred.
    places: Vec<(Arc<Node>, Ticket)>,
    caller: Arc<Caller>,
    /// The same, as the limiters call it.
    wake: Arc<dyn Wake>,
    refusals: Refusals,
    is_over: bool,
}

/// How a [`RoutedTicket`] stands.
#[derive(Debug)]
pub enum RoutedProgress {
    /// A node has admitted it.
    Held(Routed),
    /// It waits.
    Pending {
        /// After so long time alone may have brought its turn, somewhere: poll then, or when woken. `None`: when woken.
        wait: Option<Duration>,
    },
    /// It is over at every node.
    Ended(Unrouted),
    /// It was over before this poll.
    Spent,
}

impl RoutedTicket {
    pub(super) fn new(
        nodes: &[Arc<Node>],
        cost: &Cost,
        timeout: Option<Duration>,
        caller: Caller,
    ) -> Result<Self, Unrouted> {
        let caller = Arc::new(caller);
        let wake = caller.clone() as Arc<dyn Wake>;
        let mut refusals = Refusals::default();
        let mut places = Vec::with_capacity(nodes.len());
        for node in nodes {
            match node.limiter.enqueue_guest(cost, timeout, guest(&wake)) {
                Ok(ticket) => places.push((node.clone(), ticket)),
                Err(refused) => refusals.note(node, refused),
            }
        }
        if places.is_empty() {
            return Err(refusals.best());
        }
        Ok(Self {
            places,
            caller,
            wake,
            refusals,
            is_over: false,
        })
    }

    /// Looks at every queue, and moves it along. Any answer but `Pending` ends the ticket.
    ///
    /// Between a `Pending` and the next poll [`Wake`] is called once at most, whatever the number of nodes.
    pub fn poll(&mut self) -> RoutedProgress {
        if self.is_over {
            return RoutedProgress::Spent;
        }
        self.caller.heard();
        self.look()
    }

    /// Leaves all queues.
    pub fn cancel(self) {}

    pub(super) fn block(mut self) -> Result<Routed, Unrouted> {
        loop {
            let heard = self.caller.heard();
            match self.look() {
                RoutedProgress::Held(routed) => return Ok(routed),
                RoutedProgress::Pending { wait } => self.caller.sleep(heard, wait),
                RoutedProgress::Ended(unrouted) => return Err(unrouted),
                RoutedProgress::Spent => return Err(self.refusals.best()),
            }
        }
    }

    fn look(&mut self) -> RoutedProgress {
        let (mut held, mut soonest) = (None, None::<Duration>);
        let (guest, refusals) = (guest(&self.wake), &mut self.refusals);
        self.places.retain_mut(|(node, ticket)| {
            // What is behind the first that grants is left below.
            if held.is_some() {
                return true;
            }
            let refused = match node.limiter.advance_guest(ticket, guest) {
                Step::Pending { wait } => {
                    soonest = soonest.into_iter().chain(wait).min();
                    return true;
                }
                Step::Held(grant) => {
                    held = Some(Routed::new(node.clone(), grant));
                    return false;
                }
                Step::TimedOut => Refused::Deadline,
                Step::Never(refused) => refused,
                Step::Closed | Step::Spent => Refused::Closed,
            };
            refusals.note(node, refused);
            false
        });
        if let Some(routed) = held {
            self.leave();
            return RoutedProgress::Held(routed);
        }
        if self.places.is_empty() {
            self.is_over = true;
            return RoutedProgress::Ended(self.refusals.best());
        }
        RoutedProgress::Pending { wait: soonest }
    }

    fn leave(&mut self) {
        self.is_over = true;
        for (node, ticket) in self.places.drain(..) {
            node.limiter.leave_guest(ticket, guest(&self.wake));
        }
    }
}

impl Drop for RoutedTicket {
    fn drop(&mut self) {
        self.leave();
    }
}

impl fmt::Debug for RoutedTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = self.places.iter().map(|(node, _)| node);
        f.debug_list().entries(nodes).finish()
    }
}
