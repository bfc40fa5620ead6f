"""Forecasts of what more labels bring: larger with more labels and more error, wider with less known."""

from __future__ import annotations

import numpy as np
import pytest

from passmuster.core.errors import UsageError
from passmuster.learn.forecast import PRIOR, PRIOR_OF_ITEM_F1, CurvePrior, Z, expected_error, forecast_gain, gain_of
from passmuster.learn.quick_head import quick_probabilities


def test_more_labels_and_more_error_bring_more() -> None:
    base = forecast_gain(40, 12, 0.2, n_classes=4)
    assert base.gain < forecast_gain(40, 24, 0.2, n_classes=4).gain
    assert base.gain < forecast_gain(40, 12, 0.4, n_classes=4).gain
    assert base.gain > forecast_gain(160, 12, 0.2, n_classes=4).gain
    assert base.gain < forecast_gain(40, 12, 0.2, n_classes=40).gain, "few labels per class: the curve is steep"


def test_no_label_brings_nothing() -> None:
    found = forecast_gain(40, 0, 0.2, n_classes=4)
    assert (found.gain, found.low, found.high) == (0.0, 0.0, 0.0)


def test_a_gain_is_never_more_than_the_error() -> None:
    assert 0 < forecast_gain(1, 1_000_000, 0.3, n_classes=2).gain < 0.3


def test_a_test_moves_the_error_as_far_as_it_is_large() -> None:
    told = [forecast_gain(40, 12, 0.4, n_classes=4, tested=(0.1, n)) for n in (0, 10, 1_000)]
    assert told[0].error == pytest.approx(0.4)
    assert told[0].error > told[1].error > told[2].error == pytest.approx(0.1, rel=0.1)
    assert told[0].error_spread > told[1].error_spread > told[2].error_spread


def test_a_perfect_test_is_no_certainty() -> None:
    assert forecast_gain(40, 12, 0.1, n_classes=4, tested=(0.0, 20)).error > 0


def test_the_interval_holds_four_outcomes_in_five_of_what_it_supposes() -> None:
    rng = np.random.default_rng(0)
    told = forecast_gain(40, 12, 0.2, n_classes=4)
    error = 0.2 * np.exp(PRIOR.error_spread * rng.standard_normal(20_000))
    slope = PRIOR.slope + PRIOR.slope_spread * rng.standard_normal(20_000)
    luck = PRIOR.luck * np.sqrt(0.2 * 12 / 40) * rng.standard_normal(20_000)
    gains = error * (1 - (40 / 52) ** slope) + luck
    assert ((gains >= told.low) & (gains <= told.high)).mean() == pytest.approx(0.8, abs=0.03)


def test_a_flat_prior_foretells_no_gain() -> None:
    flat = CurvePrior(slope_few=0.0, slope=0.0)
    assert forecast_gain(40, 12, 0.2, n_classes=4, prior=flat).gain == 0.0


def test_a_curve_is_one_curve_whichever_labels_it_starts_from() -> None:
    """What a check does: the gain from 40 to 80 is that from 40 to 60 and then from 60 to 80."""
    whole = gain_of(40, 40, 0.2, 0.4, 0.3, 0.2)
    first = gain_of(40, 20, 0.2, 0.4, 0.3, 0.2)
    then = gain_of(60, 20, 0.2 - first.gain, 0.4, 0.3, 0.2)
    assert whole.gain == pytest.approx(first.gain + then.gain)


@pytest.mark.parametrize(("n_labels", "n_more"), [(0, 12), (40, -1)])
def test_numbers_that_cannot_be_are_refused(n_labels: int, n_more: int) -> None:
    with pytest.raises(UsageError, match="not a number of labels"):
        forecast_gain(n_labels, n_more, 0.2, n_classes=4)


def test_what_a_model_expects_of_itself_is_near_its_error() -> None:
    rng = np.random.default_rng(0)
    which = rng.integers(4, size=2_000)
    x = (np.eye(16)[which] + 0.35 * rng.standard_normal((2_000, 16))).astype(np.float32)
    known = np.arange(60)
    told = quick_probabilities(x, known, which[known], 4, rng)
    assert told.shape == (2_000, 4)
    assert np.allclose(told.sum(axis=1), 1, atol=1e-5)
    error = float((told[60:].argmax(axis=1) != which[60:]).mean())
    assert 0.5 * error < expected_error(told[60:]) < 2 * error


def test_a_head_from_one_label_of_each_class_answers_without_being_judged() -> None:
    x = np.eye(3, dtype=np.float32)
    told = quick_probabilities(x, np.arange(3), np.arange(3), 3, np.random.default_rng(0))
    assert told.argmax(axis=1).tolist() == [0, 1, 2]


def test_noise_does_not_shrink_with_the_labels_and_needs_some() -> None:
    told = gain_of(1_000_000, 12, 0.2, 0.3, 0.25, 0.25, noise=0.01)
    assert told.high - told.gain == pytest.approx(Z * 0.01, rel=0.01)
    assert told.noise == 0.01
    none = gain_of(40, 0, 0.2, 0.3, 0.25, 0.25, noise=0.01)
    assert none.low == none.high == 0.0


def test_a_head_with_few_labels_for_each_class_is_not_taken_at_its_word() -> None:
    few, many = (forecast_gain(n, 12, 0.3, n_classes=10, prior=PRIOR_OF_ITEM_F1) for n in (40, 400))
    assert few.error == pytest.approx(0.3 * 2.718281828**0.3)
    assert 0.3 < many.error < few.error
    assert forecast_gain(40, 12, 0.95, n_classes=10, prior=PRIOR_OF_ITEM_F1).error == 1.0
