"""The sections of the page that open a subject: each takes the report, and returns HTML or "" when it has nothing."""

from __future__ import annotations

from typing import Any

from passmuster.core.records import Metric, Report
from passmuster.metrics.aa_noise import bound_words, inside_words
from passmuster.metrics.versions import is_weighed, retrain_words
from passmuster.stages.evaluate.marks import mark_lines
from passmuster.stages.evaluate.memory import memory_lines
from passmuster.stages.evaluate.page import charts
from passmuster.stages.evaluate.page.cards import Library, escape
from passmuster.stages.evaluate.page.confusion import mistakes
from passmuster.stages.evaluate.page.noise import noise
from passmuster.stages.evaluate.words import between, open_words, percent

ROWS_SHOWN = 12
MORE_ROWS = 500  # that open on a click; the others are in report.json


def classes(report: Report, library: Library) -> str:
    """A row per class, the weakest first, and which is taken for which."""
    rows = sorted(
        report.sections["per_class"],
        key=lambda r: (r["recall"]["value"] is None, r["recall"]["value"] or 0.0, r["class"]),
    )
    head = (
        '<thead><tr><th scope="col">Class</th><th scope="col">Found <small>recall</small></th>'
        '<th scope="col">Right when said <small>precision</small></th><th scope="col">F1</th></tr></thead>'
    )
    first, rest = rows[:ROWS_SHOWN], rows[ROWS_SHOWN:]
    more = ""
    if rest:
        body = "".join(class_row(row, library) for row in rest[:MORE_ROWS])
        title = f"{len(rest):,} more classes"
        if len(rest) > MORE_ROWS:
            title = f"the next {MORE_ROWS:,} of {len(rest):,} more classes; report.json has them all"
        more = (
            f'<details><summary>{title}</summary><div class="scroll"><table class="classes">{head}<tbody>{body}</tbody>'
            "</table></div></details>"
        )
    return (
        '<section><h2>Class by class</h2><p class="lead">The weakest first. Bars show the interval: a wide one means '
        f'few items.</p><div class="scroll"><table class="classes">{head}<tbody>'
        f"{''.join(class_row(row, library) for row in first)}</tbody></table></div>{more}</section>"
        + mistakes(report, library)
    )


def class_row(row: dict[str, Any], library: Library) -> str:
    """Recall and precision with their intervals drawn, opening their items."""
    name = escape(row["class"]).replace("_", "_<wbr>") + (
        "" if row["known"] else ' <span class="note">unknown to the model</span>'
    )
    f1 = "–" if row["f1"] is None else f"{row['f1']:.3f}"
    return (
        f'<tr><th scope="row">{name}</th><td>{bar(row["recall"], row["items"], library)}</td>'
        f'<td>{bar(row["precision"], row["predicted_items"], library)}</td><td class="number">{f1}</td></tr>'
    )


def bar(share: dict[str, Any], items: str, library: Library) -> str:
    """A share as text beside its interval drawn to scale."""
    if share["value"] is None:
        return '<span class="none">no items</span>'
    low, high = 100 * share["low"], 100 * share["high"]
    inside = (
        f'<span class="value">{percent(share["value"])}</span>'
        f'<span class="scale" aria-hidden="true"><span class="span" style="left:{low:.1f}%;'
        f'width:{max(high - low, 0.6):.1f}%"></span><span class="dot" style="left:{100 * share["value"]:.1f}%"></span>'
        f'</span><span class="span-text">{between(share["low"], share["high"])}, {share["n"]:,}</span>'
    )
    return library.link(items, inside, kind="bar")


def certainty(report: Report, library: Library) -> str:
    """The reliability curve and risk against coverage, with the bins as a table that opens items."""
    bins = report.sections["calibration"]["bins"]
    rows = "".join(
        f'<tr><th scope="row">{percent(b["low"])} to {percent(b["high"])}</th>'
        f'<td class="number">{percent(b["confidence"])}</td>'
        f"<td>{bar(b['accuracy'], b['items'], library)}</td></tr>"
        for b in bins
    )
    return f"""<section><h2>Can you trust how sure it is?</h2>
<div class="pair"><figure>{charts.reliability_chart(bins)}
<figcaption>On the dashed line, “90 % sure” is right nine times of ten. Below it, the model is too sure of itself.
</figcaption></figure>
<figure>{charts.risk_coverage_chart(report.sections["risk_coverage"])}
<figcaption>What withholding the least sure answers buys: the fewer it answers, the fewer should be wrong.
</figcaption></figure></div>
<details><summary>The bins as a table</summary><div class="scroll"><table class="classes"><thead><tr>
<th scope="col">Sure</th><th scope="col">On average</th><th scope="col">Right</th></tr></thead>
<tbody>{rows}</tbody></table></div></details></section>"""


