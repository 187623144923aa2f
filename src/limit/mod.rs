//! Limits: what they count, how much they allow, and the bare primitives.

pub(crate) mod account;
mod in_flight;
pub(crate) mod line;
pub(crate) mod published;
mod token_bucket;

pub use in_flight::InFlight;
pub use token_bucket::{Short, TokenBucket};

use crate::clock::Scale;
use crate::error::OutOfRange;
use line::{Line, Rate};
use std::time::Duration;

/// What a request will use, as far as its sender knows.
///
/// `cached` and `cache_write` are parts of `input`; they are carried so that a provider's charging rule can
/// weigh them, and no meter of this version does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Requests, at least 1.
    pub requests: u64,
    /// Input (prompt) tokens.
    pub input: u64,
    /// Output (completion) tokens: an estimate, until the answer is there.
    pub output: u64,
    /// Input tokens that the provider reads from its cache.
    pub cached: u64,
    /// Input tokens that the provider writes to its cache.
    pub cache_write: u64,
}

impl Cost {
    /// The largest count of any field, and of input and output together: 2^40 - 1.
    pub const MAX: u64 = (1 << 40) - 1;

    /// One request, no tokens.
    pub const fn request() -> Self {
        Self::tokens(0, 0)
    }

    /// One request with so many tokens.
    pub const fn tokens(input: u64, output: u64) -> Self {
        Self {
            requests: 1,
            input,
            output,
            cached: 0,
            cache_write: 0,
        }
    }

    /// What meters count of a request, checked.
    #[inline(always)]
    pub(crate) fn amounts(&self) -> Result<Amounts, OutOfRange> {
        match self.requests {
            0 => Err(self.offence(1)),
            _ => self.usage(),
        }
    }

    /// What meters count, checked; it need not be of a request.
    #[inline(always)]
    pub(crate) fn usage(&self) -> Result<Amounts, OutOfRange> {
        let tokens = self.input.wrapping_add(self.output);
        let all =
            self.requests | self.input | self.output | self.cached | self.cache_write | tokens;
        if all > Self::MAX {
            return Err(self.offence(0));
        }
        Ok(Amounts {
            requests: self.requests,
            input: self.input,
            output: self.output,
        })
    }

    #[cold]
    fn offence(&self, least_requests: u64) -> OutOfRange {
        let fields = [
            ("requests", self.requests, least_requests),
            ("input", self.input, 0),
            ("output", self.output, 0),
            ("cached", self.cached, 0),
            ("cache_write", self.cache_write, 0),
        ];
        fields
            .iter()
            .find_map(|&(field, value, min)| OutOfRange::check(field, value, min, Self::MAX).err())
            .unwrap_or(OutOfRange {
                field: "input + output",
                value: self.input.saturating_add(self.output),
                min: 0,
                max: Self::MAX,
            })
    }
}

impl Default for Cost {
    fn default() -> Self {
        Self::request()
    }
}

/// What a token bucket counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Meter {
    /// Requests.
    Requests = 0,
    /// Input and output tokens together.
    Tokens = 1,
    /// Input tokens.
    Input = 2,
    /// Output tokens.
    Output = 3,
}

/// The countable part of a checked [`Cost`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amounts {
    requests: u64,
    input: u64,
    output: u64,
}

/// A meter as three masks, so that what it counts is computed without a branch or a look-up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Masks {
    requests: u64,
    input: u64,
    output: u64,
}

impl Masks {
    #[inline(always)]
    pub(crate) fn count(&self, amounts: &Amounts) -> u64 {
        (amounts.requests & self.requests)
            + (amounts.input & self.input)
            + (amounts.output & self.output)
    }
}

impl Meter {
    pub(crate) fn masks(self) -> Masks {
        let mask = |counted| if counted { u64::MAX } else { 0 };
        Masks {
            requests: mask(self == Self::Requests),
            input: mask(matches!(self, Self::Input | Self::Tokens)),
            output: mask(matches!(self, Self::Output | Self::Tokens)),
        }
    }
}

/// What becomes of a cost above the burst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Oversize {
    /// Refused at once, as [`Refused::Never`](crate::Refused::Never).
    #[default]
    Reject,
    /// Admitted when the bucket is full, which it leaves in debt: the next request waits until that is paid.
    WhenFull,
}

