"""Which decisions change if one bundle takes the place of another: item by item, before anybody approves.

What is read decides whether it is a look at the test. Answers alone, to test items whose labels stay sealed, are not:
no score can leak through them, and the opening says so ("compare-answers"). Labels that reports on both bundles have
already shown are known, and reading them again tells nothing new. Any other test label is a look, which is taken only
where asked for, and counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from passmuster.core.errors import DataError, UsageError
from passmuster.core.label_sets import MULTI, join_classes, label_in_words, split_label
from passmuster.core.progress import Progress, Silent
from passmuster.core.records import Bundle, Item, Payload, Prediction, Report
from passmuster.core.statistics import Interval, proportion
from passmuster.metrics.changes import Change, CostOf, Decision, changes, one_for_each_mistake
from passmuster.metrics.versions import Comparison, compare
from passmuster.runtime.endpoint import NO_ANSWER
from passmuster.runtime.predictor import Predictor
from passmuster.runtime.release import open_checked
from passmuster.stages.evaluate.census import read_with_census
from passmuster.stages.evaluate.diff_serving import N_TIMED, serve_both
from passmuster.stages.evaluate.foretell import answered
from passmuster.stages.evaluate.gather import cluster_names, learned_from, read_payloads
from passmuster.stages.evaluate.named_items import read_named
from passmuster.stages.evaluate.noise import Noise, measure_noise
from passmuster.stages.evaluate.powered import rest_tells, weigh
from passmuster.store.releases import read_report
from passmuster.store.seal import TestView, open_test
from passmuster.store.snapshots import read_placement, read_snapshot
from passmuster.store.store import Store

Labels = Literal["none", "reported", "opened", "given"]


@dataclass(frozen=True)
class Asked:
    """What both bundles are asked about. `items` is empty where the items are the user's own.

    `weights` (n,) say for how much a label counts; None: each alike. `drawn`: labels were asked for with known chances,
    and what the two answer to items without a label counts too, as in a report.
    """

    names: tuple[str, ...]
    labels: tuple[str | None, ...]
    clusters: np.ndarray
    items: tuple[Item, ...] = ()
    payloads: tuple[Payload, ...] = ()
    n_left_out: int = 0
    labels_from: Labels = "none"
    look: int = 0
    weights: np.ndarray | None = None
    drawn: bool = False


@dataclass(frozen=True)
class Diff:
    """Every decision that changes from `before` to `after`, and what it adds up to.

    `comparison` is the paired table over the labelled items, read as a report reads it; None without any. `changed` is
    the share of all items whose decision changes. `only_before` and `only_after` are classes that the other does not
    know. `n_left_out` test items are not here because one of the two learned from them. `n_withheld` are the items that
    both leave unanswered; of `n_silent` among them they would have said different things. `serving` is what it takes to
    serve each, the new one first (`passmuster.stages.evaluate.diff_serving`).
    """

    before: Bundle
    after: Bundle
    asked: Asked
    changes: tuple[Change, ...]
    changed: Interval
    comparison: Comparison | None
    noise: Noise
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    mapped: Mapping[str, str]
    n_withheld: int = 0
    n_silent: int = 0
    serving: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_labelled(self) -> int:
        """Items whose label is known."""
        return sum(label is not None for label in self.asked.labels)

    @property
    def cost(self) -> float | None:
        """What all changes together add for the user; None without a label."""
        return sum(c.cost or 0.0 for c in self.changes) if self.n_labelled else None

    def counts(self) -> dict[str, int]:
        """How many changes of each kind, those that there are."""
        kinds = [change.kind for change in self.changes]
        return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}


def diff(
    store: Store,
    after: Bundle,
    before: Bundle,
    *,
    items: Path | None = None,
    labels: bool = False,
    mapped: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Diff:
    """Compare two bundles' decisions on the test of the latest dataset version, or on a folder or table of the user's.

    Parameters
    ----------
    items : a folder of files, a table or a file; None: the test
    labels : open the test's labels too, which is a look and counts
    mapped : classes of `before` under the names that `after` has for them

    Raises
    ------
    UsageError
        ``diff.same``, ``diff.modality``, ``diff.task``, ``diff.classes``, ``diff.map``.
    DataError
        ``diff.no_items``, and those of `read_named`.
    IntegrityError
        When a bundle is not what it should be.
    """
    progress, names = progress or Silent(), dict(mapped or {})
    if after.digest == before.digest:
        raise UsageError(
            "diff.same", "a bundle does not differ from itself", value=after.digest[:16],
            next="muster train, or name two bundles: muster diff NEW OLD",
        )  # fmt: skip
    new, old = (Predictor(open_checked(store, bundle)) for bundle in (after, before))
    check_comparable(new, old, names)
    asked = (
        read_named_items(items, new, store, progress) if items else test_items(store, after, before, labels, progress)
    )
    if not asked.names:
        raise DataError(
            "diff.no_items", "there is no item to compare on", value=f"{asked.n_left_out:,} left out",
            where=str(items or "the test"), next="muster add PATH, or --items PATH",
        )  # fmt: skip
    said = [ask_for(store, asked, bundle, predictor, progress) for bundle, predictor in ((after, new), (before, old))]
    decided = [decisions(said[0]), [renamed(d, names) for d in decisions(said[1])]]
    found = changes(decided[1], decided[0], asked.labels, cost_of=cost_of(store))
    differs = np.zeros(len(asked.names), dtype=bool)
    differs[[change.position for change in found]] = True
    noise = measure_noise(
        store, (after, before), said, differs, lambda positions: payloads_at(store, new, asked, positions), asked.items,
        progress=progress,
    )  # fmt: skip
    known = [i for i, label in enumerate(asked.labels) if label is not None]
    rng = np.random.default_rng(store.config.train.seed)
    comparison = compare_labelled(asked, known, decided[0], decided[1], rng=rng) if known else None
    theirs = tuple(names.get(c, c) for c in old.classes)
    accounts = [who.account.plus(again) for who, again in zip((new, old), noise.accounts, strict=True)]
    some = np.sort(rng.permutation(len(asked.names))[:N_TIMED]).tolist()
    serving = serve_both(
        store, (after, before), (new, old), accounts, payloads_at(store, new, asked, some), decided, asked.labels,
        asked.weights, asked.clusters,
    )  # fmt: skip
    return Diff(
        before, after, asked, tuple(found), proportion(differs, clusters=asked.clusters), comparison, noise,
        tuple(c for c in theirs if c not in (*new.classes, NO_ANSWER)),
        tuple(c for c in new.classes if c not in (*theirs, NO_ANSWER)), names,
        sum(a.withheld and b.withheld for a, b in zip(*decided, strict=True)),
        sum(a.withheld and b.withheld and a.said != b.said for a, b in zip(*decided, strict=True)),
        serving,
    )  # fmt: skip


def compare_labelled(
    asked: Asked, known: list[int], new: Sequence[Decision], old: Sequence[Decision], *, rng: np.random.Generator
) -> Comparison:
    """The paired table over the labelled items, at the positions `known`, by the estimates that a report makes."""
    weights = np.ones(len(known)) if asked.weights is None else asked.weights[known]
    labels = [str(asked.labels[i]) for i in known]
    said = labels, [new[i].said for i in known], [old[i].said for i in known]
    found = compare(*said, rng=rng, weights=weights, clusters=asked.clusters[known])
    rest = np.setdiff1d(np.arange(len(asked.names)), known)
    if not asked.drawn or not len(rest):
        return found
    differs = np.array([new[i].said != old[i].said for i in rest], dtype=bool)
    whole = asked.clusters[[*known, *rest]]
    return read_with_census(found, said, weights, asked.clusters[known], differs, whole, drawn=True)[0]


def check_comparable(new: Predictor, old: Predictor, mapped: Mapping[str, str]) -> None:
    """Whether the two give answers that can be the same at all."""
    for what, a, b in (
        ("modality", new.bundle.manifest.modality, old.bundle.manifest.modality),
        ("task", new.task, old.task),
    ):
        if a != b:
            raise UsageError(
                f"diff.{what}", f"the two have another {what}: no answer could be the same", value=f"{a} and {b}",
                next="name two bundles of one kind: muster diff NEW OLD",
            )  # fmt: skip
    for given, name in mapped.items():
        if given not in old.classes or name not in new.classes:
            side, known = ("old", old.classes) if given not in old.classes else ("new", new.classes)
            raise UsageError(
                "diff.map", f"the {side} bundle has no class of that name", value=f"{given}={name}",
                limit=", ".join(known[:20]), next="--map OLD=NEW",
            )  # fmt: skip
    if not {mapped.get(c, c) for c in old.classes} & set(new.classes):
        raise UsageError(
            "diff.classes", "the two have no class in common, so every answer would differ by name alone",
            value=f"{', '.join(old.classes[:5])} became {', '.join(new.classes[:5])}",
            next="say which is which: --map OLD=NEW, once for each class",
        )  # fmt: skip


def test_items(store: Store, after: Bundle, before: Bundle, labels: bool, progress: Progress) -> Asked:
    """The test items of the latest dataset version from which neither learned, with the labels that may be read."""
    with store.read() as db:
        snapshot = read_snapshot(db)
        placed = read_placement(db, snapshot)
        reports = [read_report(db, bundle.digest) for bundle in (after, before)]
    view = open_test(store, snapshot, "evaluate" if labels else "compare-answers")
    own, known = learned_from(store, after), labels_in(reports[0][1]) if reports[0] else {}
    seen = own | learned_from(store, before)
    if reports[0] and reports[0][1].incumbent == before.digest:  # it left out what the other learned a copy of
        seen |= known.keys() - set(reports[0][1].item_sets.get("compared", ()))
    items = tuple(item for item in view.items if item.key not in seen)
    shown: Mapping[str, str]
    if labels:
        progress.say(f"test labels opened for comparison, look {view.look}")
        shown = {key: fact.label for key, fact in view.labels.items()}
    else:
        words = already_shown(*(found[1] if found else None for found in reports), before=before.digest)
        facts = {key: fact.label for key, fact in view.labels.items()}
        shown = {key: facts[key] for key, said in words.items() if key in facts and label_in_words(facts[key]) == said}
    told = tuple(shown.get(item.key) for item in items)
    read = shown if labels else {key: label for key, label in view.labels.items() if key in known}
    weights, drawn = weights_of(store, view, items, read.keys(), own)
    source: Labels = "opened" if labels else "reported" if any(label is not None for label in told) else "none"
    return Asked(
        tuple(item.key for item in items), told, cluster_names(items, placed), items, (), len(view.items) - len(items),
        source, view.look if labels else 0, weights, drawn,
    )  # fmt: skip


def weights_of(
    store: Store, view: TestView, items: Sequence[Item], read: Collection[str], learned: Collection[str]
) -> tuple[np.ndarray, bool]:
    """For how much the label of each of the `items` counts (1 without one), and whether chances of draws say so.

    By the labels that are `read`, of what the new bundle has not `learned`: those of its report.
    """
    mine = [item.key for item in view.items if item.key in read and item.key not in learned]
    given = np.array([view.labels[key].weight for key in mine], dtype=np.float64)
    n_unlabelled = sum(item.key not in read for item in view.items)
    weights, rounds, _ = weigh(store, mine, given, n_unlabelled)
    of = dict(zip(mine, weights.tolist(), strict=True))
    drawn = bool(rounds) and rest_tells(len(mine) + n_unlabelled)
    return np.array([of.get(item.key, 1.0) for item in items]), drawn


def already_shown(after: Report | None, other: Report | None, *, before: str) -> dict[str, str]:
    """Test labels, in words, of which it is known whether either is right: by a report that compares the two, or by
    one on each. As they were then: a label that was corrected since would be news."""
    if after is None:
        return {}
    labels = labels_in(after)
    if after.incumbent == before:
        return {key: labels[key] for key in after.item_sets.get("compared", ()) if key in labels}
    if other is None:
        return {}
    theirs = labels_in(other)
    return {key: label for key, label in labels.items() if theirs.get(key) == label}


def labels_in(report: Report) -> dict[str, str]:
    """Key to label, in words, of every item of a report."""
    answers: Any = report.sections.get("answers") or {}
    names = answers.get("names", report.classes)  # sets of classes have names of their own
    return {key: names[i] for key, i in zip(answers.get("keys", ()), answers.get("label", ()), strict=True)}


def read_named_items(path: Path, predictor: Predictor, store: Store, progress: Progress) -> Asked:
    """The items at `path`, each its own cluster; labels where a table has a column of them."""
    found = read_named(path, predictor.modality, store.config.data, task=predictor.task)
    for problem in found.problems:
        progress.say(f"left out, because it cannot be read: {problem}")
    source: Labels = "given" if any(label is not None for label in found.labels) else "none"
    return Asked(
        found.names, found.labels, np.array(found.names, dtype=np.str_), (), found.payloads, len(found.problems), source
    )


def ask_for(
    store: Store, asked: Asked, bundle: Bundle, predictor: Predictor, progress: Progress
) -> list[Prediction]:  # fmt: skip
    """What a bundle answers, in the batches in which it always does."""
    if not asked.items:
        return predictor.predict(list(asked.payloads))
    embeddings, logits = answered(store, bundle, predictor, asked.items, progress=progress)
    return predictor.decide(embeddings, logits)


def decisions(predictions: Sequence[Prediction]) -> list[Decision]:
    """What the user gets."""
    return [Decision(p.label, float(p.probability), p.abstained) for p in predictions]


def renamed(decision: Decision, names: Mapping[str, str]) -> Decision:
    """The same decision under the other bundle's names of classes."""
    if not names:
        return decision
    members = split_label(decision.said)
    if len(members) == 1 and members[0] == decision.said:
        return replace(decision, said=names.get(decision.said, decision.said))
    return replace(decision, said=join_classes(names.get(name, name) for name in members))


def cost_of(store: Store) -> CostOf:
    """What an answer costs by the policy's `[policy.costs]`, where it has any; else 1 for each mistake.

    A withheld answer whose cost is not stated costs what it would have said.
    """
    costs = store.config.policy.costs
    if not costs.declared or store.config.project.task == MULTI:  # costs are of one class taken for another
        return one_for_each_mistake

    def cost(label: str, said: str, withheld: bool) -> float:
        if withheld and costs.abstain:
            return costs.abstain
        return costs.when.get(label, {}).get(said, 0.0 if label == said else costs.wrong)

    return cost


def payloads_at(store: Store, predictor: Predictor, asked: Asked, positions: Sequence[int]) -> list[Payload]:
    """The decoded items at some positions."""
    if not asked.items:
        return [asked.payloads[i] for i in positions]
    return list(read_payloads(store, predictor, [asked.items[i] for i in positions]))
