//! What an answer has said so far, before it is made sense of. Headers, body and prose write to it; the first that says
//! something is believed.

use super::reading::Axis;

/// Times are nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts {
    /// What was exceeded.
    pub(super) axis: Option<Axis>,
    /// The period of that, in seconds.
    pub(super) window: Option<u32>,
    /// `Limit 10000, Used 8554, Requested 3082`.
    pub(super) limit: Option<u64>,
    pub(super) used: Option<u64>,
    pub(super) requested: Option<u64>,
    /// Google's `RetryInfo`.
    pub(super) retry_delay: Option<u64>,
    /// `retry_after` in the body.
    pub(super) retry_after: Option<u64>,
    /// "try again in", "retry after", "wait".
    pub(super) prose_wait: Option<u64>,
    /// Too many at a time, rather than in a time.
    pub(super) concurrent: bool,
    /// "Request too large".
    pub(super) too_large: bool,
    /// A code that says that money is missing.
    pub(super) billing: bool,
    /// "check your plan and billing details", which Google says of rates, too.
    pub(super) speaks_of_billing: bool,
    /// Google's form of an error.
    pub(super) google: bool,
    /// A quota of 0.
    pub(super) no_quota: bool,
    /// A quota that comes back at the end of a day or a month only.
    pub(super) calendar: bool,
    /// Capacity is short.
    pub(super) overload: bool,
    /// It is about a rate, whatever the status.
    pub(super) throttled: bool,
    /// The hash of the name of the policy that was violated.
    pub(super) policy: Option<u32>,
}

impl Facts {
    pub(super) fn tripped(&mut self, axis: Axis) {
        self.axis = self.axis.or(Some(axis));
    }

    pub(super) fn per(&mut self, seconds: u32) {
        self.window = self.window.or(Some(seconds));
    }
}
