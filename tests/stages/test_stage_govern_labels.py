"""Labels that come later: what they may say of which items, and what is asked for."""

import csv
from pathlib import Path

import pytest

from passmuster.core.errors import DataError, MusterError, UsageError
from passmuster.flows.label_export import export_labels
from passmuster.stages.govern import add, add_labels
from passmuster.stages.govern.label_table import LabelRow, match
from passmuster.store.items import read_labels
from passmuster.store.seal import open_test, training_view
from passmuster.store.snapshots import read_findings, read_placement, read_snapshot
from passmuster.store.store import Store


@pytest.fixture
def store(new_store, tmp_path: Path) -> Store:
    """A text project of 60 items without labels; r0 to r19 are the given test."""
    made = new_store("text")
    rows = [f"r{i},number {i} is a text of its own kind {i * 37},{'test' if i < 20 else 'train'}" for i in range(60)]
    (tmp_path / "t.csv").write_text("id,text,split\n" + "\n".join(rows) + "\n")
    add(made, tmp_path / "t.csv")
    return made


def pool(store: Store) -> list[str]:
    with store.read() as db:
        return [item.id for item in training_view(store, read_snapshot(db)).pool]


def n_facts(store: Store) -> int:
    with store.read() as db:
        return int(db.exec_driver_sql("SELECT count(*) FROM labels").scalar() or 0)


def test_training_labels_make_a_child_with_the_same_items_and_splits(store: Store) -> None:
    with store.read() as db:
        parent = read_snapshot(db)
        before = read_placement(db, parent)
    names = pool(store)[:4]
    result = add_labels(store, [LabelRow(name, "ab"[i % 2]) for i, name in enumerate(names)], who="ana")
    assert dict(result.n_new) == {"train": 4}
    assert result.snapshot is not None
    assert result.snapshot.parent == parent.digest
    assert result.snapshot.classes == ("a", "b")
    with store.read() as db:
        assert read_placement(db, result.snapshot) == before
        assert len(training_view(store, result.snapshot).labels) == 4
        assert len(training_view(store, parent).labels) == 0  # the parent has read no labels
        assert {label.who for label in read_labels(db).values()} == {"ana"}


def test_a_table_that_contradicts_itself_is_refused_whole(store: Store, tmp_path: Path) -> None:
    a, b = pool(store)[:2]
    (tmp_path / "l.csv").write_text(f"id,label\n{a},x\n{b},y\n{b},y\n{a},y\n")
    with pytest.raises(DataError) as caught:
        add_labels(store, tmp_path / "l.csv")
    assert caught.value.code == "label.contradiction"
    assert "l.csv:2, l.csv:5" in str(caught.value)
    assert n_facts(store) == 0
    two = [LabelRow(a, "x", who="ana"), LabelRow(a, "y", who="ben"), LabelRow(b, "y"), LabelRow(b, "y")]
    assert add_labels(store, two).n_same == 1, "two people may disagree, and a row may stand twice"


def test_test_labels_are_evidence_and_make_no_new_version(store: Store) -> None:
    with store.read() as db:
        parent = read_snapshot(db)
    result = add_labels(store, [LabelRow("r3", "a", weight=2.5), LabelRow("r4", "b")])
    assert dict(result.n_new) == {"test": 2}
    assert (result.is_new, result.snapshot) == (False, parent)
    view = open_test(store, parent, "evaluate")
    assert sorted((label.label, label.weight) for label in view.labels.values()) == [("a", 2.5), ("b", 1.0)]


@pytest.mark.parametrize(
    ("rows", "role", "code"),
    [
        ([LabelRow("r0", "a")], "train", "label.sealed"),
        ([LabelRow("r0", "a", role="train")], None, "label.sealed"),
        ([LabelRow("r55", "a")], "test", "label.not_in_test"),
        ([LabelRow("r0", "a"), LabelRow("nobody", "a")], None, "label.unknown_item"),
    ],
)
def test_what_labels_may_not_say(store: Store, rows: list[LabelRow], role: str | None, code: str) -> None:
    with pytest.raises(DataError) as caught:
        add_labels(store, rows, role=role)  # type: ignore[arg-type]
    assert caught.value.code == code
    assert caught.value.next
    assert n_facts(store) == 0


def test_labels_said_twice_are_one_fact_and_a_changed_mind_is_another(store: Store) -> None:
    name = pool(store)[0]
    add_labels(store, [LabelRow(name, "a")])
    again = add_labels(store, [LabelRow(name, "a"), LabelRow(name, None)])
    assert (again.n_same, again.n_empty, again.is_new, n_facts(store)) == (1, 1, False, 1)
    changed = add_labels(store, [LabelRow(name, "b")])
    assert (changed.n_changed, changed.is_new, n_facts(store)) == (1, True, 2)


