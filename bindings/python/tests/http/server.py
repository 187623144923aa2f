"""A provider on loopback that answers what a test tells it to, one request after the other."""

from __future__ import annotations

import gzip
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Iterator, Optional

PATIENCE = 60.0
CHAT = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [
    {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}]}  # fmt: skip
CHAT_USAGE = {"prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19}
MESSAGE = {"id": "m", "type": "message", "role": "assistant", "model": "c", "content": [{"type": "text", "text": "hello"}],
           "stop_reason": "end_turn", "stop_sequence": None}  # fmt: skip
MESSAGE_USAGE = {"input_tokens": 12, "output_tokens": 7}


@dataclass
class Answer:
    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)
    gate: Optional[threading.Event] = None
    """Events after the first wait for it."""

    def raw(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def chat(**more: Any) -> Answer:
    return Answer(body={**CHAT, "usage": CHAT_USAGE}, **more)


def message(**more: Any) -> Answer:
    return Answer(body={**MESSAGE, "usage": MESSAGE_USAGE}, **more)


def refused(status: int = 429, wait_ms: int = 1) -> Answer:
    """Too many at once. (After a rate that was exceeded, a limiter waits for a second at least.)"""
    error = {"message": "Too many concurrent requests", "type": "concurrent_requests", "code": "rate_limit_exceeded", "param": None}
    return Answer(status, {"error": error}, {"retry-after-ms": str(wait_ms)})


def over_the_rate(wait_ms: int = 1) -> Answer:
    error = {"message": "Rate limit reached on requests per min (RPM)", "type": "requests", "code": "rate_limit_exceeded", "param": None}
    return Answer(429, {"error": error}, {"retry-after-ms": str(wait_ms)})


def squeezed(answer: Answer) -> Answer:
    return Answer(answer.status, gzip.compress(answer.raw()), {**answer.headers, "content-encoding": "gzip"})


def event(data: Any, name: str = "") -> bytes:
    return (f"event: {name}\n" if name else "").encode() + b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


def chat_stream(gate: Optional[threading.Event] = None, usage: bool = True) -> Answer:
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    events = [event({**head, "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], "usage": None}) for text in "hello"]
    if usage:
        events.append(event({**head, "choices": [], "usage": CHAT_USAGE}))
    return Answer(body=[*events, event(b"[DONE]")], gate=gate)


def message_stream(gate: Optional[threading.Event] = None) -> Answer:
    start = {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None, "usage": {"input_tokens": 12, "output_tokens": 1}}}
    delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 7}}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    text = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hello"}}
    stop = {"type": "content_block_stop", "index": 0}
    return Answer(body=[event(part, part["type"]) for part in (start, block, text, stop, delta, {"type": "message_stop"})], gate=gate)


class Server:
    """What is asked for is in ``requests``; what is answered comes from ``answers``, the last of which stays."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: list[Answer] = []
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.lock = threading.Lock()

    def next(self) -> Answer:
        with self.lock:
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        provider: Server = self.server.provider
        chunked = self.headers.get("transfer-encoding", "") == "chunked"
        raw = self._chunks() if chunked else self.rfile.read(int(self.headers.get("content-length", 0)))
        provider.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}, json.loads(raw) if raw else None))
        answer = provider.next()
        try:
            self._answer(answer)
        except OSError:
            self.close_connection = True  # the client has gone

    do_GET = do_POST

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, answer: Answer) -> None:
        self.send_response(answer.status)
        events = answer.body if isinstance(answer.body, list) else None
        headers = {"content-type": "application/json" if events is None else "text/event-stream", **answer.headers}
        raw = b"" if events is not None else answer.raw()
        headers["transfer-encoding" if events is not None else "content-length"] = "chunked" if events is not None else str(len(raw))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        for number, data in enumerate(events or []):
            if number == 1 and answer.gate is not None:
                assert answer.gate.wait(PATIENCE)
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        self.wfile.write(raw if events is None else b"0\r\n\r\n")


class Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        pass  # clients that go in the middle of it


@contextmanager
def serving(*answers: Answer) -> Iterator[Server]:
    listener = Listener(("127.0.0.1", 0), Handler)
    provider = Server(f"http://127.0.0.1:{listener.server_address[1]}")
    provider.answers = list(answers)
    listener.provider = provider  # type: ignore[attr-defined]
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        listener.shutdown()
        thread.join()
        listener.socket.close()
