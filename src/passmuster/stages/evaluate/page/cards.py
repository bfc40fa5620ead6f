"""The items behind the numbers: which of them are shown, and how one looks in the page."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from passmuster.core.records import Report
from passmuster.modality.base import Modality
from passmuster.stages.evaluate.draft import Answers, Scope
from passmuster.stages.evaluate.novelty import Strange
from passmuster.stages.evaluate.words import percent, plain_name
from passmuster.store.items import read_items
from passmuster.store.store import Store

# Sets whose items are shown first when not all can be: where the model breaks comes before where it does not.
FIRST = ("negative_flips", "leakage", "sure and wrong", "wrong", "changed", "novel", "abstained", "positive_flips")


@dataclass
class Library:
    """Every set that can be opened, by its number, and the items that the page carries.

    `opener` gives the opening tag of something that opens a set; text goes inside, then ``</button>``.
    """

    report: Report
    scope: Scope
    cards: Mapping[str, str]
    numbers: dict[str, str] = field(default_factory=dict)

    def link(self, items: str, inside: str, *, kind: str = "link", label: str = "") -> str:
        """`inside` (HTML) as a button that opens the set `items`; just `inside` when there is no such set."""
        if items not in self.report.item_sets:
            return f'<span class="{kind}">{inside}</span>'
        number = self.numbers.setdefault(items, f"s{len(self.numbers)}")
        n = len(self.report.item_sets[items])
        name = html.escape(label or f"{set_title(items)}: {n:,} items", quote=True)
        return f'<button type="button" class="{kind}" data-set="{number}" title="{name}">{inside}</button>'

    def data(self) -> str:
        """The sets that something opens, as JSON inside a script element: title, size, numbers of the cards shown."""
        place = {key: i for i, key in enumerate(self.cards)}
        sets = {}
        for name, number in self.numbers.items():
            keys = self.report.item_sets[name]
            shown = [place[key] for key in keys if key in place][: self.scope.n_shown]
            sets[number] = {"title": set_title(name), "n": len(keys), "shown": shown, "note": set_note(name)}
        return json.dumps(sets, ensure_ascii=True).replace("<", "\\u003c").replace("&", "\\u0026")

    def templates(self) -> str:
        """Every card once, inert until it is opened."""
        return "\n".join(f'<template id="i{i}">{card}</template>' for i, card in enumerate(self.cards.values()))


def make_cards(
    store: Store, modality: Modality, report: Report, answers: Answers, strange: Sequence[Strange], scope: Scope
) -> dict[str, str]:
    """Key to card (HTML) of the items that the page carries, within the limits of `scope`."""
    wanted = chosen_keys(report.item_sets, scope)
    outside = {s.key: s for s in strange}
    with store.read() as db:
        items = {item.key: item for item in read_items(db, keys=[key for key in wanted if key not in outside])}
    kept = [item for item in items.values() if item.blob]
    previews = {s.key: s.preview for s in strange}
    for item, data in zip(kept, store.blobs.get_many([item.blob for item in kept])):
        previews[item.key] = modality.preview(modality.decode(data, store.config.data))
    place = {key: i for i, key in enumerate(report.sections["answers"]["keys"])}
    before = {row["key"]: row["incumbent"] for row in report.sections.get("versions", {}).get("changed", [])}
    cards: dict[str, str] = {}
    n_bytes = 0
    for key in wanted:
        if key not in previews or n_bytes + len(previews[key]) > scope.max_preview_bytes:
            continue
        n_bytes += len(previews[key])
        if key in outside:
            cards[key] = strange_card(outside[key])
        elif key in place:
            cards[key] = test_card(report, place[key], previews[key], before.get(key))
        else:
            cards[key] = frame(previews[key], '<span class="note">learned from, not tested on</span>', key, "")
    return cards


def chosen_keys(item_sets: Mapping[str, Sequence[str]], scope: Scope) -> list[str]:
    """Keys to show: the first of every set in turn, then the second, and so on, until there are enough."""
    order = [name for name in FIRST if name in item_sets] + [name for name in item_sets if name not in FIRST]
    chosen: dict[str, None] = {}
    for name in FIRST:
        n = 2 * scope.n_pairs_shown if name == "leakage" else scope.n_shown
        chosen.update(dict.fromkeys(item_sets.get(name, ())[:n]))
    for depth in range(scope.n_shown):
        for name in order:
            if len(chosen) >= scope.n_previews:
                return list(chosen)
            if depth < len(item_sets[name]):
                chosen[item_sets[name][depth]] = None
    return list(chosen)


def test_card(report: Report, i: int, preview: str, before: str | None) -> str:
    """A test item: what it is, what the model said and how sure it was, and what the live release said."""
    answers = report.sections["answers"]
    names = answers.get("names", report.classes)  # sets of classes have names of their own
    label, said = names[answers["label"][i]], names[answers["predicted"][i]]
    sure = answers["probability"][i]
    right = label == said
    verdict = "right" if right else "wrong"
    lines = [
        f'<span class="said {verdict}"><span class="mark" aria-hidden="true">{"✓" if right else "✗"}</span>'
        f"<span>{escape(said)}</span></span>",
        f'<span class="sure"><meter min="0" max="1" value="{sure:.4f}"></meter> {percent(sure)} sure</span>',
    ]
    if not right:
        lines.insert(1, f'<span class="truth">labelled <b>{escape(label)}</b></span>')
    if answers["abstained"][i]:
        lines.append('<span class="note">answer withheld</span>')
    if before is not None:
        lines.append(f'<span class="note">the live release says <b>{escape(before)}</b></span>')
    return frame(preview, "".join(lines), answers["keys"][i], verdict)


def strange_card(item: Strange) -> str:
    """An item that the user named as strange."""
    noticed = "noticed as novel" if item.novel else "not noticed"
    mark = "✓" if item.novel else "✗"
    return frame(
        item.preview,
        f'<span class="said {"right" if item.novel else "wrong"}"><span class="mark" aria-hidden="true">{mark}</span>'
        f"<span>{noticed}</span></span>"
        f'<span class="note">taken for <b>{escape(item.predicted)}</b>, {percent(item.confidence)} sure</span>',
        item.key,
        "right" if item.novel else "wrong",
    )


def frame(preview: str, facts: str, key: str, kind: str) -> str:
    """`preview` comes from the modality, which made it safe to embed."""
    return (
        f'<li class="card {kind}"><div class="preview">{preview}</div><div class="facts">{facts}'
        f'<code class="key">{escape(key[:8])}</code></div></li>'
    )


def set_title(name: str) -> str:
    """The name of a set of items in plain words.

    >>> set_title("label=cat predicted=dog"), set_title("corruption=blur.v1 severity=3 broken")
    ('cat taken for dog', 'Broken by blur at severity 3')
    """
    if name.startswith("class="):
        return f"Labelled {name.removeprefix('class=')}"
    if name.startswith("missed="):
        return f"{name.removeprefix('missed=')}, not said"
    if name.startswith("added="):
        return f"{name.removeprefix('added=')}, wrongly said"
    if name.startswith("predicted="):
        return f"Taken for {name.removeprefix('predicted=')}"
    if name.startswith("withheld label="):
        return f"{name.removeprefix('withheld label=')}, withheld"
    name = name.removeprefix("costly ")
    if name.startswith("label=") and " predicted=" in name:
        label, _, said = name.removeprefix("label=").partition(" predicted=")
        return f"{label}, rightly so" if label == said else f"{label} taken for {said}"
    if name.startswith("novel="):
        return f"The strange items you named {name.removeprefix('novel=')}"
    if name.startswith("corruption="):
        fault, _, severity = name.removeprefix("corruption=").removesuffix(" broken").partition(" severity=")
        return f"Broken by {plain_name(fault)} at severity {severity}"
    if name.startswith("confidence="):
        low, _, high = name.removeprefix("confidence=").partition("-")
        return f"Between {percent(float(low))} and {percent(float(high))} sure"
    return TITLES.get(name, name[:1].upper() + name[1:])


TITLES = {
    "test": "All test items",
    "wrong": "Wrong answers, the surest first",
    "abstained": "Answers withheld",
    "answered": "Answers given",
    "corrupted": "Items that were spoilt",
    "compared": "Items both versions answered",
    "changed": "Decisions that change",
    "negative_flips": "Right before, wrong now",
    "positive_flips": "Wrong before, right now",
    "leakage": "Copies on both sides of the split",
    "leakage=clean": "Test items without a copy in training",
    "leakage=twins": "Test items with a copy in training",
    "novel": "The strange items you named",
    "not repeated": "Answers that the same model does not repeat",
    "parity_differs": "Answered differently from the trained model",
    "partly right": "Some of the classes right, not all",
    "given at the promised risk": "Answers sure enough for the promised risk",
    "outside its set": "Not among the classes left open",
    "sure": "Answers with at least 90 % confidence",
    "sure and wrong": "Sure and wrong",
}


def set_note(name: str) -> str:
    """What to know about the cards of a set."""
    if name.startswith("corruption="):
        return "Shown unspoilt, with the answer to the unspoilt item, which was right."
    return ""


def escape(text: str) -> str:
    """Text from data, safe in HTML and in attributes."""
    return html.escape(text, quote=True)
