"""What a permit becomes when its request has ended, so that the limiter's account stays equal to the provider's.

What is left there, and what was refused, the limiter learns from the answers (``permit.feedback``). How a request is charged
it must be told; a provider does it in one of these ways:

* *settle*: a reservation at admission, corrected to the real usage at the end;
* *reserve*: prompt + max_tokens at admission, never given back, whatever was used;
* *max*: the larger of the two at admission, never given back (OpenAI's documented formula);
* *burndown*: as *settle*, and output counts five times in the end (Bedrock).

*auto* starts as *settle* and finds out. A provider that keeps reservations is behind by what was given back here, as its headers
show; that is charged after all then. Until it is known, the limiter is not shown what is left there: it would make up for the
difference by itself, less exactly. Where there are no such headers, a few refusals say the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from llmrl import Advice, Charging, read_answer

if TYPE_CHECKING:
    from llmrl.http import Usage

    from .batch_send import Reply

WINDOW = 16
"""Answers by which *auto* decides. Requests overtake each other on the way, which makes a single comparison wrong."""
EVIDENCE = 8
"""This part of a full bucket must have been given back by then: more than what is on its way, of which the provider does not
know yet."""
REFUSALS = 4
"""Refusals after which *auto* asks whether they took back most of what settling gave."""


@dataclass
class Meters:
    """Positions of limits in the limiter: the first on requests and the first on tokens; None where there is no such limit."""

    requests: Optional[int] = None
    tokens: Optional[int] = None
    in_flight: Optional[int] = None
    names: Dict[int, str] = field(default_factory=lambda: {0: "requests/min", 1: "tokens/min", 2: "concurrency"})
    """What each limit is called."""
    weighted: Dict[int, str] = field(default_factory=dict, compare=False)
    """What limits with weights count at most, which their state does not say: ``tokens`` or ``input_tokens``."""

    def counted(self, index: int, state: Any) -> str:
        """What a limit counts: ``requests``, ``tokens``, ``input_tokens``, ``output_tokens`` or ``in_flight``."""
        return self.weighted.get(index, state.meter)

    def weight(self, index: int, state: Any, cost: Tuple[int, int]) -> int:
        """What a request of ``cost`` takes of a limit."""
        parts = {"requests": 1, "tokens": sum(cost), "input_tokens": cost[0], "output_tokens": cost[1]}
        return parts.get(self.counted(index, state), 0)


_BURNDOWN = Charging.of("bedrock").burndown


class Sent(NamedTuple):
    """The token account when a request was sent."""

    available: int
    given_back: int
    undecided: bool


class Account:
    """Ends permits, and counts what stands of them. ``say`` gets a line when *auto* has found something out."""

    def __init__(self, limiter: Any, meters: Meters, mode: str, say: Callable[[str], None]) -> None:
        self.limiter = limiter
        self.meters = meters
        self.mode = "settle" if mode == "auto" else mode
        self._undecided = mode == "auto" and meters.tokens is not None
        self._say = say
        self._given_back = 0
        self._compared: List[Tuple[int, int]] = []
        self._taken_back: List[int] = []
        self.requests = 0
        """Request units that stand: admitted and not cancelled."""
        self.tokens = 0
        """Token units that stand."""

    def assume_settling(self) -> None:
        """Nobody will show that reservations are kept: *auto* is *settle* from here on."""
        self._undecided = False

    @property
    def settles(self) -> bool:
        """Whether the provider is known to correct its charges. (If it does not say, whether it is assumed to.)"""
        return self.mode in ("settle", "burndown") and not self._undecided

    def cost(self, tokens_in: int, tokens_out: int) -> Tuple[int, int]:
        """The estimate as the provider will charge it."""
        if self.mode == "max":
            return (tokens_in, 0) if tokens_in >= tokens_out else (0, tokens_out)
        return tokens_in, tokens_out

    def admitted(self, cost: Tuple[int, int]) -> None:
        self.requests += 1
        self.tokens += sum(cost)

    def first_on_the_wire(self, delay: float) -> None:
        """The first request took ``delay`` seconds to be sent, because a connection had to be made; and about as long again until
        it was counted, as the provider had to accept it.

        The provider's buckets were full until it came, so they have produced that much less than ours, which began
        when the permit was granted. Later requests find their connection ready; without this correction they
        would be ahead by that much for the whole run. (So little the limiter cannot tell from
        requests in flight.)
        """
        states = self.limiter.limits()
        requests, tokens = (
            0
            if index is None or states[index].kind != "token_bucket"
            else int(2 * delay * states[index].amount / states[index].per)
            for index in (self.meters.requests, self.meters.tokens)
        )
        if requests or tokens:
            self.limiter.charge(requests=requests, input=tokens)

    def sending(self) -> Sent:
        return Sent(self._available(), self._given_back, self._undecided)

    def _available(self) -> int:
        return self.limiter.limits()[self.meters.tokens].available if self._undecided else 0

    def feedback(self, permit: Any, reply: Reply, sent: Sent) -> Advice:
        """Hand an answer to the limiter."""
        compared = sent.undecided and reply.status < 400 and self._compare(reply, sent)
        before = self._available()
        advice: Advice = permit.feedback(reply.status, {} if compared else reply.headers, reply.raw)
        if advice.answer_class == "rate" and self._undecided:
            self._compared.clear()
            self._taken_back.append(before - self._available())
            if len(self._taken_back) >= REFUSALS and 0 < self._given_back < 2 * sum(self._taken_back):
                self._keep_reservations(0)
        return advice

    def _compare(self, reply: Reply, sent: Sent) -> bool:
        """Whether the answer says what the provider has left of the limit as it is known here."""
        state = self.limiter.limits()[self.meters.tokens]
        left = [
            quota.remaining
            for quota in read_answer(reply.status, reply.headers).quotas
            if quota.meter == "tokens" and quota.limit == state.amount and quota.remaining is not None
        ]
        if not left:
            return False
        if self._undecided and sent.given_back * EVIDENCE >= state.burst:
            self._compared.append((sent.available - left[0], sent.given_back))
            if len(self._compared) == WINDOW:
                self._undecided = False
                behind, given_back = (sum(column) for column in zip(*self._compared))
                if behind * 2 > given_back:
                    # By the answer with the least on its way: of what a nearly full bucket is given not everything comes back.
                    self._keep_reservations(max(b + self._given_back - g for b, g in self._compared))
        return True

    def _keep_reservations(self, owed: int) -> None:
        self.mode, self._undecided = "reserve", False
        self.limiter.charge(requests=0, input=owed)
        self.tokens += self._given_back
        self._say(
            "the provider keeps what a request reserved (prompt + max_tokens) and gives nothing back; "
            "accounting for it the same way from here on (as with --charge reserve)"
        )

    def answered(self, permit: Any, cost: Tuple[int, int], usage: Optional[Usage]) -> None:
        """The request was served. Without a usage the estimate stands: something was used, we do not know what."""
        if self.mode in ("settle", "burndown") and usage is not None:
            used = usage.input, usage.output * (_BURNDOWN if self.mode == "burndown" else 1)
            self._given_back += sum(cost) - sum(used)
            self._settle(permit, cost, used, usage.cached, usage.cache_write)
        else:
            permit.release()

    def failed(self, permit: Any) -> None:
        """The server answered with an error of its own (5xx) or the connection broke after sending. Whoever keeps
        reservations has charged it; whoever settles has settled at nothing known, so the estimate stands too:
        too careful is cured by time, too bold by 429s."""
        permit.release()

    def refused(self, permit: Any, cost: Tuple[int, int]) -> None:
        """It never reached the model, as the permit was told, which has given its tokens back. The try counts as a
        request (OpenAI's rule)."""
        self.tokens -= sum(cost)
        permit.release()

    def rejected(self, permit: Any, cost: Tuple[int, int]) -> None:
        """A 4xx about the request: it never reached the model. One request was counted, no tokens."""
        self._settle(permit, cost, (0, 0))

    def unsent(self, permit: Any, cost: Tuple[int, int]) -> None:
        """No connection came about: the provider knows nothing of it, so everything is given back."""
        self.requests -= 1
        self.tokens -= sum(cost)
        permit.cancel()

    def _settle(
        self, permit: Any, cost: Tuple[int, int], actual: Tuple[int, int], cached: int = 0, cache_write: int = 0
    ) -> None:
        self.tokens -= sum(cost) - sum(actual)
        permit.settle(input=actual[0], output=actual[1], cached=cached, cache_write=cache_write)
