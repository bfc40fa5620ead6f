"""How many test labels it takes to reach SHIP or HOLD: chosen and prediction-powered, against random sampling.

Sets: Banking77, CLINC150 (in scope), AG News (test split halved), SMS spam (without exact copies, halved), Amazon
(books to the rest). Models: Muster's heads on the local MiniLM encoder, 8 labels per class, five draws of labels in
turn. In each simulation a pool of 2,000 test items is drawn with replacement from the set's test part, which plays the
world: its accuracy is the truth, and errors can be counted. Features, priors and penalties were chosen on training
parts (`--tuning`).

Policies ask for an accuracy below or above the truth by as much as a fixed random sample of 150, 300 or 600 labels
would tell (one-sided at .01, power .8), and exactly at the truth, where any decision is an error. Procedure, the same
for both arms: 40 labels; the gate's exact test at a fifth of alpha; if it cannot tell, as many more as `next_batch`
says; again, until it decides or the pool is labelled. Labels of undecided runs count whole.

- `random`: every item equally likely, Clopper and Pearson on what was labelled. The peer.
- `active`: what `muster label --for test` asks for, read with `powered_rate`.
- `uniform_powered`: random items, read with `powered_rate`: what the unlabelled rest alone brings.
- `active_confidence`: as `active`, knowing nothing but the model's own confidence.
- `random_anytime`: random items, and the best rule for them that we know: a test by a beta mixture that may look
  after every single label at the whole alpha (Robbins 1970; Waudby-Smith and Ramdas 2024).
- `random_as_asked`: random items, labelling at once all that the verdict asks for, however much.

Coverage: 95 % intervals of the truth after 20 and 40 labels in one round, 100 in two and 300 in three.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special, stats

sys.path.insert(0, str(Path(__file__).parent))
import harness
from answers import SETS, Answers, add_cache, answers
from passmuster.core.prediction_powered import Prior, Round, powered_rate
from passmuster.core.records import Metric
from passmuster.core.sampling import draw, inclusion_probabilities, sizes
from passmuster.core.statistics import wilson
from passmuster.metrics.error_prediction import PRIOR, ErrorPredictor, error_predictor, fitted_risk
from passmuster.metrics.gates.base import more_labels_for_rate, rate_bounds
from passmuster.metrics.gates.looks import FIRST, next_batch

ALPHA, LOOKS = 0.05, 5
N_POOL = 2_000
NEEDS = (150, 300, 600)  # random labels in a fixed sample that would tell accuracy from the bound
COVERAGE = ((20,), (40,), (40, 60), (40, 60, 200))
ARMS = ("random", "active", "uniform_powered", "active_confidence", "random_anytime", "random_as_asked")
CONFIDENCE_ONLY = Prior((0.0, 1.0) + (0.0,) * 5, (0.25, 4.0) + (1e9,) * 5)


@dataclass(frozen=True)
class Sized:
    """How many simulations of each kind."""

    decisions: int
    at_bound: int
    parts: int
    coverage: int
    draws: int  # draws of training labels


FULL, TUNING, QUICK = Sized(100, 200, 50, 1_000, 5), Sized(40, 60, 0, 400, 5), Sized(15, 15, 5, 60, 2)


@dataclass(frozen=True)
class World:
    """One model's answers to a whole test part, ready for pools to be drawn from it."""

    answers: Answers
    predictor: ErrorPredictor
    wrong: np.ndarray

    @property
    def accuracy(self) -> float:
        return float(1 - self.wrong.mean())

    def pool(self, rng: np.random.Generator) -> Pool:
        """`N_POOL` items, drawn with replacement."""
        at = rng.integers(0, len(self.answers.labels), N_POOL)
        teacher = self.predictor.teacher
        teacher = replace(teacher, x=teacher.x[at], predicted=teacher.predicted[at])
        return Pool(self.wrong[at], self.answers.labels[at], ErrorPredictor(self.predictor.fixed[at], teacher))


@dataclass(frozen=True)
class Pool:
    wrong: np.ndarray
    labels: np.ndarray
    predictor: ErrorPredictor
    figures = ("accuracy",)
    prior = PRIOR
    careful = False

    def losses(self, figure: str) -> np.ndarray:
        return self.wrong

    def features(self, at: np.ndarray, figure: str) -> np.ndarray:
        return self.predictor.features(at, self.labels[at])


