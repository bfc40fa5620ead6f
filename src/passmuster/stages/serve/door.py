"""The door: every request passes it. It counts, refuses what is too much or too late, and tells errors in one form."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from passmuster.core.config import ServeConfig
from passmuster.core.errors import MusterError, ResourceError
from passmuster.stages.serve.callers import Callers
from passmuster.stages.serve.meters import Meters
from passmuster.stages.serve.refusals import Full, TooLarge, TooLate, Unanswered

log = logging.getLogger("muster.serve")

JSON = "application/json"
RETRY_AFTER_S = 1
_DISCARD_S = 1.0

Handler = Callable[[Request], Awaitable[Response]]


class Door:
    """What all requests of one server share. Used in its event loop only."""

    def __init__(self, config: ServeConfig, meters: Meters, is_ready: Callable[[], bool], host: str) -> None:
        self._config, self._meters, self._is_ready = config, meters, is_ready
        self._callers = Callers(host, config.allowed_hosts)
        self.draining = False
        self.n_inside = 0  # working requests under way
        self.idle = asyncio.Event()
        self.idle.set()

    @property
    def ready(self) -> bool:
        """Whether new work is taken."""
        return not self.draining and self._is_ready()

    def working(self, route: str, handler: Handler) -> Handler:
        """A handler that does work: refused while not ready or full, and given up at the deadline."""

        async def admitted(request: Request) -> Response:
            if self.draining:
                raise ResourceError("serve.draining", "the server is shutting down", next="ask another one")
            if not self._is_ready():
                raise ResourceError("serve.not_ready", "no release is being served", next="muster approve")
            if self.n_inside >= self._config.max_waiting:
                raise Full(
                    "serve.full",
                    "too many requests are under way",
                    value=self.n_inside,
                    limit=self._config.max_waiting,
                    next="wait a second and ask again",
                )
            self.n_inside += 1
            self.idle.clear()
            try:
                async with asyncio.timeout(self._config.deadline_s):
                    return await handler(request)
            except TimeoutError as error:
                raise TooLate(
                    "serve.deadline",
                    "there was no answer in time",
                    limit=f"{self._config.deadline_s} s",
                    next="send fewer items at once, ask again later, or raise serve.deadline_s",
                ) from error
            finally:
                self.n_inside -= 1
                if not self.n_inside:
                    self.idle.set()

        return self.looking(route, admitted)

    def looking(self, route: str, handler: Handler) -> Handler:
        """A handler that only looks: timed, and its errors told."""

        async def counted(request: Request) -> Response:
            start = time.perf_counter()
            request.scope["muster.arrived"] = start
            self._meters.active.inc()
            status = 500
            try:
                response = await self._told(request, handler)
                status = response.status_code
                return response
            finally:
                self._meters.active.dec()
                self._meters.request_seconds.labels(request.method, route, str(status)).observe(
                    time.perf_counter() - start
                )

        return counted

    async def _told(self, request: Request, handler: Handler) -> Response:
        try:
            self._callers.check(request.method, request.headers)
            return await handler(request)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it; the count of requests does
        except MusterError as error:
            if error.http_status in (403, 413, 421, 429, 503, 504):
                self._meters.refused.labels(error.code).inc()
            if error.http_status == 500:
                log.error("%s %s: %s", request.method, request.url.path, error)
            return error_response(error, request.url.path)
        except Exception as error:
            log.exception("%s %s", request.method, request.url.path)
            return error_response(
                MusterError(
                    "serve.bug",
                    f"the server failed: {type(error).__name__}",
                    next="see the server's log, and please report it",
                ),
                request.url.path,
            )

    async def body(self, request: Request) -> bytes:
        """The request's body.

        Raises
        ------
        TooLarge
            ``request.too_large``, announced or not.
        """
        limit = self._config.max_body_bytes
        announced = request.headers.get("content-length", "")
        parts: list[bytes] = []
        n_bytes, more = int(announced) if announced.isdigit() and int(announced) > limit else 0, True
        while more and n_bytes <= limit:
            part, more = await _receive(request)
            parts.append(part)
            n_bytes += len(part)
        if n_bytes > limit:
            await _discard(request, more)
            raise TooLarge(
                "request.too_large",
                "the body is too large",
                value=n_bytes,
                limit=limit,
                next="send fewer items at once, or raise serve.max_body_bytes",
            )
        return b"".join(parts)


async def _receive(request: Request) -> tuple[bytes, bool]:
    """The next part of a body, and whether there are more."""
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)


async def _discard(request: Request, more: bool) -> None:
    """Read on for a moment, so that a sender who is still sending gets to see the answer."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DISCARD_S):
            while more:
                _, more = await _receive(request)


def error_response(error: MusterError, path: str) -> Response:
    """An error as JSON: Muster's fields under ``error``; on ``/v2`` its text there, as that protocol says."""
    headers = {"retry-after": str(RETRY_AFTER_S)} if error.http_status in (429, 503) else {}
    if isinstance(error, Unanswered) and error.again_in_s:
        headers["retry-after"] = str(error.again_in_s)
    if error.http_status in (413, 503):
        headers["connection"] = "close"
    content: Any = {"error": str(error), "code": error.code} if path.startswith("/v2") else {"error": error.as_dict()}
    return json_response(content, status=error.http_status, headers=headers)


def json_response(content: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """`content` as JSON."""
    return Response(msgspec.json.encode(content), status, headers, JSON)
