"""Whether the model notices what it does not know: near and far sets of strange items, and classes left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from passmuster.core.records import Report
from passmuster.stages.evaluate.novelty_words import set_name, worst_words
from passmuster.stages.evaluate.page.cards import Library, escape
from passmuster.stages.evaluate.words import between, percent


def novelty(report: Report, library: Library) -> str:
    """How well each detector tells strange from ordinary, set by set; the guard's own first, side by side."""
    section = report.sections["novelty"]
    sets: Sequence[Mapping[str, Any]] = section.get("sets") or [section]
    measured = [one for one in sets if one["rows"]]
    ordinary = flagged(report, library, "set=test", "ordinary test items")
    head = '<section><h2>Does it notice what it does not know?</h2><p class="lead">'
    if len(measured) < 2:
        one = measured[0] if measured else section
        name = one.get("set", "novel")
        strange = flagged(report, library, f"set={name}", "strange items")
        others = "".join(not_measured(o) for o in sets if o is not one)
        return (
            f"{head}{escape(one['said'])}</p>{guard_words(section)}{strange}{ordinary}{detectors(one, library)}"
            f"{unread(one)}{others}</section>"
        )
    lines = "".join(
        f"<details><summary>{escape(set_name(one))}: every detector</summary><p>{escape(one['said'])}</p>"
        f"{detectors(one, library)}{unread(one)}</details>"
        for one in measured
    )
    rest = "".join(not_measured(one) for one in sets if not one["rows"])
    return (
        f"{head}{escape(worst_words(section))}</p>{guard_words(section)}{by_set(section, measured, library)}{ordinary}"
        f"{lines}{rest}</section>"
    )


def not_measured(one: Mapping[str, Any]) -> str:
    """Why there is nothing of a set."""
    said = f"{set_name(one)}: {one['said'][:1].lower()}{one['said'][1:]}"
    return f"<p>{escape(said[:1].upper() + said[1:])}</p>"


def by_set(section: Mapping[str, Any], measured: Sequence[Mapping[str, Any]], library: Library) -> str:
    """A row for each set: how well the guard's own detector tells it, and what the guard as shipped calls novel."""
    rows = ""
    for one in measured:
        own = next((row for row in one["rows"] if row["detector"] == section["guard"]), None)
        name = library.link(one["items"], escape(set_name(one)), kind="line")
        cells = (
            "".join(number(own[kind], said) for kind, said in KINDS)
            if own
            else '<td class="number">–</td>' * len(KINDS)
        )
        called = number(one["flagged"], percent) if one.get("flagged") else '<td class="number">–</td>'
        rows += f'<tr><th scope="row">{name}</th><td class="number">{one["n_strange"]:,}</td>{cells}{called}</tr>'
    return (
        '<div class="scroll"><table class="plain"><thead><tr><th scope="col">Strange items'
        "<small>told by the guard’s own detector</small></th>"
        f'<th scope="col">How many</th>{HEADS}<th scope="col">Called novel<small>by the guard as shipped</small></th>'
        f"</tr></thead><tbody>{rows}</tbody></table></div>"
    )


HEADS = (
    '<th scope="col">AUROC<small>higher is better, 0.5 is chance</small></th>'
    '<th scope="col">Ordinary flagged<small>when 95 % of strange are caught</small></th>'
    '<th scope="col">Strange accepted<small>when 95 % of ordinary are</small></th>'
)
KINDS = (("auroc", "{:.3f}".format), ("fpr95", percent), ("fpr95_ordinary_positive", percent))


def number(found: Mapping[str, Any], said: Any) -> str:
    """A figure with its interval below it."""
    return (
        f'<td class="number"><b>{said(found["value"])}</b>'
        f"<small>{said(found['low'])} to {said(found['high'])}</small></td>"
    )


def detectors(one: Mapping[str, Any], library: Library) -> str:
    """Every detector on one set."""
    if not one["rows"]:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{library.link(row["items"], escape(row["detector"]), kind="line")}'
        f"<small>{escape(row['summary'])}</small></th>{''.join(number(row[kind], said) for kind, said in KINDS)}</tr>"
        for row in one["rows"]
    )
    return (
        f'<div class="scroll"><table class="plain"><thead><tr><th scope="col">Detector</th>{HEADS}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def flagged(report: Report, library: Library, where: str, what: str) -> str:
    """What the guard as shipped calls novel of some items; nothing where none were named."""
    found = report.metric("novelty_flagged", where)
    if found is None:
        return ""
    opener = library.link(found.items, f"Of the {what}, the guard as shipped calls {percent(found.value)} novel")
    return f"<p>{opener} ({between(found.low, found.high)}).</p>"


def unread(one: Mapping[str, Any]) -> str:
    """Items of a set that could not be read, the first few by name."""
    problems = one.get("problems") or []
    if not problems:
        return ""
    return f"<p>{one['n_unreadable']:,} items could not be read: {escape('; '.join(problems[:5]))}</p>"


def guard_words(section: Mapping[str, Any]) -> str:
    """Which detector the bundle carries, and why that one."""
    if not section.get("guard"):
        return ""
    chosen = section.get("chosen") or {}
    why = f" {chosen['why'][0].upper()}{chosen['why'][1:]}." if chosen.get("why") else ""
    lacks = (
        " The model gives no embedding: detectors that look at one were given its scores instead."
        if section.get("lacks_embedding")
        else ""
    )
    return f"<p>The bundle is guarded by <b>{escape(section['guard'])}</b>.{escape(why)}{lacks}</p>"
