"""Charts as SVG that takes its colours from the page, so that light, dark and print agree.

Altair draws and vl-convert renders. A chart is drawn in stand-in colours, which are then exchanged for the page's CSS
variables.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

# Stand-ins that occur nowhere else, and the CSS variables they become.
INK, SOFT, LINE, BRAND, BAD = "#010203", "#020304", "#030405", "#040506", "#050607"
SERIES = ("#060701", "#060702", "#060703", "#060704", "#060705", "#060706", "#060707", "#060708")
VARIABLES = {
    INK: "--ink", SOFT: "--soft", LINE: "--line", BRAND: "--brand", BAD: "--bad",
    **{colour: f"--series-{i}" for i, colour in enumerate(SERIES, start=1)},
}  # fmt: skip
WIDTH, HEIGHT = 360, 250
Row = Mapping[str, Any]
Drawer = TypeVar("Drawer", bound=Callable[..., str])


def _as_written(draw: Drawer) -> Drawer:
    """Draw without holding each part against the schema of charts, which takes longer than the drawing."""

    @wraps(draw)
    def drawn(*arguments: Any) -> str:
        from altair.utils.schemapi import debug_mode

        with debug_mode(False):
            return draw(*arguments)

    return cast(Drawer, drawn)


@_as_written
def reliability_chart(bins: Sequence[Row]) -> str:
    """How often right against how sure, one point per bin with its interval; the diagonal is a model that is honest."""
    import altair as alt

    rows = [
        {
            "sure": b["confidence"], "right": b["accuracy"]["value"], "low": b["accuracy"]["low"],
            "high": b["accuracy"]["high"], "items": b["accuracy"]["n"],
        }
        for b in bins
    ]  # fmt: skip
    x, y = _share("sure", "how sure the model was"), _share("right", "how often it was right")
    honest = (
        alt.Chart(alt.Data(values=[{"sure": 0, "right": 0}, {"sure": 1, "right": 1}]))
        .mark_line(color=LINE, strokeDash=[4, 4], strokeWidth=1.5)
        .encode(x=alt.X("sure:Q", **x), y=alt.Y("right:Q", **y))
    )
    base = alt.Chart(alt.Data(values=rows))
    spans = base.mark_rule(color=BRAND, opacity=0.45, strokeWidth=2).encode(
        x=alt.X("sure:Q", **x), y=alt.Y("low:Q", **y), y2="high:Q"
    )
    points = base.mark_circle(color=BRAND, opacity=1).encode(
        x=alt.X("sure:Q", **x),
        y=alt.Y("right:Q", **y),
        size=alt.Size("items:Q", legend=None, scale=alt.Scale(range=[30, 260])),
    )
    return _svg(
        honest + spans + points,
        "Reliability curve. "
        + "; ".join(f"{r['sure']:.0%} sure: {r['right']:.0%} right of {r['items']} items" for r in rows),
    )


@_as_written
def risk_coverage_chart(section: Row) -> str:
    """Share of wrong answers among those given, as the least sure are left out."""
    import altair as alt

    rows = [{"coverage": c, "risk": r} for c, r in zip(section["coverage"], section["risk"])]
    top = max((row["risk"] for row in rows), default=0.0)
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_area(color=BRAND, opacity=0.16, line={"color": BRAND, "strokeWidth": 2.5, "opacity": 1})
        .encode(
            x=alt.X("coverage:Q", **_share("coverage", "share of items answered")),
            y=alt.Y("risk:Q", **_share("risk", "share of those wrong", top=min(1.0, max(0.02, 1.15 * top)))),
        )
    )
    half = next((r["risk"] for r in rows if r["coverage"] >= 0.5), top)
    return _svg(
        chart,
        f"Risk against coverage: answering everything, {rows[-1]['risk'] if rows else 0:.1%} are wrong; "
        f"answering the surer half, {half:.1%}.",
    )


@_as_written
def faults_chart(section: Row, names: Sequence[str], titles: Sequence[str]) -> str:
    """Accuracy against severity, one line per corruption, named at its end."""
    import altair as alt

    rows, ends = [], []
    for name, title in zip(names, titles):
        line = [{"severity": 0, "right": section["clean"]["value"], "fault": title}]
        for row in section["rows"]:
            if row["corruption"] == name:
                line.append({"severity": row["severity"], "right": row["accuracy"]["value"], "fault": title})
        rows += line
        ends.append(line[-1])
    _spread(ends)
    colour = alt.Color("fault:N", scale=alt.Scale(domain=list(titles), range=_colours(len(titles))), legend=None)
    x = alt.X(
        "severity:Q",
        axis=alt.Axis(title="severity of the fault (0: clean)", values=[0, 1, 2, 3, 4, 5], format="d", grid=False),
        scale=alt.Scale(domain=[0, 5], nice=False),
    )
    base = alt.Chart(alt.Data(values=rows))
    y = _share("right", "how often it was right")
    lines = base.mark_line(strokeWidth=2.5).encode(x=x, y=alt.Y("right:Q", **y), color=colour)
    points = base.mark_circle(size=34, opacity=1).encode(x=x, y=alt.Y("right:Q", **y), color=colour)
    labels = (
        alt.Chart(alt.Data(values=ends))
        .mark_text(align="left", dx=9, fontSize=12, fontWeight=600)
        .encode(x=x, y=alt.Y("at:Q", **y), text="fault:N", color=colour)
    )
    alt_text = "Accuracy under faults at severity 5. " + "; ".join(f"{e['fault']}: {e['right']:.0%}" for e in ends)
    return _svg(lines + points + labels, alt_text, width=520, height=300)


def _share(name: str, title: str, top: float = 1.0) -> dict[str, Any]:
    """Axis and scale of a rate from 0 to `top`."""
    import altair as alt

    digits = "%" if top > 0.1 else ".1%"
    axis = alt.Axis(title=title, format=digits, tickCount=5, grid=name in ("right", "risk"))
    return {"axis": axis, "scale": alt.Scale(domain=[0, top], nice=False)}


def _colours(n: int) -> list[str]:
    return [SERIES[i % len(SERIES)] for i in range(n)]


def _spread(ends: list[dict[str, Any]], gap: float = 0.055) -> None:
    """Give each end a height `at` for its name, near its value and no nearer than `gap` to the next."""
    lowest = -1.0
    for end in sorted(ends, key=lambda e: e["right"]):
        end["at"] = lowest = max(end["right"], lowest + gap)
    over = max(0.0, lowest - 1.0)
    ceiling = 2.0
    for end in sorted(ends, key=lambda e: -e["at"]) if over else []:
        end["at"] = ceiling = min(end["at"], 1.0 if ceiling > 1 else ceiling - gap)


def _svg(chart: Any, alt_text: str, *, width: int = WIDTH, height: int = HEIGHT) -> str:
    """The chart as an inline SVG with a name for screen readers."""
    import vl_convert

    text = {
        "labelColor": SOFT,
        "titleColor": SOFT,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    }
    drawn = (
        chart.properties(width=width, height=height, background="transparent", padding=4)
        .configure(font="Helvetica, Arial, sans-serif")
        .configure_view(stroke=None)
        .configure_axis(domainColor=LINE, gridColor=LINE, gridOpacity=0.6, tickColor=LINE, titlePadding=10, **text)
    )
    svg = vl_convert.vegalite_to_svg(drawn.to_dict(validate=False), vl_version=None)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    svg = re.sub(r'\saria-[a-z]+="[^"]*"|\srole="[^"]*"', "", svg)
    label = html.escape(alt_text, quote=True)
    size = re.search(r'width="([\d.]+)" height="([\d.]+)"', svg)
    widest = f' style="max-width:{float(size[1]):.0f}px"' if size else ""
    svg = re.sub(r'^(<svg[^>]*?) width="[\d.]+" height="[\d.]+"', r"\1", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}"{widest}', 1)
