"""Tampering: bytes are changed and nothing is signed anew. Gates never see it; `verify` must."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from passmuster.flows.drill.base import NotHereError, fault
from passmuster.flows.drill.scene import Scene
from passmuster.runtime.bundle import MANIFEST, model_file


@fault("byte_of_the_graph.v1", "one byte of the model was changed", group="tampering", touches="bundle")
def byte_of_the_graph(scene: Scene) -> None:
    """In the middle of the file."""
    path = folder_of(scene) / model_file(scene.parts.engine)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@fault("file_dropped.v1", "a file of the bundle is gone", group="tampering", touches="bundle")
def file_dropped(scene: Scene) -> None:
    """The guard."""
    (folder_of(scene) / "guard.npz").unlink()


@fault("policy_loosened.v1", "the policy inside the bundle was edited", group="tampering", touches="bundle")
def policy_loosened(scene: Scene) -> None:
    """A comment is enough."""
    path = folder_of(scene) / "policy.toml"
    path.write_text(path.read_text() + "\n# looser\n")


@fault("manifest_rewritten.v1", "a file was changed and the manifest made to fit", group="tampering", touches="bundle")
def manifest_rewritten(scene: Scene) -> None:
    """The digests agree with each other, but not with what was signed."""
    import json

    from passmuster.core.digests import canonical_json, sha256_hex

    folder = folder_of(scene)
    if not (folder / "signature.dsse.json").is_file():
        raise NotHereError("this bundle is not signed")
    head = folder / "head.json"
    head.write_bytes(head.read_bytes().replace(b"{", b'{"edited":1,', 1))
    manifest = json.loads((folder / MANIFEST).read_bytes())
    manifest["files"]["head.json"] = sha256_hex(head.read_bytes())
    (folder / MANIFEST).write_bytes(canonical_json(manifest))


@fault("event_edited.v1", "an event of the ledger tells another story", group="tampering", touches="ledger")
def event_edited(scene: Scene) -> None:
    """Who did it."""
    change(scene, "UPDATE events SET actor = 'someone else' WHERE seq = 2")


@fault("event_dropped.v1", "an event of the ledger is gone", group="tampering", touches="ledger")
def event_dropped(scene: Scene) -> None:
    """The second."""
    change(scene, "DELETE FROM events WHERE seq = 2")


@fault(
    "label_rewritten.v1", "a training label was changed behind the ledger's back", group="tampering", touches="labels"
)
def label_rewritten(scene: Scene) -> None:
    """The first."""
    change(scene, "UPDATE labels SET label = label || ' ' WHERE n = (SELECT min(n) FROM labels WHERE role = 'train')")


@fault(
    "split_rewritten.v1",
    "a test item was moved into training behind the ledger's back",
    group="tampering",
    touches="splits",
)
def split_rewritten(scene: Scene) -> None:
    """Of every data version."""
    one = "SELECT key FROM snapshot_items WHERE split = 'test' LIMIT 1"
    change(scene, f"UPDATE snapshot_items SET split = 'train' WHERE key = ({one})")


@fault("report_rewritten.v1", "a number of the report was changed", group="tampering", touches="report")
def report_rewritten(scene: Scene) -> None:
    """The latest report, so that its digest no longer fits."""
    change(scene, "UPDATE reports SET record = record || ' ' WHERE n = (SELECT max(n) FROM reports)")


@fault("verdict_rewritten.v1", "a verdict was turned into SHIP", group="tampering", touches="verdict")
def verdict_rewritten(scene: Scene) -> None:
    """Its record, while its signature stays."""
    change(
        scene, "UPDATE verdicts SET record = replace(record, 'gates', 'gates ') WHERE n = (SELECT max(n) FROM verdicts)"
    )


def folder_of(scene: Scene) -> Path:
    """The copied bundle."""
    return scene.store.bundle_folder(scene.bundle.path)


def change(scene: Scene, statement: str) -> None:
    """One statement on the copied catalog, past the store.

    Raises
    ------
    NotHereError
        Where there is no such row.
    """
    with closing(sqlite3.connect(scene.store.root / "catalog.db")) as db, db:
        if not db.execute(statement).rowcount:
            raise NotHereError("there is no such row here")
