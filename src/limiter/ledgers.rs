//! The ledgers of a limiter: accounts, with a history beside those whose limit counts over windows.

use super::Core;
use super::admit::Charge;
use crate::limit::account::{Account, MAX_DEBT, View};
use crate::limit::history::History;
use crate::limit::line::Line;
use crate::limit::lows::Stands;
use crate::limit::{Amounts, in_parts};

impl Core {
    #[inline(always)]
    pub(super) fn line(&self, ledger: usize) -> Line {
        Line::from_words(self.lines[ledger].read())
    }

    #[inline(always)]
    pub(super) fn amount(&self, ledger: usize, amounts: &Amounts) -> u64 {
        let count = match &self.weights[ledger] {
            None => self.meters[ledger].count(amounts),
            Some(weights) => weights.count(amounts),
        };
        in_parts(count, self.grains[ledger])
    }

    pub(super) fn ledgers(&self) -> std::ops::Range<usize> {
        0..self.ledgers
    }

    #[inline(always)]
    pub(super) fn account(&self, ledger: usize) -> &Account {
        &self.hot.accounts[ledger]
    }

    fn history(&self, ledger: usize) -> &History {
        self.histories[ledger]
            .as_ref()
            .expect("a line of windows comes with a history")
    }

    /// The state against `line` at tick `now`.
    #[inline(always)]
    pub(super) fn view(&self, ledger: usize, line: &Line, now: u64) -> View {
        let account = self.account(ledger);
        match line.windows {
            None if line.burst > 0 => account.view(line, now),
            None => account.view(line, now).paced(line, now),
            Some(_) => self.history(ledger).view(account, line, now),
        }
    }

    /// Charges `cost` if nothing was charged since `view`, and leaves `tag` if there is one. Gives the new word.
    #[inline(always)]
    pub(super) fn charge_at(
        &self,
        ledger: usize,
        view: &View,
        cost: u64,
        tag: Option<u64>,
    ) -> Result<u64, u64> {
        let account = self.account(ledger);
        if view.stamp > 0 && cost > 0 {
            self.history(ledger).open(account, view.stamp);
        }
        account.charge_at(view, cost, tag)
    }

    /// Charges whatever the balance is, down to [`MAX_DEBT`] below zero.
    pub(super) fn charge(&self, ledger: usize, cost: u64) {
        loop {
            // The time before the line: an old line is not good for a later time.
            let now = self.clock.now();
            let view = self.view(ledger, &self.line(ledger), now);
            let cost = cost.min((view.balance + MAX_DEBT).max(0) as u64);
            if self.charge_at(ledger, &view, cost, None).is_ok() {
                return;
            }
        }
    }

    /// Notes how much the buckets lack, on which later refunds depend.
    pub(super) fn note_debts(&self) {
        let now = self.clock.now();
        for ledger in self
            .ledgers()
            .filter(|&ledger| self.histories[ledger].is_none())
        {
            self.lows[ledger].look(self.account(ledger), &self.line(ledger), now);
        }
    }

    /// Gives back `amount` of a charge: where it was charged, and no more than would be there without it. Says how much of
    /// it a bucket got.
    pub(super) fn refund(&self, ledger: usize, amount: u64, charge: Stands) -> u64 {
        // The time before the line: an old line is not good for a later time.
        let now = self.clock.now();
        let line = self.line(ledger);
        match &self.histories[ledger] {
            None => {
                let lows = &self.lows[ledger];
                lows.refund(self.account(ledger), &line, now, charge, amount)
            }
            Some(history) => {
                if let Some(stamp) = history.stamp_of(&line, charge.at) {
                    history.refund(stamp, amount);
                }
                0
            }
        }
    }

    /// Takes back what the fast path has charged.
    pub(super) fn undo(&self, ledger: usize, charge: &Charge, now: u64) {
        match &self.histories[ledger] {
            None => {
                let line = self.line(ledger);
                self.account(ledger)
                    .undo(&line, now, charge.charged, charge.cost);
            }
            Some(history) => history.refund(charge.view.stamp, charge.cost),
        }
    }

    /// First tick at which `cost` would be covered after `ahead`, if nothing else happened; `u64::MAX` is never.
    pub(super) fn earliest(
        &self,
        ledger: usize,
        line: &Line,
        view: &View,
        now: u64,
        ahead: u64,
        cost: u64,
    ) -> u64 {
        let due = match line.windows {
            None => view.earliest(line, now, ahead, cost),
            Some(_) => {
                let account = self.account(ledger);
                self.history(ledger)
                    .earliest(account, line, now, ahead, cost)
            }
        };
        due.max(line.not_before)
    }

    /// Before a change of the line: a larger burst must not bring back what an idle bucket has forfeited.
    pub(super) fn end_line(&self, ledger: usize, line: &Line, next: &Line, now: u64) {
        let account = self.account(ledger);
        match &self.histories[ledger] {
            None => account.clamp(line, now),
            Some(history) => history.end_line(account, line, next, now),
        }
    }
}
