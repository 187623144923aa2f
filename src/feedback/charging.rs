//! What providers charge a request for, and when.

use crate::limit::Cost;

/// How a provider charges a request against its limit on tokens: what it takes on admission, and what of that stands when the
/// answer is there. Plain data, so another rule is one literal away.
///
/// | provider | on admission | in the end |
/// | --- | --- | --- |
/// | [`OPENAI`](Self::OPENAI) | the larger of prompt and `max_tokens` | the same |
/// | [`AZURE`](Self::AZURE) | prompt + `max_tokens` | the same |
/// | [`ANTHROPIC`](Self::ANTHROPIC) | prompt that no cache had | with what was really put out |
/// | [`ANTHROPIC_RESERVING`](Self::ANTHROPIC_RESERVING) | that, and `max_tokens` as output | with what was really put out |
/// | [`GEMINI`](Self::GEMINI) | prompt | the same |
/// | [`BEDROCK`](Self::BEDROCK) | prompt that no cache had + `max_tokens` | with five times what was really put out |
///
/// ```
/// use llmrl::Cost;
/// use llmrl::feedback::{Charging, Request};
///
/// let request = Request { prompt: 1_200, max_tokens: Some(1_024), ..Request::default() };
/// assert_eq!(Charging::AZURE.reserve(&request), Cost::tokens(1_200, 1_024));
/// assert_eq!(Charging::OPENAI.reserve(&request), Cost::tokens(1_200, 0));
/// let used = Cost::tokens(1_180, 212);
/// assert_eq!(Charging::BEDROCK.settle(&request, &used), Cost::tokens(1_180, 1_060));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charging {
    /// Whether the larger of input and output is charged, as input, instead of both.
    pub joint: bool,
    /// What counts as output before there is any.
    pub output: Output,
    /// What stands in the end.
    pub settlement: Settlement,
    /// Whether input that the provider reads from its cache counts.
    pub cached: bool,
    /// How many times output counts in the end.
    pub burndown: u64,
}

/// What counts as output before there is any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// None.
    Nothing,
    /// What is expected.
    Expected,
    /// As much as the request allows; what is expected if it says nothing.
    Allowed,
}

/// What stands of a charge in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// What was reserved.
    Estimate,
    /// What was used.
    Actual,
    /// The larger of both.
    Maximum,
}

/// What is known of a request before it is sent, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The prompt, all of it.
    pub prompt: u64,
    /// What of it the provider will probably read from its cache.
    pub cached: u64,
    /// `max_tokens`, or whatever the provider calls the most that it may put out.
    pub max_tokens: Option<u64>,
    /// How much it will probably put out.
    pub expected: u64,
}

impl Charging {
    /// OpenAI: a reservation that is never given back.
    pub const OPENAI: Self = Self {
        joint: true,
        ..Self::AZURE
    };
    /// Azure OpenAI: a reservation that is never given back.
    pub const AZURE: Self = Self {
        joint: false,
        output: Output::Allowed,
        settlement: Settlement::Estimate,
        cached: true,
        burndown: 1,
    };
    /// Anthropic since 2026: output counts as it is put out, whatever `max_tokens` is; reads from the cache are free.
    pub const ANTHROPIC: Self = Self {
        output: Output::Nothing,
        settlement: Settlement::Actual,
        cached: false,
        ..Self::AZURE
    };
    /// Anthropic as documented until 2025: output is reserved by `max_tokens` and corrected at the end.
    pub const ANTHROPIC_RESERVING: Self = Self {
        output: Output::Allowed,
        ..Self::ANTHROPIC
    };
    /// Gemini: input alone.
    pub const GEMINI: Self = Self {
        output: Output::Nothing,
        ..Self::AZURE
    };
    /// Amazon Bedrock with Claude 3.7 and later.
    pub const BEDROCK: Self = Self {
        burndown: 5,
        ..Self::ANTHROPIC_RESERVING
    };

    /// The rule of a provider by its name, in small letters: `openai`, `azure`, `anthropic`, `anthropic-reserving`, `gemini`,
    /// `bedrock`.
    pub fn of(provider: &str) -> Option<Self> {
        Some(match provider {
            "openai" => Self::OPENAI,
            "azure" => Self::AZURE,
            "anthropic" => Self::ANTHROPIC,
            "anthropic-reserving" => Self::ANTHROPIC_RESERVING,
            "gemini" => Self::GEMINI,
            "bedrock" => Self::BEDROCK,
            _ => return None,
        })
    }

