"""How much was put out, so that it can be estimated how much will be."""

from __future__ import annotations

from typing import Optional, SupportsIndex, Union, overload

from ._args import Number, shown, whole
from ._backend import lengths_estimate, lengths_new, lengths_record

_UNKNOWN = 2**64 - 1

Name = Union[str, bytes]


def _name(field: str, name: Name) -> bytes:
    if isinstance(name, str):
        return name.encode("utf-8", "surrogatepass")
    if isinstance(name, bytes):
        return name
    raise TypeError(f"{field} must be str or bytes, got {type(name).__name__} {shown(name)}")


def _permille(quantile: Number) -> int:
    accepted = "quantile must be a number from 0.001 to 1"
    if isinstance(quantile, bool) or not isinstance(quantile, (int, float)):
        raise TypeError(f"{accepted}, got {type(quantile).__name__} {shown(quantile)}")
    if not 0.001 <= quantile <= 1:
        raise ValueError(f"{accepted}, got {shown(quantile)}")
    return round(quantile * 1000)


class Lengths:
    """What to expect as output: quantiles of the output lengths that were seen, by key (a user, an API key, a route, or ``""``)
    and model.

    For providers that charge what was really put out: whoever reserves ``max_tokens`` with those, and uses a tenth of it, has
    most of the limit lie idle until the answers are there. Where the provider itself reserves ``max_tokens``, reserve that: a
    smaller estimate would be refused.

    Remembers up to ``names`` pairs of key and model, 1 to 2**20, and as many models, some 450 bytes each; when there are more, the
    one makes room of which nothing was recorded for longest. What was seen counts half as much for every 128 lengths that
    come after it, first when there are 255. Thread-safe.

    >>> lengths = Lengths()
    >>> for output in range(1, 101):
    ...     lengths.record("key", "model", output)
    >>> lengths.estimate("key", "model", max_tokens=4096)
    91
    """

    __slots__ = ("_handle",)

    def __init__(self, names: SupportsIndex = 1000) -> None:
        self._handle = lengths_new(whole("names", names, 1, 2**20))

    def record(self, key: Name, model: Name, output_tokens: SupportsIndex) -> None:
        """An answer of ``model`` to ``key`` had so many output tokens; more than 2**24 - 1 count as that. To be called when its permit
        is settled."""
        lengths_record(self._handle, _name("key", key), _name("model", model), whole("output_tokens", output_tokens))

    @overload
    def estimate(self, key: Name, model: Name, quantile: Number = 0.9, *, max_tokens: SupportsIndex) -> int: ...
    @overload
    def estimate(self, key: Name, model: Name, quantile: Number = 0.9, *, max_tokens: None = None) -> Optional[int]: ...
    def estimate(
        self, key: Name, model: Name, quantile: Number = 0.9, *, max_tokens: Optional[SupportsIndex] = None
    ) -> Optional[int]:
        """The length that this share of the answers of ``model`` to ``key`` did not exceed, at most a 16th more than it was; never more
        than ``max_tokens``. ``quantile``: 0.001 to 1, in steps of 0.001.

        If less than 20 answers were seen, those of the model to all keys tell; if of that less than 20, all answers; if there are none,
        it is ``max_tokens``.
        """
        most = _UNKNOWN if max_tokens is None else whole("max_tokens", max_tokens)
        known = lengths_estimate(self._handle, _name("key", key), _name("model", model), _permille(quantile), most)
        return None if known == _UNKNOWN else known
