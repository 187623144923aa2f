//! Many limiters by name: which one a key belongs to, and which one can admit a request soonest.
//!
//! * `score.rs` weighted rendezvous, in integers; `ring.rs` the ring of virtual nodes
//! * `table.rs` the nodes as they are at one time: a value that is replaced by a change, so nobody waits for one
//! * `wait.rs` a request that stands in the queues of all nodes and goes with the first one that grants

mod ring;
mod score;
mod table;
mod wait;

pub use wait::{Routed, RoutedProgress, RoutedTicket, Unrouted};

use crate::error::OutOfRange;
use crate::limit::Cost;
use crate::limiter::{Caller, Limiter, Wake};
use crate::sync::{Arc, AtomicU64, Mutex, Relaxed, lock};
use std::any::Any;
use std::fmt;
use std::time::Duration;
use table::{Spot, Table};
use wait::Refusals;

/// Limiters by name, for two uses.
///
/// *One limit in many parts*: [`node_for`](Self::node_for) says to which node a key belongs. It is always the same one, in
/// every process and language, as long as the nodes are the same; a node that is added takes keys from the others in
/// proportion to its weight, and nothing else moves.
///
/// *Many deployments of one model*: [`try_acquire`](Self::try_acquire) and [`acquire`](Self::acquire) take the node that can admit
/// soonest. With a key, the node of that key comes first, and what it cannot admit now goes to the next one of the same key: so a
/// prompt cache is used while it can be. A node whose limits are paused, or whose limiter is closed, is passed over.
///
/// Thread-safe. Asking for a node takes a lock that is held for as long as it takes to count a reference, some 10 ns; a change of the
/// nodes makes a new table first and takes that lock only to put it in place.
///
/// ```
/// use llmrl::{Cost, Limit, Limiter, Router};
///
/// let router = Router::new();
/// router.add("east", 3, &Limiter::builder().limit(Limit::requests(300)).build()?)?;
/// router.add("west", 1, &Limiter::builder().limit(Limit::requests(100)).build()?)?;
///
/// let node = router.node_for(b"tenant 17").unwrap();
/// assert_eq!(node.name(), b"east");
///
/// let routed = router.acquire(&Cost::request(), Some(b"tenant 17"), None)?;
/// assert_eq!(routed.node().name(), b"east");
/// routed.release();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Router {
    /// Replaced as a whole.
    table: Mutex<Arc<Table>>,
    /// Held while nodes change, so that one change is made on top of the other. Nodes that were ever added.
    added: Mutex<u32>,
    replicas: Option<u32>,
    wake: Option<Arc<dyn Wake>>,
    /// Requests without a key.
    keyless: AtomicU64,
}

/// One limiter of a [`Router`], as it was when the router was asked.
#[derive(Clone)]
pub struct Node {
    name: Arc<[u8]>,
    hash: u64,
    number: u32,
    weight: u32,
    limiter: Limiter,
    home: Option<Home>,
}

/// What a binding keeps with a node: the object behind which it has the limiter.
pub(crate) type Home = Arc<dyn Any + Send + Sync>;

impl Node {
    /// As it was added.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Its share of the keys, in the sum of all weights. 0: no keys and no requests.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// How many nodes had been added to the router before it: 0 for the first. No other one gets it when this one has gone.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// What admits at this node.
    pub fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    pub(crate) fn home(&self) -> Option<&Home> {
        self.home.as_ref()
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Node(\"{}\", weight {})",
            self.name.escape_ascii(),
            self.weight
        )
    }
}

impl Router {
    /// The field of the error that there is no node of a name.
    pub(crate) const NO_SUCH_NODE: &str = "nodes of that name";

    /// Most nodes at a time.
    pub const MAX_NODES: usize = 1024;
    /// Longest name, in bytes.
    pub const MAX_NAME: usize = 255;
    /// Largest weight.
    pub const MAX_WEIGHT: u32 = 1_000_000;
    /// Most virtual nodes of one node of weight 1.
    pub const MAX_REPLICAS: u32 = 10_000;
    /// Most virtual nodes of all nodes together; each needs 32 bytes.
    pub const MAX_POINTS: u64 = 1 << 20;

    /// A router without nodes. A key draws a number at each node and belongs to the smallest one: weighted rendezvous, shares
    /// exact to 1 in 4000. A look-up costs some nanoseconds per node, about four times as many if weights differ.
    pub fn new() -> Self {
        Self::with(None)
    }

    /// A router without nodes that places keys on a ring, on which each node has `replicas` points (1 to
    /// [`MAX_REPLICAS`](Self::MAX_REPLICAS)) for each unit of its weight: MD5 of `name:0`, `name:1`, ..., and of the key. For those who
    /// have keys placed like that. A look-up is one MD5 and a binary search; shares differ by some percent, and the weights must be small.
    ///
    /// # Errors
    /// `replicas` out of range.
    pub fn ring(replicas: u32) -> Result<Self, OutOfRange> {
        OutOfRange::check("replicas", replicas.into(), 1, Self::MAX_REPLICAS.into())?;
        Ok(Self::with(Some(replicas)))
    }

