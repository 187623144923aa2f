//! What an admitted request holds, and how it is settled.

use super::{Core, Limiter, MAX_LIMITS};
use crate::error::Refused;
use crate::limit::lows::Stands;
use crate::limit::{Amounts, Cost};
use crate::ring::gate::{EVENT, SLOT};

/// What was charged for an admitted request. A plain value: whoever owns it settles it once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grant {
    pub(super) amounts: Amounts,
    /// When it was charged, or a little before: its window is where a refund belongs.
    pub(super) at: u64,
    /// A bit for each ledger that has refused it: what was charged there is the ledger's to give back.
    kept: u8,
}

impl Grant {
    #[inline(always)]
    pub(super) fn new(amounts: Amounts, at: u64) -> Self {
        let kept = 0;
        Self { amounts, at, kept }
    }

    pub(super) fn is_kept(&self, ledger: usize) -> bool {
        self.kept & (1 << ledger) != 0
    }

    pub(super) fn keep(&mut self, ledger: usize) {
        self.kept |= 1 << ledger;
    }
}

const _: () = assert!(MAX_LIMITS <= u8::BITS as usize);

/// An admitted request.
///
/// Settle it with what was really used; the difference is charged, or given back. What a bucket has refilled meanwhile is not
/// given back a second time: late refunds count as if the charge had never been made. Dropped without that, the estimate
/// stands: the request was probably sent. Its in-flight slot comes back in every case.
#[derive(Debug)]
#[must_use = "dropping a permit at once frees its slot while the request has not even begun"]
pub struct Permit<'a> {
    pub(super) limiter: &'a Limiter,
    pub(super) grant: Grant,
}

impl<'a> Permit<'a> {
    #[inline(always)]
    pub(super) fn new(limiter: &'a Limiter, grant: Grant) -> Self {
        Self { limiter, grant }
    }

    /// The request is over and has used `cost`.
    ///
    /// # Errors
    /// [`Refused::Cost`] if a count is out of range; then the estimate stands.
    pub fn settle(self, cost: &Cost) -> Result<(), Refused> {
        let (limiter, grant) = self.into_parts();
        limiter
            .settle_grant(grant, cost)
            .inspect_err(|_| limiter.release_grant(grant))
    }

    /// The request goes on and will use `cost`, as far as is known now: what it has used at least, while an answer
    /// streams in, or a better estimate.
    ///
    /// # Errors
    /// [`Refused::Cost`] if a count is out of range; then nothing has changed.
    pub fn adjust(&mut self, cost: &Cost) -> Result<(), Refused> {
        self.limiter.adjust_grant(&mut self.grant, cost)
    }

    /// The request is over and the estimate stands.
    #[inline]
    pub fn release(self) {
        let (limiter, grant) = self.into_parts();
        limiter.release_grant(grant);
    }

    /// The request was not sent: everything is given back.
    pub fn cancel(self) {
        let (limiter, grant) = self.into_parts();
        limiter.cancel_grant(grant);
    }

    #[inline(always)]
    fn into_parts(self) -> (&'a Limiter, Grant) {
        let parts = (self.limiter, self.grant);
        std::mem::forget(self);
        parts
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.limiter.release_grant(self.grant);
    }
}

impl Core {
    /// Gives back the slot of a permit, if it has one, and nothing else.
    #[inline(always)]
    pub(super) fn release(&self) {
        if self.slots > 0 {
            self.kick(SLOT);
        }
    }

    /// Replaces what `grant` has charged by `amounts`, and gives back `slots` in-flight slots.
    ///
    /// One read-modify-write on the gate tells the queue of everything; none if there is nothing to tell.
    #[inline(always)]
    pub(super) fn settle(&self, grant: &mut Grant, amounts: Amounts, slots: u64) {
        let mut delta = slots * SLOT;
        let mut returned = slots > 0;
        if amounts != grant.amounts {
            for ledger in self.ledgers() {
                let (old, new) = (
                    self.amount(ledger, &grant.amounts),
                    self.amount(ledger, &amounts),
                );
                if new < old && grant.is_kept(ledger) {
                    continue;
                }
                if new < old {
                    let charge = Stands {
                        at: grant.at,
                        amount: old,
                    };
                    self.refund(ledger, old - new, charge);
                    returned = true;
                } else if new > old {
                    self.charge(ledger, new - old);
                    // Decisions that have not seen this charge must fail.
                    delta |= EVENT;
                }
            }
            grant.amounts = amounts;
        }
        if returned || delta != 0 {
            self.kick(delta);
        }
    }

    /// Charges without a permit.
    pub(super) fn charge_all(&self, amounts: &Amounts) {
        let mut grant = Grant::new(Amounts::default(), 0);
        self.settle(&mut grant, *amounts, 0);
    }
}