def test_findings_about_labels_are_made_anew(store: Store) -> None:
    names = pool(store)
    add_labels(store, [LabelRow(name, "a") for name in names[:8]])
    with store.read() as db:
        titles = [f.title for f in read_findings(db, read_snapshot(db).digest)]
    assert any("all 8 training labels are 'a'" in t for t in titles)
    add_labels(store, [LabelRow(name, "b") for name in names[8:16]])
    with store.read() as db:
        assert [f.title for f in read_findings(db, read_snapshot(db).digest)] == []


@pytest.mark.parametrize("role", ["train", "test"])
def test_what_is_exported_can_be_filled_in_and_read_back(store: Store, tmp_path: Path, role: str) -> None:
    path = tmp_path / "todo.csv"
    assert export_labels(store, path, n=6, role=role) == 6  # type: ignore[arg-type]
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert all(row["text"].startswith("number") and float(row["weight"]) > 0 for row in rows)
    assert role == "test" or {row["weight"] for row in rows} == {"1"}
    assert role == "train" or {row["guess"] for row in rows} == {""}
    assert all((int(row["id"][1:]) < 20) == (role == "test") for row in rows)
    for i, row in enumerate(rows):
        row["label"] = "ab"[i % 2]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert dict(add_labels(store, path).n_new) == {role: 6}
    more = tmp_path / "more.csv"
    export_labels(store, more, n=100, role=role)  # type: ignore[arg-type]
    with more.open(newline="", encoding="utf-8") as file:
        assert not {row["id"] for row in csv.DictReader(file)} & {row["id"] for row in rows}


def test_formulas_are_disarmed_in_an_export_and_read_back_as_the_same_ids(new_store, tmp_path: Path) -> None:
    made = new_store("text")
    ids = ["=cmd()", "+1", "-2", "@x", "'=quoted", "plain"]
    rows = "\n".join(f'"{name}","={i}*7 is the beginning of text {i * 3511}",train' for i, name in enumerate(ids))
    (tmp_path / "t.csv").write_text(f"id,text,split\n{rows}\n")
    add(made, tmp_path / "t.csv")
    path = tmp_path / "todo.csv"
    n = export_labels(made, path, n=9)
    with path.open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == ["id", "text", "label", "role", "weight", "guess", "why"]
    assert not [cell for row in table for cell in row.values() if cell.startswith(("=", "+", "-", "@"))]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, table[0])
        writer.writeheader()
        writer.writerows([{**row, "label": "'-1" if i % 2 else "-1", "guess": "=x"} for i, row in enumerate(table)])
    assert dict(add_labels(made, path).n_new) == {"train": n}
    with made.read() as db:
        assert {label.label for label in read_labels(db).values()} == {"-1"}


def test_an_export_does_not_overwrite_and_choosing_test_items_is_no_reuse(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "todo.csv"
    export_labels(store, path, n=2, role="test")
    with pytest.raises(UsageError, match="exists"):
        export_labels(store, path, n=2)
    with store.read() as db:
        openings = [tuple(r) for r in db.exec_driver_sql("SELECT purpose, counted FROM seal_openings")]
    assert openings == [("choose-test-labels", 0)]


@pytest.mark.parametrize(
    "table",
    ["id,label\n,a\n", "id,label,role\nr1,a,tset\n", "id,label,weight\nr1,a,-1\n", "id,label,weight\nr1,a,many\n"],
)
def test_a_row_that_cannot_be_used_stops_the_table(store: Store, tmp_path: Path, table: str) -> None:
    (tmp_path / "l.csv").write_text(table)
    with pytest.raises(MusterError) as caught:
        add_labels(store, tmp_path / "l.csv")
    assert caught.value.code in ("label.row", "label.role")
    assert caught.value.where == "l.csv:2"


def test_a_bare_file_name_must_fit_one_item_only() -> None:
    ids = {"a/1.png", "b/1.png", "b/2.png"}
    assert match([LabelRow("2.png", "x"), LabelRow("./a/1.png", "x"), LabelRow("top/b/1.png", "x")], ids, "top") == {
        0: "b/2.png", 1: "a/1.png", 2: "b/1.png",
    }  # fmt: skip
    with pytest.raises(DataError) as caught:
        match([LabelRow("1.png", "x")], ids)
    assert caught.value.code == "label.ambiguous"


def test_a_weight_that_a_spreadsheet_took_for_thousands_is_refused(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "todo.csv"
    export_labels(store, path, n=3, role="test")
    rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))
    drawn = float(rows[0]["weight"])

    def table(weight: float) -> Path:
        kept = [{"id": row["id"], "label": "a", "role": "test", "weight": row["weight"]} for row in rows]
        kept[0]["weight"] = f"{weight:.10g}"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, kept[0])
            writer.writeheader()
            writer.writerows(kept)
        return path

    with pytest.raises(DataError) as caught:
        add_labels(store, table(drawn * 1e4 + 1))
    assert caught.value.code == "label.weight"
    assert "spreadsheets" in str(caught.value.next)
    assert add_labels(store, table(drawn * 1.0001)).n_new == {"test": 3}  # rounded, as it was saved
