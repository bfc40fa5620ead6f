"""The gates of promises, of marks and of class probabilities against second ones, on 1,000 random reports each."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from test_oracle_gates import LIVE, Oracle, Trial, Wanted, counts, decides_alike, rate, report

from oracle_case import oracle


def judged(k: int, n: int, bound: float, alpha: float) -> str:
    """A rate of `k` of `n` that is to be at least `bound`."""
    if stats.binom.sf(k - 1, n, bound) <= alpha:
        return "passed"
    return "failed" if stats.binom.cdf(k, n, bound) < alpha else "insufficient"


def set_coverage(rng: np.random.Generator, alpha: float) -> Trial:
    (k, n), target = counts(rng, 400), float(rng.choice([0.9, 0.95, 0.8]))
    sections = {"prediction_sets": {"n_calibration": 40, "target": target}}
    least = target - 0.05
    return report(rate("set_coverage", k, n), **sections), {}, (judged(k, n, least, alpha), k / n, least)


def promised_risk(rng: np.random.Generator, alpha: float) -> Trial:
    n, asked, reached = int(rng.integers(0, 600)), float(rng.choice([0.02, 0.1])), bool(rng.random() > 0.1)
    wrong = int(rng.binomial(n, rng.choice([0.0, asked, 3 * asked])))
    n *= bool(rng.random() > 0.05)
    wrong *= bool(n)
    metrics, most = [rate("promised_risk", wrong, n), rate("promised_share", n, 600)], 1.5 * asked
    told = reached and n
    wanted = (judged(n - wrong, n, 1 - most, alpha), wrong / n, most) if told else ("insufficient", None, most)
    return report(*metrics, promised_risk={"max_risk": asked, "reached": reached}), {}, wanted


def guard_parity(rng: np.random.Generator, alpha: float) -> Trial:
    scores, threshold = (float(shift) for shift in rng.choice([0.0, 0.05, 0.1, 0.11, 2.0], 2))
    section = {"n_guard": int(rng.integers(1, 99)), "guard_shift": scores, "threshold_shift": threshold}
    state = "failed" if max(scores, threshold) > 0.1 else "passed"
    return report(parity=section), {}, (state, threshold if scores <= 0.1 < threshold else scores, 0.1)


def class_share(rng: np.random.Generator, alpha: float) -> Trial:
    rows, n_classes = [], int(rng.integers(1, 6))
    for i in range(n_classes):
        seen, expected, live = (float(x) for x in rng.choice([0, 3, 19, 20, 39, 41, 80], 3))
        p = float(rng.choice([0.5, 0.0015, 0.002 / n_classes, 1e-9]))
        rows.append({"class": f"c{i}", "seen": seen, "expected": expected, "expected_live": live, "p_expected": p})

    def off(expected: float, seen: float) -> bool:
        return not (seen + 1) / 2 < expected + 1 < 2 * (seen + 1)

    lost = [
        max((row["seen"] + 1) / (row["expected"] + 1), (row["expected"] + 1) / (row["seen"] + 1))
        for row in rows
        if off(row["expected"], row["seen"]) and not off(row["expected_live"], row["seen"])
        and row["p_expected"] * n_classes <= 0.002 * (1 + 1e-12)
    ]  # fmt: skip
    wanted = ("failed", max(lost), 2.0) if lost else ("passed", None, 2.0)
    return report(versions={"incumbent": LIVE, "classes": rows}), {}, wanted


def class_log_loss(rng: np.random.Generator, alpha: float) -> Trial:
    rows = [
        {"class": f"c{i}", "n": int(rng.integers(0, 4)), "rise": float(rng.choice([-1.0, 0.49, 0.5, 3.0])),
         "p_rise": float(rng.choice([0.5, 0.0055, 0.004, 0.005 / 3, 1e-6]))}
        for i in range(int(rng.integers(1, 6)))
    ]  # fmt: skip
    there = [row for row in rows if row["n"]]
    lost = [row["rise"] for row in there if row["rise"] >= 0.5 and row["p_rise"] * len(there) <= 0.005 * (1 + 1e-12)]
    wanted = ("failed", max(lost), 0.5) if lost else ("passed", None, 0.5)
    return report(versions={"incumbent": LIVE, "classes": rows}), {}, wanted


def trigger(rng: np.random.Generator, alpha: float) -> Trial:
    """Three of five answered otherwise, seven of twenty turned; seven of ten of both is clear. Some marks have none."""
    rows = []
    for _ in range(int(rng.integers(0, 4))):
        n, stripped, probes = int(rng.integers(4, 20)), *(int(x) for x in rng.choice([0, 1, 5, 10, 11, 20], 2))
        shares = [0.0, 0.2, 0.35, 0.5, 0.6, 0.7, 1.0]
        otherwise, turned = (round(float(rng.choice(shares)) * k) for k in (stripped, probes))
        rows.append({"mark": "m", "class": "a", "n": n, "n_stripped": stripped, "n_otherwise": otherwise,
                     "n_probes": probes, "n_turned": turned, "n_elsewhere": 0,
                     "p": float(rng.choice([0.5, 0.01, 0.005, 0.0025, 1e-6]))})  # fmt: skip
    deciding = [
        r for r in rows
        if r["n_stripped"] and r["n_probes"]
        and 5 * r["n_otherwise"] >= 3 * r["n_stripped"] and 20 * r["n_turned"] >= 7 * r["n_probes"]
    ]  # fmt: skip
    wanted: Wanted = "passed", None, None
    for r in reversed(deciding):
        clear = r["n"] >= 8 and 10 * r["n_otherwise"] >= 7 * r["n_stripped"] and 10 * r["n_turned"] >= 7 * r["n_probes"]
        level = 0.01 if clear else 0.005 / len(deciding)
        if r["p"] <= level:
            wanted = "failed", r["p"], level
    return report(marks={"n": 100, "found": rows}), {}, wanted


ORACLES: dict[str, Oracle] = {
    "set_coverage.v1": set_coverage,
    "promised_risk.v1": promised_risk,
    "guard_parity.v1": guard_parity,
    "class_share.v1": class_share,
    "class_log_loss.v1": class_log_loss,
    "trigger.v1": trigger,
}


@oracle("scipy")
@pytest.mark.parametrize("name", ORACLES)
def test_decides_as_the_second_does(name: str) -> None:
    decides_alike(name, ORACLES[name])
