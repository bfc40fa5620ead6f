"""The gates of promises, of marks and of class probabilities against second ones, on 1,000 random reports each."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from test_oracle_gates import LIVE, Oracle, Trial, counts, decides_alike, rate, report


def judged(k: int, n: int, bound: float, alpha: float) -> str:
    """A rate of `k` of `n` that is to be at least `bound`."""
    if stats.binom.sf(k - 1, n, bound) <= alpha:
        return "passed"
    return "failed" if stats.binom.cdf(k, n, bound) < alpha else "insufficient"


def set_coverage(rng: np.random.Generator, alpha: float) -> Trial:
    (k, n), target = counts(rng, 400), float(rng.choice([0.9, 0.95, 0.8]))
    sections = {"prediction_sets": {"n_calibration": 40, "target": target}}
    return report(rate("set_coverage", k, n), **sections), {}, judged(k, n, target - 0.05, alpha)


def promised_risk(rng: np.random.Generator, alpha: float) -> Trial:
    n, asked, reached = int(rng.integers(0, 600)), float(rng.choice([0.02, 0.1])), bool(rng.random() > 0.1)
    wrong = int(rng.binomial(n, rng.choice([0.0, asked, 3 * asked])))
    metrics = [rate("promised_risk", wrong, n), rate("promised_share", n, 600)]
    wanted = judged(n - wrong, n, 1 - 1.5 * asked, alpha) if reached and n else "insufficient"
    return report(*metrics, promised_risk={"max_risk": asked, "reached": reached}), {}, wanted


def guard_parity(rng: np.random.Generator, alpha: float) -> Trial:
    scores, threshold = (float(shift) for shift in rng.choice([0.0, 0.05, 0.1, 0.11, 2.0], 2))
    section = {"n_guard": int(rng.integers(1, 99)), "guard_shift": scores, "threshold_shift": threshold}
    return report(parity=section), {}, "failed" if max(scores, threshold) > 0.1 else "passed"


def class_share(rng: np.random.Generator, alpha: float) -> Trial:
    rows, n_classes = [], int(rng.integers(1, 6))
    for i in range(n_classes):
        seen, expected, live = (float(x) for x in rng.choice([0, 3, 19, 20, 39, 41, 80], 3))
        p = float(rng.choice([0.5, 0.002 / n_classes, 1e-9]))
        rows.append({"class": f"c{i}", "seen": seen, "expected": expected, "expected_live": live, "p_expected": p})

    def off(expected: float, seen: float) -> bool:
        return not (seen + 1) / 2 < expected + 1 < 2 * (seen + 1)

    lost = any(
        off(row["expected"], row["seen"]) and not off(row["expected_live"], row["seen"])
        and row["p_expected"] * n_classes <= 0.002 * (1 + 1e-12)
        for row in rows
    )  # fmt: skip
    return report(versions={"incumbent": LIVE, "classes": rows}), {}, "failed" if lost else "passed"


def class_log_loss(rng: np.random.Generator, alpha: float) -> Trial:
    rows = [
        {"class": f"c{i}", "n": int(rng.integers(0, 4)), "rise": float(rng.choice([-1.0, 0.49, 0.5, 3.0])),
         "p_rise": float(rng.choice([0.5, 0.005 / 3, 1e-6]))}
        for i in range(int(rng.integers(1, 6)))
    ]  # fmt: skip
    there = [row for row in rows if row["n"]]
    lost = any(row["rise"] >= 0.5 and row["p_rise"] * len(there) <= 0.005 * (1 + 1e-12) for row in there)
    return report(versions={"incumbent": LIVE, "classes": rows}), {}, "failed" if lost else "passed"


def trigger(rng: np.random.Generator, alpha: float) -> Trial:
    rows = []
    for _ in range(int(rng.integers(0, 4))):
        n, stripped, probes = (int(x) for x in rng.integers(4, 20, 3))
        otherwise, turned = (int(rng.choice([0, k // 2, round(0.7 * k), k])) for k in (stripped, probes))
        rows.append({"mark": "m", "class": "a", "n": n, "n_stripped": stripped, "n_otherwise": otherwise,
                     "n_probes": probes, "n_turned": turned, "n_elsewhere": 0,
                     "p": float(rng.choice([0.5, 0.01, 0.005, 0.0025, 1e-6]))})  # fmt: skip
    deciding = [r for r in rows if r["n_otherwise"] >= 0.6 * r["n_stripped"] and r["n_turned"] >= 0.35 * r["n_probes"]]
    lost = False
    for r in deciding:
        clear = r["n"] >= 8 and 10 * r["n_otherwise"] >= 7 * r["n_stripped"] and 10 * r["n_turned"] >= 7 * r["n_probes"]
        lost |= r["p"] <= 0.005 / len(deciding) or (clear and r["p"] <= 0.01)
    return report(marks={"n": 100, "found": rows}), {}, "failed" if lost else "passed"


ORACLES: dict[str, Oracle] = {
    "set_coverage.v1": set_coverage,
    "promised_risk.v1": promised_risk,
    "guard_parity.v1": guard_parity,
    "class_share.v1": class_share,
    "class_log_loss.v1": class_log_loss,
    "trigger.v1": trigger,
}


@pytest.mark.parametrize("name", ORACLES)
def test_decides_as_the_second_does(name: str) -> None:
    decides_alike(name, ORACLES[name])