    /// What to acquire: one request and its tokens.
    pub fn reserve(&self, request: &Request) -> Cost {
        let output = match self.output {
            Output::Nothing => 0,
            Output::Expected => request.expected,
            Output::Allowed => request.max_tokens.unwrap_or(request.expected),
        };
        self.cost(request.prompt, request.cached, output)
    }

    /// What to settle with, when the answer says what was `used`.
    pub fn settle(&self, request: &Request, used: &Cost) -> Cost {
        let reserved = self.reserve(request);
        let output = match self.output {
            // Who reserves none and never corrects counts none.
            Output::Nothing if self.settlement == Settlement::Estimate => 0,
            _ => used.output.saturating_mul(self.burndown),
        };
        let actual = self.cost(used.input, used.cached, output);
        match self.settlement {
            Settlement::Estimate => reserved,
            Settlement::Actual => actual,
            Settlement::Maximum => Cost::tokens(
                reserved.input.max(actual.input),
                reserved
                    .output
                    .max(actual.output)
                    .min(Cost::MAX - reserved.input.max(actual.input)),
            ),
        }
    }

    fn cost(&self, input: u64, cached: u64, output: u64) -> Cost {
        let input = match self.cached {
            true => input,
            false => input.saturating_sub(cached),
        };
        let input = input.min(Cost::MAX);
        match self.joint {
            true => Cost::tokens(input.max(output).min(Cost::MAX), 0),
            false => Cost::tokens(input, output.min(Cost::MAX - input)),
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REQUEST: Request = Request {
        prompt: 1_000,
        cached: 400,
        max_tokens: Some(2_000),
        expected: 300,
    };

    #[test]
    fn every_provider_by_its_name() {
        let used = Cost {
            cached: 500,
            ..Cost::tokens(1_100, 250)
        };
        for (name, reserved, settled) in [
            ("openai", (2_000, 0), (2_000, 0)),
            ("azure", (1_000, 2_000), (1_000, 2_000)),
            ("anthropic", (600, 0), (600, 250)),
            ("anthropic-reserving", (600, 2_000), (600, 250)),
            ("gemini", (1_000, 0), (1_000, 0)),
            ("bedrock", (600, 2_000), (600, 1_250)),
        ] {
            let rule = Charging::of(name).unwrap();
            assert_eq!(
                rule.reserve(&REQUEST),
                Cost::tokens(reserved.0, reserved.1),
                "{name}"
            );
            assert_eq!(
                rule.settle(&REQUEST, &used),
                Cost::tokens(settled.0, settled.1),
                "{name}"
            );
        }
        assert_eq!(Charging::of("OpenAI"), None);
    }

    #[test]
    fn what_is_not_allowed_is_expected_and_the_larger_stands() {
        let rule = Charging {
            settlement: Settlement::Maximum,
            ..Charging::AZURE
        };
        let request = Request {
            max_tokens: None,
            ..REQUEST
        };
        assert_eq!(rule.reserve(&request), Cost::tokens(1_000, 300));
        assert_eq!(
            rule.settle(&request, &Cost::tokens(900, 400)),
            Cost::tokens(1_000, 400)
        );
        let rule = Charging {
            output: Output::Expected,
            ..rule
        };
        assert_eq!(rule.reserve(&REQUEST), Cost::tokens(1_000, 300));
    }

    proptest! {
        #[test]
        fn a_limiter_takes_whatever_comes_out(prompt: u64, cached: u64, max_tokens: Option<u64>, expected: u64, used: (u64, u64)) {
            let request = Request { prompt, cached, max_tokens, expected };
            for rule in ["openai", "azure", "anthropic", "anthropic-reserving", "gemini", "bedrock"] {
                for settlement in [Settlement::Estimate, Settlement::Actual, Settlement::Maximum] {
                    let rule = Charging { settlement, ..Charging::of(rule).unwrap() };
                    prop_assert!(rule.reserve(&request).amounts().is_ok());
                    prop_assert!(rule.settle(&request, &Cost::tokens(used.0, used.1)).amounts().is_ok());
                }
            }
        }
    }
}
