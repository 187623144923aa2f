//! The production line of a token bucket: how many tokens it has produced at each tick. Limits that count over
//! windows have one, too: it produces windows.
//!
//! Everything is evaluated from an absolute origin, so no rounding accumulates: production at tick `t` is
//!
//! ```text
//! position(t) = position + floor( (fraction + (t - tick) * mantissa) / 2^shift )
//! ```
//!
//! with one 64x64 -> 128 bit multiplication, of which the upper half is used: a tick is shorter than a
//! nanosecond and the fastest rate is a token per nanosecond, so `shift` is 64 or more. `mantissa / 2^shift` is the rate in tokens per tick; the
//! mantissa is normalised to 64 significant bits and rounded up, so that a token that is due at a whole
//! tick is there at that tick. The error of the rate is below 2^-63 of what is produced, on the early side: less
//! than a nanosecond in ten years of one rate.

use crate::clock::Scale;
use crate::error::OutOfRange;

/// One immutable stretch of production, replaced as a whole by a retune or a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Origin in ticks; before it nothing is produced.
    tick: u64,
    /// Tokens produced at the origin.
    position: u64,
    /// The part of a token that the origin carries on top, in units of `2^-shift`.
    fraction: u128,
    mantissa: u64,
    shift: u32,
    /// A cost above `burst` is admitted when the bucket is full, and leaves it in debt.
    pub(crate) admit_oversize: bool,
    /// What this line produces is not tokens but windows; see `history.rs`.
    pub(crate) windows: Option<Windows>,
    /// Tokens that an idle bucket holds; what a window holds.
    pub(crate) burst: u64,
    /// First tick at which anything is admitted.
    pub(crate) not_before: u64,
    /// Which line of a bare bucket it is; see `token_bucket.rs`.
    pub(crate) tag: u64,
}

/// How usage in the windows of a line counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Windows {
    /// Whole, while its window is recent enough.
    Whole,
    /// This window's whole, that of the one before in proportion to how much of it is still within a window's length.
    Sliding,
}

impl Line {
    /// A line that starts at `tick` with `position` tokens produced.
    pub(crate) fn new(
        rate: Rate,
        scale: Scale,
        burst: u64,
        admit_oversize: bool,
        tick: u64,
        position: u64,
    ) -> Self {
        let (mantissa, shift) = rate.per_tick(scale);
        Self {
            tick,
            position,
            fraction: 0,
            mantissa,
            shift,
            admit_oversize,
            windows: None,
            burst,
            not_before: 0,
            tag: 0,
        }
    }

    /// The same line with its next step `ticks` after `now`; with none of it done at `now`, if that is further than
    /// a whole step or if `ticks` is 0.
    pub(crate) fn stepping_in(self, now: u64, ticks: u64) -> Self {
        let now = now.max(self.tick);
        let step = 1u128 << self.shift;
        // The mantissa is rounded up; what is left must not be, lest another rate make it a tick late.
        let until = u128::from(ticks) * u128::from(self.mantissa - 1);
        Self {
            tick: now,
            position: self.position(now),
            fraction: step.saturating_sub(until) % step,
            ..self
        }
    }

    /// Before this tick another line was valid, or none.
    pub(crate) fn origin(&self) -> u64 {
        self.tick
    }

    /// Tokens produced by `now`.
    #[inline(always)]
    pub(crate) fn position(&self, now: u64) -> u64 {
        self.position + ((self.since(now) >> 64) as u64 >> (self.shift - 64))
    }

    /// The first position that is not produced before `now`; at the first tick of the line the one that is produced.
    pub(crate) fn upcoming(&self, now: u64) -> u64 {
        match now > self.tick {
            // A tick is shorter than a token takes.
            true => self.position(now - 1) + 1,
            // By how much that is too early is a part of what pacing counts in.
            false => self.position,
        }
    }

    #[inline(always)]
    fn since(&self, now: u64) -> u128 {
        u128::from(now.saturating_sub(self.tick)) * u128::from(self.mantissa) + self.fraction
    }