class Labelling:
    """One run of labelling: draws rounds from a pool as an arm does, and reads what they tell as a `Metric`.

    `pool` is a `Pool`, or what has the same figures, losses, features and prior; `figure` is what is decided about.
    """

    def __init__(self, pool: Any, arm: str, rng: np.random.Generator, figure: str = "accuracy") -> None:
        self.pool, self.arm, self.rng, self.figure = pool, arm, rng, figure
        self.prior = CONFIDENCE_ONLY if arm == "active_confidence" else pool.prior
        self.at = np.zeros(0, dtype=np.int64)
        self.drawn: list[tuple[int, np.ndarray]] = []  # population, probabilities
        self.order = rng.permutation(N_POOL)

    @property
    def powered(self) -> bool:
        return not self.arm.startswith("random")

    def label(self, n: int) -> None:
        n = min(n, N_POOL - len(self.at))
        if not self.powered:
            self.at = self.order[: len(self.at) + n]
            return
        unlabelled = np.ones(N_POOL, dtype=bool)
        unlabelled[self.at] = False
        left = np.flatnonzero(unlabelled)
        wanted = np.ones(len(left)) if self.arm == "uniform_powered" else self.wanted(left)
        chances = inclusion_probabilities(wanted, n)
        new = draw(chances, self.rng)
        self.drawn.append((len(left), chances[new]))
        self.at = np.concatenate([self.at, left[new]])

    def wanted(self, left: np.ndarray) -> np.ndarray:
        """How much each of the items `left` should be drawn, mean 1; for every figure alike."""
        told = [
            fitted_risk(self.pool.features(self.at, figure), self.at, self.pool.losses(figure)[self.at], self.prior)
            for figure in self.pool.figures
        ]
        return np.asarray(np.mean([sizes(risk[left]) for risk in told], axis=0))

    def rounds(self) -> list[Round]:
        """The draws so far, as the labelled items see them."""
        n, begin, found = len(self.at), 0, []
        for population, chances in self.drawn:
            inside = np.zeros(n, dtype=bool)
            inside[begin : begin + len(chances)] = True
            every = np.ones(n)
            every[inside] = chances
            found.append(Round(population, inside, every, np.arange(n) < begin))
            begin += len(chances)
        return found

    def metric(self, figure: str = "") -> Metric:
        """What the labels tell of a figure, by default of the one that is decided about."""
        figure = figure or self.figure
        lost = self.pool.losses(figure)[self.at]
        n = len(lost)
        if not self.powered or n == N_POOL:
            found = wilson(float(n - lost.sum()), n)
            return Metric(figure, found.value, found.low, found.high, n, method="wilson")
        read = powered_rate(lost, self.at, self.pool.features(self.at, figure), self.prior, self.rounds(),
                            careful=self.pool.careful)  # fmt: skip
        e = read.interval
        return Metric(figure, 1 - e.value, 1 - e.high, 1 - e.low, n, method=e.method)


def decide(labelling: Labelling, bound: float) -> tuple[str, int, int]:
    """Outcome, labels and looks of one run against one bound."""
    labelling.label(next_batch(0, None, N_POOL))
    looks = 1
    while True:
        metric = labelling.metric()
        low, high = rate_bounds(metric, ALPHA / LOOKS)
        if low >= bound or high < bound:
            return ("SHIP" if low >= bound else "HOLD"), metric.n, looks
        if metric.n >= N_POOL:
            return "undecided", metric.n, looks
        as_asked = labelling.arm == "random_as_asked"
        if as_asked and looks == LOOKS:
            return "undecided", metric.n, looks
        asked = more_labels_for_rate(metric, bound, ALPHA / LOOKS, max_more=50 * N_POOL)  # more are all the same
        n = (N_POOL if asked is None else max(1, asked)) if as_asked else next_batch(metric.n, asked, N_POOL - metric.n)
        labelling.label(n)
        looks += 1


def decide_anytime(pool: Pool, bound: float, rng: np.random.Generator) -> tuple[str, int, int]:
    """A test after every label: a uniform mixture over the rates on each side against the bound itself."""
    right = np.cumsum(1 - pool.wrong[rng.permutation(N_POOL)])
    n = np.arange(1, N_POOL + 1)
    whole = special.betaln(right + 1, n - right + 1) - right * np.log(bound) - (n - right) * np.log1p(-bound)
    ship = whole + stats.beta.logsf(bound, right + 1, n - right + 1) - np.log1p(-bound)
    hold = whole + stats.beta.logcdf(bound, right + 1, n - right + 1) - np.log(bound)
    enough = np.flatnonzero((np.maximum(ship, hold) >= np.log(1 / ALPHA)) & (n >= FIRST))
    if not len(enough):
        return "undecided", N_POOL, N_POOL
    at = int(enough[0])
    return ("SHIP" if ship[at] > hold[at] else "HOLD"), at + 1, at + 1


