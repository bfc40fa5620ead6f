"""Every gate that proves something against a second one, on 1,000 random reports each.

The second asks scipy for the chance of what was seen if the truth lay on the bound, where the gates invert it, and
counts outcomes one by one where they have formulas. Few items, ties with the bound, classes and groups without an item,
no right answer and no wrong one are among the cases.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy import special, stats
from scipy.optimize import minimize_scalar

import release_case as case
from oracle_case import counted, oracle
from passmuster.core.paired import _GRID, GAMMA
from passmuster.core.records import Metric, Report
from passmuster.metrics.gates.base import read_parameters
from passmuster.metrics.gates.find import gates

N_CASES = 1_000
LIVE = "i" * 64
Wanted = str | tuple[str, float | None, float | None]  # the state, or also the number that decides and its bound
Trial = tuple[Report, dict[str, float], Wanted]  # a report, what the policy names, what it must come to
Oracle = Callable[[np.random.Generator, float], Trial]
BOUNDS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)


def report(
    *metrics: Metric, task: Any = "single-label", classes: tuple[str, ...] = ("a", "b"), **sections: Any
) -> Report:
    return Report(
        bundle="b", snapshot="s", created="2026-01-01T00:00:00+00:00", modality="text", classes=classes, n_test=1,
        look=1, metrics=metrics, item_sets={}, sections=sections, incumbent=LIVE, task=task,
    )  # fmt: skip


def rate(name: str, k: int, n: int, where: str = "") -> Metric:
    found = case.rate(name, k, n)
    return Metric(name, found.value, found.low, found.high, n, "rate", where, "", found.method)


def counts(rng: np.random.Generator, largest: int = 150) -> tuple[int, int]:
    n = int(rng.integers(1, largest))
    return int(rng.choice([0, n, rng.integers(n + 1), rng.binomial(n, 0.85)])), n


def proven_above(k: int, n: int, bound: float, alpha: float) -> bool:
    """So many right ones, or more, were too unlikely if the rate lay at the bound; a rate of 0 needs no proof."""
    return bound <= 0 or (n > 0 and stats.binom.sf(k - 1, n, bound) <= alpha)


def proven_below(k: int, n: int, bound: float, alpha: float) -> bool:
    return bound > 0 and n > 0 and (stats.binom.cdf(k, n, bound) < alpha)


def all_above(rates: Iterable[tuple[int, int]], bound: float, alpha: float) -> str:
    """Each is proven at `alpha`; that one is below takes its part of it."""
    rates = list(rates)
    if all(proven_above(k, n, bound, alpha) for k, n in rates):
        return "passed"
    return "failed" if any(proven_below(k, n, bound, alpha / len(rates)) for k, n in rates) else "insufficient"


def accuracy(rng: np.random.Generator, alpha: float) -> Trial:
    (k, n), least = counts(rng), float(rng.choice(BOUNDS))
    return report(rate("accuracy", k, n)), {"min": least}, all_above([(k, n)], least, alpha)


def item_f1(rng: np.random.Generator, alpha: float) -> Trial:
    """Halves of a right answer: the binomial's tail goes on between whole numbers as the beta distribution's."""
    (k, n), least = counts(rng), float(rng.choice([0.25, 0.5, 0.9]))
    half = k - 0.5 if k == n else k + 0.5
    above = stats.beta.cdf(least, half, n - half + 1) <= alpha
    below = stats.beta.sf(least, half + 1, n - half) < alpha
    metric = Metric("item_f1", half / n, 0.0, 1.0, n, "rate", method="wilson")
    return (
        report(metric, task="multi-label"),
        {"min": least},
        "passed" if above else "failed" if below else "insufficient",
    )


def worst_class(rng: np.random.Generator, alpha: float) -> Trial:
    names = tuple("abcd"[: int(rng.integers(1, 5))])
    rates, least = [counts(rng) if rng.random() > 0.1 else (0, 0) for _ in names], float(rng.choice(BOUNDS[:-1]))
    found = [rate("recall", k, n, f"class={name}") for name, (k, n) in zip(names, rates)]
    overall = rate("accuracy", *counts(rng))
    return report(overall, *found, classes=names), {"min": least}, all_above(rates, least, alpha)


def worst_group(rng: np.random.Generator, alpha: float) -> Trial:
    rates, least = [counts(rng) for _ in range(int(rng.integers(1, 5)))], float(rng.choice(BOUNDS[:-1]))
    rates += [(0, 0)] * int(rng.random() < 0.1)
    found = [rate("group_accuracy", k, n, f"g={i}") for i, (k, n) in enumerate(rates)]
    wanted = all_above(rates, least, alpha)
    return report(*found), {"min": least}, wanted


def scaled(metric: Metric, alpha: float) -> tuple[float, float]:
    """An interval at 95 % as one of two errors of `alpha`, as if it were normal."""
    factor = stats.norm.ppf(1 - alpha) / stats.norm.ppf(0.975)
    return metric.value + factor * (metric.low - metric.value), metric.value + factor * (metric.high - metric.value)


def spread(rng: np.random.Generator, name: str, most: float, where: str = "") -> Metric:
    value = float(rng.uniform(0, most))
    low, high = value - rng.uniform(0, 0.4) * value, value + float(rng.uniform(0, 0.4)) * value
    return Metric(name, value, float(low), high, int(rng.integers(1, 200)), "", where, "", "bootstrap")


def group_gap(rng: np.random.Generator, alpha: float) -> Trial:
    most = {"max_accuracy": 0.1, "max_equalised_odds": float(rng.choice([0.05, 0.2]))}
    kinds = {"group_accuracy_gap": most["max_accuracy"], "equalised_odds_gap": most["max_equalised_odds"]}
    gaps = [spread(rng, kind, 0.4, "g") for kind in kinds]
    untold = [["north"] if rng.random() < 0.2 else [] for _ in kinds]
    section = {"columns": [{"column": "g", "gaps": [{"kind": k, "untold": u} for k, u in zip(kinds, untold)]}]}
    ends = [scaled(gap, alpha) for gap in gaps]
    if any(low > kinds[gap.name] for gap, (low, _) in zip(gaps, ends)):
        wanted = "failed"
    elif any(untold) or any(high > kinds[gap.name] for gap, (_, high) in zip(gaps, ends)):
        wanted = "insufficient"
    else:
        wanted = "passed"
    return report(*gaps, groups=section), most, wanted


def versions(rng: np.random.Generator, largest: int) -> tuple[int, int, int, dict[str, Any]]:
    """n, those that only the candidate has right, those that only the live release has, and the section."""
    n = int(rng.integers(1, largest))
    better, worse, rest = rng.multinomial(n, rng.choice([[0.1, 0.1, 0.8], [0.3, 0.0, 0.7], [0.1, 0.5, 0.4], [0, 0, 1]]))
    both = int(rng.integers(rest + 1))
    section = {
        "incumbent": LIVE, "both_right": both, "both_wrong": int(rest) - both, "only_candidate": int(better),
        "only_incumbent": int(worse),
    }  # fmt: skip
    return n, int(better), int(worse), section


@cache
def score(better: int, worse: int, n: int, difference: float) -> float:
    """Tango's score, the rates found by climbing the likelihood where they differ by `difference`."""

    def unlikely(p_worse: float) -> float:
        p_better = p_worse + difference
        rest = 1 - p_better - p_worse
        if min(p_better, p_worse, rest) < 0:
            return math.inf
        pairs = ((better, p_better), (worse, p_worse), (n - better - worse, rest))
        return -sum(k * math.log(max(p, 1e-300)) for k, p in pairs if k)

    low, high = max(0.0, -difference), (1 - difference) / 2
    p_worse = minimize_scalar(unlikely, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    p_worse = min([low, high, p_worse], key=unlikely)
    variance = n * (2 * p_worse + difference - difference**2)
    return (better - worse - n * difference) / math.sqrt(variance)


def p_not_worse(better: int, worse: int, n: int, margin: float) -> float:
    """The largest chance of an outcome at least as good, over the shares of disagreement that may be."""
    outcomes = [(b, c) for b in range(n + 1) for c in range(n + 1 - b)]
    scores = {outcome: score(*outcome, n, -margin) for outcome in outcomes}
    as_good = [outcome for outcome in outcomes if scores[outcome] >= scores[better, worse] - 1e-7]
    differ = better + worse
    low = stats.beta.ppf(GAMMA / 2, differ, n - differ + 1) if differ else 0.0
    high = stats.beta.ppf(1 - GAMMA / 2, differ + 1, n - differ) if differ < n else 1.0
    b, c = np.array(as_good).T
    ways = [
        math.factorial(n) // math.factorial(i) // math.factorial(j) // math.factorial(n - i - j) for i, j in as_good
    ]
    shares = np.linspace(max(low, margin), max(high, margin), _GRID)[:, None]
    up, down = np.clip((shares - margin) / 2, 0, 1), np.clip((shares + margin) / 2, 0, 1)
    chance = np.array(ways, dtype=float) * up**b * down**c * np.clip(1 - up - down, 0, 1) ** (n - b - c)
    return min(1.0, float(chance.sum(axis=1).max()) + GAMMA)


def non_inferiority(rng: np.random.Generator, alpha: float) -> Trial:
    n, better, worse, section = versions(rng, 13)
    margin = float(rng.choice([0.1, 0.4, 0.6]))
    wanted = "passed" if p_not_worse(better, worse, n, margin) <= alpha else "insufficient"
    if wanted != "passed" and better + worse and stats.binomtest(better, better + worse, 0.5, "less").pvalue <= alpha:
        wanted = "failed"
    return report(versions=section), {"margin": margin}, wanted


def negative_flips(rng: np.random.Generator, alpha: float) -> Trial:
    n, _, worse, section = versions(rng, 150)
    most = float(rng.choice([0.05, 0.1, 0.3]))
    wanted = all_above([(n - worse, n)], 1 - most, alpha)  # as many stay as must
    return report(versions=section), {"max_rate": most}, wanted


def end(right: float, n: int, alpha: float, *, upper: bool) -> float:
    """Where as much as was seen, or more (as little, or less), has a chance of `alpha`."""
    if right >= n if upper else right <= 0:
        return float(upper)
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        tail = (
            1 - special.betainc(right + 1, n - right, middle)
            if upper
            else special.betainc(right, n - right + 1, middle)
        )
        low, high = (middle, high) if (tail > alpha) == upper else (low, middle)
    return low


def calibration(rng: np.random.Generator, alpha: float) -> Trial:
    """The rules in words: no narrower than accuracy is known, and what chance shows is taken off before it fails."""
    k, n = counts(rng, 2_000)
    ece, most = spread(rng, "ece", 0.3), float(rng.choice([0.02, 0.1, 0.2]))
    ece = Metric("ece", ece.value, ece.low, ece.high, n, "", "", "", "bootstrap")
    low, high = scaled(ece, alpha)

    p = k / n
    half = max(p, 0.5)
    high = max(high, ece.value + half - end(half * n, n, alpha, upper=False))
    low = min(low, ece.value - max(p - end(k, n, alpha, upper=False), end(k, n, alpha, upper=True) - p))
    by_chance = math.sqrt(2 * p * (1 - p) * 15 / (math.pi * n))
    wanted = "passed" if high <= most else "failed" if low - by_chance > most else "insufficient"
    return report(rate("accuracy", k, n), ece), {"max_ece": most}, wanted


def robustness(rng: np.random.Generator, alpha: float) -> Trial:
    (k, n), drop, least = counts(rng), float(rng.choice([0.1, 1.0])), float(rng.choice([0.0, 0.5, 0.9]))
    rates = [(*counts(rng), int(rng.integers(1, 6))) for _ in range(int(rng.integers(1, 5)))]
    rates.append((*counts(rng), 3))
    found = [rate("accuracy", a, b, f"corruption=f{i}.v1 severity={s}") for i, (a, b, s) in enumerate(rates)]
    bound = max(least, k / n - drop)
    wanted = all_above([(a, b) for a, b, s in rates if s <= 3], bound, alpha)
    return report(rate("accuracy", k, n), *found), {"min": least, "max_drop": drop}, wanted


def adversarial(rng: np.random.Generator, alpha: float) -> Trial:
    (k, n), least, drop = counts(rng), float(rng.choice(BOUNDS)), float(rng.choice([0.05, 1.0]))
    high = float(rng.choice([-0.2, -0.05, 0.1]))
    change = Metric("robust_accuracy_change", high - 0.1, high - 0.2, high, n, "rate", "strength=2")
    fell = drop < 1 and high < -drop
    wanted = "failed" if fell else all_above([(k, n)], least, alpha)
    found = report(rate("robust_accuracy", k, n, "strength=2"), rate("robust_accuracy", n, n, "strength=1"), change)
    return found, {"strength": 2, "min": least, "max_drop": drop}, wanted


def behaviour(rng: np.random.Generator, alpha: float) -> Trial:
    rates, most = [counts(rng) for _ in range(int(rng.integers(1, 4)))], float(rng.choice([0.0, 0.1, 0.5]))
    rates = [(n - k, n) for k, n in rates]  # mostly few fail
    found = [rate("behaviour_failure_rate", k, n, f"test=t{i} kind=MFT") for i, (k, n) in enumerate(rates)]
    exact = "passed" if not any(k for k, _ in rates) else "failed"
    wanted = all_above([(n - k, n) for k, n in rates], 1 - most, alpha) if most else exact
    return report(*found), {"max_rate": most}, wanted


def mce(rng: np.random.Generator, alpha: float) -> Trial:
    found = spread(rng, "mce", 2.0)
    low, high = scaled(found, alpha)
    wanted = "passed" if high <= 1.1 else "failed" if low > 1.1 else "insufficient"
    return report(found), {}, wanted if found.n >= 30 else "insufficient"


def paid(name: str, k: int, n: int, largest: float, where: str = "") -> Metric:
    found = case.rate(name, k, n)
    value, low, high = (largest * v for v in (found.value, found.low, found.high))
    return Metric(name, value, low, high, n, "EUR", where, "", "clopper-pearson")


def expected_cost(rng: np.random.Generator, alpha: float) -> Trial:
    """So many items cost the largest, the others nothing."""
    (k, n), largest = counts(rng), float(rng.choice([1.0, 8.0]))
    k, most = n - k, largest * float(rng.choice([0.1, 0.5]))
    wanted = all_above([(n - k, n)], 1 - most / largest, alpha)
    return report(paid("expected_cost", k, n, largest), costs={"largest": largest}), {"max": most}, wanted


def cost_non_inferiority(rng: np.random.Generator, alpha: float) -> Trial:
    n, better, worse, section = versions(rng, 150)
    margin = float(rng.choice([0.1, 0.5, 1.5]))
    ends = [[2 * end(k, n, alpha / 2, upper=upper) for upper in (False, True)] for k in (worse, better)]
    low, high = ends[0][0] - ends[1][1], ends[0][1] - ends[1][0]
    wanted = "passed" if high <= margin else "failed" if low > 0 else "insufficient"
    both = [paid("cost_added", worse, n, 2.0, "against=live"), paid("cost_saved", better, n, 2.0, "against=live")]
    return report(*both, costs={"largest": 2.0}, versions=section), {"margin": margin}, wanted


ORACLES: dict[str, Oracle] = {
    "accuracy.v1": accuracy,
    "item_f1.v1": item_f1,
    "worst_class.v1": worst_class,
    "worst_group.v1": worst_group,
    "group_gap.v1": group_gap,
    "non_inferiority.v1": non_inferiority,
    "negative_flips.v1": negative_flips,
    "calibration.v1": calibration,
    "robustness.v1": robustness,
    "adversarial.v1": adversarial,
    "behaviour.v1": behaviour,
    "mce.v1": mce,
    "expected_cost.v1": expected_cost,
    "cost_non_inferiority.v1": cost_non_inferiority,
}


@oracle("scipy")
@pytest.mark.parametrize("name", ORACLES)
def test_decides_as_the_second_does(name: str) -> None:
    decides_alike(name, ORACLES[name])


def decides_alike(name: str, oracle: Oracle) -> None:
    gate, seen = gates[name], dict.fromkeys(("passed", "failed", "insufficient"), 0)
    for seed in counted(range(N_CASES)):
        rng = np.random.default_rng(seed)
        alpha = float(rng.choice([0.05, 0.01, 0.0025]))
        found, named, wanted = oracle(rng, alpha)
        params = read_parameters(name, gate, named)
        assert gate.applies(found, params) == ""
        result = gate.judge(found, params, alpha)
        state, *numbers = (wanted,) if isinstance(wanted, str) else wanted
        assert result.state == state, (seed, named)
        if numbers:
            assert [result.value, result.bound] == pytest.approx(numbers, abs=1e-9), seed
        seen[state] += 1
    assert min(n for state, n in seen.items() if gate.statistical or state != "insufficient") > N_CASES / 100
