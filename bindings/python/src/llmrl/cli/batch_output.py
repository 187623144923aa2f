"""The results file: appended line by line, read back and repaired on the next start.

What is safe when. A result is handed to the operating system, as one complete line, before its request counts as
answered; so a killed process loses nothing. The file is forced to the disk once a second (``--fsync``) and at
the end; after a power failure the results of that last second may be missing, and their requests are sent again.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Optional, Set

from llmrl import read_answer

from .batch_input import id_key

FINAL_STATUSES = frozenset((400, 404, 405, 409, 413, 414, 415, 422))
"""Refusals that are about the request itself: sending it again gives the same answer. (409 is retried within a
run; an answer that is still 409 after that is kept.)"""
_START = b'{"id": "batch_req_'


class OutputError(Exception):
    """The results file cannot be used; the text says why and what to do."""


@dataclass
class Found:
    """What a results file already contained."""

    answered: Set[bytes] = field(default_factory=set)
    """`id_key` of every request that has its final result."""
    ok: int = 0
    failed: int = 0
    again: int = 0
    """Results that said "not answered" (no connection, still refused, no quota): dropped and tried again."""
    repaired: Optional[str] = None
    """What was done to a torn last line, for the user."""


def is_final(response: Optional[Dict[str, Any]]) -> bool:
    """Whether a recorded ``response`` answers its request for good (True), or the request is to be sent again."""
    if not isinstance(response, dict):
        return False
    status = response.get("status_code")
    if status == 429:
        return read_answer(status, {}, json.dumps(response.get("body"))).answer_class == "oversize"
    return isinstance(status, int) and (200 <= status < 300 or status in FINAL_STATUSES)


def make_line(custom_id: str, response: Optional[bytes], error: Optional[Dict[str, Any]]) -> bytes:
    """One line of OpenAI's Batch output format. ``response`` is JSON that is already encoded."""
    head = json.dumps({"id": f"batch_req_{secrets.token_hex(12)}", "custom_id": custom_id})[:-1].encode()
    return head + b', "response": ' + (response or b"null") + b', "error": ' + json.dumps(error).encode() + b"}\n"


class Results:
    """The open results file. One process at a time; every method raises OutputError when the disk refuses."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._torn = False
        self._dirty = False
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            raise OutputError(f"cannot open {path}: {error.strerror}") from None
        try:
            _lock(self._fd, path)
            self.found = self._recover()
        except BaseException:
            os.close(self._fd)
            raise

    def write(self, line: bytes) -> None:
        """Append one complete line and hand it to the operating system."""
        if self._torn:
            raise OutputError(
                f"an earlier write to {self.path} failed: its last line may be torn, nothing may follow it"
            )
        view = memoryview(line)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            self._torn = True
            raise OutputError(f"cannot write {self.path}: {error.strerror}") from None
        self._dirty = True

    def sync(self) -> None:
        """Force what was written to the disk; does nothing if nothing was."""
        if self._dirty:
            self._dirty = False
            try:
                os.fsync(self._fd)
            except OSError as error:
                if error.errno != 22:  # EINVAL: a pipe or a device, which has nothing to force
                    raise OutputError(f"cannot force {self.path} to the disk: {error.strerror}") from None

    def close(self) -> None:
        """Sync and close. May be called once."""
        try:
            self.sync()
        finally:
            os.close(self._fd)

    def _recover(self) -> Found:
        """Read everything, mend a torn end, drop the results that are to be tried again."""
        found = Found()
        with open(self.path, "rb") as file:
            end = 0
            for number, raw in enumerate(file, 1):
                if not raw.endswith(b"\n"):
                    self._mend(number, raw, end, found)
                elif raw.strip():
                    self._note(number, _load(raw), found)
                end += len(raw)
        if found.again:
            self._drop_unanswered()
        return found

    def _note(self, number: int, record: Optional[Dict[str, Any]], found: Found) -> None:
        if record is None:
            raise OutputError(
                f"line {number} of {self.path} is not a batch result; nothing was changed. "
                "Name another results file, or remove that line"
            )
        response = record.get("response")
        if not is_final(response):
            found.again += 1
            return
        found.answered.add(id_key(record["custom_id"]))
        if isinstance(response, dict) and 200 <= response["status_code"] < 300:
            found.ok += 1
        else:
            found.failed += 1

    def _mend(self, number: int, raw: bytes, start: int, found: Found) -> None:
        record = _load(raw)
        if record is not None:
            os.write(self._fd, b"\n")
            self._note(number, record, found)
            found.repaired = f"line {number} of {self.path} had lost its line end: added"
            return
        # Only what this program began may be cut off; anything else is somebody's data.
        if not raw.startswith(_START[: len(raw)]):
            self._note(number, None, found)
        os.ftruncate(self._fd, start)
        found.repaired = f"line {number} of {self.path} was torn ({len(raw)} bytes): removed, its request is sent again"

    def _drop_unanswered(self) -> None:
        """Rewrite the file without the lines that will get a new result, so that each request keeps one line."""
        temporary = self.path.with_name(self.path.name + ".tmp")
        try:
            with open(self.path, "rb") as old, open(temporary, "wb") as new:
                for raw in old:
                    record = _load(raw)
                    if record is not None and is_final(record.get("response")):
                        new.write(raw)
                new.flush()
                os.fsync(new.fileno())
            fd = os.open(temporary, os.O_RDWR | os.O_APPEND)
            _lock(fd, self.path)
            os.replace(temporary, self.path)
        except OSError as error:
            raise OutputError(f"cannot rewrite {self.path}: {error.strerror}") from None
        os.close(self._fd)
        self._fd = fd


def _load(raw: bytes) -> Optional[Dict[str, Any]]:
    try:
        record = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("custom_id"), str) or "response" not in record:
        return None
    return record


def _lock(fd: int, path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows: two runs on one results file are then the user's to avoid
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise OutputError(f"{path} is being written by another llmrl batch") from None
