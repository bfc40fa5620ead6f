"""Rungs that read labels, and rungs made of others: how a training judges the ones and puts the others together."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from passmuster.core.errors import ResourceError, UsageError
from passmuster.core.records import Price
from passmuster.learn.heads import CrossValidated
from passmuster.modality.base import THROUGH, Encoder, EncoderGraph, FitView
from passmuster.modality.text.modality import TEXT
from passmuster.modality.text.rungs import distilled, stacked, static
from passmuster.modality.text.rungs.known_encoders import find_encoders
from passmuster.runtime.bundle import open_bundle
from passmuster.runtime.predictor import Predictor
from passmuster.stages.train import embedding, train
from passmuster.stages.train.distilling import teacher_of
from passmuster.store.snapshots import read_snapshot, read_split
from train_case import new_project, write_texts

pytest.importorskip("onnx", reason="training needs the extra `train`")


def fit(view: FitView, *_: object) -> Encoder:
    """The static view that was fitted before, and its number."""
    before = view.fitted["static.v1"]
    return Encoder("pretrained.v1", {**before.arrays, "scales": np.array([3.0], np.float32)}, before.settings)


def export(encoder: Encoder) -> EncoderGraph:
    """Static vectors times three."""
    graph = static.export(encoder)
    return replace(graph, onnx=stacked._joined([graph.onnx], encoder.arrays["scales"]))


CHEAP = replace(
    static.STATIC, name="pretrained.v1", quote=lambda *_: Price(1.0, 2**20, ""), fit=fit, export=export,
)  # fmt: skip


@pytest.mark.parametrize("knows", [True, False])
def test_a_rung_that_reads_labels_is_judged_on_what_it_did_not_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, knows: bool
) -> None:
    """Chosen when it knows classes that nobody told it; left out, with figures, when it knows only what it was told."""

    def held_out(view: FitView, items: np.ndarray, folds: np.ndarray, *_: object) -> Iterator[np.ndarray]:
        """Rows that tell the class of every item, or only of the labelled ones that the fold may see."""
        for fold in range(int(folds.max()) + 1):
            rows = np.random.default_rng(fold).normal(size=(len(items), 8)).astype(np.float32)
            for row, item in zip(rows, items, strict=True):
                told = view.labels[item] >= 0 and folds[item] != fold
                if told or (knows and view.labels[item] >= 0):
                    row[int(view.labels[item])] += 40.0
            yield rows

    monkeypatch.setitem(TEXT.rungs._entries, "pretrained.v1", replace(CHEAP, held_out=held_out))
    rows = {r["rung"]: r for r in train(new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=120))).rungs}
    if knows:
        assert rows["pretrained.v1"]["accuracy"] == 1.0
        assert rows["pretrained.v1"]["chosen"]
    else:
        assert rows["static.v1"]["chosen"]
        assert rows["pretrained.v1"]["left_out"].startswith("judged, and not the best bet: gain over static.v1 -")


def test_a_rung_made_of_others_is_not_embedded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed = []
    choose = embedding.choose_engine
    monkeypatch.setattr(embedding, "choose_engine", lambda *a, **k: timed.append(1) or choose(*a, **k))
    monkeypatch.setitem(TEXT.rungs._entries, "pretrained.v1", replace(CHEAP, parts=("static.v1",)))
    store = new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=120), rungs=("static.v1", "pretrained.v1"))
    result = train(store)
    rows = {row["rung"]: row for row in result.rungs}
    assert len(timed) == 1  # the static graph alone
    (engine,) = rows["pretrained.v1"]["engines"]
    assert engine["reason"] == "its parts were measured"
    assert rows["pretrained.v1"]["log_loss"] == pytest.approx(rows["static.v1"]["log_loss"], rel=0.02)
    with store.read() as db:
        (item, *_) = read_split(db, read_snapshot(db), "train")
    kept = [store.embeddings(folder.name) for folder in (store.folder / ".muster" / "embeddings").iterdir()]
    small, large = sorted((cache.cached([item.blob])[1][0] for cache in kept), key=lambda row: float(abs(row).sum()))
    np.testing.assert_allclose(large, 3.0 * small, rtol=1e-6)


def test_a_rung_made_of_others_goes_through_its_matrix_as_it_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Put together from the parts' embeddings, they are what the bundle's graph answers."""
    turn = np.random.default_rng(0).normal(size=(640, 7)).astype(np.float32)

    def turned(view: FitView, *_: object) -> Encoder:
        before = view.fitted["static.v1"]
        width = stacked.embed(static.export(before), ["good"]).shape[1]
        return Encoder(
            "pretrained.v1", {**before.arrays, "scales": np.ones(1, np.float32), THROUGH: turn[:width]}, before.settings
        )

    def served(encoder: Encoder) -> EncoderGraph:
        graph = static.export(encoder)
        return replace(graph, onnx=stacked._joined([graph.onnx], encoder.arrays["scales"], encoder.arrays[THROUGH]))

    rung = replace(CHEAP, parts=("static.v1",), fit=turned, export=served)
    monkeypatch.setitem(TEXT.rungs._entries, "pretrained.v1", rung)
    rungs = ("static.v1", "pretrained.v1")
    store = new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=120), rungs=rungs, serve="pretrained.v1")
    predictor = Predictor(open_bundle(Path(train(store).path)))
    with store.read() as db:
        (item, *_) = read_split(db, read_snapshot(db), "train")
    caches = [store.embeddings(folder.name) for folder in (store.folder / ".muster" / "embeddings").iterdir()]
    (kept,) = [rows for cache in caches if len(rows := cache.cached([item.blob])[1][0]) == 7]
    text = TEXT.decode(store.blobs.get(item.blob), store.config.data)
    np.testing.assert_allclose(kept, predictor.embed([text])[0][0], rtol=1e-4, atol=1e-4)


