//! Limits: how much they allow of what they count, and the bare primitives.

pub(crate) mod account;
mod cost;
mod count;
pub(crate) mod history;
mod in_flight;
pub(crate) mod line;
pub(crate) mod lows;
pub(crate) mod published;
mod token_bucket;

pub(crate) use cost::{Amounts, Masks};
pub use cost::{Cost, Meter, Weights};
pub use in_flight::InFlight;
pub use token_bucket::{Short, TokenBucket};

use crate::clock::{Scale, nanos};
use crate::error::OutOfRange;
use account::Account;
use history::{Extent, History};
use line::{Line, Rate, Windows};
use std::time::Duration;

/// What becomes of a cost above the burst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Oversize {
    /// Refused at once, as [`Refused::Never`](crate::Refused::Never).
    #[default]
    Reject,
    /// Admitted when the bucket is full (the window empty), which it leaves in debt: the next request waits until that is
    /// paid (has left the window).
    WhenFull,
}

/// One rule of a limiter.
///
/// | kind | allows | bound on what is admitted |
/// | --- | --- | --- |
/// | [`bucket`](Self::bucket) | `amount` per period, evenly, and `burst` at once after a pause | burst + production, in any interval |
/// | [`pacing`](Self::pacing) | one after the other, each as long after the one before as that one's cost takes to be produced | the last cost + production |
/// | [`fixed_window`](Self::fixed_window) | `amount` in each period of a calendar | `amount` in each of them; twice that around a reset |
/// | [`sliding_window_counter`](Self::sliding_window_counter) | `amount`, of this period and a share of the one before | `amount` on average; up to twice that in the worst window |
/// | [`sliding_window`](Self::sliding_window) | `amount` in any period | `amount` in any period, always; steady use reaches k / (k + 1) of it |
/// | [`sliding_window_log`](Self::sliding_window_log) | `amount` in any period | `amount` in any period, always, to the nanosecond |
/// | [`in_flight`](Self::in_flight) | so many at the same time | the same |
///
/// All but the last count by a [`Meter`] over a period, by default a minute. A period begins full: `amount` can be had at once.
///
/// ```
/// use llmrl::{Limit, Meter};
/// use std::time::Duration;
///
/// Limit::requests(500);                                         // 500 a minute, at most 500 at once
/// Limit::tokens(200_000).burst(20_000);                         // smoother
/// Limit::pacing(Meter::Requests, 60);                           // one a second
/// Limit::sliding_window(Meter::Requests, 20);                   // never more than 20 in any minute
/// let day = Duration::from_secs(86_400);
/// Limit::fixed_window(Meter::Requests, 1_000).per(day).resets_in(Duration::from_secs(7_200));
/// Limit::in_flight(50);
/// ```
///
/// | number | range |
/// | --- | --- |
/// | amount | 1 to 2^40 - 1 |
/// | period | 1 ns to 3660 days; at most 10^9 tokens a second from a bucket |
/// | burst | 1 to 2^40 - 1; a bucket's alone |
/// | resolution | parts of a sliding window: 1 to 1000, by default 60; time stamps of a log: 1 to 65536, by default `amount`, rounded up to a power of two |
/// | next reset | within the period; a fixed window's alone |
/// | slots in flight | 1 to [`Limit::MAX_IN_FLIGHT`] |
///
/// Ranges are checked when the limiter or the bucket is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(pub(crate) Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Quota(Quota),
    InFlight(u64),
}

/// How a quota is counted. The numbers are the kinds of the C interface, and of what is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Bucket = 1,
    Pacing = 3,
    FixedWindow = 4,
    SlidingCounter = 5,
    SlidingWindow = 6,
    SlidingLog = 7,
}

/// So much of something in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    pub(crate) shape: Shape,
    pub(crate) meter: Meter,
    pub(crate) amount: u64,
    pub(crate) period_ns: u64,
    pub(crate) burst: Option<u64>,
    pub(crate) resolution: Option<u64>,
    pub(crate) resets_in_ns: Option<u64>,
    pub(crate) oversize: Oversize,
    pub(crate) start_empty: bool,
}

impl Limit {
    /// The largest in-flight limit, 2^19 - 1.
    pub const MAX_IN_FLIGHT: u64 = (1 << 19) - 1;

    pub(crate) const fn quota(shape: Shape, meter: Meter, amount: u64) -> Self {
        Self(Kind::Quota(Quota {
            shape,
            meter,
            amount,
            period_ns: 60_000_000_000,
            burst: None,
            resolution: None,
            resets_in_ns: None,
            oversize: Oversize::Reject,
            start_empty: false,
        }))
    }

