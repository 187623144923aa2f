//! Many limiters by key, in bounded memory.
//!
//! Looking a key up is lock-free. Creating and evicting is done by one thread at a time, by the rules of `entry.rs`: a limiter that
//! has forgotten nothing is never replaced by one that knows nothing.

mod entry;
mod stats;
#[cfg(not(any(loom, shuttle)))]
mod table;
#[cfg(any(loom, shuttle))]
#[path = "table_model.rs"]
mod table;

pub use entry::Keyed;
pub use stats::MapStats;

use crate::error::{ConfigError, OutOfRange};
use crate::limit::Limit;
use crate::limiter::Builder;
use crate::sync::{Arc, Mutex, lock};
use entry::Entry;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// Longest key, in bytes.
pub const MAX_KEY: usize = 1024;

/// Entries that are looked at when room has to be made. Those that can go, go, so that the next ones find room.
const SWEEP: usize = 256;

/// Why there is no limiter for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MapError {
    /// The key is empty or too long.
    Key(OutOfRange),
    /// All limiters are in use, and keys do not share.
    Full,
    /// Somebody has given it limits that were once good and are no more; see [`LimiterMap::set_limits`].
    Limits(ConfigError),
    /// The map is closed.
    Closed,
}

impl std::fmt::Display for MapError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(error) => error.fmt(f),
            Self::Full => f.write_str("the map is full, and every limiter in it is in use"),
            Self::Limits(error) => error.fmt(f),
            Self::Closed => f.write_str("the map is closed"),
        }
    }
}

impl std::error::Error for MapError {}

/// Limiters by key: one for each user, team or model, made when it is first asked for.
///
/// A key is 1 to [`MAX_KEY`] bytes. At most `capacity` limiters are kept; one is evicted only when nobody can tell it from a new
/// one: full, idle, nobody waiting, nothing held, no pause, no handle. When all are in use, keys for which there is no room share
/// others, if there are such. A key keeps to its shared one until that is full again and unused; so it may get less than
/// its limits, never more.
///
/// Thread-safe. Looking up a key that is there takes no lock; creating one does, and takes microseconds. A limiter that nobody
/// waits for has no queue.
///
/// ```
/// use llmrl::{Cost, Limit, Limiter, LimiterMap};
///
/// let template = Limiter::builder().limit(Limit::requests(60)).limit(Limit::tokens(40_000));
/// let users = LimiterMap::new(template, 10_000, 16)?;
/// users.set_limits(b"alice", &[Limit::requests(600), Limit::tokens(400_000)])?;
///
/// let alice = users.get(b"alice")?;                 // keep it while the user is active: it is her limiter
/// let permit = alice.try_acquire(&Cost::tokens(300_000, 0))?;
/// permit.release();
/// assert!(users.get(b"bob")?.try_acquire(&Cost::tokens(300_000, 0)).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LimiterMap {
    table: table::Table,
    template: Builder,
    capacity: usize,
    hasher: RandomState,
    making: Mutex<Making>,
}

/// What only one thread at a time works on.
#[derive(Default)]
struct Making {
    entries: Vec<Arc<Entry>>,
    /// Where to look next for one that can go.
    hand: usize,
    shared: Vec<Option<Arc<Entry>>>,
    limits: HashMap<Box<[u8]>, Box<[Limit]>>,
    is_closed: bool,
    evictions: u64,
    created: u64,
    refused: u64,
    /// Of those that were evicted.
    granted: u64,
    denied: u64,
}

impl Making {
    /// What a limiter for `key` is made of.
    fn limits_of<'a>(&'a self, key: &[u8], template: &'a Builder) -> &'a [Limit] {
        match self.limits.get(key) {
            Some(limits) => limits,
            None => template.given(),
        }
    }
}

impl LimiterMap {
    /// Largest capacity.
    pub const MAX_CAPACITY: usize = 1 << 24;

    /// A map of limiters that are made as `template` says, `capacity` of them at most, 1 to
    /// [`MAX_CAPACITY`](Self::MAX_CAPACITY), and `shared` more for keys for which there is no room, up to 65,536; with 0 such
    /// keys are refused.
    ///
    /// The template's `max_waiters` are for each key; memory for them is taken when somebody waits for the first time.
    ///
    /// # Errors
    /// What [`Builder::build`] says of the template, and numbers out of range.
    pub fn new(template: Builder, capacity: usize, shared: usize) -> Result<Self, ConfigError> {
        OutOfRange::check("capacity", capacity as u64, 1, Self::MAX_CAPACITY as u64)?;
        let mut making = Making::default();
        OutOfRange::check("shared limiters", shared as u64, 0, 1 << 16)?;
        making.shared.resize(shared, None);
        let template = template.waits_late();
        // Checked now, so that no key meets what is wrong with it.
        template.clone().build()?;
        Ok(Self {
            table: table::Table::default(),
            template,
            capacity,
            hasher: RandomState::new(),
            making: Mutex::new(making),
        })
    }

    /// The limiter of `key`, which is made if there is none.
    ///
    /// # Errors
    /// [`MapError::Key`], [`MapError::Full`], [`MapError::Closed`].
    pub fn get(&self, key: &[u8]) -> Result<Keyed, MapError> {
        // One that is dead or not there is looked for again where only one thread is at a time.
        match self.table.find(key) {
            Some(keyed) => Ok(keyed),
            None => self.make(key),
        }
    }