    /// How much of the step after [`position`](Self::position) is done at `now`, in 2^-64, rounded up: what is due at a
    /// whole tick is there at that tick.
    pub(crate) fn part(&self, now: u64) -> u64 {
        let done = self.since(now) & ((1 << self.shift) - 1);
        let part = done.div_ceil(1 << (self.shift - 64));
        u64::try_from(part).unwrap_or(u64::MAX)
    }

    /// The first tick at which `position` is reached; `u64::MAX` stands for never.
    ///
    /// Inverse of [`position`](Self::position) to the tick: `position(earliest(x)) >= x > position(earliest(x) - 1)`.
    pub(crate) fn earliest(&self, position: u64) -> u64 {
        self.earliest_part(position, 0)
    }

    /// The first tick at which `position` is reached and, of the step after it, [`part`](Self::part).
    pub(crate) fn earliest_part(&self, position: u64, part: u64) -> u64 {
        // A part is there when more is done than of the one before.
        let (part, more) = (part.saturating_sub(1), part > 0);
        let Some(missing) = position.checked_sub(self.position) else {
            return self.tick;
        };
        let missing = u128::from(missing) << 64 | u128::from(part);
        // ceil((missing * 2^(shift - 64) - fraction) / mantissa), the dividend in three 64-bit digits.
        let mut digits = shifted(missing, self.shift - 64);
        if !subtract(&mut digits, self.fraction) {
            return self.tick;
        }
        let [high, middle, low] = digits;
        if high != 0 || middle >= self.mantissa {
            // A quotient of more than one digit.
            return u64::MAX;
        }
        let (dividend, divisor) = (
            u128::from(middle) << 64 | u128::from(low),
            u128::from(self.mantissa),
        );
        // Below 2^64. Only one division, as it is most of the time of a refusal.
        let ticks = (dividend / divisor) as u64;
        let exact = u128::from(ticks) * divisor == dividend;
        self.tick
            .saturating_add(ticks)
            .saturating_add(u64::from(!exact || more))
    }

    /// The line that goes on from this one at `now` at another rate: no token is lost or made, and the
    /// fraction of a token produced so far is carried over.
    pub(crate) fn retuned(&self, rate: Rate, scale: Scale, burst: u64, now: u64) -> Self {
        // A reading older than the origin must not move production back.
        let now = now.max(self.tick);
        let mut line = Self::new(
            rate,
            scale,
            burst,
            self.admit_oversize,
            now,
            self.position(now),
        );
        if (line.mantissa, line.shift) == (self.mantissa, self.shift) {
            // It goes on from where it began, and so tells of earlier times, too.
            return Self { burst, ..*self };
        }
        let fraction = self.since(now) & ((1 << self.shift) - 1);
        line.fraction = match line.shift.cmp(&self.shift) {
            // Rounded up, as the mantissa is: a token that is due at a whole tick is there at that tick.
            std::cmp::Ordering::Less => fraction
                .div_ceil(1 << (self.shift - line.shift))
                .min((1 << line.shift) - 1),
            _ => fraction << (line.shift - self.shift),
        };
        line.not_before = self.not_before;
        line.windows = self.windows;
        line.tag = self.tag;
        line
    }

    /// One token a minute, a burst of ten, from tick 0 and position 2^49.
    #[cfg(all(test, loom))]
    pub(crate) fn default_for_tests() -> Self {
        let rate = Rate {
            amount: 1,
            period_ns: 60_000_000_000,
        };
        let scale = Scale {
            ns: 1 << (Scale::SHIFT - 1),
        };
        Self::new(rate, scale, 10, false, 0, 1 << 49)
    }

    /// The same line as number `tag`.
    pub(crate) fn tagged(&self, tag: u64) -> Self {
        Self { tag, ..*self }
    }

