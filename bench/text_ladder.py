"""Muster's text ladder on one draw of labels after another, as `stages/train` climbs it, for `fewlabel_text.py`.

Encoders that see no label are fitted, and the texts embedded with them, once per set (kept in a folder); a draw of
labels then fits and chooses heads. The seconds of fitting are charged to every draw in full, and those of embedding for
as many texts as training would embed. `tuned.v1` is taught in each draw, once per fold and once by all labels; as in
training, its last lessons and its embedding of the pool are charged where it is chosen, its judging always.
`stacked.v1` is put together from its two views' embeddings, and the layer of `adapted.v1` learnt over those of each
draw's sample, as in training. `distilled.v1` learns from the best bet of
the others (of runs of before, the smallest held-out loss); where that is `tuned.v1`, its last lessons are charged too.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from text_sets import Texts

LADDER = ("static.v1", "pretrained.v1", "stacked.v1")  # rungs whose encoders see no label
ADAPTED, TAUGHT, STUDENT = "adapted.v1", "tuned.v1", "distilled.v1"
BATCH = 64
# Charged to every draw for what a training process does besides: imports took 1.1 s. Comparing engines, guard and
# bundle are not measured here.
START_CPU_S = 3.0


@dataclass(frozen=True)
class Embedded:
    """One rung's embeddings of pool and test, its encoder, and user + system seconds of fitting and of embedding."""

    rung: str
    pool: np.ndarray
    test: np.ndarray
    fit_s: float
    embed_s: float  # of the whole pool
    encoder: Any = None

    def seen(self, chosen: np.ndarray, draw: int) -> np.ndarray:
        """Positions of the pool that training embeds: all, or the labelled items and a sample where that is dear."""
        from passmuster.core.sampling import pool_order
        from passmuster.modality.base import n_sampled

        if not rung_of(self.rung).sampled:
            return np.arange(len(self.pool))
        order = pool_order(len(self.pool), draw)
        n = n_sampled(len(self.pool), len(chosen)) - len(chosen)
        return np.sort(np.concatenate([chosen, order[~np.isin(order, chosen)][:n]]))

    def seconds(self, n_seen: int) -> float:
        return self.fit_s + self.embed_s * n_seen / len(self.pool)


def rung_of(name: str) -> Any:
    from passmuster.modality.find import modalities

    return modalities["text"].rungs[name]


def embed(name: str, rung: str, texts: Texts, cache: Path, before: Mapping[str, Embedded]) -> Embedded:
    """Fit a rung on the raw pool, embed pool and test with what it would serve; from the cache when it is there."""
    from passmuster.learn.checkpoint import FileCheckpoint
    from passmuster.modality.base import Encoder

    if rung == "stacked.v1":
        return stack([before["static.v1"], before["pretrained.v1"]])
    folder = cache / f"{name}.{rung}.{len(texts.pool)}"
    kept = FileCheckpoint(folder)
    if not (folder / "seconds.json").is_file():
        began = time.process_time()
        encoder = fitted(rung, texts.pool)
        fit_s = time.process_time() - began
        kept.save("encoder", encoder.arrays, encoder.settings)
        with embedder(rung_of(rung).export(encoder)) as run:
            began = time.process_time()
            pool = run(texts.pool)
            embed_s = time.process_time() - began
            kept.save("rows", {"pool": pool, "test": run(texts.test)}, {})
        (folder / "seconds.json").write_text(json.dumps({"fit_s": fit_s, "embed_s": embed_s}), encoding="utf-8")
    rows, encoder_kept = kept.load("rows"), kept.load("encoder")
    assert rows is not None
    assert encoder_kept is not None
    seconds = json.loads((folder / "seconds.json").read_text(encoding="utf-8"))
    return Embedded(rung, rows[0]["pool"], rows[0]["test"], **seconds, encoder=Encoder(rung, *encoder_kept))


def fitted(rung: str, pool: list[str]) -> Any:
    """The rung's encoder, from raw texts alone."""
    from passmuster.core.budget import Deadline
    from passmuster.core.config import TrainConfig
    from passmuster.learn.checkpoint import FileCheckpoint
    from passmuster.modality.base import FitView

    with tempfile.TemporaryDirectory() as folder:
        view = FitView(pool, np.full(len(pool), -1), 2, TrainConfig())
        return rung_of(rung).fit(view, Deadline.after(3600.0), FileCheckpoint(Path(folder)), np.random.default_rng(0))


