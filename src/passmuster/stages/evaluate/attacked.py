"""Attacks: how many right answers stay right when somebody looks for the small change that makes them wrong.

The stronger change includes the weaker, and an item that one attack broke is not attacked again: the curve is of the
worst of all attacks (Croce and Hein 2020). An item counts as broken only where the bundle as it is served answers it
wrongly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from passmuster.core.paired import paired_difference
from passmuster.core.progress import Progress
from passmuster.core.records import Payload
from passmuster.core.statistics import Interval, wilson
from passmuster.core.tables import Table
from passmuster.modality.harm import Attack, Target
from passmuster.runtime.endpoint import NO_ANSWER
from passmuster.runtime.predictor import Predictor
from passmuster.stages.evaluate.attack_plan import AttackPlan
from passmuster.stages.evaluate.draft import Answers, Draft, Evidence, Scope, interval_record, pick
from passmuster.stages.evaluate.faults import Incumbent
from passmuster.stages.evaluate.gather import read_payloads
from passmuster.store.store import Store

N_SHOWN = 12  # attacked items that a person is asked to look at: would you still say what the label says?
MAX_SHOWN = 400  # characters
ATTACKED = "attacked"  # the set of these items; with a strength behind it, those that fell


@dataclass(frozen=True)
class Broken:
    """What attacks did to n items. `broken` (n, strengths) is 0/1, wrong ones without attack included."""

    broken: np.ndarray
    by: list[str]  # which attack broke it first, "" where none did
    found: dict[int, Payload]  # by item, the first change that broke it
    n_asked: int
    left_out: dict[str, str]


@dataclass(frozen=True)
class Fallen:
    """One item before and after an attack, as HTML, with its label, what was said then, and by which attack."""

    before: str
    after: str
    label: str
    said: str
    by: str


def attack_all(
    predictor: Predictor, attacks: Sequence[Attack], payloads: Sequence[Payload], labels: np.ndarray,
    rng: np.random.Generator, progress: Progress,
) -> Broken:  # fmt: skip
    """Every attack at every strength, the weakest first, on what still stands."""
    loaded = predictor.bundle
    target = Target(
        lambda items: predictor.embed(list(items))[1], loaded.graph, loaded.preprocess, loaded.path
    )  # fmt: skip
    strengths = attacks[0].strengths
    right = target.ask(payloads).argmax(axis=1) == labels
    broken = np.repeat(~right[:, None], len(strengths), axis=1)
    by, found = [""] * len(payloads), {}
    left_out = {a.name: why for a in attacks if (why := a.unavailable(target, payloads))}
    going = [attack for attack in attacks if attack.name not in left_out]
    jobs = [(s, attack) for s in range(len(strengths)) for attack in going]
    for s, attack in progress.track(jobs, "attacking test items", total=len(jobs)):
        standing = np.flatnonzero(~broken[:, s])
        if not len(standing):
            continue
        tried = attack.run(
            target, [payloads[i] for i in standing.tolist()], labels[standing], strengths[s], rng, attack.effort
        )
        fell = target.ask(tried).argmax(axis=1) != labels[standing]
        for i, payload in zip(standing[fell], [t for t, f in zip(tried, fell) if f], strict=True):
            broken[i, s:] = True
            by[i], found[int(i)] = attack.name, payload
    return Broken(broken, by, found, target.n_asked, left_out)


def measure_attacks(
    store: Store,
    draft: Draft,
    predictor: Predictor,
    evidence: Evidence,
    answers: Answers,
    incumbent: Incumbent | None,
    scope: Scope,
    rng: np.random.Generator,
    *,
    plan: AttackPlan,
    progress: Progress,
) -> list[Fallen]:
    """Metrics ``robust_accuracy`` by strength and the section ``attacks``; nothing where no item is to be attacked.

    Attacks are made by the `plan`, or as those of an earlier report were. The live release suffers the same, each model
    its own attack, on the same items. Returns what a person should see.
    """
    table = predictor.modality.attacks
    if not (scope.n_attacked or scope.attacked_before) or not len(table):
        return []
    if evidence.targets is not None:
        draft.sections["attacks"] = {"n": 0, "why": "attacks on answers that are sets of classes are not defined here"}
        return []
    known = np.flatnonzero(evidence.y < evidence.n_known)
    chosen, seed = draw(evidence, known, scope, rng)
    if not len(chosen):
        lost = "none of the items that were attacked before has a label now"
        draft.sections["attacks"] = {
            "n": 0, "why": lost if scope.attacked_before else "no test item is of a class that the model knows"
        }  # fmt: skip
        return []
    items = [evidence.items[int(i)] for i in chosen]
    payloads = list(read_payloads(store, predictor, items))
    labels = evidence.y[chosen]
    plan = plan.again(scope.attacked_before)
    attacks, not_loaded = load(table, plan)
    if not attacks:
        draft.sections["attacks"] = {"n": 0, "why": next(iter(not_loaded.values()))}
        return []
    ours = attack_all(predictor, attacks, payloads, labels, np.random.default_rng(seed), progress)
    keys = [item.key for item in items]
    every = draft.add_set(ATTACKED, keys)
    unit = attacks[0].unit
    rows: list[dict[str, Any]] = []
    for s, strength in enumerate((0.0, *attacks[0].strengths)):
        fell = ours.broken[:, s - 1] if s else np.array([evidence.y[i] != answers.predicted[i] for i in chosen])
        found = robust(fell)
        broken = draft.add_set(f"{ATTACKED} strength={strength:g}", pick(keys, fell))
        draft.add("robust_accuracy", found, slice=f"strength={strength:g}", items=broken or every)
        rows.append({"strength": strength, "accuracy": interval_record(found), "broken": broken})
    section: dict[str, Any] = {
        "n": len(items),
        "seed": seed,
        "settings": plan.record(),
        "unit": unit,
        "rows": rows,
        "attacks": [
            {
                "name": a.name, "summary": a.in_words(), "white": a.white, "left_out": ours.left_out.get(a.name, ""),
                "n_broken": sum(name == a.name for name in ours.by),
            }
            for a in attacks
        ],
        "not_loaded": not_loaded,
        "questions_per_item": round(ours.n_asked / len(items), 1),
    }  # fmt: skip
    if incumbent is not None and (
        why := beside(draft, section, incumbent, predictor, attacks, ours, chosen, payloads, labels, seed, progress)
    ):
        section["incumbent_left_out"] = why
    draft.sections["attacks"] = section
    return shown(predictor, ours, payloads, [evidence.labels[int(i)] for i in chosen])


def draw(evidence: Evidence, known: np.ndarray, scope: Scope, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Which items are attacked, in order, and the seed: drawn, or as an earlier report has them."""
    chosen = np.sort(rng.permutation(known)[: scope.n_attacked])
    seed = int(rng.integers(2**31))
    if scope.attacked_before is None:
        return chosen, seed
    before = set(scope.attacked_before.item_sets.get(ATTACKED, ()))
    same = [i for i in known if evidence.items[int(i)].key in before]
    return np.array(same, dtype=np.int64), int(scope.attacked_before.sections["attacks"].get("seed", seed))