    #[cold]
    fn make(&self, key: &[u8]) -> Result<Keyed, MapError> {
        check_key(key)?;
        let mut making = lock(&self.making);
        let making = &mut *making;
        if making.is_closed {
            return Err(MapError::Closed);
        }
        if let Some(keyed) = self.table.find(key) {
            return Ok(keyed);
        }
        if let Some(shared) = self.shared_in_use(making, key) {
            return Ok(shared);
        }
        if making.entries.len() >= self.capacity {
            self.sweep(making);
        }
        if making.entries.len() >= self.capacity {
            return self.share(making, key);
        }
        let limits = making.limits_of(key, &self.template);
        let entry = self.entry(key, limits).map_err(MapError::Limits)?;
        let keyed = entry.pin().expect("nobody else knows of it");
        self.table.insert(entry.clone());
        making.entries.push(entry);
        making.created += 1;
        Ok(keyed)
    }

    fn entry(&self, key: &[u8], limits: &[Limit]) -> Result<Arc<Entry>, ConfigError> {
        let limiter = self.template.clone().limits(limits).build()?;
        Ok(Entry::new(key, limiter))
    }

    /// The shared limiter that `key` belongs to as long as that is not as new.
    fn shared_in_use(&self, making: &mut Making, key: &[u8]) -> Option<Keyed> {
        let place = self.place(making, key)?;
        let shared = making.shared[place].as_ref()?;
        match shared.retire(self.template.given()) {
            false => shared.pin(),
            true => {
                making.shared[place] = None;
                None
            }
        }
    }

    fn share(&self, making: &mut Making, key: &[u8]) -> Result<Keyed, MapError> {
        let Some(place) = self.place(making, key) else {
            making.refused += 1;
            return Err(MapError::Full);
        };
        let entry = self
            .entry(&[], self.template.given())
            .map_err(MapError::Limits)?;
        let keyed = entry.pin().expect("nobody else knows of it");
        making.shared[place] = Some(entry);
        Ok(keyed)
    }

    fn place(&self, making: &Making, key: &[u8]) -> Option<usize> {
        let places = making.shared.len() as u64;
        (places > 0).then(|| (self.hasher.hash_one(key) % places) as usize)
    }

    /// Looks at the next entries, and evicts those that can go.
    fn sweep(&self, making: &mut Making) {
        for _ in 0..SWEEP.min(making.entries.len()) {
            making.hand %= making.entries.len();
            let entry = &making.entries[making.hand];
            if !entry.retire(making.limits_of(&entry.key, &self.template)) {
                making.hand += 1;
                continue;
            }
            let entry = making.entries.swap_remove(making.hand);
            self.table.remove(&entry.key);
            let stats = entry.limiter.stats();
            making.evictions += 1;
            making.granted += stats.granted;
            making.denied += stats.refused;
            if making.entries.is_empty() {
                return;
            }
        }
    }

    /// Gives `key` limits of its own, instead of the template's. They must be of the same number and kinds, in the same
    /// order; a limiter that is there is retuned. An empty slice takes them back. They are remembered until then, also while
    /// the key has no limiter, so their number is for the caller to bound.
    ///
    /// # Errors
    /// [`MapError::Key`]; [`MapError::Limits`] with the number that is out of range, or if they are of another kind.
    pub fn set_limits(&self, key: &[u8], limits: &[Limit]) -> Result<(), MapError> {
        check_key(key)?;
        let given = self.template.given();
        let wanted = if limits.is_empty() { given } else { limits };
        let count = given.len() as u64;
        OutOfRange::check("limits", wanted.len() as u64, count, count)
            .map_err(|error| MapError::Limits(error.into()))?;
        for (index, (limit, given)) in wanted.iter().zip(given).enumerate() {
            if !limit.is_kind_of(given) {
                let error = OutOfRange::count("limits of another kind or meter", 1, 0);
                return Err(MapError::Limits(ConfigError::at(index)(error)));
            }
        }
        let mut making = lock(&self.making);
        // What it says of numbers.
        self.entry(key, wanted).map_err(MapError::Limits)?;
        match limits.is_empty() {
            true => drop(making.limits.remove(key)),
            false => drop(making.limits.insert(key.into(), limits.into())),
        }
        if let Some(keyed) = self.table.find(key) {
            for (index, limit) in wanted.iter().enumerate() {
                keyed.retune_to(index, limit).map_err(MapError::Limits)?;
            }
        }
        Ok(())
    }

    /// Ends all waiting at all limiters, and refuses whatever comes; permits may still be settled.
    pub fn close(&self) {
        let mut making = lock(&self.making);
        making.is_closed = true;
        let entries: Vec<_> = making
            .entries
            .iter()
            .chain(making.shared.iter().flatten())
            .cloned()
            .collect();
        // Without the lock: it may call whoever is to be woken.
        drop(making);
        for entry in entries {
            entry.limiter.close();
        }
    }
}

impl std::fmt::Debug for LimiterMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LimiterMap")
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

fn check_key(key: &[u8]) -> Result<(), MapError> {
    OutOfRange::check("key length", key.len() as u64, 1, MAX_KEY as u64).map_err(MapError::Key)
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
