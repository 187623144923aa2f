"""The emulator as Anthropic's Messages API speaks: answers, streams and errors."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Optional

from . import emulate_model as model

MODELS = ("claude-sonnet-4-5", "claude-haiku-4-5")
REQUEST_ID = "request-id"
INJECTED = (
    (500, "api_error", None, "Internal server error"),
    (529, "overloaded_error", None, "Overloaded"),
)
_STOP = {"length": "max_tokens", "stop": "end_turn"}


def error(message: str, kind: str, _code: Optional[str], _param: Optional[str], request_id: str) -> Dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}


def models() -> Dict[str, Any]:
    data = [
        {"type": "model", "id": name, "display_name": name, "created_at": "2025-10-01T00:00:00Z"} for name in MODELS
    ]
    return {"data": data, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]}


def answer(job: model.Job, request_id: str) -> Dict[str, Any]:
    content = [{"type": "text", "text": "".join(model.words(job, 0))}]
    return _message(job, request_id, content, _STOP[job.finish_reason(0)], job.usage())


def opening(job: model.Job, request_id: str) -> bytes:
    """What a stream begins with: the input is known by then."""
    message = _message(job, request_id, [], None, dict(job.usage(), output_tokens=1))
    return (
        _event("message_start", message=message)
        + _event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        + _event("ping")
    )


def piece(_job: model.Job, _request_id: str, _choice: int, text: str, _first: bool) -> bytes:
    """A part of the text."""
    return _event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


def closing(job: model.Job, _request_id: str) -> bytes:
    """What a stream ends with, the output among it."""
    delta = {"stop_reason": _STOP[job.finish_reason(0)], "stop_sequence": None}
    return (
        _event("content_block_stop", index=0)
        + _event("message_delta", delta=delta, usage={"output_tokens": job.completion_tokens})
        + _event("message_stop")
    )


def _message(
    job: model.Job, request_id: str, content: List[Any], stop: Optional[str], usage: Dict[str, Any]
) -> Dict[str, Any]:
    head = {"id": f"msg_{request_id[4:]}", "type": "message", "role": "assistant", "model": job.model}
    return dict(head, content=content, stop_reason=stop, stop_sequence=None, usage=usage)


def _event(name: str, **data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(dict({'type': name}, **data), separators=(',', ':'))}\n\n".encode()
