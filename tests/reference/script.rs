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

    /// A bucket that holds nothing and lets everybody in who finds it without debt.
    pub fn pacing(meter: Meter, amount: u64, period_ns: u64) -> Self {
        Self {
            when_full: true,
            ..Self::new(meter, amount, period_ns, 0)
        }
    }

    pub fn limit(&self) -> Limit {
        let limit = match self.burst {
            0 => Limit::pacing(self.meter, self.amount),
            burst => Limit::bucket(self.meter, self.amount).burst(burst),
        };
        finish(limit, self.period_ns, self.when_full, self.start_empty)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowShape {
    Fixed,
    Counter,
    /// Never over, in so many parts.
    Sliding(u64),
    Log,
}

#[derive(Clone, Debug)]
pub struct WindowSpec {
    pub shape: WindowShape,
    pub meter: Meter,
    pub amount: u64,
    pub period_ns: u64,
    /// Time stamps of a log, if not as many as the amount.
    pub resolution: Option<u64>,
    pub resets_in_ns: Option<u64>,
    pub when_full: bool,
    pub start_empty: bool,
}

impl WindowSpec {
    pub fn new(shape: WindowShape, meter: Meter, amount: u64, period_ns: u64) -> Self {
        Self {
            shape,
            meter,
            amount,
            period_ns,
            resolution: None,
            resets_in_ns: None,
            when_full: false,
            start_empty: false,
        }
    }

    pub fn limit(&self) -> Limit {
        let (meter, amount) = (self.meter, self.amount);
        let limit = match self.shape {
            WindowShape::Fixed => Limit::fixed_window(meter, amount),
            WindowShape::Counter => Limit::sliding_window_counter(meter, amount),
            WindowShape::Sliding(parts) => Limit::sliding_window(meter, amount).resolution(parts),
            WindowShape::Log => Limit::sliding_window_log(meter, amount),
        };
        let limit = match self.resolution {
            Some(stamps) => limit.resolution(stamps),
            None => limit,
        };
        let limit = match self.resets_in_ns {
            Some(ns) => limit.resets_in(Duration::from_nanos(ns)),
            None => limit,
        };
        finish(limit, self.period_ns, self.when_full, self.start_empty)
    }
}

fn finish(limit: Limit, period_ns: u64, when_full: bool, start_empty: bool) -> Limit {
    let limit = limit.per(Duration::from_nanos(period_ns));
    let limit = match when_full {
        true => limit.oversize(Oversize::WhenFull),
        false => limit,
    };
    if start_empty {
        limit.start_empty()
    } else {
        limit
    }
}

/// What `meter` counts of `cost`.
pub fn count(meter: Meter, cost: &Cost) -> u64 {
    match meter {
        Meter::Requests => cost.requests,
        Meter::Tokens => cost.input + cost.output,
        Meter::Input => cost.input,
        Meter::Output => cost.output,
        Meter::Weighted(weights) => {
            let special = u128::from(cost.cached) + u128::from(cost.cache_write);
            let thousandths = u128::from(cost.input).saturating_sub(special)
                * u128::from(weights.input)
                + u128::from(cost.output) * u128::from(weights.output)
                + u128::from(cost.cached) * u128::from(weights.cached)
                + u128::from(cost.cache_write) * u128::from(weights.cache_write);
            thousandths.div_ceil(1_000).min(Cost::MAX.into()) as u64
        }
        other => panic!("an unknown meter: {other:?}"),
    }
}

#[derive(Clone, Debug)]
pub enum LimitSpec {
    Bucket(BucketSpec),
    Window(WindowSpec),
    InFlight(u64),
}

impl LimitSpec {
    pub fn limit(&self) -> Limit {
        match self {
            Self::Bucket(bucket) => bucket.limit(),
            Self::Window(window) => window.limit(),
            Self::InFlight(slots) => Limit::in_flight(*slots),
        }
    }

    /// The burst that a retune to `amount` comes with, where the kind leaves no choice.
    pub fn burst_at(&self, amount: u64) -> Option<u64> {
        match self {
            Self::Bucket(bucket) => (bucket.burst == 0).then_some(0),
            Self::Window(_) => Some(amount),
            Self::InFlight(_) => None,
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
    Align {
        limit: usize,
        resets_in_ns: u64,
    },
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
