"""A process that serves until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from ipaddress import ip_address
from math import ceil
from pathlib import Path

import uvicorn

from .app import create_app
from .config import Config
from .logs import configure, event
from .service import Service

BACKLOG = 2048
KEEP_ALIVE = 75
"""Seconds for which an idle connection stays open: longer than the minute for which proxies keep theirs, so that they close first."""


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def serve(config: Config, path: Path) -> int:
    """Serve until SIGTERM or SIGINT; read the file again at SIGHUP. Returns the exit status."""
    server = config.server
    configure(server.log)
    try:
        sock = listening(server.host, server.port)
    except OSError as error:
        print(f"llmrl serve: cannot listen on {server.host} port {server.port}: {error.strerror or error}", file=sys.stderr)
        return 2
    service = Service(config, path)
    host, port = sock.getsockname()[:2]

    def started() -> None:
        if hasattr(signal, "SIGHUP"):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, service.reload)
        print(f"listening on http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
        event("started", pid=os.getpid(), host=host, port=port, upstreams=len(config.upstreams))

    if not ip_address(host).is_loopback:
        for table, given in (("clients", config.clients), ("admin", config.admin)):
            if given is None:
                event("open to everybody who reaches the port", logging.WARNING, without=f"[{table}]")
    settings = uvicorn.Config(
        create_app(service, started),
        http="h11",  # the one whose headers are bounded
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=ceil(server.shutdown),
        h11_max_incomplete_event_size=server.max_header,
    )
    # uvicorn raises the signal that has stopped it once more, for whoever had it before.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    uvicorn.Server(settings).run(sockets=[sock])
    event("stopped")
    return 0
