"""Verify: on a project and on copies, what was changed is named, and what cannot be proven is said."""

from __future__ import annotations

import json
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

import release_case as case
from passmuster.core.digests import canonical_json, file_sha256_hex
from passmuster.core.errors import IntegrityError, NotFoundError, UsageError
from passmuster.core.records import Alarm, FeedbackRecord, Incident, Release
from passmuster.flows.rebuilt import readable_events
from passmuster.flows.verify import clock_set_back, verify
from passmuster.stages.release import approve, check_signed, judge, rollback, sign
from passmuster.store import keys
from passmuster.store.incidents import write_incident
from passmuster.store.store import Store


@pytest.fixture
def project(new_store) -> tuple[Store, Release]:
    """A project with one release that is live."""
    made = case.ready(new_store())
    release = sign(made.store, judge(made.store))
    approve(made.store)
    with made.store.act("incident.open") as act:
        alarm = Alarm("errors.v1", "live", 9.0, 8.0, 100, 5.0)
        write_incident(act, Incident("i-1", "2026-01-01", "live", release.id, alarm, "degraded"))
    return made.store, release


def edit(catalog: Path, *statements: str) -> None:
    db = sqlite3.connect(catalog)
    with db:
        for statement in statements:
            db.execute(statement)
    db.close()


def copied(store: Store, folder: Path) -> Path:
    """A consistent copy of the catalog."""
    folder.mkdir(exist_ok=True)
    original, copy = sqlite3.connect(store.root / "catalog.db"), sqlite3.connect(folder / "catalog.db")
    original.backup(copy)
    original.close()
    copy.close()
    return folder / "catalog.db"


def test_a_whole_project_is_whole(project) -> None:
    store, _ = project
    found = verify(store)
    assert found.problems == []
    assert (found.n_bundles, found.n_snapshots, found.n_checkpoints) == (1, 1, 1)
    assert found.n_signatures == 2
    assert found.notes == ["events 7 to 9 came after the last signed checkpoint"]


def test_a_project_is_whole_after_channels_moved_in_every_way(new_store) -> None:
    store = new_store()
    snapshot = case.add_data(store)
    names = []
    for weights in (b"one", b"two", b"three"):
        bundle = case.add_model(store, snapshot, weights)
        case.add_evidence(store, snapshot, bundle, **({"incumbent": names[0][1], "versions": (30, 0)} if names else {}))
        release = sign(store, judge(store, bundle.digest))
        names.append((release.id, release.bundle))
        if len(names) == 1:
            approve(store, release.id)
    approve(store, names[1][0], channel="canary", share=0.2)
    approve(store, names[1][0])  # promoted: the canary is emptied
    rollback(store, reason="it slipped")
    approve(store, names[1][0], override="it was the camera")
    approve(store, names[2][0], channel="shadow")
    assert verify(store).problems == []


def test_without_a_checkpoint_the_tail_is_unproven(new_store) -> None:
    store = new_store()
    case.add_data(store)
    found = verify(store)
    assert found.whole
    assert "unproven" in found.notes[0]


def test_a_cut_tail_is_found_against_the_bundles_checkpoint(project) -> None:
    store, _ = project
    edit(store.root / "catalog.db", "DELETE FROM events WHERE seq > 4")
    assert any("tail was cut" in problem for problem in verify(store).problems)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("UPDATE events SET actor = 'someone else' WHERE seq = 3", "event 3 "),
        ("DELETE FROM events WHERE seq = 3", "event 3 is missing"),
        ("UPDATE verdicts SET outcome = 'HOLD'", "verdict 1 on bundle"),
        ("UPDATE verdicts SET record = replace(record, '400', '500')", "verdict 1 on bundle"),
        ("UPDATE verdicts SET envelope = replace(envelope, 'e', 'f')", "verdict 1 on bundle"),
        ("UPDATE releases SET verdict = 'HOLD'", "release r0001"),
        ("DELETE FROM releases", "the ledger has it, the catalog has not"),
        ("UPDATE reports SET record = replace(record, '400', '500')", "report "),
        ("UPDATE snapshot_items SET split = 'train' WHERE split = 'test'", "was changed or moved"),
        ("UPDATE labels SET label = 'no' WHERE n = 3", "its labels are not those that the ledger commits to"),
        ("DELETE FROM labels WHERE n = 3", "its labels are not those that the ledger commits to"),
        ("UPDATE items SET digest = 'x' || digest WHERE id = 'test-3'", "was changed or moved"),
        (
            "UPDATE items SET blob = (SELECT blob FROM items WHERE id = 'test-4') WHERE id = 'test-3'",
            "changed or moved",
        ),
        ("UPDATE channels SET release = 'r0009'", "channel live: the record is not what the ledger says: release"),
        ("UPDATE channels SET mode = 'degraded'", "channel live: the record is not what the ledger says: mode"),
        ("DELETE FROM channels", "channel live: the ledger has it, the catalog has not"),
        (
            "INSERT INTO channels SELECT 'canary', release, bundle, 1, 1.0, mode, '', updated, '' FROM channels",
            "channel canary: the catalog has it, and no event",
        ),
        ("DELETE FROM seal_openings", "opening of the test 1: the ledger has it, the catalog has not"),
        (
            "UPDATE seal_openings SET counted = 0",
            "opening of the test 1: the record is not what the ledger says: counted",
        ),
        ("DELETE FROM incidents WHERE id = 'i-1'", "incident i-1: the ledger has it, the catalog has not"),
        ("UPDATE incidents SET record = replace(record, 'degraded', 'recorded')", "incident i-1: the record is not"),
        ("UPDATE incidents SET closed = '2026'", "incident i-1: its times are not those of its record"),
        ("UPDATE releases SET override = 'the boss'", "release r0001"),
        ("DELETE FROM verdicts", "verdict SHIP on bundle"),
        ("DELETE FROM reports", "report "),
        ("DELETE FROM bundles", "bundle "),
        ("UPDATE events SET payload = '[' WHERE seq = 3", "event 3 "),
        ("UPDATE events SET payload = '{\"channels\":[3]}' WHERE seq = 3", "event 3 "),
        ("DELETE FROM snapshot_items WHERE position = 3", "not those that the ledger commits to"),
        ("UPDATE snapshot_items SET commitment = salt || salt WHERE position = 3", "not those that the ledger commits"),
    ],
)
def test_a_change_in_the_catalog_is_named(project, tmp_path: Path, change: str, named: str) -> None:
    store, _ = project
    catalog = copied(store, tmp_path / "copy")
    edit(catalog, change)
    assert verify(store).whole
    found = verify(store, [catalog]).problems
    assert any(named in problem for problem in found), found
    edit(store.root / "catalog.db", change)
    assert any(named in problem for problem in verify(store).problems)


