"""Guesses from embeddings that are there, and how a session gives out, takes back and chooses anew."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from label_case import dark_and_light, said, texts
from passmuster.core.clock import now
from passmuster.core.digests import canonical_json
from passmuster.core.errors import NotFoundError, UsageError
from passmuster.core.progress import Silent
from passmuster.core.records import Bundle
from passmuster.flows.guesses import EmbeddedPool, Guess
from passmuster.flows.label_session import LabelSession
from passmuster.flows.labelling import Suggestion, suggest
from passmuster.stages.govern import n_unpinned
from passmuster.store.items import read_items, read_labels
from passmuster.store.releases import add_bundle, read_bundles
from passmuster.store.seal import training_view
from passmuster.store.snapshots import read_snapshot
from passmuster.store.store import Store


class Told(Silent):
    """Progress that keeps what it was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def pictures(new_store, tmp_path: Path) -> Store:
    return dark_and_light(new_store("image"), tmp_path)


def train_labels(store: Store) -> dict[str, str]:
    with store.read() as db:
        return {key: label.label for key, label in read_labels(db, role="train").items()}


def refresh(store: Store, answered: dict[str, str]) -> dict[str, Guess]:
    pool = EmbeddedPool.open(store)
    return pool.guesses(answered) if pool else {}


def test_without_a_bundle_or_two_classes_there_is_no_guess(new_store, tmp_path: Path, pictures: Store) -> None:
    assert refresh(texts(new_store("text"), tmp_path), {}) == {}
    assert refresh(pictures, {}) == {}
    assert refresh(pictures, dict.fromkeys(train_labels(pictures), "dark")) == {}


def test_guesses_are_right_and_only_of_the_pool(pictures: Store) -> None:
    guesses = refresh(pictures, train_labels(pictures))
    with pictures.read() as db:
        items = read_items(db)
        pool = {item.key for item in training_view(pictures, read_snapshot(db)).pool}
    assert set(guesses) == pool
    truth = {item.key: ["dark", "light"][int(Path(item.id).stem[1:]) % 2] for item in items}
    assert all(guess.label == truth[key] and 0.5 <= guess.confidence <= 1 for key, guess in guesses.items())


def test_a_bundle_without_embeddings_leaves_guesses_and_choosing_to_an_earlier_one(pictures: Store) -> None:
    """One that was imported may only answer; its folder may even be elsewhere."""
    before = refresh(pictures, train_labels(pictures))
    with pictures.read() as db:
        folder = pictures.bundle_folder(read_bundles(db)[0].path)
    bare = folder.with_name("bare")
    shutil.copytree(folder, bare)
    manifest = json.loads((bare / "manifest.json").read_text())
    (bare / "manifest.json").write_bytes(canonical_json({**manifest, "encoder_key": ""}))
    with pictures.act("bundle.import") as act:
        add_bundle(act.db, Bundle("8" * 64, "", "", "bundles/bare", now()))
        add_bundle(act.db, Bundle("9" * 64, "", "", "bundles/elsewhere", now()))
    assert refresh(pictures, train_labels(pictures)) == before
    told = Told()
    assert len(suggest(pictures, n=4, role="train", progress=told)) == 4
    assert [line.split(" ")[1] for line in told.lines] == ["9" * 16, "8" * 16]
    assert all("gives no embeddings" in line for line in told.lines)


def test_items_that_came_after_the_training_have_no_guess(pictures: Store) -> None:
    pool = EmbeddedPool.open(pictures)
    assert pool is not None
    cache = pictures.embeddings("0" * 32)
    with pictures.read() as db:
        blobs = [item.blob for item in training_view(pictures, read_snapshot(db)).pool]
    positions, rows = cache.cached(["none", blobs[1], "neither", blobs[0]])
    assert positions.tolist() == [1, 3]
    assert np.array_equal(rows[0], cache.get([blobs[1]], lambda at: np.zeros((0, 4)))[0])
    cache.forget(blobs[:1])
    assert len(EmbeddedPool.open(pictures).keys) == len(pool.keys) - 1  # type: ignore[union-attr]
    cache.forget(blobs)
    assert EmbeddedPool.open(pictures) is None


def test_a_session_gives_each_item_to_one_place_and_back_after_undo(new_store, tmp_path: Path) -> None:
    store = texts(new_store("text"), tmp_path)
    session = LabelSession(store, n=10, role="train", who="ana")
    session.wait()
    left, right = session.take(4, "left"), session.take(4, "right")
    assert not {s.key for s in left} & {s.key for s in right}
    assert [s.key for s in session.take(4, "left")] == [s.key for s in left]
    session.answer([left[0].key], "ham", "left")
    session.answer([right[0].key], "spam", "right")
    with pytest.raises(UsageError, match="no such class"):
        session.answer([left[1].key], "hma", "left")
    assert session.undo("left").items[0].key == left[0].key  # not what the other place did last
    assert session.take(1, "left")[0].key == left[0].key
    with pytest.raises(NotFoundError):
        session.undo("left")
    assert session.n_done == 1
    assert session.close() is not None
    assert n_unpinned(store) == 0
    assert list(said(store, "ana").values()) == ["spam"]


def test_evidence_is_asked_without_a_guess_whatever_was_suggested(pictures: Store) -> None:
    session = LabelSession(pictures, n=1, role="test")
    shown = session.guessed(Suggestion("k", "id", "test", 1.0, "evidence", "dark", 0.9))
    assert (shown.guess, shown.confidence != shown.confidence) == ("", True)
    session.close()


def test_skipped_items_come_again_only_when_asked_for(new_store, tmp_path: Path) -> None:
    store = texts(new_store("text"), tmp_path, n=20, n_test=4)
    first = LabelSession(store, n=100, role="train", who="ana")
    first.wait()
    everything = first.take(100)
    for suggestion in everything:
        first.skip(suggestion.key)
    first.close()
    second = LabelSession(store, n=100, role="train", who="ana")
    with pytest.raises(NotFoundError, match="aside") as caught:
        second.wait()
    assert "--skipped" in str(caught.value.next)
    second.close()
    for again, who in ((True, "ana"), (False, "ben")):
        third = LabelSession(store, n=100, role="train", who=who, again=again)
        third.wait()
        assert {s.key for s in third.take(100)} == {s.key for s in everything}
        third.close()


def test_after_a_dozen_labels_what_waits_is_chosen_anew_but_never_the_evidence(pictures: Store) -> None:
    session = LabelSession(pictures, n=44, role=None, who="ana")
    session.wait()
    evidence = [s.key for s in session._leases.waiting if s.role == "test"]
    assert evidence
    before = [s.key for s in session._leases.waiting if s.role == "train"]
    for _ in range(30):
        (asked,) = session.take(1)
        session.answer([asked.key], "dark")
    session.wait()
    waiting = session._leases.waiting
    shown = {s.key for turn in session.turns() for s in turn.items}
    assert [s.key for s in waiting if s.role == "test"] == [key for key in evidence if key not in shown]
    assert [s.key for s in waiting if s.role == "train"] != [key for key in before if key not in shown]
    assert len(waiting) == 14
    session.close()
