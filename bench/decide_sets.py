"""How many test labels it takes to decide about a model that says sets of classes: chosen and prediction-powered.

The counterpart of `decide.py`, whose procedure and arms it uses, on the composed items of `multilabel_sets.py`:
CLINC150's ten domains (150 labels, 1,000 labels, and 150 with nothing pretrained) and Banking77's 77 intents (616).
Three draws of training labels in turn. The 3,000 test items play the world; pools of 2,000 are drawn from them with
replacement. Features, prior and the mix of draws were chosen on items composed of the training split alone; that the
reading is careful (`powered_rate`), after a first run on other items composed of the test split (`docs/log.md`).

- Decisions about `accuracy` (the whole set is right) and `item_f1` (mean F1 of an item): bounds below, above and at the
  truth, as in `decide.py`. The peer, `random`, has every item equally likely and the exact test on what was labelled;
  it counts F1 as a coin of that mean, which is how this figure was read before.
- Coverage of 95 % intervals after 20 and 40 labels in one round, 100 in two, 300 in three: of the two figures, of
  micro- and macro-F1 and Hamming loss (bootstrap, weighted), and of every class's recall that has five cases or more.
- Bounds of a class's recall at one-sided .01, as `worst_class.v1` uses them: how often they miss.
- Versions: a candidate against a better live release (another draw of training labels), labels drawn as with a live
  release. The margin is the true loss, so that a pass of `non_inferiority.v1` is an error; and `negative_flips.v1` at
  the true share of flips.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import harness
from answers import add_cache
from decide import ALPHA, COVERAGE, LOOKS, N_POOL, Labelling, bounds_of, decide, ratio
from decide_sets_worlds import FIGURES, WORLDS, SetPool, world
from partly_labelled import reported
from passmuster.core.prediction_powered import combined_weights, expit, fit_logistic
from passmuster.core.records import Metric
from passmuster.core.sampling import draw, inclusion_probabilities
from passmuster.core.statistics import Interval, wilson
from passmuster.flows.evidence import DIFFERENCE_SHARE
from passmuster.metrics.gates.base import rate_bounds
from passmuster.metrics.gates.versions import judge_negative_flips, judge_non_inferiority
from passmuster.metrics.label_sets import f1, hamming_loss, per_class_of_sets

ARMS = ("random", "active", "uniform_powered")
POLICIES = ("at", *(f"{side}{need}" for need in (150, 300, 600) for side in ("below", "above")))
FEWEST_CASES = 5  # of a class whose recall is looked at


@dataclass(frozen=True)
class Sized:
    """How many simulations of each kind, and draws of training labels."""

    decisions: int
    at_bound: int
    coverage: int
    versions: int
    draws: int


FULL, QUICK = Sized(12, 150, 60, 50, 3), Sized(4, 10, 20, 10, 2)


def simulate(name: str, seed: int, sized: Sized, data: Path, folder: Path) -> list[dict[str, Any]]:
    """Every run of one world."""
    worlds = [world(data, name, number, folder) for number in range(sized.draws)]
    runs: list[dict[str, Any]] = [
        {"set": name, "draws": [{f: w.truth(f) for f in FIGURES} | {"coin": coin_share(w.lost)} for w in worlds]}
    ]
    for figure, policy, arm in product(FIGURES, POLICIES, ARMS):
        n = sized.at_bound if policy == "at" else sized.decisions
        if arm == "uniform_powered":
            n = 0 if policy == "at" else n // 2
        outcomes = []
        for i in range(n):
            one = worlds[i % sized.draws]
            bound = bounds_of(one.truth(figure)).get(policy)
            if bound is not None:
                rng = np.random.default_rng([seed, i, sum(map(ord, policy + figure))])
                outcomes.append(decide(Labelling(one.some(rng), arm, rng, figure), bound))
        if outcomes:
            runs.append(
                {"set": name, "figure": figure, "policy": policy, "arm": arm, "n": len(outcomes),
                 **{w: sum(o[0] == w for o in outcomes) for w in ("SHIP", "HOLD", "undecided")},
                 "labels": [o[1] for o in outcomes]}
            )  # fmt: skip
    for plan, arm in product(COVERAGE, ARMS[:2]):
        runs += coverage(name, worlds, plan, arm, seed, sized)
    return runs + versions(name, worlds, seed, sized)


def coin_share(lost: np.ndarray) -> float:
    """The variance of what is lost, of a coin's with that mean."""
    return float(lost.var() / (lost.mean() * (1 - lost.mean())))