@contextlib.contextmanager
def embedder(graph: Any) -> Iterator[Callable[[Sequence[str]], np.ndarray]]:
    """Texts to embeddings by the engine that would serve: one thread, batches of like length."""
    from passmuster.modality.text.rungs.stacked import preparer
    from passmuster.runtime.engine import Engine

    loaded = Engine(graph.onnx, threads=1)
    with preparer(graph) as prepare:

        def run(texts: Sequence[str]) -> np.ndarray:
            order = np.argsort([len(text) for text in texts], kind="stable")
            rows = [
                loaded.run(prepare([texts[i] for i in order[at : at + BATCH]]))["embedding"]
                for at in range(0, len(order), BATCH)
            ]
            back = np.empty_like(order)
            back[order] = np.arange(len(order))
            return np.concatenate(rows)[back].astype(np.float32)

        yield run


def stack(views: Sequence[Embedded]) -> Embedded:
    """What `stacked.v1` computes, from its views' embeddings: the scales are measured as the rung does."""
    from passmuster.modality.text.rungs.stacked import N_MEASURED, scales_of

    n_pool = len(views[0].pool)
    sample = np.random.default_rng(0).choice(n_pool, min(N_MEASURED, n_pool), replace=False)
    scales = scales_of([view.pool[sample] for view in views])
    pool, test = (
        np.hstack([s * getattr(view, part) for s, view in zip(scales, views, strict=True)]) for part in ("pool", "test")
    )
    return Embedded("stacked.v1", pool, test, 0.0, 0.0)  # the seconds are its views', which are charged themselves


def adapt(stacked: Embedded, seen: np.ndarray, draw: int) -> Embedded:
    """What `adapted.v1` computes: its layer is learnt from the texts of the pool at `seen`, as training embeds them."""
    from passmuster.learn.places import learn_places
    from passmuster.modality.text.rungs.adapted import N_LEARNT

    some = np.sort(np.random.default_rng([draw, 4]).choice(seen, min(N_LEARNT, len(seen)), replace=False))
    through = learn_places(stacked.pool[some])
    return Embedded(ADAPTED, stacked.pool @ through, stacked.test @ through, 0.0, 0.0)


def climb(
    rungs: Mapping[str, Embedded], texts: Texts, chosen: np.ndarray, draw: int, priors: Mapping[str, Any]
) -> dict[str, Any]:
    """Every rung's best head as training finds it, and what each answers on the test.

    `priors` are gains on other sets, by which the student's teacher is chosen. Which rung serves is settled when claims
    are written.
    """
    from passmuster.learn.folds import repeated_folds
    from passmuster.learn.select import RESAMPLED, Candidate, choose_rung

    began = time.process_time()
    classes = np.unique(texts.labels)
    y = np.searchsorted(classes, texts.labels[chosen])
    folds = repeated_folds(y, np.random.default_rng([draw, 0]))
    seen = {name: rung.seen(chosen, draw) for name, rung in rungs.items()}
    rungs = {**rungs, ADAPTED: adapt(rungs["stacked.v1"], seen["stacked.v1"], draw)}
    seen[ADAPTED] = seen["stacked.v1"]
    judged = {name: judge(rung, seen[name], chosen, y, len(classes), folds) for name, rung in rungs.items()}
    with tempfile.TemporaryDirectory() as folder:
        lesson = Lesson(texts, chosen, y, len(classes), folds, draw, Path(folder), rungs)
        judged[TAUGHT], by_fold = lesson.judge()
        standings = choose_rung([Candidate(name, tried[0].losses, priors[name]) for name, tried in judged.items()])
        teacher = max(standings[1:], key=lambda standing: standing.expected_gain).name
        if teacher != TAUGHT:
            others = np.setdiff1d(seen[teacher], chosen)
            items = np.concatenate([chosen, others])
            by_fold = items, [rungs[teacher].pool[items]] * len(by_fold[1])
        student = learn_from(rungs[LADDER[0]], by_fold, y, len(classes), folds[0], judged[teacher])
        seconds = time.process_time() - began + START_CPU_S
        seconds += sum(rung.seconds(len(seen[name])) for name, rung in rungs.items())
        seen[TAUGHT], taught = lesson.fit()
    rows, first = {}, judged[LADDER[0]][0].losses
    every = {**rungs, TAUGHT: taught, STUDENT: rungs[LADDER[0]]}
    for rung, tried in {**judged, STUDENT: [student]}.items():
        embedded = every[rung]
        if rung == STUDENT:
            head = student_head(
                embedded, every[teacher], seen[teacher], chosen, y, len(classes), judged[teacher], student
            )
        else:
            head = last_head(embedded, seen[rung], chosen, y, len(classes), tried)
        right, loss = answer(head, embedded.test, np.searchsorted(classes, texts.test_labels))
        gain = first - tried[0].losses
        rows[rung] = {
            "head": tried[0].kind, "accuracy": right, "log_loss": loss, "cv_log_loss": tried[0].log_loss,
            "cv_gain": float(gain.mean()), "cv_gain_se": float(gain.std(ddof=1) / np.sqrt(len(gain))) * RESAMPLED,
        }  # fmt: skip
    rows[TAUGHT]["cpu_s"] = round(taught.fit_s + taught.embed_s, 2)
    rows[STUDENT] |= {"teacher": teacher, "cpu_s": rows[teacher].get("cpu_s", 0.0)}
    return {"judged_cpu_s": round(seconds, 2), "rungs": rows}