def test_a_copied_catalog_is_checked_against_the_projects_checkpoints(project, tmp_path: Path) -> None:
    store, _ = project
    catalog = copied(store, tmp_path / "copy")
    assert verify(store, [catalog]).whole
    edit(catalog, "DELETE FROM events WHERE seq > 4")
    assert any("tail was cut" in problem for problem in verify(store, [catalog]).problems)


def test_looking_at_a_copy_does_not_change_it(project, tmp_path: Path) -> None:
    store, _ = project
    catalog = copied(store, tmp_path / "copy")
    before = {path.name: path.read_bytes() for path in catalog.parent.iterdir()}
    verify(store, [catalog])
    assert {path.name: path.read_bytes() for path in catalog.parent.iterdir()} == before


def test_a_byte_of_a_copied_bundle_is_named(project, tmp_path: Path) -> None:
    store, release = project
    folder = shutil.copytree(store.bundle_folder(release.path), tmp_path / "copy")
    assert verify(store, [folder]).whole
    graph = folder / "graphs" / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"!")
    found = verify(store, [folder]).problems
    assert found == [f"bundle {folder}: graphs/model.onnx was changed: its digest is not the recorded one"]


def test_outside_a_project_a_key_is_enough(project, tmp_path: Path) -> None:
    store, release = project
    folder = shutil.copytree(store.bundle_folder(release.path), tmp_path / "copy")
    catalog = copied(store, tmp_path / "ledger")
    key = shutil.copy(store.keys_folder / "signing.pub.pem", tmp_path / "key.pem")
    with pytest.raises(UsageError, match="public key"):
        verify(None, [folder])
    found = verify(None, [folder, catalog], key=Path(key))
    assert found.whole
    assert found.n_checkpoints == 1
    keys.create_keys(tmp_path / "other")
    wrong = verify(None, [folder], key=tmp_path / "other" / "signing.pub.pem")
    assert any("another key" in problem for problem in wrong.problems)


def test_an_unsigned_bundle_is_said_to_be_unsigned(new_store) -> None:
    store = new_store()
    case.add_model(store, case.add_data(store))
    found = verify(store)
    assert found.whole
    assert len(found.unsigned) == 1
    assert any("is not signed: only the ledger" in note for note in found.notes)


def test_a_copy_without_its_signature_is_not_whole_whatever_its_manifest_says(project, tmp_path: Path) -> None:
    store, release = project
    folder = shutil.copytree(store.bundle_folder(release.path), tmp_path / "copy")
    (folder / "head.json").write_text('{"kind": "another.v1"}')
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["head.json"] = file_sha256_hex(folder / "head.json")
    (folder / "manifest.json").write_bytes(canonical_json(manifest))
    for name in ("signature.dsse.json", "verdict.dsse.json", "checkpoint.json", "report.json", "card.md"):
        (folder / name).unlink()
    found = verify(store, [folder])
    assert (found.problems, found.whole, found.unproven) == ([], False, [str(folder)])
    assert "unsigned: nothing proves" in found.notes[0]


def test_blobs_that_are_gone_or_overwritten_are_named(project) -> None:
    store, _ = project
    assert verify(store).n_blobs == 60
    edit(
        store.root / "blobs.db",
        "UPDATE blobs SET data = CAST('another' AS BLOB) WHERE CAST(data AS TEXT) = 'text of test-3'",
        "DELETE FROM blobs WHERE CAST(data AS TEXT) = 'text of test-4'",
    )
    found = verify(store).problems
    assert len(found) == 2
    assert "was overwritten" in found[0]
    assert "is gone" in found[1]