def coverage(
    name: str, worlds: list[SetPool], plan: tuple[int, ...], arm: str, seed: int, sized: Sized
) -> list[dict[str, Any]]:  # fmt: skip
    """How often intervals of every figure hold the truth after some rounds."""
    told: dict[str, list[tuple[bool, bool, float, float]]] = {}
    truths = [truths_of(one) for one in worlds]
    missed: list[tuple[int, int, int]] = []  # of a class's recall: bounds looked at, too high, too low
    for i in range(sized.coverage):
        one = worlds[i % sized.draws]
        rng = np.random.default_rng([seed, i, 7, len(plan), plan[-1]])
        labelling = Labelling(one.some(rng), arm, rng)
        for n in plan:
            labelling.label(n)
        for figure in FIGURES:
            note(told, figure, labelling.metric(figure), one.truth(figure))
        pool, at = labelling.pool, labelling.at
        weights = combined_weights(labelling.rounds(), len(at))[0] if labelling.powered else np.ones(len(at))
        for figure, measure in OTHERS.items():
            found = measure(pool.targets[at], pool.said[at], weights, rng)
            note(told, figure, found, truths[i % sized.draws][figure])
        recalls = [r.recall for r in per_class_of_sets(pool.targets[at], pool.said[at], weights=weights)]
        every = truths[i % sized.draws]["recall"]
        enough = [(a, b) for a, b in zip(recalls, every, strict=True) if a.n >= FEWEST_CASES]
        bounds = [rate_bounds(as_metric(a), ALPHA / LOOKS) for a, _ in enough]
        low = sum(low > b + 1e-12 for (low, _), (_, b) in zip(bounds, enough, strict=True))
        high = sum(high < b - 1e-12 for (_, high), (_, b) in zip(bounds, enough, strict=True))
        missed.append((len(enough), low, high))
        for found, truth in enough:
            note(told, "recall", found, truth)
    labels = sum(plan)
    rows = []
    for figure, each in told.items():
        high, low, off, half = np.array(each, dtype=np.float64).T
        rows.append(
            {"set": name, "coverage_of": arm, "figure": figure, "n_labels": labels, "rounds": len(plan), "n": len(each),
             "covered": float(1 - (high + low).mean()), "too_high": float(high.mean()), "too_low": float(low.mean()),
             "bias": float(off.mean()), "mean_half_width": float(half.mean())}
        )  # fmt: skip
    n, low, high = np.sum(missed, axis=0).tolist()
    rows.append({"set": name, "recall_bounds_of": arm, "n_labels": labels, "n": n, "too_high": low, "too_low": high})
    return rows


def truths_of(one: SetPool) -> dict[str, Any]:
    """What is true of a whole world, by figure; of each class's recall a list."""
    alike = np.ones(len(one.wrong))
    found: dict[str, Any] = {f: m(one.targets, one.said, alike, None).value for f, m in OTHERS.items()}
    return found | {"recall": [r.recall.value for r in per_class_of_sets(one.targets, one.said)]}


def note(told: dict[str, list[tuple[bool, bool, float, float]]], figure: str, found: Any, truth: float) -> None:
    """Whether an interval lies above the truth, or below, how far its middle is off, and how wide it is."""
    row = (truth < found.low - 1e-12, truth > found.high + 1e-12, found.value - truth, (found.high - found.low) / 2)
    told.setdefault(figure, []).append(row)


def as_metric(found: Interval) -> Metric:
    return Metric("recall", found.value, found.low, found.high, found.n, method=found.method)


Measure = Callable[[np.ndarray, np.ndarray, np.ndarray, "np.random.Generator | None"], Interval]