@dataclass(frozen=True)
class Lesson:
    """One draw of labels for `tuned.v1`: judged on encoders taught per fold, then taught by all labels."""

    texts: Texts
    chosen: np.ndarray
    y: np.ndarray
    n_classes: int
    folds: np.ndarray
    draw: int
    folder: Path
    rungs: Mapping[str, Embedded]

    def judge(self) -> tuple[list[Any], tuple[np.ndarray, list[np.ndarray]]]:
        """Judged heads, and the items and rows by fold that they were judged on."""
        from passmuster.core.budget import Deadline
        from passmuster.learn.refitted import cross_validate_refitted
        from passmuster.modality.base import N_JUDGED_BESIDE

        rng = np.random.default_rng([self.draw, 2])
        fold = np.full(len(self.texts.pool), -1)
        fold[self.chosen] = self.folds[0]
        others = np.setdiff1d(np.arange(len(fold)), self.chosen)
        beside = np.sort(rng.choice(others, min(N_JUDGED_BESIDE, len(others)), replace=False))
        items = np.concatenate([self.chosen, beside])
        rows = list(rung_of(TAUGHT).held_out(self._view, items, fold, Deadline.after(3600.0), self._checkpoint, rng))
        return list(cross_validate_refitted(rows, self.y, self.folds[0], self.n_classes)), (items, rows)

    def fit(self) -> tuple[np.ndarray, Embedded]:
        """Positions of the pool that are embedded, and the embeddings (zeros elsewhere)."""
        from passmuster.core.budget import Deadline

        began = time.process_time()
        rng = np.random.default_rng([self.draw, 3])
        encoder = rung_of(TAUGHT).fit(self._view, Deadline.after(3600.0), self._checkpoint, rng)
        fit_s = time.process_time() - began
        some = np.zeros((len(self.texts.pool), 1), np.float32)
        seen = Embedded(TAUGHT, some, some, 0.0, 0.0).seen(self.chosen, self.draw)
        with embedder(rung_of(TAUGHT).export(encoder)) as run:
            began = time.process_time()
            rows = run([self.texts.pool[i] for i in seen])
            embed_s = time.process_time() - began
            pool = np.zeros((len(self.texts.pool), rows.shape[1]), np.float32)
            pool[seen] = rows
            return seen, Embedded(TAUGHT, pool, run(self.texts.test), fit_s, embed_s)

    @cached_property
    def _view(self) -> Any:
        from passmuster.core.config import TrainConfig
        from passmuster.modality.base import FitView

        labels = np.full(len(self.texts.pool), -1)
        labels[self.chosen] = self.y
        before = {name: rung.encoder for name, rung in self.rungs.items() if rung.encoder is not None}
        return FitView(self.texts.pool, labels, self.n_classes, TrainConfig(), before)

    @property
    def _checkpoint(self) -> Any:
        from passmuster.learn.checkpoint import FileCheckpoint

        return FileCheckpoint(self.folder)


