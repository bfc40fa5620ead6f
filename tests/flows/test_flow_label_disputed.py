"""Labels that contradict each other on copies and near-copies: found, written out together, settled, and gone."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from label_case import said
from passmuster.core.errors import NotFoundError, UsageError
from passmuster.flows.label_export import export_disputed
from passmuster.flows.label_plan import plan_labels
from passmuster.stages.govern import add, add_labels, check
from passmuster.store.snapshots import read_findings, read_snapshot
from passmuster.store.store import Store

LONG = "my card was stolen at the station this morning and i would like to have it blocked before anybody pays with it"


@pytest.fixture
def store(new_store, tmp_path: Path) -> Store:
    made = new_store("text")
    rows = [
        f"a,{LONG},lost", f"b,{LONG},blocked", f"c,{LONG} please,topup", "d,where is my money,refund",
        "e,how do i pay,pay", "f,=nothing to settle,pay", "g,where is my money,refund",
    ]  # fmt: skip
    (tmp_path / "t.csv").write_text("id,text,label\n" + "\n".join(rows) + "\n")
    add(made, tmp_path / "t.csv")
    return made


def kinds(store: Store) -> dict[str, tuple[str, ...]]:
    with store.read() as db:
        return {f.kind: f.items for f in read_findings(db, read_snapshot(db).digest)}


def test_contradictions_on_copies_and_near_copies_are_found_settled_and_gone(store: Store, tmp_path: Path) -> None:
    found = kinds(store)
    assert len(found["label_conflict"]) == 2
    assert len(found["near_conflict"]) == 2
    assert {f.kind for f in check(store)} == set(found)
    path = tmp_path / "disputed.csv"
    assert export_disputed(store, path) == 3
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["id"], row["label"]) for row in rows] == [("a", "lost"), ("b", "blocked"), ("c", "topup")]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({**row, "label": "blocked"} for row in rows)
    result = add_labels(store, path)
    assert (result.n_same, sum(result.n_new.values())) == (1, 2)
    assert [said(store)[id] for id in "abc"] == ["blocked"] * 3
    assert not {"label_conflict", "near_conflict"} & kinds(store).keys()


def test_nothing_is_overwritten_and_nothing_in_dispute_is_told(store: Store, tmp_path: Path) -> None:
    (tmp_path / "there.csv").write_text("id,label\n")
    with pytest.raises(UsageError) as exists:
        export_disputed(store, tmp_path / "there.csv")
    assert exists.value.code == "label.exists"
    add_labels(store, path_of(tmp_path, [("b", "lost"), ("c", "lost")]))
    with pytest.raises(NotFoundError) as none:
        export_disputed(store, tmp_path / "d.csv")
    assert none.value.code == "label.no_dispute"
    assert not (tmp_path / "d.csv").exists()


def test_with_every_item_labelled_there_is_no_plan(store: Store) -> None:
    with pytest.raises(NotFoundError) as none:
        plan_labels(store, 12)
    assert none.value.code == "label.none_left"
    assert "muster add" in str(none.value.next)


def path_of(folder: Path, labels: list[tuple[str, str]]) -> Path:
    path = folder / "labels.csv"
    path.write_text("id,label\n" + "".join(f"{id},{label}\n" for id, label in labels))
    return path
