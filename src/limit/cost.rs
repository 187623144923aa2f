//! What a request costs, and how meters count it.

use crate::error::OutOfRange;

/// What a request will use, as far as its sender knows.
///
/// `cached` and `cache_write` are parts of `input`. Only a [`Meter::Weighted`] looks at them; they are at most
/// [`MAX_CACHED`](Self::MAX_CACHED) each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Requests, at least 1.
    pub requests: u64,
    /// Input (prompt) tokens.
    pub input: u64,
    /// Output (completion) tokens: an estimate, until the answer is there.
    pub output: u64,
    /// Input tokens that the provider reads from its cache.
    pub cached: u64,
    /// Input tokens that the provider writes to its cache.
    pub cache_write: u64,
}

impl Cost {
    /// The largest count of any field, and of input and output together: 2^40 - 1.
    pub const MAX: u64 = (1 << 40) - 1;
    /// The largest count of cached tokens, 2^36 - 1.
    pub const MAX_CACHED: u64 = (1 << 36) - 1;

    /// One request, no tokens.
    pub const fn request() -> Self {
        Self::tokens(0, 0)
    }

    /// One request with so many tokens.
    pub const fn tokens(input: u64, output: u64) -> Self {
        Self {
            requests: 1,
            input,
            output,
            cached: 0,
            cache_write: 0,
        }
    }

    /// What meters count of a request, checked.
    #[inline(always)]
    pub(crate) fn amounts(&self) -> Result<Amounts, OutOfRange> {
        match self.requests {
            0 => Err(self.offence(1)),
            _ => self.usage(),
        }
    }

    /// What meters count, checked; it need not be of a request.
    #[inline(always)]
    pub(crate) fn usage(&self) -> Result<Amounts, OutOfRange> {
        let tokens = self.input.wrapping_add(self.output);
        let all = self.requests | self.input | self.output | tokens;
        let special = self.cached | self.cache_write;
        if all > Self::MAX || special > Self::MAX_CACHED {
            return Err(self.offence(0));
        }
        Ok(Amounts::pack(self))
    }

    #[cold]
    fn offence(&self, least_requests: u64) -> OutOfRange {
        let fields = [
            ("requests", self.requests, least_requests, Self::MAX),
            ("input", self.input, 0, Self::MAX),
            ("output", self.output, 0, Self::MAX),
            ("cached", self.cached, 0, Self::MAX_CACHED),
            ("cache_write", self.cache_write, 0, Self::MAX_CACHED),
        ];
        fields
            .iter()
            .find_map(|&(field, value, min, max)| OutOfRange::check(field, value, min, max).err())
            .unwrap_or(OutOfRange {
                field: "input + output",
                value: self.input.saturating_add(self.output),
                min: 0,
                max: Self::MAX,
            })
    }
}

impl Default for Cost {
    fn default() -> Self {
        Self::request()
    }
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Meter {
    /// Requests.
    Requests,
    /// Input and output tokens together.
    Tokens,
    /// Input tokens.
    Input,
    /// Output tokens.
    Output,
    /// Tokens by class, each with a weight of its own.
    Weighted(Weights),
}

/// What a token of each class counts, in thousandths: 1000 is one for one, 0 nothing. At most [`MAX`](Self::MAX).
///
/// What a request counts is the sum over its tokens, rounded up to a whole token, and 2^40 - 1 at most.
///
/// ```
/// use llmrl::{Limit, Meter, Weights};
///
/// // Cache reads are free and output counts five times, as on Amazon Bedrock.
/// let bedrock = Weights { output: 5_000, cached: 0, ..Weights::PLAIN };
/// Limit::bucket(Meter::Weighted(bedrock), 2_000_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    /// Input tokens that have nothing to do with a cache.
    pub input: u32,
    /// Output tokens.
    pub output: u32,
    /// Input tokens read from a cache.
    pub cached: u32,
    /// Input tokens written to a cache.
    pub cache_write: u32,
}

impl Weights {
    /// The largest weight: a hundred for one.
    pub const MAX: u32 = 100_000;
    /// Every token counts one.
    pub const PLAIN: Self = Self {
        input: 1_000,
        output: 1_000,
        cached: 1_000,
        cache_write: 1_000,
    };