def judge(
    rung: Embedded, seen: np.ndarray, chosen: np.ndarray, y: np.ndarray, n_classes: int, folds: np.ndarray
) -> list[Any]:
    """Heads by cross-validated log-loss, the best first, as `stages/train/judging.py` judges them."""
    from passmuster.learn.heads import Scaling, cross_validate_logistic
    from passmuster.learn.pool_heads import judge_pool_heads

    x = Scaling.of(rung.pool[seen]).apply(rung.pool[seen])
    place = np.searchsorted(seen, chosen)
    logistic = cross_validate_logistic(x[place], y, folds, n_classes)
    n_repeats = len(folds) if n_classes < 20 else 1  # training judges one repeat where propagation is long
    return list(judge_pool_heads(x, place, y, n_classes, logistic, folds[:n_repeats]))


def learn_from(
    light: Embedded, by_fold: tuple[np.ndarray, list[np.ndarray]], y: np.ndarray, n_classes: int, fold: np.ndarray,
    tried: Sequence[Any],
) -> Any:  # fmt: skip
    """The student's head, judged as `stages/train/distilling.py` judges it."""
    from passmuster.learn.distilled import Teacher, cross_validate_distilled
    from passmuster.learn.heads import Scaling

    items, rows = by_fold
    x = Scaling.of(light.pool).apply(light.pool[items])
    return cross_validate_distilled(x, y, fold, n_classes, Teacher(rows, tried))


def student_head(
    light: Embedded, teacher: Embedded, seen: np.ndarray, chosen: np.ndarray, y: np.ndarray, n_classes: int,
    tried: Sequence[Any], student: Any,
) -> Any:  # fmt: skip
    """The student's head on all labels and what its teacher answers about the items that it has seen."""
    from passmuster.learn.distilled import fit_distilled
    from passmuster.learn.heads import Scaling
    from passmuster.learn.logistic import one_hot, softmax

    others = np.setdiff1d(seen, chosen)
    answers = softmax(fitted_head(teacher, seen, chosen, y, n_classes, tried).logits(teacher.pool[others]))
    scaling = Scaling.of(light.pool)
    x = scaling.apply(light.pool[np.concatenate([chosen, others])])
    weight, bias = fit_distilled(x, one_hot(y, n_classes), answers, c=student.c)
    return shifted(scaling.fold(weight, bias, student.temperature), light.pool, y, n_classes)


def last_head(
    rung: Embedded, seen: np.ndarray, chosen: np.ndarray, y: np.ndarray, n_classes: int, tried: Sequence[Any]
) -> Any:
    """The best head on all labels, its classes as large as in the pool: as `stages/train/finish.py` fits it."""
    return shifted(fitted_head(rung, seen, chosen, y, n_classes, tried), rung.pool[seen], y, n_classes)


def shifted(head: Any, pool: np.ndarray, y: np.ndarray, n_classes: int) -> Any:
    """The head with classes as large as they are in the pool."""
    from passmuster.learn.shares import label_shares, share_shift

    return replace(head, bias=head.bias + share_shift(head.logits(pool), label_shares(y, n_classes)))


def fitted_head(
    rung: Embedded, seen: np.ndarray, chosen: np.ndarray, y: np.ndarray, n_classes: int, tried: Sequence[Any]
) -> Any:
    """The best head on all labels, calibrated, its classes as large as among the labels."""
    from passmuster.learn.heads import Scaling
    from passmuster.learn.pool_heads import fit_judged

    pool = rung.pool[seen]
    scaling = Scaling.of(pool)
    weight, bias = fit_judged(tried, scaling.apply(pool), np.searchsorted(seen, chosen), y, n_classes)
    return scaling.fold(weight, bias, tried[0].temperature)


def answer(head: Any, test: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Share of the test answered rightly, and the mean negative log-likelihood of its labels in nats."""
    from passmuster.learn.calibration import log_losses

    logits = head.logits(test)
    return float((logits.argmax(axis=1) == truth).mean()), float(log_losses(logits, truth).mean())
