"""Natural faults: the same test items, spoilt by each corruption at each severity, and asked again."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from passmuster.core.label_sets import label_in_words
from passmuster.core.progress import Progress
from passmuster.metrics.robustness import robustness
from passmuster.runtime.predictor import Predictor
from passmuster.stages.evaluate.draft import Answers, Draft, Evidence, Scope, interval_record, pick
from passmuster.stages.evaluate.gather import read_payloads
from passmuster.store.store import Store

SEVERITIES = (1, 2, 3, 4, 5)
BLOCK = 64


@dataclass(frozen=True)
class Spoilt:
    """One item as a corruption left it, for the page: what it looks like and what it was taken for."""

    corruption: str
    severity: int
    preview: str
    predicted: str
    right: bool


def measure_faults(
    store: Store,
    draft: Draft,
    predictor: Predictor,
    evidence: Evidence,
    answers: Answers,
    scope: Scope,
    rng: np.random.Generator,
    *,
    progress: Progress,
) -> list[Spoilt]:
    """Accuracy under every corruption of the modality at severities 1 to 5; returns one item's way through them.

    The items are drawn at random. Each is spoilt by the same generator at every severity, so that severities compare.
    """
    n = len(evidence.items)
    chosen = np.sort(rng.permutation(n)[: scope.n_corrupted])
    seed = int(rng.integers(2**31))
    names = predictor.modality.usual_faults
    right = answers.predicted == evidence.y
    example = next((int(i) for i in chosen if right[i]), int(chosen[0]))
    said = {(name, severity): np.full(len(chosen), -1) for name in names for severity in SEVERITIES}
    spoilt: list[Spoilt] = []
    blocks = [chosen[i : i + BLOCK] for i in range(0, len(chosen), BLOCK)]
    jobs = [(block, name) for block in range(len(blocks)) for name in names]
    held: tuple[int, list] = (-1, [])
    for block, name in progress.track(jobs, "spoiling test items", total=len(jobs)):
        if held[0] != block:
            held = (block, list(read_payloads(store, predictor, [evidence.items[int(i)] for i in blocks[block]])))
        corrupt = predictor.modality.corruptions[name]
        places = slice(block * BLOCK, block * BLOCK + len(held[1]))
        for severity in SEVERITIES:
            payloads = [
                corrupt(payload, severity, np.random.default_rng([seed, zlib.crc32(name.encode()), int(i)]))
                for i, payload in zip(blocks[block], held[1])
            ]
            labels = predictor.labels(predictor.embed(payloads)[1])
            said[name, severity][places] = evidence.number(labels)
            for i, payload, answer in zip(blocks[block], payloads, labels):
                if i == example:
                    ok = answer == evidence.labels[i]
                    shown = predictor.modality.preview(payload)
                    words = answer if evidence.targets is None else label_in_words(answer)
                    spoilt.append(Spoilt(name, severity, shown, words, ok))
    record(draft, evidence, right, chosen, said, example, rng)
    return spoilt


def record(
    draft: Draft,
    evidence: Evidence,
    right: np.ndarray,
    chosen: np.ndarray,
    said: dict[tuple[str, int], np.ndarray],
    example: int,
    rng: np.random.Generator,
) -> None:
    """Metrics, sets of the items that break, and the section for the page."""
    truth, keys = evidence.y[chosen], [evidence.items[int(i)].key for i in chosen]
    found = robustness(right[chosen], {key: answer == truth for key, answer in said.items()}, rng=rng)
    every = draft.add_set("corrupted", keys)
    draft.add("accuracy_under_faults", found.mean, items=every)
    rows = []
    for (name, severity), share in found.accuracy.items():
        where = f"corruption={name} severity={severity}"
        broken = draft.add_set(f"{where} broken", pick(keys, (said[name, severity] != truth) & right[chosen]))
        draft.add("accuracy", share, slice=where, items=every)
        rows.append({"corruption": name, "severity": severity, "accuracy": interval_record(share), "broken": broken})
    draft.sections["corruptions"] = {
        "n": len(chosen),
        "clean": interval_record(found.clean),
        "mean": interval_record(found.mean),
        "worst": found.worst,
        "worst_severity": found.worst_severity,
        "example": evidence.items[example].key,
        "rows": rows,
    }
