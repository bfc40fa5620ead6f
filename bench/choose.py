"""Labels chosen by `passmuster.learn.choose` against labels drawn at random: how many fewer give the same accuracy.

Five sets: Banking77, CLINC150 (in scope), AG News and SMS spam embedded by the local pretrained encoder,
Fashion-MNIST by `conv.v1` trained on its training images. Each draw takes a part of the training split as the pool;
chosen and random labels come from the same pool and are judged on the same test items. Random is uniform over the
pool: nobody knows the classes before they are labelled. Chosen labels come a dozen at a time (two dozen on sets with
many classes), the model refitted in between, from nothing. Heads are Muster's own: the logistic head's penalty and
temperature by cross-validation, then labels spread over the pool and distilled; the plain logistic head is reported
beside it.

The ratio is the number of chosen labels over the number of random labels that reach the same accuracy, read off the
random curve (mean over the draws, made monotone, interpolated in the logarithm of the number). Where even the longest
random curve does not reach it, its end counts, so that the ratio stated is too large rather than too small.

At each budget the accuracy that the next dozen will bring is forecast and compared with what it brought.

Tuned on halves of the training splits of Banking77, AG News, SMS spam and Fashion-MNIST (`--tune` runs there); CLINC150
was never tuned on. Embeddings are cached in `--cache`; `--keep` keeps draws, so that a run that was stopped goes on,
and the seconds of the file are then those of its last part. The interval of `all` spans the sets.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import choose_sets
import harness
from passmuster.learn.choose import choose_items
from passmuster.learn.folds import repeated_folds
from passmuster.learn.forecast import Forecast, expected_error, forecast_gain
from passmuster.learn.heads import Scaling, cross_validate_logistic
from passmuster.learn.logistic import fit_logistic, one_hot
from passmuster.learn.propagation import Propagation, neighbour_graph
from passmuster.learn.quick_head import quick_probabilities

N_DRAWS = 10
N_AT_ONCE = 5  # draws in which all labels are chosen at once too, before there is a model
N_TESTED = 2_500
N_WHOLE, N_LABELS_WHOLE, N_SPREAD = (
    5,
    100,
    12_000,
)  # draws, labels, items that labels spread over, of Fashion-MNIST whole
DOZEN = 12
HEADS = ("propagation", "logistic")


@dataclass(frozen=True)
class Setting:
    """A set, the pool's size, and at how many labels chosen and random are judged."""

    name: str
    n_pool: int
    chosen: tuple[int, ...]
    random: tuple[int, ...]
    batch: int = DOZEN


SETTINGS = (
    Setting("banking77", 4_000, (77, 154, 308), (77, 154, 231, 308, 462, 616, 924, 1_232), 24),
    Setting("clinc150", 4_000, (150, 300, 600), (150, 300, 450, 600, 900, 1_200, 1_600), 48),
    Setting("ag_news", 3_000, (20, 40, 80, 160), (20, 40, 80, 120, 160, 240, 320, 480)),
    Setting("sms_spam", 2_000, (20, 40, 80, 160), (20, 40, 80, 120, 160, 240, 320, 480, 640)),
    Setting("fashion_mnist", 5_000, (20, 40, 80, 100, 160), (20, 40, 80, 100, 160, 240, 320, 480, 640)),
)
QUICK = {"banking77": (77,), "fashion_mnist": (20, 40)}


@dataclass(frozen=True)
class Draw:
    """One pool with its graph, and the items that judge; embeddings scaled as heads see them."""

    raw: np.ndarray
    x: np.ndarray
    y: np.ndarray
    graph: Any
    test_x: np.ndarray
    test_y: np.ndarray


def main() -> None:
    """Every set; print and write the claims."""
    parser = harness.parser(__doc__ or "")
    parser.add_argument("--only", default="", help="one set")
    parser.add_argument(
        "--draws", type=int, default=0, help=f"draws of pool and labels (default {N_DRAWS}; 2 when quick)"
    )
    parser.add_argument("--tune", action="store_true", help="judge on a half of the training split, as while tuning")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "muster-bench-embeddings")
    parser.add_argument("--keep", type=Path, help="keep each draw in this folder, and go on from those that lie there")
    arguments = parser.parse_args()
    n_draws = arguments.draws or (2 if arguments.quick else N_DRAWS)
    report = harness.Report("choose", arguments)
    ratios: dict[str, dict[str, list[float]]] = {head: {} for head in HEADS}
    foretold: list[dict[str, Any]] = []
    for setting in SETTINGS:
        if arguments.only not in ("", setting.name) or (arguments.quick and setting.name not in QUICK):
            continue
        found = measure(setting, n_draws, arguments, report)
        foretold += found["forecasts"]
        for head in HEADS:
            ratios[head][setting.name] = claim_ratios(report, setting, head, found, arguments.seed)
    for head in HEADS:
        means = [float(np.mean(each)) for each in ratios[head].values()]
        low, high = min(means), max(means)
        report.claim(f"all.{head}.labels_ratio", float(np.mean(means)), "chosen per random label", low=low, high=high)
    claim_forecasts(report, foretold)
    if arguments.only in ("", "fashion_mnist") and not arguments.tune:
        whole_pool(arguments, report, 1 if arguments.quick else N_WHOLE)
    report.write()


