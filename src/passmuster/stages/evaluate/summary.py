"""The report in plain words: what the model is good at, where it breaks, on whom, and what it costs when wrong."""

from __future__ import annotations

import numpy as np

from passmuster.core.records import Metric
from passmuster.core.statistics import proportion
from passmuster.stages.evaluate.cost_words import cost_lines, cost_sentence
from passmuster.stages.evaluate.draft import Answers, Draft, Evidence
from passmuster.stages.evaluate.groups import on_whom
from passmuster.stages.evaluate.marks import mark_lines
from passmuster.stages.evaluate.novel_items import UNNAMED
from passmuster.stages.evaluate.novelty import worst_flagged
from passmuster.stages.evaluate.promised_risk import risk_lines
from passmuster.stages.evaluate.sets import set_lines
from passmuster.stages.evaluate.slices import weak_spot
from passmuster.stages.evaluate.unknown import FEW, not_known
from passmuster.stages.evaluate.words import (
    UNIT,
    between,
    count,
    open_words,
    percent,
    plain_name,
    points,
    said,
    times,
    with_interval,
)

SURE = 0.9
LEAST_FLAGGED = 0.5  # of strange items that were named; a guard that calls fewer novel is said not to guard
MOST_WITHHELD = 0.5  # share of answers withheld, from which it is said where the model breaks
SURE_TEXT = f"{100 * SURE:.0f}{UNIT}"


def write_summary(
    draft: Draft, evidence: Evidence, answers: Answers, incumbent: str, least_accuracy: float = 0.5
) -> None:
    """Sections ``summary`` (good, breaks, whom, cost) and ``unknown``: sentences, each with the items behind it.

    What falls short is said where it breaks, never as praise: accuracy below `least_accuracy`, which the policy asks
    for, sureness that is not borne out, and answers that are not given.
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
    costs = draft.sections.get("costs")
    saves, dear = ([said(line, "test") for line in lines] for lines in cost_lines(costs))
    kept, broken = ([said(s, "given at the promised risk") for s in p]
                    for p in risk_lines(draft.sections.get("promised_risk")))  # fmt: skip
    good = [*good, *kept, *saves, *good_at(draft, evidence, metrics)]
    bad = [*withheld(answers, metrics), *dear, *broken, *bad]
    if all(p.abstained for p in answers.predictions):
        good = [said("Nothing: what is not said is of no use, however right it would be.", "")]
    sentence = cost_sentence(costs)
    draft.sections["summary"] = {
        "good": good or [said("Nothing that this test shows.", "")],
        "breaks": [*bad, *breaks_at(draft, evidence, answers, metrics)]
        or [said("Nothing stood out on this test.", "")],
        "whom": [said(*line) for line in on_whom(draft, headline)],
        "cost": [said(sentence, "test")] if sentence else [],
    }
    draft.sections["unknown"] = not_known(draft, evidence, metrics, incumbent)


def withheld(answers: Answers, metrics: dict[tuple[str, str], Metric]) -> list[dict[str, str]]:
    """That answers are withheld, where they are most of them."""
    rate = metrics["abstention_rate", ""]
    if all(p.abstained for p in answers.predictions):
        would = metrics["accuracy", ""]
        text = f"It gives no answer: all are withheld. What it would have said is right on {with_interval(would)}."
        return [said(text, rate.items)]
    if rate.value >= MOST_WITHHELD:
        right = percent(metrics["accuracy_answered", ""].value)
        text = f"It withholds {with_interval(rate)} of its answers; of those it gives, {right} are right."
        return [said(text, rate.items)]
    return []


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
                f"{versions['only_incumbent']:,} worse{noise_words(draft, difference.value)}.",
                "changed" if "changed" in draft.item_sets else "",
            )
        )
    return lines


def noise_words(draft: Draft, difference: float) -> str:
    """That a difference may be noise alone, as the end of a sentence."""
    bound = (draft.sections.get("noise") or {}).get("bound")
    if bound is None or abs(difference) > bound:
        return ""
    return f"; but {points(abs(difference))} lie inside the A/A noise bound of {points(bound)}"


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
    strange, ordinary = worst_flagged(metrics), metrics.get(("novelty_flagged", "set=test"))
    if strange and ordinary and strange.value < LEAST_FLAGGED:
        lines.append(
            said(
                f"Strange items{named_set(strange.slice)}: the guard calls only {percent(strange.value)} of those that "
                f"were named novel, and {percent(ordinary.value)} of ordinary ones. The rest would be answered.",
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


def named_set(where: str) -> str:
    """Which of several sets of strange items, in words.

    >>> named_set("set=near"), named_set("set=novel")
    (' of “near”', '')
    """
    name = where.removeprefix("set=")
    return "" if name == UNNAMED else f" of “{name}”"
