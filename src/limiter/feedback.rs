//! What providers say, handed to the limiter: by which permit, about which limits, and what the caller should do.

use super::learned::{Learned, stated};
use super::permit::Grant;
use super::refused::UNSAID;
use super::{Core, Limiter, Permit};
use crate::clock::nanos;
use crate::feedback::{Axis, Class, Pool, Reading};
use crate::limit::lows::Stands;
use crate::limit::{Meter, Quota as Rule};
use crate::ring::gate::EVENT;
use crate::sync::lock_soon;
use std::time::Duration;

/// The longest that a limiter holds requests back because of one answer, five minutes. Whatever a provider says, it is asked
/// again by then.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What to do with a request, now that it was answered. See [`Permit::feedback`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Advice {
    /// What became of it.
    pub class: Class,
    /// Whether the same request may be admitted later.
    pub retry: bool,
    /// How long to wait before asking the limiter again. Zero where the limiter itself holds requests back; more than
    /// [`LONGEST_PAUSE`] if the provider said so: then another provider may be the better choice.
    pub wait: Duration,
}

/// How freely a limit admits, compared with how it is configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// As it is configured, or as the provider says.
    #[default]
    Normal,
    /// Less or nothing, because the provider has refused.
    Throttled,
    /// On its way back.
    Recovering,
}

impl Permit<'_> {
    /// The provider has answered this request: `reading` is what it says about limits
    /// ([`read_answer`](crate::feedback::read_answer)). The limiter learns from it, for all who use it.
    ///
    /// To be called for every answer, before the permit is settled. A request that was refused has used no tokens, and its
    /// permit gives them back here; release it, and ask for another permit as [`Advice`] says: the limiter sees to it that
    /// nobody comes too early. Takes some microseconds and a lock that admissions do not need.
    ///
    /// ```
    /// use llmrl::feedback::read_answer;
    /// use llmrl::{Cost, Limit, Limiter};
    /// use std::time::{Duration, SystemTime};
    ///
    /// let limiter = Limiter::builder().limit(Limit::tokens(60_000)).build()?;
    /// let mut permit = limiter.try_acquire(&Cost::tokens(1_000, 0))?;
    /// let headers = [("retry-after-ms", "2500"), ("x-ratelimit-limit-tokens", "60000")];
    /// let body = br#"{"error": {"type": "tokens"}}"#;
    /// let advice = permit.feedback(&read_answer(429, headers, body, SystemTime::now()));
    /// permit.release();
    ///
    /// assert!(advice.retry);
    /// // A thousand tokens a second: 1,500 are missing.
    /// assert!(limiter.limit_state(0)?.available <= -1_500);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn feedback(&mut self, reading: &Reading) -> Advice {
        self.limiter.feedback_grant(&mut self.grant, reading)
    }
}

impl Limiter {
    /// The request was refused by somebody else: it has used no tokens.
    pub(crate) fn give_tokens_back(&self, grant: &mut Grant) {
        self.core.give_tokens_back(grant);
        self.core.kick(EVENT);
    }

    pub(crate) fn feedback_grant(&self, grant: &mut Grant, reading: &Reading) -> Advice {
        let core = &self.core;
        // Somebody who was stopped in here must not stop others. What this answer says, the next one will say again.
        let (is_held, changed) = match lock_soon(&core.learned) {
            Some(mut learned) => {
                let is_held = core.learn(&mut learned, grant, reading);
                (is_held, learned.take_changed())
            }
            None => Default::default(),
        };
        let is_refused = reading.is_refused();
        if is_refused {
            core.give_tokens_back(grant);
        }
        // Without the lock: it may call whoever is to be woken.
        if changed || is_refused {
            core.kick(EVENT);
        }
        let said = reading.wait.unwrap_or(UNSAID);
        Advice {
            class: reading.class,
            retry: reading.retryable(),
            wait: match reading.class {
                Class::Ok | Class::Billing | Class::Oversize => Duration::ZERO,
                Class::Rate | Class::Long if is_held && said <= LONGEST_PAUSE => Duration::ZERO,
                // Zero is "at once, but fewer at a time", of which nobody takes care here.
                Class::Concurrency if !self.has_in_flight() => said.max(UNSAID),
                _ => said,
            },
        }
    }
}

