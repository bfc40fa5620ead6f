"""How often a verdict is wrong: simulated releases, items alone and in clusters, through the gates that `release` runs.

Protocol. A world fixes how right the candidate and the live release are, and on how many items they differ. A release
draws n test items from it; what evaluate would measure of them (accuracy, class recalls, calibration error, faults,
the paired counts) becomes a `Report` by the same functions, and `decide` judges it by a policy with every statistical
gate. Clustered items come in groups of 1 to 40 (geometric, mean 5;
one in twenty has 40), as texts of one person do; within a group outcomes correlate by .5. Confidences are calibrated.

- `aa`: the candidate is as good as the live release (A/A), at 60 to 2,400 items. HOLD is an error, and so is SHIP where
  every bound lies at the truth. `aa.*` asks for less than is there; `aa_at_bounds.*` puts every bound exactly at the
  truth, where HOLD errs most. `one_look` spends the whole alpha in one look, `default` is one of five; `five_looks`
  judges five candidates, one after the other, each on a fresh test of its own, and counts a HOLD anywhere.
- `power`: n is what `muster release --plan` says beforehand for power .8, all gates together. No loss: SHIP. A loss of
  the margin: HOLD, and SHIP at most as often as alpha says. Twice the margin: HOLD.
- `small`: good candidates on too few items, or too few people, for any outcome to prove anything: INSUFFICIENT, never
  SHIP.

Each cell has 1,000 releases (those of five looks are 200 times five candidates), 26 of the cells are A/A: some twenty
minutes of one core for all. Each claim has Wilson's interval over releases; its peer is the bar. `worst_cell` is the
largest rate of all A/A cells.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness import Report as Results
from harness import parser
from passmuster.core.config import Policy
from passmuster.core.records import Metric, Report
from passmuster.core.statistics import Interval, wilson
from passmuster.metrics.accuracy import accuracy, per_class
from passmuster.metrics.calibration import calibration_error
from passmuster.metrics.gates import decide
from passmuster.metrics.gates.plan import plan
from passmuster.metrics.gates.prospect import Prospect
from passmuster.metrics.versions import compare

CLASSES = ("a", "b", "c", "d")
CONCENTRATION = 8.0  # of the Beta from which confidences come
CORRELATION = 0.5  # of outcomes within a cluster
MARGIN = 0.03
SIZES = {"n60": 60, "n300": 300, "n1200": 1_200, "n2400": 2_400}


@dataclass(frozen=True)
class World:
    """Chances of an item: both right, only the candidate, only the live release, both wrong."""

    better: float = 0.03
    worse: float = 0.03
    accuracy: float = 0.9  # of the candidate
    clustered: bool = False
    n_clusters: int = 0  # of equal size; 0: sizes are drawn

    @property
    def shares(self) -> np.ndarray:
        return np.array([self.accuracy - self.better, self.better, self.worse, 1 - self.accuracy - self.worse])


def lenient(**changed: Any) -> Policy:
    """Asks for less than the world has."""
    gates = {
        "accuracy.v1": {"min": 0.8}, "non_inferiority.v1": {"margin": MARGIN}, "negative_flips.v1": {"max_rate": 0.08},
        "worst_class.v1": {"min": 0.7}, "calibration.v1": {"max_ece": 0.15}, "robustness.v1": {"min": 0.6},
        "leakage.v1": {"max_twins": 0}, "parity.v1": {"min_agreement": 0.99},
    }  # fmt: skip
    return replace(Policy(gates=gates), **changed)


def at_bounds(world: World, **changed: Any) -> Policy:
    """Asks for exactly what the world has: of every claim, the opposite is as near as it gets."""
    gates = {
        **lenient().gates, "accuracy.v1": {"min": world.accuracy}, "negative_flips.v1": {"max_rate": world.worse},
        "worst_class.v1": {"min": world.accuracy}, "calibration.v1": {"max_ece": 0.001},
        "robustness.v1": {"min": FAULTY * world.accuracy},
    }  # fmt: skip
    return replace(Policy(gates=gates), **changed)


FAULTY = 0.85  # of right answers, the part that stays right under a fault


def clusters_of(n: int, world: World, rng: np.random.Generator) -> np.ndarray:
    """Cluster numbers (n,); each item its own where they are not clustered."""
    if not world.clustered:
        return np.arange(n)
    if world.n_clusters:
        return np.arange(n) * world.n_clusters // n
    sizes = np.minimum(40, rng.geometric(0.2, n))
    sizes[rng.random(n) < 0.05] = 40
    return np.repeat(np.arange(n), sizes)[:n]


def drawn(n: int, world: World, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One test set: clusters, labels, who is right, confidences, and what is right under two faults."""
    clusters = clusters_of(n, world, rng)
    shared = rng.random(n) < (np.sqrt(CORRELATION) if world.clustered else 0.0)
    kind = alike(rng.choice(4, n, p=world.shares), shared, clusters)
    right = kind < 2
    a, b = CONCENTRATION * world.accuracy, CONCENTRATION * (1 - world.accuracy)
    confidence = np.where(right, rng.beta(a + 1, b, n), rng.beta(a, b + 1, n))
    survives = [alike((rng.random(n) < FAULTY).astype(np.int64), shared, clusters) == 1 for _ in range(2)]
    return {
        "clusters": clusters, "labels": rng.integers(0, len(CLASSES), n), "right": right,
        "old_right": (kind == 0) | (kind == 2), "confidence": confidence,
        "blur": right & survives[0], "noise": right & survives[1],
    }  # fmt: skip


