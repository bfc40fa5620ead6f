"""What to label next, on a real project: cold start, with a model, for evidence, and split between the two."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from passmuster.core.errors import DataError, NotFoundError, UsageError
from passmuster.core.progress import Silent
from passmuster.flows.label_plan import plan_labels
from passmuster.flows.labelling import AT_RANDOM, EVIDENCE, suggest
from passmuster.flows.pool_embeddings import look_at_pool
from passmuster.modality.text.modality import TEXT
from passmuster.stages.govern import add_labels
from passmuster.stages.govern.label_table import LabelRow
from passmuster.stages.train import train
from passmuster.store import ledger
from passmuster.store.seal import training_view
from passmuster.store.snapshots import read_snapshot
from passmuster.store.store import Store
from train_case import TOPICS, new_project, write_texts


class Told(Silent):
    """Progress that keeps what it was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def project(folder: Path, **case: int) -> Store:
    return new_project(folder / "p", write_texts(folder / "data.csv", **case))


def topic(store: Store, id: str) -> str:
    """The true label: items were written in turn."""
    return list(TOPICS)[int(id[1:]) % 3]


def label(store: Store, ids: list[str]) -> None:
    add_labels(store, [LabelRow(id, topic(store, id), "test.csv") for id in ids], role="train")


def test_before_anything_is_trained_the_first_items_are_typical_and_of_every_kind(tmp_path: Path) -> None:
    store, told = project(tmp_path, n_labels=0), Told()
    found = suggest(store, n=6, role="train", progress=told)
    assert len({s.key for s in found}) == 6
    assert {topic(store, s.id) for s in found[:4]} == set(TOPICS)
    assert {s.why for s in found} == {"typical of a group without a label"}
    assert all(s.guess == "" and math.isnan(s.confidence) and s.weight == 1.0 and s.role == "train" for s in found)
    assert told.lines == [
        "nothing is trained yet: looking at 255 items with static.v1 "
        "(vectors of words and character sequences learnt from the raw texts)"
    ]


def test_the_second_time_nothing_is_fitted_and_the_same_is_said(tmp_path: Path) -> None:
    store, told = project(tmp_path), Told()
    first = suggest(store, n=5, role="train")
    again = suggest(store, n=5, role="train", progress=told)
    assert [s.key for s in again] == [s.key for s in first]
    assert told.lines == []


def test_what_was_lost_from_the_cache_is_embedded_again(tmp_path: Path) -> None:
    store, told = project(tmp_path), Told()
    first = suggest(store, n=5, role="train")
    (folder,) = (path for path in (store.root / "embeddings").iterdir())
    assert store.embeddings(folder.name).forget([_view(store).pool[0].blob]) == 1
    assert [s.key for s in suggest(store, n=5, role="train", progress=told)] == [s.key for s in first]
    assert len(told.lines) == 1


def test_training_finds_what_was_embedded(tmp_path: Path) -> None:
    store = project(tmp_path)
    suggest(store, n=5, role="train")
    before = {path.name for path in (store.root / "embeddings").iterdir() if path.is_dir()}
    train(store, budget_s=60)
    assert before == {path.name for path in (store.root / "embeddings").iterdir() if path.is_dir()}


def test_only_items_of_the_pool_without_a_label_and_none_that_was_passed_over(tmp_path: Path) -> None:
    store = project(tmp_path)
    view = _view(store)
    passed = suggest(store, n=10, role="train")
    found = suggest(store, n=1_000, role="train", skip={s.key for s in passed})
    assert {s.key for s in found} == {i.key for i in view.pool} - set(view.labels) - {s.key for s in passed}


def test_learning_never_opens_the_seal(tmp_path: Path) -> None:
    store = project(tmp_path)
    suggest(store, n=5, role="train")
    with store.read() as db:
        assert not list(ledger.read(db, kind="test.open"))


def test_labels_bring_guesses_and_new_ones_change_what_comes_next(tmp_path: Path) -> None:
    store = project(tmp_path, n_labels=1)
    first = suggest(store, n=6, role="train")
    assert all(s.guess in TOPICS and 1 / 3 <= s.confidence <= 1 for s in first)
    label(store, [s.id for s in first])
    second = suggest(store, n=6, role="train")
    assert not {s.key for s in first} & {s.key for s in second}


def test_the_bundle_that_is_there_embeds(tmp_path: Path) -> None:
    store, told = project(tmp_path), Told()
    train(store, budget_s=60)
    found = suggest(store, n=8, role="train", progress=told)
    assert told.lines == []
    right = [s.guess == topic(store, s.id) for s in found]
    assert len(found) == 8
    assert {s.why for s in found} & {"the model hesitates", "typical of a group without a label"}
    assert any(right)


def test_a_test_that_is_labelled_gives_no_evidence_and_says_so(tmp_path: Path) -> None:
    store = project(tmp_path)
    with pytest.raises(DataError, match="every test item has a label"):
        suggest(store, n=5, role="test")
    view = _view(store)
    left = {item.key for item in view.pool} - set(view.labels)
    assert {s.key for s in suggest(store, n=1_000)} == left, "for both, what there is"


