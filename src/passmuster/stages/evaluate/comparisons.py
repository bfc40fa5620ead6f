"""Against something else: the live release, and a test without twins."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from passmuster.core.errors import IntegrityError
from passmuster.core.label_sets import label_in_words
from passmuster.core.progress import Progress
from passmuster.core.records import Bundle, Finding
from passmuster.metrics.accuracy import accuracy
from passmuster.metrics.versions import compare
from passmuster.runtime.predictor import Predictor
from passmuster.stages.evaluate.census import take_census
from passmuster.stages.evaluate.closely import Compared
from passmuster.stages.evaluate.costs import compare_costs
from passmuster.stages.evaluate.draft import Answers, Draft, Evidence, pick
from passmuster.stages.evaluate.gather import ask, learned_from
from passmuster.stages.evaluate.memory import Contamination
from passmuster.stages.evaluate.powered import Reading
from passmuster.store.snapshots import read_findings, read_placement
from passmuster.store.store import Store


def measure_versions(
    store: Store,
    draft: Draft,
    candidate: tuple[Bundle, Predictor],
    live: tuple[Bundle, Predictor],
    evidence: Evidence,
    answers: Answers,
    reading: Reading,
    *,
    known: Sequence[Contamination] = (),
    progress: Progress,
) -> Compared | None:
    """Exact McNemar, negative flips and every changed decision, on test items that neither of the two learned from.

    Items of which the live release alone learned a copy (`known`) are left out too: they would flatter it.

    The unlabelled rest says where the two answer differently (`passmuster.stages.evaluate.census`), and where the
    labels were drawn, the counts that gates judge by are those of as many random labels as would tell as much.
    """
    incumbent, predictor = live
    mine: frozenset[str] = frozenset().union(*(one.keys for one in known if one.role == "candidate"))
    theirs: frozenset[str] = frozenset().union(*(one.keys for one in known if one.role == "incumbent"))
    seen = learned_from(store, incumbent) | (theirs - mine)
    fresh = np.array([item.key not in seen for item in evidence.items], dtype=bool)
    items = pick(evidence.items, fresh)
    section: dict[str, Any] = {
        "incumbent": incumbent.digest,
        "n": len(items),
        "n_seen_by_incumbent": int((~fresh).sum()),
    }
    draft.sections["versions"] = section
    if not items:
        return None
    parts = ask(store, predictor, items, predictor.classes, progress=progress, what="asking the live release")
    old = [p.label for p in parts.predictions]
    new = [p.label for p in pick(answers.predictions, fresh)]
    truth = list(pick(evidence.labels, fresh))
    rng = np.random.default_rng(store.config.train.seed)  # the diff's too
    found = compare(truth, new, old, rng=rng, weights=evidence.weights[fresh], clusters=evidence.clusters[fresh])
    found = take_census(
        store, section, found, candidate, (incumbent, predictor), evidence, reading, fresh, (new, old), seen=seen,
        progress=progress,
    )  # fmt: skip
    keys = [item.key for item in items]
    both = draft.add_set("compared", keys)
    changed = draft.add_set("changed", [keys[i] for i in found.changed])
    worse = draft.add_set("negative_flips", [keys[i] for i in found.changed if old[i] == truth[i]])
    better = draft.add_set("positive_flips", [keys[i] for i in found.changed if new[i] == truth[i]])
    draft.add("accuracy_difference", found.difference, items=changed or both)
    draft.add("negative_flip_rate", found.negative_flips, items=worse or both)
    section.update(
        both_right=found.both_right,
        only_candidate=found.only_candidate,
        only_incumbent=found.only_incumbent,
        both_wrong=found.both_wrong,
        p_mcnemar=found.p_mcnemar,
        worth=found.worth,
        at_most=found.difference.high if math.isnan(found.difference.value) else None,
        items={"changed": changed, "worse": worse, "better": better},
        changed=[
            {"key": keys[i], **{k: label_in_words(v) for k, v in said.items()}}
            for i in found.changed
            for said in ({"label": truth[i], "candidate": new[i], "incumbent": old[i]},)
        ],
    )
    compare_costs(draft, store.config.policy.costs, evidence, fresh, answers, parts, rng)
    return Compared(predictor, fresh, items, parts)


def measure_data(store: Store, draft: Draft, evidence: Evidence, answers: Answers) -> None:
    """What the checks found in this snapshot, and the headline without test items that have a copy in training."""
    with store.read() as db:
        findings = read_findings(db, evidence.snapshot.digest)
        placed = read_placement(db, evidence.snapshot)
    pairs = leaked_pairs(findings, {key: split for key, (split, _) in placed.items()})
    leaked = {test for _, test in pairs} | shared_subjects(findings, evidence)
    draft.add_set("leakage", [key for pair in pairs for key in pair])
    clean = np.array([key not in leaked for key in evidence.keys], dtype=bool)
    if not clean.all():
        name = draft.add_set("leakage=clean", pick(evidence.keys, clean))
        draft.add_set("leakage=twins", pick(evidence.keys, ~clean))
        draft.add(
            "accuracy",
            accuracy(
                evidence.y[clean],
                answers.predicted[clean],
                weights=evidence.weights[clean],
                clusters=evidence.clusters[clean],
            ),
            slice="leakage=clean",
            items=name,
        )
    draft.sections["data"] = {
        "findings": [
            {
                "kind": f.kind,
                "severity": f.severity,
                "n_items": len(f.items),
                "title": f.title,
                "remedy": f.remedy,
                "items": draft.add_set(f"finding {i}: {f.kind}", f.items),
            }
            for i, f in enumerate(findings, start=1)
        ],
        "leakage": [{"train": train, "test": test} for train, test in pairs],
        "n_leaked": len(leaked),
    }


def shared_subjects(findings: Sequence[Finding], evidence: Evidence) -> set[str]:
    """Every test item of a person who appears in training too; the finding names one for each person."""
    named = {
        key for f in findings if f.kind == "leakage" and "same subject" in f.evidence.get("how", ()) for key in f.items
    }
    people = {item.subject for item in evidence.items if item.subject and item.key in named}
    return {item.key for item in evidence.items if item.subject in people}


def leaked_pairs(findings: Sequence[Finding], split: dict[str, str]) -> list[tuple[str, str]]:
    """(item that training saw, test item) of every leak found; pairs follow each other in a finding's items."""
    pairs: dict[tuple[str, str], None] = {}
    for finding in findings:
        if finding.kind != "leakage":
            continue
        for a, b in zip(finding.items[::2], finding.items[1::2]):
            if (split.get(a) == "test") != (split.get(b) == "test"):
                pairs[(b, a) if split.get(a) == "test" else (a, b)] = None
    return list(pairs)


def describe_training(store: Store, draft: Draft, bundle: Bundle, predictor: Predictor) -> None:
    """Which rung won, and what each brought and cost, as the run folder says; or where an imported model is from."""
    manifest = predictor.bundle.manifest
    section: dict[str, Any] = {"run": bundle.run, "rung": manifest.rung, "head": manifest.head, "origin": bundle.origin}
    if calibration := predictor.bundle.head.get("calibration"):
        section["calibration"] = calibration
    if bundle.origin == "imported":
        section["imported"] = {
            name: predictor.bundle.head.get(name) for name in ("source", "n_calibration", "lacks", "learnt")
        }
    path = store.runs_folder / bundle.run / "rungs.json"
    if bundle.run and path.is_file():
        try:
            section["rungs"] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise IntegrityError("run.rungs", f"the list of rungs is not JSON: {error}", where=path) from error
    if bundle.run and (account := store.runs_folder / bundle.run / "cost.json").is_file():
        try:
            section["cost"] = json.loads(account.read_text(encoding="utf-8"))["cost"]
        except (ValueError, KeyError) as error:
            raise IntegrityError("run.cost", f"the run's account cannot be read: {error}", where=account) from error
    draft.sections["training"] = section
