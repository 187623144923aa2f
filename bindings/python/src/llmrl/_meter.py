"""What a limit counts."""

from __future__ import annotations

from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Union

from . import _args
from ._args import Number

NUMBERS = {"requests": 1, "tokens": 2, "input_tokens": 3, "output_tokens": 4}
WEIGHTED = 5


def _thousandths(field: str, value: Number) -> int:
    accepted = "a number from 0 to 100 with at most three decimals"
    if isinstance(value, (bool, str, bytes)) or not (hasattr(value, "__float__") or hasattr(value, "__index__")):
        raise TypeError(f"{field} must be {accepted}, got {type(value).__name__} {_args.shown(value)}")
    try:
        # The number as it is written: 0.1 is a tenth.
        exact = Fraction(str(value)) * 1000
    except ValueError:  # nan, inf
        raise ValueError(f"{field} must be {accepted}, got {_args.shown(value)}") from None
    if exact.denominator != 1 or not 0 <= exact <= 100_000:
        raise ValueError(f"{field} must be {accepted}, got {_args.shown(value)}")
    return int(exact)


@dataclass(frozen=True)
class Weights:
    """What a token of each class counts, as the ``meter`` of a limit: 0 to 100, with at most three decimals.

    A request counts the sum over its tokens, rounded up. Amazon Bedrock, where output counts five times and what is read from
    the cache is free: ``Weights(output=5, cached=0)``. Not all four may be 0.
    """

    input: Number = 1
    """Input tokens that are neither read from a cache nor written to one."""
    output: Number = 1
    """Output tokens."""
    cached: Number = 1
    """Input tokens read from a cache (``cached`` of a cost, part of its ``input``)."""
    cache_write: Number = 1
    """Input tokens written to a cache (``cache_write`` of a cost, part of its ``input``)."""

    def __post_init__(self) -> None:
        for field in fields(self):
            exact = _thousandths(f"Weights: {field.name}", getattr(self, field.name))
            object.__setattr__(self, field.name, exact / 1000)
        if not any(self._thousandths()):
            raise ValueError("Weights: input, output, cached and cache_write are all 0; one of them must be above")

    def _thousandths(self) -> tuple[int, int, int, int]:
        input, output, cached, cache_write = (round(getattr(self, field.name) * 1000) for field in fields(self))
        return input, output, cached, cache_write

    @classmethod
    def _of(cls, thousandths: tuple[int, ...]) -> Weights:
        return cls(*(number / 1000 for number in thousandths))


Meter = Union[str, Weights]


def packed(field: str, meter: Meter) -> tuple[int, tuple[int, int, int, int]]:
    """Check a meter: its number in C, and its weights in thousandths."""
    if isinstance(meter, Weights):
        return WEIGHTED, meter._thousandths()
    if not isinstance(meter, str) or meter not in NUMBERS:
        raise (ValueError if isinstance(meter, str) else TypeError)(
            f"{field} must be 'requests', 'tokens', 'input_tokens', 'output_tokens' or Weights(...), got {_args.shown(meter)}"
        )
    return NUMBERS[meter], (0, 0, 0, 0)


def unpacked(number: int, weights: tuple[int, ...]) -> Meter:
    """The meter of a packed limit."""
    return Weights._of(weights) if number == WEIGHTED else next(name for name, n in NUMBERS.items() if n == number)
