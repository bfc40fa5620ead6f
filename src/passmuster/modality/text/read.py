"""Bytes to text and back, and what a text must not be: another encoding, empty, endless, or with NUL in it."""

from __future__ import annotations

import html
from typing import Any

from passmuster.core.config import DataConfig
from passmuster.core.errors import DataError
from passmuster.core.records import Payload
from passmuster.modality.base import Pending

PREVIEW_CHARS = 600


def decode(data: bytes, config: DataConfig) -> str:
    """Text of UTF-8 bytes; a byte order mark is taken off.

    Raises
    ------
    DataError
        ``item.empty``, ``item.too_large``, ``item.encoding`` (with the position), ``item.nul``, ``item.too_long``.

    >>> decode(b"caf\\xc3\\xa9", DataConfig())
    'café'
    >>> decode(b"caf\\xe9", DataConfig())
    Traceback (most recent call last):
    ...
    passmuster.core.errors.DataError: not UTF-8: byte 0xe9 at position 3 (where: byte 3). Next: save the file as UTF-8
    """
    if len(data) > config.max_item_bytes:
        raise DataError("item.too_large", "the text is too large", value=len(data), limit=config.max_item_bytes)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            "item.encoding",
            f"not UTF-8: byte 0x{data[error.start]:02x} at position {error.start}",
            where=f"byte {error.start}",
            next="save the file as UTF-8",
        ) from error
    return accept(text, config)


def accept(text: str, config: DataConfig) -> str:
    """`text` itself when it may be an item; the errors are those of `decode`."""
    if len(text) > config.max_text_chars:
        raise DataError("item.too_long", "the text is too long", value=len(text), limit=config.max_text_chars)
    if (nul := text.find("\0")) >= 0:
        raise DataError("item.nul", "the text holds a NUL character", where=f"character {nul}")
    if not text.strip():
        raise DataError("item.empty", "the text is empty")
    return text


def encode(text: Payload) -> bytes:
    """UTF-8 bytes of a text.

    >>> encode("é")
    b'\\xc3\\xa9'
    """
    return str(text).encode("utf-8")


def from_json(value: Any, config: DataConfig) -> str:
    """The text in a request's field, held to the same rules as a stored one."""
    if not isinstance(value, str):
        raise DataError("item.type", "expected a text", value=type(value).__name__, limit="string")
    try:
        n_bytes = len(value.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise DataError(
            "item.encoding", "half a surrogate pair is no text", where=f"character {error.start}"
        ) from error
    if n_bytes > config.max_item_bytes:
        raise DataError("item.too_large", "the text is too large", value=n_bytes, limit=config.max_item_bytes)
    return accept(value, config)


def open_json(value: Any, config: DataConfig) -> Pending:
    """The text in a request's field; it takes no more memory than it does already."""
    text = from_json(value, config)
    return Pending(0, lambda: text)


def preview(payload: Payload) -> str:
    """An HTML fragment of the text's beginning, escaped.

    >>> preview("<b>")
    '<span class="text">&lt;b&gt;</span>'
    """
    text = str(payload)
    shown = text if len(text) <= PREVIEW_CHARS else text[:PREVIEW_CHARS] + "…"
    return f'<span class="text">{html.escape(shown)}</span>'
