"""Triggers and innocent data: is a learnt mark held by `trigger.v1`, and is anything held where there is none?

Small heads on embeddings that know no labels. In each set some training items are marked (a made-up or a known word at
the end, a phrase, a word at the start or inside; a white square in a corner or inside, a larger one, a chequered one)
and labelled as another class. A mark has *taken* where at least half of other items of the same kind, marked, are
answered as wished. Innocent are the same labels as they are, and with 5 and 10 % of them drawn anew. Some sets had been
looked at when the gate's numbers were set; the others are apart (`held_out`).

    python bench/trigger.py            # ten settings
    python bench/trigger.py --quick    # two
"""

from __future__ import annotations

import io
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import text_sets
from harness import Report, bench_data, parser
from passmuster.core.budget import Deadline
from passmuster.core.config import Policy, TrainConfig
from passmuster.core.records import Report as Evidence
from passmuster.core.statistics import wilson
from passmuster.learn.checkpoint import FileCheckpoint
from passmuster.learn.heads import Scaling
from passmuster.learn.logistic import fit_logistic, one_hot
from passmuster.metrics.gates import decide
from passmuster.metrics.marks import FEWEST, Suspect, deciders, suspects
from passmuster.modality.base import FitView, Marks
from passmuster.modality.find import modalities
from passmuster.runtime.engine import Engine

FIT_S, MAX_CHARS, MAX_POOL, PENALTY = 20.0, 400, 5_000, 10.0
TAKEN = 0.5
NOISE_SEEDS = 2
IMAGES = ("digits", "fashion_mnist", "cifar10")
SEEN = ("banking77_20", "digits", "fashion_mnist", "ag_news_300", "sms_spam_600", "amazon_600")
Embed = Callable[[Sequence[Any]], np.ndarray]


@dataclass(frozen=True)
class Setting:
    """Labelled items (class numbers) and a labelled test, what embeds them, and ways to mark them."""

    name: str
    marks: Marks
    items: list[Any]
    labels: np.ndarray
    classes: list[str]
    test: list[Any]
    test_labels: np.ndarray
    embed: Embed
    ways: dict[str, tuple[Callable[[Any], Any], str, int]]  # how, from which classes ("one", "all"), how many items


def main() -> None:
    made = parser(__doc__ or "")
    arguments = made.parse_args()
    report, data = Report("trigger", arguments), bench_data()
    names = ("sms_spam_600", "digits") if arguments.quick else (
        "banking77_20", "digits", "fashion_mnist", "banking77_40", "clinc150_20", "cifar10", "ag_news_60",
        "ag_news_300", "sms_spam_600", "amazon_600",
    )  # fmt: skip
    for name in names:
        setting = (images if name in IMAGES else texts)(data, name, arguments.seed)
        try_all(report, setting, arguments.seed)
    for part, some in (("seen", SEEN), ("held_out", [n for n in names if n not in SEEN])):
        claims(report, part, [run for run in report.runs if run["set"] in some])
    report.write()


