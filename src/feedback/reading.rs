//! What one answer says, as a value.

use super::period::until;
use std::fmt;
use std::time::Duration;

/// What a provider counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Axis {
    /// Requests.
    Requests,
    /// Tokens, of which kind is not said: usually input and output together.
    Tokens,
    /// Input (prompt) tokens.
    Input,
    /// Output (completion) tokens.
    Output,
    /// Requests at the same time.
    Concurrency,
    /// Something else: bytes, seconds of audio, a share of a subscription.
    Other,
}

/// Which of several accounts of one axis is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pool {
    /// The usual one.
    Standard,
    /// OpenAI's limit of a project.
    Project,
    /// OpenAI's `tokens_usage_based`.
    UsageBased,
    /// Anthropic's Priority Tier.
    Priority,
    /// Anthropic's fast mode.
    Fast,
    /// A subscription's share, as Anthropic's `unified` headers tell it.
    Subscription,
    /// What a subscription allows beyond its share.
    Overage,
    /// Fireworks: prompt tokens that no cache had.
    Uncached,
    /// Set by a gateway (Kong, APISIX, LiteLLM) and not by the provider behind it.
    Gateway,
}

/// A period that was computed: it lies within `low..high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Period {
    /// The shortest that it can be.
    pub low: Duration,
    /// It is shorter than this; `None` when the numbers allow no bound.
    pub high: Option<Duration>,
    /// The one usual period within: a second, ten, a minute, five, an hour, a day or thirty days. `None` when there is none, as
    /// for a window whose whole amount comes back at its end, or more than one.
    pub nominal: Option<Duration>,
}

impl Period {
    pub(super) fn contains(&self, time: Duration) -> bool {
        self.low <= time && self.high.is_none_or(|high| time < high)
    }
}

/// What an answer says about one limit. Everything that it did not say, or that cannot be, is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quota {
    /// What it counts.
    pub axis: Axis,
    /// Which account of that axis.
    pub pool: Pool,
    /// How much in a period.
    pub limit: Option<u64>,
    /// How much of it is left; at most `limit`. Providers round it, Anthropic to thousands.
    pub remaining: Option<u64>,
    /// How long until all of it is back (a bucket) or the window ends; at most 366 days. Counted from when the answer was
    /// sent. It says nothing about the *next* request: see [`until`](Self::until).
    pub reset: Option<Duration>,
    /// The period that the provider states, by the name of the header or in its text.
    pub window: Option<Duration>,
    /// How much of it is used, in millionths, where shares are told instead of counts. May be above a million.
    pub utilization: Option<u32>,
    /// The period that follows from limit, remaining and reset if it is a bucket that refills evenly.
    pub solved: Option<Period>,
}

impl Quota {
    /// Nothing known yet.
    pub(super) const fn new(axis: Axis, pool: Pool) -> Self {
        Self {
            axis,
            pool,
            limit: None,
            remaining: None,
            reset: None,
            window: None,
            utilization: None,
            solved: None,
        }
    }

    /// The period that is computed, else the one that is stated.
    pub fn period(&self) -> Option<Duration> {
        let nominal = self.solved.and_then(|solved| solved.nominal);
        nominal.or(self.window)
    }

    /// Whether the provider states another period than it enforces.
    pub fn mislabelled(&self) -> bool {
        match (self.solved, self.window) {
            (Some(solved), Some(window)) => solved.nominal.is_some_and(|nominal| nominal != window),
            _ => false,
        }
    }

    /// Whether nothing is left.
    pub fn exhausted(&self) -> bool {
        self.remaining == Some(0) || self.utilization.is_some_and(|used| used >= 1_000_000)
    }

    /// How long until `n` units are there, if this is a bucket that refills evenly and nobody else takes any:
    /// `(n - remaining) / limit * period`, rounded up to the nanosecond. At 500 a minute that is 120 ms for the next
    /// request, where `reset` says a minute. `None` when one of these is not known, or `n` is above the limit.
    pub fn until(&self, n: u64) -> Option<Duration> {
        until(n, self.remaining?, self.limit?, self.period()?)
    }
}

/// What became of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Class {
    /// It was answered: a status below 400.
    Ok,
    /// More than the rate. Pause that axis, for everyone.
    Rate,
    /// Too many at the same time. Lower the number in flight; what is there comes through in a second or so.
    Concurrency,
    /// The provider is short of capacity, which has nothing to do with this account's limits. Back off.
    Overload,
    /// A rate over a day or longer that is not back within an hour, or whatever takes a day. Park the request, or send it
    /// elsewhere.
    Long,
    /// Money or permission: it does not pass with time.
    Billing,
    /// The request is larger than the limit, and would be refused for ever. [`Reading::tripped`] has the limit.
    Oversize,
    /// Another failure.
    Other,
}

/// How many [`Quota`]s a [`Reading`] holds. The most that a provider is known to send is 12.
pub const MAX_QUOTAS: usize = 16;

/// What one answer says about limits. Plain data of a fixed size; made by [`read_answer`](super::read_answer).
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Reading {
    /// What became of the request.
    pub class: Class,
    /// What was exceeded, if it is told or only one thing can be meant.
    pub axis: Option<Axis>,
    /// How long the provider says to wait, from when it answered; at most 366 days. Zero, which comes with
    /// [`Class::Concurrency`] only, is "at once, but fewer at a time". `None` when nothing was said. Always `None` where
    /// waiting does not help, and for [`Class::Ok`].
    pub wait: Option<Duration>,
    /// `x-should-retry`. Not to be obeyed blindly: Cerebras sends `false` with what passes soonest.
    pub should_retry: Option<bool>,
    /// Served, but over or near the limit.
    pub warning: bool,
    /// How much the refused request asked for, in units of `axis`, if it is told.
    pub requested: Option<u64>,
    pub(super) tripped: Option<u8>,
    pub(super) server_error: bool,
    pub(super) len: u8,
    pub(super) quotas: [Quota; MAX_QUOTAS],
}

impl Reading {
    /// What was said about each limit, in the order of the answer. Beyond [`MAX_QUOTAS`], and what says nothing, is left out.
    pub fn quotas(&self) -> &[Quota] {
        &self.quotas[..usize::from(self.len)]
    }

    /// The one that refused the request, as an index into [`quotas`](Self::quotas), if it is among them.
    pub fn tripped(&self) -> Option<usize> {
        self.tripped.map(usize::from)
    }

    /// Whether the request has used no tokens. Of another failure that is not known.
    pub(crate) fn is_refused(&self) -> bool {
        !matches!(self.class, Class::Ok | Class::Other)
    }

    /// Whether the same request may pass later.
    pub fn retryable(&self) -> bool {
        match self.class {
            Class::Ok | Class::Billing | Class::Oversize => false,
            Class::Rate | Class::Concurrency | Class::Overload | Class::Long => true,
            Class::Other => self.should_retry.unwrap_or(self.server_error),
        }
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading")
            .field("class", &self.class)
            .field("axis", &self.axis)
            .field("wait", &self.wait)
            .field("should_retry", &self.should_retry)
            .field("warning", &self.warning)
            .field("requested", &self.requested)
            .field("tripped", &self.tripped)
            .field("quotas", &self.quotas())
            .finish()
    }
}
