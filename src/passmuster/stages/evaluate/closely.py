"""Where a headline does not look: each class against the live release, log-loss, and the guard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from passmuster.core.label_sets import classes_in
from passmuster.core.records import Item, Payload
from passmuster.metrics.class_probabilities import class_probabilities
from passmuster.metrics.regressions import class_losses, log_losses, mean_rise
from passmuster.runtime.endpoint import NO_ANSWER
from passmuster.runtime.predictor import Predictor
from passmuster.stages.evaluate.draft import Answers, Draft, Evidence, pad_classes, pick
from passmuster.stages.evaluate.gather import read_payloads
from passmuster.store.store import Store

N_STRANGE = 60  # test items that are scrambled and shown to both guards


@dataclass(frozen=True)
class Compared:
    """The live release's answers `old` to the items that neither it nor the candidate learnt from: `fresh` (n,)."""

    live: Predictor
    fresh: np.ndarray
    items: tuple[Item, ...]
    old: Answers


def measure_closely(
    store: Store,
    draft: Draft,
    predictor: Predictor,
    evidence: Evidence,
    answers: Answers,
    compared: Compared,
    rng: np.random.Generator,
) -> None:
    """Classes, log-loss and guard, into the section of the comparison with the live release."""
    section = draft.sections["versions"]
    labels = pick(evidence.labels, compared.fresh)
    new = pick(answers.predictions, compared.fresh)
    old = compared.old.predictions
    names = evidence.classes
    if evidence.targets is None:
        y = evidence.y[compared.fresh]
        members = y[:, None] == np.arange(len(names))
        new_right = np.array([[p.label == label] for p, label in zip(new, labels, strict=True)], dtype=bool)
        old_right = np.array([[p.label == label] for p, label in zip(old, labels, strict=True)], dtype=bool)
        losses = [
            log_losses(
                np.array([probability_of(p.probabilities, who.classes, label) for p, label in zip(said, labels)])
            )
            for said, who in ((new, predictor), (old, compared.live))
        ]
    else:
        members = evidence.targets[compared.fresh]
        new_right, old_right = (said_of(said, names) == members for said in (new, old))
        losses = [
            log_losses(np.where(members, p, 1.0 - p)).sum(axis=1)
            for p in (
                answers.probabilities[compared.fresh],
                pad_known(compared.old.probabilities, compared.live.classes, names),
            )
        ]
    weights = evidence.weights[compared.fresh]
    rows = class_losses(new_right, old_right, members, names, weights=weights)
    probabilities = answers.probabilities[compared.fresh]
    live = pad_known(compared.old.probabilities, compared.live.classes, names)
    new_losses, old_losses = (
        [loss[:, None] for loss in losses]
        if evidence.targets is None
        else [log_losses(np.where(members, p, 1.0 - p)) for p in (probabilities, live)]
    )
    more = class_probabilities(
        new_losses, old_losses, probabilities, live, members, names,
        weights=weights, clusters=evidence.clusters[compared.fresh],
    )  # fmt: skip
    section["classes"] = [
        {"class": r.name, "n": r.n, "worse": r.worse, "better": r.better, "loss": r.loss, "worth_worse": r.worth_worse,
         "worth_better": r.worth_better,
         **{k: v for k, v in asdict(m).items() if k not in ("name", "n")}}
        for r, m in zip(rows, more, strict=True)
        if r.name != NO_ANSWER  # no item carries it, and to expect it is no fault
    ]  # fmt: skip
    section["log_loss"] = asdict(mean_rise(losses[0], losses[1], weights))
    section["guard"] = guards_compared(store, draft, predictor, new, compared, weights, rng)


def probability_of(probabilities: Sequence[float], classes: Sequence[str], label: str) -> float:
    """What was given to `label`; 0 by a model that does not know it."""
    return probabilities[classes.index(label)] if label in classes else 0.0


def said_of(predictions: Sequence[Any], names: Sequence[str]) -> np.ndarray:
    """Which classes (n, k) were said."""
    members = [classes_in(p.label, "multi-label") for p in predictions]
    return np.array([[name in said for name in names] for said in members], dtype=bool).reshape(len(members), -1)


def pad_known(probabilities: np.ndarray, own: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """Columns of `names`, 0 for one that is not known; others are left out."""
    kept = [i for i, name in enumerate(own) if name in names]
    return pad_classes(probabilities[:, kept], [own[i] for i in kept], names)


def guards_compared(
    store: Store,
    draft: Draft,
    predictor: Predictor,
    new: Sequence[Any],
    compared: Compared,
    weights: np.ndarray,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """What each of the two withholds of the test, notices of scrambled items, and keeps possible."""
    held_new = np.array([p.abstained for p in new], dtype=bool)
    held_old = np.array([p.abstained for p in compared.old.predictions], dtype=bool)
    keys = [item.key for item in compared.items]
    draft.add_set("withheld_more", [k for k, more in zip(keys, held_new & ~held_old) if more])
    chosen = np.sort(rng.permutation(len(keys))[:N_STRANGE])
    strange = [scrambled(p, rng) for p in read_payloads(store, predictor, [compared.items[int(i)] for i in chosen])]
    noticed_new, noticed_old = (
        np.array(["novel" in p.reasons for p in who.predict(strange)], dtype=bool) for who in (predictor, compared.live)
    )
    sizes = [np.array([len(p.prediction_set) for p in said], dtype=float) for said in (new, compared.old.predictions)]
    return {
        "n": len(keys),
        "withheld_more": int((held_new & ~held_old).sum()),
        "withheld_less": int((~held_new & held_old).sum()),
        "n_strange": len(strange),
        "missed": int((noticed_old & ~noticed_new).sum()),
        "noticed": int((noticed_new & ~noticed_old).sum()),
        "set_size": float(np.average(sizes[0], weights=weights)),
        "set_size_live": float(np.average(sizes[1], weights=weights)),
        "p_size": mean_rise(sizes[0], sizes[1], weights).p,
    }


def scrambled(payload: Payload, rng: np.random.Generator) -> Payload:
    """The same characters, or pixels, in another order: of the right sort, and like nothing that was learnt."""
    if isinstance(payload, str):
        return "".join(rng.permutation(list(payload))) if payload else payload
    flat = payload.reshape(-1, payload.shape[-1])
    return flat[rng.permutation(len(flat))].reshape(payload.shape)
