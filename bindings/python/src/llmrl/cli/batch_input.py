"""Reading a batch file: one JSON object per line, streamed, every fault tied to its line number."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Union

MAX_LINE = 64 * 1024 * 1024
"""Longest accepted line in bytes; a longer one is reported and skipped without being held in memory."""


@dataclass
class Request:
    """A checked input line. ``body`` is what will be sent."""

    line: int
    custom_id: str
    url: str
    body: Dict[str, Any]


@dataclass
class BadLine:
    """A line that cannot be sent, and why. ``custom_id`` is there if that much could be read."""

    line: int
    reason: str
    custom_id: Optional[str] = None


def id_key(custom_id: str) -> bytes:
    """A 16-byte stand-in for a custom_id: what is remembered per line stays small however long the ids are."""
    return blake2b(custom_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def count_lines(path: Path) -> int:
    """Number of lines that are not blank, without parsing them."""
    total = 0
    open_line = False
    with open(path, "rb") as file:
        while True:
            block = file.read(1 << 20)
            if not block:
                return total + open_line
            *lines, rest = block.split(b"\n")
            for line in lines:
                total += open_line or bool(line.strip())
                open_line = False
            open_line = open_line or bool(rest.strip())


def read_batch(path: Path) -> Iterator[Union[Request, BadLine]]:
    """Yield every line that is not blank, in order. Raises OSError only if the file cannot be read."""
    with open(path, "rb") as file:
        number = 0
        while True:
            raw = file.readline(MAX_LINE + 1)
            if not raw:
                return
            number += 1
            if len(raw) > MAX_LINE:
                while raw and not raw.endswith(b"\n"):
                    raw = file.readline(1 << 20)
                yield BadLine(number, f"longer than {MAX_LINE >> 20} MiB")
            elif number == 1 and raw.startswith(b"\xef\xbb\xbf"):
                yield from _read(1, raw[3:])
            else:
                yield from _read(number, raw)


def _read(number: int, raw: bytes) -> Iterator[Union[Request, BadLine]]:
    if raw.strip():
        yield parse_line(number, raw)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def parse_line(number: int, raw: bytes) -> Union[Request, BadLine]:
    """Check one line against the OpenAI Batch input format."""
    try:
        data = json.loads(raw.decode("utf-8").rstrip(), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        return BadLine(number, f"not UTF-8 at byte {error.start + 1} of the line")
    except json.JSONDecodeError as error:
        return BadLine(number, f"not JSON: {error.msg} at column {error.colno}")
    except RecursionError:
        return BadLine(number, "not usable JSON: nested too deeply")
    except ValueError as error:
        return BadLine(number, f"not usable JSON: {error}")
    if not isinstance(data, dict):
        return BadLine(number, f"an object is needed, not {_name(data)}")
    custom_id = data.get("custom_id")
    if not isinstance(custom_id, str) or not custom_id:
        return BadLine(number, f"custom_id must be a non-empty string, not {_name(custom_id)}")
    reason = _fault(data)
    if reason is not None:
        return BadLine(number, reason, custom_id)
    return Request(number, custom_id, data["url"], data["body"])


def _fault(data: Dict[str, Any]) -> Optional[str]:
    method, url, body = data.get("method", "POST"), data.get("url"), data.get("body")
    if method != "POST":
        return f'method must be "POST", not {_name(method)}'
    if not isinstance(url, str):
        return f'url must be a path such as "/v1/chat/completions", not {_name(url)}'
    # The key is sent to whatever this path is joined with, so it must not lead to another host.
    if (
        not url.startswith("/")
        or url.startswith("//")
        or any(ord(c) <= 32 or c in "\\@?#" or ord(c) > 126 for c in url)
    ):
        return 'url must be a plain path such as "/v1/chat/completions"'
    if ".." in url.split("/"):
        return 'url must not contain ".."'
    if not isinstance(body, dict):
        return f"body must be an object, not {_name(body)}"
    if body.get("stream"):
        return "body.stream must be false: a result is written when it is complete"
    return None


def _name(value: Any) -> str:
    if value is None:
        return "missing or null"
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else value[:37] + "...")
    return {bool: "a boolean", int: "a number", float: "a number", list: "an array", dict: "an object"}[type(value)]
