//! What can go wrong, in words that name the field, the value and the accepted range.

use std::fmt;
use std::time::Duration;

/// A number outside its accepted range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutOfRange {
    /// Name of the field.
    pub field: &'static str,
    /// What was given.
    pub value: u64,
    /// Smallest accepted value.
    pub min: u64,
    /// Largest accepted value.
    pub max: u64,
}

impl OutOfRange {
    #[inline]
    pub(crate) fn check(field: &'static str, value: u64, min: u64, max: u64) -> Result<(), Self> {
        if min <= value && value <= max {
            Ok(())
        } else {
            Err(Self {
                field,
                value,
                min,
                max,
            })
        }
    }
}

impl OutOfRange {
    /// There are `value` things of a kind where there must be `needed`.
    pub(crate) fn count(field: &'static str, value: u64, needed: u64) -> Self {
        Self {
            field,
            value,
            min: needed,
            max: needed,
        }
    }
}

impl fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            field,
            value,
            min,
            max,
        } = self;
        write!(f, "{field} = {value} is outside {min}..={max}")
    }
}

impl std::error::Error for OutOfRange {}

/// Why a limiter, or a change to one, was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigError {
    /// The limit in question by its index, or `None` when it is about the limiter as a whole.
    pub limit: Option<usize>,
    /// The offending number.
    pub error: OutOfRange,
}

impl ConfigError {
    pub(crate) fn at(limit: usize) -> impl FnOnce(OutOfRange) -> Self {
        move |error| Self {
            limit: Some(limit),
            error,
        }
    }
}

impl From<OutOfRange> for ConfigError {
    fn from(error: OutOfRange) -> Self {
        Self { limit: None, error }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.limit {
            Some(index) => write!(f, "limit {index}: {}", self.error),
            None => self.error.fmt(f),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Why a request was not admitted. It has taken nothing, from any limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// Not now.
    NotNow {
        /// How long from now the same request would be refused, absent other traffic: it is admitted
        /// after exactly this wait and refused a nanosecond earlier. `None` when no time is known,
        /// because it takes somebody's release of an in-flight slot.
        wait: Option<Duration>,
    },
    /// Not ever: the cost is above what the limit can hold.
    Never {
        /// Index of the limit.
        limit: usize,
        /// What the request costs there.
        cost: u64,
        /// What the limit holds at most.
        burst: u64,
    },
    /// The queue has as many waiters as it was made for.
    Full,
    /// The wait would outlast the timeout, or has.
    Deadline,
    /// The limiter is closed.
    Closed,
    /// There is no limiter to ask: the [`Router`](crate::Router) has no node, or none with a weight.
    NoNode,
    /// The cost itself is invalid.
    Cost(OutOfRange),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotNow { wait: Some(wait) } => write!(f, "not now; try again in {wait:?}"),
            Self::NotNow { wait: None } => f.write_str("not now; all in-flight slots are taken"),
            Self::Never { limit, cost, burst } => write!(
                f,
                "never: the request costs {cost} at limit {limit}, which holds at most {burst}"
            ),
            Self::Full => f.write_str("the queue is full; raise max_waiters or shed load"),
            Self::Deadline => f.write_str("the wait would outlast the timeout"),
            Self::Closed => f.write_str("the limiter is closed"),
            Self::NoNode => f.write_str("no node has a weight"),
            Self::Cost(error) => write!(f, "cost: {error}"),
        }
    }
}

impl std::error::Error for Refused {}

impl From<OutOfRange> for Refused {
    fn from(error: OutOfRange) -> Self {
        Self::Cost(error)
    }
}
