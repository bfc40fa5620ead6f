"""The first screen: whose report, the one number, what mistakes cost, and in words: good at, breaks, on whom, unknown.

It fits a screen of 1280 by 900, and one printed page: what each box has no room for stands right below, in full.
"""

from __future__ import annotations

import math
from typing import Any

from passmuster.core.label_sets import SINGLE
from passmuster.core.records import Metric, Report
from passmuster.stages.evaluate.page.cards import Library, escape
from passmuster.stages.evaluate.words import percent

LINE = 46  # characters of a box, about
ROOM = 19  # lines of text in a column
BOXES = (
    ("good", "What it is good at"),
    ("breaks", "Where it breaks"),
    ("whom", "On whom"),
    ("unknown", "What is not known"),
)
Lines = list[dict[str, Any]]


def masthead(project: str, report: Report, library: Library) -> str:
    """Whose report it is, the one number with its interval drawn to scale, and what a mistake costs."""
    headline = report.metric("accuracy")
    if headline is None:
        return ""
    right = "right" if report.task == SINGLE else "exactly right, every class of an item"
    clean = report.metric("accuracy", "leakage=clean")
    without = ""
    if clean is not None:
        text = f"{percent(clean.value)} without the {report.sections['data']['n_leaked']:,} copied test items"
        without = f'<p class="caveat">{library.link(clean.items, text)}</p>'
    costs = ""
    for row in report.sections["summary"]["cost"]:
        text = f"<b>What it costs when wrong:</b> {escape(row['text'])}"
        costs += f'<p class="cost">{library.link(row["items"], text)}</p>'
    return f"""<header class="masthead">
<div>
<p class="eyebrow">Report card</p>
<h1>{escape(project)}</h1>
<p class="meta">{report.n_test:,} test items · {len(report.classes):,} classes · {report.created[:10]}</p>
</div>
<div class="headline">
{library.link(headline.items, f"<strong>{percent(headline.value)}</strong>", kind="big")}
<p>{right}, and with {100 * headline.level:.0f}&nbsp;% confidence between {percent(headline.low)} and
{percent(headline.high)}{withheld(report, library)}</p>
{scale(headline)}
{without}
</div>
{costs}
</header>"""


def withheld(report: Report, library: Library) -> str:
    """That the number counts answers which are not given."""
    rate = report.metric("abstention_rate")
    if rate is None or not rate.value:
        return ""
    n = len(report.item_sets.get("abstained", ()))
    if n == report.n_test:
        return f", <b>if it answered: {library.link(rate.items, 'every answer is withheld')}</b>"
    return f"; {library.link(rate.items, f'{percent(rate.value)} of answers are withheld')}, and counted as suggested"


def scale(metric: Metric) -> str:
    """A rate on a line from 0 to 100 %, with its interval."""
    low, high = 100 * metric.low, 100 * metric.high
    return (
        '<div class="scale" aria-hidden="true">'
        f'<span class="span" style="left:{low:.1f}%;width:{max(high - low, 0.6):.1f}%"></span>'
        f'<span class="dot" style="left:{100 * metric.value:.1f}%"></span></div>'
    )


def in_words(report: Report, library: Library) -> str:
    """Four boxes: good at, breaks, on whom, not known; each with the first of its sentences."""
    boxes = ""
    for (kind, title), (first, rest) in zip(BOXES, filled(report), strict=True):
        more = f'<p class="rest"><a href="#more-{kind}">{len(rest)} more below</a></p>' if rest else ""
        boxes += f'<div class="{kind}"><h2>{title}</h2>{listed(first, library)}{more}</div>\n'
    return f'<section class="words" aria-label="In plain words">\n{boxes}</section>'


def more_in_words(report: Report, library: Library) -> str:
    """What the boxes had no room for."""
    parts = ""
    for (kind, title), (_, rest) in zip(BOXES, filled(report), strict=True):
        if rest:
            parts += f'<div class="{kind}" id="more-{kind}"><h3>{title}, continued</h3>{listed(rest, library)}</div>\n'
    return f'<section class="continued" aria-label="In plain words, continued">\n{parts}</section>' if parts else ""


def filled(report: Report) -> list[tuple[Lines, Lines]]:
    """Of every box the sentences that have room, and the others. Two of the boxes share a column."""
    summary = report.sections["summary"]
    unknown = [{"text": text, "items": ""} for text in report.sections["unknown"]]
    whom = room_for(summary["whom"], ROOM // 2)
    good = room_for(summary["good"], ROOM - 3 - n_lines(whom[0]))
    return [good, room_for(summary["breaks"], ROOM), whom, room_for(unknown, ROOM)]


def room_for(rows: Lines, room: int) -> tuple[Lines, Lines]:
    """The first sentences, as many as there is room for and one at least, and the others.

    >>> first, rest = room_for([{"text": "a" * 90}, {"text": "b" * 90}, {"text": "c"}], 4)
    >>> len(first), len(rest)
    (2, 1)
    """
    n = max(1, sum(n_lines(rows[: i + 1]) <= room for i in range(len(rows))))
    return rows[:n], rows[n:]


def n_lines(rows: Lines) -> int:
    """How many lines sentences take in a box, about."""
    return sum(math.ceil(len(row["text"]) / LINE) for row in rows)


def listed(rows: list[dict[str, Any]], library: Library) -> str:
    """Sentences; one with items behind it opens them."""
    inside = "".join(f"<li>{library.link(row['items'], escape(row['text']), kind='line')}</li>" for row in rows)
    return f"<ul>{inside}</ul>"
