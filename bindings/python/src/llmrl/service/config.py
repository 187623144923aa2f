"""The configuration file as values that are known to be right.

>>> config = parse('''
... [[upstream]]
... name = "east"
... base_url = "https://api.example.com/v1"
... limits = [{amount = 500}, {meter = "tokens", amount = 200_000}]
... ''')
>>> config.upstreams[0].limits[1]
Limit.tokens(200000, per=60, burst=200000, oversize='reject', start_empty=False)
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Iterator, Mapping, NamedTuple, Optional, Tuple, Union

from .. import Charging, Limit, Weights, until_midnight, until_reset
from .._map import kind_of
from .._types import IN_FLIGHT
from .schema import complaints, schema, with_defaults

DAY = 86400

Limits = Tuple[Limit, ...]


class BadConfig(ValueError):
    """What is wrong with a configuration: ``problems``, one sentence each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Secret:
    """A key that is in no repr, and so in no log and no error by mistake."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The key itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(...)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    __hash__ = None  # type: ignore[assignment]


class Server(NamedTuple):
    """Where the service listens, and what it accepts."""

    host: str
    port: int
    max_body: int
    max_header: int
    shutdown: float
    log: str


class Admission(NamedTuple):
    """What becomes of a request that is not admitted at once."""

    policy: str
    max_wait: float
    max_waiting: int
    attempts: int

    @property
    def patience(self) -> float:
        """Seconds for which a request waits at most."""
        return self.max_wait if self.policy == "wait" else 0.0


class Users(NamedTuple):
    """Limits of each user, and of some by name."""

    limits: Limits
    by: str
    capacity: int
    named: Mapping[str, Limits]


class Upstream(NamedTuple):
    """One provider, deployment or key."""

    name: str
    base_url: str
    key: Optional[Secret]
    limits: Limits
    models: Optional[Tuple[str, ...]]
    weight: int
    charging: Charging
    raise_limits: bool
    timeout: float


class Config(NamedTuple):
    """A whole file."""

    server: Server
    admission: Admission
    admin: Optional[Secret]
    clients: Optional[Mapping[str, Secret]]
    all: Limits
    users: Optional[Users]
    models: Mapping[str, Limits]
    upstreams: Tuple[Upstream, ...]


def load(path: Union[str, Path]) -> Config:
    """Read a file. Raises BadConfig, also for a file that cannot be read."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig([f"{path}: cannot be read: {error.strerror if isinstance(error, OSError) else 'it is not UTF-8'}"]) from None
    return parse(text, path.parent)


def parse(text: str, directory: Path = Path()) -> Config:
    """The configuration in a text; ``directory`` is where the paths in it begin. Raises BadConfig with everything that is wrong."""
    toml = _toml()
    try:
        table = toml.loads(text)
    except toml.TOMLDecodeError as error:
        raise BadConfig([f"this is no TOML: {error}"]) from None
    problems = list(complaints(table, schema()))
    if problems:
        raise BadConfig(problems)
    return _Reader(table, directory).config()


def _toml() -> Any:
    if sys.version_info >= (3, 11):
        import tomllib

        return tomllib
    import tomli

    return tomli


