"""Errors that have an HTTP status of their own."""

from __future__ import annotations

from passmuster.core.errors import DataError, ResourceError


class TooLarge(DataError):
    """A body above ``serve.max_body_bytes``."""

    http_status = 413


class Full(ResourceError):
    """More than the server will hold at once."""

    http_status = 429


class TooLate(ResourceError):
    """The deadline passed before there was an answer."""

    http_status = 504
