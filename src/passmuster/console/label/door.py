"""The door of the label page: who may come in, how much they may bring, and what the browser may do with the page.

The server listens on loopback, but any page open in the same browser can send requests there. So every address begins
with a random token that only the printed line holds; the Host header must name this machine (a page that points its own
name at 127.0.0.1 is refused: DNS rebinding); and the page may load nothing but its own two files.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from passmuster.core.digests import same_digest
from passmuster.core.errors import DataError, MusterError, UsageError

MAX_BODY_BYTES = 256 * 1024  # keys of a whole grid are a few thousand bytes
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}

Handler = Callable[[dict[str, Any]], Awaitable[Any]]


class ForbiddenError(UsageError):
    """The address lacks its token, or the request came by another name or from another page."""

    http_status = 403


class TooLargeError(DataError):
    """A body larger than any answer."""

    http_status = 413


class Door:
    """Wraps the application: checks host, origin and token, and takes the token off the path."""

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app, self._token = app, token
        self._hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope)
        given, slash, rest = scope["path"].removeprefix("/").partition("/")
        origin = request.headers.get("origin")
        refused = ""
        if request.headers.get("host", "").lower() not in self._hosts:
            refused = "this server answers to this machine's own name only"
        elif origin is not None and origin.lower().removeprefix("http://") not in self._hosts:
            refused = "another page may not ask here"
        elif not same_digest(given.encode("utf-8", "replace").hex(), self._token.encode().hex()):
            refused = "this address lacks its token, or the server was started anew since"
        if refused:
            error = ForbiddenError(
                "label.forbidden", refused, next="open the address that muster label --serve printed"
            )
            await told(error)(scope, receive, send)
        elif not slash:
            await RedirectResponse(f"/{self._token}/", headers=HEADERS)(scope, receive, send)
        else:
            inner = {**scope, "path": f"/{rest}", "raw_path": f"/{rest}".encode(), "root_path": ""}
            await self._app(inner, receive, send)


def answering(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that takes and gives JSON objects, and tells errors in one form."""

    async def endpoint(request: Request) -> Response:
        try:
            return answered(await handler(await body_of(request)))
        except MusterError as error:
            return told(error)

    return endpoint


async def body_of(request: Request) -> dict[str, Any]:
    """The body as a JSON object.

    Raises
    ------
    TooLargeError
        ``request.too_large``.
    UsageError
        ``request.json`` for anything else than one JSON object sent as such.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise UsageError(
            "request.json", "expected application/json", value=request.headers.get("content-type", "")[:80]
        )
    parts, n_bytes = [], 0
    async for part in request.stream():
        n_bytes += len(part)
        if n_bytes > MAX_BODY_BYTES:
            raise TooLargeError("request.too_large", "the body is too large", limit=MAX_BODY_BYTES)
        parts.append(part)
    try:
        body = json.loads(b"".join(parts))
    except ValueError as error:
        raise UsageError("request.json", f"this is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise UsageError("request.json", "expected a JSON object", value=type(body).__name__)
    return body


def field(body: Mapping[str, Any], name: str, kind: type, default: Any = None) -> Any:
    """A field of a body, of the right kind.

    Raises
    ------
    UsageError
        ``request.field``.
    """
    value = body.get(name, default)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UsageError("request.field", f"expected {kind.__name__}", value=repr(value)[:80], where=name)
    return value


def keys_of(body: Mapping[str, Any], name: str = "keys") -> list[str]:
    """A list of item keys."""
    keys: list[str] = field(body, name, list)
    if not all(isinstance(key, str) for key in keys):
        raise UsageError("request.field", "expected a list of item keys", where=name)
    return keys


def answered(content: Any) -> Response:
    """`content` as JSON."""
    return Response(json.dumps(content, ensure_ascii=False), headers=HEADERS, media_type="application/json")


def told(error: MusterError) -> Response:
    """An error as JSON, with its status."""
    content = json.dumps({"error": error.as_dict()}, ensure_ascii=False)
    return Response(content, error.http_status, headers=HEADERS, media_type="application/json")
