//! A rate that feels its way, for providers that refuse without saying what they allow.
//!
//! Decrease and growth are those of CUBIC (RFC 9438), on the share of the configured rate that is used: a refusal leaves
//! 0.7 of the rate, once for all requests that were on their way when it came; then the rate grows back,
//! slowest around where it was refused, and only while there is use for it.

use super::Mode;
use std::time::Duration;

const DECREASE: f64 = 0.7;
const GROWTH: f64 = 0.4;
/// The unit of time of the growth.
const PACE: Duration = Duration::from_secs(10);
/// However often it is refused, it goes on asking.
const LEAST: f64 = 1.0 / 64.0;

#[derive(Clone, Debug)]
pub(super) struct Share {
    /// Of the rate, at most 1.
    now: f64,
    /// At the last refusal.
    refused: f64,
    since: u64,
}

impl Share {
    pub(super) const fn all() -> Self {
        Self {
            now: 1.0,
            refused: 1.0,
            since: 0,
        }
    }

    /// A request was refused that had been admitted at `at`. Says whether that is news: those that were admitted before the
    /// last refusal tell of the same.
    pub(super) fn refuse(&mut self, at: u64, now: u64) -> bool {
        if at < self.since {
            return false;
        }
        self.refused = self.now;
        self.now = (self.refused * DECREASE).max(LEAST);
        self.since = now;
        true
    }

    /// A request was answered `after` the last refusal, with more `in_demand` than there is or not. Says whether the share
    /// has grown.
    pub(super) fn answer(&mut self, after: Duration, in_demand: bool) -> bool {
        if self.now >= 1.0 || !in_demand {
            return false;
        }
        let plateau = (self.refused * (1.0 - DECREASE) / GROWTH).cbrt();
        let time = after.as_secs_f64() / PACE.as_secs_f64() - plateau;
        let grown = (self.refused + GROWTH * time.powi(3)).min(1.0);
        // In steps, because each is a change of the limit.
        let has_grown = grown >= self.now * 1.01 || grown >= 1.0;
        if has_grown {
            self.now = grown;
        }
        has_grown
    }

    pub(super) fn of(&self, amount: u64) -> u64 {
        ((amount as f64 * self.now) as u64).max(1)
    }

    /// Below what was refused it is throttled; then it finds out whether there is more.
    pub(super) fn mode(&self) -> Mode {
        match self.now {
            now if now >= 1.0 => Mode::Normal,
            now if now < self.refused => Mode::Throttled,
            _ => Mode::Recovering,
        }
    }

    /// When it was last refused.
    pub(super) fn since(&self) -> u64 {
        self.since
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn twenty_refusals_at_once_are_one() {
        let mut share = Share::all();
        let news = (0..20).filter(|_| share.refuse(5, 9)).count();
        assert_eq!((news, share.of(1_000)), (1, 700));
        // What was admitted since is news.
        assert!(share.refuse(9, 12));
        assert_eq!(share.of(1_000), 489);
    }

    #[test]
    fn it_grows_back_and_rests_where_it_was_refused() {
        let mut share = Share::all();
        share.refuse(0, 0);
        share.refuse(0, 0);
        assert_eq!(share.of(1_000), 489);
        let mut at = |seconds| {
            share.answer(Duration::from_secs(seconds), true);
            share.of(1_000)
        };
        assert!((650..=700).contains(&at(6)));
        assert!((690..=710).contains(&at(9)));
        assert_eq!(at(60), 1_000);
    }

    #[test]
    fn it_does_not_grow_unused_nor_end() {
        let mut share = Share::all();
        (0..100).for_each(|at| {
            share.refuse(at, at);
        });
        assert_eq!((share.of(6_400), share.of(1)), (100, 1));
        assert!(!share.answer(Duration::from_secs(100), false));
        assert_eq!(share.of(6_400), 100);
    }
}