def resampled(measure: Callable[..., Interval], *given: str) -> Measure:
    """A bootstrapped figure; without a generator of its value alone."""

    def found(targets: np.ndarray, said: np.ndarray, weights: np.ndarray, rng: np.random.Generator | None) -> Interval:
        n = 2 if rng is None else 300
        return measure(targets, said, *given, rng=rng or np.random.default_rng(0), weights=weights, n_resamples=n)

    return found


OTHERS: dict[str, Measure] = {
    "micro_f1": resampled(f1, "micro"), "macro_f1": resampled(f1, "macro"), "hamming_loss": resampled(hamming_loss),
}  # fmt: skip


def versions(name: str, worlds: list[SetPool], seed: int, sized: Sized) -> list[dict[str, Any]]:
    """How often a loss of exactly the margin passes, and flips at exactly their bound."""
    candidate, live = sorted(worlds, key=lambda one: one.truth("accuracy"))[:: len(worlds) - 1]
    said = (candidate.targets, candidate.said, live.said)
    names = [np.array([str(np.flatnonzero(row).tolist()) for row in which]) for which in said]
    new_right, old_right = candidate.wrong == 0, live.wrong == 0
    margin, flips = float(old_right.mean() - new_right.mean()), float((old_right & ~new_right).mean())
    rows = []
    for n_labels in (40, 100, 300):
        states = {gate: {"passed": 0, "failed": 0, "insufficient": 0} for gate in ("margin", "flips")}
        for i in range(sized.versions):
            rng = np.random.default_rng([seed, i, 11, n_labels])
            places = rng.integers(0, len(new_right), N_POOL)
            mine, theirs = candidate.at(places), live.at(places)
            at, weights = drawn_against(mine, theirs, names[1][places] != names[2][places], n_labels, rng)
            drawn = [x[places] for x in names]
            report = reported(drawn[0], drawn[1], drawn[2], at, weights, np.arange(N_POOL), rng, rest=True)
            states["margin"][judge_non_inferiority(report, {"margin": max(margin, 1e-6)}, ALPHA).state] += 1
            states["flips"][judge_negative_flips(report, {"max_rate": flips}, ALPHA).state] += 1
        rows.append({"set": name, "versions": n_labels, "n": sized.versions, "margin": margin, "max_flips": flips,
                     "differ": float((names[1] != names[2]).mean()), "states": states})  # fmt: skip
    return rows


