"""The section on items without labels: what accuracy is there by estimate, and what no estimate can see."""

from __future__ import annotations

from passmuster.core.records import Report
from passmuster.stages.evaluate.estimated import NAMES
from passmuster.stages.evaluate.page.cards import escape
from passmuster.stages.evaluate.words import between, percent


def estimated(report: Report) -> str:
    """A row for each set of unlabelled items; nothing where none was asked about."""
    section = report.sections.get("estimated")
    if not section or not section["rows"]:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(NAMES[row["name"]])}</th><td class="number">{row["n"]:,}</td>'
        f'<td class="number">{percent(row["value"])}</td>'
        f'<td class="number">{between(row["low"], row["high"])}</td></tr>'
        for row in section["rows"]
    )
    return f"""<section><h2>Where there are no labels</h2>
<p class="lead">Estimated from how sure the model is, how new the items are to it and what their neighbours are taken
for. It was taught by {section["n_families"]} natural faults; of each of them, held out in turn, the loss that it
foretold was off by {100 * section["mean_error"]:.1f} points in the mean.</p>
<div class="scroll"><table class="plain"><thead><tr><th scope="col">items</th><th scope="col">asked about</th>
<th scope="col">right, estimated</th><th scope="col">{section["level"]:.0%} interval</th></tr></thead>
<tbody>{rows}</tbody></table></div>
<p class="note">An estimate is no test: it cannot see that a class has come to mean something else, and of a wholly new
kind of input it tends to think too well, more than the interval says. Labels decide.</p></section>"""
