"""Which classes remain possible: how often prediction sets hold the true one, and for whom they do not."""

from __future__ import annotations

from typing import Any

from passmuster.core.records import Report
from passmuster.stages.evaluate.page.cards import Library, escape
from passmuster.stages.evaluate.page.sections import bar
from passmuster.stages.evaluate.words import between, percent

SLICES_SHOWN = 8


def prediction_sets(report: Report, library: Library) -> str:
    """Coverage and length of the sets as served and by each method, then the classes and groups least covered."""
    section = report.sections.get("prediction_sets")
    if not section:
        return ""
    cover, size = section["coverage"], section["size"]
    what = "every class of an item" if section["sets_of_classes"] else "the right class"
    from_labels = "No labels were there to fit them, so that every class stays possible."
    if n := section["n_calibration"]:
        imported = report.sections["training"]["origin"] == "imported"
        whose = "that were given at import" if imported else "each judged by a head that had not learned from it"
        from_labels = f"Thresholds come from {n:,} labels, {whose}; this test took no part, and checks them."
    return f"""<section><h2>Which classes stay possible</h2>
<p class="lead">Beside its answer the model names the classes that stay possible. These hold {what} on
{percent(cover["value"])} of test items ({between(cover["low"], cover["high"])}), where the policy asks for
{percent(section["target"])}, and are {size["value"]:.2f} classes long on average ({size["low"]:.2f} to
{size["high"]:.2f}). {from_labels}</p>{methods(section)}{slices(section, library)}</section>"""


def methods(section: dict[str, Any]) -> str:
    """A row per method."""
    if not section["methods"]:
        return ""
    rows = ""
    for row in section["methods"]:
        mark = " <b>served</b>" if row["method"] == section["served"] else ""
        coin = "; randomised by a digest of the answer itself" if row["randomised"] else ""
        cover, size = row["coverage"], row["size"]
        rows += (
            f'<tr><th scope="row"><code>{escape(row["method"])}</code>{mark}'
            f'<small>{escape(row["summary"])}{coin}</small></th><td class="number">{percent(cover["value"])} '
            f"<small>{between(cover['low'], cover['high'])}</small></td>"
            f'<td class="number">{size["value"]:.2f} <small>{size["low"]:.2f} to {size["high"]:.2f}</small></td>'
            f'<td class="number">{percent(row["empty"])}</td></tr>'
        )
    return (
        '<div class="scroll"><table class="plain"><thead><tr><th scope="col">Method</th>'
        '<th scope="col">Holds the right class</th><th scope="col">Classes</th><th scope="col">Empty</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div><p>As served, a set holds at least the answer, so that none is empty. "
        "Choose with <code>policy.guard.sets</code>.</p>"
    )


def slices(section: dict[str, Any], library: Library) -> str:
    """Classes and groups, the least covered first."""
    rows = sorted(section["slices"], key=lambda row: (row["coverage"]["value"], row["slice"]))
    if not rows:
        return ""

    def lines(part: list[dict[str, Any]]) -> str:
        return "".join(
            f'<tr><th scope="row">{escape(row["slice"].partition("=")[2])}'
            f"{' <b>too few</b>' if row['below'] else ''}</th><td>{bar(row['coverage'], row['items'], library)}</td>"
            f'<td class="number">{row["size"]:.2f}</td></tr>'
            for row in part
        )

    head = (
        '<thead><tr><th scope="col">Class or group</th><th scope="col">Holds the right class</th>'
        '<th scope="col">Classes</th></tr></thead>'
    )
    rest = ""
    if more := rows[SLICES_SHOWN:]:
        body = f'<div class="scroll"><table class="classes">{head}<tbody>{lines(more)}</tbody></table></div>'
        rest = f"<details><summary>{len(more):,} more</summary>{body}</details>"
    return (
        "<h3>For whom the sets are too short</h3><p>The rate is promised on average; here it is for each class and "
        "group, the least covered first. <b>Too few</b>: surely below it, all rows looked at together.</p>"
        f'<div class="scroll"><table class="classes">{head}<tbody>'
        f"{lines(rows[:SLICES_SHOWN])}</tbody></table></div>{rest}"
    )