def drawn_against(
    mine: SetPool, theirs: SetPool, differ: np.ndarray, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Positions and weights of one round as `muster label --for test` draws it where there is a live release."""
    nothing = np.zeros(0, dtype=np.int64)
    wanted = Labelling(mine, "active", rng).wanted(np.arange(N_POOL))

    def risk(pool: SetPool) -> np.ndarray:
        features = pool.features(nothing, "accuracy")
        coefficients, _ = fit_logistic(features[nothing], pool.wrong[nothing], np.ones(0), pool.prior)
        return expit(features @ coefficients)

    square = np.where(differ, np.clip(2 - risk(mine) - risk(theirs), 0.0, 1.0), 0.0)
    spread = np.sqrt(square) / np.sqrt(square).mean()
    chances = inclusion_probabilities((1 - DIFFERENCE_SHARE) * wanted + DIFFERENCE_SHARE * spread, n)
    at = np.sort(draw(chances, rng))
    return at, 1 / chances[at]


def main() -> None:
    parser = harness.parser(__doc__ or "")
    parser.add_argument("--only", default="", help="settings, separated by commas")
    parser.add_argument("--jobs", type=int, default=1)
    add_cache(parser)
    arguments = parser.parse_args()
    report = harness.Report("decide_sets", arguments)
    names = arguments.only.split(",") if arguments.only else list(WORLDS)[: 1 if arguments.quick else None]
    sized = QUICK if arguments.quick else FULL
    with ProcessPoolExecutor(arguments.jobs) as workers:
        jobs = {
            name: workers.submit(simulate, name, arguments.seed, sized, harness.bench_data(), arguments.cache)
            for name in names
        }
        for name, job in jobs.items():
            began = time.perf_counter()
            for run in job.result():
                report.run(**run)
            print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    state(report, names)
    report.write()


def state(report: harness.Report, names: list[str]) -> None:
    """The claims: labels until a verdict, wrong decisions, coverage, bounds of recall, and versions."""
    rng = np.random.default_rng(0)
    for figure in FIGURES:
        decisions = [run for run in report.runs if "policy" in run and run["figure"] == figure]
        for arm in ARMS[1:]:
            ratios = {name: ratio(decisions, name, arm, rng) for name in names}
            for name, (mine, peer, drawn) in ratios.items():
                low, high = np.quantile(drawn, [0.025, 0.975])
                report.claim(
                    f"{name}.{figure}.{arm}.label_ratio", mine / peer, "of random", low=low, high=high, peer=1.0
                )
                report.claim(f"{name}.{figure}.{arm}.mean_labels_to_decision", mine, "labels", peer=peer)
            low, high = np.quantile(np.mean([drawn for *_, drawn in ratios.values()], axis=0), [0.025, 0.975])
            value = float(np.mean([mine / peer for mine, peer, _ in ratios.values()]))
            report.claim(f"mean_of_sets.{figure}.{arm}.label_ratio", value, "of random", low=low, high=high, peer=1.0)
        for arm in ARMS[:2]:
            at = [run for run in decisions if run["policy"] == "at" and run["arm"] == arm]
            off = [run for run in decisions if run["policy"] != "at" and run["arm"] == arm]
            for word in ("SHIP", "HOLD"):
                share(report, f"at_bound.{figure}.{arm}.{word.lower()}_rate", sum(r[word] for r in at),
                      sum(r["n"] for r in at), "of runs", ALPHA)  # fmt: skip
            wrong = sum(run["HOLD" if run["policy"].startswith("below") else "SHIP"] for run in off)
            share(report, f"off_bound.{figure}.{arm}.wrong_rate", wrong, sum(r["n"] for r in off), "of runs", None)
    for arm in ARMS[:2]:
        rows = [run for run in report.runs if run.get("coverage_of") == arm]
        for figure in (*FIGURES, *OTHERS, "recall"):
            own = [run for run in rows if run["figure"] == figure]
            for name in (*names, "all_sets"):
                some = [run for run in own if name in (run["set"], "all_sets")]
                share(report, f"{name}.{figure}.{arm}.coverage_95", sum(r["covered"] * r["n"] for r in some),
                      sum(r["n"] for r in some), "of intervals", 0.95)  # fmt: skip
            for n_labels in sorted({run["n_labels"] for run in own}):
                some = [run for run in own if run["n_labels"] == n_labels]
                share(report, f"all_sets_{n_labels}_labels.{figure}.{arm}.coverage_95",
                      sum(r["covered"] * r["n"] for r in some), sum(r["n"] for r in some), "of intervals",
                      0.95)  # fmt: skip
        for side in ("too_high", "too_low"):
            bounds = [run for run in report.runs if run.get("recall_bounds_of") == arm]
            share(report, f"recall_bounds.{arm}.{side}", sum(r[side] for r in bounds), sum(r["n"] for r in bounds),
                  "of bounds", ALPHA / LOOKS)  # fmt: skip
    for gate, n_labels in product(("margin", "flips"), (40, 100, 300)):
        rows = [run for run in report.runs if run.get("versions") == n_labels]
        share(report, f"versions_{n_labels}_labels.{gate}.passed_at_bound",
              sum(r["states"][gate]["passed"] for r in rows), sum(r["n"] for r in rows), "of tests",
              ALPHA)  # fmt: skip


def share(report: harness.Report, name: str, count: float, n: int, unit: str, peer: float | None) -> None:
    """One claim of a share, with Wilson's interval."""
    if n:
        found = wilson(count, n)
        report.claim(name, found.value, unit, low=found.low, high=found.high, peer=peer)


if __name__ == "__main__":
    main()
