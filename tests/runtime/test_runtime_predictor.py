"""From a bundle and pictures to answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from passmuster.core.config import CostsPolicy, GuardPolicy, Policy
from passmuster.core.errors import IntegrityError
from passmuster.runtime.bundle import open_bundle
from passmuster.runtime.predictor import Predictor
from serving_case import CLASSES, features, pictures, strange, write


@pytest.fixture
def predictor(tmp_path: Path) -> Predictor:
    return Predictor(open_bundle(write(tmp_path)), threads=1)


def test_embeddings_and_logits_are_the_graphs(predictor: Predictor) -> None:
    images = pictures(150)  # more than two batches
    embeddings, logits = predictor.embed(images)
    expected = features(images)
    assert np.allclose(embeddings, expected[0], atol=1e-5)
    assert np.allclose(logits, expected[1], atol=1e-4)


def test_texts_of_like_length_are_asked_together_and_answers_keep_their_places(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = []

    def lengths(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        asked.append([len(text) for text in texts])
        return np.array([[len(text)] for text in texts]), np.array([[len(text), 0] for text in texts])

    monkeypatch.setattr(predictor, "_run", lengths)
    texts = ["x" * int(n) for n in np.random.default_rng(0).integers(1, 90, 150)]
    embeddings, logits = predictor.embed(texts)
    assert embeddings[:, 0].tolist() == logits[:, 0].tolist() == [len(text) for text in texts]
    assert [len(batch) for batch in asked] == [64, 64, 22]
    assert [n for batch in asked for n in batch] == sorted(len(text) for text in texts)


def test_answers_say_label_set_and_novelty(predictor: Predictor) -> None:
    images = pictures(40, seed=5)
    answers = predictor.predict(images)
    assert [a.label for a in answers] == [CLASSES[i % 2] for i in range(40)]
    assert all(a.label in a.prediction_set for a in answers)
    assert all(sum(a.probabilities) == pytest.approx(1) for a in answers)
    assert sum(a.abstained for a in answers) <= 4
    odd = predictor.predict([strange()])[0]
    assert odd.abstained
    assert odd.reasons == ("novel",)
    assert odd.novelty > predictor.novelty_threshold


def test_the_bundles_own_policy_governs(tmp_path: Path) -> None:
    dim = [np.full((8, 8, 1), 120, np.uint8)]
    lenient = Predictor(open_bundle(write(tmp_path / "a", scale=2.0)), threads=1)
    strict_policy = Policy(guard=GuardPolicy(min_confidence=0.99))
    strict = Predictor(open_bundle(write(tmp_path / "b", scale=2.0, policy=strict_policy)), threads=1)
    assert "low_confidence" not in lenient.predict(dim)[0].reasons
    assert "low_confidence" in strict.predict(dim)[0].reasons
    assert "degraded" in lenient.predict(dim, degraded=True)[0].reasons


def test_one_at_a_time_gives_the_same_as_together(predictor: Predictor) -> None:
    images = pictures(20)
    together = predictor.predict(images)
    alone = [predictor.predict([image])[0] for image in images]
    assert [a.label for a in together] == [a.label for a in alone]
    assert np.allclose([a.novelty for a in together], [a.novelty for a in alone], atol=1e-5)


@pytest.mark.parametrize("costs", [CostsPolicy(), CostsPolicy(answer="cheapest", when={CLASSES[0]: {CLASSES[1]: 9.0}})])
def test_judged_as_arrays_or_one_by_one_answers_are_the_same(tmp_path: Path, costs: CostsPolicy) -> None:
    predictor = Predictor(open_bundle(write(tmp_path, scale=2.0, policy=Policy(costs=costs))), threads=1)
    dim = [np.full((8, 8, 1), grey, np.uint8) for grey in range(90, 160)]
    embeddings, logits = predictor.embed([*pictures(90), *dim, strange()])
    found, answers = predictor.judge(embeddings, logits), predictor.decide(embeddings, logits)
    assert predictor.names(found.said) == [a.label for a in answers]
    assert found.sure.tolist() == [a.probability for a in answers]
    assert (found.sure < found.probabilities.max(axis=1)).any() == (predictor.prices is not None)
    assert found.novelty.tolist() == [a.novelty for a in answers]


def test_no_items_give_no_answers(predictor: Predictor) -> None:
    assert predictor.predict([]) == []


def test_a_graph_whose_classes_do_not_fit_is_refused(tmp_path: Path) -> None:
    predictor = Predictor(open_bundle(write(tmp_path)), threads=1)
    predictor.classes = ("dark", "light", "third")
    with pytest.raises(IntegrityError) as caught:
        predictor.predict(pictures(2))
    assert caught.value.code == "graph.shape"


def test_a_guard_that_lacks_a_threshold_is_refused(tmp_path: Path) -> None:
    bundle = open_bundle(write(tmp_path))
    guard = {name: array for name, array in bundle.guard.items() if name != "novelty_threshold"}
    with pytest.raises(IntegrityError, match="novelty_threshold"):
        Predictor(replace(bundle, guard=guard), threads=1)
