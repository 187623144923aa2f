//! The one word that decides every admission of a limiter.
//!
//! ```text
//! 63         45 44         29 28          23 22         3   2        1        0
//! | events: 19 | head: 16    | grants: 6    | free: 20   | granted | closed | queued |
//! ```
//!
//! | field | meaning | written by |
//! | --- | --- | --- |
//! | queued | somebody may be waiting: the fast path is shut | enqueue sets, the one who finds the queue empty clears |
//! | closed | nothing is admitted any more | close |
//! | granted | the last move of `head` was a grant (1) or a skip (0) | whoever moves `head` |
//! | free | free in-flight slots, biased by 2^19; negative after a shrink | fast path, grant, release, resize |
//! | grants | admissions, modulo 64: statistics at no cost, and one more thing that a stale exchange must match | fast path, grant |
//! | head | low bits of the ticket at the head of the queue | grant, skip |
//! | events | everything that makes a decision stale: enqueue, retune, resize, pause, charge, close | those |
//!
//! A decision is one compare-exchange of this word, against the value that was read *before* the ledgers were
//! looked at. `events` is on top, so that it wraps off the word; `free` is biased, so that adding to it never
//! carries into `grants`: it stays within -(2^19 - 1) ..= 2^19 - 1.
//!
//! ABA: a thread would have to stall between its read and its exchange for a common multiple of 2^16
//! tickets, 2^19 events and 64 grants, with the same number of slots free. Then it might admit one request on a
//! stale look at the ledgers; the queue itself heals (`Phase::Waiting` at a passed head, in `limiter/queue.rs`).

/// See the [module](self).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Gate(pub(crate) u64);

#[cfg(not(llmrl_tiny))]
const HEAD_BITS: u32 = 16;
#[cfg(not(llmrl_tiny))]
const EVENT_BITS: u32 = 19;
// Tests run with short counters too, so that each wraps many times in one schedule.
#[cfg(llmrl_tiny)]
const HEAD_BITS: u32 = 6;
#[cfg(llmrl_tiny)]
const EVENT_BITS: u32 = 7;

const QUEUED: u64 = 1;
const CLOSED: u64 = 1 << 1;
const GRANTED: u64 = 1 << 2;
const FREE_AT: u32 = 3;
const FREE_BITS: u32 = 20;
const FREE_MASK: u64 = mask(FREE_BITS) << FREE_AT;
const BIAS: i64 = 1 << (FREE_BITS - 1);
const GRANTS_AT: u32 = FREE_AT + FREE_BITS;
const GRANTS_BITS: u32 = 6;
const GRANTS_MASK: u64 = mask(GRANTS_BITS) << GRANTS_AT;
const HEAD_AT: u32 = GRANTS_AT + GRANTS_BITS;
const HEAD_MASK: u64 = mask(HEAD_BITS) << HEAD_AT;
const EVENT_AT: u32 = 64 - EVENT_BITS;

const fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

/// Added to the word when something makes decisions stale.
pub(crate) const EVENT: u64 = 1 << EVENT_AT;
/// Added to the word when an in-flight slot comes back.
pub(crate) const SLOT: u64 = 1 << FREE_AT;
/// Grants that fit the word; the rest of the count is kept beside it.
pub(crate) const GRANTS: u64 = 1 << GRANTS_BITS;

impl Gate {
    pub(crate) fn new(free: i64) -> Self {
        Self(0).with_free(free)
    }

    #[inline(always)]
    pub(crate) fn is_queued(self) -> bool {
        self.0 & QUEUED != 0
    }

    #[inline(always)]
    pub(crate) fn is_closed(self) -> bool {
        self.0 & CLOSED != 0
    }

    /// Queue or closed: anything that bars the fast path.
    #[inline(always)]
    pub(crate) fn is_shut(self) -> bool {
        self.0 & (QUEUED | CLOSED) != 0
    }

