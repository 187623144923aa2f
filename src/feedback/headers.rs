//! The headers of one answer, in any order: what each tells is noted, and made sense of when all have been seen.

use super::date::{When, http_date, moment};
use super::facts::Facts;
use super::number::{MILLISECOND, SECOND, count, scaled, word};
use super::reading::{Axis, MAX_QUOTAS, Pool, Quota};
use super::slot::{Id, Key, Slot, first};
use super::structured::{Item, items};
use super::table::{self, Field, Meaning, look_up};

/// Longer names are in no table.
const MAX_NAME: usize = 80;
/// Longer values are not looked at.
const MAX_VALUE: usize = 8_192;
/// LiteLLM puts this before the headers that it passes on.
const UPSTREAM: &[u8] = b"llm_provider-";
/// Limits that are noted. Policies and what a gateway repeats join others afterwards, so more than there can be in the end.
const MAX_SLOTS: usize = 2 * MAX_QUOTAS;
#[derive(Default)]
pub(super) struct Headers {
    pub(super) facts: Facts,
    /// The time of the answer, by its sender's clock.
    pub(super) date: Option<u64>,
    pub(super) retry_after_ms: Option<u64>,
    pub(super) retry_after: Option<When>,
    /// GitHub Models tells the time that is left once more, for itself.
    pub(super) time_remaining: Option<u64>,
    pub(super) should_retry: Option<bool>,
    pub(super) warning: bool,
    /// The answer comes out of a cache.
    aged: bool,
    per_second: bool,
    slots: [Slot; MAX_SLOTS],
    len: usize,
}

impl Headers {
    /// Notes one header. Names are compared without regard to case.
    pub(super) fn header(&mut self, name: &[u8], value: &[u8]) {
        if name.len() > MAX_NAME || value.len() > MAX_VALUE {
            return;
        }
        let mut buffer = [0; MAX_NAME];
        let lower = &mut buffer[..name.len()];
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let value = value.trim_ascii();
        match lower.strip_prefix(UPSTREAM) {
            Some(name) => self.named(name, value, true),
            None => self.named(lower, value, false),
        }
    }

    fn named(&mut self, name: &[u8], value: &[u8], upstream: bool) {
        match name {
            b"date" if !upstream => first(&mut self.date, http_date(value)),
            b"age" => self.aged |= !upstream && scaled(value, 1).is_some_and(|age| age > 0),
            b"retry-after-ms" | b"x-ms-retry-after-ms" | b"x-amz-retry-after" => {
                first(&mut self.retry_after_ms, scaled(value, MILLISECOND))
            }
            b"retry-after" => first(&mut self.retry_after, retry_after(value)),
            b"x-should-retry" => first(&mut self.should_retry, word(value)),
            // Nebius serves what is over a limit; Azure allows less for a while.
            b"x-ratelimit-over-limit" | b"x-ratelimit-abusepenalty-active" => {
                self.warning |= word(value) == Some(true);
            }
            b"x-ratelimit-timeremaining" => {
                first(&mut self.time_remaining, scaled(value, SECOND));
            }
            b"x-ratelimit-type" => kind(&mut self.facts, value),
            b"x-amzn-errortype" => self.facts.throttled |= value.starts_with(b"Throttling"),
            b"ratelimit" => self.structured(value, upstream, false),
            b"ratelimit-policy" => self.structured(value, upstream, true),
            _ if name.starts_with(b"x-ai-ratelimit-retry-after") => {
                first(&mut self.retry_after, retry_after(value));
            }
            _ => {
                if let Some(meaning) = look_up(name) {
                    self.tell(&meaning, value, upstream);
                }
            }
        }
    }

    /// The place of a limit; `None` when there are too many.
    fn slot(&mut self, id: Id) -> Option<&mut Slot> {
        let same = |slot: &Slot| slot.id.is_some_and(|other| other.same(&id));
        let at = match self.slots[..self.len].iter().position(same) {
            Some(at) => at,
            None => {
                self.slots.get_mut(self.len)?.id = Some(id);
                self.len += 1;
                self.len - 1
            }
        };
        Some(&mut self.slots[at])
    }

    fn tell(&mut self, meaning: &Meaning, value: &[u8], upstream: bool) {
        self.per_second |= meaning.per_second;
        let id = Id {
            row: meaning.row,
            window: meaning.window,
            key: Key::Plain(meaning.key),
            upstream,
        };
        if meaning.field == Field::Policy {
            return self.policies(id, value);
        }
        // A count may have commas in it, and so may a date.
        if !meaning.row.list || readable(meaning.field, value) {
            return self.set(id, meaning.field, value);
        }
        for (index, part) in value
            .split(|&byte| byte == b',')
            .take(MAX_SLOTS)
            .enumerate()
        {
            let key = Key::Plain(index as u32);
            let mut parts = part.split(|&byte| byte == b';');
            self.set(
                Id { key, ..id },
                meaning.field,
                parts.next().unwrap_or(part).trim_ascii(),
            );
            // One of the first drafts had the windows here: `100, 10;w=1, 50;w=60`.
            let window = parts.find_map(|part| part.trim_ascii().strip_prefix(b"w="));
            if let (Some(window), Some(slot)) = (window, self.slot(Id { key, ..id })) {
                first(&mut slot.window, table::window_word(window));
            }
        }
    }

