"""What the answers cost, by the team's own matrix: as served, by other decisions, and against the live release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from passmuster.core.config import CostsPolicy
from passmuster.core.label_sets import Task, classes_in
from passmuster.metrics.calibration import mean_interval
from passmuster.metrics.costs import (
    WITHHELD,
    best_constant,
    cheapest,
    cost_matrix,
    item_costs,
    mean_cost,
    refuse_unknown,
)
from passmuster.stages.evaluate.draft import Answers, Draft, Evidence, Scope, interval_record, pick
from passmuster.store.items import read_labels
from passmuster.store.snapshots import read_snapshot
from passmuster.store.store import Store

BY_COST = "costly"  # the reason of an answer that is withheld because that is cheaper than any class
MISTAKES_SHOWN = 6
OF_SETS = (
    "Costs are stated for one class taken for another. Here an item carries a set of classes, so that they do not "
    "apply; item_f1 and the classes' own numbers say how wrong answers are."
)


@dataclass(frozen=True)
class Priced:
    """The matrix (classes, classes) of the evidence's classes, and what a withheld answer costs (0: not stated)."""

    policy: CostsPolicy
    matrix: np.ndarray

    @property
    def largest(self) -> float:
        """The most that one answer can cost."""
        return float(max(self.matrix.max(), self.policy.abstain))

    @property
    def unit(self) -> str:
        return f"{self.policy.unit or 'cost'} per item"

    def of(self, labels: np.ndarray, said: np.ndarray, withheld: np.ndarray) -> np.ndarray:
        """Cost of each answer (n,). Where withholding has no price, a withheld answer costs what it would have said."""
        at = np.where(withheld, WITHHELD, said) if self.policy.abstain > 0 else said
        return item_costs(self.matrix, labels, at, self.policy.abstain)


def refuse_strange_costs(store: Store, classes: Sequence[str], task: Task) -> None:
    """Refuse costs of classes that neither a bundle's `classes`, nor the dataset version, nor a test label has.

    Before the seal is opened, so that a slip of the pen costs no look.

    Raises
    ------
    UsageError
        ``costs.class``.
    """
    if not store.config.policy.costs.when:
        return
    with store.read() as db:
        known = {*classes, *read_snapshot(db).classes}
        for label in read_labels(db, role="test").values():
            known.update(classes_in(label.label, task))
    refuse_unknown(sorted(known), store.config.policy.costs.when)


def price(policy: CostsPolicy, evidence: Evidence) -> Priced | None:
    """The policy's costs for this evidence; None where none are declared, or answers are sets of classes."""
    if not policy.declared or evidence.targets is not None:
        return None
    return Priced(policy, cost_matrix(evidence.classes, policy.when, policy.wrong))


def measure_costs(
    draft: Draft, policy: CostsPolicy, evidence: Evidence, answers: Answers, scope: Scope, rng: np.random.Generator
) -> None:
    """Expected cost of an answer as served, by the likeliest, the cheapest and the best constant class."""
    priced = price(policy, evidence)
    if priced is None:
        if policy.declared:
            draft.sections["costs"] = {"applies": False, "why": OF_SETS}
        return
    y, how = evidence.y, {"weights": evidence.weights, "clusters": evidence.clusters}
    test = draft.add_set("test", evidence.keys)
    withheld = np.array([any(r != BY_COST for r in p.reasons) for p in answers.predictions], dtype=bool)
    by_cost = np.array([BY_COST in p.reasons for p in answers.predictions], dtype=bool)
    least = cheapest(priced.matrix[:, : evidence.n_known], answers.probabilities, policy.abstain)
    constant = best_constant(priced.matrix, y, evidence.n_known, evidence.weights, policy.abstain)
    always = "withheld" if constant.said == WITHHELD else evidence.classes[constant.said]
    served = priced.of(y, answers.predicted, withheld | by_cost)
    ways = {
        "": served,
        "decision=likeliest": priced.of(y, answers.probabilities.argmax(axis=1), withheld),
        "decision=cheapest": priced.of(y, np.maximum(least, 0), withheld | (least == WITHHELD)),
        f"constant={always}": constant.costs,
    }
    rows = []
    for where, costs in ways.items():
        found = mean_cost(costs, priced.largest, **how)
        draft.add("expected_cost", found, unit=priced.unit, slice=where, items=test)
        row: dict[str, Any] = {"decision": where or "served", "cost": interval_record(found)}
        if where:
            more = mean_interval(served - costs, rng=rng, n_resamples=scope.n_resamples, **how)
            draft.add("cost_difference", more, unit=priced.unit, slice=f"against={where}", items=test)
            row["served_costs_more_by"] = interval_record(more)
        rows.append(row)
    draft.sections["costs"] = {
        "applies": True,
        "unit": policy.unit,
        "largest": priced.largest,
        "abstain": policy.abstain or None,
        "answer": policy.answer,
        "constant": always,
        "decisions": rows,
        "mistakes": dearest(draft, evidence, answers.predicted, (withheld | by_cost) & (policy.abstain > 0), served),
    }


