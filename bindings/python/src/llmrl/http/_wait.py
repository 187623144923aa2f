"""Waiting where an event loop runs: in a notebook synchronous clients are called in the middle of one, and block it anyway."""

from __future__ import annotations

import threading
from asyncio import _get_running_loop
from concurrent.futures import Future
from typing import Any

from .._router import Routed


def wait_anywhere(acquire: Any) -> Any:
    """``acquire.wait()``, also in a thread whose event loop runs: then another thread waits, and this one for that."""
    if _get_running_loop() is None:
        return acquire.wait()
    future: Future[Any] = Future()

    def wait() -> None:
        try:
            future.set_result(acquire.wait())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=wait, daemon=True).start()
    try:
        return future.result()
    except BaseException:
        # Interrupted: what is granted later, nobody will use.
        future.add_done_callback(_cancel_granted)
        raise


def _cancel_granted(future: Future[Any]) -> None:
    if future.exception() is None:
        granted = future.result()
        (granted.permit if isinstance(granted, Routed) else granted).cancel()
