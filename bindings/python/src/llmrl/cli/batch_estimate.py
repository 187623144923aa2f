"""How many tokens a request will be charged, before it is sent."""

from __future__ import annotations

from typing import Any, Dict, Tuple

from llmrl import http
from llmrl.http import Ask, read_request


class Estimator(http.Estimator):
    """Estimates ``(input, output)`` tokens; learns from the usage in answers.

    Output is the request's own ``max_completion_tokens`` or ``max_tokens``, times ``n``: providers reserve that much, so a smaller
    guess would be refused. Where ``actual`` says that the provider charges what is put out, whatever the maximum is, it is what nine
    in ten answers of the model stayed under, if that is less. So is the output of a request that names no maximum.
    """

    def __init__(self, chars_per_token: float, default_output: int, learn: bool, actual: bool = False) -> None:
        super().__init__(chars_per_token, default_output, learn)
        self.actual = actual

    def cost(self, url: str, body: Dict[str, Any], settles: bool) -> Tuple[int, int]:
        """``(input, output)`` tokens of a request, each at least 1 and 0."""
        return self.cost_of(read_request(url, body), settles)

    def cost_of(self, ask: Ask, settles: bool) -> Tuple[int, int]:
        """The same of one that was read before."""
        if not ask.generates or ask.max_tokens is None or self.actual:
            return self.prompt(ask, settles), self.expected(ask)
        return self.prompt(ask, settles), ask.max_tokens * ask.choices
