"""Names by first digits: an exact one always counts, several that fit are refused with the candidates."""

from __future__ import annotations

from dataclasses import replace

import pytest

import release_case as case
from passmuster.core.errors import NotFoundError, UsageError
from passmuster.core.records import Bundle
from passmuster.store.releases import add_bundle, read_bundle
from passmuster.store.snapshots import add_snapshot, commit_items, read_snapshot


def test_bundles_and_dataset_versions_that_begin_alike_are_not_guessed(new_store) -> None:
    store = new_store()
    snapshot = case.add_data(store)
    names = ["ab" + "0" * 62, "ab" + "1" * 62]
    with store.act("made.up") as act:
        for name in names:
            add_bundle(act.db, Bundle(name, snapshot.digest, "run", name[:16], "now"))
            add_snapshot(act.db, replace(snapshot, digest=name), commit_items([])[1])
    with store.read() as db:
        for read, code in ((read_bundle, "bundle.ambiguous"), (read_snapshot, "snapshot.ambiguous")):
            assert read(db).digest == names[1]
            assert read(db, names[0]).digest == names[0]
            assert read(db, "ab0").digest == names[0]
            with pytest.raises(UsageError) as caught:
                read(db, "ab")
            assert caught.value.code == code
            assert all(name[:20] in str(caught.value.limit) for name in names)
            for nothing in ("zz", "%", "AB0"):
                with pytest.raises(NotFoundError):
                    read(db, nothing)
