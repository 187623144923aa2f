//! The fast path: charge the accounts, commit at the gate.

use super::Core;
use crate::error::Refused;
use crate::limit::Amounts;
use crate::limit::account::{View, never_fits};
use crate::ring::gate::Gate;
use crate::sync::{AcqRel, Acquire, Relaxed};
use std::time::Duration;

/// Why the fast path did not admit.
pub(super) enum Denied {
    /// Somebody waits already.
    Queued,
    Closed,
    /// A bucket is short, or all slots are taken.
    Short,
    /// This account can never cover it.
    Never(usize),
}

/// An account's part in one admission.
#[derive(Clone, Copy, Default)]
pub(super) struct Charge {
    pub(super) view: View,
    /// What to take; 0 leaves the account alone.
    pub(super) cost: u64,
    /// The word that the charge has left.
    pub(super) charged: u64,
}

impl Core {
    /// Admits now or refuses; nothing is held in between. Gives the tick of the admission.
    ///
    /// The wait of a refusal is computed if it is `asked` for, else it says none: it is most of the time that a refusal takes.
    #[inline(always)]
    pub(super) fn admit(&self, amounts: Amounts, asked: bool) -> Result<u64, Refused> {
        match self.try_admit(amounts) {
            Ok(at) => Ok(at),
            Err(denied) => self.admit_or_explain(denied, amounts, asked),
        }
    }

    /// Loops of known length for the usual numbers of token buckets, and everything passed by value to what is
    /// rarely called: so what is charged stays in registers.
    #[inline(always)]
    pub(super) fn try_admit(&self, amounts: Amounts) -> Result<u64, Denied> {
        match self.plain {
            1 => self.charge_and_commit::<1, true>(amounts),
            2 => self.charge_and_commit::<2, true>(amounts),
            _ => self.try_admit_many(amounts),
        }
    }

    #[inline(never)]
    fn try_admit_many(&self, amounts: Amounts) -> Result<u64, Denied> {
        match self.plain {
            0 => self.charge_and_commit::<0, true>(amounts),
            3 => self.charge_and_commit::<3, true>(amounts),
            4 => self.charge_and_commit::<4, true>(amounts),
            5 => self.charge_and_commit::<5, true>(amounts),
            6 => self.charge_and_commit::<6, true>(amounts),
            7 => self.charge_and_commit::<7, true>(amounts),
            8 => self.charge_and_commit::<8, true>(amounts),
            _ => self.try_admit_any(amounts),
        }
    }

    /// Limits with windows or weights among them. Ledgers that are not there cost nothing.
    #[inline(never)]
    fn try_admit_any(&self, amounts: Amounts) -> Result<u64, Denied> {
        match self.ledgers {
            1 => self.charge_and_commit::<1, false>(amounts),
            2 => self.charge_and_commit::<2, false>(amounts),
            3 | 4 => self.charge_and_commit::<4, false>(amounts),
            _ => self.charge_and_commit::<8, false>(amounts),
        }
    }