    /// A token bucket of `amount` on `meter` per minute: produces evenly and holds `amount` (or [`burst`](Self::burst)).
    pub const fn bucket(meter: Meter, amount: u64) -> Self {
        Self::quota(Shape::Bucket, meter, amount)
    }

    /// A leaky bucket: `amount` per minute at even distances, whatever was idle before. The first request goes at once,
    /// the next one when the cost of that has been produced; a large one delays those behind it. Distances are never
    /// shorter than that, and longer by a microsecond at most (for less than one an hour, by 2^-32 of what a unit takes).
    /// It can be retuned up to a thousand times the rate it was built with.
    pub const fn pacing(meter: Meter, amount: u64) -> Self {
        Self::quota(Shape::Pacing, meter, amount)
    }

    /// `amount` in each minute, all of which comes back at its end: the first minute begins when the limiter is built, or
    /// ends when [`resets_in`](Self::resets_in) says. What is not used is forfeited.
    pub const fn fixed_window(meter: Meter, amount: u64) -> Self {
        Self::quota(Shape::FixedWindow, meter, amount)
    }

    /// `amount` in a minute, estimated from two counters: this minute's use, and the last one's in proportion to what of
    /// it is less than a minute ago. In the worst window nearly twice `amount` is admitted: a burst at the end of the last
    /// minute counts as if it had been spread evenly.
    pub const fn sliding_window_counter(meter: Meter, amount: u64) -> Self {
        Self::quota(Shape::SlidingCounter, meter, amount)
    }

    /// Never more than `amount` in any minute. The minute is cut into k parts ([`resolution`](Self::resolution)), and what
    /// was used counts until the end of its part is a minute ago. So steady use reaches k / (k + 1) of `amount`.
    pub const fn sliding_window(meter: Meter, amount: u64) -> Self {
        Self::quota(Shape::SlidingWindow, meter, amount)
    }

    /// Never more than `amount` in any minute, with a time stamp to the nanosecond for each admission, 16 bytes each. When
    /// more of them are to be remembered than the [`resolution`](Self::resolution), the two oldest count as one: what they
    /// stand for comes back when the younger of them would.
    pub const fn sliding_window_log(meter: Meter, amount: u64) -> Self {
        Self::quota(Shape::SlidingLog, meter, amount)
    }

    /// A token bucket of `amount` requests per minute.
    pub const fn requests(amount: u64) -> Self {
        Self::bucket(Meter::Requests, amount)
    }

    /// A token bucket of `amount` tokens, input and output together, per minute.
    pub const fn tokens(amount: u64) -> Self {
        Self::bucket(Meter::Tokens, amount)
    }

    /// A token bucket of `amount` input tokens per minute.
    pub const fn input_tokens(amount: u64) -> Self {
        Self::bucket(Meter::Input, amount)
    }

    /// A token bucket of `amount` output tokens per minute.
    pub const fn output_tokens(amount: u64) -> Self {
        Self::bucket(Meter::Output, amount)
    }

    /// At most `slots` requests held at the same time. A limiter has at most one such limit; the settings below are about
    /// periods and mean nothing to it.
    pub const fn in_flight(slots: u64) -> Self {
        Self(Kind::InFlight(slots))
    }

    /// Whether one can be changed into the other while it runs.
    pub(crate) fn is_kind_of(&self, other: &Limit) -> bool {
        let of = |quota: &Quota| {
            let Quota {
                shape,
                meter,
                resolution,
                oversize,
                ..
            } = *quota;
            (shape, meter, resolution, oversize)
        };
        match (&self.0, &other.0) {
            (Kind::InFlight(_), Kind::InFlight(_)) => true,
            (Kind::Quota(one), Kind::Quota(other)) => of(one) == of(other),
            _ => false,
        }
    }

    /// Another period than a minute.
    pub fn per(self, period: Duration) -> Self {
        self.with(|quota| quota.period_ns = nanos(period))
    }

    /// How much an idle bucket holds; by default one period's amount.
    pub fn burst(self, burst: u64) -> Self {
        self.with(|quota| quota.burst = Some(burst))
    }

    /// Into how many parts a sliding window is cut, or how many time stamps a log holds.
    pub fn resolution(self, resolution: u64) -> Self {
        self.with(|quota| quota.resolution = Some(resolution))
    }

    /// When the present period of a fixed window ends, counted from when the limiter is built; the following ones are
    /// whole. See also [`until_reset`](crate::until_reset).
    pub fn resets_in(self, time: Duration) -> Self {
        self.with(|quota| quota.resets_in_ns = Some(nanos(time)))
    }

    /// What becomes of a cost above the burst.
    pub fn oversize(self, oversize: Oversize) -> Self {
        self.with(|quota| quota.oversize = oversize)
    }

    /// Start with nothing to be had, for a limit of which it is not known what others have used.
    pub fn start_empty(self) -> Self {
        self.with(|quota| quota.start_empty = true)
    }

