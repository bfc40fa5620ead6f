"""A bundle and items, to answers. The one way from an item to a prediction: judged, served and watched alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from passmuster.core.errors import IntegrityError
from passmuster.core.label_sets import MULTI, Task, join_classes
from passmuster.core.records import UNREAD, Payload, Prediction
from passmuster.modality.base import Modality
from passmuster.modality.find import modalities
from passmuster.runtime.account import Account
from passmuster.runtime.answers import DECIDE_AT, Said, answers_of, prices_of, task_of
from passmuster.runtime.bundle import LoadedBundle
from passmuster.runtime.endpoint import NO_ANSWER
from passmuster.runtime.engine import Engine
from passmuster.runtime.guard import GUARD_ARRAYS, Guarded, apply_guard

BATCH = 64


class Predictor:
    """Answers for one bundle. Use from one thread at a time; of a model behind an address, from any.

    Parameters
    ----------
    bundle : LoadedBundle
        From `open_bundle`, so checked.
    threads : int
        Threads of the engine; 0 takes all cores.
    optimised : bool
        Whether the engine may fuse operations, as in service; see `Engine`.
    """

    def __init__(self, bundle: LoadedBundle, *, threads: int = 0, optimised: bool = True) -> None:
        self.bundle = bundle
        self.classes: tuple[str, ...] = bundle.manifest.classes
        self.modality: Modality = modalities[bundle.manifest.modality]
        if missing := [name for name in GUARD_ARRAYS if name not in bundle.guard]:
            raise IntegrityError("bundle.guard", "the guard lacks an array", value=missing[0], where=bundle.path)
        self.task: Task = task_of(bundle.head)
        decide_at = bundle.guard.get(DECIDE_AT) if self.task == MULTI else None
        if self.task == MULTI and (decide_at is None or decide_at.shape != (len(self.classes),)):
            raise IntegrityError("bundle.guard", "the guard lacks an array", value=DECIDE_AT, where=bundle.path)
        self._decide_at = decide_at
        self.prices = prices_of(bundle.policy.costs, self.classes) if self.task != MULTI else None
        self.novelty_threshold = float(bundle.guard["novelty_threshold"])
        self._prepare = self.modality.preparer(bundle.preprocess, bundle.path)
        self.account = Account()  # what asking took, of a model that is elsewhere
        self._engine = Engine(bundle.graph, bundle.manifest.engine, threads=threads, optimised=optimised)

    def embed(self, payloads: Sequence[Payload]) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings (n, d) and logits (n, c), float32, in batches of at most 64.

        Texts of like length are asked together: a batch costs as much as if all were as long as its longest.
        """
        if not payloads:
            return np.zeros((0, 0), np.float32), np.zeros((0, len(self.classes)), np.float32)
        if len(payloads) <= BATCH:
            return self._run(payloads)
        order = np.argsort([len(p) if isinstance(p, str) else 0 for p in payloads], kind="stable")
        parts = [self._run([payloads[i] for i in order[at : at + BATCH]]) for at in range(0, len(order), BATCH)]
        place = np.argsort(order)
        return np.concatenate([p[0] for p in parts])[place], np.concatenate([p[1] for p in parts])[place]

    def _run(self, payloads: Sequence[Payload]) -> tuple[np.ndarray, np.ndarray]:
        outputs = self._outputs(self._prepare(payloads))
        if not {"embedding", "logits"} <= outputs.keys():
            raise IntegrityError(
                "graph.outputs",
                "the graph lacks an output",
                value=", ".join(outputs),
                limit="embedding, logits",
                where=self.bundle.path,
            )
        self.account.add(outputs)
        embeddings, logits = outputs["embedding"], outputs["logits"]
        if logits.shape != (len(payloads), len(self.classes)) or len(embeddings) != len(payloads):
            raise IntegrityError(
                "graph.shape",
                "the graph's logits do not fit items and classes",
                value=logits.shape,
                limit=(len(payloads), len(self.classes)),
                where=self.bundle.path,
            )
        return embeddings.astype(np.float32, copy=False), logits.astype(np.float32, copy=False)

    def _outputs(self, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """What the engine gives; a rehearsal puts what it remembers in its place."""
        return self._engine.run(inputs)

    def decide(self, embeddings: np.ndarray, logits: np.ndarray, *, degraded: bool = False) -> list[Prediction]:
        """Answers from embeddings and logits; the bundle's own policy governs when one is withheld.

        `Prediction.label` is the most probable class, or the cheapest where the bundle's policy says so, even where
        `abstained`: a suggestion, not an answer. What names no class is right with a probability of 0. Of a
        multi-label bundle it stands for the set of classes said.
        """
        found = self.judge(embeddings, logits, degraded=degraded)
        names = self.names(found.said)
        reasons = [
            (*found.reasons[i], UNREAD) if name == NO_ANSWER else found.reasons[i] for i, name in enumerate(names)
        ]
        return [
            Prediction(
                label=names[i],
                probabilities=tuple(row),
                prediction_set=tuple(self.classes[j] for j in np.flatnonzero(found.sets[i])),
                abstained=bool(reasons[i]),
                reasons=reasons[i],
                novelty=float(found.novelty[i]),
                whole=float(found.sure[i]) if self.task == MULTI else None,
                said=0.0 if names[i] == NO_ANSWER else float(found.sure[i]) if self.prices is not None else None,
            )
            for i, row in enumerate(found.probabilities.tolist())
        ]

    def judge(self, embeddings: np.ndarray, logits: np.ndarray, *, degraded: bool = False) -> Guarded:
        """What `decide` says, as arrays: for many answers of which only some figures are wanted."""
        policy = self.bundle.policy.guard
        return apply_guard(self.bundle.guard, embeddings, logits, policy, degraded=degraded, prices=self.prices)

    def answers(self, logits: np.ndarray) -> Said:
        """The answers alone, without the guard, as arrays."""
        return answers_of(logits, self._decide_at, self.prices)

    def labels(self, logits: np.ndarray) -> list[str]:
        """The answers alone, (n,): the label of each, without the guard."""
        return self.names(self.answers(logits).said)

    def names(self, said: np.ndarray) -> list[str]:
        """The label of each answer (n,), by the classes said of it (n, c)."""
        if self.task == MULTI:
            return [join_classes(self.classes[j] for j in np.flatnonzero(row)) for row in said]
        return [self.classes[int(j)] for j in said.argmax(axis=1)] if len(said) else []

    def predict(self, payloads: Sequence[Payload], *, degraded: bool = False) -> list[Prediction]:
        """`decide` on what `embed` gives."""
        return self.decide(*self.embed(payloads), degraded=degraded)
