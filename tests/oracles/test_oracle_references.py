"""Fairness, prediction sets, calibration, abstention and novelty against the libraries that define or carry them.

What fairlearn, MAPIE, netcal, torchmetrics, torch-uncertainty and pytorch-ood answer to a thousand cases is kept in
`reference_expected.npz`, in single precision; how each is asked, and where its conventions are others, is said in
`reference_case.py`. Temperatures go against scipy, which is there.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize, special

from oracle_case import counted, oracle
from passmuster.learn.calibration import LARGEST, SMALLEST, fit_temperature
from passmuster.metrics.calibration import classwise_error, ece
from passmuster.metrics.conformal import EVERY_CLASS, calibrate_sets, set_methods
from passmuster.metrics.fairness import ACCURACY, ODDS, OPPORTUNITY, PRECISION, SELECTION, group_gaps
from passmuster.metrics.novelty import detectors, gaussian
from passmuster.metrics.selective import augrc, aurc, risk_coverage
from reference_case import N_CASES, Answers, answers, ask, expected, groups, strange

CLOSE = {"rtol": 1e-6, "atol": 1e-6}
ONE = {"n_resamples": 0}


@oracle("fairlearn")
def test_gaps_by_fairlearn() -> None:
    """Of two classes at most; equalised odds are the larger of the gaps in true and in false positives."""
    of, kept = groups(), expected()
    odds = np.fmax(kept["opportunity"], kept["false_alarms"])
    wanted = {SELECTION: kept["selection"], OPPORTUNITY: kept["opportunity"], ODDS: odds, PRECISION: kept["precision"]}
    found, theirs, names = [], [], np.array(list("abc"))
    for number in counted(range(N_CASES)):
        own = of.case == number
        y, said = of.y[own], of.said[own]
        every = np.arange(2)
        gaps = group_gaps(
            y == said, y[:, None] == every, said[:, None] == every, names[of.group[own]], weights=of.weights[own]
        )
        found += [gap.found.value for gap in gaps]
        theirs += [
            kept["accuracy"][number, 0] if gap.kind == ACCURACY else wanted[gap.kind][number, gap.number]
            for gap in gaps
        ]
    np.testing.assert_allclose(found, theirs, **CLOSE)
    assert 0.1 < np.isnan(found).mean() < 0.9


@oracle("MAPIE")
@pytest.mark.parametrize("name", set_methods.names())
def test_thresholds_by_mapie(name: str) -> None:
    found = [calibrate_sets(name, case.p, case.u, case.labels, case.coverage) for case in counted(answers())]
    theirs = expected()[name.split(".")[0]]
    assert ((np.array(found) == EVERY_CLASS) == np.isnan(theirs)).all()  # MAPIE refuses where we keep every class
    told = ~np.isnan(theirs)
    np.testing.assert_allclose(np.array(found)[told], theirs[told], **CLOSE)
    assert 0.3 < told.mean() < 1


@oracle("netcal and torchmetrics")
def test_calibration_error_by_netcal_and_torchmetrics() -> None:
    rng, one_hot = np.random.default_rng(0), [np.eye(case.p.shape[1])[case.labels] for case in answers()]
    found = [ece(case.p, case.labels, rng=rng, **ONE).value for case in counted(answers())]
    np.testing.assert_allclose(found, expected()["ece"], **CLOSE)
    np.testing.assert_allclose(found, expected()["torch_ece"], **CLOSE)
    found = [classwise_error(case.p, truth, rng=rng, **ONE).value for case, truth in zip(answers(), one_hot)]
    np.testing.assert_allclose(found, expected()["classwise"], **CLOSE)


def sure_and_wrong(case: Answers) -> tuple[np.ndarray, np.ndarray]:
    """As `reference_case` asks: no two items as sure as each other."""
    return case.p.max(axis=1) + 1e-9 * case.u, case.p.argmax(axis=1) != case.labels


@oracle("torch-uncertainty")
def test_areas_of_abstention_by_torch_uncertainty() -> None:
    """There by trapezoids from a coverage of 1 / n to 1, stretched to the whole: the rest is laid on here."""
    rng, found, theirs = np.random.default_rng(0), [], []
    for number, case in enumerate(counted(answers())):
        (sure, wrong), n = sure_and_wrong(case), len(case.labels)
        risk = risk_coverage(sure, wrong).risk
        found.append([area(sure, wrong, rng=rng, **ONE).value for area in (aurc, augrc)])
        whole = (1 - 1 / n) * np.array([expected()["aurc"][number], expected()["augrc"][number]])
        theirs.append(whole + np.array([(risk[0] + risk[-1]) / 2, risk[0] / n / 2]) / n)
    np.testing.assert_allclose(found, theirs, **CLOSE)


def plain(centred: np.ndarray) -> np.ndarray:
    """The covariance as pytorch-ood has it, over the number of items: not shrunk, a little on the diagonal."""
    return np.asarray((centred.T @ centred + 1e-6 * np.eye(centred.shape[1])) / len(centred))


THEIRS = sorted(set(detectors.names()) - {"centroid.v1"})  # which it does not have


@oracle("pytorch-ood")
@pytest.mark.parametrize("name", THEIRS)
def test_scores_by_pytorch_ood(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaussian, "shrunk_covariance", plain)
    monkeypatch.setattr(gaussian, "FLOOR", 0.0)
    theirs = expected()[name.split(".")[0]]
    for case, wanted in counted(zip(strange(), theirs, strict=True)):
        arrays, asked = detectors[name].fit(case.x, case.logits(case.x)), case.logits(case.new)
        found = detectors[name].score(arrays, case.new, 0.3 * asked if name == "gen.v1" else asked)
        np.testing.assert_allclose(found, wanted, **CLOSE)


@oracle("scipy")
def test_temperatures_by_scipy() -> None:
    """Where the slope of the smoothed loss is nought, by `brentq`, or at the end that it points to."""
    rng = np.random.default_rng(4)
    for number, case in enumerate(counted(answers())):
        logits = np.log(case.p + 1e-6) * rng.choice([0.3, 1.0, 4.0])
        labels = case.labels if number % 5 else logits.argmax(axis=1)
        n, c = logits.shape
        target = np.full((n, c), 1 / (n + 2) / (c - 1))
        target[np.arange(n), labels] = 1 - 1 / (n + 2)

        def slope(log_t: float, z: np.ndarray = logits, target: np.ndarray = target) -> float:
            scaled = z / np.exp(log_t)
            return float(((target - special.softmax(scaled, axis=1)) * scaled).sum())

        low, high = np.log(SMALLEST), np.log(LARGEST)
        if slope(low) >= 0 or slope(high) <= 0:
            wanted = low if slope(low) >= 0 else high
        else:
            wanted = optimize.brentq(slope, low, high, xtol=1e-12)
        found = fit_temperature(logits, labels)
        assert np.log(found) == pytest.approx(wanted, abs=1e-5), number  # losses alone do not tell it nearer where flat
        probabilities = [special.softmax(logits / t, axis=1) for t in (found, np.exp(wanted))]
        np.testing.assert_allclose(*probabilities, rtol=0, atol=1e-6)


def test_what_is_kept_of_the_libraries_is_what_they_answer(tmp_path: Path) -> None:
    """With two interpreters in ``MUSTER_BENCH_REFERENCES``, a space between (`reference_case`)."""
    pythons = os.environ.get("MUSTER_BENCH_REFERENCES", "").split()
    if len(pythons) != 2:
        pytest.skip(
            "MUSTER_BENCH_REFERENCES names no two interpreters: only kept answers of the libraries were compared"
        )
    for name, values in ask(pythons[0], pythons[1], tmp_path).items():
        np.testing.assert_allclose(values, expected()[name], rtol=1e-6, atol=1e-6, err_msg=name)
