"""How requests are limited: what all of a program's exchanges share."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Callable, Dict, NamedTuple, Optional, Tuple, Union

from .._args import Number, seconds, shown, whole
from .._chain import Chain
from .._charging import Charging
from .._router import Router
from ._estimate import Estimator
from ._exchange import Exchange
from ._request import Ask, read_request
from ._tokens import counter
from ._usage import MAX_TOKENS, Usage

if TYPE_CHECKING:
    from .._backend import Limiter

Single = Union["Limiter", Chain, Router]
Limiting = Union[Single, Callable[[Ask], Optional[Single]]]


class Counts(NamedTuple):
    """What became of the requests of a ``Throttle``."""

    requests: int = 0
    """Admitted at least once."""
    tries: int = 0
    """Admissions."""
    served: int = 0
    """Answers that told what was used, and were settled with it."""
    refused: int = 0
    """Answers that were about limits: rate, concurrency, overload, size, billing."""
    failed: int = 0
    """Other failures, and connections that broke."""
    input: int = 0
    """Tokens of the prompts served, as the provider counts them."""
    output: int = 0
    """Tokens that were put out."""


class _Cost:
    """What one request is charged, by the provider's rule."""

    __slots__ = ("rule", "prompt", "most", "expected")

    def __init__(self, rule: Charging, prompt: int, most: Optional[int], expected: int) -> None:
        self.rule = rule
        self.prompt = min(prompt, MAX_TOKENS)
        self.most = None if most is None else min(most, MAX_TOKENS)
        self.expected = min(expected, MAX_TOKENS)

    def reserve(self) -> Tuple[int, int]:
        return self.rule.reserve(self.prompt, max_tokens=self.most, expected=self.expected)

    def settle(self, usage: Usage) -> Tuple[int, int, int, int]:
        input, output = self.rule.settle(
            self.prompt, usage.input, usage.output, usage.cached, max_tokens=self.most, expected=self.expected
        )
        if self.rule.cached and not self.rule.joint and self.rule.settlement == "actual":
            return input, output, usage.cached, usage.cache_write
        return input, output, 0, 0


def _timeout(value: Number) -> float:
    return seconds("timeout", value, "None or seconds >= 0")


class Throttle:
    """A limiter for requests over HTTP: with the rule by which they are charged, their estimates, and how often they are tried.

    ``limiter``: a Limiter, Chain or Router; or a function that chooses one for an ``Ask``, None to let it pass:
    ``lambda ask: limiters.limiter(ask.model)``. ``charging``: a Charging, or a provider's name; by default that of the URL, and
    for an address that is not known: prompt and ``max_tokens``, corrected in the end. ``retries``: tries after the first
    one that a refusal (429, and 503 or 529 for lack of capacity) is worth, 0 to 100. ``timeout``: seconds that a request may wait in all
    until it is admitted, None for as long as it takes. ``retry_errors``: whether other failures that may pass (5xx, connections that
    broke) are tried again as well, for clients that do not do so themselves. ``estimator``: one that is shared, or has
    seen other text.

    Thread-safe; for any number of clients, threads and event loops.
    """

    def __init__(
        self,
        limiter: Limiting,
        *,
        charging: Union[Charging, str, None] = None,
        retries: int = 4,
        timeout: Optional[Number] = None,
        retry_errors: bool = False,
        estimator: Optional[Estimator] = None,
    ) -> None:
        if not hasattr(limiter, "acquire") and not callable(limiter):
            raise TypeError(
                f"limiter must be a Limiter, Chain, Router, or a function of an Ask, got {type(limiter).__name__} {shown(limiter)}"
            )
        self.limiter = limiter
        self.charging = Charging.of(charging) if isinstance(charging, str) else charging
        self.retries = whole("retries", retries, 0, 100)
        self.timeout = None if timeout is None else _timeout(timeout)
        self.retry_errors = retry_errors
        self.estimator = Estimator(count=counter()) if estimator is None else estimator
        self._rules: Dict[str, Charging] = {"": Charging()}
        self._lock = threading.Lock()
        self._counts = Counts()

    @classmethod
    def of(cls, limiter: Union[Limiting, Throttle]) -> Throttle:
        """A Throttle as it is; of anything else one with the defaults."""
        return limiter if isinstance(limiter, Throttle) else cls(limiter)

    def exchange(self, url: str, body: bytes = b"", method: str = "POST", timeout: Optional[Number] = None) -> Exchange:
        """A request begins. Only a POST is limited; what else there is to ask, as for a list of models, passes. ``timeout``: another
        one for this request."""
        ask = read_request(url, body)
        limiter: Any = None
        if method.upper() == "POST":
            limiter = self.limiter if hasattr(self.limiter, "acquire") else self.limiter(ask)
        return Exchange(self, ask, limiter, self.timeout if timeout is None else _timeout(timeout))

    def counts(self) -> Counts:
        """What became of the requests until now."""
        return self._counts

    def _count(self, **more: int) -> None:
        with self._lock:
            counts = self._counts
            self._counts = counts._replace(**{name: getattr(counts, name) + number for name, number in more.items()})

    def _rule(self, provider: str) -> Charging:
        if self.charging is not None:
            return self.charging
        if provider not in self._rules:
            self._rules[provider] = Charging.of(provider)
        return self._rules[provider]

    def _estimate(self, ask: Ask) -> _Cost:
        rule = self._rule(ask.provider)
        if not (ask.size or ask.flat or ask.generates):
            return _Cost(rule, 0, 0, 0)
        prompt = self.estimator.prompt(ask, rule.settlement == "actual")
        most = 0 if not ask.generates else None if ask.max_tokens is None else ask.max_tokens * ask.choices
        return _Cost(rule, prompt, most, self.estimator.expected(ask))
