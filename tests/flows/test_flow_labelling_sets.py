"""What to label next where labels are sets: guesses, doubt, reasons, on a real project of made texts."""

from __future__ import annotations

import math
from pathlib import Path

from label_sets_case import multi, project, write_sets
from passmuster.core.label_sets import join_classes, split_label
from passmuster.core.progress import Silent
from passmuster.flows.labelling import suggest
from passmuster.flows.pool_embeddings import look_at_pool
from passmuster.stages.govern import add, add_labels
from passmuster.stages.govern.label_table import LabelRow
from passmuster.store.store import Store
from train_case import TOPICS


def ids(store: Store, n: int) -> list[str]:
    """So many items of the pool."""
    return [item.id for item in look_at_pool(store, Silent()).items[:n]]


def label(store: Store, id: str, *names: str) -> None:
    add_labels(store, [LabelRow(id, join_classes(names), "test.csv")], role="train")


def test_before_there_is_a_label_items_are_typical_and_nothing_is_guessed(new_store, tmp_path: Path) -> None:
    store = multi(new_store)
    add(store, write_sets(tmp_path / "sets.csv", n_labels=0))
    found = suggest(store, n=6, role="train")
    assert {s.why for s in found} == {"typical of a group without a label"}
    assert all(s.guess == "" and math.isnan(s.confidence) for s in found)


def test_labels_bring_guesses_of_sets_and_reasons(new_store, tmp_path: Path) -> None:
    store = project(new_store, tmp_path)
    found = suggest(store, n=30, role="train")
    known = {name for s in found if s.guess for name in split_label(s.guess)}
    assert known <= set(TOPICS)
    assert all(0.0 <= s.confidence <= 1.0 for s in found if s.guess)
    assert any(s.guess for s in found)
    assert all(s.confidence >= 0.5 for s in found if s.guess == "[]"), "no class at all is a guess where it is likely"
    assert all(math.isnan(s.confidence) for s in found if not s.guess)
    assert "the model hesitates" in {s.why for s in found}
    assert len({s.key for s in found}) == 30


def test_targets_are_what_each_labelled_item_carries(new_store, tmp_path: Path) -> None:
    store = multi(new_store)
    add(store, write_sets(tmp_path / "sets.csv", n_labels=0))
    both, none, one = ids(store, 3)
    label(store, both, "tea", "bank")
    label(store, none)
    label(store, one, "tea")
    pool = look_at_pool(store, Silent())
    names, targets = pool.targets
    assert names == ("bank", "tea")
    carried = {pool.items[p].id: row for p, row in zip(pool.labelled, targets.tolist(), strict=True)}
    assert carried == {both: [1.0, 1.0], none: [0.0, 0.0], one: [0.0, 1.0]}


def test_labels_of_no_class_alone_teach_no_class(new_store, tmp_path: Path) -> None:
    store = multi(new_store)
    add(store, write_sets(tmp_path / "sets.csv", n_labels=0))
    empty = ids(store, 3)
    for id in empty:
        label(store, id)
    found = suggest(store, n=3, role="train")
    assert [s.guess for s in found] == ["", "", ""]
    assert not set(empty) & {s.id for s in found}


def test_one_label_is_enough_to_go_on(new_store, tmp_path: Path) -> None:
    store = multi(new_store)
    add(store, write_sets(tmp_path / "sets.csv", n_labels=0))
    label(store, ids(store, 1)[0], "tea")
    found = suggest(store, n=3, role="train")
    assert [s.guess for s in found] == ["tea"] * 3, "one class is all that it has seen"
    assert all(0.0 <= s.confidence <= 1.0 for s in found)


def test_no_class_is_not_guessed_where_some_class_is_likelier(new_store, tmp_path: Path) -> None:
    store = multi(new_store)
    add(store, write_sets(tmp_path / "sets.csv", n_labels=9))
    found = suggest(store, n=40, role="train")
    assert "" in {s.guess for s in found}, "nothing reaches the probability from which it is said, and yet"
    assert all(s.confidence >= 0.5 for s in found if s.guess == "[]")