/// One rule of a limiter.
///
/// A token bucket produces `amount` tokens per period, evenly, and holds up to `burst` of them; it starts full.
/// In flight counts the requests that are held at the same time.
///
/// ```
/// use llmrl::Limit;
/// use std::time::Duration;
///
/// Limit::requests(500);                                         // 500 a minute, at most 500 at once
/// Limit::tokens(200_000).burst(20_000);                         // smoother
/// Limit::requests(1_000).per(Duration::from_secs(86_400));      // a day
/// Limit::in_flight(50);
/// ```
///
/// | number | range |
/// | --- | --- |
/// | amount | 1 to 2^40 - 1 |
/// | period | 1 ns to 3660 days; at most 10^9 tokens a second |
/// | burst | 1 to 2^40 - 1 |
/// | slots in flight | 1 to [`Limit::MAX_IN_FLIGHT`] |
///
/// Ranges are checked when the limiter or the bucket is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(pub(crate) Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    TokenBucket(Bucket),
    InFlight(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) meter: Meter,
    pub(crate) amount: u64,
    pub(crate) period_ns: u64,
    pub(crate) burst: Option<u64>,
    pub(crate) oversize: Oversize,
    pub(crate) start_empty: bool,
}

impl Limit {
    /// The largest in-flight limit, 2^19 - 1.
    pub const MAX_IN_FLIGHT: u64 = (1 << 19) - 1;

    /// A token bucket of `amount` on `meter` per minute.
    pub const fn bucket(meter: Meter, amount: u64) -> Self {
        Self(Kind::TokenBucket(Bucket {
            meter,
            amount,
            period_ns: 60_000_000_000,
            burst: None,
            oversize: Oversize::Reject,
            start_empty: false,
        }))
    }

    /// `amount` requests per minute.
    pub const fn requests(amount: u64) -> Self {
        Self::bucket(Meter::Requests, amount)
    }

    /// `amount` tokens, input and output together, per minute.
    pub const fn tokens(amount: u64) -> Self {
        Self::bucket(Meter::Tokens, amount)
    }

    /// `amount` input tokens per minute.
    pub const fn input_tokens(amount: u64) -> Self {
        Self::bucket(Meter::Input, amount)
    }

    /// `amount` output tokens per minute.
    pub const fn output_tokens(amount: u64) -> Self {
        Self::bucket(Meter::Output, amount)
    }

    /// At most `slots` requests held at the same time. A limiter has at most one such limit.
    pub const fn in_flight(slots: u64) -> Self {
        Self(Kind::InFlight(slots))
    }

    /// Another period than a minute. Without meaning for in flight.
    pub fn per(self, period: Duration) -> Self {
        let period_ns = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        self.with(|bucket| bucket.period_ns = period_ns)
    }

    /// How much an idle bucket holds; by default one period's amount.
    pub fn burst(self, burst: u64) -> Self {
        self.with(|bucket| bucket.burst = Some(burst))
    }

    /// What becomes of a cost above the burst.
    pub fn oversize(self, oversize: Oversize) -> Self {
        self.with(|bucket| bucket.oversize = oversize)
    }

    /// Start with nothing in the bucket, for a limit of which it is not known what others have used.
    pub fn start_empty(self) -> Self {
        self.with(|bucket| bucket.start_empty = true)
    }

    fn with(mut self, change: impl FnOnce(&mut Bucket)) -> Self {
        if let Kind::TokenBucket(bucket) = &mut self.0 {
            change(bucket);
        }
        self
    }
}

/// Where the positions of all lines begin: high enough that no balance reaches below zero.
const START: u64 = 1 << 49;

impl Bucket {
    /// The rate and burst, checked.
    pub(crate) fn checked(&self) -> Result<(Rate, u64), OutOfRange> {
        let rate = Rate::new(self.amount, self.period_ns)?;
        let burst = self.burst.unwrap_or(self.amount);
        OutOfRange::check("burst", burst, 1, Cost::MAX)?;
        Ok((rate, burst))
    }

    /// The production line and the first account of a new bucket.
    pub(crate) fn open(
        &self,
        scale: Scale,
        now: u64,
    ) -> Result<(Line, account::Account), OutOfRange> {
        let (rate, burst) = self.checked()?;
        let oversize = self.oversize == Oversize::WhenFull;
        let line = Line::new(rate, scale, burst, oversize, now, START);
        let balance = if self.start_empty { 0 } else { burst };
        Ok((line, account::Account::new(START, balance)))
    }
}
