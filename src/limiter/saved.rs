//! What has been used, as bytes: so that a limit of a day or a month survives a restart.
//!
//! Words of 64 bits, little-endian:
//!
//! | word | meaning |
//! | --- | --- |
//! | 0 | `MAGIC`, with the version in its lowest byte |
//! | 1 | wall-clock time of saving, nanoseconds since 1970 |
//! | 2 | number of limits; for each of them: |
//! | + 0 | kind, with the meter above 2^8; 0 is in flight, and all else is 0 then |
//! | + 1, + 2 | period (ns), resolution |
//! | + 3, + 4 | pause that was left (ns), end of the present window (ns from then) |
//! | + 5 | number of uses; for each of them, the oldest first: how many windows ago, how much |
//! | last | FNV-1a of all bytes before |
//!
//! The bytes come from a file that anything may have happened to, so nothing in them is believed before it is checked.

use super::build::Entry;
use super::{Core, Limiter, MAX_LIMITS};
use crate::clock::nanos;
use crate::error::OutOfRange;
use crate::limit::{Past, Quota};
use crate::sync::lock;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

const MAGIC: u64 = u64::from_le_bytes(*b"\x01llmrl-s");
/// Words of a limit without its uses.
const FIXED: usize = 6;

/// What a limiter had used when it was saved. See [`Limiter::save`].
#[derive(Clone, Debug)]
pub struct Saved {
    elapsed_ns: u64,
    limits: Vec<SavedLimit>,
}

#[derive(Clone, Debug)]
struct SavedLimit {
    kind: u64,
    period_ns: u64,
    resolution: u64,
    paused_ns: u64,
    next_ns: u64,
    usage: Vec<(u64, u64)>,
}

/// Why bytes are no saved state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt(&'static str);

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "saved state: {}; start without it", self.0)
    }
}

impl std::error::Error for Corrupt {}

fn kind(quota: &Quota) -> u64 {
    u64::from(quota.meter.number()) << 8 | quota.shape as u64
}