def measure(setting: Setting, n_draws: int, arguments: Any, report: harness.Report) -> dict[str, Any]:
    """All draws: accuracies of random and chosen labels by number and head, and the forecasts with their outcomes."""
    budgets = QUICK[setting.name] if arguments.quick else setting.chosen
    numbers = tuple(n for n in setting.random if not arguments.quick or n <= 6 * max(budgets))
    curves: dict[str, list[dict[str, list[float]]]] = {"random": [], "chosen": [], "at_once": []}
    forecasts = []
    for number in range(n_draws):
        run = kept_or_measured(setting, number, budgets, numbers, arguments)
        report.run(**run)
        for name, each in curves.items():
            if run[name]:
                each.append({head: [accuracies[head] for accuracies in run[name]] for head in HEADS})
        forecasts += [{"set": setting.name, **told} for told in run["forecasts"]]
        last = {head: f"{run['chosen'][-1][head]:.3f}" for head in HEADS}
        print(f"{setting.name} draw {number}: {last} with {budgets[-1]} chosen ({run['seconds']:.0f} s)",
              file=sys.stderr, flush=True)  # fmt: skip
    return {"curves": curves, "budgets": budgets, "numbers": numbers, "forecasts": forecasts}


def kept_or_measured(
    setting: Setting, number: int, budgets: Sequence[int], numbers: Sequence[int], arguments: Any
) -> dict[str, Any]:
    """One draw, from the folder `--keep` when it lies there."""
    path = arguments.keep / f"{setting.name}-{arguments.seed}-{number}.json" if arguments.keep else None
    if path is not None and path.is_file():
        kept: dict[str, Any] = json.loads(path.read_text())
        return kept
    raw, names, test = choose_sets.embedded(harness.bench_data(), setting.name, arguments.cache, quick=arguments.quick)
    began = time.perf_counter()
    rng = np.random.default_rng([arguments.seed, number])
    draw = make_draw(setting, raw, names, test, arguments.tune, rng)
    order = rng.permutation(len(draw.y))
    drawn = [judge(draw, order[:n]) for n in numbers]
    chosen, told = walk(setting, draw, budgets, rng)
    at_once = [judge(draw, choose_at_once(draw, n, rng)) for n in budgets] if number < N_AT_ONCE else []
    run = {
        "set": setting.name, "draw": number, "n_pool": len(draw.y), "n_tested": len(draw.test_y),
        "random_n": list(numbers), "random": drawn, "chosen_n": list(budgets), "chosen": chosen, "at_once": at_once,
        "forecasts": told, "seconds": round(time.perf_counter() - began, 1),
    }  # fmt: skip
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(run))
    return run


def whole_pool(arguments: Any, report: harness.Report, n_draws: int) -> None:
    """Fashion-MNIST with 100 labels chosen a dozen at a time from all 60,000 training images; the official test judges.

    Labels spread over a sample of the pool, as training has it. Random is as many labels from the same pool.
    """
    runs = [kept_or_chosen(number, arguments) for number in range(n_draws)]
    for run in runs:
        report.run(**run)
    for head in HEADS:
        chosen, drawn = ([run[name][head] for run in runs] for name in ("chosen", "random"))
        peer = {"name": "random, as many", "value": float(np.mean(drawn)), "low": min(drawn), "high": max(drawn)}
        report.claim(f"fashion_mnist.whole_pool.{head}.accuracy_at_{N_LABELS_WHOLE}", float(np.mean(chosen)),
                     "share right", low=min(chosen), high=max(chosen), peer=peer)  # fmt: skip


