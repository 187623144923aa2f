"""The configuration's JSON schema, and a checker of it whose complaints name key, value and what is accepted.

It knows what ``schema.json`` uses of JSON Schema, and no more.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Iterator, Mapping

from .._args import shown

Schema = Mapping[str, Any]


@lru_cache(maxsize=None)
def schema() -> Schema:
    """The schema as it is shipped."""
    loaded: Schema = json.loads(text())
    return loaded


def text() -> str:
    """The schema as ``llmrl serve --schema`` prints it."""
    return Path(__file__).with_name("schema.json").read_text(encoding="utf-8")


_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}
_NAMES = {"object": "a table", "array": "an array", "string": "text", "boolean": "true or false"}


def resolve(rule: Schema) -> Schema:
    """The rule with what it refers to."""
    if "$ref" not in rule:
        return rule
    found: Any = schema()
    for part in rule["$ref"].split("/")[1:]:
        found = found[part]
    return {**found, **{name: value for name, value in rule.items() if name != "$ref"}}


def _bound(number: Any) -> str:
    return f"{number:.15g}"


def accepts(rule: Schema) -> str:
    """What the rule accepts, in words."""
    rule = resolve(rule)
    if "anyOf" in rule:
        return " or ".join(accepts(other) for other in rule["anyOf"])
    if "x-accepts" in rule:
        return str(rule["x-accepts"])
    if "enum" in rule:
        return "one of " + ", ".join(f'"{value}"' for value in rule["enum"])
    kind = rule["type"]
    if kind in ("integer", "number"):
        return f"a {'whole ' if kind == 'integer' else ''}number from {_bound(rule['minimum'])} to {_bound(rule['maximum'])}"
    if kind == "string":
        return f"text of {rule['minLength']} to {rule['maxLength']} characters"
    if kind == "array":
        return f"an array of {rule['minItems']} to {rule['maxItems']}"
    if kind == "object" and "properties" in rule:
        return f"a table of {', '.join(rule['properties'])}"
    return _NAMES[kind]


def _fits(value: Any, kind: str) -> bool:
    # A bool is an int to Python, not to TOML.
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _outside(value: Any, rule: Schema) -> bool:
    if "enum" in rule:
        return value not in rule["enum"]
    kind = rule["type"]
    if kind in ("integer", "number"):
        return not rule["minimum"] <= value <= rule["maximum"]
    if kind == "string":
        if not rule.get("minLength", 0) <= len(value) <= rule.get("maxLength", len(value)):
            return True
        return "pattern" in rule and not re.fullmatch(rule["pattern"][1:-1], value)
    if kind == "array":
        return not rule["minItems"] <= len(value) <= rule["maxItems"]
    return kind == "object" and bool(len(value) < rule.get("minProperties", 0))


def complaints(value: Any, rule: Schema, where: str = "") -> Iterator[str]:
    """Everything that is wrong with a value, one sentence each."""
    rule = resolve(rule)
    for other in rule.get("anyOf", ()):
        if _fits(value, resolve(other)["type"]):
            rule = resolve(other)
            break
    if "anyOf" in rule or not _fits(value, rule["type"]) or _outside(value, rule):
        yield f"{where or 'the file'} must be {accepts(rule)}, got {shown(value)}"
    elif rule["type"] == "array":
        for index, item in enumerate(value):
            yield from complaints(item, rule["items"], f"{where}[{index}]")
    elif rule["type"] == "object":
        yield from _of_table(value, rule, where)


def _of_table(table: Mapping[str, Any], rule: Schema, where: str) -> Iterator[str]:
    known: Mapping[str, Schema] = rule.get("properties", {})
    others: Any = rule["additionalProperties"]
    for key, value in table.items():
        path = f"{where}.{key}" if where else key
        if key in known:
            yield from complaints(value, known[key], path)
        elif others is False:
            yield f"{path}: there is no such key; {where or 'the file'} has {', '.join(known)}"
        else:
            yield from complaints(key, rule["propertyNames"], f"the name in {path}")
            yield from complaints(value, others, path)
    for key in rule.get("required", ()):
        if key not in table:
            yield f"{where}.{key}".lstrip(".") + f" is missing; it must be {accepts(known[key])}"


def with_defaults(table: Mapping[str, Any], rule: Schema) -> dict[str, Any]:
    """The values of a table that was checked, and the defaults of its scalars that are not there."""
    known = resolve(rule).get("properties", {})
    defaults = {key: resolve(value)["default"] for key, value in known.items() if "default" in resolve(value)}
    return {**defaults, **table}