def alike(own: np.ndarray, shared: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """`own` (n,), but where `shared` that of the cluster's first item: pairs correlate as the chance of it, squared."""
    first = np.unique(clusters, return_index=True, return_inverse=True)
    of_cluster = own[first[1]][first[2]]
    return np.where(shared, of_cluster, own)


def reported(test: Mapping[str, np.ndarray], rng: np.random.Generator, n_resamples: int) -> Report:
    """What evaluate would write of it, by the same functions."""
    labels, right, clusters = test["labels"], test["right"], test["clusters"]
    other = (labels + 1) % len(CLASSES)
    said = np.where(right, labels, other)
    metrics = [of("accuracy", accuracy(labels, said, clusters=clusters))]
    for name, found in zip(CLASSES, per_class(labels, said, len(CLASSES), clusters=clusters), strict=True):
        metrics.append(of("recall", found.recall, f"class={name}"))
    calibration = calibration_error(test["confidence"], right, rng=rng, clusters=clusters, n_resamples=n_resamples)
    metrics.append(of("ece", calibration))
    for fault in ("blur", "noise"):
        answers = np.where(test[fault], labels, other)
        metrics.append(of("accuracy", accuracy(labels, answers, clusters=clusters), f"corruption={fault} severity=3"))
    old = np.where(test["old_right"], labels, (labels + 2) % len(CLASSES))
    names = [[str(CLASSES[i]) for i in numbers] for numbers in (labels, said, old)]
    found = compare(names[0], names[1], names[2], rng=rng, clusters=clusters, n_resamples=20)
    metrics += [of("accuracy_difference", found.difference), of("negative_flip_rate", found.negative_flips)]
    sections = {
        "data": {"leakage": []}, "parity": {"n": 200, "agreement": 1.0},
        "versions": {
            "incumbent": "i" * 64, "both_right": found.both_right, "only_candidate": found.only_candidate,
            "only_incumbent": found.only_incumbent, "both_wrong": found.both_wrong,
            "worth": found.worth,
        },
    }  # fmt: skip
    return Report(
        bundle="b" * 64, snapshot="s" * 64, created="", modality="text", classes=CLASSES, n_test=len(labels), look=1,
        metrics=tuple(metrics), item_sets={}, sections=sections, incumbent="i" * 64,
    )  # fmt: skip


def of(name: str, found: Interval, slice: str = "") -> Metric:
    """An interval as evaluate writes it; of nothing, a metric of no items."""
    value = 0.0 if np.isnan(found.value) else found.value
    return Metric(name, value, found.low, found.high, found.n, "rate", slice, "", found.method, found.level)


@dataclass(frozen=True)
class Cell:
    """One setting: so many releases on n items of a world, judged by a policy."""

    name: str
    world: World
    policy: Policy
    n: int
    n_candidates: int = 1


def run_cell(cell: Cell, n_releases: int, seed: int, n_resamples: int) -> dict[str, Any]:
    """How often each outcome came, and which gates failed."""
    rng = np.random.default_rng([seed, *map(ord, cell.name)])
    outcomes: dict[str, int] = {"SHIP": 0, "HOLD": 0, "INSUFFICIENT": 0}
    failed: dict[str, int] = {}
    for _ in range(n_releases):
        worst = "SHIP"
        for look in range(cell.n_candidates):
            report = reported(drawn(cell.n, cell.world, rng), rng, n_resamples)
            decision = decide(report, cell.policy, n_looks=look + 1.0)
            worst = max(worst, decision.outcome, key=("SHIP", "INSUFFICIENT", "HOLD").index)
            for result in decision.gates:
                if result.state == "failed":
                    failed[result.gate] = failed.get(result.gate, 0) + 1
        outcomes[worst] += 1
    return {"cell": cell.name, "n": cell.n, "n_releases": n_releases, **outcomes, "failed": failed}


def cells_aa() -> Iterator[Cell]:
    """A/A: nothing changed."""
    for clustered in (False, True):
        world = World(clustered=clustered)
        kind = "clustered" if clustered else "iid"
        for size, n in SIZES.items():
            yield Cell(f"aa.{kind}.{size}.one_look", world, lenient(max_looks=1), n)
            yield Cell(f"aa_at_bounds.{kind}.{size}.one_look", world, at_bounds(world, max_looks=1), n)
            yield Cell(f"aa_at_bounds.{kind}.{size}.default", world, at_bounds(world), n)


def cells_looks() -> Iterator[Cell]:
    """Five candidates in turn on the same items, each as good as the live release: a HOLD anywhere counts."""
    for clustered in (False, True):
        world = World(clustered=clustered)
        kind = "clustered" if clustered else "iid"
        yield Cell(f"aa_at_bounds.{kind}.n300.five_looks", world, at_bounds(world), 300, n_candidates=5)


def cells_power() -> Iterator[Cell]:
    """Candidates that lose nothing, the margin, and twice the margin, on as many labels as the plan asks for."""
    for clustered in (False, True):
        equal = World(clustered=clustered)
        differ = equal.better + equal.worse
        prospect = Prospect(
            1, accuracy=equal.accuracy, differ=differ, smallest_class=1 / len(CLASSES), n_classes=len(CLASSES),
            design_effect=design_effect(equal),
        )  # fmt: skip
        bare = Report("b", "s", "", "text", CLASSES, 1, 1, (), {}, {}, incumbent="i" * 64)
        n = plan(bare, lenient(), prospect).n_together
        assert n is not None
        for name, loss in (("no_loss", 0.0), ("margin", MARGIN), ("twice_margin", 2 * MARGIN)):
            better = max(0.0, (differ - loss) / 2)
            world = replace(equal, better=better, worse=better + loss, accuracy=equal.accuracy - loss)
            yield Cell(f"power.{'clustered' if clustered else 'iid'}.{name}", world, lenient(), n)


def design_effect(world: World) -> float:
    """Clustered items that one independent item is worth: 1 + (mean size of an item's cluster - 1) x correlation."""
    if not world.clustered:
        return 1.0
    sizes = np.unique(clusters_of(100_000, world, np.random.default_rng(0)), return_counts=True)[1].astype(np.float64)
    return float(1 + ((sizes**2).sum() / sizes.sum() - 1) * CORRELATION)


def cells_small() -> Iterator[Cell]:
    """Too little for any outcome to prove the gates' claims, however good the answers; and candidates that are bad."""
    good, bad = World(0.0, 0.0, 0.999), World(0.03, 0.13, 0.7)
    for n in (1, 5, 10, 20, 40):
        yield Cell(f"small.good.n{n}", good, lenient(), n)
        yield Cell(f"small.bad.n{n}", bad, lenient(), n)
    for n in (20, 200, 1_000):
        yield Cell(f"small.four_people.n{n}", replace(good, clustered=True, n_clusters=4), lenient(), n)


KINDS = {"aa": cells_aa, "looks": cells_looks, "power": cells_power, "small": cells_small}


def main() -> None:
    arguments_parser = parser(__doc__ or "")
    arguments_parser.add_argument("--jobs", type=int, default=1)
    arguments_parser.add_argument("--only", default="", help="cells whose name holds this")
    arguments_parser.add_argument("--releases", type=int, default=1_000, help="in each cell")
    arguments = arguments_parser.parse_args()
    results = Results("verdict", arguments)
    n_releases, n_resamples = (20, 50) if arguments.quick else (arguments.releases, 100)
    cells = [cell for kind in KINDS.values() for cell in kind() if arguments.only in cell.name]
    with ProcessPoolExecutor(arguments.jobs) as workers:
        jobs = [
            workers.submit(run_cell, cell, n_releases // cell.n_candidates, arguments.seed, n_resamples)
            for cell in cells
        ]  # a cell of five looks has as many candidates as the others
        for job in jobs:
            results.run(**job.result())
            print(results.runs[-1], file=sys.stderr, flush=True)
    state(results)
    results.write()


def state(results: Results) -> None:
    """The claims: each with what the issue asks for as its peer."""
    for run in results.runs:
        name = run["cell"]
        if name.startswith("aa"):
            rate_claim(results, run, "HOLD", "false_hold_rate", 0.05)
            if "at_bounds" in name:
                rate_claim(results, run, "SHIP", "false_ship_rate", 0.05)
        elif name.startswith("power"):
            outcome, bar = ("SHIP", 0.8) if name.endswith("no_loss") else ("HOLD", 0.8)
            rate_claim(results, run, outcome, f"{outcome.lower()}_rate", bar)
            if outcome == "HOLD":
                rate_claim(results, run, "SHIP", "ship_rate", 0.05)
        else:
            rate_claim(results, run, "SHIP", "ship_rate", 0.0)
            if "bad" not in name:
                rate_claim(results, run, "INSUFFICIENT", "insufficient_rate", 1.0)
    of_aa = [run for run in results.runs if run["cell"].startswith("aa")]
    for kind in ("iid", "clustered"):
        mine = [run for run in of_aa if f".{kind}." in run["cell"]]
        if mine:
            worst = max(mine, key=lambda run: run["HOLD"] / run["n_releases"])
            rate_claim(results, {**worst, "cell": f"worst_cell.{kind}"}, "HOLD", "false_hold_rate", 0.05)
            together = {key: sum(run[key] for run in mine) for key in ("n_releases", "SHIP", "HOLD", "INSUFFICIENT")}
            rate_claim(results, {**together, "cell": f"all_cells.{kind}"}, "HOLD", "false_hold_rate", 0.05)


def rate_claim(results: Results, run: Mapping[str, Any], outcome: str, quantity: str, bar: float) -> None:
    """How often one outcome came in a cell."""
    share = wilson(run[outcome], run["n_releases"])
    name = f"{run['cell']}.{quantity}"
    results.claim(name, share.value, "of releases", low=share.low, high=share.high, peer=bar)


if __name__ == "__main__":
    main()
