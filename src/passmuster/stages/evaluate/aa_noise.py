"""How often a model contradicts itself: asked in another batch, on another number of threads, by another engine, or
learnt again. A few hundred test items are asked again; an endpoint is not, because its answers are paid for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from passmuster.core.label_sets import label_in_words
from passmuster.core.progress import Progress
from passmuster.core.records import Bundle, Payload, Prediction
from passmuster.core.statistics import Interval, proportion, wilson
from passmuster.metrics.aa_noise import SEED
from passmuster.runtime.engine import HTTP
from passmuster.runtime.predictor import Predictor
from passmuster.stages.evaluate.closely import Compared
from passmuster.stages.evaluate.draft import Answers, Draft, Evidence, Scope, interval_record
from passmuster.stages.evaluate.gather import read_payloads
from passmuster.stages.evaluate.retrains import retrains, share_learnt_otherwise
from passmuster.store.store import Store

AGAIN_S = 6.0  # for asking item by item, both models together; no fewer than the following are asked, though
FEWEST = 40
MOST_CHANGED = 200  # of the decisions that change, that are asked again besides
OTHERWISE, PRECISION, SINCE = "asked otherwise", "precision", "asked since its import"


def measure_aa_noise(
    store: Store,
    draft: Draft,
    candidate: tuple[Bundle, Predictor],
    live: tuple[Bundle, Compared] | None,
    evidence: Evidence,
    answers: Answers,
    scope: Scope,
    *,
    progress: Progress,
) -> None:
    """Section ``noise``: a row for each source with its interval, and the ``bound``, the largest upper end.

    Of answers that are compared with the live release's either of the two may tip, so both are asked again. Rests on
    the sections ``parity`` and ``versions``, so those come first.
    """
    if not scope.n_again:
        return
    bundle, predictor = candidate
    rows: list[dict[str, Any]] = []
    changed: dict[str, int] = {}
    models = [(predictor, answers.predictions)]
    fresh = np.flatnonzero(np.ones(len(evidence.items), dtype=bool) if live is None else live[1].fresh)
    if live is not None:
        placed: list[Prediction] = list(answers.predictions)
        for place, said in zip(fresh.tolist(), live[1].old.predictions, strict=True):
            placed[place] = said
        models.append((live[1].live, tuple(placed)))
    here = [(who, said) for who, said in models if who.bundle.manifest.engine.name != HTTP]
    not_asked = ["this model", "the live release"][: len(models)]
    not_asked = [name for name, (who, _) in zip(not_asked, models) if who.bundle.manifest.engine.name == HTTP]
    if here:
        rng = np.random.default_rng([store.config.train.seed, 11])  # its own, so that no other figure moves
        drawn = rng.permutation(fresh)[: scope.n_again]
        keys = {row["key"] for row in (draft.sections.get("versions") or {}).get("changed") or ()}
        change = rng.permutation([i for i in fresh if evidence.items[int(i)].key in keys])[:MOST_CHANGED]
        rows, unstable = asked_otherwise(store, draft, here, evidence, drawn, change, progress)
        changed = {"n": len(keys), "n_asked": len(unstable), "n_unstable": int(unstable.sum())}
    parity = draft.sections.get("parity")
    precision = predictor.bundle.manifest.engine
    if parity and (precision.name == HTTP or precision.precision != "float32"):
        source = SINCE if precision.name == HTTP else PRECISION
        rows.append(row_of(source, wilson((1.0 - parity["agreement"]) * parity["n"], parity["n"])))
    if seed := seed_row(store, draft, bundle, live[0].digest if live else "", evidence, answers):
        rows.append(seed)
    first = max((row for row in rows if not row.get("part")), key=lambda row: row["high"], default=None)
    draft.sections["noise"] = {
        "rows": rows, "bound": first["high"] if first else None, "by": first["source"] if first else "",
        "not_asked": not_asked, "changed": changed,
    }  # fmt: skip


def asked_otherwise(
    store: Store,
    draft: Draft,
    models: Sequence[tuple[Predictor, Sequence[Prediction]]],
    evidence: Evidence,
    drawn: np.ndarray,
    change: np.ndarray,
    progress: Progress,
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Rows for each way to ask again, which are parts, and one for an answer that any of them tips, of those `drawn`.

    Also, of decisions that `change` between the two and were asked again, which tip.
    """
    drawn, ways = ask_each_way(store, models, evidence, drawn, progress)
    _, of_change = ask_each_way(store, models, evidence, change, progress)
    clusters = evidence.clusters[drawn]
    every = np.any(list(ways.values()), axis=0)
    unstable = np.any(list(of_change.values()), axis=0)
    items = draft.add_set("not repeated", [evidence.items[int(i)].key for i in drawn[every]])
    parts = [{**row_of(name, proportion(mask, clusters=clusters)), "part": True} for name, mask in ways.items()]
    return [{**row_of(OTHERWISE, proportion(every, clusters=clusters)), "items": items}, *parts], unstable


