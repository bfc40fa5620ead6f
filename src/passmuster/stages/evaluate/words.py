"""The report in plain words: what the model is good at, where it breaks, and what is not known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from passmuster.core.records import Item, Metric
from passmuster.core.statistics import detectable_drop, proportion
from passmuster.metrics.nonresponse import marked_more
from passmuster.runtime.endpoint import NO_ANSWER
from passmuster.stages.evaluate.cost_words import cost_lines
from passmuster.stages.evaluate.draft import Answers, Draft, Evidence
from passmuster.stages.evaluate.groups import groups_not_known, weakest_group
from passmuster.stages.evaluate.marks import mark_lines
from passmuster.stages.evaluate.promised_risk import risk_lines
from passmuster.stages.evaluate.sets import set_lines
from passmuster.stages.evaluate.slices import weak_spot

ONE_CLASS = "All test labels are of one class: whether the model tells classes apart was not tested."
UNIT = "\u00a0%"
FEW = 10  # labelled test items below which little is said of a class
SURE = 0.9
NOT_BY_LOT = 0.01  # chance below which it is said
LEAST_FLAGGED = 0.5  # of strange items that were named; a guard that calls fewer novel is said not to guard
SURE_TEXT = f"{100 * SURE:.0f}{UNIT}"


def percent(value: float) -> str:
    """A rate in words of the page.

    >>> percent(0.9481), percent(0.95), percent(1.0)
    ('94.8\\xa0%', '95.0\\xa0%', '100\\xa0%')
    """
    text = "100" if value == 1 else "0" if value == 0 else f"{100 * value:.1f}"
    return f"{text}{UNIT}"


def between(low: float, high: float) -> str:
    """An interval in words.

    >>> between(0.923, 0.965)
    '92.3 to 96.5\\xa0%'
    """
    return f"{percent(low).removesuffix(UNIT)} to {percent(high)}"


def with_interval(metric: Metric) -> str:
    """A rate with its interval and the number of items behind it."""
    powered = metric.method.startswith("prediction-powered")
    items = (powered and metric.method.partition(", ")[2]) or f"{metric.n:,} items"
    return f"{percent(metric.value)} ({between(metric.low, metric.high)}, {items})"


def write_summary(
    draft: Draft, evidence: Evidence, answers: Answers, incumbent: str, least_accuracy: float = 0.5
) -> None:
    """Sections ``summary`` (good, breaks) and ``unknown``: lists of sentences, each with the set of items behind it.

    What falls short is said where it breaks, never as praise: accuracy below `least_accuracy`, which the policy asks
    for, and sureness that is not borne out.
    """
    metrics = {(m.name, m.slice): m for m in draft.metrics}
    headline = metrics["accuracy", ""]
    is_enough = headline.value >= least_accuracy
    right = "It is right" if evidence.targets is None else "It says exactly the classes that an item carries"
    how_often = f"{right} on {'' if is_enough else 'only '}{with_interval(headline)}"
    below = "" if is_enough else f", where the policy asks for {percent(least_accuracy)}"
    sure, is_borne_out = when_sure(draft, evidence, answers)
    good = [said(f"{how_often}.", headline.items)] if is_enough else []
    bad = [] if is_enough else [said(f"{how_often}{below}.", headline.items)]
    (good if is_borne_out else bad).extend(sure)
    if evidence.targets is not None:
        (good if is_enough else bad).append(in_part(draft, evidence, metrics))
    saves, costs = ([said(line, "test") for line in lines] for lines in cost_lines(draft.sections.get("costs")))
    kept, broken = ([said(s, "given at the promised risk") for s in p]
                    for p in risk_lines(draft.sections.get("promised_risk")))  # fmt: skip
    good, bad = [*saves, *good, *kept], [*costs, *broken, *bad]
    draft.sections["summary"] = {
        "good": [*good, *good_at(draft, evidence, metrics)] or [said("Nothing that this test shows.", "")],
        "breaks": [*bad, *breaks_at(draft, evidence, answers, metrics)]
        or [said("Nothing stood out on this test.", "")],
    }
    draft.sections["unknown"] = not_known(draft, evidence, metrics, incumbent)


def in_part(draft: Draft, evidence: Evidence, metrics: dict[tuple[str, str], Metric]) -> dict[str, str]:
    """Of sets of classes: what is found and what is rightly said, counted class by class."""
    section, mean = draft.sections["label_sets"], metrics["item_f1", ""]
    text = (
        f"Counted class by class: micro-F1 {percent(metrics['micro_f1', ''].value)}, macro-F1 "
        f"{percent(metrics['macro_f1', ''].value)}, F1 of an item {percent(mean.value)} at the mean. Items carry "
        f"{section['mean_classes']:.2f} classes, and it says {section['mean_said']:.2f}."
    )
    return said(text, mean.items)


def when_sure(draft: Draft, evidence: Evidence, answers: Answers) -> tuple[list[dict[str, str]], bool]:
    """How often it is right when it says that it is sure, and whether that is as often as it says (within chance)."""
    sure = answers.confidence >= SURE
    if not sure.any():
        return [], True
    right = (answers.predicted == evidence.y)[sure]
    name = draft.add_set("sure", [k for k, s in zip(evidence.keys, sure) if s])
    often = proportion(right, weights=evidence.weights[sure])
    is_borne_out = often.high >= SURE
    share = float(np.average(sure, weights=evidence.weights))
    text = f"When it is at least {SURE_TEXT} sure, which it is for {percent(share)} of items, "
    only = "" if is_borne_out else "only "
    counted = f"{percent(often.value)} of them" if len(right) >= FEW else f"{right.sum():,} of {len(right):,}"
    return [said(f"{text}it is right on {only}{counted}.", name)], is_borne_out


def good_at(draft: Draft, evidence: Evidence, metrics: dict[tuple[str, str], Metric]) -> list[dict[str, str]]:
    """What else it can do: the classes it finds best, and what it has over the live release."""
    headline = metrics["accuracy", ""]
    lines = []
    best = [
        r for r in draft.sections["per_class"] if r["n"] >= FEW and r["recall"]["value"] >= max(0.9, headline.value)
    ]
    best.sort(key=lambda r: -r["recall"]["low"])
    if best and len(evidence.classes) > 2:
        names = ", ".join(f"“{r['class']}” ({percent(r['recall']['value'])})" for r in best[:3])
        lines.append(said(f"It finds best: {names}.", best[0]["items"]))
    versions = draft.sections.get("versions", {})
    difference = metrics.get(("accuracy_difference", ""))
    if difference and difference.low > 0:
        lines.append(
            said(
                f"It is right more often than the live release: {versions['only_candidate']:,} answers got better, "
                f"{versions['only_incumbent']:,} worse.",
                "changed" if "changed" in draft.item_sets else "",
            )
        )
    return lines


def breaks_at(
    draft: Draft, evidence: Evidence, answers: Answers, metrics: dict[tuple[str, str], Metric]
) -> list[dict[str, str]]:
    """Where it fails: leaks, triggers, the weakest class, the commonest mistake, the costliest fault, and more."""
    lines = []
    headline = metrics["accuracy", ""]
    clean = metrics.get(("accuracy", "leakage=clean"))
    leaked = draft.sections["data"]["n_leaked"]
    if leaked:
        rest = f" Without those it is right on {with_interval(clean)}." if clean else ""
        lines.append(
            said(f"{count(leaked, 'test item')} {'has' if leaked == 1 else 'have'} a copy in training, so that the "
                 f"headline may flatter.{rest}", "leakage")
        )  # fmt: skip
    lines += [said(f"{line}.", items) for line, items in mark_lines(draft.sections.get("marks")) if items]
    rows = [r for r in draft.sections["per_class"] if r["n"]]
    worst = min(rows, key=lambda r: (r["recall"]["value"], -r["n"]), default=None)
    usual = metrics.get(("micro_f1", ""), headline)  # of sets, being wholly right is harder than finding a class
    if worst and worst["recall"]["value"] < usual.value and len(rows) > 1:
        seen = worst["recall"]
        lines.append(
            said(
                f"Weakest class: “{worst['class']}”, found in {percent(seen['value'])} of cases "
                f"({between(seen['low'], seen['high'])}, {count(seen['n'], 'item')}).",
                worst["items"],
            )
        )
    if weak := weak_spot(draft):
        lines.append(said(*weak))
    if weak_group := weakest_group(draft, headline):
        lines.append(said(*weak_group))
    if mistakes := draft.sections["confusion"]["most_confused"]:
        m = mistakes[0]
        often = times(m["n"])
        lines.append(said(f"Commonest mistake: “{m['label']}” taken for “{m['predicted']}”, {often}.", m["items"]))
    faults = draft.sections["corruptions"]
    hard = metrics.get(("accuracy", f"corruption={faults['worst']} severity={faults['worst_severity']}"))
    row = next(
        (r for r in faults["rows"] if (r["corruption"], r["severity"]) == (faults["worst"], faults["worst_severity"])),
        None,
    )
    if hard and row and hard.value < row["clean"]:
        lines.append(
            said(
                f"Hardest natural fault: {plain_name(faults['worst'])}. At severity {faults['worst_severity']} of 5 it "
                f"is right on {with_interval(hard)}; clean, on {percent(row['clean'])} of the same items.",
                row["broken"],
            )
        )
    for line in set_lines(draft.sections.get("prediction_sets")):
        lines.append(said(line, "outside its set"))
    sure_wrong = (answers.predicted != evidence.y) & (answers.confidence >= SURE)
    if sure_wrong.any():
        n = int(sure_wrong.sum())
        name = draft.add_set("sure and wrong", [k for k, s in zip(evidence.keys, sure_wrong) if s])
        lines.append(said(f"It was at least {SURE_TEXT} sure and wrong {times(n)}.", name))
    strange, ordinary = (metrics.get(("novelty_flagged", f"set={name}")) for name in ("novel", "test"))
    if strange and ordinary and strange.value < LEAST_FLAGGED:
        lines.append(
            said(
                f"Strange items: the guard calls only {percent(strange.value)} of those that were named novel, and "
                f"{percent(ordinary.value)} of ordinary ones. The rest would be answered.",
                strange.items,
            )
        )
    if at_most := draft.sections.get("versions", {}).get("at_most"):
        lines.append(said(f"Whether it is as good as the live release is open: {open_words(at_most)}.", "compared"))
    flips = draft.sections.get("versions", {}).get("only_incumbent", 0)
    if flips:
        lines.append(
            said(f"{count(flips, 'answer')} that the live release has right would become wrong.", "negative_flips")
        )
    return lines


def not_known(draft: Draft, evidence: Evidence, metrics: dict[tuple[str, str], Metric], incumbent: str) -> list[str]:
    """What this report cannot say, and what would let it."""
    headline = metrics["accuracy", ""]
    drop = detectable_drop(headline.value, headline.n)
    lines = [
        f"Small changes: with {count(headline.n, 'test label')}, a fall of accuracy of less than about {points(drop)} "
        "would most likely go unseen."
    ]
    rows = draft.sections["per_class"]
    if absent := [r["class"] for r in rows if not r["n"] and r["class"] != NO_ANSWER]:
        lines.append(
            f"Classes without a test label ({len(absent)}): {some(absent)}. How well they are found is unknown."
        )
    if thin := [r["class"] for r in rows if 0 < r["n"] < FEW]:
        lines.append(
            f"Classes with fewer than {FEW} test labels ({len(thin)}): {some(thin)}. Their numbers are rough, and "
            "so is macro-F1, whose interval holds less often than it says."
        )
    lines += groups_not_known(draft)
    if len({r["class"] for r in rows if r["n"]}) == 1:
        lines.append(ONE_CLASS)
    if strangers := [r["class"] for r in rows if not r["known"]]:
        lines.append(f"Labels that the model does not know: {some(strangers)}. It can only be wrong on them.")
    if evidence.n_unlabelled:
        helped = (draft.sections.get("evidence") or {}).get("worth")
        part = "helped only by what the model answers to them" if helped else "played no part"
        lines.append(f"{count(evidence.n_unlabelled, 'test item')} without a label {part}.")
    lines += left_out_lines(draft.sections["test_labels"]["left_out"])
    if evidence.n_seen:
        lines.append(f"{count(evidence.n_seen, 'test item')} left out, because this model learned from them.")
    lines += not_known_of_imported(draft.sections.get("training", {}).get("imported"))
    unseen = draft.sections.get("versions", {}).get("n_seen_by_incumbent", 0)
    if unseen:
        lines.append(f"{count(unseen, 'test item')} left out of the comparison: the live release learned from them.")
    lines.append(
        "Tomorrow: whether the meaning of labels will change (concept drift) cannot be seen without new labels."
    )
    attacked = (draft.sections.get("attacks") or {}).get("n", 0)
    harm = "stronger attacks than those listed" if attacked else "inputs made to deceive (muster evaluate --attack 100)"
    lines.append(f"Faults other than those listed, and {harm}, were not tried.")
    if not any(groups_of(item) for item in evidence.items):
        lines.append("Whether some people are served worse than others: items carry no group, so it was not measured.")
    if len(evidence.who) == 1:
        lines.append("Errors in the test labels themselves: all come from one hand, and none was checked by a second.")
    if not incumbent:
        lines.append("There is no live release to compare with.")
    if evidence.look > 1:
        lines.append(
            f"These test labels were looked at {evidence.look} times: choosing by looking makes the test easier."
        )
    if draft.sections["novelty"]["setting"] != "named":
        lines.append("How truly foreign items are met: none were named (muster evaluate --novel PATH).")
    return lines


def left_out_lines(left: Mapping[str, Any] | None) -> list[str]:
    """What was drawn for the test and has no label, and whether that may be by lot.

    >>> left = {"n_drawn": 84, "n_left": 19, "mark": "spam", "n_marked_left": 19, "n_marked_told": 0, "p": 1e-9}
    >>> left_out_lines(left | {"n_passed": 0, "p": 0.5})[0]
    '19 of 84 items that were drawn for the test have no label.'
    >>> left_out_lines(left | {"n_passed": 18})[0].partition(" label, ")[2]
    '18 of them passed over, and were not left out by lot: the model calls 19 of them “spam”, and 0 of the 65 labelled.'
    """
    if not left:
        return []
    numbers = {k: left[k] for k in ("mark", "n_left", "n_drawn", "n_marked_left", "n_marked_told")}
    passed = f", {left['n_passed']:,} of them passed over" if left["n_passed"] else ""
    how = f", and were not left out by lot: {marked_more(**numbers)}" if left["p"] <= NOT_BY_LOT else ""
    how_many = f"{left['n_left']:,} of {count(left['n_drawn'], 'item')} that were drawn for the test"
    return [f"{how_many} have no label{passed}{how}."]


def not_known_of_imported(imported: Mapping[str, Any] | None) -> list[str]:
    """What a model that was made elsewhere leaves open; nothing of one that was trained here.

    >>> len(not_known_of_imported({"n_calibration": 0, "lacks": ["embedding"]})), not_known_of_imported(None)
    (3, [])
    """
    if not imported:
        return []
    n_learnt = (imported.get("learnt") or {}).get("n", 0)
    if n_learnt:
        known = (
            f"{count(n_learnt, 'item')} were named, and copies of them left out. If there were others, or near-copies"
        )
    else:
        known = "it was made elsewhere. If it has met these test items, or copies of them"
    lines = [f"What the model learnt from: {known}, it does better here than it will in service."]
    if "embedding" in (imported.get("lacks") or ()):
        lines.append(
            "Strange items that the model is sure about: it gives no embedding, so that its guard sees scores alone."
        )
    if not imported.get("n_calibration"):
        lines.append(
            "Which other classes remain possible: prediction sets hold every class, because no labels were given to "
            "fit them (muster import --calibrate)."
        )
    return lines


def open_words(at_most: float) -> str:
    """What is known of two versions where no label is of an item that they answer differently.

    >>> open_words(0.498)
    'none of the items that the two answer differently has a label: the difference is between -49.8 and +49.8 points'
    """
    return (
        "none of the items that the two answer differently has a label: the difference is between "
        f"{-100 * at_most:+.1f} and {100 * at_most:+.1f} points"
    )


def said(text: str, items: str) -> dict[str, str]:
    """A sentence and the set of items behind it ("" when none)."""
    return {"text": text, "items": items}


def count(n: int, what: str) -> str:
    """
    >>> count(1, "item"), count(1200, "item")
    ('1 item', '1,200 items')
    """
    return f"{n:,} {what}" + ("" if n == 1 else "s")


def times(n: int) -> str:
    """
    >>> times(1), times(2), times(3)
    ('once', 'twice', '3 times')
    """
    return {1: "once", 2: "twice"}.get(n, f"{n:,} times")


def points(difference: float) -> str:
    """A difference of rates.

    >>> points(0.0371)
    '3.7 points'
    """
    return f"{100 * difference:.1f} points"


def some(names: list[str], limit: int = 8) -> str:
    """A few names, and how many more there are."""
    shown = ", ".join(f"“{name}”" for name in names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")


def plain_name(name: str) -> str:
    """
    >>> plain_name("gaussian_noise.v1")
    'gaussian noise'
    """
    return name.rpartition(".v")[0].replace("_", " ") or name


def groups_of(item: Item) -> Any:
    """What is known of whom an item is about."""
    return item.groups or item.subject


def to_finite(value: Any) -> Any:
    """`value` with numbers that JSON cannot hold as None.

    >>> to_finite({"a": [1.0, float("inf")]})
    {'a': [1.0, None]}
    """
    if isinstance(value, dict):
        return {k: to_finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [to_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
