"""What was used of the limits, kept in a file from one run to the next."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, AsyncIterator, Callable, Optional

SECONDS = 10.0
"""So often it is written. What a crash costs is known by the provider alone, until the next run meets its refusals."""


class State:
    """The file of ``--state``, or none."""

    def __init__(self, path: Optional[Path], note: Callable[[str], None]) -> None:
        self._path = path
        self._note = note
        self._failed = False

    def read(self) -> Optional[bytes]:
        """What the last run has left; None if there was none. Raises OSError."""
        if self._path is None or not self._path.exists():
            return None
        return self._path.read_bytes()

    def write(self, limiter: Any) -> None:
        """Replace the file as a whole. Says once that it cannot, and goes on: the batch is worth more."""
        if self._path is None:
            return
        beside = self._path.with_name(self._path.name + ".new")
        try:
            beside.write_bytes(limiter.save())
            os.replace(beside, self._path)
        except OSError as error:
            if not self._failed:
                self._note(f"cannot write {self._path}: {error.strerror}; the next run will not know what was used")
            self._failed = True

    @asynccontextmanager
    async def kept(self, limiter: Any) -> AsyncIterator[None]:
        """Write now and then, and at the end."""

        async def now_and_then() -> None:
            while True:
                await asyncio.sleep(SECONDS)
                self.write(limiter)

        task = asyncio.ensure_future(now_and_then())
        try:
            yield
        finally:
            task.cancel()
            self.write(limiter)