    fn set(&mut self, id: Id, field: Field, value: &[u8]) {
        if !readable(field, value) {
            return;
        }
        let mut warning = false;
        let Some(slot) = self.slot(id) else {
            return;
        };
        match field {
            Field::Limit => slot.count(value, |slot| &mut slot.limit),
            Field::Remaining => slot.count(value, |slot| &mut slot.remaining),
            Field::Reset => first(&mut slot.reset, moment(value)),
            Field::Window => first(&mut slot.window, table::window_word(value)),
            Field::Utilization => {
                let share = scaled(value, 1_000_000);
                let share = share.map(|share| u32::try_from(share).unwrap_or(u32::MAX));
                slot.utilization = slot.utilization.max(share);
            }
            Field::Status => {
                let is = |word: &str| value.eq_ignore_ascii_case(word.as_bytes());
                warning = is("allowed_warning");
                if is("rejected") || is("denied") || is("exceeded") {
                    slot.utilization = slot.utilization.max(Some(1_000_000));
                }
            }
            Field::Policy => {}
        }
        self.warning |= warning;
    }

    /// `1;w=1, 15000;w=2592000`, in a header of its own.
    fn policies(&mut self, id: Id, value: &[u8]) {
        if !id.row.list {
            return;
        }
        for (index, item) in items(value).take(MAX_SLOTS).enumerate() {
            let key = item.name.map_or(Key::Policy(index as u32), Key::Named);
            self.item(Id { key, ..id }, &item);
        }
    }

    /// `RateLimit`, which tells how policies stand, and `RateLimit-Policy`, which tells what they are.
    fn structured(&mut self, value: &[u8], upstream: bool, policy: bool) {
        let id = Id {
            row: table::ietf(),
            window: None,
            key: Key::Plain(0),
            upstream,
        };
        if policy {
            return self.policies(id, value);
        }
        for item in items(value).take(MAX_SLOTS) {
            let key = item.name.map_or(Key::Plain(0), Key::Named);
            self.item(Id { key, ..id }, &item);
        }
    }

    fn item(&mut self, id: Id, item: &Item) {
        let Some(slot) = self.slot(id) else {
            return;
        };
        first(&mut slot.axis, item.axis);
        first(&mut slot.window, item.window);
        first(&mut slot.limit, item.limit);
        first(&mut slot.remaining, item.remaining);
        let reset = item.reset.map(|ns| When::In {
            ns,
            step: SECOND,
            bare: true,
        });
        first(&mut slot.reset, reset);
    }

    /// The limits that the headers told of, as they stood at `now`, with the names of their policies.
    pub(super) fn quotas(&mut self, now: u64, mut push: impl FnMut(Quota, Option<u32>)) {
        self.join_policies();
        let slots = &self.slots[..self.len];
        for slot in slots {
            let Some(id) = slot.id else {
                continue;
            };
            let twin = |other: &&Slot| {
                other
                    .id
                    .is_some_and(|other| other.upstream != id.upstream && other.twin(&id))
            };
            let twin = slots.iter().find(twin);
            let repeats = twin
                .is_some_and(|twin| twin.limit == slot.limit && twin.remaining == slot.remaining);
            if slot.unknown || id.row.cached && self.aged || id.upstream && repeats {
                continue;
            }
            let mut quota = slot.quota(&id, now, self.per_second);
            // What a gateway says of itself, beside what it passes on.
            if twin.is_some() && !id.upstream && !repeats {
                quota.pool = Pool::Gateway;
            }
            if quota.limit.or(quota.remaining).is_some() || quota.utilization.is_some() {
                let name = match id.key {
                    Key::Named(name) => Some(name),
                    _ => None,
                };
                push(quota, name);
            }
        }
    }

    /// A policy without a name tells the window of the limit that has its amount.
    fn join_policies(&mut self) {
        for at in 0..self.len {
            let policy = self.slots[at];
            let Some(id) = policy.id.filter(|id| matches!(id.key, Key::Policy(_))) else {
                continue;
            };
            let meant = self.slots[..self.len].iter_mut().find(|slot| {
                let plain = slot.id.is_some_and(|other| {
                    std::ptr::eq(other.row, id.row) && matches!(other.key, Key::Plain(_))
                });
                plain && slot.limit == policy.limit && slot.window.is_none()
            });
            if let Some(meant) = meant {
                meant.window = policy.window;
                self.slots[at].id = None;
            }
        }
    }
}

/// Whether a value is one, and not a list.
fn readable(field: Field, value: &[u8]) -> bool {
    match field {
        Field::Limit | Field::Remaining => count(value).is_some(),
        Field::Reset => moment(value).is_some(),
        _ => true,
    }
}

/// Seconds or a date. A time since 1970 is not expected here, and large numbers are just long.
fn retry_after(value: &[u8]) -> Option<When> {
    match scaled(value, SECOND) {
        Some(ns) => Some(When::In {
            ns,
            step: SECOND,
            bare: true,
        }),
        None => http_date(value).map(|unix_ns| When::At { unix_ns }),
    }
}

/// `Tokens`, `UserByMinute`, `UserConcurrentRequests`.
fn kind(facts: &mut Facts, value: &[u8]) {
    let has = |word: &[u8]| {
        value
            .windows(word.len())
            .any(|part| part.eq_ignore_ascii_case(word))
    };
    if has(b"concurrent") {
        facts.concurrent = true;
        facts.tripped(Axis::Concurrency);
    } else if has(b"token") {
        facts.tripped(Axis::Tokens);
    } else if has(b"request") || has(b"userby") {
        facts.tripped(Axis::Requests);
    }
    if has(b"byminute") {
        facts.per(60);
    } else if has(b"byday") {
        facts.per(86_400);
    }
}
