"""The gates that read a fact, or only hold where harm is sure, against second ones, on 1,000 random reports each."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from test_oracle_gates import LIVE, Oracle, Trial, counts, decides_alike, proven_below, rate, report, versions


def leakage(rng: np.random.Generator, alpha: float) -> Trial:
    pairs = [(str(rng.integers(9)), str(rng.integers(4))) for _ in range(int(rng.integers(0, 8)))]
    most = int(rng.integers(0, 4))
    given = [list(pair) if rng.random() < 0.5 else {"train": pair[0], "test": pair[1]} for pair in pairs]
    return (
        report(data={"leakage": given}),
        {"max_twins": most},
        "passed" if len({b for _, b in pairs}) <= most else "failed",
    )


def parity(rng: np.random.Generator, alpha: float) -> Trial:
    k, n = counts(rng, 60)
    least = float(rng.choice([0.5, 0.9, k / n]))
    wanted = "failed" if k / n < least else "passed" if n >= 20 else "insufficient"
    return report(parity={"n": n, "agreement": k / n}), {"min_agreement": least}, wanted


def score_parity(rng: np.random.Generator, alpha: float) -> Trial:
    n, shift, packed, noise = int(rng.integers(1, 99)), *rng.choice([0.0, 0.0005, 0.001, 0.002, 0.02, 0.021], 3)
    section = {"n": n, "mean_shift": float(shift)}
    holds = shift <= 0.02
    if rng.random() < 0.7:
        section |= {"n_packed": n, "packed_shift": float(packed), "batch_shift": float(noise)}
        holds &= not packed > 0.001 + 2 * noise
    return report(parity=section), {}, "passed" if holds else "failed"


def surely_more(more: int, fewer: int, alpha: float) -> bool:
    return more + fewer > 0 and stats.binomtest(more, more + fewer, 0.5, "greater").pvalue <= alpha


def class_loss(rng: np.random.Generator, alpha: float) -> Trial:
    rows = []
    for i in range(int(rng.integers(1, 5))):
        n, better, worse, _ = versions(rng, 60)
        rows.append({"class": f"c{i}", "n": n * (rng.random() > 0.1), "worse": worse, "better": better})
    known = [row for row in rows if row["n"]]
    lost = any(
        (row["worse"] - row["better"]) / row["n"] >= 0.05
        and surely_more(row["worse"], row["better"], 0.002 / len(known))
        for row in known
    )
    return report(versions={"incumbent": LIVE, "classes": rows}), {}, "failed" if lost else "passed"


def class_found(rng: np.random.Generator, alpha: float) -> Trial:
    names = tuple("abcd"[: int(rng.integers(2, 5))])
    size = len(names)
    table = rng.multinomial(int(rng.integers(0, 40)), np.ones(size) / size, size) * (rng.random((size, 1)) > 0.15)
    if rng.random() < 0.5:
        table[0, 1] += int(rng.integers(30))
        table[1, 0] += int(rng.integers(30))
    cases, right = table.sum(axis=1), table.diagonal()
    found = [rate("recall", int(k), int(n), f"class={name}") for name, k, n in zip(names, right, cases) if n]
    if not found:
        return report(classes=names), {}, "failed"  # nothing was measured
    cells = [[i, j, int(table[i, j])] for i in range(size) for j in range(size) if table[i, j]]
    lost = any(proven_below(int(k), int(n), 0.4, 0.0025 / len(found)) for k, n in zip(right, cases) if n)
    n_pairs = max(1, len(found) * (len(found) - 1) // 2)
    for i in range(size):
        for j in range(i):
            if 2 * table[i, j] > cases[i] and 2 * table[j, i] > cases[j]:
                lost |= proven_below(int(right[i] + right[j]), int(cases[i] + cases[j]), 0.4, 0.0025 / n_pairs)
    return report(*found, confusion={"cells": cells}, classes=names), {}, "failed" if lost else "passed"


def overconfidence(rng: np.random.Generator, alpha: float) -> Trial:
    (k, n), sure = counts(rng, 400), float(rng.choice([0.8, 0.99, 1.0, 0.4]))
    ceiling = min(1.0, 2 * (1 - sure))
    lost = ceiling < 1 and (stats.binom.sf(n - k - 1, n, ceiling) < 0.002 if ceiling > 0 else k < n)
    return report(rate("accuracy", k, n), test_labels={"n": n, "confidence": sure}), {}, "failed" if lost else "passed"


def log_loss(rng: np.random.Generator, alpha: float) -> Trial:
    """Student's test, on the losses themselves."""
    rise = rng.normal(rng.choice([-0.1, 0.05, 0.3]), rng.choice([0.01, 1.0]), int(rng.integers(2, 60)))
    p = float(stats.ttest_1samp(rise, 0.0, alternative="greater").pvalue)
    section = {"incumbent": LIVE, "log_loss": {"n": len(rise), "rise": float(rise.mean()), "p": p}}
    lost = rise.mean() >= 0.05 and p <= 0.002
    return report(versions=section), {}, "failed" if lost else "passed"


def guard(rng: np.random.Generator, alpha: float) -> Trial:
    n, more, less, _ = versions(rng, 100)
    n_strange, missed, noticed, _ = versions(rng, 100)
    size, live, p = float(rng.choice([1.0, 2.0, 3.0])), 1.0, float(rng.choice([0.5, 0.002 / 3, 0.0001]))
    section = {
        "n": n, "withheld_more": more, "withheld_less": less, "n_strange": n_strange, "missed": missed,
        "noticed": noticed, "set_size": size, "set_size_live": live, "p_size": p,
    }  # fmt: skip
    third = 0.002 / 3
    lost = (more - less) / n >= 0.05 and surely_more(more, less, third)
    lost |= (missed - noticed) / n_strange >= 0.05 and surely_more(missed, noticed, third)
    lost |= size >= 2 * live and p <= third
    return report(versions={"incumbent": LIVE, "guard": section}), {}, "failed" if lost else "passed"


def labels_of_the_test(rng: np.random.Generator, alpha: float) -> Trial:
    third = 0.002 / 3
    chance, gap, p = (
        rng.choice([0.5, third, 1e-5]),
        rng.choice([0.0, 0.029, 0.2]),
        float(rng.choice([0.5, third, 1e-6])),
    )
    n_wrong, gone = int(rng.integers(0, 3)), float(rng.choice([0.5, third, 1e-6]))
    absent = [{"class": "a", "p": gone, "expected": 9.0}] if rng.random() < 0.3 else []
    section = {
        "n": 50, "n_wrong": n_wrong, "log_chance": math.log(chance), "confidence": 0.7 + float(gap),
        "confidence_rest": 0.7, "n_rest": 50, "p_easier": p, "absent": absent,
    }  # fmt: skip
    lost = (n_wrong == 0 and chance <= third) or (gap >= 0.03 and p <= third) or bool(absent and gone <= third)
    return report(test_labels=section), {}, "failed" if lost else "passed"


ORACLES: dict[str, Oracle] = {
    "leakage.v1": leakage,
    "parity.v1": parity,
    "score_parity.v1": score_parity,
    "class_loss.v1": class_loss,
    "class_found.v1": class_found,
    "overconfidence.v1": overconfidence,
    "log_loss.v1": log_loss,
    "guard.v1": guard,
    "test_labels.v1": labels_of_the_test,
}


@pytest.mark.parametrize("name", ORACLES)
def test_decides_as_the_second_does(name: str) -> None:
    decides_alike(name, ORACLES[name])