def versions(report: Report, library: Library) -> str:
    """The paired table against the live release, and every decision that changes."""
    section = report.sections.get("versions")
    if not section or not report.incumbent:
        return ""
    if why := section.get("unopened"):
        return (
            '<section><h2>Against the live release</h2><p class="lead">Not compared: the live release does not open '
            f"({escape(why)}). Gates that compare with it cannot be told.</p></section>"
        )
    if not section["n"]:
        return (
            '<section><h2>Against the live release</h2><p class="lead">Not compared: the live release learned from '
            "every test item.</p></section>"
        )
    links = section["items"]
    changed = section["changed"]
    p = section["p_mcnemar"]
    meaning = (
        "a difference that chance alone would rarely make" if p < 0.05 else "a difference that chance alone could make"
    )
    if section.get("at_most"):
        meaning = f"which says nothing, because {open_words(section['at_most'])}"
    weighed = ""
    difference = report.metric("accuracy_difference")
    if difference and is_weighed(section["only_candidate"] - section["only_incumbent"], section["n"], difference.value):
        weighed = (
            " The boxes count labelled items one by one. Some were asked for more often than others; weighted by their "
            f"chances the difference is {100 * difference.value:+.1f} points, and so it is everywhere else."
        )
    words = retrain_words(section)
    again = "".join(f" {w[:1].upper()}{w[1:]}." for w in (words, *noise_words(report, difference)) if w)
    rows = "".join(
        f"<tr><td><code>{escape(row['key'][:8])}</code></td><td>{escape(row['label'])}</td>"
        f'<td class="{mark(row, "incumbent")}">{escape(row["incumbent"])}</td>'
        f'<td class="{mark(row, "candidate")}">{escape(row["candidate"])}</td></tr>'
        for row in changed[:ROWS_SHOWN]
    )
    boxes = "".join(
        library.link(items, f"<strong>{section[name]:,}</strong><span>{title}</span>", kind=f"box {name}")
        for name, title, items in (
            ("both_right", "right in both", ""),
            ("only_candidate", "wrong before, right now", links["better"]),
            ("only_incumbent", "right before, wrong now", links["worse"]),
            ("both_wrong", "wrong in both", ""),
        )
    )
    every = library.link(links["changed"], f"See all {len(changed):,} with their items")
    table = (
        f"<details><summary>{len(changed):,} decisions change</summary>"
        f'<p>{every}</p><div class="scroll"><table class="plain"><thead><tr><th scope="col">Item</th>'
        '<th scope="col">Label</th><th scope="col">Live release</th><th scope="col">This model</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
        f'<p class="note">{min(len(changed), ROWS_SHOWN):,} of {len(changed):,} shown; all are in report.json.</p>'
        "</details>"
        if changed
        else "<p>No decision changes.</p>"
    )
    return (
        f'<section><h2>Against the live release</h2><p class="lead">Both answered the same {section["n"]:,} items. '
        f"Exact McNemar test: p = {p:.2g}, {meaning}.{weighed}{again}</p>"
        f'<div class="boxes">{boxes}</div>{table}</section>'
    )


def noise_words(report: Report, difference: Metric | None) -> tuple[str, str]:
    """What the A/A noise bound is, and that the difference lies inside it, where it does."""
    inside = "" if difference is None else inside_words(report, difference.value)
    return bound_words(report.sections.get("noise")), inside


def mark(row: dict[str, str], which: str) -> str:
    return "right" if row[which] == row["label"] else "wrong"


def data(report: Report, library: Library) -> str:
    """What the checks found, and copies across the split, side by side."""
    section = report.sections["data"]
    rows = "".join(
        f'<tr><td><span class="badge {escape(f["severity"])}">{escape(f["severity"])}</span></td>'
        f"<td>{library.link(f['items'], escape(f['title']), kind='line')}"
        f"{'<small>' + escape(f['remedy']) + '</small>' if f['remedy'] else ''}</td>"
        f'<td class="number">{f["n_items"]:,}</td></tr>'
        for f in section["findings"]
    )
    table = (
        '<div class="scroll"><table class="plain"><thead><tr><th scope="col">Weight</th>'
        f'<th scope="col">What was seen</th><th scope="col">Items</th></tr></thead><tbody>{rows}</tbody></table></div>'
        if rows
        else "<p>The checks found nothing to say of this dataset version.</p>"
    )
    rest = f"{twins(report, library)}{marks(report, library)}{memory(report)}{parity(report, library)}"
    rest += noise(report, library)
    return f"<section><h2>The data behind it</h2>{table}{rest}</section>"


def marks(report: Report, library: Library) -> str:
    """Marks of training items that decide an answer alone."""
    lines = mark_lines(report.sections.get("marks"))
    if not lines:
        return ""
    listed = "".join(
        f"<li>{library.link(items, escape(line)) if items else escape(line)}</li>" for line, items in lines
    )
    return f"<h3>What decides alone</h3><ul>{listed}</ul>"


def memory(report: Report) -> str:
    """What the test set remembers: who knows copies of it, and what looking at it again costs."""
    section = report.sections.get("memory")
    lines = memory_lines(section) if section else []
    if not lines:
        return ""
    listed = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<h3>What this test set remembers</h3><ul>{listed}</ul>"


def twins(report: Report, library: Library) -> str:
    """Pairs of copies with one side in training, beside each other."""
    section = report.sections["data"]
    pairs = section["leakage"]
    if not pairs:
        return "<p>No test item has a copy among the items that training saw.</p>"
    shown = [pair for pair in pairs if pair["train"] in library.cards and pair["test"] in library.cards]
    shown = shown[: library.scope.n_pairs_shown]
    rows = "".join(
        f'<ul class="cards twin" aria-label="a pair of copies">{library.cards[pair["train"]]}'
        f"{library.cards[pair['test']]}</ul>"
        for pair in shown
    )
    opener = library.link("leakage", f"{section['n_leaked']:,} test items have a copy in training")
    return (
        f'<h3>Copies on both sides of the split</h3><p class="lead">{opener}: the model may know them by heart. '
        f"Left, what training saw; right, what it was tested on. {len(shown):,} of {len(pairs):,} pairs shown.</p>"
        f'<div class="twins">{rows}</div>'
    )


def parity(report: Report, library: Library) -> str:
    """Whether the exported model answers as the trained one did."""
    section = report.sections.get("parity")
    if not section:
        return ""
    text = f"{percent(section['agreement'])} of {section['n']:,} answers are the same"
    return (
        f"<h3>As trained, so served</h3><p>{library.link(section['items'], text)} as those of the model before it was "
        f"exported; no logit differs by more than {section['max_abs_difference']:.2g}.</p>"
    )
