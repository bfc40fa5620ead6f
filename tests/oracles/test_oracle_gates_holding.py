"""The gates that read a fact, or only hold where harm is sure, against second ones, on 1,000 random reports each."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from test_oracle_gates import LIVE, Oracle, Trial, Wanted, counts, decides_alike, proven_below, rate, report, versions

from oracle_case import oracle


def leakage(rng: np.random.Generator, alpha: float) -> Trial:
    pairs = [(str(rng.integers(9)), str(rng.integers(4))) for _ in range(int(rng.integers(0, 8)))]
    most = int(rng.integers(0, 4))
    given = [list(pair) if rng.random() < 0.5 else {"train": pair[0], "test": pair[1]} for pair in pairs]
    n = len({b for _, b in pairs})
    return report(data={"leakage": given}), {"max_twins": most}, ("passed" if n <= most else "failed", n, most)


def parity(rng: np.random.Generator, alpha: float) -> Trial:
    k, n = counts(rng, 60)
    least = float(rng.choice([0.5, 0.9, k / n]))
    state = "failed" if k / n < least else "passed" if n >= 20 else "insufficient"
    return report(parity={"n": n, "agreement": k / n}), {"min_agreement": least}, (state, k / n, least)


def score_parity(rng: np.random.Generator, alpha: float) -> Trial:
    n, shift, packed, noise = int(rng.integers(1, 99)), *rng.choice([0.0, 0.0005, 0.001, 0.002, 0.0024, 0.02, 0.021], 3)
    section, wanted = {"n": n, "mean_shift": float(shift)}, ("failed" if shift > 0.02 else "passed", shift, 0.02)
    if rng.random() < 0.7:
        section |= {"n_packed": n, "packed_shift": float(packed), "batch_shift": float(noise)}
        if packed > 0.001 + 2 * noise:
            wanted = "failed", packed, 0.001
    return report(parity=section), {}, wanted


def surely_more(more: int, fewer: int, alpha: float) -> bool:
    return more + fewer > 0 and stats.binomtest(more, more + fewer, 0.5, "greater").pvalue <= alpha


def class_loss(rng: np.random.Generator, alpha: float) -> Trial:
    """Five of a hundred are as many as may not be lost."""
    rows = []
    for i in range(int(rng.integers(1, 5))):
        n, better, worse, _ = versions(rng, 60)
        if rng.random() < 0.3:
            worse, better = int(rng.integers(8, 13)), 0
            n = 20 * worse
        elif rng.random() < 0.2:
            n, better, worse = 1, 0, 0
        rows.append({"class": f"c{i}", "n": n * (rng.random() > 0.1), "worse": worse, "better": better})
    known = [row for row in rows if row["n"]]
    lost = [
        (row["worse"] - row["better"]) / row["n"]
        for row in known
        if row["worse"] - row["better"] >= row["n"] / 20
        and surely_more(row["worse"], row["better"], 0.002 / len(known))
    ]
    wanted = ("failed", max(lost), 0.05) if lost else ("passed", None, 0.05)
    return report(versions={"incumbent": LIVE, "classes": rows}), {}, wanted


def class_found(rng: np.random.Generator, alpha: float) -> Trial:
    """Classes alone, then two that are taken for each other; half of the cases of a class are not most."""
    names = tuple("abcd"[: int(rng.integers(2, 5))])
    size = len(names)
    table = rng.multinomial(int(rng.integers(0, 40)), np.ones(size) / size, size) * (rng.random((size, 1)) > 0.15)
    if rng.random() < 0.6:
        table[0] //= int(rng.choice([1, 4, 40]))
        table[1] //= int(rng.choice([1, 4, 40]))
        most = int(rng.choice([12, 30]))
        table[0, 1] += int(rng.integers(most))
        table[1, 0] += int(rng.integers(most))
    if rng.random() < 0.2:
        table[0, 1] = table[0].sum() - table[0, 1]
    cases, right = table.sum(axis=1), table.diagonal()
    shown = rng.random() < 0.5  # a class without a case may be in the report, or not
    found = [rate("recall", int(k), int(n), f"class={c}") for c, k, n in zip(names, right, cases) if n or shown]
    there = [(int(k), int(n)) for k, n in zip(right, cases) if n]
    if not there:
        return report(*found, classes=names), {}, ("failed", None, None)  # nothing was measured
    cells = [[i, j, int(table[i, j])] for i in range(size) for j in range(size) if table[i, j]]
    lost = [k / n for k, n in there if proven_below(k, n, 0.4, 0.0025 / len(there))]
    n_pairs = max(1, len(there) * (len(there) - 1) // 2)
    for i in range(size):
        for j in range(i + 1, size):
            if not lost and 2 * table[i, j] > cases[i] and 2 * table[j, i] > cases[j]:
                k, n = int(right[i] + right[j]), int(cases[i] + cases[j])
                lost = [k / n] if proven_below(k, n, 0.4, 0.0025 / n_pairs) else []
    wanted = ("failed", min(lost), 0.4) if lost else ("passed", None, 0.4)
    return report(*found, confusion={"cells": cells}, classes=names), {}, wanted


def overconfidence(rng: np.random.Generator, alpha: float) -> Trial:
    (k, n), sure = counts(rng, 400), float(rng.choice([0.8, 0.99, 1.0, 0.4]))
    ceiling = 2 * (1 - sure)
    lost = ceiling < 1 and (stats.binom.sf(n - k - 1, n, ceiling) < 0.002 if ceiling > 0 else k < n)
    state = "failed" if lost else "passed"
    found = report(rate("accuracy", k, n), test_labels={"n": n, "confidence": sure})
    return found, {}, (state, 1 - k / n, ceiling)


def log_loss(rng: np.random.Generator, alpha: float) -> Trial:
    """Student's test, on the losses themselves."""
    rise = rng.normal(rng.choice([-0.1, 0.05, 0.3]), rng.choice([0.01, 1.0]), int(rng.integers(2, 60)))
    p = float(stats.ttest_1samp(rise, 0.0, alternative="greater").pvalue)
    mean, p = (float(rise.mean()), p) if rng.random() < 0.9 else (0.05, 0.002)
    section = {"incumbent": LIVE, "log_loss": {"n": len(rise), "rise": mean, "p": p}}
    lost = mean >= 0.05 and p <= 0.002
    return report(versions=section), {}, ("failed" if lost else "passed", mean, 0.05)


