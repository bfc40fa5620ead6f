"""What an answer costs, by the team's own matrix: the first section of the page where costs are declared."""

from __future__ import annotations

from typing import Any

from passmuster.core.records import Report
from passmuster.stages.evaluate.cost_words import amount, spread, way
from passmuster.stages.evaluate.page.cards import Library, escape
from passmuster.stages.evaluate.words import percent


def costs(report: Report, library: Library) -> str:
    """The mean cost of an answer, what other ways of answering would cost, and which mistakes are dearest."""
    section = report.sections.get("costs")
    if not section:
        return ""
    if not section["applies"]:
        return f'<section><h2>What an answer costs</h2><p class="lead">{escape(section["why"])}</p></section>'
    unit = section["unit"]
    rows = "".join(way_row(row, unit, library) for row in section["decisions"])
    if live := section.get("live"):
        found = {"decision": "The live release", "cost": live["cost"], "served_costs_more_by": live["costs_more_by"]}
        rows += way_row(found, unit, library, title="The live release")
    served = section["decisions"][0]["cost"]
    withheld = (
        f"A withheld answer costs {amount(section['abstain'], unit)}."
        if section["abstain"]
        else "What a withheld answer costs is not stated; it counts as what it would have said."
    )
    return f"""<section><h2>What an answer costs</h2>
<p class="lead">By your own costs, an answer costs {library.link("test", escape(spread(served, unit)))} on average; at
most {amount(section["largest"], unit)}. {withheld}</p>
<div class="scroll"><table class="classes"><thead><tr><th scope="col">Way of answering</th>
<th scope="col">Mean cost</th><th scope="col">This model costs</th></tr></thead><tbody>{rows}</tbody></table></div>
{mistakes(section, library)}</section>"""


def way_row(row: dict[str, Any], unit: str, library: Library, title: str = "") -> str:
    """A way of answering: its mean cost, and how much more, or less, the model as served costs."""
    cost, more = row["cost"], row.get("served_costs_more_by")
    return (
        f'<tr><th scope="row">{escape(title or way(row["decision"]))}</th>'
        f"<td>{library.link('test', escape(spread(cost, unit)))}</td>"
        f'<td class="number">{difference(more, unit)}</td></tr>'
    )


def difference(more: dict[str, Any] | None, unit: str) -> str:
    """How much more or less, with the interval of the difference."""
    if more is None or more["value"] is None:
        return "–"
    if more["value"] == more["low"] == more["high"] == 0:
        return "the same"
    word = "more" if more["value"] > 0 else "less"
    low, high = sorted((abs(more["low"]), abs(more["high"])))
    sure = more["low"] * more["high"] > 0
    within = (
        f"{amount(low, '')} to {amount(high, unit)}"
        if sure
        else f"{amount(-more['low'], '')} less to {amount(more['high'], '')} more"
    )
    return escape(f"{amount(abs(more['value']), unit)} {word} ({within})")


def mistakes(section: dict[str, Any], library: Library) -> str:
    """Which class taken for which costs most in all."""
    if not section["mistakes"]:
        return "<p>No answer on this test cost anything.</p>"
    rows = ""
    for row in section["mistakes"]:
        said = f"taken for <b>{escape(row['predicted'])}</b>" if row["predicted"] else "<b>withheld</b>"
        name = library.link(row["items"], f"{escape(row['label'])} {said}")
        rows += (
            f'<tr><th scope="row">{name}</th><td class="number">{row["n"]:,}</td>'
            f'<td class="number">{escape(amount(row["each"], section["unit"]))}</td>'
            f'<td class="number">{percent(row["share"])}</td></tr>'
        )
    return (
        '<h3>What costs most</h3><div class="scroll"><table class="plain"><thead><tr><th scope="col">What happens</th>'
        '<th scope="col">Times</th><th scope="col">Each</th><th scope="col">Of all costs</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