    /// The same line with nothing admitted for `ticks` from `now`; for none, with no pause.
    pub(crate) fn paused(&self, now: u64, ticks: u64) -> Self {
        let not_before = match ticks {
            0 => 0,
            _ => now.saturating_add(ticks),
        };
        Self {
            not_before,
            ..*self
        }
    }

    pub(crate) const WORDS: usize = 8;

    pub(crate) fn to_words(self) -> [u64; Self::WORDS] {
        let (low, high) = split(self.fraction);
        [
            self.tick,
            self.position,
            low,
            high,
            self.mantissa,
            u64::from(self.shift)
                | u64::from(self.admit_oversize) << 8
                | u64::from(self.windows.is_some()) << 9
                | u64::from(self.windows == Some(Windows::Sliding)) << 10
                | self.tag << TAG_SHIFT,
            self.burst,
            self.not_before,
        ]
    }

    #[inline(always)]
    pub(crate) fn from_words(words: [u64; Self::WORDS]) -> Self {
        let [
            tick,
            position,
            low,
            high,
            mantissa,
            shape,
            burst,
            not_before,
        ] = words;
        Self {
            tick,
            position,
            fraction: u128::from(high) << 64 | u128::from(low),
            mantissa,
            // The mask and the bit tell the compiler that the shift is in range.
            shift: shape as u32 & 127 | 64,
            admit_oversize: shape & 1 << 8 != 0,
            tag: shape >> TAG_SHIFT,
            windows: match shape >> 9 & 3 {
                0 => None,
                1 => Some(Windows::Whole),
                _ => Some(Windows::Sliding),
            },
            burst,
            not_before,
        }
    }
}

/// Of the tag in the word of the shape; above the flags.
const TAG_SHIFT: u32 = 32;

fn split(wide: u128) -> (u64, u64) {
    (wide as u64, (wide >> 64) as u64)
}

/// `wide << by`, for `by` below 64, in three 64-bit digits, the most significant first.
fn shifted(wide: u128, by: u32) -> [u64; 3] {
    let (low, high) = split(wide);
    let carry = |digit: u64| (u128::from(digit) << by >> 64) as u64;
    [carry(high), high << by | carry(low), low << by]
}

/// `digits -= by`, most significant digit first, if `by` is not larger; says whether it is not.
fn subtract(digits: &mut [u64; 3], by: u128) -> bool {
    let low = u128::from(digits[1]) << 64 | u128::from(digits[2]);
    let (low, borrow) = low.overflowing_sub(by);
    let Some(high) = digits[0].checked_sub(u64::from(borrow)) else {
        return false;
    };
    (digits[2], digits[1]) = split(low);
    digits[0] = high;
    true
}

/// `amount` tokens per `period_ns` nanoseconds, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) amount: u64,
    pub(crate) period_ns: u64,
}

impl Rate {
    pub(crate) const MAX_AMOUNT: u64 = (1 << 40) - 1;
    /// Ten years of 366 days.
    pub(crate) const MAX_PERIOD_NS: u64 = 3660 * 86_400 * 1_000_000_000;

    pub(crate) fn new(amount: u64, period_ns: u64) -> Result<Self, OutOfRange> {
        OutOfRange::check("amount", amount, 1, Self::MAX_AMOUNT)?;
        OutOfRange::check("period (ns)", period_ns, 1, Self::MAX_PERIOD_NS)?;
        // At most 10^9 tokens a second, which is one per nanosecond.
        OutOfRange::check("amount", amount, 1, period_ns)?;
        Ok(Self { amount, period_ns })
    }

    /// The same rate in parts, of which there are `grain` in a token.
    pub(crate) fn in_parts(self, grain: u64) -> Result<Self, OutOfRange> {
        OutOfRange::check("amount", self.amount, 1, self.period_ns / grain)?;
        Ok(Self {
            amount: self.amount * grain,
            ..self
        })
    }

