//! The bare token bucket: one word, no queue.

use super::account::{Account, TAG_MASK, check_amount, need, never_fits};
use super::line::{Line, Rate};
use super::published::Published;
use super::{Kind, Limit, Opened, Shape, in_parts};
use crate::clock::{Clock, Scale, nanos};
use crate::error::{ConfigError, OutOfRange};
use crate::sync::{Mutex, lock};
use crossbeam_utils::CachePadded;
use std::time::Duration;

/// A token bucket by itself: for those who need neither several limits nor waiting.
///
/// Thread-safe; every method may be called from any thread at any time. Taking costs one clock reading,
/// one multiplication and one compare-exchange; refusing writes nothing.
///
/// Over any interval, what is taken minus what is refunded stays within the burst plus what the interval
/// produces. [`charge`](Self::charge) may go below zero; nothing is admitted until that is made good.
///
/// ```
/// use llmrl::{Clock, Limit, ManualClock, TokenBucket};
/// use std::time::Duration;
///
/// let hand = ManualClock::new(0);
/// let bucket = TokenBucket::new(Limit::tokens(6_000), &Clock::from(&hand))?;   // 100 a second
/// assert!(bucket.try_take(6_000).is_ok());
/// let short = bucket.try_take(50).unwrap_err();
/// assert_eq!(short.wait(), Some(Duration::from_millis(500)));
/// hand.advance(Duration::from_millis(500));
/// assert!(bucket.try_take(50).is_ok());
/// # Ok::<(), llmrl::ConfigError>(())
/// ```
pub struct TokenBucket {
    // Written by every take, so alone on its line; the rest is read-mostly.
    account: CachePadded<Account>,
    line: Published<{ Line::WORDS }>,
    clock: Clock,
    scale: Scale,
    /// Whether it is pacing, and how many parts a token has in the account then.
    paces: bool,
    grain: u64,
    changes: Mutex<()>,
}

/// A refusal: what the bucket showed. When to come again is computed only if asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short {
    line: Line,
    scale: Scale,
    now: u64,
    /// What must be produced first, or nothing if that is never enough.
    missing: Option<u64>,
}

impl Short {
    #[inline(always)]
    pub(crate) fn new(line: Line, scale: Scale, now: u64, missing: Option<u64>) -> Self {
        Self {
            line,
            scale,
            now,
            missing,
        }
    }

    /// How long from the refusal the same take would be refused, absent other traffic, rounded up to the
    /// nanosecond; `None` when time alone never helps: it [never fits](Self::is_never), or no clock runs for so long.
    pub fn wait(&self) -> Option<Duration> {
        let at = match self.missing? {
            0 => self.now,
            missing => self
                .line
                .earliest(self.line.position(self.now).saturating_add(missing)),
        }
        .max(self.line.not_before);
        (at != u64::MAX)
            .then(|| Duration::from_nanos(self.scale.to_ns(at.saturating_sub(self.now))))
    }

    /// Whether the take asks for more than the bucket ever holds.
    #[inline]
    pub fn is_never(&self) -> bool {
        self.missing.is_none()
    }
}

impl TokenBucket {
    /// A bucket for `limit`, which must be a token bucket or pacing; its meter does not matter here.
    ///
    /// # Errors
    /// A number out of range, or a limit of another kind.
    pub fn new(limit: Limit, clock: &Clock) -> Result<Self, ConfigError> {
        let Kind::Quota(quota) = limit.0 else {
            return Err(OutOfRange::count("in-flight limits", 1, 0).into());
        };
        let scale = clock.scale();
        let Opened {
            line,
            account,
            history: None,
        } = quota.open(scale, clock.now(), None)?
        else {
            return Err(OutOfRange::count("limits with windows", 1, 0).into());
        };
        Ok(Self {
            account: CachePadded::new(account),
            line: Published::new(line.tagged(TAG_MASK).to_words()),
            clock: clock.clone(),
            scale,
            paces: quota.shape == Shape::Pacing,
            grain: quota.grain(),
            changes: Mutex::new(()),
        })
    }

    #[inline(always)]
    fn line(&self) -> Line {
        Line::from_words(self.line.read())
    }

    /// Takes `n` tokens now, or nothing.
    ///
    /// # Errors
    /// [`Short`] says how long to wait, or that `n` never fits.
    #[inline]
    pub fn try_take(&self, n: u64) -> Result<(), Short> {
        match self.paces {
            false => self.take::<false>(n),
            true => self.take::<true>(n),
        }
    }

    /// Twice, so that what buckets need stays in registers.
    #[inline(always)]
    fn take<const PACES: bool>(&self, n: u64) -> Result<(), Short> {
        loop {
            // The time before the line: an old line is not good for a later time.
            let now = self.clock.now();
            let line = self.line();
            let mut view = self.account.view(&line, now);
            if !Account::is_tagged(&view, line.tag) {
                self.retag();
                continue;
            }
            if n > line.burst && (never_fits(&line, n) || check_amount(n).is_err()) {
                return Err(self.short(line, now, None));
            }
            if !view.covers(n, &line) || now < line.not_before {
                let missing = (need(n, &line) as i64 - view.balance).max(0) as u64;
                return Err(self.short(line, now, Some(missing)));
            }
            let mut cost = n;
            if PACES {
                (view, cost) = (view.paced(&line, now), in_parts(n, self.grain));
            }
            if self.account.charge_at(&view, cost, None).is_ok() {
                return Ok(());
            }
        }
    }