def bounds_of(accuracy: float) -> dict[str, float]:
    """Name of each policy to the accuracy it asks for."""
    z = float(stats.norm.isf(ALPHA / LOOKS) + stats.norm.ppf(0.8))
    found = {"at": accuracy}
    for need in NEEDS:
        step = z * np.sqrt(accuracy * (1 - accuracy) / need)
        found |= {f"below{need}": accuracy - step, f"above{need}": accuracy + step}
    return {name: bound for name, bound in found.items() if bound < 0.995}


def simulate(name: str, seed: int, sized: Sized, data: Path, folder: Path, tuning: bool) -> list[dict[str, Any]]:
    """Every run of one set."""
    worlds = []
    for number in range(sized.draws):
        a = answers(data, name, number, folder, tuning=tuning)
        teach = (a.known.astype(np.float32), a.known_labels)
        worlds.append(World(a, error_predictor(a.probabilities, a.embeddings.astype(np.float32), *teach), a.wrong))
    runs: list[dict[str, Any]] = []
    for policy in ("at", *(f"{side}{need}" for need in NEEDS for side in ("below", "above"))):
        for arm in ARMS:
            n = sized.at_bound if policy == "at" else sized.decisions
            if arm in ("uniform_powered", "active_confidence"):
                n = 0 if policy == "at" else sized.parts
            if arm == "random_as_asked" and policy == "at":
                n = 0  # no claim needs it
            outcomes = []
            for i in range(n):
                world = worlds[i % sized.draws]
                bound = bounds_of(world.accuracy).get(policy)
                if bound is None:
                    continue
                rng = np.random.default_rng([seed, i, len(policy), sum(map(ord, policy))])
                pool = world.pool(rng)  # the same for every arm
                outcomes.append(
                    decide_anytime(pool, bound, rng) if arm == "random_anytime"
                    else decide(Labelling(pool, arm, rng), bound)
                )  # fmt: skip
            if outcomes:
                runs.append(
                    {"set": name, "policy": policy, "arm": arm, "n": len(outcomes),
                     **{w: sum(o[0] == w for o in outcomes) for w in ("SHIP", "HOLD", "undecided")},
                     "labels": [o[1] for o in outcomes], "mean_looks": float(np.mean([o[2] for o in outcomes]))}
                )  # fmt: skip
    for plan in COVERAGE:
        for arm in ("random", "active"):
            inside, worth = [], []
            for i in range(sized.coverage):
                world = worlds[i % sized.draws]
                rng = np.random.default_rng([seed, i, 7, len(plan), plan[-1]])
                labelling = Labelling(world.pool(rng), arm, rng)
                for n in plan:
                    labelling.label(n)
                    metric = labelling.metric()
                inside.append(
                    (world.accuracy < metric.low, world.accuracy > metric.high, metric.value - world.accuracy)
                )
                worth.append((metric.high - metric.low) / 2)
            miss = np.array(inside, dtype=np.float64)
            runs.append(
                {"set": name, "coverage_of": arm, "n_labels": sum(plan), "rounds": len(plan), "n": len(miss),
                 "covered": float(1 - miss[:, :2].sum() / len(miss)), "too_high": float(miss[:, 0].mean()),
                 "too_low": float(miss[:, 1].mean()), "bias": float(miss[:, 2].mean()),
                 "rmse": float(np.sqrt((miss[:, 2] ** 2).mean())), "mean_half_width": float(np.mean(worth))}
            )  # fmt: skip
    return [{"draws": [{"head": w.answers.head, "accuracy": w.accuracy} for w in worlds], "set": name}, *runs]


def main() -> None:
    parser = harness.parser(__doc__ or "")
    parser.add_argument("--only", default="", help="sets, separated by commas")
    add_cache(parser)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--tuning", action="store_true", help="on training parts; writes no result unless --json does")
    arguments = parser.parse_args()
    report = harness.Report("decide", arguments)
    sized = QUICK if arguments.quick else TUNING if arguments.tuning else FULL
    arguments.quick |= arguments.tuning
    names = arguments.only.split(",") if arguments.only else list(("sms_spam", "banking77") if sized is QUICK else SETS)
    with ProcessPoolExecutor(arguments.jobs) as workers:
        jobs = {
            name: workers.submit(
                simulate, name, arguments.seed, sized, harness.bench_data(), arguments.cache, arguments.tuning
            )
            for name in names
        }
        for name, job in jobs.items():
            began = time.perf_counter()
            for run in job.result():
                report.run(**run)
            print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    state(report, names)
    report.write()


