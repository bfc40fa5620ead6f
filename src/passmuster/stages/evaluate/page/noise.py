"""What the model does not repeat: each way to ask again, or to learn again, with its share and interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from passmuster.core.records import Report
from passmuster.metrics.aa_noise import bound_words
from passmuster.stages.evaluate.page.cards import Library, escape
from passmuster.stages.evaluate.words import between, percent

SOURCES = {
    "asked otherwise": "Asked again in any of the following ways",
    "batch of one": "one item at a time instead of in batches",
    "one thread": "on one thread",
    "engine, nothing fused": "the engine’s kernels one by one, nothing fused",
    "precision": "Before its weights were rounded",
    "asked since its import": "Asked again since its import",
    "seed": "The same recipe learnt again",
}


def noise(report: Report, library: Library) -> str:
    """A row for each source; nothing where no answer was asked for again."""
    section: Mapping[str, Any] | None = report.sections.get("noise")
    if not section or not section["rows"]:
        return ""
    rows = ""
    for row in section["rows"]:
        name = escape(SOURCES.get(row["source"], row["source"]))
        name = library.link(row["items"], name) if row.get("items") else name
        rows += (
            f'<tr><th scope="row">{name}</th><td class="number">{row["n"]:,}</td>'
            f'<td class="number">{percent(row["value"])}</td>'
            f'<td class="number">{between(row["low"], row["high"])}</td></tr>'
        )
    who = f" Not asked again: {escape(' and '.join(section['not_asked']))}." if section["not_asked"] else ""
    return (
        f"<h3>What it does not repeat</h3><p>{escape(bound_words(section))}.{who}</p>"
        '<div class="scroll"><table class="plain"><thead><tr><th scope="col"></th><th scope="col">Answers</th>'
        '<th scope="col">Another decision</th><th scope="col">95 % interval</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
