"""Prediction sets on the test: how often they hold the true class, over all, by class and group, and their length.

Thresholds lie in the bundle's guard, from labels that training held out; the test only checks them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from passmuster.core.statistics import proportion
from passmuster.metrics.calibration import mean_interval
from passmuster.metrics.conformal import EVERY_CLASS, set_methods, sets_of, uniform_of
from passmuster.runtime.answers import softmax
from passmuster.runtime.guard import FIRST_METHOD, SET_METHOD, SETS_PREFIX
from passmuster.runtime.predictor import Predictor
from passmuster.stages.evaluate.draft import Answers, Draft, Evidence, Scope, interval_record

ERROR = 0.05  # of calling any class or group too little covered that is not
MOST_GROUPS = 50  # of each column; columns with more values are not groups of people or sources


def measure_prediction_sets(
    draft: Draft, predictor: Predictor, evidence: Evidence, answers: Answers, scope: Scope, rng: np.random.Generator
) -> None:
    """Coverage and length of the sets as served, and of what each method would give from the same labels."""
    guard, policy = predictor.bundle.guard, predictor.bundle.policy.guard
    n_calibration = int(guard["n_oof"]) if "n_oof" in guard else 0
    how: dict[str, Any] = {"weights": evidence.weights, "clusters": evidence.clusters}
    test = draft.add_set("test", evidence.keys)
    place = {name: i for i, name in enumerate(evidence.classes)}
    served = np.zeros((len(evidence.items), len(evidence.classes)), dtype=bool)
    for i, p in enumerate(answers.predictions):
        served[i, [place[name] for name in p.prediction_set]] = True
    if evidence.targets is not None:
        covered = np.asarray(~(evidence.targets & ~served).any(axis=1))
        served_by = FIRST_METHOD
    else:
        covered = served[np.arange(len(evidence.y)), evidence.y]
        served_by = str(guard.get(SET_METHOD, FIRST_METHOD))
    missed = draft.add_set("outside its set", [k for k, c in zip(evidence.keys, covered, strict=True) if not c])
    found = proportion(covered, **how)
    size = mean_interval(served.sum(axis=1), rng=rng, n_resamples=scope.n_resamples, **how)
    draft.add("set_coverage", found, items=missed or test)
    draft.add("set_size", size, unit="classes", items=test)
    section: dict[str, Any] = {
        "target": policy.set_coverage,
        "served": served_by,
        "n_calibration": n_calibration,
        "coverage": interval_record(found),
        "size": interval_record(size),
        "methods": [],
        "slices": [],
        "sets_of_classes": evidence.targets is not None,
    }
    if evidence.targets is None:
        probabilities, uniform = softmax(answers.logits), uniform_of(answers.logits)
        for name, method in set_methods.items():
            if f"{SETS_PREFIX}{name}" not in guard:
                continue
            threshold = float(guard[f"{SETS_PREFIX}{name}"])
            sets = sets_of(name, probabilities, uniform, threshold)
            known = evidence.y < evidence.n_known
            holds = sets[np.arange(len(sets)), np.where(known, evidence.y, 0)] & known
            cover = proportion(holds, **how)
            length = mean_interval(sets.sum(axis=1), rng=rng, n_resamples=scope.n_resamples, **how)
            draft.add("set_coverage", cover, slice=f"method={name}", items=test)
            draft.add("set_size", length, unit="classes", slice=f"method={name}", items=test)
            section["methods"].append(
                {
                    "method": name,
                    "summary": method.summary,
                    "randomised": method.randomised,
                    "threshold": None if threshold >= EVERY_CLASS else threshold,
                    "coverage": interval_record(cover),
                    "size": interval_record(length),
                    "empty": float(np.average(sets.sum(axis=1) == 0, weights=evidence.weights)),
                }
            )
    slices = list(slices_of(evidence))
    for where, mask in slices:
        of: dict[str, Any] = {"weights": evidence.weights[mask], "clusters": evidence.clusters[mask]}
        part = proportion(covered[mask], **of)
        sure = proportion(covered[mask], level=1 - 2 * ERROR / len(slices), **of)  # one-sided, all of them together
        items = draft.add_set(where, [k for k, m in zip(evidence.keys, mask, strict=True) if m])
        draft.add("set_coverage", part, slice=where, items=items)
        section["slices"].append(
            {
                "slice": where,
                "coverage": interval_record(part),
                "size": float(np.average(served[mask].sum(axis=1), weights=evidence.weights[mask])),
                "items": items,
                "below": sure.high < policy.set_coverage,
            }
        )
    draft.sections["prediction_sets"] = section


def slices_of(evidence: Evidence) -> Iterator[tuple[str, np.ndarray]]:
    """Every class, and every value of every group column, with the items (n,) that it holds."""
    if evidence.targets is None:
        for c, name in enumerate(evidence.classes):
            if (mask := evidence.y == c).any():
                yield f"class={name}", mask
    for column in sorted({column for item in evidence.items for column in item.groups}):
        values = np.array([item.groups.get(column, "") for item in evidence.items], dtype=object)
        named = sorted(set(values) - {""})
        for value in named if len(named) <= MOST_GROUPS else ():
            yield f"group={column}={value}", values == value


def set_lines(section: dict[str, Any] | None) -> list[str]:
    """Where the sets fall short of what the policy asks, in words.

    >>> set_lines({"target": 0.9, "n_calibration": 0, "coverage": {"high": 0.8}, "slices": []})
    []
    """
    if not section or not section["n_calibration"]:
        return []
    lines = []
    if section["coverage"]["high"] < section["target"]:
        lines.append(
            f"The classes it leaves open hold the right one for {100 * section['coverage']['value']:.1f}\u00a0% of "
            f"items, where the policy asks for {100 * section['target']:.0f}\u00a0%."
        )
    short = [row for row in section["slices"] if row["below"]]
    if short:
        names = ", ".join(f"“{row['slice'].partition('=')[2]}”" for row in short[:3])
        more = f" and {len(short) - 3} more" if len(short) > 3 else ""
        lines.append(
            f"The classes it leaves open miss the right one more often than the policy allows for {names}{more}: "
            "the rate is kept on average, not for each."
        )
    return lines
