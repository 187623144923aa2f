"""The clients under test. Peers are imported only when they run: the tests of the bench do without them."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Dict


@dataclass(frozen=True)
class Entry:
    key: str
    title: str
    where: str
    """module:class"""
    polls: bool = False
    """Every waiter looks again and again. That takes real processor time, so its runs are shorter and of one seed."""
    wrong: bool = False
    """Is also run with wrong limits."""

    def make(self, setup: Any, world: Any) -> Any:
        module, name = self.where.split(":")
        return getattr(importlib.import_module(f"clients.{module}"), name)(setup, world)


CLIENTS: Dict[str, Entry] = {
    entry.key: entry
    for entry in (
        Entry("libllmrl", "libllmrl", "ours:Libllmrl", wrong=True),
        Entry("aiolimiter", "aiolimiter", "peers:Aiolimiter", wrong=True),
        Entry("langchain", "LangChain", "peers:LangChain", polls=True),
        Entry("seed", "seed's client", "seed:Seed", polls=True),
        Entry("seed1", "seed's, capacity >= 1", "seed:SeedThatRecovers", polls=True),
        Entry("naive", "retries only", "peers:Naive", polls=True),
        Entry("oracle", "oracle", "oracle:Oracle"),
    )
}
