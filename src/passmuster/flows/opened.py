"""Releases that are open in this process, to answer from Python: checked once, and kept until their channel moves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from passmuster.core.config import DataConfig
from passmuster.core.errors import DataError, UsageError
from passmuster.core.records import Channel, Payload, Prediction
from passmuster.modality.base import Modality
from passmuster.modality.given import is_frame, one_thing
from passmuster.runtime.predictor import Predictor
from passmuster.runtime.release import open_release
from passmuster.store.approvals import points_at_nothing
from passmuster.store.releases import read_channels, read_release
from passmuster.store.store import Store


class Opened:
    """The releases of a store's channels, each opened at its first use and again when its channel points elsewhere.

    Use from one thread at a time, as `Predictor`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._open: dict[str, tuple[str, Predictor]] = {}  # channel -> release, predictor

    def predictor(self, channel: str) -> tuple[Predictor, Channel]:
        """What answers on a channel, its bytes and signature checked, and the channel as it stands.

        Raises
        ------
        NotFoundError
            ``channel.none``.
        IntegrityError
            As `passmuster.runtime.release.open_release`.
        """
        with self._store.read() as db:
            channels = read_channels(db)
            if channel not in channels:
                raise points_at_nothing(db, channel)
            pointed = channels[channel]
            named = read_release(db, pointed.release)
        release, predictor = self._open.get(channel, ("", None))
        if predictor is None or release != pointed.release:
            bundle = open_release(self._store, named)
            predictor = Predictor(bundle, threads=self._store.config.serve.threads)
            self._open[channel] = pointed.release, predictor
        return predictor, pointed

    def predict(self, given: Iterable[Any], channel: str) -> list[Prediction]:
        """Answers to items as `payloads_of` reads them, as the channel's mode has it."""
        predictor, pointed = self.predictor(channel)
        payloads = payloads_of(given, predictor.modality, self._store.config.data)
        return predictor.predict(payloads, degraded=pointed.mode != "normal")


def payloads_of(given: Iterable[Any], modality: Modality, config: DataConfig) -> list[Payload]:
    """Items at hand as payloads, held to the rules that a request to the server is held to.

    Raises
    ------
    UsageError
        ``predict.items`` for one item or a data frame where a list of items was meant.
    DataError
        ``item.*``, naming ``items[i]``.

    >>> from passmuster.modality.find import modalities
    >>> payloads_of(["fine", " "], modalities["text"], DataConfig())
    Traceback (most recent call last):
    ...
    passmuster.core.errors.DataError: the text is empty (where: items[1])
    """
    if isinstance(given, Mapping) or is_frame(given):
        column = config.text_column or ("image" if modality.name == "image" else "text")
        raise UsageError(
            "predict.items", "a list of items was expected, and here is a table", value=type(given).__name__,
            limit=f"a list of {modality.name}s", next=f'predict(list(frame["{column}"]))',
        )  # fmt: skip
    if one_thing(given) or not isinstance(given, Iterable):
        shown = f"an array {given.shape}" if isinstance(given, np.ndarray) else repr(given)
        raise UsageError(
            "predict.items", "a list of items was expected, and here is one thing", value=f"{shown:.60}",
            limit=f"a list of {modality.name}s", next="put it in a list: predict([ITEM])",
        )  # fmt: skip
    payloads: list[Payload] = []
    for number, item in enumerate(given):
        try:
            payloads.append(modality.of_value(item, config))
        except DataError as error:
            where = f"items[{number}]" + (f", {error.where}" if error.where else "")
            raise DataError(
                error.code, error.what, value=error.value, limit=error.limit, where=where, next=error.next
            ) from error
    return payloads