    /// The companion of this limit that enforces it in windows of `window` instead of its period: the same kind and
    /// meter, the amount in proportion, rounded down to at least 1. For providers that enforce "60 a minute" as one a
    /// second. Add it beside the limit itself.
    ///
    /// ```
    /// use llmrl::{Limit, Limiter, Meter};
    /// use std::time::Duration;
    ///
    /// let minute = Limit::sliding_window(Meter::Requests, 300);
    /// let limiter = Limiter::builder().limit(minute).limit(minute.smoothed(Duration::from_secs(10))).build()?;
    /// assert_eq!(limiter.limit_state(1)?.available, 50);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn smoothed(self, window: Duration) -> Self {
        self.with(|quota| {
            let window_ns = nanos(window);
            let share = u128::from(quota.amount) * u128::from(window_ns);
            let share = share / u128::from(quota.period_ns.max(1));
            let share = u64::try_from(share).unwrap_or(u64::MAX).max(1);
            match quota.shape {
                // The rate stays what it is, exactly.
                Shape::Bucket => quota.burst = Some(share),
                Shape::Pacing => {}
                _ => {
                    (quota.amount, quota.period_ns) = (share, window_ns);
                    // So that one of the short windows ends with the long one.
                    let within = |resets_in: u64| resets_in % window_ns.max(1);
                    quota.resets_in_ns = quota.resets_in_ns.map(within);
                }
            }
        })
    }

    fn with(mut self, change: impl FnOnce(&mut Quota)) -> Self {
        if let Kind::Quota(quota) = &mut self.0 {
            change(quota);
        }
        self
    }
}

/// Where the positions of all accounts begin: high enough that no balance reaches below zero.
const START: u64 = 1 << 49;
/// Where the windows of all lines begin: what is before the first one does not count at any reach.
const FIRST_WINDOW: u64 = 1 << 60;

/// What a new limit starts with.
pub(crate) struct Opened {
    pub(crate) line: Line,
    pub(crate) account: Account,
    pub(crate) history: Option<History>,
}

impl Quota {
    const MAX_PARTS: u64 = 1_000;
    const DEFAULT_PARTS: u64 = 60;
    const MAX_STAMPS: u64 = 1 << 16;

    /// What the line of this quota produces, tokens or windows, and what a full bucket or an empty window holds; checked.
    pub(crate) fn checked(&self) -> Result<(Rate, u64), OutOfRange> {
        if let Meter::Weighted(weights) = self.meter {
            weights.check()?;
        }
        let given = |field, value: Option<u64>, min, max| match value {
            Some(value) => OutOfRange::check(field, value, min, max),
            None => Ok(()),
        };
        let rate = match self.shape {
            Shape::Bucket | Shape::Pacing => Rate::new(self.amount, self.period_ns)?,
            _ => {
                OutOfRange::check("amount", self.amount, 1, Cost::MAX)?;
                let whole = Rate::new(1, self.period_ns)?;
                match self.shape {
                    Shape::SlidingLog => Rate::new(1, 1)?,
                    Shape::SlidingWindow => {
                        let parts = self.parts();
                        OutOfRange::check("resolution", parts, 1, Self::MAX_PARTS)?;
                        OutOfRange::check("resolution", parts, 1, self.period_ns)?;
                        Rate::new(parts, self.period_ns)?
                    }
                    _ => whole,
                }
            }
        };
        match self.shape {
            Shape::Bucket => given("burst", self.burst, 1, Cost::MAX)?,
            Shape::Pacing => given("burst", self.burst, 0, 0)?,
            _ => given("burst", self.burst, self.amount, self.amount)?,
        }
        match self.shape {
            Shape::SlidingWindow => {}
            Shape::SlidingLog => {
                let stamps = self.resolution.unwrap_or(self.amount);
                OutOfRange::check("resolution", stamps, 1, Self::MAX_STAMPS)?;
            }
            _ => given("resolution", self.resolution, 0, 0)?,
        }
        match self.shape {
            Shape::FixedWindow => given("resets_in (ns)", self.resets_in_ns, 0, self.period_ns)?,
            _ => given("resets_in (ns)", self.resets_in_ns, 0, 0)?,
        }
        Ok((rate, self.holds()))
    }

    /// What a full bucket or an empty window holds.
    pub(crate) fn holds(&self) -> u64 {
        match self.shape {
            Shape::Pacing => 0,
            _ => self.burst.unwrap_or(self.amount),
        }
    }

    pub(crate) fn admits_oversize(&self) -> bool {
        self.shape == Shape::Pacing || self.oversize == Oversize::WhenFull
    }