def kept_or_chosen(number: int, arguments: Any) -> dict[str, Any]:
    """One draw of `whole_pool`, from the folder `--keep` when it lies there."""
    path = arguments.keep / f"whole_pool-{arguments.seed}-{number}.json" if arguments.keep else None
    if path is not None and path.is_file():
        kept: dict[str, Any] = json.loads(path.read_text())
        return kept
    raw, names, test = choose_sets.embedded(
        harness.bench_data(), "fashion_mnist", arguments.cache, quick=arguments.quick
    )
    y = np.unique(names, return_inverse=True)[1]
    train, judged = np.flatnonzero(~test), np.flatnonzero(test)
    scaling = Scaling.of(raw[train])
    x, test_x = scaling.apply(raw[train]), scaling.apply(raw[judged])
    rng = np.random.default_rng([arguments.seed, number])
    pool = Draw(raw[train], x, y[train], None, test_x, y[judged])
    run: dict[str, Any] = {"set": "fashion_mnist", "whole_pool": True, "draw": number, "n_pool": len(train)}
    for name, labelled in (
        ("chosen", grow(pool, np.array([], dtype=np.int64), N_LABELS_WHOLE, DOZEN, rng)),
        ("random", rng.choice(len(train), N_LABELS_WHOLE, replace=False)),
    ):
        others = np.setdiff1d(rng.choice(len(train), min(N_SPREAD, len(train)), replace=False), labelled)
        over = np.sort(np.concatenate([labelled, others]))
        part = Draw(raw[train[over]], x[over], y[train[over]], neighbour_graph(x[over]), test_x, y[judged])
        run[name] = judge(part, np.searchsorted(over, np.sort(labelled)))
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(run))
    return run