def ask_each_way(
    store: Store,
    models: Sequence[tuple[Predictor, Sequence[Prediction]]],
    evidence: Evidence,
    places: np.ndarray,
    progress: Progress,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The first of `places` for which there was time, and for each way to ask again which of them tip."""
    payloads = list(read_payloads(store, models[0][0], [evidence.items[int(i)] for i in places]))
    end, n = time.perf_counter() + AGAIN_S, 0
    alone: list[list[Prediction]] = [[] for _ in models]
    for payload in progress.track(payloads, "asking again, one by one", total=len(payloads)):
        if n >= FEWEST and time.perf_counter() > end:
            break
        for (who, _), its in zip(models, alone, strict=True):
            its.append(who.predict([payload])[0])
        n += 1
    places, payloads = places[:n], payloads[:n]
    said = [[answers[int(i)] for i in places] for _, answers in models]

    def again(ask: Callable[[Predictor, list[Payload]], list[Prediction]]) -> np.ndarray:
        return tipped([ask(who, payloads) for who, _ in models], said)

    return places, {
        "batch of one": tipped(alone, said),
        "one thread": again(lambda who, some: Predictor(who.bundle, threads=1).predict(some)),
        "engine, nothing fused": again(lambda who, some: Predictor(who.bundle, optimised=False).predict(some)),
    }


def tipped(again: Sequence[Sequence[Prediction]], said: Sequence[Sequence[Prediction]]) -> np.ndarray:
    """Items (n,) whose decision any of the models does not repeat."""
    apart = [[decision(a) != decision(b) for a, b in zip(*pair, strict=True)] for pair in zip(again, said, strict=True)]
    return np.asarray(np.any(apart, axis=0))


def decision(prediction: Prediction) -> tuple[str, bool]:
    """What the user gets."""
    return ("" if prediction.abstained else prediction.label, prediction.abstained)


def seed_row(
    store: Store, draft: Draft, bundle: Bundle, incumbent: str, evidence: Evidence, answers: Answers
) -> dict[str, Any] | None:
    """What learning the same recipe again changes: of a bundle that was evaluated, or of the live release itself."""
    said = {
        key: label_in_words(prediction.label)
        for key, prediction in zip(evidence.keys, answers.predictions, strict=True)
    }
    found = share_learnt_otherwise(store, bundle, incumbent, evidence, said)
    if found is not None:
        return {**row_of(SEED, found[1]), "bundle": found[0]}
    if incumbent and any(other.digest == incumbent for other in retrains(store, bundle)):
        section = draft.sections.get("versions") or {}
        n = section.get("n", 0)
        if n:
            share = wilson(float(len(section["changed"])), n)
            return {**row_of(SEED, share), "bundle": incumbent}
    return None


def row_of(source: str, found: Interval) -> dict[str, Any]:
    """One source and its share."""
    return {"source": source, **interval_record(found)}
