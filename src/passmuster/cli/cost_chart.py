"""Two charts of a run's candidates: accuracy against the price of predictions, and cost over a life by volume."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from passmuster.core.errors import ResourceError, UsageError

if TYPE_CHECKING:
    from passmuster.flows.cost import Lifetime

WIDTH, HEIGHT = 380, 260
FORMATS = (".svg", ".png", ".html")
INK, SOFT, LINE, BRAND = "#1b2530", "#5b6875", "#d5dbe1", "#0b6e99"
N_POINTS = 60
DECADES = 3  # of volume, on each side of what is expected


def draw(life: Lifetime, path: Path) -> None:
    """Write both charts, side by side, to an .svg, .png or .html file that needs no network.

    Raises
    ------
    UsageError
        ``cost.chart`` for another ending.
    ResourceError
        ``cost.chart`` when the file cannot be written.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError("cost.chart", "no such kind of chart", value=path.name, next=f"end it in {', '.join(FORMATS)}")
    import altair as alt
    import vl_convert

    both = alt.hconcat(_frontier(alt, life), _volumes(alt, life), spacing=40).configure(
        font="sans-serif", background="white"
    )
    both = both.configure_axis(
        labelColor=SOFT, titleColor=INK, gridColor=LINE, domainColor=LINE, tickColor=LINE, titleFontWeight="normal"
    ).configure_view(stroke=None)
    specification = both.to_json()
    kind = path.suffix.lower()
    if kind == ".png":
        data = vl_convert.vegalite_to_png(specification, scale=2)
    elif kind == ".svg":
        data = vl_convert.vegalite_to_svg(specification).encode()
    else:
        data = vl_convert.vegalite_to_html(specification, bundle=True).encode()
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ResourceError(
            "cost.chart", f"the chart could not be written: {error.strerror}", where=path, next="name another file"
        ) from error


def _frontier(alt: Any, life: Lifetime) -> Any:
    """Accuracy against the price of a million predictions; the line joins those that none beats in both."""
    dominated = life.advice.dominated if life.advice else {}
    chosen = life.advice.name if life.advice else ""
    rows: list[dict[str, Any]] = [
        {"model": c.name, "price": c.per_million, "accuracy": c.accuracy, "kind": _kind(c.name, chosen, dominated)}
        for c in life.candidates
        if c.accuracy is not None
    ]
    x = alt.X(
        "price:Q",
        title=f"price of a million predictions ({life.currency})",
        scale=alt.Scale(type="log", padding=60),
        axis=alt.Axis(grid=False, values=decades(row["price"] for row in rows)),
    )
    y = alt.Y("accuracy:Q", title="cross-validated accuracy", scale=alt.Scale(zero=False, padding=20))
    base = alt.Chart(alt.Data(values=rows), width=WIDTH, height=HEIGHT, title="What accuracy costs to serve")
    line = base.transform_filter("datum.kind != 'dominated'").mark_line(color=LINE, strokeWidth=2).encode(x=x, y=y)
    colour = alt.Color(
        "kind:N",
        scale=alt.Scale(domain=["recommended", "on the frontier", "dominated"], range=[BRAND, SOFT, LINE]),
        legend=alt.Legend(title=None, orient="bottom"),
    )
    points = base.mark_circle(size=130, opacity=1).encode(x=x, y=y, color=colour)
    names = base.mark_text(dy=-14, color=INK).encode(x=x, y=y, text="model:N")
    return line + points + names


def _kind(name: str, chosen: str, dominated: dict[str, str]) -> str:
    return "recommended" if name == chosen else "dominated" if name in dominated else "on the frontier"


def _volumes(alt: Any, life: Lifetime) -> Any:
    """Cost over the whole life against predictions a month, one line per judged candidate."""
    exponents = [DECADES * (2 * i / (N_POINTS - 1) - 1) for i in range(N_POINTS)]
    rows: list[dict[str, Any]] = [
        {"model": c.name, "volume": life.per_month * 10**e,
         "cost": c.lifetime(life.per_month * 10**e * life.months, life.per_error)}
        for c in life.candidates if c.accuracy is not None for e in exponents
    ]  # fmt: skip
    axis = alt.Axis(
        values=decades(row["volume"] for row in rows),
        grid=False,
        labelExpr="replace(format(datum.value, '~s'), 'G', 'B')",
    )
    title = f"Cost over {life.months:g} months"
    base = alt.Chart(alt.Data(values=rows), width=WIDTH, height=HEIGHT, title=title)
    lines = base.mark_line(strokeWidth=2).encode(
        x=alt.X("volume:Q", title="predictions a month", scale=alt.Scale(type="log"), axis=axis),
        y=alt.Y(
            "cost:Q",
            title=f"training and predictions ({life.currency})",
            scale=alt.Scale(type="log"),
            axis=alt.Axis(values=decades(row["cost"] for row in rows)),
        ),
        color=alt.Color("model:N", scale=alt.Scale(scheme="tableau10"), legend=alt.Legend(title=None, orient="bottom")),
    )
    here = (
        alt.Chart(alt.Data(values=[{"volume": life.per_month}]))
        .mark_rule(strokeDash=[4, 4], color=SOFT)
        .encode(x="volume:Q")
    )
    return alt.layer(lines, here).resolve_scale(color="independent")


def decades(values: Iterable[float]) -> list[float]:
    """Powers of ten that span positive values.

    >>> decades([0.02, 3.0])
    [0.01, 0.1, 1.0, 10.0]
    """
    exponents = [math.log10(value) for value in values if value > 0]
    if not exponents:
        return [1.0]
    return [float(f"1e{e}") for e in range(math.floor(min(exponents)), math.ceil(max(exponents)) + 1)]
