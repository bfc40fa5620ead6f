"""Items as they lie in the store: decoded on access, so that a set larger than memory can be looked through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

from passmuster.core.progress import Progress, Silent
from passmuster.core.records import Item, Payload
from passmuster.modality.base import Modality
from passmuster.store.store import Store


class StoredPayloads(Sequence[Payload]):
    """Payloads of kept items, in order. Iteration streams; an index reads one."""

    def __init__(self, store: Store, modality: Modality, items: Sequence[Item], what: str, progress: Progress) -> None:
        self._store, self._modality, self._items = store, modality, items
        self._what, self._progress = what, progress

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Payload]:
        blobs = self._store.blobs.get_many([item.blob for item in self._items])
        for data in self._progress.track(blobs, self._what, total=len(self._items)):
            yield self._modality.decode(data, self._store.config.data)

    @overload
    def __getitem__(self, index: int) -> Payload: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Payload]: ...
    def __getitem__(self, index: int | slice) -> Payload | Sequence[Payload]:
        if isinstance(index, slice):
            return StoredPayloads(self._store, self._modality, self._items[index], self._what, Silent())
        return self._modality.decode(self._store.blobs.get(self._items[index].blob), self._store.config.data)