    /// Whether `head` last moved by a grant.
    pub(crate) fn was_granted(self) -> bool {
        self.0 & GRANTED != 0
    }

    #[inline(always)]
    pub(crate) fn free(self) -> i64 {
        ((self.0 & FREE_MASK) >> FREE_AT) as i64 - BIAS
    }

    fn with_free(self, free: i64) -> Self {
        Self(self.0 & !FREE_MASK | ((free + BIAS) as u64) << FREE_AT)
    }

    /// Admissions modulo [`GRANTS`].
    pub(crate) fn grants(self) -> u64 {
        (self.0 & GRANTS_MASK) >> GRANTS_AT
    }

    /// Whether the head is `ticket`, as far as the low bits tell.
    pub(crate) fn head_is(self, ticket: u64) -> bool {
        (self.0 & HEAD_MASK) >> HEAD_AT == ticket & mask(HEAD_BITS)
    }

    /// An admission that takes `slots` (0 or 1) of those in flight. The caller has seen that they are free.
    #[inline(always)]
    pub(crate) fn admit(self, slots: u64) -> Self {
        let grants = self.0.wrapping_add(1 << GRANTS_AT) & GRANTS_MASK;
        Self((self.0 & !GRANTS_MASK | grants).wrapping_sub(slots << FREE_AT))
    }

    /// The head moves on with a grant.
    pub(crate) fn grant(self, slots: u64) -> Self {
        let next = self.admit(slots).skip();
        Self(next.0 | GRANTED)
    }

    /// The head moves on without one.
    pub(crate) fn skip(self) -> Self {
        let head = self.0.wrapping_add(1 << HEAD_AT) & HEAD_MASK;
        Self(self.0 & !(HEAD_MASK | GRANTED) | head)
    }

    pub(crate) fn event(self) -> Self {
        Self(self.0.wrapping_add(EVENT))
    }

    /// Somebody has joined the queue.
    pub(crate) fn announce(self) -> Self {
        Self(self.event().0 | QUEUED)
    }

    pub(crate) fn unqueued(self) -> Self {
        Self(self.0 & !QUEUED)
    }

    pub(crate) fn closed(self) -> Self {
        Self(self.event().0 | CLOSED)
    }

    pub(crate) fn resized(self, by: i64) -> Self {
        self.with_free(self.free() + by).event()
    }

    /// Whether a taker that has read `self` may still commit on `later`: only slots and grants have moved.
    #[inline(always)]
    pub(crate) fn same_but_slots(self, later: Self) -> bool {
        (self.0 ^ later.0) & !(FREE_MASK | GRANTS_MASK) == 0
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::Limit;

    #[test]
    fn fields_do_not_spill() {
        let most = Limit::MAX_IN_FLIGHT as i64;
        let gate = Gate(!FREE_MASK).with_free(most);
        assert_eq!(gate.free(), most);
        let empty = gate.resized(-2 * most);
        assert_eq!(empty.free(), -most);
        assert_eq!(Gate(empty.0.wrapping_add(SLOT)).free(), 1 - most);
        let admitted = gate.admit(1);
        assert_eq!(admitted.free(), most - 1);
        assert_eq!(admitted.grants(), 0);
        assert!(gate.same_but_slots(admitted));
        let moved = gate.grant(1);
        assert!(moved.head_is(0) && moved.was_granted() && !gate.same_but_slots(moved));
        assert!(!moved.skip().was_granted() && moved.skip().head_is(1));
        assert!(!gate.same_but_slots(gate.event()));
        assert_eq!(Gate(EVENT.wrapping_neg()).event().0, 0);
    }

    #[test]
    fn flags_are_apart() {
        let gate = Gate::new(3);
        assert!(!gate.is_shut() && gate.free() == 3);
        assert!(gate.announce().is_queued() && !gate.announce().is_closed());
        assert!(gate.announce().unqueued() == gate.event());
        assert!(gate.closed().is_closed() && gate.closed().is_shut());
    }
}