def moved(rng: np.random.Generator) -> tuple[int, int, int]:
    """How many items, how many went one way and how many back; as often as not about a twentieth of all, on balance."""
    if rng.random() < 0.5:
        n, more, less, _ = versions(rng, 100)
        return n, more, less
    less = int(rng.integers(0, 12))
    more = less + int(rng.integers(1, 50))
    return max(more + less, round(20 * (more - less) * float(rng.choice([0.7, 1.0, 1.0, 1.1])))), more, less


def guard(rng: np.random.Generator, alpha: float) -> Trial:
    n, more, less = moved(rng)
    n_strange, missed, noticed = moved(rng) if rng.random() > 0.1 else (0, 0, 0)
    size, live, p = (
        float(rng.choice([1.0, 2.0, 3.0])),
        float(rng.choice([1.0, 1.5])),
        float(rng.choice([0.5, 0.002 / 3, 0.0001])),
    )
    section = {
        "n": n, "withheld_more": more, "withheld_less": less, "n_strange": n_strange, "missed": missed,
        "noticed": noticed, "set_size": size, "set_size_live": live, "p_size": p,
    }  # fmt: skip
    third = 0.002 / 3
    wanted = "passed", (more - less) / n, 0.05
    if size >= 2 * live and p <= third:
        wanted = "failed", size, 2 * live
    if n_strange and missed - noticed >= n_strange / 20 and surely_more(missed, noticed, third):
        wanted = "failed", (missed - noticed) / n_strange, 0.05
    if more - less >= n / 20 and surely_more(more, less, third):
        wanted = "failed", (more - less) / n, 0.05
    return report(versions={"incumbent": LIVE, "guard": section}), {}, wanted


def labels_of_the_test(rng: np.random.Generator, alpha: float) -> Trial:
    level = 0.002 / 3
    chance, p = (float(x) for x in rng.choice([0.5, level, 1e-6], 2))
    gap = float(rng.choice([0.0, 0.029, 0.03, 0.2]))
    n_wrong, gone = int(rng.integers(0, 3)), rng.choice([0.5, level, 1e-6], int(rng.choice([0, 0, 1, 2]))).tolist()
    left = {"n_drawn": 40, "n_left": 10, "mark": "a", "n_marked_left": 9, "n_marked_told": 1}
    left |= {"share": float(rng.choice([0.049, 0.05, 0.3])), "p": float(rng.choice([0.5, 0.01, 1e-6]))}
    left |= {"n_passed": int(rng.integers(1, 6)), "passed_share": float(rng.choice([0.0, 0.049, 0.05, 0.2]))}
    section = {
        "n": 50, "n_wrong": n_wrong, "log_chance": math.log(chance), "confidence": 0.5 + gap, "confidence_rest": 0.5,
        "n_rest": 50, "p_easier": p, "absent": [{"class": "a", "p": one, "expected": 9.0} for one in gone],
        "left_out": left if rng.random() < 0.8 else None,
    }  # fmt: skip
    wanted: Wanted = "passed", None, None
    if any(one <= level for one in gone):
        wanted = "failed", 0.0, None
    if section["left_out"] and left["passed_share"] >= 0.05 and left["n_passed"] >= 3:
        wanted = "insufficient", left["passed_share"], 0.05
    if section["left_out"] and left["p"] <= 0.01 and left["share"] >= 0.05:
        wanted = "insufficient", left["share"], 0.05
    if gap >= 0.03 and p <= level:
        wanted = "failed", gap, 0.03  # 0.53 - 0.5 is no less, as it is rounded
    if n_wrong == 0 and chance <= level:
        wanted = "failed", chance, level
    return report(test_labels=section), {}, wanted


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


@oracle("scipy")
@pytest.mark.parametrize("name", ORACLES)
def test_decides_as_the_second_does(name: str) -> None:
    decides_alike(name, ORACLES[name])