def state(report: harness.Report, names: list[str]) -> None:
    """The claims: labels per set and arm, the mean of the ratios, coverage, and wrong decisions."""
    rng = np.random.default_rng(0)
    decisions = [run for run in report.runs if "policy" in run]
    covered = [run for run in report.runs if "coverage_of" in run]
    for arm in ARMS[1:]:
        ratios = {name: ratio(decisions, name, arm, rng) for name in names}
        for name, (mine, peer, drawn) in ratios.items():
            low, high = np.quantile(drawn, [0.025, 0.975])
            report.claim(f"{name}.{arm}.label_ratio", mine / peer, "of random", low=low, high=high, peer=1.0)
            report.claim(f"{name}.{arm}.mean_labels_to_decision", mine, "labels", peer=peer)
        means = np.mean([drawn for _, _, drawn in ratios.values()], axis=0)
        value = float(np.mean([mine / peer for mine, peer, _ in ratios.values()]))
        low, high = np.quantile(means, [0.025, 0.975])
        report.claim(f"mean_of_sets.{arm}.label_ratio", value, "of random", low=low, high=high, peer=1.0)
    before = [
        mean_labels(decisions, name, "active") / mean_labels(decisions, name, "random_as_asked") for name in names
    ]
    report.claim("mean_of_sets.active_against_random_as_asked.label_ratio", float(np.mean(before)),
                 "of random labelled as asked", low=min(before), high=max(before), peer=1.0)  # fmt: skip
    for need in NEEDS:
        part = [run for run in decisions if run["policy"].endswith(str(need))]
        each = [mine / peer for mine, peer, _ in (ratio(part, name, "active", rng) for name in names)]
        report.claim(f"mean_of_sets.active_need{need}.label_ratio", float(np.mean(each)), "of random", peer=1.0)
    for arm in ("active", "random", "random_anytime"):
        at = [run for run in decisions if run["policy"] == "at" and run["arm"] == arm]
        off = [run for run in decisions if run["policy"] != "at" and run["arm"] == arm]
        n = sum(run["n"] for run in at)
        for word in ("SHIP", "HOLD"):
            share = wilson(sum(run[word] for run in at), n)
            report.claim(f"at_bound.{arm}.{word.lower()}_rate", share.value, "of runs", low=share.low, high=share.high,
                         peer=ALPHA)  # fmt: skip
        wrong = sum(run["HOLD" if run["policy"].startswith("below") else "SHIP"] for run in off)
        n_off = sum(run["n"] for run in off)
        share = wilson(wrong, n_off)
        report.claim(f"off_bound.{arm}.wrong_rate", share.value, "of runs", low=share.low, high=share.high)
        undecided = wilson(sum(run["undecided"] for run in off), n_off)
        report.claim(
            f"off_bound.{arm}.undecided_rate", undecided.value, "of runs", low=undecided.low, high=undecided.high
        )
    for arm in ("active", "random"):
        for name in (*names, "all_sets"):
            mine = [run for run in covered if run["coverage_of"] == arm and name in (run["set"], "all_sets")]
            n = sum(run["n"] for run in mine)
            share = wilson(sum(run["covered"] * run["n"] for run in mine), n)
            report.claim(f"{name}.{arm}.coverage_95", share.value, "of intervals", low=share.low, high=share.high,
                         peer=0.95)  # fmt: skip
        for run in (r for r in covered if r["coverage_of"] == arm):
            share = wilson(run["covered"] * run["n"], run["n"])
            report.claim(f"{run['set']}.{arm}_{run['n_labels']}_labels.coverage_95", share.value, "of intervals",
                         low=share.low, high=share.high, peer=0.95)  # fmt: skip


def mean_labels(runs: list[dict[str, Any]], name: str, arm: str) -> float:
    """Mean labels over the policies off the bound."""
    mine = [run for run in runs if (run["set"], run["arm"]) == (name, arm) and run["policy"] != "at"]
    return float(np.mean([np.mean(run["labels"]) for run in mine]))


def ratio(runs: list[dict[str, Any]], name: str, arm: str, rng: np.random.Generator) -> tuple[float, float, np.ndarray]:
    """Mean labels of `arm` and of random over the policies off the bound, and resampled ratios (runs are paired)."""
    mine, peer, again = [], [], []
    for run in runs:
        if run["set"] != name or run["arm"] != arm or run["policy"] == "at":
            continue
        other = next(r for r in runs if (r["set"], r["arm"], r["policy"]) == (name, "random", run["policy"]))
        a = np.array(run["labels"])
        b = np.array(other["labels"])[: len(a)]  # the same pools, where an arm ran fewer simulations
        mine.append(a.mean())
        peer.append(b.mean())
        times = rng.integers(0, len(a), (1_000, len(a)))
        again.append((a[times].mean(axis=1), b[times].mean(axis=1)))
    top, bottom = (np.mean([pair[i] for pair in again], axis=0) for i in (0, 1))
    return float(np.mean(mine)), float(np.mean(peer)), top / bottom


if __name__ == "__main__":
    main()
