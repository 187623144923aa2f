"""What an answer says was used, read while its bytes pass by."""

from __future__ import annotations

import re
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ._request import decode

MAX_TOKENS = (1 << 40) - 1
MAX_CACHED = (1 << 36) - 1
MAX_OBJECT = 16 * 1024
"""Bytes of a usage object that are kept; a larger one is none."""
MAX_NAME = 32

_NOT_IN_TEXT = re.compile(rb'["{}\[\]]')
_IN_TEXT = re.compile(rb'["\\]')
_LINE_END = re.compile(rb"[\r\n]")
_INPUT = ("prompt_tokens", "input_tokens", "promptTokenCount")
_OUTPUT = ("completion_tokens", "output_tokens", "candidatesTokenCount")
_DETAILS = ("prompt_tokens_details", "input_tokens_details")
_REST = ("cachedContentTokenCount", "thoughtsTokenCount", "cache_read_input_tokens", "cache_creation_input_tokens")
_FIELDS = (*_INPUT, *_OUTPUT, *_DETAILS, *_REST)
_NAMES = (b"usage", b"usageMetadata")
_AROUND = (b"message", b"response")


class Usage(NamedTuple):
    """Tokens, as every provider might have told them."""

    input: int
    """The prompt, all of it, whatever of it came from a cache."""
    output: int
    cached: int = 0
    """What of the input was read from a cache."""
    cache_write: int = 0
    """What of it was written to one."""


def usage_of(body: Any) -> Optional[Usage]:
    """What a decoded answer says was used: ``usage`` of OpenAI and Anthropic, ``usageMetadata`` of Gemini. None if it has no usable
    one; nothing raises."""
    if not isinstance(body, dict):
        return None
    usage = body.get("usage", body.get("usageMetadata"))
    return _usage(usage) if isinstance(usage, dict) else None


def _number(value: Any) -> Optional[int]:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TOKENS else None


def _usage(usage: Dict[str, Any]) -> Optional[Usage]:
    def number(*names: str, otherwise: Optional[int] = None) -> Optional[int]:
        return _number(next((usage[name] for name in names if usage.get(name) is not None), otherwise))

    input, output = number(*_INPUT), number(*_OUTPUT, otherwise=0)
    if input is None or output is None:
        return None
    details: Dict[str, Any] = next((usage[name] for name in _DETAILS if isinstance(usage.get(name), dict)), {})
    cached, thoughts, read, written = (number(name) or 0 for name in _REST)
    cached = max(cached, _number(details.get("cached_tokens")) or 0)
    output += thoughts
    # Anthropic's three are apart from each other.
    input = min(MAX_TOKENS, input + read + written)
    cached = min(cached + read, input, MAX_CACHED)
    return Usage(input, min(output, MAX_TOKENS - input), cached, min(written, input - cached, MAX_CACHED))


