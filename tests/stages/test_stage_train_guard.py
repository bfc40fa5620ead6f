"""The guard that a training chooses: by classes left out of its own part, served, and said."""

from __future__ import annotations

import numpy as np
import pytest

from passmuster.metrics.novelty import FALLBACK, detectors
from passmuster.runtime.bundle import open_bundle
from passmuster.stages.train import train
from passmuster.stages.train.guarding import Chosen, Labelled, Ordinary, choose_detector, draws_of_classes
from train_case import new_project, write_texts


def planted(kind: str, n: int = 400, d: int = 6, c: int = 4) -> tuple[Labelled, Ordinary]:
    """Classes at corners; or lengths that say nothing, so that directions must; or classes thin in a direction."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % c
    x = np.eye(c, d)[labels] * 6 + rng.normal(size=(n, d))
    if kind == "lengths":
        x *= rng.lognormal(0, 1.5, (n, 1))
    if kind == "narrow":  # each class is thin in directions of its own: only a shared covariance sees it
        x[:, c:] *= 0.001
        x[:, c] += 0.02 * labels
    folds = rng.integers(0, 4, n)
    return Labelled(x, labels, folds), Ordinary(x, labels, np.arange(n))


def test_the_best_detector_differs_between_data_and_is_found() -> None:
    lengths = choose_detector(*planted("lengths"), 10.0, np.random.default_rng(1))
    narrow = choose_detector(*planted("narrow"), 10.0, np.random.default_rng(1))
    assert narrow.name == "mahalanobis.v1"
    assert narrow.standings[0].area > 0.99
    assert lengths.name in ("centroid.v1", "knn.v1", "fdbd.v1")
    assert {s.name for s in lengths.standings} == set(detectors)
    assert lengths.n_trials == 4
    assert lengths.name in lengths.why


def test_many_classes_are_left_out_in_neighbourhoods_too() -> None:
    labelled, _ = planted("corner", d=20, c=20)
    pairs = Labelled(labelled.embeddings + np.eye(20, 20)[labelled.labels // 4] * 30, labelled.labels, labelled.folds)
    draws = draws_of_classes(pairs, np.arange(20), np.random.default_rng(0))
    assert [len(set(draw // 4)) for draw in draws[:3]] == [1, 1, 1]
    assert all(len(draw) == 4 for draw in draws)


def test_a_class_left_out_is_in_nothing_that_the_detectors_learn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def spy(names, fit, ordinary, strange):  # type: ignore[no-untyped-def]
        nearest = [np.argmin(np.linalg.norm(fit[0] - row, axis=1)) for row in np.concatenate([strange[0], ordinary[0]])]
        apart = np.linalg.norm(fit[0][nearest] - np.concatenate([strange[0], ordinary[0]]), axis=1)
        seen.append((float(apart.min()), fit[1].shape[1]))
        return trial(names, fit, ordinary, strange)

    from passmuster.stages.train import guarding

    trial = guarding.try_detectors
    monkeypatch.setattr(guarding, "try_detectors", spy)
    choose_detector(*planted("corner"), 10.0, np.random.default_rng(1))
    assert len(seen) == 4
    assert all(apart > 0 and n_classes == 3 for apart, n_classes in seen)


def test_where_no_detector_tells_anything_distance_guards() -> None:
    rng = np.random.default_rng(0)
    labelled, ordinary = planted("corner")
    noise = rng.normal(size=labelled.embeddings.shape)
    found = choose_detector(
        Labelled(noise, labelled.labels, labelled.folds), Ordinary(noise, ordinary.said, ordinary.labelled), 10.0, rng
    )
    assert found.name == FALLBACK
    assert "by chance" in found.why
    assert len(found.standings) == len(detectors)


def test_where_nothing_can_be_left_out_it_says_so() -> None:
    labelled, ordinary = planted("corner", c=2)
    two = choose_detector(labelled, ordinary, 10.0, np.random.default_rng(0))
    late = choose_detector(*planted("corner"), 10.0, np.random.default_rng(0), room_s=lambda: 0.0)
    few = choose_detector(*planted("corner", n=8), 10.0, np.random.default_rng(0))
    assert [chosen.name for chosen in (two, late, few)] == [FALLBACK] * 3
    assert "needs 3 classes" in two.why
    assert "no time" in late.why
    assert Chosen("knn.v1", "named in the policy").facts()["detectors"] == []


def test_what_was_chosen_is_backed_once() -> None:
    backed = Chosen("knn.v1", "chosen").backed()
    assert backed.name == "knn.v1+mahalanobis.v1"
    assert "far from every class" in backed.why
    for name in ("mahalanobis.v1", backed.name):
        alone = Chosen(name, "chosen")
        assert alone.backed() == alone


def test_the_bundle_carries_what_was_chosen_and_why(tmp_path) -> None:  # type: ignore[no-untyped-def]
    store = new_project(tmp_path / "project", write_texts(tmp_path / "texts.csv", n_labels=20))
    bundle = open_bundle(store.bundle_folder(train(store).path))
    told = bundle.head["guard"]
    assert str(bundle.guard["detector_name"]) == told["detector"]
    assert told["detector"].endswith("mahalanobis.v1"), "what training chose is backed by a distance"
    assert told["n_trials"] == 3
    assert len(told["detectors"]) == len(detectors)
    assert 'novelty = "auto"' in (bundle.path / "policy.toml").read_text()
