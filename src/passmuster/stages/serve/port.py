"""The port of a server: taken before anything else is done, so that a second server never believes it its own."""

from __future__ import annotations

import errno
import socket

from passmuster.core.errors import ResourceError, UsageError


def take_port(host: str, port: int, *, verb: str = "muster serve") -> socket.socket:
    """A socket that listens; `port` 0 takes a free one. `verb` is the command that errors name.

    Raises
    ------
    UsageError
        ``port.range``, ``port.host``.
    ResourceError
        ``port.in_use``, ``port.denied``.
    """
    if not 0 <= port <= 65_535:
        raise UsageError("port.range", "there is no such port", value=port, limit="0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    taken = socket.socket(family, socket.SOCK_STREAM)
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((host, port))
        # Bound sockets may share a port until one listens, so listen now: two servers must not both believe it theirs.
        taken.listen(2_048)
    except OSError as error:
        taken.close()
        if error.errno == errno.EADDRINUSE:
            raise ResourceError(
                "port.in_use", "the port is in use", value=port, where=host, next=f"{verb} --port 0"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM):
            raise ResourceError(
                "port.denied", "this port may not be used", value=port, where=host, next=f"{verb} --port 0"
            ) from error
        raise UsageError("port.host", f"cannot listen there: {error.strerror or error}", value=host) from error
    return taken
