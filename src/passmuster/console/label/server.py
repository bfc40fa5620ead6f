"""The process behind the label page: takes a loopback port, prints a secret address, ends on Ctrl-C by pinning."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import uvicorn

from passmuster.console.label.app import build_app
from passmuster.core.progress import Progress, Silent
from passmuster.core.records import Role
from passmuster.flows.answers import pin_answers
from passmuster.flows.label_session import LabelSession
from passmuster.stages.govern.answer import Pinned
from passmuster.stages.serve.port import take_port
from passmuster.store.store import Store

HOST = "127.0.0.1"  # never anything else: items are shown to whoever holds the address
TOKEN_BYTES = 24
STOP_WITHIN_S = 3


@dataclass(frozen=True)
class LabelServing:
    """What is told once the page can be opened."""

    url: str
    port: int


def serve(
    store: Store,
    *,
    n: int = 40,
    role: Role | None = None,
    who: str = "",
    again: bool = False,
    port: int = 0,
    progress: Progress | None = None,
    on_ready: Callable[[LabelServing], None] = lambda serving: None,
) -> tuple[LabelSession, Pinned | None]:
    """Serve the label page until SIGINT or SIGTERM; then what was answered becomes a data-set version.

    Several servers may run on one project: each asks for items of its own choosing, and every answer is kept.

    Parameters
    ----------
    n, role, who, again : as in `LabelSession`
    port : 0 takes a free one

    Raises
    ------
    ResourceError
        ``port.in_use``, ``port.denied``.
    """
    taken = take_port(HOST, port, verb="muster label --serve")
    try:
        pin_answers(store, progress or Silent())  # of a session that was killed
        session = LabelSession(store, n=n, role=role, who=who, again=again, progress=progress)
        token, number = secrets.token_urlsafe(TOKEN_BYTES), taken.getsockname()[1]
        app = build_app(session, token, number)
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", server_header=False,
            timeout_graceful_shutdown=STOP_WITHIN_S,
        )  # fmt: skip
        server = _Server(config, lambda: on_ready(LabelServing(f"http://{HOST}:{number}/{token}/", number)))
        asyncio.run(server.serve(sockets=[taken]))
    finally:
        taken.close()
    return session, session.close()


class _Server(uvicorn.Server):
    """uvicorn that tells when it takes requests, and returns on a signal instead of passing it on."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
