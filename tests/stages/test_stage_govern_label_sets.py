"""Labels that are sets of classes: as they come in, and what a single-label project says to them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from label_sets_case import labels_of, multi, write_sets
from passmuster.core.config_file import read_config, render_config
from passmuster.core.errors import DataError, UsageError
from passmuster.flows.verify import verify
from passmuster.stages.govern import Answer, add, add_labels, answer, init, pin
from passmuster.stages.govern.label_cells import LabelCells
from passmuster.stages.govern.label_values import label_rows
from passmuster.store.items import read_labels
from passmuster.store.snapshots import read_findings, read_placement, read_snapshot
from passmuster.store.store import Store

TEXTS = [f"a text of its own number {i * 3511} about things that happen" for i in range(30)]


def keys(store: Store, split: str = "train") -> list[str]:
    with store.read() as db:
        return [key for key, (part, _) in read_placement(db, read_snapshot(db)).items() if part == split]


def write_csv(path: Path, cells: list[str]) -> Path:
    rows = [f'r{i},"{text}","{cell}"' for i, (text, cell) in enumerate(zip(TEXTS, cells, strict=False))]
    path.write_text("id,text,label\n" + "\n".join(rows) + "\n")
    return path


def test_cells_of_a_table(new_store, tmp_path: Path) -> None:
    """Separated names in any order and twice, a JSON list, the empty set, one class, and no answer at all."""
    store = multi(new_store)
    add(store, write_csv(tmp_path / "t.csv", ["late; broken;late", '[""late""]', "[]", " late ", ";", ""]))
    assert labels_of(store) == {"r0": '["broken","late"]', "r1": "late", "r2": "[]", "r3": "late", "r4": "[]"}
    with store.read() as db:
        snapshot = read_snapshot(db)
    assert snapshot.task == "multi-label"
    assert snapshot.classes == ("broken", "late")
    assert verify(store).whole


def test_lists_in_json_lines_and_parquet(new_store, tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    said = [["late", "broken"], [], None, ["late"]]
    store = multi(new_store)
    rows = [{"id": f"j{i}", "text": TEXTS[i], "label": label} for i, label in enumerate(said)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    add(store, tmp_path / "t.jsonl")
    polars.DataFrame({"id": [f"p{i}" for i in range(4)], "text": TEXTS[4:8], "label": said}).write_parquet(
        tmp_path / "t.parquet"
    )
    add(store, tmp_path / "t.parquet")
    expected = {"0": '["broken","late"]', "1": "[]", "3": "late"}
    assert labels_of(store) == {f"{kind}{i}": label for kind in "jp" for i, label in expected.items()}


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("[late", "no JSON list"),
        ([["late"]], "no name of a class"),
        ([None], "no name of a class"),
        ({"late": 1}, "a dict"),
        (["[late"], "cannot begin with a bracket"),
        (["x" * 200], "too long"),
    ],
)
def test_a_cell_that_is_no_set_says_why(cell: object, why: str) -> None:
    with pytest.raises(ValueError, match=why.replace("[", r"\[")):
        LabelCells("multi-label").read(cell)


def test_another_separator(new_store, tmp_path: Path) -> None:
    store = multi(new_store)
    config = replace(store.config, data=replace(store.config.data, label_separator="|"))
    (store.folder / "muster.toml").write_text(render_config(config))
    store = Store.open(store.folder)
    add(store, write_csv(tmp_path / "t.csv", ["late|broken; or so", "late"]))
    assert labels_of(store) == {"r0": '["broken; or so","late"]', "r1": "late"}


def test_a_single_label_project_refuses_lists_and_names_the_way(new_store, tmp_path: Path) -> None:
    store = new_store("text")
    rows = [{"id": f"j{i}", "text": TEXTS[i], "label": ["late", "broken"]} for i in range(3)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    with pytest.raises(DataError) as caught:
        add(store, tmp_path / "t.jsonl")
    assert caught.value.code == "data.nothing_usable"
    assert "--task multi-label" in str(caught.value.next)
    add(store, write_csv(tmp_path / "t.csv", ["late"] * 6))
    (tmp_path / "labels.jsonl").write_text(json.dumps({"id": "r0", "label": ["late", "broken"]}) + "\n")
    with pytest.raises(DataError) as caught:
        add_labels(store, tmp_path / "labels.jsonl")
    assert caught.value.code == "label.row"
    assert "--task multi-label" in str(caught.value.next)


def test_every_class_is_on_both_sides_of_the_split(new_store, tmp_path: Path) -> None:
    """Most sets occur once, so that shares are kept by the rarest class of each."""
    store = multi(new_store)
    names = [f"topic {i}" for i in range(6)]
    cells = [";".join(sorted({names[i % 6], names[(i * i + 1) % 6], names[(3 * i) % 6]})) for i in range(120)]
    texts = [f"text number {i * 3511} of many, {i}" for i in range(120)]
    (tmp_path / "t.csv").write_text("text,label\n" + "".join(f'"{t}",{c}\n' for t, c in zip(texts, cells, strict=True)))
    add(store, tmp_path / "t.csv")
    with store.read() as db:
        known = {role: read_labels(db, role=role) for role in ("train", "test")}
    for role in ("train", "test"):
        assert {
            n
            for fact in known[role].values()
            for n in LabelCells("multi-label").read(fact.label) and json.loads(fact.label)
        } == set(names)  # type: ignore[arg-type]
    assert 15 <= len(known["test"]) <= 30


def test_a_single_label_project_becomes_a_multi_label_one_and_not_back(new_store, tmp_path: Path) -> None:
    """One class is a set of one: old facts stay as they are."""
    store = new_store("text")
    add(store, write_csv(tmp_path / "t.csv", ["late", "broken"] * 6))
    before = labels_of(store)
    text = (store.folder / "muster.toml").read_text()
    (store.folder / "muster.toml").write_text(text.replace('"single-label"', '"multi-label"'))
    store = Store.open(store.folder)
    (key, *_) = keys(store)
    answer(store, [Answer(key, '["late","broken"]')], who="ana")
    assert pin(store) is not None
    with store.read() as db:
        assert read_snapshot(db).task == "multi-label"
    changed = labels_of(store)
    assert sum(changed[i] != before[i] for i in before) == 1
    assert verify(store).whole
    (store.folder / "muster.toml").write_text(text)
    store = Store.open(store.folder)
    with pytest.raises(UsageError) as caught:
        add_labels(store, label_rows({next(i for i in before if changed[i] == "late"): "broken"}, store.config))
    assert caught.value.code == "task.changed"


def test_findings_count_classes_and_not_sets(new_store, tmp_path: Path) -> None:
    store = multi(new_store)
    add(store, write_csv(tmp_path / "t.csv", ["late;broken", "late", "[]", "late;broken", "late", "broken"] * 5))
    with store.read() as db:
        found = [f for f in read_findings(db, read_snapshot(db).digest) if f.kind == "class_balance"]
    assert not [f for f in found if "one class" in f.title or "all " in f.title]
    assert all(set(f.evidence["train"]) <= {"broken", "late"} for f in found)


def test_two_people_who_say_other_sets_disagree(new_store, tmp_path: Path) -> None:
    store = multi(new_store)
    add(store, write_sets(tmp_path / "s.csv", n=20, n_labels=4, n_test=4))
    (first, *_) = keys(store)
    answer(store, [Answer(first, '["bank","tea"]')], who="ana")
    said = answer(store, [Answer(first, '["tea","bank"]')], who="ben")  # the same set in another order
    assert said.others == {}
    said = answer(store, [Answer(first, "[]")], who="cem")
    assert {"ana": '["bank","tea"]', "ben": '["bank","tea"]'}.items() <= said.others[first].items()
    pinned = pin(store)
    assert pinned is not None
    (finding,) = [f for f in pinned.findings if f.kind == "label_disagreement"]
    assert "bank + tea" in finding.title
    assert "(none of the classes)" in finding.title


def test_init_writes_the_task_and_gates_of_its_own(tmp_path: Path) -> None:
    init(tmp_path / "p", modality="text", task="multi-label").close()
    config = read_config(tmp_path / "p")
    assert config.project.task == "multi-label"
    assert "item_f1.v1" in config.policy.gates
    assert "accuracy.v1" not in config.policy.gates
    with pytest.raises(UsageError) as caught:
        init(tmp_path / "p", task="single-label")
    assert caught.value.code == "project.exists"
    with pytest.raises(UsageError) as caught:
        init(tmp_path / "q", task="many")
    assert caught.value.code == "task.unknown"
