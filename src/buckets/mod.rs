//! Token buckets by key: one for each user, address or tenant, in a fixed amount of memory.

mod hash;
mod table;

use crate::clock::{Clock, Scale};
use crate::error::{ConfigError, OutOfRange};
use crate::limit::account::{MAX_DEBT, check_amount, need, never_fits};
use crate::limit::line::Line;
use crate::limit::{Kind, Limit, Shape, Short};
use hash::Secret;
use std::fmt;
use table::{Moment, Table, Unable};

/// A token bucket per key, for services that refuse rather than let wait.
///
/// All buckets are alike: one rate, one burst. A key that was not seen before has a full bucket. A bucket that has become full
/// again, whose key is nothing to remember by, may give way to another key's. No other bucket does: a key that has used up
/// what it has gets nothing new before it is due, however many keys come by. Over any interval, what a key takes minus what
/// is refunded to it stays within the burst plus what the interval produces, as in a [`TokenBucket`](crate::TokenBucket).
///
/// The memory is taken when the map is made, and nothing is ever allocated afterwards: 32.25 bytes for each key of the
/// `capacity`, and 5 KiB. Twice as many buckets fit; how many of them are not full is what counts. As long as these are no more than
/// the capacity, about five keys in a million find no room. [`Overflow`] says what becomes of those.
///
/// Keys are told apart by a hash of 64 bits under a random secret of this map, SipHash-1-3: nobody who does not know it can choose keys
/// that meet. Two that do meet by chance (of a million keys some pair, with a probability of 1 in 37 million) share a bucket.
///
/// Thread-safe. Finding a bucket and taking from it is one hash, mostly one cache line, one clock reading and one
/// compare-exchange, and waits for nobody; refusing writes nothing. A key that has no bucket comes in through a lock, one of 32,
/// held for some hundred nanoseconds. When nobody uses a map of 10^9 tokens a second for three weeks (10^6: 60 years), some
/// keys may be refused for the next four (70 years); nobody gets too much.
///
/// ```
/// use llmrl::{BucketMap, Clock, Denied, Limit, ManualClock};
/// use std::time::Duration;
///
/// let hand = ManualClock::new(0);
/// let limit = Limit::requests(60).burst(2);                        // one a second, two at once
/// let users = BucketMap::new(limit, 100_000, &Clock::from(&hand))?;
/// assert!(users.try_take("alice", 2).is_ok());
/// let Err(Denied::Short(short)) = users.try_take("alice", 1) else { panic!() };
/// assert_eq!(short.wait(), Some(Duration::from_secs(1)));
/// assert!(users.try_take("bob", 1).is_ok());
/// assert!(users.try_take(4711u64, 1).is_ok());
/// # Ok::<(), llmrl::ConfigError>(())
/// ```
pub struct BucketMap {
    line: Line,
    clock: Clock,
    scale: Scale,
    secret: Secret,
    table: Table,
}

/// What a [`BucketMap`] knows a bucket by: bytes, text (the same as its bytes) or a number, made by `into()`. A number is
/// another key than any bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Key<'a> {
    /// 1 to [`Key::MAX_LEN`] of them. None at all is refused: it stands for something that is missing, and would
    /// have everybody for whom it is in one bucket.
    Bytes(&'a [u8]),
    /// Any number; hashed in less time.
    Number(u64),
}

impl Key<'_> {
    /// The longest key, in bytes.
    pub const MAX_LEN: usize = 1 << 16;
}

impl<'a> From<&'a [u8]> for Key<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Key<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a> From<&'a str> for Key<'a> {
    fn from(text: &'a str) -> Self {
        Self::Bytes(text.as_bytes())
    }
}

impl From<u64> for Key<'_> {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

/// What becomes of a new key of a [`BucketMap`] when none of the places where its bucket could be is free or holds a full one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// It shares a bucket with others in its place, of about 32 keys. So it may be refused because of them; it never gets
    /// more. Once that bucket is full again it may get one of its own. What is refunded meanwhile is lost.
    #[default]
    Share,
    /// It is refused: [`Denied::Crowded`].
    Refuse,
}

