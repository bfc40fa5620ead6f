"""How often what is left out of a draw of test items is noticed, and what it does to the figure that is reported.

Protocol. Answers of Muster's heads to the tests of five sets of texts (8 labels per class, as in `bench/decide.py`).
From 1,000 test items drawn at random, 60, 150 or 300 are drawn as `muster label --for test` draws them. Who labels then

- `stops` after half of them, or a quarter, or nine tenths: left out by lot, so that a finding is a false one (bar: at
  most .01, the gate's `alpha_left_out`);
- `hard`: passes over two fifths of what the model gets wrong, and a twentieth of the rest: people find hard what
  models do;
- `class`: passes over every item of one class, that of an item drawn anew each time;

and `test_labels.v1` reads what is left. Counted: how often it calls the evidence insufficient; how often it would
without the order of the draw, by the model's answers alone (`by_answers`); and by how many points accuracy, weighed
from the labelled items, is above the truth of the 1,000, on average. Wilson's intervals.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import harness
from answers import SETS, Answers, add_cache, answers
from passmuster.core.sampling import draw, inclusion_probabilities, sizes
from passmuster.core.statistics import wilson
from passmuster.metrics.gates.test_labels import FEWEST_PASSED, TEST_LABELS
from passmuster.metrics.nonresponse import nonresponse

N_POOL, N_DRAWN = 1_000, (60, 150, 300)
STOPS = (0.25, 0.5, 0.9)
HARD, EASY = 0.4, 0.05  # shares passed over of what the model gets wrong, and of the rest
N_DRAWS, N_TESTS_EACH = 5, 200  # draws of training labels; tests for each
KINDS = ("stops", "hard", "class")
SHARE = float(TEST_LABELS.parameters["max_left_out"].default or 0.0)
LEVEL = float(TEST_LABELS.parameters["alpha_left_out"].default or 0.0)


def main() -> None:
    """Every set; print and write the claims."""
    made = harness.parser(__doc__ or "")
    made.add_argument("--only", default="", help="sets, separated by commas")
    add_cache(made)
    made.add_argument("--jobs", type=int, default=1)
    arguments = made.parse_args()
    report = harness.Report("nonresponse", arguments)
    names = arguments.only.split(",") if arguments.only else list(SETS[:1] if arguments.quick else SETS)
    n_draws, n_tests = (1, 20) if arguments.quick else (N_DRAWS, N_TESTS_EACH)
    with ProcessPoolExecutor(arguments.jobs) as workers:
        jobs = [
            workers.submit(simulate, harness.bench_data(), name, seed, n_tests, arguments.cache)
            for name in names
            for seed in range(n_draws)
        ]
        for job in jobs:
            for run in job.result():
                report.run(**run)
                print(run, file=sys.stderr, flush=True)
    state(report)
    report.write()


def simulate(data: Path, name: str, seed: int, n_tests: int, cache: Path) -> list[dict[str, Any]]:
    """Every kind and number of labels on the answers of one draw of training labels."""
    model = answers(data, name, seed, cache)
    rng = np.random.default_rng([seed, 29])
    runs = []
    for n in N_DRAWN:
        for kind in KINDS:
            trials = [one_test(model, kind, n, rng) for _ in range(n_tests)]
            noticed, by_answers, above = (np.array(column, dtype=float) for column in zip(*trials, strict=True))
            runs.append({
                "set": name, "draw": seed, "kind": kind, "n": n, "n_tests": n_tests,
                "noticed": int(noticed.sum()), "by_answers": int(by_answers.sum()), "points_above": float(above.mean()),
            })  # fmt: skip
    return runs


def one_test(model: Answers, kind: str, n: int, rng: np.random.Generator) -> tuple[bool, bool, float]:
    """Whether it is noticed, whether by the answers alone, and by how many points accuracy is read too high."""
    pool = rng.choice(len(model.labels), min(N_POOL, len(model.labels)), replace=False)
    wrong, labels = model.wrong[pool], model.labels[pool]
    sure, said = model.probabilities[pool].max(axis=1), model.probabilities[pool].argmax(axis=1)
    chances = inclusion_probabilities(sizes(1.0 - sure), n)
    drawn = draw(chances, rng)  # in random order
    left = passed_over(kind, wrong[drawn], labels[drawn], rng)
    weights = 1.0 / chances[drawn]
    told = ~left
    above = (
        float(np.average(1.0 - wrong[drawn][told], weights=weights[told]) - (1.0 - wrong.mean())) if told.any() else 0.0
    )
    if not left.any() or not told.any():
        return False, False, 100.0 * above
    names = [(str(c),) for c in said[drawn]]
    found = nonresponse(names, sure[drawn], left, np.zeros(len(drawn), dtype=np.int64), weights)
    by_order = found.passed_share >= SHARE and found.n_passed >= FEWEST_PASSED
    by_answers = found.share >= SHARE and found.p <= LEVEL
    return by_order or by_answers, by_answers, 100.0 * above


def passed_over(kind: str, wrong: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Which items (n,) of a draw are left without a label."""
    if kind == "stops":
        return np.arange(len(wrong)) >= round(len(wrong) * float(rng.choice(STOPS)))
    if kind == "hard":
        return rng.random(len(wrong)) < np.where(wrong > 0, HARD, EASY)
    return np.asarray(labels == rng.choice(labels))


def state(report: harness.Report) -> None:
    """How often it is noticed, by kind, number of labels and set; all sets together first."""
    for kind in KINDS:
        for n in N_DRAWN:
            of_kind = [run for run in report.runs if (run["kind"], run["n"]) == (kind, n)]
            claim(report, f"{kind}.n{n}", of_kind)
            for name in dict.fromkeys(run["set"] for run in of_kind):
                claim(report, f"{name}.{kind}.n{n}", [run for run in of_kind if run["set"] == name])
        claim(report, f"{kind}.all", [run for run in report.runs if run["kind"] == kind])


def claim(report: harness.Report, name: str, runs: list[dict[str, Any]]) -> None:
    """The share of tests in which it was noticed, and the points by which accuracy was too high."""
    n_tests = sum(run["n_tests"] for run in runs)
    for how, quantity in (("noticed", "noticed"), ("by_answers", "noticed_by_answers_alone")):
        share = wilson(sum(run[how] for run in runs), n_tests)
        report.claim(f"{name}.{quantity}", share.value, "of tests", low=share.low, high=share.high)
    above = float(np.average([run["points_above"] for run in runs], weights=[run["n_tests"] for run in runs]))
    report.claim(f"{name}.accuracy_above_truth", above, "points")


if __name__ == "__main__":
    main()
