"""The page's part on weak spots: those that the second half of the test confirmed, and those that it did not."""

from __future__ import annotations

from typing import Any

from passmuster.core.records import Report
from passmuster.stages.evaluate.page.cards import Library, escape
from passmuster.stages.evaluate.words import between, percent


def slices(report: Report, library: Library) -> str:
    """Where it errs more than elsewhere; nothing for a report of before there were slices."""
    section = report.sections.get("slices")
    if not section:
        return ""
    confirmed = [row for row in section["rows"] if row["confirmed"]]
    others = [row for row in section["rows"] if not row["confirmed"]]
    shown = _table(confirmed, library) if confirmed else ""
    unsure = (
        f"<details><summary>Not confirmed: {len(others)} that looked weak on the first half</summary>"
        f"{_table(others, library)}</details>"
        if others
        else ""
    )
    return (
        f'<section><h2>Where does it err more than elsewhere?</h2><p class="lead">{escape(section["said"])}</p>'
        f"{shown}{unsure}</section>"
    )


def _table(rows: list[dict[str, Any]], library: Library) -> str:
    body = "".join(
        f'<tr><th scope="row">{library.link(row["items"], escape(row["name"]), kind="line")}'
        f"<small>{escape(row['kind'])}, {row['n_items']:,} items in all</small></th>"
        f'<td class="number"><b>{percent(row["error"]["value"])}</b>'
        f"<small>{between(row['error']['low'], row['error']['high'])}, {row['error']['n']:,} items</small></td>"
        f'<td class="number">{percent(row["elsewhere"]["value"])}</td><td class="number">{row["q"]:.2g}</td></tr>'
        for row in rows
    )
    return (
        '<div class="scroll"><table class="plain"><thead><tr><th scope="col">Part of the test</th><th scope="col">Wrong'
        '</th><th scope="col">Wrong elsewhere</th><th scope="col">q<small>chance of seeing this if it were no weaker, '
        f"adjusted</small></th></tr></thead><tbody>{body}</tbody></table></div>"
    )