class _Reader:
    """A table that fits the schema, made into a Config; what the schema cannot say is checked on the way."""

    def __init__(self, table: Mapping[str, Any], directory: Path) -> None:
        self.table = table
        self.directory = directory
        self.problems: list[str] = []

    def config(self) -> Config:
        table, parts = self.table, schema()["properties"]
        config = Config(
            Server(**with_defaults(table.get("server", {}), parts["server"])),
            Admission(**with_defaults(table.get("admission", {}), parts["admission"])),
            self.secret("admin", table["admin"], True) if "admin" in table else None,
            self.clients() if "clients" in table else None,
            self.limits("global.limits", table.get("global", {}).get("limits", ())),
            self.users(with_defaults(table["users"], parts["users"])) if "users" in table else None,
            {name: self.limits(f"models.{name}.limits", rule["limits"]) for name, rule in table.get("models", {}).items()},
            self.upstreams(parts["upstream"]["items"]),
        )
        if not self.problems:
            self.problems.extend(_contradictions(config))
        if self.problems:
            raise BadConfig(self.problems)
        return config

    def secret(self, where: str, table: Mapping[str, Any], needed: bool) -> Optional[Secret]:
        sources = [name for name in ("key_env", "key_file") if name in table]
        if len(sources) != 1:
            if needed or sources:
                self.problems.append(f"{where} must have one of key_env and key_file, got {' and '.join(sources) or 'none'}")
            return None
        source = sources[0]
        path = f"{where}.{source}"
        if source == "key_env":
            value = os.environ.get(table[source], "")
            missing = f"{path}: the environment variable {table[source]} is not set or empty"
        else:
            try:
                value = (self.directory / table[source]).read_text(encoding="ascii").strip()
                missing = f"{path}: the file {table[source]!r} is empty"
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not ASCII"
                value, missing = "", f"{path}: the file {table[source]!r} cannot be read: {reason}"
        if not value:
            self.problems.append(missing)
        elif not (value.isascii() and value.isprintable() and " " not in value):
            # It goes into a header. The key itself is not repeated here.
            self.problems.append(f"{path}: the key must be printable ASCII without spaces")
        return Secret(value)

    def clients(self) -> Mapping[str, Secret]:
        clients = {name: self.secret(f"clients.{name}", table, True) for name, table in self.table["clients"].items()}
        seen: dict[str, str] = {}
        for name, key in clients.items():
            if key is not None and key.reveal() and seen.setdefault(key.reveal(), name) != name:
                self.problems.append(f"clients.{name}: has the same key as clients.{seen[key.reveal()]}; keys tell clients apart")
        return {name: key for name, key in clients.items() if key is not None}

    def users(self, table: Mapping[str, Any]) -> Users:
        limits = self.limits("users.limits", table["limits"])
        named = {}
        for name, own in table.get("named", {}).items():
            where = f"users.named.{name}.limits"
            named[name] = self.limits(where, own["limits"])
            if not self.problems and [kind_of(limit) for limit in named[name]] != [kind_of(limit) for limit in limits]:
                wanted = f"of the same kinds and meters as users.limits, in the same order: {list(limits)}"
                self.problems.append(f"{where} must be {wanted}; got {list(named[name])}")
        return Users(limits, table["by"], table["capacity"], named)

    def upstreams(self, rule: Mapping[str, Any]) -> Tuple[Upstream, ...]:
        made = []
        for index, given in enumerate(self.table["upstream"]):
            where, table = f"upstream[{index}]", with_defaults(given, rule)
            made.append(
                Upstream(
                    table["name"],
                    table["base_url"].rstrip("/"),
                    self.secret(where, table, False),
                    self.limits(f"{where}.limits", table["limits"]),
                    tuple(table["models"]) if "models" in table else None,
                    table["weight"],
                    Charging.of(table["charging"]),
                    table["raise_limits"],
                    float(table["timeout"]),
                )
            )
        return tuple(made)

    def limits(self, where: str, tables: Any) -> Limits:
        return tuple(limit for index, table in enumerate(tables) if (limit := self.limit(f"{where}[{index}]", table)))

    def limit(self, where: str, given: Mapping[str, Any]) -> Optional[Limit]:
        table = with_defaults(given, schema()["$defs"]["limit"])
        kind = table.pop("kind")
        strange = [key for key in given if key not in ("kind", "amount") and key not in _TAKES[kind]]
        if strange:
            has = ", ".join(("kind", "amount", *_TAKES[kind]))
            self.problems.extend(f"{where}.{key} is not for limits of the kind {kind}, which have {has}" for key in strange)
            return None
        arguments = {key: value for key, value in table.items() if key in _TAKES[kind]}
        try:
            if isinstance(arguments.get("meter"), dict):
                arguments["meter"] = Weights(**arguments["meter"])
            if kind == "fixed_window":
                arguments["resets_in"] = _resets_in(where, arguments["per"], arguments.pop("time_zone", None))
            limit: Limit = getattr(Limit, kind)(table["amount"], **arguments)
            return limit
        except ValueError as error:
            self.problems.append(f"{where}: {error}")
            return None


# What each kind has besides ``kind`` and ``amount``.
_TAKES = {
    "token_bucket": ("meter", "per", "burst", "oversize"),
    "pacing": ("meter", "per"),
    "fixed_window": ("meter", "per", "time_zone", "oversize"),
    "sliding_window": ("meter", "per", "parts", "oversize"),
    "sliding_window_counter": ("meter", "per", "oversize"),
    "sliding_window_log": ("meter", "per", "stamps", "oversize"),
    "in_flight": (),
}


def _resets_in(where: str, per: float, zone: Optional[str]) -> float:
    if zone is None:
        return until_reset(per)
    if per != DAY:
        raise ValueError(f"per must be {DAY}, a day, with a time_zone, got {per}")
    return until_midnight(zone)


def _contradictions(config: Config) -> Iterator[str]:
    names = [upstream.name for upstream in config.upstreams]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"upstream: {names.count(name)} have the name {name}; names tell them apart"
    if not any(upstream.weight for upstream in config.upstreams):
        yield "upstream: all have the weight 0; one must have one from 1 to 1000000"
    served = [upstream.models for upstream in config.upstreams]
    if None not in served:
        all_served = ", ".join(sorted({model for models in served for model in models or ()}))
        for model in config.models:
            if not any(model in models for models in served if models):
                yield f"models.{model}: no upstream serves this model; there are {all_served}"
    for where, limits in _all_limits(config):
        if sum(limit._fields.kind == IN_FLIGHT for limit in limits) > 1:
            yield f"{where} must have at most one limit of the kind in_flight"


def _all_limits(config: Config) -> Iterator[Tuple[str, Limits]]:
    yield "global.limits", config.all
    if config.users:
        yield "users.limits", config.users.limits
        yield from ((f"users.named.{name}.limits", limits) for name, limits in config.users.named.items())
    yield from ((f"models.{name}.limits", limits) for name, limits in config.models.items())
    yield from ((f"upstream[{index}].limits", upstream.limits) for index, upstream in enumerate(config.upstreams))
