//! From what an answer said to what became of the request, and when it may be made again.

use super::date::{When, until_midnight};
use super::facts::Facts;
use super::headers::Headers;
use super::number::SECOND;
use super::period::{from_wait, nanos};
use super::reading::{Axis, Class, MAX_QUOTAS, Period, Pool, Quota, Reading};
use super::slot::LONGEST;
use std::time::Duration;

const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;

/// `now` is the wall clock's time, for answers without a date.
pub(super) fn decide(
    status: u16,
    mut headers: Headers,
    violated: &[Option<Quota>],
    now: u64,
) -> Reading {
    let now = headers.date.unwrap_or(now);
    let mut quotas = Quotas::default();
    headers.quotas(now, |quota, name| quotas.push(quota, name));
    let mut facts = headers.facts;
    violated
        .iter()
        .flatten()
        .for_each(|quota| quotas.add(quota));
    if let Some(quota) = facts.quota() {
        quotas.add(&quota);
    }
    let tripped = quotas.tripped(&mut facts).filter(|_| status >= 400);
    if let (Some(at), Some(seconds)) = (tripped, facts.window) {
        let window = &mut quotas.all[at].window;
        *window = window.or(Some(Duration::from_secs(seconds.into())));
    }
    let period = tripped.and_then(|at| quotas.all[at].period());
    let mut reading = Reading {
        class: facts.class(status, &quotas),
        axis: facts.axis.filter(|_| status >= 400),
        wait: None,
        should_retry: headers.should_retry,
        warning: headers.warning,
        requested: facts.requested,
        tripped: tripped.map(|at| at as u8),
        server_error: matches!(status, 408 | 409 | 500..),
        len: quotas.len as u8,
        quotas: quotas.all,
    };
    match reading.class {
        Class::Concurrency => reading.axis = Some(Axis::Concurrency),
        // No limit of the account's has to do with these.
        Class::Overload | Class::Other => (reading.axis, reading.tripped) = (None, None),
        _ => {}
    }
    let wait = wait(reading.class, &headers, &facts, &quotas, now);
    if reading.class == Class::Rate {
        let daily = period.is_some_and(|period| nanos(period) >= DAY)
            || facts
                .window
                .is_some_and(|seconds| u64::from(seconds) * SECOND >= DAY);
        let within_the_hour = wait.is_some_and(|wait| wait < HOUR);
        let long = wait.is_some_and(|wait| wait >= DAY);
        if facts.calendar || long || daily && !within_the_hour {
            reading.class = Class::Long;
        }
    }
    reading.wait = wait.map(Duration::from_nanos);
    reading
}

impl Facts {
    /// Whether more is asked for than there can ever be.
    fn oversize(&self) -> bool {
        let beyond = self.requested.zip(self.limit);
        beyond.is_some_and(|(requested, limit)| requested > limit)
    }

    fn class(&self, status: u16, quotas: &Quotas) -> Class {
        // Google asks to check the billing details whenever a rate is exceeded.
        let out_of_money = self.speaks_of_billing
            && !self.google
            && self.limit.is_none()
            && self.prose_wait.is_none();
        let limited = match status {
            429 => true,
            // GitHub's.
            403 if quotas.known().iter().any(Quota::exhausted) => true,
            _ => self.throttled,
        };
        match status {
            ..400 => Class::Ok,
            402 => Class::Billing,
            _ if self.billing => Class::Billing,
            _ if limited && (self.no_quota || out_of_money) => Class::Billing,
            413 => Class::Oversize,
            _ if self.too_large || limited && self.oversize() => Class::Oversize,
            503 | 529 => Class::Overload,
            _ if self.overload => Class::Overload,
            _ if !limited => Class::Other,
            _ if self.concurrent || self.axis == Some(Axis::Concurrency) => Class::Concurrency,
            _ => Class::Rate,
        }
    }

    /// What the text says of the limit that was exceeded.
    fn quota(&self) -> Option<Quota> {
        let limit = self.limit?;
        let axis = match self.concurrent {
            true => Axis::Concurrency,
            false => self.axis?,
        };
        let mut quota = Quota::new(axis, Pool::Standard);
        quota.limit = Some(limit);
        quota.remaining = self.used.map(|used| limit.saturating_sub(used));
        quota.window = self
            .window
            .map(|seconds| Duration::from_secs(seconds.into()));
        quota.solved = self.solved();
        Some(quota)
    }

    fn lack(&self) -> Option<u64> {
        let wanted = self.used?.saturating_add(self.requested?);
        wanted.checked_sub(self.limit?).filter(|&lack| lack > 0)
    }

    fn solved(&self) -> Option<Period> {
        from_wait(self.prose_wait?, self.limit?, self.lack()?)
    }

    /// `(used + requested - limit) / limit * period`.
    fn computed_wait(&self) -> Option<u64> {
        let limit = self.limit.filter(|&limit| limit > 0)?;
        let period = u128::from(self.window?) * u128::from(SECOND);
        let ns = u128::from(self.lack()?) * period / u128::from(limit);
        Some(u64::try_from(ns).unwrap_or(u64::MAX))
    }
}

