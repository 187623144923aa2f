"""Keeping the limiter's account equal to the provider's: what a permit becomes when its request has ended.

A provider charges a request in one of three ways, and the account here must follow:

* *settle*: a reservation at admission, corrected to the real usage at the end;
* *reserve*: prompt + max_tokens at admission, never given back, whatever was used;
* *max*: the larger of the two at admission, never given back (OpenAI's documented formula).

*auto* starts as *settle*. If the provider keeps reservations, its ``x-ratelimit-remaining-tokens`` falls behind
the account here by exactly what was given back; then that is charged after all, and from there on nothing is
given back. A full bucket holds a minute of tokens, so this mostly shows before anything is refused. Where there
are no such headers, a few refusals say the same.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Callable, Deque, Dict, Mapping, Optional, Tuple

from .batch_answer import Verdict

WINDOW = 16
"""Answers that must agree before *auto* switches. Requests overtake each other on the way, which makes a single
comparison wrong by a few reservations either way; the smallest of sixteen is not."""
REFUSALS = 4
"""Token refusals after which *auto* asks whether they took back most of what settling gave."""


@dataclass
class Meters:
    """Positions of limits in the limiter: the first on requests and the first on tokens, which a provider's words are
    about unless they fit another; None where there is no such limit."""

    requests: Optional[int] = None
    tokens: Optional[int] = None
    in_flight: Optional[int] = None
    names: Dict[int, str] = field(default_factory=lambda: {0: "requests/min", 1: "tokens/min", 2: "concurrency"})
    """What each limit is called."""


@dataclass
class Sent:
    """The token account at the moment a request was sent."""

    available: int
    returned: int
    reserved: int


class Account:
    """Ends permits. ``say`` gets one line when something was learned that the user should know."""

    def __init__(self, limiter: Any, meters: Meters, mode: str, say: Callable[[str], None]) -> None:
        self.limiter = limiter
        self.meters = meters
        self.mode = "settle" if mode == "auto" else mode
        self._auto = mode == "auto" and meters.tokens is not None
        self._say = say
        self._returned = 0
        self._gaps: Deque[Tuple[int, int, int]] = deque(maxlen=WINDOW)
        self._refusals = 0
        self._taken_back = 0
        self._told_limit = False
        self.requests = 0
        """Request units that stand: admitted and not cancelled."""
        self.tokens = 0
        """Token units that stand."""

    @property
    def settles(self) -> bool:
        return self.mode == "settle"

    def cost(self, tokens_in: int, tokens_out: int) -> Tuple[int, int]:
        """The estimate as the provider will charge it."""
        if self.mode == "max":
            return (tokens_in, 0) if tokens_in >= tokens_out else (0, tokens_out)
        return tokens_in, tokens_out

    def admitted(self, cost: Tuple[int, int]) -> None:
        self.requests += 1
        self.tokens += sum(cost)

    def sending(self, cost: Tuple[int, int]) -> Sent:
        available = self.limiter.limits()[self.meters.tokens].available if self.meters.tokens is not None else 0
        return Sent(available, self._returned, sum(cost))

    def answered(self, permit: Any, cost: Tuple[int, int], usage: Optional[Tuple[int, int]]) -> None:
        """The request was served. Without a usage the estimate stands: something was used, we do not know what."""
        if self.settles and usage is not None:
            self._returned += sum(cost) - sum(usage)
            self._settle(permit, cost, usage)
        else:
            permit.release()

    def failed(self, permit: Any, cost: Tuple[int, int]) -> None:
        """The server answered with an error of its own (5xx) or the connection broke after sending. Whoever keeps
        reservations has charged it; whoever settles has settled at nothing known, so the estimate stands too:
        too careful is cured by time, too bold by 429s."""
        permit.release()

    def rejected(self, permit: Any, cost: Tuple[int, int]) -> None:
        """A 4xx about the request: it never reached the model. One request was counted, no tokens."""
        self._settle(permit, cost, (0, 0))

    def unsent(self, permit: Any, cost: Tuple[int, int]) -> None:
        """No connection came about: the provider knows nothing of it, so everything is given back."""
        self.requests -= 1
        self.tokens -= sum(cost)
        permit.cancel()

    def refused(self, permit: Any, cost: Tuple[int, int], verdict: Verdict) -> None:
        """A 429. The account here had room and the provider's had not, so ours is too high.

        Concurrency: nothing was charged anywhere; everything is given back. Requests and tokens: the refused try
        counts as a request (OpenAI's rule), its tokens were not taken. When the text states the provider's account,
        the tokens are given back and ours is lowered to that; when it does not, keeping the reservation is the
        best correction there is. (Giving it back and changing nothing would repeat the refusal for ever.) Then the
        limit that tripped is paused for the server's own time, so that nobody else runs into it either.
        """
        if verdict.axis == "concurrent":
            self.unsent(permit, cost)
            return
        index = self._tripped(verdict)
        if verdict.axis == "requests":
            self._settle(permit, cost, (0, 0))
        elif (
            index is not None
            and verdict.limit is not None
            and verdict.used is not None
            and self._same_limit(index, verdict.limit)
        ):
            theirs = verdict.limit - verdict.used
            surplus = max(0, self.limiter.limits()[index].available + sum(cost) - theirs)
            self._settle(permit, cost, (surplus, 0))
            self.tokens -= surplus
            self._token_refusal(surplus)
        else:
            permit.release()
            self._token_refusal(sum(cost))
        if index is None:
            index = self.meters.tokens if self.meters.requests is None else self.meters.requests
        if index is not None and verdict.wait:
            state = self.limiter.limits()[index]
            if state.kind == "fixed_window" and state.amount == verdict.limit:
                self.limiter.align(index, min(verdict.wait, state.per))
            # A later, shorter answer must not cut a longer pause short.
            self.limiter.pause(index, max(verdict.wait, state.paused))
            verdict.paused = True

    def _tripped(self, verdict: Verdict) -> Optional[int]:
        """The limit that a refusal is about: the one on its axis of the size that it states, else the first."""
        axis = "tokens" if verdict.axis == "tokens" else "requests"
        for index, state in enumerate(self.limiter.limits()):
            if state.meter == axis and state.amount == verdict.limit:
                return index
        return self.meters.tokens if axis == "tokens" else self.meters.requests

    def first_on_the_wire(self, delay: float) -> None:
        """The first request took ``delay`` seconds to be sent, because a connection had to be made.

        The provider's buckets were full until it came, so they have produced that much less than ours, which began
        when the permit was granted. Later requests find their connection ready; without this correction they
        would be ahead by that much for the whole run.
        """
        states = self.limiter.limits()
        requests, tokens = (
            0
            if index is None or states[index].kind != "token_bucket"
            else int(delay * states[index].amount / states[index].per)
            for index in (self.meters.requests, self.meters.tokens)
        )
        if requests or tokens:
            charge(self.limiter, requests, tokens)

    def headers(self, sent: Sent, headers: Mapping[str, str]) -> None:
        """Compare the provider's account, as an answer states it, with ours when that request was sent."""
        index = self.meters.tokens
        limit = _whole(headers.get("x-ratelimit-limit-tokens"))
        remaining = _whole(headers.get("x-ratelimit-remaining-tokens"))
        if index is None or limit is None or remaining is None:
            return
        if not self._same_limit(index, limit):
            return
        if not (self._auto and self.settles):
            return
        gap = sent.available - remaining
        self._gaps.append((gap, sent.returned, sent.reserved))
        enough = max(4 * max(g[2] for g in self._gaps), self.limiter.limits()[index].burst // 50)
        if len(self._gaps) == WINDOW and all(g[0] >= enough and g[1] >= enough for g in self._gaps):
            self._keep_reservations(max(0, min(g[0] - g[1] for g in self._gaps) + self._returned))

    def _settle(self, permit: Any, cost: Tuple[int, int], actual: Tuple[int, int]) -> None:
        self.tokens -= sum(cost) - sum(actual)
        permit.settle(input=actual[0], output=actual[1])

    def _keep_reservations(self, owed: int) -> None:
        self.mode = "reserve"
        if owed:
            charge(self.limiter, 0, owed)
            self.tokens += owed
        self._say(
            "the provider keeps what a request reserved (prompt + max_tokens) and gives nothing back; "
            "accounting for it the same way from here on (as with --charge reserve)"
        )

    def _token_refusal(self, taken_back: int) -> None:
        self._refusals += 1
        self._taken_back += max(0, taken_back)
        if self._auto and self.settles and self._refusals >= REFUSALS and 0 < self._returned <= 2 * self._taken_back:
            self._keep_reservations(0)

    def _same_limit(self, index: int, stated: int) -> bool:
        ours = self.limiter.limits()[index].amount
        if abs(stated - ours) * 50 <= ours:
            return True
        if not self._told_limit and stated > 0:
            self._told_limit = True
            unit = "tokens" if index == self.meters.tokens else "requests"
            self._say(f"the provider states a limit of {stated:,} {unit}, but {ours:,} per minute was given here")
        return False


def charge(limiter: Any, requests: int, tokens: int) -> None:
    """Lower an account without a permit. The library has no cost without a request, so this takes at least one; all
    uses are once per run."""
    limiter.charge(requests=max(1, requests), input=tokens)


def _whole(text: Optional[str]) -> Optional[int]:
    """A header count; ``-1`` (unknown) and anything else that is none give None."""
    if text is None or not text.isdigit() or len(text) > 15:
        return None
    return int(text)