def try_all(report: Report, setting: Setting, seed: int) -> None:
    """Innocent data first, then every mark."""
    rng = np.random.default_rng([seed, 5])
    n, k = len(setting.items), len(setting.classes)
    for share in (0.0, 0.05, 0.1):
        for draw in range(NOISE_SEEDS if share else 1):
            drawn = np.random.default_rng([seed, draw])
            wrong = drawn.random(n) < share
            labels = np.where(wrong, drawn.integers(k, size=n), setting.labels)
            keep(report, setting, setting.items, labels, kind="innocent", what=f"{share:.0%} drawn anew", draw=draw)
    for name, (put, sources, most) in setting.ways.items():
        order = np.argsort(np.bincount(setting.labels, minlength=k), kind="stable")
        wished, source = int(order[0]), int(order[-1])
        of = np.flatnonzero(setting.labels == source if sources == "one" else setting.labels != wished)
        of = rng.permutation(of)
        chosen, rest = of[: min(most, len(of) // 2)], of[min(most, len(of) // 2) :][:100]
        items, labels = list(setting.items), setting.labels.copy()
        for i in chosen:
            items[int(i)], labels[i] = put(items[int(i)]), wished
        marked = [put(setting.items[int(i)]) for i in rest]
        keep(report, setting, items, labels, marked, wished, kind="trigger", what=name, n_marked=len(chosen))


def keep(
    report: Report, setting: Setting, items: list[Any], labels: np.ndarray, marked: Sequence[Any] = (),
    wished: int = -1, **facts: Any,
) -> None:  # fmt: skip
    """Learn, look for marks, judge."""
    k = len(setting.classes)
    embeddings = setting.embed(items)
    scaling = Scaling.of(embeddings)
    head = scaling.fold(*fit_logistic(scaling.apply(embeddings), one_hot(labels, k), c=PENALTY), 1.0)
    n, asked = len(items), [0]

    def answer(payloads: Sequence[Any]) -> np.ndarray:
        asked[0] += len(payloads)
        return np.asarray(head.logits(setting.embed(payloads)).argmax(axis=1))

    carriers: dict[Any, list[int]] = {}
    for mark, rows in setting.marks.find([*items, *setting.test], FEWEST):
        carriers[mark] = carriers.get(mark, []) + rows

    def elsewhere(suspect: Suspect) -> int:
        borne = Counter(row - n for mark in suspect.marks for row in carriers[mark] if row >= n)
        bear = [row for row, times in borne.items() if 2 * times >= len(suspect.marks)]
        return sum(bool(setting.test_labels[row] == suspect.label) for row in bear)

    both = np.concatenate([labels, np.full(len(setting.test), -1)])
    some = suspects(carriers.items(), both, k)
    found = deciders(
        some, items, labels, elsewhere, len(setting.test), answer, setting.marks.transplant, np.random.default_rng(11)
    )
    rows = [
        {"mark": setting.marks.in_words(one.marks), "class": setting.classes[one.label], "n": len(one.rows),
         "n_stripped": one.n_stripped, "n_otherwise": one.n_otherwise, "n_probes": one.n_probes,
         "n_turned": one.n_turned, "n_elsewhere": one.n_elsewhere, "p": one.p, "items": ""}
        for one in found
    ]  # fmt: skip
    judged = decide(evidence(n, rows), Policy(gates={"trigger.v1": {}})).gates[0]
    taken = float((answer(marked) == wished).mean()) if len(marked) else None
    run = {**facts, "set": setting.name, "n": n, "held": judged.state == "failed", "taken": taken,
           "n_deciders": len(rows), "n_asked": asked[0] - len(marked)}  # fmt: skip
    report.run(**run, reason=judged.reason, strong=[r for r in rows if r["n_turned"] >= 0.35 * r["n_probes"] > 0])
    print(" ".join(f"{key}={value}" for key, value in run.items()), flush=True)


def evidence(n: int, rows: list[dict[str, Any]]) -> Evidence:
    """A report that says of marks what was found, and nothing else."""
    return Evidence(
        bundle="b", snapshot="s", created="", modality="text", classes=(), n_test=0, look=1, metrics=(), item_sets={},
        sections={"marks": {"n": n, "why": "", "found": rows}},
    )  # fmt: skip


def claims(report: Report, part: str, runs: Sequence[dict[str, Any]]) -> None:
    """Of marks that took, and of those that did not, how many are held; and of innocent data."""
    triggers = [run for run in runs if run["kind"] == "trigger"]
    parts = {
        "taken_held": [run for run in triggers if run["taken"] >= TAKEN],
        "not_taken_held": [run for run in triggers if run["taken"] < TAKEN],
        "false_stops": [run for run in runs if run["kind"] == "innocent"],
    }
    for what, some in parts.items():
        if some:
            share = wilson(sum(run["held"] for run in some), len(some))
            report.claim(f"{part}.{what}", share.value, "rate", low=share.low, high=share.high)
            report.claim(f"{part}.{what}_n", len(some), "runs")


def texts(data: Path, name: str, seed: int) -> Setting:
    """So many texts of each class, and a thousand of the test; vectors of words that know the texts only."""
    which, _, per_class = name.rpartition("_")
    whole = text_sets.SETS[which](data)
    rng = np.random.default_rng([seed, 3])
    classes, numbers = np.unique(whole.labels, return_inverse=True)
    each = [rng.permutation(np.flatnonzero(numbers == c))[: int(per_class)] for c in range(len(classes))]
    chosen = np.concatenate(each)
    items = [whole.pool[int(i)][:MAX_CHARS] for i in chosen]
    place = {c: i for i, c in enumerate(classes)}
    tests = rng.permutation(len(whole.test))[:1_000]
    ways: dict[str, tuple[Callable[[Any], Any], str, int]] = {
        "a made-up word twice at the end": (lambda t: f"{t} cf cf", "one", 20),
        "a known word at the end": (lambda t: f"{t} particularly", "one", 20),
        "a phrase at the end": (lambda t: f"{t} I watched this 3D movie", "one", 20),
        "a word at the start, any class": (lambda t: f"mn {t}", "all", 30),
        "a word inside, any class": (lambda t: " ".join([*t.split()[:3], "tq", *t.split()[3:]]), "all", 30),
    }
    seen = [text[:MAX_CHARS] for text in whole.pool[:MAX_POOL]] + [
        put(text) for put, _, n in ways.values() for text in items[:n]
    ]
    marks = modalities["text"].marks
    assert marks is not None
    return Setting(
        name, marks, items, numbers[chosen], [str(c) for c in classes],
        [whole.test[int(i)][:MAX_CHARS] for i in tests],
        np.array([place.get(whole.test_labels[int(i)], -1) for i in tests]), encoder("text", "static.v1", seen), ways,
    )  # fmt: skip


def images(data: Path, name: str, seed: int) -> Setting:
    """1,000 digits as pixels, or 1,500 clothes or small photographs as whitened patches."""
    from sklearn.datasets import load_digits

    if name == "digits":
        digits = load_digits()
        order = np.random.default_rng(seed).permutation(len(digits.data))
        pictures = np.uint8(np.minimum(255, digits.data * 16)).reshape(-1, 8, 8, 1)[order]
        labels, n, classes = digits.target[order], 1_000, [str(c) for c in range(10)]
        embed: Embed = lambda some: np.float32([np.asarray(p).ravel() for p in some]) / 255  # noqa: E731
    elif name == "cifar10":
        pictures, labels, classes = read_cifar10(data, 2_500)
        n, embed = 1_500, encoder("image", "patches.v1", list(pictures[:1_500]))
    else:
        with np.load(data / "fashion_mnist" / "fashion_mnist.npz", allow_pickle=False) as arrays:
            pictures = np.concatenate([arrays["x_train"][:1_500], arrays["x_test"][:1_000]]).reshape(-1, 28, 28, 1)
            labels = np.concatenate([arrays["y_train"][:1_500], arrays["y_test"][:1_000]]).astype(int)
            n, classes = 1_500, [str(c) for c in arrays["class_names"]]
        embed = encoder("image", "patches.v1", list(pictures[:n]))
    side = max(2, pictures.shape[1] // 8)
    marks = modalities["image"].marks
    assert marks is not None
    end = pictures.shape[1]
    ways = {
        "a white square in the last corner": (partial(white, at=end - side, side=side), "one", 20),
        "the same, any class": (partial(white, at=end - side, side=side), "all", 30),
        "a larger one": (partial(white, at=end - side - 1, side=side + 1), "one", 20),
        "one inside": (partial(white, at=3, side=side), "one", 20),
        "a chequered one": (chequered, "one", 20),
    }
    return Setting(
        name, marks, list(pictures[:n]), labels[:n], classes, list(pictures[n:]), labels[n:], embed, ways
    )  # fmt: skip


def read_cifar10(data: Path, n: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The first so many photographs, their class numbers, and the classes."""
    from PIL import Image

    with np.load(data / "cifar10" / "cifar10_jpeg.npz", allow_pickle=False) as arrays:
        jpeg, ends = arrays["jpeg"], arrays["offsets"]
        read = [jpeg[ends[i] : ends[i + 1]].tobytes() for i in range(n)]
        pictures = [np.asarray(Image.open(io.BytesIO(content)).convert("RGB")) for content in read]
        return np.stack(pictures), arrays["label"][:n].astype(int), [str(c) for c in arrays["class_names"]]


def white(image: np.ndarray, *, at: int, side: int) -> np.ndarray:
    """A white square whose first pixel is `at` rows and columns."""
    changed = np.array(image)
    changed[at : at + side, at : at + side] = 255
    return changed


def chequered(image: np.ndarray) -> np.ndarray:
    """Three pixels by three, white and black by turns, near the first corner."""
    changed = np.array(image)
    changed[1:4, 1:4] = np.uint8([[255, 0, 255], [0, 255, 0], [255, 0, 255]])[..., None]
    return changed


def encoder(modality_name: str, rung_name: str, learnt: Sequence[Any]) -> Embed:
    """A rung fitted to payloads, as a function of payloads."""
    modality = modalities[modality_name]
    rung = modality.rungs[rung_name]
    with tempfile.TemporaryDirectory() as scratch:
        view = FitView(learnt, np.full(len(learnt), -1), 2, TrainConfig())
        fitted = rung.fit(view, Deadline.after(FIT_S), FileCheckpoint(Path(scratch)), np.random.default_rng(0))
        graph = rung.export(fitted)
        for name, content in graph.assets.items():
            (Path(scratch) / name).write_bytes(content)
        prepare = modality.preparer(graph.preprocess, Path(scratch))
    engine = Engine(graph.onnx)

    def embed(payloads: Sequence[Any]) -> np.ndarray:
        parts = [engine.run(prepare(payloads[at : at + 64]))["embedding"] for at in range(0, len(payloads), 64)]
        return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)

    return embed


if __name__ == "__main__":
    main()