/// How long the provider says to wait: the first of its ways to say so that is there and not zero. Zero on a rate is no answer
/// (Azure); on concurrency it is one (GitHub Models).
fn wait(class: Class, headers: &Headers, facts: &Facts, quotas: &Quotas, now: u64) -> Option<u64> {
    if matches!(class, Class::Ok | Class::Billing | Class::Oversize) {
        return None;
    }
    // Google tells the next minute although it is the day's quota that has gone.
    let told = |wait: Option<u64>| wait.filter(|_| !facts.calendar);
    let in_order = [
        headers.retry_after_ms,
        headers.retry_after.map(|when: When| when.after(now)),
        headers.time_remaining,
        facts.calendar.then(|| until_midnight(now)),
        // Cut off to the second in the one place, and not in the other.
        told(
            facts
                .retry_delay
                .map(|delay| delay.max(facts.prose_wait.unwrap_or(0))),
        ),
        told(facts.retry_after),
        told(facts.prose_wait),
        told(facts.computed_wait()),
        quotas.reset(facts.axis),
    ];
    let mut known = in_order.into_iter().flatten();
    let wait = match class {
        Class::Concurrency => {
            let zero = in_order.contains(&Some(0)).then_some(0);
            known.find(|&wait| wait > 0).or(zero)
        }
        _ => known.find(|&wait| wait > 0),
    };
    wait.map(|wait| wait.min(LONGEST))
}

/// What may be used beyond a limit has not refused anything: it is "rejected" all the time for those who may not.
fn has_refused(quota: &Quota) -> bool {
    quota.exhausted() && quota.pool != Pool::Overage
}

/// What is known of each limit, and the names of those that have one.
struct Quotas {
    all: [Quota; MAX_QUOTAS],
    names: [Option<u32>; MAX_QUOTAS],
    len: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            all: [Quota::new(Axis::Other, Pool::Standard); MAX_QUOTAS],
            names: [None; MAX_QUOTAS],
            len: 0,
        }
    }
}

impl Quotas {
    fn known(&self) -> &[Quota] {
        &self.all[..self.len]
    }

    fn push(&mut self, quota: Quota, name: Option<u32>) {
        if self.len < MAX_QUOTAS {
            (self.all[self.len], self.names[self.len]) = (quota, name);
            self.len += 1;
        }
    }

    /// Adds what a body says of a limit, to what is known of it if that can be the same.
    fn add(&mut self, quota: &Quota) {
        let agree = |one: Option<Duration>, other: Option<Duration>| {
            one.is_none() || other.is_none() || one == other
        };
        let fits = |remaining: Option<u64>, limit: Option<u64>| {
            remaining.is_none_or(|remaining| limit.is_none_or(|limit| remaining <= limit))
        };
        let same = |known: &&mut Quota| {
            known.axis == quota.axis
                && known.pool == quota.pool
                && (known.limit.is_none() || quota.limit.is_none() || known.limit == quota.limit)
                && agree(known.window, quota.window)
                && fits(known.remaining, quota.limit)
                && fits(quota.remaining, known.limit)
        };
        match self.all[..self.len].iter_mut().find(same) {
            None => self.push(*quota, None),
            Some(known) => {
                known.limit = known.limit.or(quota.limit);
                known.remaining = known.remaining.or(quota.remaining);
                known.window = known.window.or(quota.window);
                // The text is exact where headers are rounded.
                known.solved = quota.solved.or(known.solved);
            }
        }
    }

    /// The one that refused the request; whoever is the only one that can have, if nothing was said.
    fn tripped(&self, facts: &mut Facts) -> Option<usize> {
        let find = |is: &dyn Fn(usize, &Quota) -> bool| {
            let mut known = self.known().iter().enumerate();
            known.position(|(at, quota)| is(at, quota))
        };
        if let Some(at) = facts
            .policy
            .and_then(|name| find(&|at, _| self.names[at] == Some(name)))
        {
            facts.axis = Some(self.all[at].axis);
            return Some(at);
        }
        if facts.concurrent {
            return find(&|_, quota| quota.axis == Axis::Concurrency);
        }
        if facts.axis.is_none() {
            let mut exhausted = self.known().iter().filter(|quota| has_refused(quota));
            let axis = exhausted.next()?.axis;
            if exhausted.any(|quota| quota.axis != axis) {
                return None;
            }
            facts.axis = Some(axis);
        }
        let seconds = facts
            .window
            .map(|seconds| Duration::from_secs(seconds.into()));
        let limit = |quota: &Quota| facts.limit.is_some() && quota.limit == facts.limit;
        let window = |quota: &Quota| seconds.is_some() && quota.window == seconds;
        // What says most about which one it is comes first.
        let hints: [&dyn Fn(&Quota) -> bool; 5] = [
            &limit,
            &|quota| has_refused(quota) && window(quota),
            &has_refused,
            &window,
            &|_| true,
        ];
        let mut found = hints
            .iter()
            .map(|hint| find(&|_, quota| Some(quota.axis) == facts.axis && hint(quota)));
        found.find_map(|found| found)
    }

    /// When everything that is exhausted, of that axis if one is known, is back.
    fn reset(&self, axis: Option<Axis>) -> Option<u64> {
        let of_axis = |quota: &&Quota| axis.is_none_or(|axis| axis == quota.axis);
        let exhausted = self.known().iter().filter(|quota| has_refused(quota));
        let resets = exhausted.filter(of_axis).filter_map(|quota| quota.reset);
        resets.map(nanos).max()
    }
}
