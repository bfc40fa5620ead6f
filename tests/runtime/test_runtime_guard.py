"""The guard keeps the rates that policy states."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from passmuster.core.config import GuardPolicy
from passmuster.core.errors import IntegrityError
from passmuster.metrics.conformal import set_methods
from passmuster.metrics.novelty import detectors
from passmuster.runtime.guard import LARGEST, apply_guard, fit_guard, softmax, upper_quantile

RNG = np.random.default_rng(7)


def world(n: int, seed: int, *, c: int = 4, d: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings, logits and true labels of n items; logits are honest about their doubt."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, c))
    labels = np.array([rng.choice(c, p=p) for p in softmax(logits)])
    return rng.normal(size=(n, d)) + 3, logits, labels


def fitted(policy: GuardPolicy, n_held: int = 400) -> dict[str, np.ndarray]:
    fit, held, oof = world(500, 1), world(n_held, 2), world(800, 3)
    return fit_guard(
        fit_embeddings=fit[0], fit_logits=fit[1], held_embeddings=held[0], held_logits=held[1], oof_logits=oof[1],
        oof_labels=oof[2], policy=policy,
    )  # fmt: skip


@pytest.mark.parametrize("name", detectors.names())
@pytest.mark.parametrize("rate", [0.01, 0.05])
def test_ordinary_items_are_novel_at_the_stated_rate(name: str, rate: float) -> None:
    policy = GuardPolicy(novelty=name, novelty_rate=rate)
    embeddings, logits, _ = world(4_000, 9)
    found = apply_guard(fitted(policy), embeddings, logits, policy)
    # The rate holds on average over held-out sets; one set of 400 leaves it a spread of sqrt(rate / 400).
    assert found.novel.mean() <= rate + 4 * np.sqrt(rate * (1 - rate) / 400)
    assert found.novel.any()


def test_a_guard_that_nobody_chose_looks_near_and_far() -> None:
    assert str(fitted(GuardPolicy())["detector_name"]) == "knn.v1+mahalanobis.v1"


def test_strange_items_are_novel() -> None:
    policy = GuardPolicy()
    embeddings, logits, _ = world(50, 9)
    found = apply_guard(fitted(policy), -embeddings, logits, policy)
    assert found.novel.all()
    assert all("novel" in reasons for reasons in found.reasons)


@pytest.mark.parametrize("name", detectors.names())
def test_a_guard_of_another_model_is_refused_in_words(name: str) -> None:
    policy = GuardPolicy(novelty=name)
    embeddings, logits, _ = world(5, 9)
    with pytest.raises(IntegrityError) as caught:
        apply_guard(fitted(policy), embeddings[:, 1:], logits[:, 1:], policy)
    (_, d), (_, c) = embeddings.shape, logits.shape
    assert caught.value.code == "bundle.guard"
    assert caught.value.value == f"{d - 1} numbers and {c - 1} classes"
    assert caught.value.limit == f"{d} numbers and {c} classes"
    assert "muster train" in str(caught.value)


def test_so_is_one_from_before_its_numbers_were_kept() -> None:
    policy = GuardPolicy(novelty="knn.v1")
    embeddings, logits, _ = world(5, 9)
    guard = {name: array for name, array in fitted(policy).items() if name != "fitted_on"}
    with pytest.raises(IntegrityError, match=r"what knn\.v1 was fitted on"):
        apply_guard(guard, embeddings[:, 1:], logits, policy)


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_prediction_sets_cover_as_stated(coverage: float) -> None:
    policy = GuardPolicy(set_coverage=coverage)
    embeddings, logits, labels = world(4_000, 11)
    found = apply_guard(fitted(policy), embeddings, logits, policy)
    covered = found.sets[np.arange(len(labels)), labels].mean()
    assert coverage - 0.03 < covered < coverage + 0.05
    assert found.sets.any(axis=1).all()
    assert found.sets.sum(axis=1).mean() < 4


def test_without_labels_every_class_remains_possible() -> None:
    none = np.zeros((0, 4))
    fit = world(50, 1)
    policy = GuardPolicy()
    guard = fit_guard(
        fit_embeddings=fit[0], fit_logits=fit[1], held_embeddings=fit[0], held_logits=fit[1], oof_logits=none,
        oof_labels=np.zeros(0, int), policy=policy,
    )  # fmt: skip
    assert apply_guard(guard, *world(5, 2)[:2], policy).sets.all()


def test_too_few_held_out_items_say_what_rate_they_can_keep() -> None:
    guard = fitted(GuardPolicy(novelty_rate=0.01), n_held=19)
    assert float(guard["novelty_rate"]) == pytest.approx(1 / 20)
    assert float(fitted(GuardPolicy(novelty_rate=0.01), n_held=999)["novelty_rate"]) == pytest.approx(0.01)


def test_reasons_have_plain_names() -> None:
    guard = {**fitted(GuardPolicy()), "novelty_threshold": np.array(1e9)}
    sure, doubtful = [10.0, 0, 0, 0], [0.3, 0, 0, 0]
    embeddings, logits = np.ones((2, 6)), np.array([sure, doubtful])
    plain = GuardPolicy(min_confidence=0.0, degraded_min_confidence=0.9)
    assert apply_guard(guard, embeddings, logits, plain).reasons == ((), ())
    assert apply_guard(guard, embeddings, logits, plain, degraded=True).reasons == ((), ("degraded",))
    strict = replace(plain, min_confidence=0.5)
    assert apply_guard(guard, embeddings, logits, strict).reasons == ((), ("low_confidence",))
    assert apply_guard(guard, embeddings, logits, strict, degraded=True).reasons[1] == ("low_confidence", "degraded")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_withheld_and_stays_json(bad: float) -> None:
    policy = GuardPolicy()
    embeddings, logits, _ = world(3, 4)
    logits[1, 2] = bad
    embeddings[2, 0] = bad
    found = apply_guard(fitted(policy), embeddings, logits, policy)
    assert found.novel.tolist()[1:] == [True, True]
    assert np.isfinite(found.probabilities).all()
    assert np.isfinite(found.novelty).all()
    assert found.novelty[1] == LARGEST


def test_nothing_asked_nothing_answered() -> None:
    assert apply_guard(fitted(GuardPolicy()), np.zeros((0, 6)), np.zeros((0, 4)), GuardPolicy()).reasons == ()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 300), st.floats(0.001, 0.5))
def test_the_quantile_is_conformal(n: int, rate: float) -> None:
    """Of n + 1 exchangeable scores, the share above the threshold set by the others is at most the stated rate."""
    threshold, expected = upper_quantile(np.arange(float(n)), rate)
    ranks_above = sum(new > threshold for new in np.arange(n + 1) - 0.5)
    assert ranks_above / (n + 1) <= max(expected, 0) + 1e-9
    assert expected <= max(rate, 1 / (n + 1)) + 1e-9


@pytest.mark.parametrize("name", set_methods.names())
def test_every_way_to_make_sets_covers_and_repeats_itself(name: str) -> None:
    policy = GuardPolicy(sets=name)
    guard = fitted(policy)
    embeddings, logits, labels = world(4_000, 11)
    found = apply_guard(guard, embeddings, logits, policy)
    assert 0.87 < found.sets[np.arange(len(labels)), labels].mean() < 0.96
    assert found.sets[found.said].all()
    again = apply_guard(guard, embeddings[::-1], logits[::-1], policy)
    assert (again.sets[::-1] == found.sets).all()


def test_a_promised_risk_is_kept_and_withholds_the_rest() -> None:
    policy = GuardPolicy(max_risk=0.2)
    guard = fitted(policy)
    embeddings, logits, labels = world(4_000, 12)
    found = apply_guard(guard, embeddings, logits, policy)
    wrong = found.said.argmax(axis=1) != labels
    given = np.array(["risk" not in reasons for reasons in found.reasons])
    assert wrong[given].mean() <= 0.2 < wrong.mean()
    assert 0.2 < given.mean() < 1
    assert not any(name.startswith("risk.") for name in fitted(GuardPolicy()))
    assert not any(
        "risk" in reasons for reasons in apply_guard(fitted(GuardPolicy()), embeddings, logits, policy).reasons
    )