def test_a_blob_store_that_is_gone_is_missed_and_stays_gone(project) -> None:
    store, _ = project
    for path in store.root.glob("blobs.db*"):
        path.unlink()
    assert verify(Store.open(store.folder)).problems == ["blobs.db: the blob store is gone"]
    assert not (store.root / "blobs.db").exists()


def test_a_signature_that_was_taken_away_is_missed(project) -> None:
    store, release = project
    (store.bundle_folder(release.path) / "signature.dsse.json").unlink()
    assert any("signature.dsse.json is missing" in problem for problem in verify(store).problems)


def test_an_older_signature_put_back_is_found(new_store) -> None:
    made = case.ready(new_store(), n=40, n_right=36)
    folder = made.store.bundle_folder(sign(made.store, judge(made.store)).path)
    old = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    case.add_evidence(made.store, made.snapshot, made.bundle)
    sign(made.store, judge(made.store))
    for name, data in old.items():
        (folder / name).write_bytes(data)
    assert any("not the one that the ledger recorded" in problem for problem in verify(made.store).problems)


def test_a_bundle_folder_that_is_gone_is_missed(project) -> None:
    store, release = project
    shutil.rmtree(store.bundle_folder(release.path))
    assert any("its folder is gone" in problem for problem in verify(store).problems)


def test_a_damaged_copy_of_a_catalog_is_a_finding(project, tmp_path: Path) -> None:
    store, _ = project
    catalog = copied(store, tmp_path / "copy")
    with catalog.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * 60_000)
    assert any("damaged" in problem or "changed" in problem for problem in verify(store, [catalog]).problems)


def test_what_is_neither_bundle_nor_catalog_is_told(project, tmp_path: Path) -> None:
    store, _ = project
    with pytest.raises(NotFoundError):
        verify(store, [tmp_path / "nothing"])
    with pytest.raises(UsageError):
        verify(store, [tmp_path])
    db = sqlite3.connect(tmp_path / "other.db")
    db.execute("CREATE TABLE a (b)")
    db.close()
    with pytest.raises(UsageError):
        verify(store, [tmp_path / "other.db"])


def test_a_read_only_project_can_be_verified_and_says_what_it_is(new_store, monkeypatch) -> None:
    """Root may write anywhere, so here the system only says that the folder is read-only; what is opened is real."""
    import os

    from passmuster.core.errors import ResourceError
    from passmuster.store.blobs import Blobs
    from passmuster.store.store import Store
    from passmuster.store.traffic import TrafficWriter
    from passmuster.store.traffic_reader import TrafficReader

    store = new_store()
    (blob,) = store.blobs.put_many([b"a text"])
    writer = TrafficWriter(store.traffic_folder, "w0")
    writer.append([FeedbackRecord("p", "a", "ana", "2026-01-01T00:00:00+00:00")])
    writer.close()
    store.close()

    def files() -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in sorted(store.root.rglob("*")) if p.is_file()}

    before = files()
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    looked_at = Store.open(store.folder)
    assert verify(looked_at).whole
    assert Blobs(store.blobs.path).get(blob) == b"a text"
    assert len(TrafficReader(store.traffic_folder).read("", 10)[0]) == 1
    for change in (lambda: looked_at.act("x.y"), looked_at.note, lambda: looked_at.lock("add")):
        with pytest.raises(ResourceError, match="read-only") as caught, change():
            pass
        assert caught.value.code == "project.read_only"
    assert files() == before


def test_a_clock_that_was_set_back_is_noted(project) -> None:
    store, _ = project
    with store.act("note.later"):
        pass
    with store.read() as db:
        events = readable_events(db)
    assert clock_set_back(events) == []
    earlier = replace(events[-1], at="2020-01-01T00:00:00.000000+00:00", seq=events[-1].seq + 1)
    (note,) = clock_set_back([*events, earlier])
    assert note.startswith(f"event {earlier.seq} (note.later) is dated 2020-01-01T00:00:00, before event ")
    for garbage in ("garbage", "2020-01-01", ""):
        assert len(clock_set_back([*events, replace(earlier, at=garbage)])) <= 1, "told by the chain's own check"


def test_what_can_be_signed_again_and_what_cannot_is_told_apart(project, tmp_path: Path) -> None:
    store, made = project
    folder, key = tmp_path / "copy", keys.public_key(store.keys_folder)
    shutil.copytree(store.bundle_folder(made.path), folder)
    (folder / "card.md").write_text("other words")
    with pytest.raises(IntegrityError) as caught:
        check_signed(folder, key)
    assert "or muster release" in str(caught.value.next)
    manifest = folder / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b" ")
    with pytest.raises(IntegrityError) as caught:
        check_signed(folder, key)
    assert "muster release" not in str(caught.value.next)
    assert "muster rollback" in str(caught.value.next)
