"""What the running service is: its configuration and limiters as they are now, its counts, and what it sends with."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from hashlib import blake2b
from pathlib import Path
from typing import List, Mapping, Optional

import aiohttp

from ..http import Estimator, Usage, read_request
from ..http._tokens import counter
from .config import BadConfig, Config, load
from .logs import event
from .metrics import Metrics
from .plan import Plan, same
from .status import INTERVAL, History
from .upstream import Away, Job, session

MAX_TOKENS = 2**39
"""Of a prompt, and of an output: more than this asks for, no limit has."""
MODELS_KEPT = 60.0


class Service:
    """One service. Everything happens in one event loop."""

    client: aiohttp.ClientSession

    def __init__(self, config: Config, path: Optional[Path] = None) -> None:
        self.path = path
        self.plan = Plan(config)
        self.metrics = Metrics()
        self.history = History(self.metrics)
        self.estimator = Estimator(count=counter())
        self.away = Away()
        self.began = time.monotonic()
        self._salt = os.urandom(16)
        self._models: tuple[float, frozenset[str]] = (0.0, frozenset())

    async def run(self) -> None:
        """Take samples for the page until cancelled."""
        while True:
            self.history.sample(self.plan)
            await asyncio.sleep(INTERVAL)

    def open(self) -> None:
        """Be ready to send."""
        self.client = session()

    async def close(self) -> None:
        """Let go of all connections."""
        await self.client.close()

    def reload(self) -> None:
        """Read the file again. A bad one changes nothing; requests under way are not touched."""
        if self.path is None:
            return
        try:
            config = load(self.path)
        except BadConfig as error:
            self.metrics.reloads.add("failed")
            for problem in error.problems:
                event("configuration not changed", logging.ERROR, problem=problem)
            return
        old = self.plan.config.server
        self.plan = Plan(config, self.plan)
        self.away.keep(node.upstream.name for node in self.plan.nodes)
        self._models = (0.0, frozenset())
        self.metrics.reloads.add("ok")
        for name in ("host", "port", "max_header", "shutdown", "log"):
            if getattr(old, name) != getattr(config.server, name):
                event("needs a restart", logging.WARNING, key=f"server.{name}")
        for note in self.plan.notes:
            event("configuration", logging.WARNING, note=note)
        event("configuration changed", upstreams=len(config.upstreams))

    def client_of(self, authorization: str) -> Optional[str]:
        """Who sends this ``Authorization``: a client's name, or if none are configured a name made of the key. None for a stranger."""
        scheme, _, key = authorization.partition(" ")
        key = key.strip() if scheme.lower() == "bearer" else ""
        if self.plan.clients is not None:
            return self.plan.clients.name(key) if key else None
        if not key:
            return "anonymous"
        return "key-" + blake2b(key.encode("utf-8", "surrogateescape"), key=self._salt, digest_size=6).hexdigest()

    def is_admin(self, authorization: str) -> bool:
        """Whether the page, the status and the metrics are for this ``Authorization``."""
        admin = self.plan.config.admin
        scheme, _, key = authorization.partition(" ")
        return admin is None or (scheme.lower() == "bearer" and same(admin, key.strip()))

    def job(self, path: str, body: bytes, data: dict[str, object], headers: Mapping[str, str]) -> Job:
        """What a request asks for, and what it will take."""
        ask = read_request(path, data)
        ask = ask._replace(choices=min(ask.choices, 1024))
        most = None if ask.max_tokens is None else min(ask.max_tokens * ask.choices, MAX_TOKENS)
        prompt, expected = self.estimator.prompt(ask), min(self.estimator.expected(ask), MAX_TOKENS)
        return Job(path[len("/v1") :], body, headers, ask, min(prompt, MAX_TOKENS), expected, most)

    def settled(self, job: Job, usage: Usage) -> None:
        """An answer has told what it used."""
        self.estimator.answered(job.ask, usage.input, usage.output)
        known = job.ask.model if job.ask.model in self._known() else "other"
        self.metrics.tokens.add(known, "input", by=usage.input)
        self.metrics.tokens.add(known, "output", by=usage.output)
        self.metrics.tokens.add(known, "cached", by=usage.cached)

    def _known(self) -> frozenset[str]:
        """The models that the configuration names."""
        named = (model for node in self.plan.nodes for model in node.upstream.models or ())
        return frozenset(named) | self.plan.models.keys()

    async def models(self) -> List[str]:
        """The models that are served: as configured, and what upstreams say that serve all of theirs."""
        until, models = self._models
        if time.monotonic() >= until:
            asked = [self._ask_models(node.upstream.name) for node in self.plan.nodes if node.upstream.models is None]
            found = await asyncio.gather(*asked)
            models = self._known().union(*found)
            self._models = (time.monotonic() + MODELS_KEPT, models)
        return sorted(models)

    async def _ask_models(self, name: str) -> List[str]:
        upstream = next(node.upstream for node in self.plan.nodes if node.upstream.name == name)
        headers = {"authorization": f"Bearer {upstream.key.reveal()}"} if upstream.key else {}
        timeout = aiohttp.ClientTimeout(total=10)
        try:
            async with self.client.get(
                f"{upstream.base_url}/models", headers=headers, timeout=timeout, allow_redirects=False
            ) as answer:
                data = (await answer.json(content_type=None))["data"] if answer.status == 200 else []
            return [str(model["id"]) for model in data[:10_000]]
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError, KeyError, TypeError):
            return []