/// Why nothing was taken from a [`BucketMap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denied {
    /// The bucket has not enough; it says how long to wait, or that it never will.
    Short(Short),
    /// There is no room for the key: too many buckets are not full. Only with [`Overflow::Refuse`].
    Crowded,
    /// The key is too short or too long, or the amount too large.
    Invalid(OutOfRange),
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(short) if short.is_never() => {
                f.write_str("never: it is more than a bucket holds")
            }
            Self::Short(short) => match short.wait() {
                Some(wait) => write!(f, "not now; try again in {wait:?}"),
                None => f.write_str("not now, and not while the clock runs"),
            },
            Self::Crowded => f.write_str("no room for another key; raise the capacity"),
            Self::Invalid(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Denied {}

impl From<OutOfRange> for Denied {
    fn from(error: OutOfRange) -> Self {
        Self::Invalid(error)
    }
}

impl BucketMap {
    /// The largest capacity, 2^30 keys.
    pub const MAX_CAPACITY: usize = 1 << 30;

    /// Buckets of `limit`, which must be a token bucket that does not start empty (its meter does not matter here), for `capacity`
    /// keys that are to be remembered at a time, 1 to [`MAX_CAPACITY`](Self::MAX_CAPACITY).
    ///
    /// # Errors
    /// A number out of range, or a limit of another kind.
    ///
    /// # Panics
    /// When there is no memory for it.
    pub fn new(limit: Limit, capacity: usize, clock: &Clock) -> Result<Self, ConfigError> {
        let map = Self::open(limit, capacity, clock)?;
        Ok(map.expect("memory for the capacity"))
    }

    /// The same; nothing, if there is no memory.
    pub(crate) fn open(
        limit: Limit,
        capacity: usize,
        clock: &Clock,
    ) -> Result<Option<Self>, ConfigError> {
        let not_here = |what| Err(OutOfRange::count(what, 1, 0).into());
        let quota = match limit.0 {
            Kind::InFlight(_) => return not_here("in-flight limits"),
            Kind::Quota(quota) => quota,
        };
        match quota.shape {
            Shape::Bucket if quota.start_empty => return not_here("limits that start empty"),
            Shape::Bucket => {}
            Shape::Pacing => return not_here("limits of pacing"),
            _ => return not_here("limits with windows"),
        }
        let most = Self::MAX_CAPACITY as u64;
        OutOfRange::check("capacity", capacity as u64, 1, most)?;
        let (scale, now) = (clock.scale(), clock.now());
        let line = quota.open(scale, now, None)?.line;
        let table = Table::new(capacity, line.burst, line.position(now));
        Ok(table.map(|table| Self {
            line,
            clock: clock.clone(),
            scale,
            secret: Secret::new(),
            table,
        }))
    }

    /// What becomes of keys for which there is no room; without this they [share](Overflow::Share).
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.table.overflow = overflow;
        self
    }

    /// Takes `n` tokens from the bucket of `key` now, or nothing.
    ///
    /// # Errors
    /// [`Denied`]: not enough, with the time to wait; no room; or a key of no bytes or of more than [`Key::MAX_LEN`].
    #[inline]
    pub fn try_take<'k>(&self, key: impl Into<Key<'k>>, n: u64) -> Result<(), Denied> {
        // First, as neither waits for the other, and both take as long.
        let moment = self.moment();
        let tag = self.tag(key.into())?;
        let line = &self.line;
        if n > line.burst && (never_fits(line, n) || check_amount(n).is_err()) {
            let never = Short::new(*line, self.scale, moment.now, None);
            return Err(Denied::Short(never));
        }
        let needed = need(n, line) as i64;
        let cost = |balance| (balance >= needed).then_some(n as i64);
        let taken = self.table.apply(moment, tag, || self.moment(), cost);
        taken.map_err(|unable| self.denied(unable, needed))
    }

    /// Counts `n` tokens that were used without asking. The balance may go below zero, by 2^47 at most.
    ///
    /// # Errors
    /// A key or an `n` (more than [`Cost::MAX`](crate::Cost::MAX)) out of range, and [`Denied::Crowded`]; then nothing is counted.
    pub fn charge<'k>(&self, key: impl Into<Key<'k>>, n: u64) -> Result<(), Denied> {
        let tag = self.tag(key.into())?;
        check_amount(n)?;
        let cost = |balance| Some((n as i64).min(balance + MAX_DEBT).max(0));
        let charged = self.table.apply(self.moment(), tag, || self.moment(), cost);
        charged.map_err(|unable| self.denied(unable, 0))
    }

    /// Gives back `n` tokens. No bucket ever holds more than its burst, and one that is gone was full.
    ///
    /// # Errors
    /// A key or an `n` (more than [`Cost::MAX`](crate::Cost::MAX)) out of range.
    pub fn refund<'k>(&self, key: impl Into<Key<'k>>, n: u64) -> Result<(), Denied> {
        let tag = self.tag(key.into())?;
        check_amount(n)?;
        let burst = self.line.burst as i64;
        let cost = |balance| Some(-(n as i64).min(burst - balance));
        let refunded = self.table.apply(self.moment(), tag, || self.moment(), cost);
        refunded.map_err(|unable| self.denied(unable, 0))
    }

    /// Tokens that `key` could take now; negative is debt.
    ///
    /// # Errors
    /// A key out of range.
    pub fn available<'k>(&self, key: impl Into<Key<'k>>) -> Result<i64, OutOfRange> {
        let tag = self.tag(key.into())?;
        Ok(self.table.balance(tag, self.moment().produced))
    }

    /// Keys that have a bucket of their own, those included whose bucket is full and waits for somebody else to need it: up
    /// to twice the capacity.
    #[expect(
        clippy::len_without_is_empty,
        reason = "whether it is empty says nothing of interest"
    )]
    pub fn len(&self) -> u64 {
        self.table.counts().keys
    }

    /// How often a full bucket gave way to another key's.
    pub fn evictions(&self) -> u64 {
        self.table.counts().evictions
    }

    /// How many calls found no room for their key. If these are not rare, the capacity is too small.
    pub fn overflows(&self) -> u64 {
        self.table.counts().overflows
    }

    #[inline(always)]
    fn moment(&self) -> Moment {
        let now = self.clock.now();
        Moment {
            now,
            produced: self.line.position(now),
        }
    }

    /// What the table knows a key by: not 0.
    #[inline(always)]
    fn tag(&self, key: Key<'_>) -> Result<u64, OutOfRange> {
        let hash = match key {
            Key::Number(number) => self.secret.number(number),
            Key::Bytes(bytes) => {
                OutOfRange::check("key length", bytes.len() as u64, 1, Key::MAX_LEN as u64)?;
                self.secret.text(bytes)
            }
        };
        Ok(hash.max(1))
    }

    #[inline(always)]
    fn denied(&self, unable: Unable, needed: i64) -> Denied {
        match unable {
            Unable::Crowded => Denied::Crowded,
            Unable::Short { now, balance } => {
                let missing = (needed - balance).max(0) as u64;
                Denied::Short(Short::new(self.line, self.scale, now, Some(missing)))
            }
        }
    }
}

impl fmt::Debug for BucketMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketMap")
            .field("len", &self.len())
            .field("burst", &self.line.burst)
            .finish()
    }
}