    #[inline(always)]
    fn charge_and_commit<const LEDGERS: usize, const PLAIN: bool>(
        &self,
        amounts: Amounts,
    ) -> Result<u64, Denied> {
        'restart: loop {
            let gate = self.gate();
            if gate.is_shut() {
                return Err(if gate.is_closed() {
                    Denied::Closed
                } else {
                    Denied::Queued
                });
            }
            if self.slots > 0 && gate.free() <= 0 {
                return Err(Denied::Short);
            }
            let now = self.clock.now();
            let mut charges = [Charge::default(); LEDGERS];

            // Look at all before touching any: most refusals then write nothing.
            for (ledger, charge) in charges.iter_mut().enumerate() {
                charge.cost = match PLAIN {
                    true => self.meters[ledger].count(&amounts),
                    false => self.amount(ledger, &amounts),
                };
                if charge.cost > 0 {
                    charge.view = self.covered::<PLAIN>(ledger, charge.cost, now)?;
                }
            }
            for ledger in 0..LEDGERS {
                let charge = &mut charges[ledger];
                if charge.cost == 0 {
                    continue;
                }
                let charged = match PLAIN {
                    true => self
                        .account(ledger)
                        .charge_at(&charge.view, charge.cost, None),
                    false => self.charge_at(ledger, &charge.view, charge.cost, None),
                };
                match charged {
                    Ok(charged) => charge.charged = charged,
                    Err(_) => match self.charge_anew(ledger, charge.cost, now) {
                        Ok(anew) => *charge = anew,
                        Err(denied) => {
                            self.roll_back(charges, ledger);
                            return Err(denied);
                        }
                    },
                }
            }
            // The commit must be a read-modify-write even without slots: it is what orders this admission
            // against a grant that has not seen its charges.
            let mut seen = gate;
            loop {
                let next = seen.admit(self.slots);
                match self
                    .hot
                    .gate
                    .compare_exchange(seen.0, next.0, AcqRel, Acquire)
                {
                    Ok(_) => {
                        self.count_grant(next);
                        return Ok(now);
                    }
                    Err(now_there) => seen = Gate(now_there),
                }
                // A grant, an enqueue or a change of parameters may have relied on what stood in the accounts
                // before these charges. Only slots and other takers' commits may have moved.
                if !gate.same_but_slots(seen) {
                    self.roll_back(charges, LEDGERS);
                    crate::sync::pause();
                    continue 'restart;
                }
                if self.slots > 0 && seen.free() <= 0 {
                    self.roll_back(charges, LEDGERS);
                    return Err(Denied::Short);
                }
            }
        }
    }

    #[inline(always)]
    fn covered<const PLAIN: bool>(
        &self,
        ledger: usize,
        cost: u64,
        now: u64,
    ) -> Result<View, Denied> {
        let line = self.line(ledger);
        let view = match PLAIN {
            true => self.account(ledger).view(&line, now),
            false => self.view(ledger, &line, now),
        };
        if view.covers(cost, &line) && now >= line.not_before {
            Ok(view)
        } else if never_fits(&line, cost) {
            Err(Denied::Never(ledger))
        } else {
            Err(Denied::Short)
        }
    }

    /// Charges an account that has moved since it was looked at, if it still covers the cost.
    #[cold]
    #[inline(never)]
    fn charge_anew(&self, ledger: usize, cost: u64, now: u64) -> Result<Charge, Denied> {
        loop {
            let view = self.covered::<false>(ledger, cost, now)?;
            if let Ok(charged) = self.charge_at(ledger, &view, cost, None) {
                return Ok(Charge {
                    view,
                    cost,
                    charged,
                });
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn roll_back<const LEDGERS: usize>(&self, charges: [Charge; LEDGERS], made: usize) {
        let now = self.clock.now();
        let made = charges.iter().enumerate().take(made);
        for (ledger, charge) in made.filter(|(_, c)| c.cost > 0) {
            self.undo(ledger, charge, now);
        }
        // The charges may have made the head of the queue look short.
        self.kick(0);
    }

    /// Tells the queue that something has come back, by adding `delta` to the gate.
    ///
    /// Always a read-modify-write, never a load: "give back, then look for a queue" against "join the queue, then
    /// look at the accounts" are two stores and two loads, and only an exchange on one word orders them.
    #[inline(always)]
    pub(super) fn kick(&self, delta: u64) {
        let before = Gate(self.hot.gate.fetch_add(delta, AcqRel));
        if before.is_queued() {
            self.advance(true);
        }
    }

    /// After an admission that left the gate at `gate`.
    #[inline(always)]
    pub(super) fn count_grant(&self, gate: Gate) {
        if gate.grants() == 0 {
            self.counters.granted_rounds.fetch_add(1, Relaxed);
        }
    }

    #[cold]
    #[inline(never)]
    fn admit_or_explain(
        &self,
        mut denied: Denied,
        amounts: Amounts,
        asked: bool,
    ) -> Result<u64, Refused> {
        if let Denied::Queued = denied {
            // Whoever comes along moves the queue; it may be empty by now.
            self.advance(false);
            match self.try_admit(amounts) {
                Ok(at) => return Ok(at),
                Err(again) => denied = again,
            }
        }
        self.counters.refused.fetch_add(1, Relaxed);
        Err(match denied {
            Denied::Closed => Refused::Closed,
            Denied::Never(ledger) => self.never(ledger, &amounts),
            Denied::Queued | Denied::Short => match self.misfit(&amounts) {
                Some(ledger) => self.never(ledger, &amounts),
                None => Refused::NotNow {
                    wait: asked.then(|| self.wait_at_the_end(&amounts).0).flatten(),
                },
            },
        })
    }

    /// The first account that can never cover the request.
    pub(super) fn misfit(&self, amounts: &Amounts) -> Option<usize> {
        self.ledgers()
            .find(|&ledger| never_fits(&self.line(ledger), self.amount(ledger, amounts)))
    }

    pub(super) fn never(&self, ledger: usize, amounts: &Amounts) -> Refused {
        Refused::Never {
            limit: self.index_of(ledger),
            cost: self.amount(ledger, amounts),
            burst: self.line(ledger).burst,
        }
    }

    pub(super) fn wait_until(&self, at: u64, now: u64) -> Option<Duration> {
        (at != u64::MAX).then(|| Duration::from_nanos(self.scale.to_ns(at.saturating_sub(now))))
    }
}
