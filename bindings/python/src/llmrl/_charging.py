"""How providers charge a request against their limit on tokens."""

from __future__ import annotations

from typing import NamedTuple, Optional, SupportsIndex, Tuple

from ._args import whole
from ._backend import charging_cost, charging_of

# As the numbers in llmrl_charging.
OUTPUTS = ("nothing", "expected", "allowed")
SETTLEMENTS = ("estimate", "actual", "maximum")
PROVIDERS = ("openai", "azure", "anthropic", "anthropic-reserving", "gemini", "bedrock")
_JOINTLY, _CACHED = 1, 2
_UNKNOWN = 2**64 - 1


def _number(field: str, value: str, names: Tuple[str, ...]) -> int:
    if value not in names:
        raise ValueError(f"Charging: {field} must be {', '.join(map(repr, names[:-1]))} or {names[-1]!r}, got {value!r}")
    return names.index(value)


class Charging(NamedTuple):
    """A rule: what a provider takes on admission, and what of that stands when the answer is there.

    >>> rule = Charging.of("bedrock")
    >>> rule.reserve(1200, max_tokens=1024)
    (1200, 1024)
    >>> rule.settle(1200, 1180, 212, max_tokens=1024)
    (1180, 1060)
    """

    joint: bool = False
    """Whether the larger of input and output is charged, as input, instead of both."""
    output: str = "allowed"
    """What counts as output before there is any: ``nothing``, what is ``expected``, or as much as is ``allowed`` by max_tokens."""
    settlement: str = "actual"
    """What stands in the end: the ``estimate``, what was ``actual``, or the ``maximum`` of both."""
    cached: bool = True
    """Whether input that the provider reads from its cache counts."""
    burndown: int = 1
    """How many times output counts in the end, 1 to 1000."""

    @classmethod
    def of(cls, provider: str) -> Charging:
        """The rule of a provider: ``openai``, ``azure``, ``anthropic``, ``anthropic-reserving`` (as it was until 2025), ``gemini``,
        ``bedrock``."""
        raw = charging_of(provider)
        if raw is None:
            raise ValueError(f"no charging rule of {provider!r}; there are {', '.join(PROVIDERS)}")
        flags, output, settlement, burndown = raw
        return cls(bool(flags & _JOINTLY), OUTPUTS[output], SETTLEMENTS[settlement], bool(flags & _CACHED), burndown)

    def _numbers(self) -> Tuple[int, int, int, int]:
        flags = (_JOINTLY if self.joint else 0) | (_CACHED if self.cached else 0)
        output = _number("output", self.output, OUTPUTS)
        settlement = _number("settlement", self.settlement, SETTLEMENTS)
        return flags, output, settlement, whole("burndown", self.burndown, 1, 1000)

    def reserve(
        self,
        prompt: SupportsIndex,
        *,
        max_tokens: Optional[SupportsIndex] = None,
        expected: SupportsIndex = 0,
        cached: SupportsIndex = 0,
    ) -> Tuple[int, int]:
        """What to acquire: input and output tokens. ``prompt``: all of it. ``cached``: what of it probably comes from the cache.
        ``expected``: how much will probably be put out."""
        return charging_cost(self._numbers(), _request(prompt, max_tokens, expected, cached), None)

    def settle(
        self,
        prompt: SupportsIndex,
        used_input: SupportsIndex,
        used_output: SupportsIndex,
        used_cached: SupportsIndex = 0,
        *,
        max_tokens: Optional[SupportsIndex] = None,
        expected: SupportsIndex = 0,
        cached: SupportsIndex = 0,
    ) -> Tuple[int, int]:
        """What to settle with, when the answer says what was used; the rest as for ``reserve``."""
        used = (whole("used_input", used_input), whole("used_output", used_output), whole("used_cached", used_cached, 0, 2**36 - 1))
        return charging_cost(self._numbers(), _request(prompt, max_tokens, expected, cached), used)


def _request(
    prompt: SupportsIndex, max_tokens: Optional[SupportsIndex], expected: SupportsIndex, cached: SupportsIndex
) -> Tuple[int, int, int, int]:
    most = _UNKNOWN if max_tokens is None else whole("max_tokens", max_tokens)
    return whole("prompt", prompt), whole("cached", cached), most, whole("expected", expected)
