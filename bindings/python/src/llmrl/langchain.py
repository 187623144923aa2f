"""Limits for LangChain's chat models.

::

    model = ChatOpenAI(rate_limiter=llmrl.langchain.RateLimiter(limiter))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Union

from ._chain import Chain
from ._router import Routed, Router
from .http._wait import wait_anywhere

try:
    from langchain_core.rate_limiters import BaseRateLimiter
except ImportError as error:
    raise ImportError("llmrl.langchain needs langchain-core: pip install langchain-core") from error

if TYPE_CHECKING:
    from ._backend import Limiter


class RateLimiter(BaseRateLimiter):
    """LangChain's ``rate_limiter``, in turn and without polling: each call of a model is one request.

    LangChain says neither how many tokens a call takes nor when it has ended or what was answered, so limits on tokens and on requests
    in flight do nothing here. A model that takes an ``http_client`` gets all of it from ``llmrl.httpx``; then this is not needed.
    """

    def __init__(self, limiter: Union[Limiter, Chain, Router]) -> None:
        self._limiter = limiter

    def acquire(self, *, blocking: bool = True) -> bool:
        """Wait for the turn of one request, or, not ``blocking``, take it or answer False at once. Raises what the limiter raises."""
        permit = wait_anywhere(self._limiter.acquire()) if blocking else self._limiter.try_acquire()
        return self._end(permit)

    async def aacquire(self, *, blocking: bool = True) -> bool:
        """The same in asyncio."""
        return self._end(await self._limiter.acquire() if blocking else self._limiter.try_acquire())

    @staticmethod
    def _end(permit: Any) -> bool:
        if permit is None:
            return False
        (permit.permit if isinstance(permit, Routed) else permit).release()
        return True
