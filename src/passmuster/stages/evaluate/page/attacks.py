"""The section on attacks: how many right answers stand by strength, beside the live release, and a few that fell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from passmuster.core.records import Report
from passmuster.stages.evaluate.attacked import Fallen
from passmuster.stages.evaluate.page.cards import escape
from passmuster.stages.evaluate.words import between, percent


def attacks(report: Report, fallen: Sequence[Fallen]) -> str:
    """The curve as a table, what each attack broke, and items for a person to look at."""
    section = report.sections.get("attacks")
    if not section:
        return ""
    title = "<h2>Does it withstand somebody who means harm?</h2>"
    if not section["n"]:
        return f'<section>{title}<p class="lead">Not tried: {escape(section["why"])}.</p></section>'
    beside = any("incumbent" in row for row in section["rows"])
    head = "".join(
        f'<th scope="col">{name}</th>'
        for name in (f"Change, {section['unit']}", "Still right", *(["Live release"] if beside else []))
    )
    body = "".join(
        f'<tr><th scope="row">{size(row["strength"])}</th><td class="number">{rate(row["accuracy"])}</td>'
        + (f'<td class="number">{rate(row["incumbent"]) if "incumbent" in row else "–"}</td>' if beside else "")
        + "</tr>"
        for row in section["rows"]
    )
    rows = "".join(one(attack) for attack in section["attacks"])
    rows += "".join(
        f"<tr><td>{escape(name)}</td><td>not run: {escape(why)}</td><td></td></tr>"
        for name, why in section["not_loaded"].items()
    )
    why = section.get("incumbent_left_out", "")
    unseen = f" The live release was left out: {escape(why)}." if why else ""
    return f"""<section>{title}
<p class="lead">{section["n"]:,} test items, each changed as little as the first column says, in the worst way.</p>
<div class="scroll"><table class="plain"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>
<p class="note">Broken: the model as it is served answers wrongly. {section["questions_per_item"]:,.0f} questions each.
What a stronger attack would find is not known, so these are upper bounds.{unseen}</p>
<div class="scroll"><table class="plain"><thead><tr><th scope="col">Attack</th><th scope="col">How</th>
<th scope="col">Broke first</th></tr></thead><tbody>{rows}</tbody></table></div>
{samples(fallen)}</section>"""


def one(attack: dict[str, Any]) -> str:
    """A row on one attack; what needs the model's own gradients is marked so."""
    how = f"not run: {attack['left_out']}" if attack["left_out"] else attack["summary"]
    white = " <small>by gradients of the torch twin: it takes the bundle itself</small>" if attack["white"] else ""
    n = f'<td class="number">{attack["n_broken"]:,}</td>'
    return f"<tr><td>{escape(attack['name'])}</td><td>{escape(how)}{white}</td>{n}</tr>"


def samples(fallen: Sequence[Fallen]) -> str:
    """What was found, so that a person can say whether the label still holds."""
    if not fallen:
        return ""
    rows = "".join(
        f'<tr><td><div class="preview">{f.before}</div></td><td><div class="preview">{f.after}</div></td>'
        f'<td>{escape(f.label)}</td><td class="wrong">{escape(f.said)}</td></tr>'
        for f in fallen
    )
    return (
        "<details><summary>See for yourself: would you still say what the label says?</summary>"
        '<div class="scroll"><table class="plain"><thead><tr><th scope="col">Before</th><th scope="col">After</th>'
        '<th scope="col">Label</th><th scope="col">Said then</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></details>"
    )


def size(strength: float) -> str:
    """A strength as a share of words where it is one, else as a number of levels.

    >>> size(0.0), size(0.2), size(8.0)
    ('none', '20\\xa0%', '8')
    """
    if strength == 0:
        return "none"
    return percent(strength).replace(".0", "") if strength < 1 else f"{strength:g}"


def rate(found: dict[str, Any]) -> str:
    return f"<b>{percent(found['value'])}</b><small>{between(found['low'], found['high'])}</small>"