    pub(crate) fn check(&self) -> Result<(), OutOfRange> {
        let all = self.input | self.output | self.cached | self.cache_write;
        OutOfRange::check("weights", all.into(), 1, u64::MAX)?;
        let weights = [
            ("input_weight", self.input),
            ("output_weight", self.output),
            ("cached_weight", self.cached),
            ("cache_write_weight", self.cache_write),
        ];
        weights.iter().try_for_each(|&(field, weight)| {
            OutOfRange::check(field, weight.into(), 0, Self::MAX.into())
        })
    }

    #[cold]
    pub(crate) fn count(&self, amounts: &Amounts) -> u64 {
        let (cached, cache_write) = (amounts.cached(), amounts.cache_write());
        let input = amounts.input & AMOUNT;
        let output = amounts.output & AMOUNT;
        let sum = input.saturating_sub(cached + cache_write) * u64::from(self.input)
            + output * u64::from(self.output)
            + cached * u64::from(self.cached)
            + cache_write * u64::from(self.cache_write);
        sum.div_ceil(1_000).min(Cost::MAX)
    }
}

/// A checked [`Cost`] in three words, so that a permit is small.
///
/// ```text
/// 63                               40 39         0
/// | cached: low 24                   | requests   |
/// | cache_write: low 12 | cached: 12 | input      |
/// | cache_write: high 24             | output     |
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amounts {
    requests: u64,
    input: u64,
    output: u64,
}

const AMOUNT_BITS: u32 = 40;
const AMOUNT: u64 = (1 << AMOUNT_BITS) - 1;

impl Amounts {
    #[inline(always)]
    fn pack(cost: &Cost) -> Self {
        // What is shifted out of a word at the top is in the next one.
        let (cached, written) = (cost.cached, cost.cache_write);
        Self {
            requests: cost.requests | cached << AMOUNT_BITS,
            input: cost.input | cached >> 24 << AMOUNT_BITS | written << 52,
            output: cost.output | written >> 12 << AMOUNT_BITS,
        }
    }

    /// The same request without its tokens.
    pub(crate) fn requests_only(&self) -> Self {
        Self {
            requests: self.requests & AMOUNT,
            ..Self::default()
        }
    }

    fn cached(&self) -> u64 {
        self.requests >> AMOUNT_BITS | (self.input >> AMOUNT_BITS & 0xfff) << 24
    }

    fn cache_write(&self) -> u64 {
        self.input >> 52 | self.output >> AMOUNT_BITS << 12
    }
}

/// A meter as three masks, so that what it counts is computed without a branch or a look-up. A weighted one has none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Masks {
    requests: u64,
    input: u64,
    output: u64,
}

impl Masks {
    #[inline(always)]
    pub(crate) fn count(&self, amounts: &Amounts) -> u64 {
        (amounts.requests & self.requests)
            + (amounts.input & self.input)
            + (amounts.output & self.output)
    }
}

impl Meter {
    pub(crate) fn masks(self) -> Masks {
        let mask = |counted| if counted { AMOUNT } else { 0 };
        Masks {
            requests: mask(self == Self::Requests),
            input: mask(matches!(self, Self::Input | Self::Tokens)),
            output: mask(matches!(self, Self::Output | Self::Tokens)),
        }
    }

    /// Its number in the C interface, and in what is saved.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Requests => 1,
            Self::Tokens => 2,
            Self::Input => 3,
            Self::Output => 4,
            Self::Weighted(_) => 5,
        }
    }

    pub(crate) fn weights(self) -> Option<Weights> {
        match self {
            Self::Weighted(weights) => Some(weights),
            _ => None,
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn amounts_are_what_was_packed(
            requests in 0..=Cost::MAX, input in 0..=Cost::MAX, output in 0..=Cost::MAX,
            cached in 0..=Cost::MAX_CACHED, cache_write in 0..=Cost::MAX_CACHED,
        ) {
            let cost = Cost { requests, input, output, cached, cache_write };
            let amounts = Amounts::pack(&cost);
            prop_assert_eq!((amounts.cached(), amounts.cache_write()), (cached, cache_write));
            prop_assert_eq!(Meter::Requests.masks().count(&amounts), requests);
            prop_assert_eq!(Meter::Tokens.masks().count(&amounts), input + output);
        }
    }
}