    #[inline(always)]
    fn short(&self, line: Line, now: u64, missing: Option<u64>) -> Short {
        Short::new(line, self.scale, now, missing)
    }

    /// Gives back `n` tokens. The bucket never holds more than its burst.
    ///
    /// # Errors
    /// More than [`Cost::MAX`](crate::Cost::MAX).
    pub fn refund(&self, n: u64) -> Result<(), OutOfRange> {
        check_amount(n)?;
        self.account.refund(in_parts(n, self.grain));
        // Given back without having been taken, again and again, it would run into the wrap-around of positions.
        let now = self.clock.now();
        self.account.clamp(&self.line(), now);
        Ok(())
    }

    /// Counts `n` tokens that were used without asking. The balance may go below zero, by 2^47 at most.
    ///
    /// # Errors
    /// More than [`Cost::MAX`](crate::Cost::MAX).
    pub fn charge(&self, n: u64) -> Result<(), OutOfRange> {
        check_amount(n)?;
        let now = self.clock.now();
        self.account
            .charge(&self.line(), now, in_parts(n, self.grain));
        Ok(())
    }

    /// Tokens that could be taken now; negative is debt.
    pub fn available(&self) -> i64 {
        let now = self.clock.now();
        let balance = self.account.view(&self.line(), now).balance;
        balance.div_euclid(self.grain as i64)
    }

    /// Another rate and burst (0 for pacing) from now on. Nothing is lost or made: the balance stays (up to the new burst), and
    /// so does the fraction of a token that was under way. When it has returned, nothing is admitted by the old line.
    ///
    /// # Errors
    /// A number out of range; then nothing has changed.
    pub fn retune(&self, amount: u64, per: Duration, burst: u64) -> Result<(), OutOfRange> {
        let rate = Rate::new(amount, nanos(per))?.in_parts(self.grain)?;
        let (least, most) = match self.paces {
            true => (0, 0),
            false => (1, crate::Cost::MAX),
        };
        OutOfRange::check("burst", burst, least, most)?;
        self.change(|line, now| line.retuned(rate, self.scale, burst, now));
        Ok(())
    }

    /// Admits nothing for `duration` from now; production goes on. Zero resumes.
    pub fn pause(&self, duration: Duration) {
        let ticks = self.scale.duration_to_ticks(duration);
        self.change(|line, now| line.paused(now, ticks));
    }

    fn change(&self, next: impl FnOnce(&Line, u64) -> Line) {
        let _one_at_a_time = lock(&self.changes);
        let (line, now) = (self.line(), self.clock.now());
        // A larger burst must not bring back what an idle bucket has forfeited.
        self.account.clamp(&line, now);
        let next = next(&line, now).tagged((line.tag + 1) & TAG_MASK);
        self.line.publish(next.to_words());
        while !self.retag() {}
    }

    /// Gives the account the tag of the published line, which every take has to find there: takes by the line before fail.
    /// Anybody may do it, lest all wait for one who has stopped between publishing and this. The line is read behind the
    /// word: a word that is still there when it is exchanged is not of a later line.
    #[cold]
    #[inline(never)]
    fn retag(&self) -> bool {
        self.account.retag(|| self.line().tag)
    }
}

impl std::fmt::Debug for TokenBucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenBucket")
            .field("available", &self.available())
            .field("burst", &self.line().burst)
            .finish()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::{Cost, Limiter, ManualClock, Refused};

    /// A bucket and a limiter of this limit alone.
    fn both(limit: Limit) -> (TokenBucket, Limiter) {
        let clock = Clock::from(&ManualClock::new(0));
        let limiter = Limiter::builder().limit(limit).clock(clock.clone());
        (
            TokenBucket::new(limit, &clock).unwrap(),
            limiter.build().unwrap(),
        )
    }

    fn assert_refused(both: &(TokenBucket, Limiter), n: u64, wait: Option<Duration>) {
        let short = both.0.try_take(n).unwrap_err();
        assert_eq!((short.wait(), short.is_never()), (wait, false));
        let refused = both.1.try_acquire(&Cost::tokens(n, 0)).unwrap_err();
        assert_eq!(refused, Refused::NotNow { wait });
    }

    #[test]
    fn a_wait_beyond_every_clock_is_none() {
        let period = Duration::from_secs(3660 * 86_400);
        let limit = Limit::tokens(1).per(period).burst(Cost::MAX).start_empty();
        let both = both(limit);
        assert_refused(&both, 1, Some(period));
        assert_refused(&both, Cost::MAX, None);
    }

    #[test]
    fn a_pause_without_end_is_none() {
        let both = both(Limit::tokens(1));
        both.0.pause(Duration::MAX);
        both.1.pause(0, Duration::MAX).unwrap();
        assert_refused(&both, 1, None);
    }

    #[test]
    fn more_than_the_burst_is_never() {
        let (bucket, _) = both(Limit::tokens(10).burst(5));
        let short = bucket.try_take(6).unwrap_err();
        assert_eq!((short.wait(), short.is_never()), (None, true));
    }
}