    /// How many parts a unit has in the ledger. Pacing may begin a distance at any time, so its parts are so small that
    /// one of them takes a microsecond, or, when a unit takes more than an hour, 2^-32 of that.
    pub(crate) fn grain(&self) -> u64 {
        match self.shape {
            Shape::Pacing => (self.period_ns / self.amount / 1_000).clamp(1, 1 << 32),
            _ => 1,
        }
    }

    fn parts(&self) -> u64 {
        self.resolution.unwrap_or(Self::DEFAULT_PARTS)
    }

    /// How far a history of this quota reaches, if it has one.
    pub(crate) fn extent(&self) -> Option<Extent> {
        let (span, reach) = match self.shape {
            Shape::Bucket | Shape::Pacing => return None,
            Shape::FixedWindow => (1, 0),
            Shape::SlidingCounter => (1, 1),
            Shape::SlidingWindow => (self.parts(), self.parts()),
            Shape::SlidingLog => (self.period_ns, self.period_ns - 1),
        };
        Some(Extent { span, reach })
    }

    /// The production line, the account and the history of a new limit, or of one that goes on.
    pub(crate) fn open(
        &self,
        scale: Scale,
        now: u64,
        past: Option<&Past>,
    ) -> Result<Opened, OutOfRange> {
        let (rate, burst) = self.checked()?;
        let grain = self.grain();
        let rate = rate.in_parts(grain)?;
        let oversize = self.admits_oversize();
        let start = match self.extent() {
            None => START,
            Some(_) => FIRST_WINDOW,
        };
        let mut line = Line::new(rate, scale, burst, oversize, now, start);
        let (over, next_ns) = past.map_or((0, 0), |past| past.windows_over(rate));
        if let Some(past) = past {
            let paused_ns = past.paused_ns.saturating_sub(past.elapsed_ns);
            line = line.paused(now, scale.to_ticks(paused_ns));
        }
        // Pacing, which holds nothing, begins by paying for one.
        let full = [(0, burst.max(1))];
        let usage = match past {
            Some(past) => &past.usage[..],
            None if self.start_empty => &full,
            None => &[],
        };
        let Some(extent) = self.extent() else {
            let elapsed = past.map_or(0, |past| scale.to_ticks(past.elapsed_ns));
            let produced = line.position(now.saturating_add(elapsed)) - START;
            let used = in_parts(usage.iter().map(|(_, amount)| amount).sum(), grain);
            let owed = used.saturating_sub(produced);
            return Ok(Opened {
                line,
                account: Account::new(START, burst as i64 - owed as i64),
                history: None,
            });
        };
        line.windows = Some(match self.shape {
            Shape::SlidingCounter => Windows::Sliding,
            _ => Windows::Whole,
        });
        let next_ns = self.resets_in_ns.unwrap_or(next_ns);
        line = line.stepping_in(now, scale.to_ticks(next_ns));
        // One more than counts at a time, for the one that is being opened.
        let entries = match self.shape {
            Shape::SlidingLog => self.resolution.unwrap_or(self.amount),
            _ => extent.reach + 1,
        };
        let history = History::new(entries as usize + 1, extent, START);
        let account = Account::new(START, 0);
        for &(ago, amount) in usage {
            let stamp = FIRST_WINDOW.saturating_sub(ago.saturating_add(over));
            history.open(&account, stamp);
            account.charge_unseen(amount);
        }
        Ok(Opened {
            line,
            account,
            history: Some(history),
        })
    }
}

/// `amount` in the ledger of a limit whose units have `grain` parts. What takes years to be produced is all the same.
#[inline(always)]
pub(crate) fn in_parts(amount: u64, grain: u64) -> u64 {
    amount.saturating_mul(grain).min(account::MAX_DEBT as u64)
}

/// What a limit was when it was saved, and how long ago that is.
pub(crate) struct Past {
    pub(crate) elapsed_ns: u64,
    pub(crate) paused_ns: u64,
    /// When the then present window was to end.
    pub(crate) next_ns: u64,
    /// How many windows before that, and how much; the oldest first. A bucket has what it lacks.
    pub(crate) usage: Vec<(u64, u64)>,
}

impl Past {
    /// How many windows have ended since, and when the present one does.
    fn windows_over(&self, rate: Rate) -> (u64, u64) {
        let Some(past) = self.elapsed_ns.checked_sub(self.next_ns) else {
            return (0, self.next_ns - self.elapsed_ns);
        };
        let (amount, period) = (u128::from(rate.amount), u128::from(rate.period_ns));
        let over = u128::from(past) * amount / period + 1;
        let next = (over * period).div_ceil(amount) - u128::from(past);
        let bounded = |wide| u64::try_from(wide).unwrap_or(u64::MAX);
        (bounded(over), bounded(next))
    }
}