def make_draw(
    setting: Setting, raw: np.ndarray, names: np.ndarray, test: np.ndarray, tune: bool, rng: np.random.Generator
) -> Draw:
    """A pool from the training split, and items to judge by: the test, or the training split's other half."""
    y = np.unique(names, return_inverse=True)[1]
    train, judged = np.flatnonzero(~test), np.flatnonzero(test)
    if tune:
        halves = np.random.default_rng(123).permutation(train)
        train, judged = halves[: len(train) // 2], halves[len(train) // 2 :]
    n_pool = min(setting.n_pool, int(0.8 * len(train)))  # always a part, so that draws differ
    pool = rng.choice(train, n_pool, replace=False)
    judged = rng.choice(judged, min(N_TESTED, len(judged)), replace=False)
    scaling = Scaling.of(raw[pool])
    x = scaling.apply(raw[pool])
    return Draw(raw[pool], x, y[pool], neighbour_graph(x), scaling.apply(raw[judged]), y[judged])


def judge(draw: Draw, labelled: np.ndarray, *, propagate: bool = True) -> dict[str, float]:
    """Accuracy of the heads on the test items, and how many classes the labels hold."""
    labelled = np.sort(labelled)
    classes, labels = np.unique(draw.y[labelled], return_inverse=True)
    if len(classes) == 1:
        right = float((draw.test_y == classes[0]).mean())
        return {"propagation": right, "logistic": right, "n_classes": 1}
    c, temperature = 10.0, 1.0
    if (np.bincount(labels) > 1).sum() > 1:
        folds = repeated_folds(labels, np.random.default_rng(0))[:1]
        judged = cross_validate_logistic(draw.x[labelled], labels, folds, len(classes))
        c, temperature = judged.c, judged.temperature
    fitted = {"logistic": fit_logistic(draw.x[labelled], one_hot(labels, len(classes)), c=c)}
    if propagate:
        spreading = Propagation(draw.x, draw.graph, labelled, labels, len(classes))
        fitted["propagation"] = spreading.fit(np.arange(len(labelled)), c=c, temperature=temperature)
    right = {}
    for name, (weight, bias) in fitted.items():
        right[name] = float((classes[(draw.test_x @ weight + bias).argmax(axis=1)] == draw.test_y).mean())
    return {**right, "n_classes": len(classes)}


def walk(
    setting: Setting, draw: Draw, budgets: Sequence[int], rng: np.random.Generator
) -> tuple[list[dict[str, float]], list[dict[str, Any]]]:
    """Choose from nothing to the last budget, batch by batch; judge at each, and a dozen after it."""
    labelled = np.array([], dtype=np.int64)
    found, told = [], []
    for n in budgets:
        labelled = grow(draw, labelled, n, setting.batch, rng)
        found.append(judge(draw, labelled))
        forecast = foretell(draw, labelled)
        after = judge(draw, grow(draw, labelled, n + DOZEN, DOZEN, rng), propagate=False)
        if forecast is not None:
            told.append(
                {"n": n, "gain": forecast.gain, "low": forecast.low, "high": forecast.high, "error": forecast.error,
                 "before": found[-1], "after": after}
            )  # fmt: skip
    return found, told


def grow(draw: Draw, labelled: np.ndarray, n: int, batch: int, rng: np.random.Generator) -> np.ndarray:
    """Labelled positions and what is chosen after them, up to `n`."""
    while len(labelled) < n:
        classes, labels = np.unique(draw.y[labelled], return_inverse=True)
        probabilities = None
        if len(classes) > 1:
            probabilities = quick_probabilities(draw.raw, labelled, labels, len(classes), rng)
        size = min(batch, n - len(labelled))
        chosen = choose_items(draw.raw, labelled, size, rng=rng, probabilities=probabilities)
        labelled = np.concatenate([labelled, [choice.position for choice in chosen]])
    return labelled


def choose_at_once(draw: Draw, n: int, rng: np.random.Generator) -> np.ndarray:
    """All labels in one batch, before there is a model."""
    nothing = np.array([], dtype=np.int64)
    return np.array([choice.position for choice in choose_items(draw.raw, nothing, n, rng=rng)])


def foretell(draw: Draw, labelled: np.ndarray) -> Forecast | None:
    """What the next dozen is expected to bring, from nothing but the labels; None while there is only one class."""
    classes, labels = np.unique(draw.y[labelled], return_inverse=True)
    if len(classes) < 2:
        return None
    told = quick_probabilities(draw.raw, labelled, labels, len(classes), np.random.default_rng(len(labelled)))
    waiting = np.setdiff1d(np.arange(len(told)), labelled)
    return forecast_gain(len(labelled), DOZEN, expected_error(told[waiting]), n_classes=len(classes))


def claim_ratios(report: harness.Report, setting: Setting, head: str, found: dict[str, Any], seed: int) -> list[float]:
    """Claims of one set and head; returns the ratio at each budget. Intervals: 90 % bootstrap over draws."""
    random = np.array([curve[head] for curve in found["curves"]["random"]])  # (draws, numbers)
    chosen = np.array([curve[head] for curve in found["curves"]["chosen"]])  # (draws, budgets)
    rng = np.random.default_rng(seed)
    again = []
    for _ in range(400):
        rows = rng.integers(len(random), size=len(random))
        again.append(ratios_of(found, random[rows].mean(axis=0), chosen[rows].mean(axis=0)))
    ratios = ratios_of(found, random.mean(axis=0), chosen.mean(axis=0))
    low, high = np.quantile(again, [0.05, 0.95], axis=0)
    name = f"{setting.name}.{head}"
    for i, n in enumerate(found["budgets"]):
        place = found["numbers"].index(n)
        same = random[:, place]
        peer = {"name": "random, as many", "value": float(same.mean()), "low": float(same.min()),
                "high": float(same.max())}  # fmt: skip
        report.claim(f"{name}.accuracy_at_{n}", float(chosen[:, i].mean()), "share right",
                     low=float(chosen[:, i].min()), high=float(chosen[:, i].max()), peer=peer)  # fmt: skip
        report.claim(f"{name}.labels_ratio_at_{n}", ratios[i], "chosen per random label", low=low[i], high=high[i])
    if found["curves"]["at_once"]:
        at_once = np.mean([curve[head] for curve in found["curves"]["at_once"]], axis=0)
        ratio = float(np.mean(ratios_of(found, random.mean(axis=0), at_once)))
        report.claim(f"{name}.at_once.labels_ratio", ratio, "chosen per random label")
    spread = np.mean(again, axis=1)
    report.claim(f"{name}.labels_ratio", float(np.mean(ratios)), "chosen per random label",
                 low=float(np.quantile(spread, 0.05)), high=float(np.quantile(spread, 0.95)))  # fmt: skip
    return ratios


def ratios_of(found: dict[str, Any], random: np.ndarray, chosen: np.ndarray) -> list[float]:
    """Chosen labels over the random labels that reach as much, at each budget.

    An accuracy below the shortest random curve's first point counts as that point, one above its last as the last.
    """
    rising = np.maximum.accumulate(random)
    logs = np.log(found["numbers"])
    needed = []
    for accuracy in chosen:
        place = int(np.searchsorted(rising, accuracy))
        if place in (0, len(rising)):
            needed.append(logs[min(place, len(rising) - 1)])
            continue
        share = (accuracy - rising[place - 1]) / (rising[place] - rising[place - 1])
        needed.append(logs[place - 1] + share * (logs[place] - logs[place - 1]))
    return [float(n / np.exp(m)) for n, m in zip(found["budgets"], needed, strict=True)]


def claim_forecasts(report: harness.Report, foretold: Sequence[dict[str, Any]]) -> None:
    """How often the gain of the next dozen lay inside the stated 80 % interval, and how far off it was."""
    if not foretold:
        return
    names = sorted({each["set"] for each in foretold})
    for name in [*names, "all"]:
        these = [each for each in foretold if name in ("all", each["set"])]
        gains = np.array([each["after"]["logistic"] - each["before"]["logistic"] for each in these])
        inside = np.array([each["low"] <= gain <= each["high"] for each, gain in zip(these, gains, strict=True)])
        off = np.abs(gains - [each["gain"] for each in these])
        report.claim(f"{name}.forecast.inside_80", float(inside.mean()), "share of outcomes")
        report.claim(f"{name}.forecast.mean_error_points", 100 * float(off.mean()), "points",
                     peer={"name": "no change", "value": 100 * float(np.abs(gains).mean())})  # fmt: skip


if __name__ == "__main__":
    main()
