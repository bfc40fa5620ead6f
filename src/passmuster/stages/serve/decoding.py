"""From the fields of requests to payloads, within bounds: a few kilobytes of compressed image may hold gigabytes.

Every header is read before any pixel is decompressed. A request may ask for so many pixels, and all requests under way
together for so many; what goes beyond is refused. Pixels count until their memory is free again, however long somebody
holds on to them. Decoding stops between two items once nobody waits for the answer.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from starlette.requests import ClientDisconnect

from passmuster.core.config import ServeConfig
from passmuster.core.errors import DataError
from passmuster.core.records import Payload
from passmuster.modality.base import Pending
from passmuster.stages.serve.refusals import Full, TooLarge

T = TypeVar("T")
LARGE_PIXELS = 4_194_304  # above this, images are decoded one at a time: a decoder needs a multiple of what it gives


@dataclass(frozen=True)
class Field:
    """One item of a request: where it stands there, and how to read its header."""

    where: str
    open: Callable[[], Pending]


class PixelBudget:
    """How many decompressed pixels lie in memory, all requests together."""

    def __init__(self, limit: int) -> None:
        self.limit, self.n_pixels = limit, 0
        self._lock = threading.RLock()  # an image may be freed at any moment, this thread holding the lock included

    def take(self, n: int) -> None:
        """Count `n` more; alone, a request may be larger than the limit.

        Raises
        ------
        Full
            ``serve.memory``.
        """
        with self._lock:
            if self.n_pixels and self.n_pixels + n > self.limit:
                raise Full(
                    "serve.memory",
                    "the images under way fill the memory set aside for them",
                    value=self.n_pixels + n,
                    limit=f"{self.limit} pixels",
                    next="wait a second and ask again, or raise serve.max_pixels_in_flight",
                )
            self.n_pixels += n

    def give(self, n: int) -> None:
        """Count `n` less."""
        with self._lock:
            self.n_pixels -= n


class Decoder:
    """Decodes for one server; any number of threads may call it."""

    def __init__(self, config: ServeConfig) -> None:
        self._max_request_pixels = config.max_request_pixels
        self.budget = PixelBudget(config.max_pixels_in_flight)
        self._one_large = threading.Lock()

    def open(self, fields: Sequence[Field], gone: threading.Event) -> list[Pending]:
        """Every item's header.

        Raises
        ------
        DataError
            What is wrong with an item; `where` names it.
        TooLarge
            ``request.too_many_pixels``: together they would decompress to more than one request may.
        """
        found: list[Pending] = []
        n_pixels = 0
        for field in fields:
            _stop_if(gone)
            found.append(_named(field, field.open))
            n_pixels += found[-1].n_pixels
            if n_pixels > self._max_request_pixels:
                raise TooLarge(
                    "request.too_many_pixels",
                    "the images of this request would decompress to too many pixels",
                    value=f"{n_pixels} in {len(found)} of {len(fields)} items",
                    limit=self._max_request_pixels,
                    where=field.where,
                    next="send fewer or smaller images at once, or raise serve.max_request_pixels",
                )
        return found

    def load(self, fields: Sequence[Field], opened: Sequence[Pending], gone: threading.Event) -> list[Payload]:
        """The payloads of what `open` found, in order.

        Raises
        ------
        DataError
            As `open`.
        Full
            ``serve.memory``: too much is under way already.
        """
        n_left = sum(pending.n_pixels for pending in opened)
        if not n_left:
            return [_named(field, pending.load) for field, pending in zip(fields, opened, strict=True)]
        self.budget.take(n_left)
        payloads: list[Payload] = []
        try:
            for field, pending in zip(fields, opened, strict=True):
                _stop_if(gone)
                payloads.append(self._load_one(field, pending))
                n_left -= pending.n_pixels
                self._give_back_with(payloads[-1], pending.n_pixels)
            return payloads
        finally:
            self.budget.give(n_left)

    def _load_one(self, field: Field, pending: Pending) -> Payload:
        if pending.n_pixels <= LARGE_PIXELS:
            return _named(field, pending.load)
        with self._one_large:
            return _named(field, pending.load)

    def _give_back_with(self, payload: Payload, n_pixels: int) -> None:
        """Count these pixels until the payload's memory is free."""
        assert isinstance(payload, np.ndarray), "only images have pixels"
        weakref.finalize(payload, self.budget.give, n_pixels).atexit = False


def _stop_if(gone: threading.Event) -> None:
    if gone.is_set():
        raise ClientDisconnect


def _named(field: Field, work: Callable[[], T]) -> T:
    """`work()`, whose errors say which item they speak of."""
    try:
        return work()
    except DataError as error:
        error.where = field.where if error.where is None else f"{field.where}, {error.where}"
        error.next = error.next or "mend this item, or leave it out"
        raise