def dearest(
    draft: Draft, evidence: Evidence, predicted: np.ndarray, off: np.ndarray, served: np.ndarray
) -> list[dict[str, Any]]:
    """Which class taken for which costs most in all: how often, what one costs, and its share of everything.

    `off` (n,) are answers that were withheld at a price: "" is then what was predicted.
    """
    weighed = served * evidence.weights
    whole = float(weighed.sum())
    at = np.where(off, WITHHELD, predicted)
    rows: list[dict[str, Any]] = []
    for i, j in {(int(i), int(j)) for i, j in zip(evidence.y, at, strict=True)}:
        mask = (evidence.y == i) & (at == j) & (served > 0)
        if mask.any():
            label, said = evidence.classes[i], "" if j == WITHHELD else evidence.classes[j]
            name = f"withheld label={label}" if j == WITHHELD else f"costly label={label} predicted={said}"
            rows.append(
                {
                    "label": label,
                    "predicted": said,
                    "n": int(mask.sum()),
                    "each": float(served[mask].mean()),
                    "share": float(weighed[mask].sum()) / whole,
                    "items": draft.add_set(name, pick(evidence.keys, mask)),
                }
            )
    rows.sort(key=lambda row: (-row["share"], row["label"], row["predicted"]))
    return rows[:MISTAKES_SHOWN]


def compare_costs(
    draft: Draft,
    policy: CostsPolicy,
    evidence: Evidence,
    fresh: np.ndarray,
    candidate: Answers,
    incumbent: Answers,
    rng: np.random.Generator,
) -> None:
    """What the candidate costs more, or less, than the live release, on the items `fresh` (n,) that neither learnt.

    `incumbent` are the live release's answers to those items alone. What it costs more on some items and less on
    others is kept apart, because the gate bounds each.
    """
    priced = price(policy, evidence)
    if priced is None:
        return
    y = evidence.y[fresh]
    off = np.array([p.abstained for p in candidate.predictions], dtype=bool)[fresh]
    old_off = np.array([p.abstained for p in incumbent.predictions], dtype=bool)
    old = evidence.number(p.label for p in incumbent.predictions)
    new_costs = priced.of(y, candidate.predicted[fresh], off)
    old_costs = np.where(
        (old < 0) & ~(old_off & (policy.abstain > 0)),
        policy.wrong,  # a class that only the live release knows is wrong on every item here
        priced.of(y, np.maximum(old, 0), old_off),
    )
    how = {"weights": evidence.weights[fresh], "clusters": evidence.clusters[fresh]}
    more = new_costs - old_costs
    items = "changed" if "changed" in draft.item_sets else "compared"
    largest = max(priced.largest, policy.wrong)
    found = {
        "incumbent_cost": mean_cost(old_costs, largest, **how),
        "cost_difference": mean_interval(more, rng=rng, **how),
        "cost_added": mean_cost(np.maximum(more, 0.0), largest, **how),
        "cost_saved": mean_cost(np.maximum(-more, 0.0), largest, **how),
    }
    for name, interval in found.items():
        draft.add(name, interval, unit=priced.unit, slice="against=live", items=items)
    draft.sections["costs"]["live"] = {
        "cost": interval_record(found["incumbent_cost"]),
        "costs_more_by": interval_record(found["cost_difference"]),
        "n_more": int((more > 0).sum()),
        "n_less": int((more < 0).sum()),
    }