    /// The rate in tokens per tick as `mantissa / 2^shift`, rounded up.
    fn per_tick(self, scale: Scale) -> (u64, u32) {
        let numerator = u128::from(self.amount) * u128::from(scale.ns);
        let divisor = u128::from(self.period_ns) << Scale::SHIFT;
        let (mut quotient, mut rest, mut shift) = (numerator / divisor, numerator % divisor, 0);
        while quotient < 1 << 63 && shift < 127 {
            (quotient, rest, shift) = (quotient << 1, rest << 1, shift + 1);
            if rest >= divisor {
                (quotient, rest) = (quotient | 1, rest - divisor);
            }
        }
        quotient += u128::from(rest != 0);
        // Rounding up can carry out of the mantissa, just below a token per tick: then stay just below.
        (u64::try_from(quotient).unwrap_or(u64::MAX), shift)
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Half a nanosecond, as on the manual clock.
    const HALF: Scale = Scale {
        ns: 1 << (Scale::SHIFT - 1),
    };

    fn line(amount: u64, period_ns: u64, scale: Scale) -> Line {
        Line::new(
            Rate::new(amount, period_ns).unwrap(),
            scale,
            1,
            false,
            1_000,
            1 << 48,
        )
    }

    #[test]
    fn whole_tokens_come_at_whole_ticks() {
        for (amount, period) in [(60, 60_000_000_000), (1, 86_400_000_000_000), (1, 1)] {
            let line = line(amount, period, HALF);
            for n in [1, 2, 59, 60, 100_000] {
                let tick = 1_000 + (2 * n * period).div_ceil(amount);
                assert_eq!(line.position(tick), (1 << 48) + n);
                assert_eq!(line.position(tick - 1), (1 << 48) + n - 1);
            }
        }
    }

    proptest! {
        #[test]
        fn earliest_is_the_inverse(
            amount in 1..=Rate::MAX_AMOUNT,
            period in 1..=Rate::MAX_PERIOD_NS,
            ns in 1u64 << 41..1 << 44,
            elapsed in 0u64..1 << 58,
            carried in 0u64..1 << 50,
            missing in 1u64..1 << 41,
        ) {
            let amount = amount.min(period);
            let scale = Scale { ns };
            let line = line(amount, period, scale)
                .retuned(Rate { amount, period_ns: period }, scale, 1, 1_000 + carried);
            let target = line.position(1_000 + carried + elapsed) + missing;
            let at = line.earliest(target);
            if at < u64::MAX {
                prop_assert!(line.position(at) >= target);
                prop_assert!(line.position(at - 1) < target);
            }
        }

        /// Retuning to the same rate, however often, is no change: the fraction is carried whole.
        #[test]
        fn a_retune_carries_the_fraction(
            amount in 1..=Rate::MAX_AMOUNT,
            period in 1..=Rate::MAX_PERIOD_NS,
            steps in prop::collection::vec(0u64..1 << 50, 1..20),
        ) {
            let amount = amount.min(period);
            let straight = line(amount, period, HALF);
            let (mut bent, mut now) = (straight, 1_000);
            for step in steps {
                now += step;
                bent = bent.retuned(Rate { amount, period_ns: period }, HALF, 1, now);
                prop_assert_eq!(bent.position(now), straight.position(now));
            }
            prop_assert_eq!(bent.position(now + (1 << 55)), straight.position(now + (1 << 55)));
        }

        #[test]
        fn the_rate_is_exact_to_63_bits(amount in 1..=Rate::MAX_AMOUNT, period in 1..=Rate::MAX_PERIOD_NS) {
            let amount = amount.min(period);
            let (mantissa, shift) = Rate { amount, period_ns: period }.per_tick(HALF);
            prop_assert!(mantissa >= 1 << 63);
            // mantissa - 1 < amount * 2^shift / period <= mantissa, in 256-bit arithmetic.
            let exact = num_rational::Ratio::new(
                num_bigint::BigInt::from(amount) << shift,
                num_bigint::BigInt::from(period) * 2,
            );
            let ceil = exact.ceil().to_integer();
            prop_assert_eq!(ceil, num_bigint::BigInt::from(mantissa));
        }
    }
}
