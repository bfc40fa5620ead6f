"""Which of two models to serve: right, right under faults, seconds, money and where items go, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from passmuster.core.records import Report
from passmuster.metrics.aa_noise import noise_bound
from passmuster.stages.evaluate.page.cards import Library, escape
from passmuster.stages.evaluate.serving_words import (
    break_even_words,
    how_measured,
    latency_words,
    place_words,
    price_words,
    which_words,
)
from passmuster.stages.evaluate.words import between, percent


def serving(report: Report, library: Library) -> str:
    """The section of the report; nothing where nothing was timed."""
    section = report.sections.get("serving")
    if not section:
        return ""
    rows: Sequence[Mapping[str, Any]] = section["rows"]
    names = ["This model", "The live release"][: len(rows)]
    items = "compared" if len(rows) > 1 else "test"
    right = [library.link(items, f"{percent(r['right']['value'])}") + within(r["right"]) for r in rows]
    if len(rows) == 1:
        return (
            f"<section><h2>What serving takes</h2>{table(names, rows, [('Right', right)])}"
            f"{notes(names, rows)}</section>"
        )
    told = report.metric("accuracy_difference"), report.metric("mce")
    lead = which_words(rows, *told, noise=noise_bound(report) or 0.0)
    said = " ".join((*lead, break_even_words(section))).strip()
    first = [(f"Right, on the same {section['n']:,} test items", right)]
    return (
        f'<section><h2>Which to serve</h2><p class="lead">{escape(said)}</p>{table(names, rows, first)}'
        f"{notes(names, rows)}</section>"
    )


def table(
    names: Sequence[str], rows: Sequence[Mapping[str, Any]], first: Iterable[tuple[str, Sequence[str]]] = ()
) -> str:
    """A column for each model; `first` are rows of HTML that stand before those of every bundle."""
    lines = [("Where it is from", [escape(row["what"]) for row in rows]), *first]
    if any(row.get("under_faults") is not None for row in rows):
        lines.append(("Right, under natural faults", [faults_cell(row.get("under_faults")) for row in rows]))
    lines += [
        ("One answer", [escape(latency_words(row)) for row in rows]),
        ("A million answers", [escape(price_words(row)) for row in rows]),
        ("Items go to", [escape(place_words(row)) for row in rows]),
    ]
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    body = "".join(
        f'<tr><th scope="row">{title}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for title, cells in lines
    )
    return (
        f'<div class="scroll"><table class="plain"><thead><tr><td></td>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def notes(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """How seconds and money were come by, for each model."""
    said = "; ".join(f"{name.lower()}: {how_measured(row)}" for name, row in zip(names, rows, strict=True))
    return f'<p class="note">Measured: {escape(said)}. Other work on the machine slows answers down.</p>'


def faults_cell(share: float | None) -> str:
    return "–" if share is None else percent(share)


def within(found: Mapping[str, Any]) -> str:
    return "" if found["value"] is None else f" <small>{between(found['low'], found['high'])}</small>"