    fn with(replicas: Option<u32>) -> Self {
        Self {
            table: Mutex::new(Arc::new(Table::new(Vec::new(), replicas))),
            added: Mutex::new(0),
            replicas,
            wake: None,
            keyless: AtomicU64::new(0),
        }
    }

    /// Whom to tell that a [ticket](Self::enqueue) should be polled again.
    pub fn wake(mut self, wake: Arc<dyn Wake>) -> Self {
        self.wake = Some(wake);
        self
    }

    /// One more node. The limiter may be used without the router, too, and be a node of several routers. Gives the node's
    /// [number](Node::number).
    ///
    /// Takes milliseconds if there are many points on a ring, microseconds else. Whoever waits keeps the places that it has,
    /// here as in the following.
    ///
    /// # Errors
    /// A name that is there already, or is not of 1 to [`MAX_NAME`](Self::MAX_NAME) bytes; a weight above
    /// [`MAX_WEIGHT`](Self::MAX_WEIGHT); too many nodes, or points on the ring.
    pub fn add(
        &self,
        name: impl AsRef<[u8]>,
        weight: u32,
        limiter: &Limiter,
    ) -> Result<u32, OutOfRange> {
        self.add_home(name.as_ref(), weight, limiter, None)
    }

    pub(crate) fn add_home(
        &self,
        name: &[u8],
        weight: u32,
        limiter: &Limiter,
        home: Option<Home>,
    ) -> Result<u32, OutOfRange> {
        OutOfRange::check("name (bytes)", name.len() as u64, 1, Self::MAX_NAME as u64)?;
        self.change(|nodes, number| {
            let same = nodes.iter().filter(|node| *node.name == *name).count() as u64;
            OutOfRange::check("nodes of that name", same + 1, 1, 1)?;
            OutOfRange::check("nodes", nodes.len() as u64 + 1, 0, Self::MAX_NODES as u64)?;
            nodes.push(Arc::new(Node {
                name: name.into(),
                hash: score::of_name(name),
                number: *number,
                weight,
                limiter: limiter.clone(),
                home,
            }));
            *number += 1;
            Ok(*number - 1)
        })
    }

    /// Takes a node away: its keys belong to others, and it gets no more requests. Permits that are held are not touched.
    /// Those who wait may still be admitted there; [close](Limiter::close) its limiter, and they wait for the other nodes only.
    ///
    /// # Errors
    /// No node of that name.
    pub fn remove(&self, name: impl AsRef<[u8]>) -> Result<(), OutOfRange> {
        self.change(|nodes, _| {
            nodes.remove(find(nodes, name.as_ref())?);
            Ok(())
        })
    }

