"""A model that was made elsewhere as a bundle: its answers unchanged, and everything after it as for any."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from passmuster.core.progress import Silent
from passmuster.flows.pool_embeddings import look_at_pool
from passmuster.flows.verify import verify
from passmuster.learn.graph import append_head
from passmuster.runtime.answers import softmax
from passmuster.runtime.bundle import open_bundle
from passmuster.runtime.predictor import Predictor
from passmuster.stages.importing import ImportResult, import_model
from passmuster.store import ledger
from passmuster.store.releases import read_bundle, read_runs
from passmuster.store.snapshots import read_placement, read_snapshot
from passmuster.store.store import Store
from train_case import new_project, write_texts

pytest.importorskip("onnx", reason="importing needs the extra `import`")

from evaluate_case import flatten, make_digits
from import_case import CLASSES, expected_logits, save, string_model, topic_model, write_tokenizer

TEXTS = ["tea green kettle", "card stolen bank bank", "late train x y z", "nothing known here", "tea"]
Bring = Callable[..., ImportResult]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=150, n_labels=20))


@pytest.fixture
def bring(store: Store, tmp_path: Path) -> Bring:
    """Import a model with the tokenizer of the case, its classes named in order."""

    def run(model: Any, **said: Any) -> ImportResult:
        words = [f"tokenizer={write_tokenizer(tmp_path / 'tokenizer.json')}", "max_tokens=32"]
        given = {"labels": ",".join(CLASSES), "preprocess": words, **said}
        return import_model(store, save(model, tmp_path / "model.onnx"), **given)

    return run


def predictor_of(store: Store, result: ImportResult) -> Predictor:
    return Predictor(open_bundle(store.bundle_folder(f"bundles/{result.bundle[:16]}")), threads=1)


def probabilities_of(store: Store, result: ImportResult, texts: list[str] = TEXTS) -> np.ndarray:
    return np.array([p.probabilities for p in predictor_of(store, result).predict(texts)])


@pytest.mark.parametrize("softmax_in_graph", [False, True])
def test_answers_are_the_models_own(store: Store, bring: Bring, softmax_in_graph: bool) -> None:
    name = "probabilities" if softmax_in_graph else "logits"
    result = bring(topic_model(softmax=softmax_in_graph, output=name))
    assert result.scores == name
    assert result.classes == CLASSES
    np.testing.assert_allclose(probabilities_of(store, result), softmax(expected_logits(TEXTS)), atol=1e-6)


def test_it_is_recorded_and_whole(store: Store, bring: Bring) -> None:
    result = bring(topic_model())
    with store.read() as db:
        bundle = read_bundle(db)
        (run,) = read_runs(db, kind="import")
        event = list(ledger.read(db, kind="import.done"))[-1]
    assert (bundle.digest, bundle.origin, bundle.run) == (result.bundle, "imported", result.run)
    assert run["status"] == "done"
    assert event.payload["bundle"] == result.bundle
    assert event.payload["source"]["file"] == "model.onnx"
    assert verify(store, []).whole
    assert bring(topic_model()).bundle == result.bundle  # the same file is the same bundle


def test_an_imported_bundle_that_vanishes_from_the_catalog_is_missed(store: Store, bring: Bring) -> None:
    result = bring(topic_model())
    with contextlib.closing(sqlite3.connect(store.root / "catalog.db")) as db:
        db.execute("delete from bundles")
        db.commit()
    found = verify(store, [])
    assert not found.whole
    assert any(result.bundle[:16] in str(problem) for problem in found.problems)


def test_without_an_embedding_the_guard_reads_scores_and_says_so(store: Store, bring: Bring) -> None:
    result = bring(topic_model())
    bundle = open_bundle(Path(result.path))
    assert (result.novelty, str(bundle.guard["detector_name"])) == ("msp.v1", "msp.v1")
    assert bundle.head["lacks"] == ["embedding"]
    assert bundle.manifest.encoder_key == ""
    assert any("no embedding" in note for note in result.notes)
    embedding, logits = predictor_of(store, result).embed(TEXTS)
    np.testing.assert_allclose(embedding, logits - logits.mean(axis=1, keepdims=True), atol=1e-5)


def test_a_named_embedding_judges_novelty_and_chooses_labels(store: Store, bring: Bring) -> None:
    result = bring(topic_model(two_outputs=True), output="logits", embedding="sums")
    bundle = open_bundle(Path(result.path))
    assert (result.novelty, bundle.head["lacks"]) == ("knn.v1+mahalanobis.v1", [])
    embedding, logits = predictor_of(store, result).embed(TEXTS)
    np.testing.assert_allclose(embedding, expected_logits(TEXTS), atol=1e-5)
    np.testing.assert_allclose(logits, embedding, atol=1e-5)
    assert look_at_pool(store, Silent()).by == "onnx"


def test_calibration_fits_temperature_and_sets_on_training_labels(store: Store, bring: Bring) -> None:
    as_it_came, calibrated = bring(topic_model()), bring(topic_model(), calibrate=True)
    assert (as_it_came.temperature, as_it_came.n_calibration) == (1.0, 0)
    assert calibrated.n_calibration == 60
    assert calibrated.temperature != pytest.approx(1.0, abs=0.01)
    want = softmax(expected_logits(TEXTS) / calibrated.temperature)
    np.testing.assert_allclose(probabilities_of(store, calibrated), want, atol=1e-5)
    every, fitted = (predictor_of(store, r).predict(TEXTS[:1])[0].prediction_set for r in (as_it_came, calibrated))
    assert (every, fitted) == (CLASSES, ("tea",))


def test_strings_are_lowered_by_a_step_because_the_graph_needs_a_locale(store: Store, tmp_path: Path) -> None:
    result = import_model(
        store, save(string_model(), tmp_path / "s.onnx"), labels=["other", "tea"], preprocess=["strings"],
        accept_classes=True,
    )  # fmt: skip
    assert [step["op"] for step in open_bundle(Path(result.path)).preprocess["steps"]] == ["lower.v1", "strings.v1"]
    p = 1 / (1 + np.exp([-0.5, 0.5]))
    found = probabilities_of(store, result, ["green TEA", "a train"])
    np.testing.assert_allclose(found, np.column_stack([1 - p, p]), atol=1e-6)


def test_a_graph_fixed_to_one_item_is_freed(store: Store, bring: Bring) -> None:
    result = bring(topic_model(batch=1))
    assert any("fixed to 1 at a time" in note for note in result.notes)
    np.testing.assert_allclose(probabilities_of(store, result), softmax(expected_logits(TEXTS)), atol=1e-6)


def test_a_dry_run_finds_the_same_and_leaves_nothing(store: Store, bring: Bring) -> None:
    result = bring(topic_model(), dry_run=True)
    assert (result.bundle, result.path, result.run) == ("", "", "")
    assert result.n_asked > 100
    with store.read() as db:
        assert not list(ledger.read(db, kind="import.done"))
    assert not list(store.bundles_folder.glob("*"))


def test_test_items_are_not_asked_about(store: Store, bring: Bring) -> None:
    result = bring(topic_model())
    with np.load(store.runs_folder / result.run / "parity.npz") as kept:
        asked = {str(key) for key in kept["keys"]}
    with store.read() as db:
        placed = read_placement(db, read_snapshot(db))
        assert not list(ledger.read(db, kind="test.open"))
    assert asked
    assert all(placed[key][0] != "test" for key in asked)


def test_it_is_judged_with_gates_and_says_what_is_not_known(store: Store, bring: Bring) -> None:
    from passmuster.flows.release import release

    result = bring(topic_model())
    released = release(store, result.bundle)
    states = {gate.gate: gate.state for gate in released.verdict.gates}
    assert states["parity.v1"] == "passed"
    assert states["calibration.v1"] in ("passed", "failed", "insufficient")
    card = (released.path / "card.md").read_text()
    assert "Made elsewhere and imported (onnx)" in card
    assert "What the model learnt from: it was made elsewhere" in card
    assert verify(store, []).whole


def test_an_image_model_of_scikit_learns_digits(new_store: Callable[..., Store], tmp_path: Path) -> None:
    """Its outputs have the names of a bundle's own, its pixels go from 0 to 1, and its answers are scikit-learn's."""
    from sklearn.linear_model import LogisticRegression

    digits = make_digits(new_store("image"))
    x, y = digits.pixels["train"], digits.shown["train"]
    model = LogisticRegression(C=5.0, max_iter=500).fit(x, y)
    (tmp_path / "digits.onnx").write_bytes(append_head(flatten(), model.coef_.T, model.intercept_))
    result = import_model(
        digits.store, tmp_path / "digits.onnx", labels=list(model.classes_), preprocess=["scale=255"],
        output="logits", embedding="embedding",
    )  # fmt: skip
    images = [digits.store.blobs.get(item.blob) for item in digits.items["test"][:40]]
    predictor = predictor_of(digits.store, result)
    payloads = [predictor.modality.decode(data, digits.store.config.data) for data in images]
    found = np.array([p.probabilities for p in predictor.predict(payloads)])
    np.testing.assert_allclose(found, model.predict_proba(digits.pixels["test"][:40]), atol=1e-5)
    assert predictor.embed(payloads)[0].shape == (40, 64)
