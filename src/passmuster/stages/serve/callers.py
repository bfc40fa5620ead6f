"""Who may ask: not a web page of somebody else's, which a browser on this machine would carry to a loopback port.

Two ways in are closed. A page may name a domain of its own and let it point here (DNS rebinding): then the Host header
has that name. And any page may post a form across origins: then the browser says so in Origin. Programs send neither.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from passmuster.core.errors import UsageError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
ANY = "*"  # in serve.allowed_hosts


class Misdirected(UsageError):
    """A request to a name that is not this server's."""

    http_status = 421


class CrossSite(UsageError):
    """A request that a browser made for a page of another site."""

    http_status = 403


class Callers:
    """Whom one server answers.

    Parameters
    ----------
    bound : the host that the server listens on
    allowed : ``serve.allowed_hosts``: more names it is known by, as a proxy passes them on, whose pages may ask too;
        ``*`` allows any

    Examples
    --------
    >>> Callers("127.0.0.1", ()).check("POST", {"host": "evil.example"})
    Traceback (most recent call last):
    ...
    passmuster.stages.serve.callers.Misdirected: this server is not known by that name (value: evil.example, \
limit: localhost, 127.0.0.1, ::1). Next: set serve.allowed_hosts = ["evil.example"] if it should be
    """

    def __init__(self, bound: str, allowed: Sequence[str]) -> None:
        self._allowed = tuple(name.lower() for name in allowed)
        self._names = tuple(dict.fromkeys((*LOOPBACK, bound.lower(), *self._allowed)))

    def check(self, method: str, headers: Mapping[str, str]) -> None:
        """Refuse a request by its headers (lower-case names).

        Raises
        ------
        Misdirected
            ``request.host`` (HTTP 421).
        CrossSite
            ``request.origin`` (HTTP 403).
        """
        host = headers.get("host", "")
        if ANY in self._allowed:
            return
        name = _name(f"//{host}")
        # An address is not a name that somebody else could point here; programs older than HTTP/1.1 send nothing.
        if host and name not in self._names and not _is_address(name):
            raise Misdirected(
                "request.host",
                "this server is not known by that name",
                value=name[:80],
                limit=", ".join(self._names),
                next=f'set serve.allowed_hosts = ["{name[:80]}"] if it should be',
            )
        origin = headers.get("origin", "")
        if method == "POST" and origin and not self._is_own(origin, host):
            raise CrossSite(
                "request.origin",
                "a page of another site may not ask here",
                value=origin[:80],
                limit=host or None,
                next="ask from a program, or name the page's host in serve.allowed_hosts",
            )

    def _is_own(self, origin: str, host: str) -> bool:
        return urlsplit(origin).netloc.lower() == host.lower() or _name(origin) in self._allowed


def _name(address: str) -> str:
    """The host's name in an address, without port; "" where there is none."""
    try:
        return (urlsplit(address).hostname or "").lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