KILLED_WHILE_ADAPTING = """
import os, signal, sys
from pathlib import Path
from passmuster.modality.text.rungs import adapted
from passmuster.stages.train import train
from passmuster.store.store import Store
adapted.learn_places = lambda rows: os.kill(os.getpid(), signal.SIGKILL)
train(Store.open(Path(sys.argv[1])), seed=3)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9: not tried here")
def test_a_ladder_killed_while_it_adapts_ends_at_the_same_bundle(tmp_path: Path) -> None:
    if not find_encoders(()).found:
        pytest.skip("no known encoder on this machine: nothing to adapt")
    texts = write_texts(tmp_path / "t.csv", n=60, n_test=10)
    rungs = ("static.v1", "pretrained.v1", "adapted.v1")
    store = new_project(tmp_path / "p", texts, rungs=rungs, pretrained=True, serve="adapted.v1", time="10m")
    whole = train(store, seed=3)
    words = [sys.executable, "-c", KILLED_WHILE_ADAPTING, str(store.folder)]
    killed = subprocess.run(words, stderr=subprocess.PIPE, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-500:]
    resumed = train(store, seed=3)
    assert resumed.resumed
    assert (resumed.bundle, resumed.rung) == (whole.bundle, "adapted.v1")


def test_where_embedding_is_dear_the_labelled_and_a_sample_are_embedded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("passmuster.modality.base.FEWEST_SAMPLED", 20)
    monkeypatch.setattr("passmuster.modality.base.SAMPLED_PER_LABEL", 1)
    monkeypatch.setitem(TEXT.rungs._entries, "pretrained.v1", replace(CHEAP, export=export, sampled=True))
    rungs = ("static.v1", "pretrained.v1")
    store = new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=120), rungs=rungs, serve="pretrained.v1")
    result = train(store)
    reference = open_bundle(Path(result.path)).reference
    assert result.n_labels < reference["n_embedded"] == result.n_labels + max(20, result.n_labels) < result.n_pool
    assert sum(reference["answers_per_class"].values()) == reference["n_embedded"]


@pytest.fixture
def with_a_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    """`pretrained.v1` is static vectors here; `distilled.v1` is what it is, with nothing missing."""
    monkeypatch.setitem(TEXT.rungs._entries, "pretrained.v1", CHEAP)
    monkeypatch.setitem(TEXT.rungs._entries, "distilled.v1", replace(distilled.DISTILLED, unavailable=lambda _: ""))


@pytest.mark.usefixtures("with_a_teacher")
def test_a_student_learns_from_another_rung_and_can_be_the_one_that_is_served(tmp_path: Path) -> None:
    rungs = ("static.v1", "pretrained.v1", "distilled.v1")
    store = new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=120), rungs=rungs, serve="distilled.v1")
    result = train(store)
    rows = {row["rung"]: row for row in result.rungs}
    assert (result.rung, result.head, rows["distilled.v1"]["learnt_from"]) == (
        "distilled.v1", "distilled", "pretrained.v1",
    )  # fmt: skip
    assert rows["distilled.v1"]["chosen"]
    assert sum(row["chosen"] for row in result.rungs) == 1
    assert rows["distilled.v1"]["accuracy"] > 0.9
    bundle = open_bundle(Path(result.path))
    assert {answer.label for answer in Predictor(bundle).predict(["good and fine", "bad and poor"])} <= set(
        result.classes
    )
    keys = [folder.name for folder in (store.folder / ".muster" / "embeddings").iterdir()]
    assert len(keys) == 2  # of the static graph, which is the student's, and of the teacher's


@pytest.mark.usefixtures("with_a_teacher")
def test_a_student_without_a_teacher_is_left_out_and_told_when_it_was_asked_for(tmp_path: Path) -> None:
    store = new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=120), rungs=("static.v1", "distilled.v1"))
    rows = {row["rung"]: row for row in train(store).rungs}
    assert rows["distilled.v1"]["left_out"].startswith(
        "left out: none of pretrained.v1, stacked.v1, adapted.v1, tuned.v1"
    )
    store = new_project(
        tmp_path / "q", tmp_path / "t.csv", rungs=("static.v1", "distilled.v1"), serve="distilled.v1"
    )  # fmt: skip
    with pytest.raises(ResourceError, match=r"distilled\.v1 is to be served.*was not fitted"):
        train(store)


def test_a_rung_to_serve_that_nobody_knows_is_told_before_anything_is_learnt(tmp_path: Path) -> None:
    store = new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=120), serve="heavy.v9")
    with pytest.raises(UsageError, match=r"no rung named 'heavy\.v9'"):
        train(store)


def test_the_better_bet_teaches_and_not_the_luckier_one() -> None:
    """Sixteen labels on which the stacked views lost a hair less; on every set seen, the taught encoder was better."""
    labels = np.tile([0, 1], 8)
    lucky, bet = (np.where(np.eye(2)[labels] > 0, height, 0.0)[None] for height in (0.05, 0.04))
    lucky[0, 0] = lucky[0, 0, ::-1]  # so that differences are not all alike
    fitted = [
        SimpleNamespace(
            rung=SimpleNamespace(name=name), best=CrossValidated("logistic", 1.0, 1.0, labels, labels, rows)
        )
        for name, rows in (("static.v1", 0 * bet), ("stacked.v1", lucky), ("tuned.v1", bet))
    ]
    assert fitted[1].best.log_loss < fitted[2].best.log_loss
    task = SimpleNamespace(modality=TEXT, classes=("a", "b"))
    assert teacher_of(task, distilled.DISTILLED, fitted) is fitted[2]  # type: ignore[arg-type]
