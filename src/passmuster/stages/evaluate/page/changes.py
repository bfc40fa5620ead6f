"""The page of a diff: what changes, in numbers and with the items, for whoever is to approve it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

from passmuster.core.label_sets import label_in_words
from passmuster.metrics.changes import KINDS, Change, Decision
from passmuster.stages.evaluate.diff import Diff
from passmuster.stages.evaluate.diff_words import NAMES, noise_of_changes, summary_lines, told
from passmuster.stages.evaluate.page.cards import escape, frame
from passmuster.stages.evaluate.page.serving import notes, table, within
from passmuster.stages.evaluate.serving_words import break_even_words, which_words
from passmuster.stages.evaluate.words import percent

TITLES = {
    "right to wrong": "Right before, wrong now",
    "wrong to other wrong": "Wrong before, wrong otherwise now",
    "wrong to right": "Wrong before, right now",
    "changed": "Another answer, and no label to tell which is right",
    "answered to withheld": "Answered before, withheld now",
    "withheld to answered": "Withheld before, answered now",
}
STYLE = """
.changes .cards {
  list-style: none; padding: 0; display: grid; gap: 14px; grid-template-columns: repeat(auto-fill, minmax(250px, 1fr));
}
.changes h2 { margin-bottom: 14px; }
.changes .was { color: var(--soft); text-decoration: line-through; }
.changes .plain-lines { padding-left: 1.1em; }
"""


def render_changes(project: str, modality: str, found: Diff, previews: Mapping[int, str]) -> str:
    """One HTML document with everything inside, scripts none; `previews` are HTML by position, made by the modality."""
    style = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    lines = "".join(f"<li>{escape(line)}</li>" for line in summary_lines(found, served=False))
    sections = "".join(section(kind, found, previews) for kind in KINDS)
    names = f"{found.before.digest[:12]} to {found.after.digest[:12]}"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{escape(project)}: what changes from {names}</title>
<style>{style}{STYLE}</style>
</head>
<body class="{escape(modality)}">
<main class="changes">
<header class="masthead"><div>
<p class="eyebrow">What changes</p>
<h1>{escape(project)}</h1>
<p class="meta">from {escape(found.before.digest[:16])} to {escape(found.after.digest[:16])}</p>
</div>
<div class="headline"><p class="big"><strong>{len(found.changes):,}</strong></p>
<p>of {found.changed.n:,} decisions change</p></div>
</header>
<section><h2>What it comes down to</h2><ul class="plain-lines">{lines}</ul></section>
{which(found)}
{sections}
</main>
</body>
</html>
"""


def which(found: Diff) -> str:
    """Both side by side: right, under faults, seconds, money, and where items go."""
    rows = found.serving.get("rows")
    if not rows:
        return ""
    first = []
    if rows[0]["right"]:
        right = [f"{percent(row['right']['value'])}{within(row['right'])}" for row in rows]
        first = [(f"Right, on the {found.serving['n']:,} items with a label", right)]
    names = ["The new bundle", "The old one"]
    lead = " ".join(
        (*which_words(rows, told(found), None, NAMES, noise_of_changes(found)), break_even_words(found.serving))
    ).strip()
    return (
        f'<section><h2>Which to serve</h2><p class="lead">{escape(lead)}</p>{table(names, rows, first)}'
        f"{notes(names, rows)}</section>"
    )


def section(kind: str, found: Diff, previews: Mapping[int, str]) -> str:
    """The items of one kind of change, dearest first."""
    mine = [change for change in found.changes if change.kind == kind]
    if not mine:
        return ""
    shown = [change for change in mine if change.position in previews]
    rest = (
        f'<p class="note">{len(shown):,} of {len(mine):,} shown; --csv FILE writes all.</p>'
        if len(shown) < len(mine)
        else ""
    )
    cards = "".join(card(change, found, previews[change.position]) for change in shown)
    return f'<section><h2>{TITLES[kind]} · {len(mine):,}</h2><ul class="cards">{cards}</ul>{rest}</section>'


def card(change: Change, found: Diff, preview: str) -> str:
    """One item: what it is, what was said and what is said now, and its label where it is known."""
    right = change.label is not None and change.after.said == change.label and not change.after.withheld
    tone = "" if change.label is None or change.after.withheld else "right" if right else "wrong"
    facts = [
        f'<span class="said {tone}"><span>{said(change.after)}</span></span>',
        f'<span class="was">{said(change.before)}</span>',
    ]
    if change.label is not None:
        facts.append(f'<span class="truth">labelled <b>{escape(label_in_words(change.label))}</b></span>')
    noisy = found.noise.is_noise(change.position)
    if noisy is None:
        facts.append('<span class="note">not asked again</span>')
    if noisy:
        facts.append('<span class="note">not repeated when asked alone: the answer lies on the edge</span>')
    return frame(preview, "".join(facts), found.asked.names[change.position], tone)


def said(decision: Decision) -> str:
    """An answer and how sure it is."""
    words = f"{escape(label_in_words(decision.said))}, {percent(decision.sure)} sure"
    return f"withheld ({words})" if decision.withheld else words
