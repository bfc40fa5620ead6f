"""The page's part on declared groups: how each fares, and the widest gaps between them."""

from __future__ import annotations

from typing import Any

from passmuster.core.records import Report
from passmuster.metrics.fairness import ACCURACY, ODDS, OPPORTUNITY, PRECISION, SELECTION
from passmuster.stages.evaluate.page.cards import Library, escape
from passmuster.stages.evaluate.words import between, percent

IN_WORDS = {
    ACCURACY: ("Being right", "share of right answers"),
    SELECTION: ("Selection rate (demographic parity)", "share of items that are called so"),
    OPPORTUNITY: ("Equal opportunity", "share found, of the items that are so"),
    ODDS: ("Equalised odds", "the larger gap of share found and share falsely called so"),
    PRECISION: ("Predictive parity", "share right, of the items that are called so"),
}


def groups(report: Report, library: Library) -> str:
    """Nothing where no column of groups is declared."""
    section = report.sections.get("groups")
    if not section:
        return ""
    parts = "".join(_column(column, section["fewest"], library) for column in section["columns"])
    left = section["n_classes_left"]
    rare = f" Gaps are of the {section['n_classes']} commonest classes; {left} are left out." if left else ""
    return (
        '<section><h2>Are groups served alike?</h2><p class="lead">Intervals of gaps hold for all pairs of groups and '
        f"all classes together.{rare} A gap shows a difference, not its cause; whether it is unfair is for people to "
        f"say.</p>{parts}</section>"
    )


def _column(column: dict[str, Any], fewest: int, library: Library) -> str:
    rows = "".join(
        f'<tr><th scope="row">{library.link(row["items"], escape(row["group"]), kind="line")}</th>'
        + (
            f'<td class="number"><b>{percent(row["accuracy"]["value"])}</b>'
            f"<small>{between(row['accuracy']['low'], row['accuracy']['high'])}</small></td>"
            if row["enough"]
            else '<td class="number">too few to tell</td>'
        )
        + f'<td class="number">{row["accuracy"]["n"]:,}</td></tr>'
        for row in column["groups"]
    )
    gaps = "".join(
        f'<tr><th scope="row">{IN_WORDS[gap["kind"]][0]}<small>{IN_WORDS[gap["kind"]][1]}'
        f"{_of_class(gap)}</small></th>"
        f'<td class="number"><b>{percent(gap["value"])}</b><small>{between(gap["low"], gap["high"])}</small></td>'
        f"<td>{escape(gap['most'])} over {escape(gap['least'])}</td></tr>"
        for gap in column["widest"]
    )
    untold = [IN_WORDS[kind][0] for kind in IN_WORDS if kind not in {gap["kind"] for gap in column["widest"]}]
    silent = f"<p>Too few items of one class in two groups to tell: {'; '.join(untold)}.</p>" if gaps and untold else ""
    without = f"<p>{column['n_without']:,} test items say nothing in this column.</p>" if column["n_without"] else ""
    table = (
        '<div class="scroll"><table class="plain"><thead><tr><th scope="col">Widest gap</th><th scope="col">Gap</th>'
        f'<th scope="col">Between</th></tr></thead><tbody>{gaps}</tbody></table></div>'
        if gaps
        else f"<p>No gap can be told: fewer than two groups have {fewest} labelled items.</p>"
    )
    return (
        f'<h3>{escape(column["column"])}</h3><div class="scroll"><table class="plain"><thead><tr><th scope="col">Group'
        '</th><th scope="col">Right</th><th scope="col">Test items</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{without}{table}{silent}"
    )


def _of_class(gap: dict[str, Any]) -> str:
    return f": “{escape(gap['class'])}”" if gap["class"] else ""
