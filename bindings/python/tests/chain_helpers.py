"""Levels of the chains that the tests make."""

from __future__ import annotations

from llmrl import Chain, Limit


def tokens(n: int) -> Limit:
    """So many a second, with so many at the start."""
    return Limit.tokens(n, per=1)


def available(limiter) -> int:
    return limiter.limits()[0].available


def at_the_second_level(clock, limiter):
    """A chain, the user's level with one slot, and the provider's, which has nothing left: 50 take half a second."""
    user, provider = limiter(tokens(1000), Limit.in_flight(1)), limiter(tokens(100))
    provider.charge(100)
    return Chain(user, provider), user, provider


def is_untouched(user, provider) -> bool:
    stats = [level.stats() for level in (user, provider)]
    return [state.available for state in user.limits()] == [1000, 1] and all(stat.waiting == stat.in_flight == 0 for stat in stats)
