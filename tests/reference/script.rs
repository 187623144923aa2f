//! What can be asked of a limiter and what it can answer, as plain values.

use llmrl::{Cost, Limit, Meter, Oversize};
use std::time::Duration;

/// Names a permit or the ticket that becomes one.
pub type Name = u32;

#[derive(Clone, Debug)]
pub struct BucketSpec {
    pub meter: Meter,
    pub amount: u64,
    pub period_ns: u64,
    pub burst: u64,
    pub when_full: bool,
    pub start_empty: bool,
}

impl BucketSpec {
    pub fn new(meter: Meter, amount: u64, period_ns: u64, burst: u64) -> Self {
        Self {
            meter,
            amount,
            period_ns,
            burst,
            when_full: false,
            start_empty: false,
        }
    }

    pub fn limit(&self) -> Limit {
        let limit = match self.meter {
            Meter::Requests => Limit::requests(self.amount),
            Meter::Tokens => Limit::tokens(self.amount),
            Meter::Input => Limit::input_tokens(self.amount),
            _ => Limit::output_tokens(self.amount),
        };
        let limit = limit
            .per(Duration::from_nanos(self.period_ns))
            .burst(self.burst);
        let limit = match self.when_full {
            true => limit.oversize(Oversize::WhenFull),
            false => limit,
        };
        if self.start_empty {
            limit.start_empty()
        } else {
            limit
        }
    }

    pub fn cost(&self, cost: &Cost) -> u64 {
        match self.meter {
            Meter::Requests => cost.requests,
            Meter::Tokens => cost.input + cost.output,
            Meter::Input => cost.input,
            _ => cost.output,
        }
    }
}

#[derive(Clone, Debug)]
pub enum LimitSpec {
    Bucket(BucketSpec),
    InFlight(u64),
}

impl LimitSpec {
    pub fn limit(&self) -> Limit {
        match self {
            Self::Bucket(bucket) => bucket.limit(),
            Self::InFlight(slots) => Limit::in_flight(*slots),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Setup {
    pub start_ns: u64,
    pub limits: Vec<LimitSpec>,
    pub max_waiters: usize,
}

#[derive(Clone, Debug)]
pub enum Op {
    TryAcquire {
        name: Name,
        cost: Cost,
    },
    /// Joins the queue and polls once.
    Enqueue {
        name: Name,
        cost: Cost,
        timeout_ns: Option<u64>,
    },
    Poll(Name),
    Adjust(Name, Cost),
    Settle(Name, Cost),
    Release(Name),
    Cancel(Name),
    Charge(Cost),
    Retune {
        limit: usize,
        amount: u64,
        period_ns: u64,
        burst: u64,
    },
    Resize(u64),
    Pause {
        limit: usize,
        ns: u64,
    },
    Close,
}

/// How long until something can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// So many nanoseconds, exactly.
    Ns(u64),
    /// No time is known: it takes a release.
    Forever,
    /// It depends on what those do who stand ahead; any number is a good one.
    Open,
}

/// The words of the C interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Ok,
    Pending(Wait),
    Refused(Wait),
    Never,
    Full,
    Deadline,
    Closed,
    Stale,
    /// A cost, a configuration field or an index out of range.
    Cost,
    Range,
    Index,
}

impl Answer {
    pub fn wait(&self) -> Option<Wait> {
        match self {
            Self::Pending(wait) | Self::Refused(wait) => Some(*wait),
            _ => None,
        }
    }

    pub fn word(&self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Pending(_) => "PENDING",
            Self::Refused(_) => "REFUSED",
            Self::Never => "NEVER",
            Self::Full => "FULL",
            Self::Deadline => "DEADLINE",
            Self::Closed => "CLOSED",
            Self::Stale => "STALE",
            Self::Cost => "COST",
            Self::Range => "RANGE",
            Self::Index => "INDEX",
        }
    }
}
