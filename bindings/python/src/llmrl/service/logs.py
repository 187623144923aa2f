"""Lines about what happens: for people, or one JSON object in each line. What clients have sent is always written as JSON text."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

LOGGER = logging.getLogger("llmrl.service")


def event(name: str, level: int = logging.INFO, **fields: Any) -> None:
    """Log that ``name`` has happened. Never give it a key or a prompt."""
    if LOGGER.isEnabledFor(level):
        LOGGER.log(level, name, extra={"fields": fields})


class _Lines(logging.Formatter):
    """``12:00:01 INFO request user="alice" status=200``"""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {key}={json.dumps(value)}" for key, value in getattr(record, "fields", {}).items() if value is not None)
        text = f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {record.levelname} {record.getMessage()}{fields}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"time": round(record.created, 3), "level": record.levelname.lower(), "event": record.getMessage()}
        line.update({key: value for key, value in getattr(record, "fields", {}).items() if value is not None})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


class _Ours(logging.Filter):
    """uvicorn complains about answers that were broken off on purpose."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "ASGI callable returned without completing response" not in record.getMessage()


def configure(kind: str) -> None:
    """Write to standard error: ``text`` or ``json``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if kind == "json" else _Lines())
    handler.addFilter(_Ours())
    for name in ("llmrl.service", "uvicorn", "uvicorn.error", "aiohttp", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers = [handler] if name != "uvicorn.error" else []
        logger.propagate = name == "uvicorn.error"
        logger.setLevel(logging.INFO if name == "llmrl.service" else logging.WARNING)
