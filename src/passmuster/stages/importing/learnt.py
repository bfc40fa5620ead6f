"""What a model learnt from, as far as its owner says: kept as keyed digests, so that no copy of it counts as evidence.

The digests lie in the run folder, one a line; their own digest is in bundle and ledger. Evaluation leaves out every
test item of the same content, those that are added later too. Near-copies are not found by a digest.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from passmuster.core.digests import content_of, sha256_hex
from passmuster.core.errors import DataError
from passmuster.modality.base import Modality
from passmuster.stages.importing.rows import content_column, item_in, read_rows
from passmuster.store.items import known_keys
from passmuster.store.snapshots import read_placement, read_snapshot
from passmuster.store.store import Store

FILE = "learnt.txt"


@dataclass(frozen=True)
class Learnt:
    """Keyed digests of the items, each once, in order. `n_unread` rows held none that could be an item here."""

    digests: tuple[str, ...] = ()
    n_unread: int = 0

    @property
    def data(self) -> bytes:
        """The file."""
        return "".join(f"{digest}\n" for digest in self.digests).encode()

    @property
    def sha256(self) -> str:
        """Of the file; "" when nothing was said."""
        return sha256_hex(self.data) if self.digests else ""


def read_learnt(store: Store, path: Path, modality: Modality) -> Learnt:
    """The items of a table: texts in a column ``text``, or image files named in a column ``path``.

    Raises
    ------
    NotFoundError, DataError
        ``table.*``; ``import.learnt`` when no row holds an item.
    """
    rows = read_rows(path)
    column = content_column(list(rows[0]), modality, path)
    digests, n_unread = set(), 0
    for row in rows:
        try:
            digests.add(store.keyed(content_of(item_in(row[column], path, modality, store.config.data))))
        except DataError:
            n_unread += 1  # no item of this project can be a copy of it, because it would have been quarantined
    if not digests:
        raise DataError("import.learnt", "no row of the table holds an item", value=f"{n_unread:,} rows", where=path)
    return Learnt(tuple(sorted(digests)), n_unread)


def told(store: Store, learnt: Learnt) -> str:
    """What will be left out of the test, in words. Digests and places are read, and no test item is opened."""
    known = set(learnt.digests)
    with store.read() as db:
        placed = read_placement(db, read_snapshot(db))
        digest_of = known_keys(db)
    n_test = sum(split == "test" and digest_of[key] in known for key, (split, _) in placed.items())
    unread = f" ({learnt.n_unread:,} rows held none)" if learnt.n_unread else ""
    return f"it learnt from {len(known):,} items{unread}: {n_test:,} test items are copies of them, and are left out"