    /// Another share for a node, 0 to [`MAX_WEIGHT`](Self::MAX_WEIGHT): keys move only to it, or only away from it.
    ///
    /// # Errors
    /// No node of that name; a weight out of range; too many points on the ring.
    pub fn set_weight(&self, name: impl AsRef<[u8]>, weight: u32) -> Result<(), OutOfRange> {
        self.change(|nodes, _| {
            let index = find(nodes, name.as_ref())?;
            nodes[index] = Arc::new(Node {
                weight,
                ..(*nodes[index]).clone()
            });
            Ok(())
        })
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&mut Vec<Arc<Node>>, &mut u32) -> Result<T, OutOfRange>,
    ) -> Result<T, OutOfRange> {
        let mut added = lock(&self.added);
        let (mut nodes, mut number) = (self.table().nodes.to_vec(), *added);
        let changed = change(&mut nodes, &mut number)?;
        let weights = nodes.iter().map(|node| u64::from(node.weight));
        let heaviest = weights.clone().max().unwrap_or(0);
        OutOfRange::check("weight", heaviest, 0, Self::MAX_WEIGHT.into())?;
        if let Some(replicas) = self.replicas {
            let points = weights.sum::<u64>() * u64::from(replicas);
            OutOfRange::check("points on the ring", points, 0, Self::MAX_POINTS)?;
        }
        let table = Arc::new(Table::new(nodes, self.replicas));
        let before = std::mem::replace(&mut *lock(&self.table), table);
        *added = number;
        // Not under the lock: it may be the last that knows of a limiter.
        drop(before);
        Ok(changed)
    }

    fn table(&self) -> Arc<Table> {
        lock(&self.table).clone()
    }

    /// The nodes as they are now, in the order in which they were added.
    pub fn nodes(&self) -> Vec<Arc<Node>> {
        self.table().nodes.to_vec()
    }

    /// The node to which `key` belongs; `None` if there is none with a weight. What its limiter would say is not asked: use it to
    /// spread one limit over named parts.
    pub fn node_for(&self, key: &[u8]) -> Option<Arc<Node>> {
        let table = self.table();
        table.first(table.spot(key)).cloned()
    }

    /// Asks for admission now: at the node of `key`, then at the others in that key's order. Requests without a key ask a node
    /// that is chosen by weight first.
    ///
    /// # Errors
    /// No node admits it now. [`Refused::NotNow`] comes with the node whose wait is the shortest; [`Refused::Never`] and
    /// [`Refused::Closed`] only if the others say no better.
    pub fn try_acquire(&self, cost: &Cost, key: Option<&[u8]>) -> Result<Routed, Unrouted> {
        let mut refusals = Refusals::default();
        check(cost)?;
        let routed = self.find(key, |node| match node.limiter.admit(cost, true) {
            Ok(grant) => Some(Routed::new(node.clone(), grant)),
            Err(refused) => {
                refusals.note(node, refused);
                None
            }
        });
        routed.ok_or_else(|| refusals.best())
    }

    /// Waits in the queues of all nodes, and takes the first that admits it; for `timeout` at most.
    ///
    /// # Errors
    /// At once or later, when no node is left to wait for: as [`Limiter::acquire_timeout`], with the reason of the node that came
    /// closest. A wait is known to be too long only if it is so without those who wait already.
    pub fn acquire(
        &self,
        cost: &Cost,
        key: Option<&[u8]>,
        timeout: Option<Duration>,
    ) -> Result<Routed, Unrouted> {
        match self.admit_now(cost, key)? {
            Some(routed) => Ok(routed),
            None => self.stand(cost, key, timeout, Caller::thread())?.block(),
        }
    }

    /// Joins the queues of all nodes and comes back at once, for event loops: to be
    /// [polled](RoutedTicket::poll) at the time that the last poll has named, and when [`wake`](Self::wake) is called with `token`.
    /// One that could be admitted now is so at the first poll.
    ///
    /// A ticket has a place in the queue of each node, and each queue has its `max_waiters`. One that is full is passed over.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    ///
    /// ```
    /// use llmrl::{Clock, Cost, Limit, Limiter, ManualClock, RoutedProgress, Router};
    /// use std::time::Duration;
    ///
    /// let (hand, router) = (ManualClock::new(0), Router::new());
    /// for (name, per_minute) in [("slow", 1), ("fast", 60)] {
    ///     let limit = Limit::requests(per_minute).burst(1).start_empty();
    ///     let limiter = Limiter::builder().limit(limit).clock(Clock::from(&hand)).build()?;
    ///     router.add(name, 1, &limiter)?;
    /// }
    /// let mut ticket = router.enqueue(&Cost::request(), None, None, 1)?;
    /// let RoutedProgress::Pending { wait } = ticket.poll() else { panic!() };
    /// assert_eq!(wait, Some(Duration::from_secs(1)));
    /// hand.advance(Duration::from_secs(1));
    /// let RoutedProgress::Held(routed) = ticket.poll() else { panic!() };
    /// assert_eq!(routed.node().name(), b"fast");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn enqueue(
        &self,
        cost: &Cost,
        key: Option<&[u8]>,
        timeout: Option<Duration>,
        token: u64,
    ) -> Result<RoutedTicket, Unrouted> {
        let caller = Caller::event_loop(self.wake.clone(), token);
        self.stand(cost, key, timeout, caller)
    }

    /// A node that admits it now, without a word about those that do not.
    pub(crate) fn admit_now(
        &self,
        cost: &Cost,
        key: Option<&[u8]>,
    ) -> Result<Option<Routed>, Unrouted> {
        check(cost)?;
        Ok(self.find(key, |node| {
            let grant = node.limiter.admit_now(cost)?;
            Some(Routed::new(node.clone(), grant))
        }))
    }

    fn stand(
        &self,
        cost: &Cost,
        key: Option<&[u8]>,
        timeout: Option<Duration>,
        caller: Caller,
    ) -> Result<RoutedTicket, Unrouted> {
        check(cost)?;
        let table = self.table();
        RoutedTicket::new(&table.order(self.spot(&table, key)), cost, timeout, caller)
    }

    fn spot(&self, table: &Table, key: Option<&[u8]>) -> Spot {
        match key {
            Some(key) => table.spot(key),
            None => Table::anywhere(self.keyless.fetch_add(1, Relaxed)),
        }
    }

    /// The first that one of the nodes gives. Mostly the first node does, and no order is needed.
    fn find<T>(
        &self,
        key: Option<&[u8]>,
        mut ask: impl FnMut(&Arc<Node>) -> Option<T>,
    ) -> Option<T> {
        let table = self.table();
        let spot = self.spot(&table, key);
        let first = table.first(spot)?;
        ask(first).or_else(|| table.order(spot).iter().skip(1).find_map(ask))
    }
}

impl Default for Router {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.nodes()).finish()
    }
}

/// A cost that cannot be is no node's fault.
fn check(cost: &Cost) -> Result<(), Unrouted> {
    let amounts = cost.amounts();
    amounts.map_err(|error| Unrouted::unasked(error.into()))?;
    Ok(())
}

fn find(nodes: &[Arc<Node>], name: &[u8]) -> Result<usize, OutOfRange> {
    let found = nodes.iter().position(|node| *node.name == *name);
    found.ok_or(OutOfRange::count(Router::NO_SUCH_NODE, 0, 1))
}