fn checksum(words: &[u64]) -> u64 {
    let bytes = words.iter().flat_map(|word| word.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

fn unix_ns(time: SystemTime) -> u64 {
    nanos(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

impl Limiter {
    /// What has been used of each limit, as bytes to be kept over a restart. `now` is the wall clock's time, normally
    /// `SystemTime::now()`: what happens while the program is away is known only by that.
    ///
    /// What is reserved counts as used. Permits, waiters and in-flight slots are not saved. To be called when nothing goes
    /// on; else each limit is saved at an instant of its own.
    ///
    /// ```
    /// use llmrl::{Cost, Limit, Limiter, Meter, Saved};
    /// use std::time::{Duration, SystemTime};
    ///
    /// let day = Limit::fixed_window(Meter::Requests, 1_000).per(Duration::from_secs(86_400));
    /// let limiter = Limiter::builder().limit(day).build()?;
    /// limiter.try_acquire(&Cost::request())?.release();
    /// let bytes = limiter.save(SystemTime::now());
    ///
    /// // After a restart:
    /// let saved = Saved::read(&bytes, SystemTime::now())?;
    /// let limiter = Limiter::builder().limit(day).restore(saved).build()?;
    /// assert_eq!(limiter.limit_state(0)?.available, 999);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn save(&self, now: SystemTime) -> Vec<u8> {
        let core = &self.core;
        let limits = lock(&core.limits);
        let mut words = vec![MAGIC, unix_ns(now), limits.len() as u64];
        for entry in limits.iter() {
            match entry {
                Entry::Quota(quota, ledger) => core.save_quota(quota, *ledger, &mut words),
                Entry::InFlight(_) => words.extend([0; FIXED]),
            }
        }
        words.push(checksum(&words));
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }
}

impl Core {
    fn save_quota(&self, quota: &Quota, ledger: usize, words: &mut Vec<u64>) {
        let (line, now) = (self.line(ledger), self.clock.now());
        let until = |tick: u64| self.scale.to_ns(tick.saturating_sub(now));
        let (next_ns, usage) = match &self.histories[ledger] {
            None => {
                let used = line.burst as i64 - self.view(ledger, &line, now).balance;
                let used = (used.max(0) as u64).div_ceil(self.grains[ledger]);
                (0, vec![(0, used)])
            }
            Some(history) => {
                let next = line.earliest(line.position(now).saturating_add(1));
                let usage = history.usage(self.account(ledger), &line, now);
                (until(next), usage)
            }
        };
        words.extend([
            kind(quota),
            quota.period_ns,
            quota.resolution.unwrap_or(0),
            until(line.not_before),
            next_ns,
            usage.len() as u64,
        ]);
        words.extend(usage.iter().flat_map(|&(ago, amount)| [ago, amount]));
    }
}

impl Saved {
    /// Reads what [`Limiter::save`] wrote. `now` is the wall clock's time. If it is before the time of saving, nothing has
    /// passed.
    ///
    /// # Errors
    /// The reason why these bytes were not written by this version, or not all of them are there.
    pub fn read(bytes: &[u8], now: SystemTime) -> Result<Self, Corrupt> {
        let (chunks, rest) = bytes.as_chunks::<8>();
        let words: Vec<u64> = chunks
            .iter()
            .map(|chunk| u64::from_le_bytes(*chunk))
            .collect();
        let Some((&sum, words)) = words.split_last() else {
            return Err(Corrupt("it is empty"));
        };
        match words.first() {
            Some(&MAGIC) => {}
            Some(&other) if other ^ MAGIC < 1 << 8 => {
                return Err(Corrupt("another version wrote it"));
            }
            _ => return Err(Corrupt("it is something else")),
        }
        if !rest.is_empty() || checksum(words) != sum {
            return Err(Corrupt("it is damaged or cut short"));
        }
        let mut words = words[1..].iter().copied();
        let mut word = || words.next().ok_or(Corrupt("it is shorter than it says"));
        let saved_ns = word()?;
        let count = word()?;
        if count > MAX_LIMITS as u64 {
            return Err(Corrupt("it has more limits than there can be"));
        }
        let limits = (0..count)
            .map(|_| {
                Ok(SavedLimit {
                    kind: word()?,
                    period_ns: word()?,
                    resolution: word()?,
                    paused_ns: word()?,
                    next_ns: word()?,
                    usage: (0..word()?)
                        .map(|_| Ok((word()?, word()?)))
                        .collect::<Result<_, Corrupt>>()?,
                })
            })
            .collect::<Result<Vec<_>, Corrupt>>()?;
        if words.next().is_some() {
            return Err(Corrupt("it is longer than it says"));
        }
        let sane = |limit: &SavedLimit| {
            let amounts = limit.usage.iter().map(|usage| u128::from(usage.1));
            let in_order = limit.usage.is_sorted_by(|one, next| one.0 > next.0);
            in_order && amounts.sum::<u128>() < 1 << 48
        };
        if !limits.iter().all(sane) {
            return Err(Corrupt("what it says was used cannot be"));
        }
        Ok(Self {
            elapsed_ns: unix_ns(now).saturating_sub(saved_ns),
            limits,
        })
    }

    pub(super) fn limits(&self) -> usize {
        self.limits.len()
    }

    /// The past of the limit at `index`, if it was one like `quota`.
    pub(super) fn past(&self, index: usize, quota: &Quota) -> Result<Past, OutOfRange> {
        let saved = &self.limits[index];
        let same = |field, then, now| OutOfRange::check(field, then, now, now);
        same("saved kind", saved.kind, kind(quota))?;
        // A bucket holds tokens, at whatever rate; windows are those of a period.
        if quota.extent().is_some() {
            let resolution = quota.resolution.unwrap_or(0);
            same("saved period (ns)", saved.period_ns, quota.period_ns)?;
            same("saved resolution", saved.resolution, resolution)?;
        }
        Ok(Past {
            elapsed_ns: self.elapsed_ns,
            paused_ns: saved.paused_ns,
            next_ns: saved.next_ns,
            usage: saved.usage.clone(),
        })
    }
}
