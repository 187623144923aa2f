//! What of a charge is given back: as much as would be there had it never been made. The rule that `src/limit/lows.rs`
//! tells, on whole numbers.

use num_bigint::BigInt;
use num_traits::Zero;

const STRETCHES: usize = 16;

#[derive(Clone, Debug)]
struct Stretch {
    position: BigInt,
    began: u64,
    low: BigInt,
}

#[derive(Clone, Debug)]
pub struct Lows {
    stretches: Vec<Stretch>,
    /// The most that is produced in one.
    length: u64,
    /// What had been charged at the last look, and what was given back since the beginning.
    charged: BigInt,
    returned: BigInt,
}

/// How a bucket stands at an instant.
pub struct State {
    pub now: u64,
    pub burst: u64,
    pub used: BigInt,
    pub produced: BigInt,
}

pub struct Charge {
    pub at: u64,
    /// What had been produced then, if that is known.
    pub produced: Option<BigInt>,
    pub stands: u64,
}

impl Lows {
    pub fn new(used: &BigInt, burst: u64, parts: u64, now: u64) -> Self {
        Self {
            stretches: vec![Stretch {
                position: BigInt::zero(),
                began: now,
                low: BigInt::zero(),
            }],
            length: (burst / 8).max(parts),
            charged: used.clone(),
            returned: BigInt::zero(),
        }
    }

    /// Since the last look the debt was never lower than what had been charged by then, less what was produced and given
    /// back since.
    pub fn look(&mut self, state: &State) {
        let charged = &state.used + &self.returned;
        let lacks = |charged: &BigInt| {
            let lacks = charged - &self.returned + state.burst - &state.produced;
            lacks.max(BigInt::zero())
        };
        let (least, present) = (lacks(&self.charged), lacks(&charged));
        let last = self.stretches.last_mut().unwrap();
        last.low = last.low.clone().min(least);
        let over = &state.produced - &last.position;
        let risen = &present - &last.low;
        if over.is_zero() {
            last.low = present;
        } else if over >= self.length.into() || risen >= self.length.into() {
            if self.stretches.len() == STRETCHES {
                let second = self.stretches.remove(1);
                let oldest = &mut self.stretches[0];
                oldest.low = oldest.low.clone().min(second.low);
            }
            self.stretches.push(Stretch {
                position: state.produced.clone(),
                began: state.now,
                low: present,
            });
        }
        self.charged = charged;
    }

    /// How much of `n` is given back.
    pub fn credit(&mut self, state: &State, charge: &Charge, n: u64) -> BigInt {
        self.look(state);
        let by = |stretch: &Stretch| match &charge.produced {
            Some(produced) => stretch.position <= *produced,
            None => stretch.began <= charge.at,
        };
        let Some(first) = self.stretches.iter().rposition(by) else {
            return BigInt::zero();
        };
        let from = &self.stretches[first].position;
        let since = charge.produced.clone().unwrap_or(from.clone());
        let mut credit = BigInt::from(n);
        for index in first..self.stretches.len() {
            let next = self.stretches.get(index + 1);
            let end = next.map_or(&state.produced, |next| &next.position);
            let own = BigInt::from(charge.stands) - (end - &since);
            let low = &mut self.stretches[index].low;
            credit = credit.min(own.max(low.clone()));
            *low = (&*low - &credit).max(BigInt::zero());
        }
        self.returned += &credit;
        credit
    }
}
