"""The emulator as OpenAI speaks: answers, streams and errors."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any, Dict, List, Optional

from . import emulate_model as model
from .emulate_wire import error_body

CREATED = 1_700_000_000
"""A fixed creation time: answers stay the same from run to run."""
MODELS = ("gpt-4o-mini", "gpt-4o", "text-embedding-3-small")
REQUEST_ID = "x-request-id"
INJECTED = (
    (500, "server_error", None, "The server had an error while processing your request. Sorry about that!"),
    (503, "server_error", "overloaded", "The engine is currently overloaded, please try again later."),
)
"""Failures that are not about limits: status, type, code, text."""


def error(message: str, kind: str, code: Optional[str], param: Optional[str], _request_id: str) -> Dict[str, Any]:
    return error_body(message, kind, code, param)


def models() -> Dict[str, Any]:
    data = [{"id": name, "object": "model", "created": CREATED, "owned_by": "emulator"} for name in MODELS]
    return {"object": "list", "data": data}


def opening(_job: model.Job, _request_id: str) -> bytes:
    """What a stream begins with."""
    return b""


def piece(job: model.Job, request_id: str, choice: int, text: str, first: bool) -> bytes:
    """A part of the text."""
    return _event(_chunk(job, request_id, choice, text, first, None))


def closing(job: model.Job, request_id: str) -> bytes:
    """What a stream ends with."""
    events = [_chunk(job, request_id, choice, None, False, job.finish_reason(choice)) for choice in range(len(job.outputs))]
    if job.include_usage:
        events.append(dict(_head(job, request_id, True), choices=[], usage=job.usage()))
    return b"".join(map(_event, events)) + b"data: [DONE]\n\n"


def _event(data: Dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"


def _head(job: model.Job, request_id: str, chunk: bool = False) -> Dict[str, Any]:
    prefix, name = ("chatcmpl", "chat.completion") if job.kind == "chat" else ("cmpl", "text_completion")
    if chunk and job.kind == "chat":
        name += ".chunk"
    return {"id": f"{prefix}-{request_id[4:]}", "object": name, "created": CREATED, "model": job.model}


def _chunk(
    job: model.Job, request_id: str, choice: int, text: Optional[str], first: bool, finish: Optional[str]
) -> Dict[str, Any]:
    item: Dict[str, Any] = {"index": choice, "finish_reason": finish}
    if job.kind == "chat":
        item["delta"] = {} if text is None else ({"role": "assistant", "content": text} if first else {"content": text})
    else:
        item["text"] = text or ""
    data = dict(_head(job, request_id, True), choices=[item])
    if job.include_usage:
        data["usage"] = None
    return data


def answer(job: model.Job, request_id: str) -> Dict[str, Any]:
    if job.kind == "embedding":
        return {"object": "list", "data": _vectors(job), "model": job.model, "usage": job.usage()}
    choices: List[Dict[str, Any]] = []
    for choice in range(len(job.outputs)):
        text = "".join(model.words(job, choice))
        item: Dict[str, Any] = {"index": choice, "finish_reason": job.finish_reason(choice), "logprobs": None}
        if job.kind == "chat":
            item["message"] = {"role": "assistant", "content": text}
        else:
            item["text"] = text
        choices.append(item)
    return dict(_head(job, request_id), choices=choices, usage=job.usage())


def _vectors(job: model.Job) -> List[Dict[str, Any]]:
    vectors = []
    for index in range(job.inputs):
        values: Any = model.embedding(job, index)
        if job.base64:
            values = base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
        vectors.append({"object": "embedding", "index": index, "embedding": values})
    return vectors
