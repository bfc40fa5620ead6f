"""Two versions on a test of which a part has labels: how often a loss passes, and how often an equal model does.

Protocol. A test of 1,000 items, of which the two models answer a small share differently. Labels are drawn as
`muster label --for test` draws them: half of the chance equally, half where the two differ. Both gates of versions
(margin .02 and at most .02 negative flips, alpha .05, one look) then judge three readings of the same world:

- `census`: what `release` does. The whole test counts; disagreements without a label are read against every answer,
  unless the drawn labels, weighed, would refute more.
- `drawn`: the drawn labels alone, weighed, with the known share of disagreements.
- `random` (the peer): as many labels of items drawn at random, and nothing of the rest.

`loss` has a loss of exactly the margin, so that a pass of `non_inferiority.v1` is an error (bar: 5 %); `equal` has
none, so that a pass is right and HOLD an error. `flips` has exactly .02 negative flips, made up by as many gains.
Items stand alone, or in groups of 1 to 40 as in `bench/verdict.py`. Each claim has Wilson's interval over tests.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness import Report as Results
from harness import parser
from passmuster.core.records import Report
from passmuster.core.sampling import draw, inclusion_probabilities
from passmuster.core.statistics import wilson
from passmuster.flows.evidence import DIFFERENCE_SHARE
from passmuster.metrics.disagreements import census_of_disagreements, told_by_disagreements
from passmuster.metrics.gates.versions import judge_negative_flips, judge_non_inferiority
from passmuster.metrics.versions import compare
from verdict import CORRELATION, World, alike, clusters_of

N_ITEMS = 1_000
LIMIT, ALPHA = 0.02, 0.05  # margin of the one gate, most flips of the other
ACCURACY = 0.9  # of the live release
READINGS = ("census", "drawn", "random")


@dataclass(frozen=True)
class Cell:
    """So many labels on a world: shares of items on which only the candidate, or only the live release, is right."""

    name: str
    better: float
    worse: float
    n_labels: int
    clustered: bool


def cells() -> Iterator[Cell]:
    """Equal models that differ little and much; losses of the margin, all at once or beside gains; flips."""
    for clustered in (False, True):
        kind = "clustered" if clustered else "iid"
        for n_labels in (30, 100, 300):
            for half in (0.002, 0.005, 0.015):
                yield Cell(f"equal.{kind}.differ_{2 * half:g}.n{n_labels}", half, half, n_labels, clustered)
            for gain in (0.0, 0.01):
                name = f"loss.{kind}.differ_{2 * gain + LIMIT:g}.n{n_labels}"
                yield Cell(name, gain, gain + LIMIT, n_labels, clustered)
            yield Cell(f"flips.{kind}.n{n_labels}", LIMIT, LIMIT, n_labels, clustered)


def main() -> None:
    arguments_parser = parser(__doc__ or "")
    arguments_parser.add_argument("--jobs", type=int, default=1)
    arguments_parser.add_argument("--only", default="", help="cells whose name holds this")
    arguments = arguments_parser.parse_args()
    results = Results("partly_labelled", arguments)
    chosen = [cell for cell in cells() if arguments.only in cell.name]
    with ProcessPoolExecutor(arguments.jobs) as workers:
        jobs = [workers.submit(run_cell, cell, 20 if arguments.quick else 1_000, arguments.seed) for cell in chosen]
        for job in jobs:
            results.run(**job.result())
            print(results.runs[-1], file=sys.stderr, flush=True)
    state(results)
    results.write()


def run_cell(cell: Cell, n_tests: int, seed: int) -> dict[str, Any]:
    """How often each reading of each gate passed and failed."""
    rng = np.random.default_rng([seed, *map(ord, cell.name)])
    found = {f"{gate}.{reading}.{state}": 0
             for gate in ("margin", "flips") for reading in READINGS for state in ("passed", "failed")}  # fmt: skip
    for _ in range(n_tests):
        for reading, report in one_test(cell, rng).items():
            for gate, judged in (
                ("margin", judge_non_inferiority(report, {"margin": LIMIT}, ALPHA)),
                ("flips", judge_negative_flips(report, {"max_rate": LIMIT}, ALPHA)),
            ):
                if judged.state in ("passed", "failed"):
                    found[f"{gate}.{reading}.{judged.state}"] += 1
    return {"cell": cell.name, "n_tests": n_tests, **found}


def one_test(cell: Cell, rng: np.random.Generator) -> dict[str, Report]:
    """A test with its labels, as an evaluation would write it, by each reading."""
    clusters = clusters_of(N_ITEMS, World(clustered=cell.clustered), rng)
    shares = [ACCURACY - cell.worse, cell.better, cell.worse, 1 - ACCURACY - cell.better]
    shared = rng.random(N_ITEMS) < (np.sqrt(CORRELATION) if cell.clustered else 0.0)
    kind = alike(rng.choice(4, N_ITEMS, p=shares), shared, clusters)
    truth = np.full(N_ITEMS, "a")
    new, old = np.where(kind <= 1, "a", "b"), np.where((kind == 0) | (kind == 2), "a", "b")
    differ = new != old
    spread = differ / max(differ.mean(), 1e-12)
    wanted = (1 - DIFFERENCE_SHARE) + DIFFERENCE_SHARE * spread if differ.any() else np.ones(N_ITEMS)
    chances = inclusion_probabilities(wanted, cell.n_labels)
    at, plain = np.sort(draw(chances, rng)), np.sort(rng.permutation(N_ITEMS)[: cell.n_labels])
    drawn = reported(truth, new, old, at, 1 / chances[at], clusters, rng, rest=True)
    alone = {key: value for key, value in drawn.sections["versions"].items() if key != "census"}
    return {
        "census": drawn,
        "drawn": Report("b", "s", "", "text", ("a", "b"), len(at), 1, (), {}, {"versions": alone}, "i"),
        "random": reported(truth, new, old, plain, np.ones(len(plain)), clusters, rng, rest=False),
    }


def reported(
    truth: np.ndarray, new: np.ndarray, old: np.ndarray, at: np.ndarray, weights: np.ndarray, clusters: np.ndarray,
    rng: np.random.Generator, *, rest: bool,
) -> Report:  # fmt: skip
    """The section of versions, by the functions of an evaluation; with the unlabelled `rest` or without."""
    names = [values[at].tolist() for values in (truth, new, old)]
    found = compare(names[0], names[1], names[2], rng=rng, weights=weights, clusters=clusters[at], n_resamples=20)
    section: dict[str, Any] = {
        "incumbent": "i", "both_right": found.both_right, "only_candidate": found.only_candidate,
        "only_incumbent": found.only_incumbent, "both_wrong": found.both_wrong, "worth": found.worth,
    }  # fmt: skip
    if rest:
        others = np.setdiff1d(np.arange(len(truth)), at)
        differs = new[others] != old[others]
        section["census"] = census_of_disagreements(
            names[0], names[1], names[2], rest_differs=differs, clusters=clusters[np.concatenate([at, others])]
        )
        section["worth"] = told_by_disagreements(
            names[0], names[1], names[2], weights, n_rest=len(others), n_rest_differ=int(differs.sum()),
            clusters=clusters[at], most=section["census"]["n_apart"],
        ).worth  # fmt: skip
    return Report("b", "s", "", "text", ("a", "b"), len(at), 1, (), {}, {"versions": section}, "i")


def state(results: Results) -> None:
    """What passes rightly and wrongly, beside labels at random; the worst wrong pass, and the worst wrong failure."""
    for run in results.runs:
        kind = run["cell"].partition(".")[0]
        gate = "flips" if kind == "flips" else "margin"
        for reading in READINGS[:2]:
            claim(results, run, gate, reading, "passed")
        if kind == "equal":
            claim(results, run, gate, "census", "failed")
    for kind, quantity in (("loss", "passed"), ("flips", "passed"), ("equal", "failed")):
        gate = "flips" if kind == "flips" else "margin"
        for world in ("iid", "clustered"):
            mine = [run for run in results.runs if run["cell"].startswith(f"{kind}.{world}.")]
            if mine:
                worst = max(mine, key=lambda run: run[f"{gate}.census.{quantity}"])
                claim(results, {**worst, "cell": f"worst.{kind}.{world}"}, gate, "census", quantity)


def claim(results: Results, run: dict[str, Any], gate: str, reading: str, quantity: str) -> None:
    """How often one reading said so."""
    share = wilson(run[f"{gate}.{reading}.{quantity}"], run["n_tests"])
    peer = {"name": "random", "value": run[f"{gate}.random.{quantity}"] / run["n_tests"]}
    name = f"{run['cell']}.{gate}.{reading}_{quantity}"
    results.claim(name, share.value, "of tests", low=share.low, high=share.high, peer=peer)


if __name__ == "__main__":
    main()