class _Scanner:
    """Finds the usage in JSON that comes in pieces of any size: in the outermost object, in its ``message`` or ``response``, and in
    each object of an outermost list. Keeps nothing of the rest."""

    __slots__ = ("found", "final", "_open", "_depth", "_in_text", "_escaped", "_name", "_kept", "_kept_depth")

    def __init__(self) -> None:
        self.found: Dict[str, Any] = {}
        # Not what stands in a message that only begins.
        self.final = False
        self.reset()

    def reset(self) -> None:
        """A new document begins."""
        self._open: List[Tuple[bytes, bytes]] = []  # brackets and names of the outermost three that are open
        self._depth = 0
        self._in_text = self._escaped = False
        self._name = bytearray()  # the string that was read last
        self._kept: Optional[bytearray] = None
        self._kept_depth = 0

    def feed(self, data: bytes) -> None:
        at = kept_from = 0
        while at < len(data):
            if self._escaped:
                self._escaped = False
                at += 1
                continue
            mark = (_IN_TEXT if self._in_text else _NOT_IN_TEXT).search(data, at)
            end = mark.start() if mark else len(data)
            if self._in_text and len(self._name) < MAX_NAME:
                self._name += data[at : min(end, at + MAX_NAME)]
            if mark is None:
                break
            at = end + 1
            what = mark[0]
            if what == b"\\":
                self._escaped = True
                self._name += b"\\"
            elif what == b'"':
                self._in_text = not self._in_text
                if self._in_text:
                    self._name.clear()
            elif what in b"{[":
                if self._opens(what):
                    kept_from = end
            elif self._closes():
                self._keep(data[kept_from:at])
                self._read()
        self._keep(data[kept_from:])

    def _opens(self, what: bytes) -> bool:
        """A bracket opens. Whether it is that of a usage."""
        wanted = self._kept is None and what == b"{" and self._wanted(bytes(self._name))
        if self._depth < 3:
            self._open.append((what, bytes(self._name)))
        self._depth += 1
        if wanted:
            self._kept, self._kept_depth = bytearray(), self._depth
        return wanted

    def _wanted(self, name: bytes) -> bool:
        if name not in _NAMES or self._depth > 2:
            return False
        around = self._open
        if self._depth == 1:
            return around[0][0] == b"{"
        return self._depth == 2 and around[1][0] == b"{" and (around[0][0] == b"[" or around[1][1] in _AROUND)

    def _closes(self) -> bool:
        """A bracket closes. Whether it is that of a usage."""
        ends = self._kept is not None and self._depth == self._kept_depth
        self._depth = max(0, self._depth - 1)
        del self._open[self._depth :]
        # What follows is no value of the name before.
        self._name.clear()
        return ends

    def _keep(self, data: bytes) -> None:
        if self._kept is not None and len(self._kept) <= MAX_OBJECT:
            self._kept += data[: MAX_OBJECT + 1]

    def _read(self) -> None:
        kept, self._kept = self._kept, None
        usage = decode(bytes(kept)) if kept is not None and len(kept) <= MAX_OBJECT else None
        if isinstance(usage, dict):
            # A stream tells it in parts, and counts that grow more than once.
            self.found.update((name, usage[name]) for name in _FIELDS if usage.get(name) is not None)
            self.final = self.final or self._depth == 1 or self._open[1][1] != b"message"


class UsageReader:
    """Reads the usage out of an answer's body while it passes by: JSON, or server-sent events. However it is cut into pieces, the
    result is the same. Keeps at most 16 KiB, and nothing that comes raises.

    >>> reader = UsageReader("text/event-stream")
    >>> reader.feed(b'data: {"choices": []}\\n\\ndata: {"usage": {"prompt_tok')
    >>> reader.feed(b'ens": 9, "completion_tokens": 3}}\\n\\ndata: [DONE]\\n\\n')
    >>> reader.usage
    Usage(input=9, output=3, cached=0, cache_write=0)
    """

    __slots__ = ("_scanner", "_events", "_head")

    def __init__(self, content_type: str = "application/json") -> None:
        self._scanner = _Scanner()
        self._events = content_type.strip().lower().startswith("text/event-stream")
        # What of a line has come; longer than b"data:" when it is not to be read.
        self._head = b""

    def feed(self, data: bytes) -> None:
        """More of the body has come."""
        if not self._events:
            self._scanner.feed(data)
            return
        *lines, rest = _LINE_END.split(data)
        for line in lines:
            # Most lines are whole and say nothing of usage.
            if self._head or b'"usage' in line:
                self._part(line)
                self._scanner.reset()
                self._head = b""
        if rest:
            self._part(rest)

    def _part(self, data: bytes) -> None:
        missing = 5 - len(self._head)
        if missing > 0:
            self._head += data[:missing]
            data = data[missing:]
            if not b"data:".startswith(self._head):
                self._head = b"another"
        if self._head == b"data:" and data:
            self._scanner.feed(data)

    @property
    def usage(self) -> Optional[Usage]:
        """What was told until now; None if nothing was."""
        return _usage(self._scanner.found)

    @property
    def final(self) -> bool:
        """Whether that is more than the start of Anthropic's streams, which tells the input alone."""
        return self._scanner.final