def load(table: Table[Attack], plan: AttackPlan) -> tuple[list[Attack], dict[str, str]]:
    """The attacks that can be loaded here, and why others cannot: those that follow gradients need torch."""
    found, lacking = [], {}
    for name in table.names():
        try:
            found.append(plan.made(table[name]))
        except ImportError as error:
            lacking[name] = f"{error.name or 'a package'} is not installed (the extra train brings it)"
    return found, lacking


def beside(
    draft: Draft, section: dict[str, Any], incumbent: Incumbent, predictor: Predictor, attacks: Sequence[Attack],
    ours: Broken, chosen: np.ndarray, payloads: Sequence[Payload], labels: np.ndarray, seed: int, progress: Progress,
) -> str:  # fmt: skip
    """Attack the live release on the items that it did not learn from; "" or why it was not."""
    if NO_ANSWER in incumbent.predictor.classes and NO_ANSWER not in predictor.classes:
        return "the live release is an endpoint, which is attacked only where it is evaluated itself"
    if incumbent.predictor.classes != predictor.classes:
        return "the live release knows other classes"
    fresh = np.flatnonzero(incumbent.fresh[chosen])
    if not len(fresh):
        return "the live release learned from every one of these items"
    again = [payloads[i] for i in fresh.tolist()]
    theirs = attack_all(incumbent.predictor, attacks, again, labels[fresh], np.random.default_rng(seed), progress)
    for s, row in enumerate(section["rows"][1:]):
        row["incumbent"] = interval_record(robust(theirs.broken[:, s]))
        new, old = ~ours.broken[fresh, s], ~theirs.broken[:, s]
        change = paired_difference(int((new & ~old).sum()), int((~new & old).sum()), len(fresh))
        draft.add("robust_accuracy_change", change, slice=f"strength={row['strength']:g}")
    return ""


def robust(broken: np.ndarray) -> Interval:
    """The share that stands, with Wilson's interval."""
    return wilson(float((~broken).sum()), len(broken))


def shown(
    predictor: Predictor, found: Broken, payloads: Sequence[Payload], labels: Sequence[str]
) -> list[Fallen]:  # fmt: skip
    """A few of the changes that were found, for a person to judge whether the label still holds."""
    some = sorted(found.found)[:N_SHOWN]
    said = predictor.labels(predictor.embed([found.found[i] for i in some])[1]) if some else []
    look = predictor.modality.preview
    return [
        Fallen(look(cut(payloads[i])), look(cut(found.found[i])), labels[i], answer, found.by[i])
        for i, answer in zip(some, said, strict=True)
    ]


def cut(payload: Payload) -> Payload:
    """A long text, cut for the page."""
    return payload[:MAX_SHOWN] if isinstance(payload, str) else payload
