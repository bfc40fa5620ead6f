"""What foretells wrong sets and lost F1: useful where classes can be learnt, and blind to an item's own label."""

from __future__ import annotations

import numpy as np
import pytest

from passmuster.core.prediction_powered import at_random, powered_rate
from passmuster.metrics import set_error_prediction
from passmuster.metrics.error_prediction import fitted_risk
from passmuster.metrics.label_sets import item_f1_scores
from passmuster.metrics.set_error_prediction import SETS_PRIOR, Figure, lost, set_error_predictor

NOTHING = np.zeros(0, dtype=int)
FIGURES: tuple[Figure, ...] = ("accuracy", "item_f1")


def made(n: int = 600, k: int = 5, seed: int = 0) -> dict[str, np.ndarray]:
    """Items whose classes lie along directions of their embeddings, and a model that sees them through noise."""
    rng = np.random.default_rng(seed)
    targets = rng.random((n, k)) < 0.35
    embeddings = targets @ rng.normal(size=(k, 24)) + 0.8 * rng.normal(size=(n, 24))
    logits = 3.0 * (targets - 0.5) + 2.0 * rng.normal(size=(n, k))
    probabilities = 1 / (1 + np.exp(-0.75 * logits))
    return {"targets": targets, "embeddings": embeddings, "probabilities": probabilities, "said": probabilities > 0.4}


def predictor_of(world: dict[str, np.ndarray], n_taught: int = 40) -> set_error_prediction.SetErrorPredictor:
    taught, targets = world["embeddings"][:n_taught], world["targets"][:n_taught]
    rest = {name: values[n_taught:] for name, values in world.items()}
    return set_error_predictor(rest["probabilities"], rest["embeddings"], taught, targets, rest["said"])


def losses_of(world: dict[str, np.ndarray], figure: Figure, n_taught: int = 40) -> np.ndarray:
    truth, said = world["targets"][n_taught:], world["said"][n_taught:]
    return (truth != said).any(axis=1).astype(float) if figure == "accuracy" else 1 - item_f1_scores(truth, said)


@pytest.mark.parametrize("figure", FIGURES)
def test_losses_are_foretold_before_any_label_and_better_with_some(figure: Figure) -> None:
    world = made()
    predictor, losses = predictor_of(world), losses_of(made(), figure)
    none = fitted_risk(predictor.features(NOTHING, world["targets"][:0], figure), NOTHING, losses[:0], SETS_PRIOR)
    at = np.arange(150)
    some = fitted_risk(predictor.features(at, world["targets"][40:190], figure), at, losses[:150], SETS_PRIOR)
    before, after = (float(np.corrcoef(risk[150:], losses[150:])[0, 1]) for risk in (none, some))
    assert before > 0.3
    assert after > before
    assert some[150:].mean() == pytest.approx(losses[150:].mean(), abs=0.06)


def test_what_is_foretold_of_f1_is_not_what_is_foretold_of_whole_sets() -> None:
    """Of two answers that are as surely wrong, one with three classes said loses less of its F1 than one with none."""
    probabilities = np.array([[0.9, 0.9, 0.9, 0.3], [0.05, 0.05, 0.05, 0.39]])
    said = probabilities > 0.4
    assert lost(probabilities, said).round(2).tolist() == [0.1, 0.48]
    whole = 1 - np.where(said, probabilities, 1 - probabilities).prod(axis=1)
    assert whole.round(2).tolist() == [0.49, 0.48]


@pytest.mark.parametrize("figure", FIGURES)
def test_an_items_own_label_has_no_say_in_what_is_foretold_of_it(figure: Figure) -> None:
    world = made()
    predictor, at = predictor_of(world), np.arange(30)
    told = world["targets"][40:70]
    turned = told.copy()
    turned[7] = ~turned[7]
    plain, other = (predictor.teacher.objection(at, labels, figure) for labels in (told, turned))
    spread = np.abs(plain - other)
    # Standardising over the pool lets the item's label move everything a little; its own objection no more than that.
    assert spread[7] <= np.quantile(spread, 0.9)
    assert spread.max() > 0.05


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    world = made(n=140)
    whole = predictor_of(world)
    monkeypatch.setattr(set_error_prediction, "BLOCK", 7)
    parts = predictor_of(world)
    np.testing.assert_allclose(whole.whole, parts.whole)
    np.testing.assert_allclose(whole.partly, parts.partly)


def test_one_item_and_no_training_items() -> None:
    one = set_error_predictor(
        np.array([[0.2, 0.9]]), np.ones((1, 3)), np.zeros((0, 3)), np.zeros((0, 2)), np.array([[False, True]])
    )
    for figure in FIGURES:
        assert np.isfinite(one.features(NOTHING, np.zeros((0, 2), bool), figure)).all()


def test_graded_losses_are_worth_more_than_coins_and_their_intervals_hold() -> None:
    """The mean F1 of 1,200 items from 80 labels drawn at random, 300 times: more than coins of that mean would tell."""
    world = made(n=1_240)
    predictor, losses = predictor_of(world), losses_of(world, "item_f1")
    rng, held, worth = np.random.default_rng(1), 0, []
    for _ in range(300):
        at = rng.permutation(1_200)[:80]
        features = predictor.features(at, world["targets"][40:][at], "item_f1")
        found = powered_rate(losses[at], at, features, SETS_PRIOR, [at_random(80, 1_200)])
        held += found.interval.low <= losses.mean() <= found.interval.high
        worth.append(found.worth)
    assert held / 300 >= 0.93
    assert np.median(worth) > 110
