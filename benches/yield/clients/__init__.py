"""The clients under test. Peers are imported only when they run: the tests of the bench do without them."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Dict, Optional


@dataclass(frozen=True)
class Entry:
    key: str
    title: str
    where: str
    """module:class"""
    minutes: Optional[float] = None
    """For those whose waiters look again and again, each of them. That takes real processor time, so its runs are at most
    so long, and of one seed."""
    wrong: bool = False
    """Is also run with wrong limits."""
    extra: bool = False
    """Runs only if asked for."""

    def make(self, setup: Any, world: Any) -> Any:
        module, name = self.where.split(":")
        return getattr(importlib.import_module(f"clients.{module}"), name)(setup, world)


CLIENTS: Dict[str, Entry] = {
    entry.key: entry
    for entry in (
        Entry("libllmrl", "libllmrl", "ours:Libllmrl", wrong=True),
        Entry("aiolimiter", "aiolimiter", "peers:Aiolimiter", wrong=True),
        Entry("langchain", "LangChain", "peers:LangChain", minutes=2),
        Entry("seed", "seed's client", "seed:Seed", minutes=10),
        Entry("seed1", "seed's, capacity >= 1", "seed:SeedThatRecovers", minutes=10, extra=True),
        Entry("naive", "retries only", "peers:Naive", minutes=2),
        Entry("oracle", "oracle", "oracle:Oracle"),
    )
}
