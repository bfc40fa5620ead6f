"""Errors that have an HTTP status of their own."""

from __future__ import annotations

from collections.abc import Sequence

from passmuster.core.errors import DataError, MusterError, NetworkError, ResourceError


class TooLarge(DataError):
    """A body above ``serve.max_body_bytes``."""

    http_status = 413


class Full(ResourceError):
    """More than the server will hold at once."""

    http_status = 429


class TooLate(ResourceError):
    """The deadline passed before there was an answer."""

    http_status = 504


class Unanswered(MusterError):
    """A release gave no answer to an item: what a caller hears of it. Where its model lies and what that said is not
    for callers; the server's log, the traffic and the incident have it.

    `error` is what happened to the first of the items, which stand at `places` among `n` of the request;
    `again_in_s` seconds are left until it is asked again, 0 where nothing is waited for.
    """

    def __init__(self, error: Exception, places: Sequence[int], n: int) -> None:
        away = isinstance(error, NetworkError)
        self.http_status, self.exit_code = (502, NetworkError.exit_code) if away else (500, MusterError.exit_code)
        self.again_in_s = int(getattr(error, "again_in_s", 0))
        whole = f" to {len(places):,} of {n:,} items, so that the request has none" if n > 1 else ""
        again = f"ask again in {self.again_in_s} s" if self.again_in_s else "ask again" if away else ""
        super().__init__(
            error.code if isinstance(error, MusterError) else "serve.bug",
            f"{'the model behind this server' if away else 'the release'} gave no answer{whole}",
            where=f"items[{places[0]}]" if n > 1 else "item",
            next=f"{again or 'leave the item out'}; the server's log says why",
        )
