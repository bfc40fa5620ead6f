"""Labels chosen for sets of classes against labels drawn at random: how many fewer give the same F1.

Five sets (`embedded_label_sets.py` says which), embedded by the local pretrained encoder. Each draw takes a part of the
training side as the pool; chosen and random labels come from the same pool and are judged on the same test items, by
the head that `muster train` fits to sets: one-against-rest, penalty and calibration by cross-validation, a class said
from `train.decide_at` on. Random is uniform over the pool. Chosen labels come a dozen at a time (two dozen where there
are 77 classes), the model refitted in between, from nothing: as `muster label` chooses them. Beside it stand labels
chosen all at once by what is typical and new alone, without a model.

Micro-F1, macro-F1 (of every class that the set has; one that was never labelled counts 0), the mean F1 of items, and
the share of whole sets right. The ratio is the number of chosen labels over the number of random labels that reach the
same figure, read off the random curve as in `choose.py`.

At each number of labels what the next dozen brings to the mean F1 of items and to whole sets is forecast, and compared
with what it brought.

Tuned on sets composed of the training split's requests alone (`--tune` runs there); `pii` was never tuned on.
Embeddings are cached in `--cache`; `--keep` keeps draws, so that a run that was stopped goes on.
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
import harness
from choose import ratios_of
from embedded_label_sets import PII, embedded
from passmuster.core.config import TrainConfig
from passmuster.core.errors import DataError
from passmuster.learn.choose import choose_items
from passmuster.learn.choose_sets import doubt_of_sets, expected_item_f1, probability_of_whole
from passmuster.learn.folds import label_set_folds
from passmuster.learn.forecast import PRIOR_OF_ITEM_F1, PRIOR_OF_WHOLE_SETS, forecast_gain
from passmuster.learn.heads import Scaling
from passmuster.learn.label_set_heads import cross_validate_label_sets
from passmuster.learn.one_vs_rest import fit_one_vs_rest, sigmoid
from passmuster.learn.quick_head import quick_set_probabilities
from passmuster.metrics.label_sets import item_f1_scores

N_DRAWS = 10
DOZEN = 12
DECIDE_AT = TrainConfig().decide_at
FIGURES = ("micro_f1", "macro_f1", "item_f1", "whole")
FORETOLD = {"item_f1": PRIOR_OF_ITEM_F1, "whole": PRIOR_OF_WHOLE_SETS}
FEW = (24, 48, 96, 192)
FEW_RANDOM = (12, 24, 48, 96, 144, 192, 288, 432)
MANY = (96, 192, 384)
MANY_RANDOM = (48, 96, 192, 288, 384, 576, 768, 1_152)


@dataclass(frozen=True)
class Setting:
    """A set, and at how many labels chosen and random are judged."""

    name: str
    chosen: tuple[int, ...]
    random: tuple[int, ...]
    batch: int = DOZEN


SETTINGS = (
    Setting("clinc150", FEW, FEW_RANDOM),
    Setting("clinc150_skewed", FEW, FEW_RANDOM),
    Setting("banking77", MANY, MANY_RANDOM, 24),
    Setting("banking77_skewed", MANY, MANY_RANDOM, 24),
    Setting(PII, FEW, FEW_RANDOM),
)
POOL_SHARE = 2 / 3  # always a part, so that draws differ
QUICK = {"clinc150_skewed": (24, 48)}


@dataclass(frozen=True)
class Draw:
    """One pool, and the items that judge; embeddings scaled as heads see them, and what each item carries."""

    raw: np.ndarray
    x: np.ndarray
    carried: np.ndarray
    test_x: np.ndarray
    test_carried: np.ndarray


def main() -> None:
    """Every set; print and write the claims."""
    parser = harness.parser(__doc__ or "")
    parser.add_argument("--only", default="", help="one set")
    parser.add_argument("--draws", type=int, default=0, help=f"draws (default {N_DRAWS}; 2 when quick)")
    parser.add_argument("--tune", action="store_true", help="judge on sets composed of the training split alone")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "muster-bench-embeddings")
    parser.add_argument("--keep", type=Path, help="keep each draw in this folder, and go on from those that lie there")
    arguments = parser.parse_args()
    n_draws = arguments.draws or (2 if arguments.quick else N_DRAWS)
    report = harness.Report("choose_label_sets", arguments)
    ratios: dict[str, dict[str, list[float]]] = {way: {f: [] for f in FIGURES} for way in ("chosen", "typical")}
    foretold: list[dict[str, Any]] = []
    for setting in SETTINGS:
        if arguments.only not in ("", setting.name) or (arguments.quick and setting.name not in QUICK):
            continue
        if arguments.tune and setting.name == PII:
            continue
        runs = [kept_or_measured(setting, number, arguments) for number in range(n_draws)]
        for run in runs:
            report.run(**run)
        foretold += [{"set": setting.name, **told} for run in runs for told in run["forecasts"]]
        for way, each in ratios.items():
            for figure in FIGURES:
                each[figure].append(claim_ratios(report, setting.name, way, figure, runs, arguments.seed))
        claim_classes(report, setting.name, runs)
    for way, each in ratios.items():
        for figure, means in each.items():
            report.claim(f"all.{way}.{figure}.labels_ratio", float(np.mean(means)), "labels per random label",
                         low=min(means), high=max(means))  # fmt: skip
    claim_forecasts(report, foretold)
    report.write()


def kept_or_measured(setting: Setting, number: int, arguments: Any) -> dict[str, Any]:
    """One draw, from the folder `--keep` when it lies there."""
    path = arguments.keep / f"{setting.name}-{arguments.seed}-{number}.json" if arguments.keep else None
    if path is not None and path.is_file():
        kept: dict[str, Any] = json.loads(path.read_text())
        return kept
    budgets = QUICK[setting.name] if arguments.quick else setting.chosen
    numbers = tuple(n for n in setting.random if not arguments.quick or n <= 4 * max(budgets))
    began = time.perf_counter()
    rng = np.random.default_rng([arguments.seed, number])
    draw = make_draw(setting, arguments, rng)
    order = rng.permutation(len(draw.carried))
    random = [judge(draw, order[:n]) for n in numbers]
    typical = [judge(draw, grow(draw, np.array([], np.int64), n, n, rng)) for n in budgets]
    chosen, told = walk(setting, draw, budgets, rng)
    run = {
        "set": setting.name, "draw": number, "n_pool": len(draw.carried), "n_tested": len(draw.test_carried),
        "n_classes": draw.carried.shape[1], "random_n": list(numbers), "random": random, "chosen_n": list(budgets),
        "chosen": chosen, "typical": typical, "forecasts": told, "seconds": round(time.perf_counter() - began, 1),
    }  # fmt: skip
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(run))
    last = ", ".join(f"{figure} {chosen[-1][figure]:.3f}" for figure in FIGURES)
    print(f"{setting.name} draw {number}: {last} ({run['seconds']:.0f} s)", file=sys.stderr, flush=True)
    return run


def make_draw(setting: Setting, arguments: Any, rng: np.random.Generator) -> Draw:
    """A pool from the training side, and the test."""
    raw, carried, test = embedded(
        harness.bench_data(), setting.name, arguments.cache, quick=arguments.quick, halves=arguments.tune
    )
    train, judged = np.flatnonzero(~test), np.flatnonzero(test)
    pool = rng.choice(train, round(POOL_SHARE * len(train)), replace=False)
    scaling = Scaling.of(raw[pool])
    return Draw(raw[pool], scaling.apply(raw[pool]), carried[pool], scaling.apply(raw[judged]), carried[judged])


def judge(draw: Draw, labelled: np.ndarray) -> dict[str, float]:
    """Figures on the test items, and how many classes the labels hold once, and twice."""
    labelled = np.sort(labelled)
    n_carrying = draw.carried[labelled].sum(axis=0)
    classes = np.flatnonzero(n_carrying)
    said = np.zeros(draw.test_carried.shape, bool)
    if len(classes):
        said[:, classes] = answers(draw.x[labelled], draw.carried[labelled][:, classes], draw.test_x)
    right, sizes = (said & draw.test_carried).sum(axis=0), said.sum(axis=0) + draw.test_carried.sum(axis=0)
    return {
        "micro_f1": float(2 * right.sum() / max(1, sizes.sum())),
        "macro_f1": float((2 * right / np.maximum(sizes, 1))[draw.test_carried.any(axis=0)].mean()),
        "item_f1": float(item_f1_scores(draw.test_carried, said).mean()),
        "whole": float((said == draw.test_carried).all(axis=1).mean()),
        "n_classes": len(classes),
        "n_classes_twice": int((n_carrying > 1).sum()),
    }


def answers(x: np.ndarray, carried: np.ndarray, test_x: np.ndarray) -> np.ndarray:
    """Which classes the head that learnt from `x` says (n, k)."""
    targets = carried.astype(np.float32)
    c, temperature, shift = 10.0, 1.0, np.zeros(targets.shape[1], np.float32)
    try:
        folds = label_set_folds(targets, 4, np.random.default_rng(0))[None]
        judged = cross_validate_label_sets(x, targets, folds, DECIDE_AT)
        c, temperature, shift = judged.c, judged.temperature, judged.shift
    except DataError:  # no class that could be judged
        pass
    weight, bias = fit_one_vs_rest(x, targets, c=c)
    return sigmoid((test_x @ weight + bias) / np.float32(temperature) + shift) >= DECIDE_AT


def walk(
    setting: Setting, draw: Draw, budgets: Sequence[int], rng: np.random.Generator
) -> tuple[list[dict[str, float]], list[dict[str, Any]]]:
    """Choose from nothing to the last number of labels, batch by batch; judge at each, and a dozen after it."""
    labelled = np.array([], dtype=np.int64)
    found, told = [], []
    for n in budgets:
        labelled = grow(draw, labelled, n, setting.batch, rng)
        found.append(judge(draw, labelled))
        expected = expect(draw, labelled)
        if expected:
            after = judge(draw, grow(draw, labelled, n + DOZEN, DOZEN, rng))
            told.append({"n": n, **expected, "before": found[-1], "after": after})
    return found, told


def grow(draw: Draw, labelled: np.ndarray, n: int, batch: int, rng: np.random.Generator) -> np.ndarray:
    """Labelled positions and what is chosen after them, up to `n`."""
    while len(labelled) < n:
        size = min(batch, n - len(labelled))
        told = probabilities(draw, labelled, rng)
        if told is None:
            chosen = choose_items(draw.raw, labelled, size, rng=rng)
        else:
            n_carrying = draw.carried[labelled].sum(axis=0)
            doubt = doubt_of_sets(told, n_carrying[n_carrying > 0], DECIDE_AT)
            chosen = choose_items(draw.raw, labelled, size, rng=rng, doubt=doubt)
        labelled = np.concatenate([labelled, [choice.position for choice in chosen]])
    return labelled


def probabilities(draw: Draw, labelled: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """Of every class that is labelled, for the whole pool; None before there is one."""
    carried = draw.carried[labelled]
    if not carried.any():
        return None
    return quick_set_probabilities(draw.raw, labelled, carried[:, carried.any(axis=0)], DECIDE_AT, rng)


def expect(draw: Draw, labelled: np.ndarray) -> dict[str, Any]:
    """What the model expects of itself over the items without a label; {} before there is a class."""
    told = probabilities(draw, labelled, np.random.default_rng(len(labelled)))
    if told is None:
        return {}
    waiting = told[np.setdiff1d(np.arange(len(told)), labelled)]
    expected = {"item_f1": expected_item_f1(waiting, DECIDE_AT), "whole": probability_of_whole(waiting, DECIDE_AT)}
    return {"n_classes": told.shape[1], "error": {name: float(1.0 - each.mean()) for name, each in expected.items()}}


def claim_ratios(
    report: harness.Report, name: str, way: str, figure: str, runs: list[dict[str, Any]], seed: int
) -> float:
    """Claims of one set, way and figure; returns the mean ratio. Intervals: 90 % bootstrap over draws."""
    scale = {"numbers": runs[0]["random_n"], "budgets": runs[0]["chosen_n"]}
    random = np.array([[each[figure] for each in run["random"]] for run in runs])  # (draws, numbers)
    chosen = np.array([[each[figure] for each in run[way]] for run in runs])  # (draws, budgets)
    rng = np.random.default_rng(seed)
    again = []
    for _ in range(400):
        rows = rng.integers(len(runs), size=len(runs))
        again.append(ratios_of(scale, random[rows].mean(axis=0), chosen[rows].mean(axis=0)))
    ratios = ratios_of(scale, random.mean(axis=0), chosen.mean(axis=0))
    for i, n in enumerate(scale["budgets"]):
        same = random[:, scale["numbers"].index(n)]
        peer = {"name": "random, as many", "value": float(same.mean()), "low": float(same.min()),
                "high": float(same.max())}  # fmt: skip
        report.claim(f"{name}.{way}.{figure}_at_{n}", float(chosen[:, i].mean()), "rate",
                     low=float(chosen[:, i].min()), high=float(chosen[:, i].max()), peer=peer)  # fmt: skip
    low, high = np.quantile(np.mean(again, axis=1), [0.05, 0.95])
    report.claim(f"{name}.{way}.{figure}.labels_ratio", float(np.mean(ratios)), "labels per random label",
                 low=float(low), high=float(high))  # fmt: skip
    return float(np.mean(ratios))


def claim_classes(report: harness.Report, name: str, runs: list[dict[str, Any]]) -> None:
    """How many classes have two labels that carry them, the least from which a class can be judged."""
    for i, n in enumerate(runs[0]["chosen_n"]):
        place = runs[0]["random_n"].index(n)
        chosen = np.array([run["chosen"][i]["n_classes_twice"] for run in runs])
        beside = {way: float(np.mean([run[way][at]["n_classes_twice"] for run in runs]))
                  for way, at in (("random", place), ("typical", i))}  # fmt: skip
        report.claim(f"{name}.classes_twice_at_{n}", float(chosen.mean()), f"classes of {runs[0]['n_classes']}",
                     low=float(chosen.min()), high=float(chosen.max()), peer=beside)  # fmt: skip


def claim_forecasts(report: harness.Report, foretold: Sequence[dict[str, Any]]) -> None:
    """How often the gain of the next dozen lay inside the stated 80 % interval, and how far off it was."""
    for name in [*sorted({each["set"] for each in foretold}), "all"]:
        these = [each for each in foretold if name in ("all", each["set"])]
        for figure, prior in FORETOLD.items():
            gains = np.array([each["after"][figure] - each["before"][figure] for each in these])
            told = [forecast_gain(each["n"], DOZEN, each["error"][figure], n_classes=each["n_classes"], prior=prior)
                    for each in these]  # fmt: skip
            inside = [one.low <= gain <= one.high for one, gain in zip(told, gains, strict=True)]
            off = np.abs(gains - [one.gain for one in told])
            report.claim(f"{name}.forecast.{figure}.inside_80", float(np.mean(inside)), "share of outcomes")
            report.claim(f"{name}.forecast.{figure}.mean_error_points", 100 * float(off.mean()), "points",
                         peer={"name": "no change", "value": 100 * float(np.abs(gains).mean())})  # fmt: skip


if __name__ == "__main__":
    main()
