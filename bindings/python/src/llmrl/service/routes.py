"""What ``/openapi.json`` says about the routes that read their requests themselves."""

from __future__ import annotations

from typing import Any, Dict

ERROR: Dict[str, Any] = {
    "description": "An error in OpenAI's shape",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["error"],
                "properties": {
                    "error": {
                        "type": "object",
                        "required": ["message", "type", "param", "code"],
                        "properties": {
                            "message": {"type": "string"},
                            "type": {"type": "string"},
                            "param": {"type": ["string", "null"]},
                            "code": {"type": ["string", "null"]},
                            "level": {"enum": ["user", "model", "global", "upstream"]},
                            "limit": {"type": "object"},
                            "retry_after": {"type": ["number", "null"]},
                        },
                    }
                },
            }
        }
    },
}

_ANSWER = {"description": "The upstream's answer, byte for byte", "content": {"application/json": {}, "text/event-stream": {}}}
_KEY: Dict[str, Any] = {"name": "Authorization", "in": "header", "required": False, "schema": {"type": "string"}}


def _completion(prompt: str, schema: Dict[str, Any], summary: str) -> Dict[str, Any]:
    properties = {
        "model": {"type": "string", "minLength": 1, "maxLength": 256},
        prompt: schema,
        "max_tokens": {"type": "integer", "minimum": 1},
        "stream": {"type": "boolean"},
        "user": {"type": "string", "minLength": 1, "maxLength": 256},
    }
    body = {"type": "object", "required": ["model", prompt], "properties": properties}
    return {
        "summary": summary,
        "openapi_extra": {"requestBody": {"required": True, "content": {"application/json": {"schema": body}}}, "parameters": [_KEY]},
        "responses": {200: _ANSWER, **{status: ERROR for status in (400, 401, 404, 413, 429, 502, 503)}},
    }


_MESSAGE = {
    "type": "object",
    "required": ["role", "content"],
    "properties": {"role": {"type": "string"}, "content": {"type": "string"}},
}
CHAT = _completion("messages", {"type": "array", "minItems": 1, "items": _MESSAGE}, "A chat completion within the limits")
COMPLETION = _completion("prompt", {"type": "string"}, "A completion within the limits")

_LIST_OF: Dict[str, Any] = {
    "type": "object",
    "required": ["object", "data"],
    "properties": {"object": {"const": "list"}, "data": {"type": "array", "items": {"type": "object"}}},
}


def _list(summary: str) -> Dict[str, Any]:
    found = {"description": "A list", "content": {"application/json": {"schema": _LIST_OF}}}
    return {"summary": summary, "openapi_extra": {"parameters": [_KEY]}, "responses": {200: found, 401: ERROR}}


LIST = _list("The models that are served")
LIMITS = _list("The limits of whoever asks, and of the model if one is named, as they stand now")