def test_evidence_from_an_unlabelled_test(tmp_path: Path) -> None:
    store = _unlabelled_test(tmp_path)
    found = suggest(store, n=8, role="test")
    assert len(found) == 8
    assert {(s.role, s.why) for s in found} == {("test", EVIDENCE)}
    assert all(s.guess == "" and s.weight >= 1 for s in found)


def test_without_a_model_all_labels_are_for_learning(tmp_path: Path) -> None:
    store = _unlabelled_test(tmp_path)
    assert {s.role for s in suggest(store, n=12)} == {"train"}


def test_a_model_that_nobody_tested_gets_both_mixed(tmp_path: Path) -> None:
    store = _unlabelled_test(tmp_path)
    train(store, budget_s=60)
    found = suggest(store, n=12)
    assert [s.role for s in found].count("test") == 6
    assert {s.role for s in found[:4]} == {"train", "test"}, "whoever stops early has done some of each"


def test_when_the_pool_runs_out_the_rest_is_evidence(tmp_path: Path) -> None:
    store = _unlabelled_test(tmp_path, n=30)
    view = _view(store)
    n_waiting = len(view.pool) - len(view.labels)
    found = suggest(store, n=n_waiting + 4)
    assert [s.role for s in found].count("train") == n_waiting
    assert [s.role for s in found].count("test") == 4


def test_when_the_rest_of_the_pool_was_passed_over_the_rest_is_evidence(tmp_path: Path) -> None:
    store = _unlabelled_test(tmp_path)
    view = _view(store)
    passed = [item.key for item in view.pool if item.key not in view.labels][2:]
    found = suggest(store, n=6, skip=passed)
    assert [s.role for s in found].count("train") == 2
    assert [s.role for s in found].count("test") == 4
    with store.read() as db:
        assert len(list(ledger.read(db, kind="test.open"))) == 1, "one draw, because weights belong to a draw"


def test_without_the_extra_items_come_at_random_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, told = project(tmp_path), Told()
    monkeypatch.setattr("passmuster.flows.pool_embeddings.NEEDED", ("no_such_package_of_the_extra",))
    found = suggest(store, n=5, role="train", progress=told)
    assert {s.why for s in found} == {AT_RANDOM}
    assert len({s.key for s in found}) == 5
    assert "no_such_package_of_the_extra is not installed" in told.lines[0]


def test_images_before_anything_is_trained(tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    from passmuster.stages.govern import add, init

    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for i in range(40):
        image = rng.integers(0, 60, (28, 28), dtype=np.uint8)
        image[:, 10:14] += 150 if i % 2 else 0
        image[10:14, :] += 0 if i % 2 else 150
        Image.fromarray(image).save(tmp_path / "photos" / f"{i:02d}.png")
    store = init(tmp_path / "p", modality="image")
    add(store, tmp_path / "photos")
    told = Told()
    found = suggest(store, n=2, role="train", progress=told)
    assert {int(Path(s.id).stem) % 2 for s in found} == {0, 1}, "one with a bar across, one with a bar down"
    assert "gradients.v1" in told.lines[0]


def test_a_large_pool_is_sampled_the_same_way_each_time_and_keeps_its_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = project(tmp_path)
    monkeypatch.setattr("passmuster.flows.pool_embeddings.MAX_COLD_POOL", 100)
    pool = look_at_pool(store, Silent())
    assert 100 <= len(pool.items) <= 100 + 24
    assert len(pool.labelled) == len(_view(store).labels)
    assert [i.key for i in look_at_pool(store, Silent()).items] == [i.key for i in pool.items]
    assert len(suggest(store, n=1_000, role="train")) == len(pool.items) - len(pool.labelled)


def test_fewer_items_are_looked_at_where_the_encoder_is_dear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=120))
    train(store)
    monkeypatch.setattr("passmuster.flows.pool_embeddings.MAX_DEAR_POOL", 30)
    whole = look_at_pool(store, Silent())
    assert len(whole.items) > 60
    monkeypatch.setitem(TEXT.rungs._entries, "static.v1", replace(TEXT.rungs["static.v1"], sampled=True))
    part = look_at_pool(store, Silent())
    assert 30 <= len(part.items) <= 30 + len(part.labelled)
    assert len(part.labelled) == len(whole.labelled)


def test_bad_numbers_and_an_empty_project(tmp_path: Path, new_store) -> None:
    store = project(tmp_path)
    with pytest.raises(UsageError, match="not a number of items"):
        suggest(store, n=0)
    with pytest.raises(UsageError, match="not a number of labels"):
        plan_labels(store, 0)
    with pytest.raises(NotFoundError, match="no such dataset version"):
        suggest(new_store(), n=1)


def _view(store: Store):
    with store.read() as db:
        snapshot = read_snapshot(db)
    return training_view(store, snapshot)


def _unlabelled_test(folder: Path, n: int = 150) -> Store:
    """The made project with the labels of its test left out."""
    path = write_texts(folder / "data.csv", n=n)
    lines = path.read_text().splitlines()
    kept = [
        ",".join([*line.split(",")[:2], "", line.split(",")[3]]) if line.endswith("test") else line for line in lines
    ]
    path.write_text("\n".join(kept) + "\n")
    return new_project(folder / "p", path)