impl Core {
    /// Says whether the limiter holds a refused request back by itself when it comes again.
    fn learn(&self, learned: &mut Learned, grant: &mut Grant, reading: &Reading) -> bool {
        let mut is_held = false;
        let at = grant.at;
        let now = self.clock.now();
        for ledger in self.ledgers() {
            self.note(learned, ledger, now);
        }
        for quota in reading
            .quotas()
            .iter()
            .filter(|quota| quota.pool == Pool::Standard)
        {
            for ledger in self.meant(quota.axis, stated(quota)) {
                let Some(known) = &mut learned.ledgers[ledger] else {
                    continue;
                };
                self.follow(known, ledger, quota);
                if reading.class == Class::Ok {
                    self.believe(known, ledger);
                    known.nearest = known.nearest.min(now.saturating_sub(at));
                    self.compare(
                        known,
                        ledger,
                        self.amount(ledger, &grant.amounts),
                        at,
                        quota,
                    );
                }
            }
        }
        match reading.class {
            Class::Rate | Class::Long => is_held = self.refused(learned, grant, reading),
            Class::Concurrency => self.crowded(&mut learned.slots, at, now),
            Class::Ok => self.answered(learned, now),
            _ => {}
        }
        for ledger in self.ledgers() {
            self.bound(learned, ledger);
            self.note(learned, ledger, self.clock.now());
        }
        is_held
    }

    fn give_tokens_back(&self, grant: &mut Grant) {
        let left = grant.amounts.requests_only();
        for ledger in self.ledgers().filter(|&ledger| !grant.is_kept(ledger)) {
            let amount = self.amount(ledger, &grant.amounts);
            let charge = Stands {
                at: grant.at,
                amount,
            };
            let unused = amount - self.amount(ledger, &left);
            if unused > 0 {
                self.refund(ledger, unused, charge);
            }
        }
        grant.amounts = left;
    }

    /// The quotas on `axis`, with their ledgers.
    fn counting(&self, axis: Axis) -> Vec<(usize, Rule)> {
        let counts = |meter: Meter| match axis {
            Axis::Requests => meter == Meter::Requests,
            Axis::Tokens => meter == Meter::Tokens,
            Axis::Input => meter == Meter::Input,
            Axis::Output => meter == Meter::Output,
            _ => false,
        };
        let mut quotas = self.quotas();
        quotas.retain(|(_, rule)| counts(rule.meter));
        quotas
    }

    /// The ledgers that count `axis` over `period`; if that is not known, over the shortest one.
    fn meant(&self, axis: Axis, period: Option<Duration>) -> Vec<usize> {
        let quotas = self.counting(axis);
        let shortest = quotas.iter().map(|(_, rule)| rule.period_ns).min();
        let wanted = period.map_or(shortest, |period| Some(nanos(period)));
        let of_period = quotas
            .into_iter()
            .filter(|(_, rule)| Some(rule.period_ns) == wanted);
        of_period.map(|(ledger, _)| ledger).collect()
    }

    /// The ledgers to hold back when a limit on `axis` has refused: those that count it over that period; else of those that
    /// count it, or tokens of another kind, the one that lets the least pass at once; else, as everything has that axis, all.
    pub(super) fn tripped(&self, axis: Axis, period: Option<Duration>) -> Vec<usize> {
        let meant = self.meant(axis, period);
        if !meant.is_empty() {
            return meant;
        }
        let mut counting = self.counting(axis);
        if counting.is_empty() && matches!(axis, Axis::Tokens | Axis::Input | Axis::Output) {
            counting = self.quotas();
            counting.retain(|(_, rule)| rule.meter != Meter::Requests);
        }
        let smallest = counting.iter().min_by_key(|(_, rule)| rule.holds());
        match smallest {
            Some((ledger, _)) => vec![*ledger],
            None => self.ledgers().collect(),
        }
    }
}
