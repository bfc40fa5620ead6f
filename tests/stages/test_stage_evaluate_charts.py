"""What is drawn lies where the numbers say: points, spans, curves, names and shades.

Charts are drawn without a check of each part, and look as if every part had been checked.
"""

from __future__ import annotations

import re
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from passmuster.stages.evaluate.page import charts
from passmuster.stages.evaluate.page.confusion import matrix
from passmuster.stages.evaluate.page.faults import fault_row
from passmuster.stages.evaluate.page.sections import bar
from passmuster.stages.evaluate.page.training import scaled

BINS = [
    {"confidence": 0.3 + 0.2 * i, "accuracy": {"value": 0.25 + 0.2 * i, "low": 0.1 * i, "high": 0.9, "n": 10 + i}}
    for i in range(3)
]
CURVE = {"coverage": [0.25, 0.5, 0.75, 1.0], "risk": [0.0, 0.02, 0.05, 0.1]}


def without_numbers_of_parts(svg: str) -> str:
    """Parts are numbered through one process."""
    return re.sub(r"(clip|gradient_|view_)\d+", r"\1", svg)


def test_unchecked_charts_are_those_that_checks_let_pass() -> None:
    for draw, told in ((charts.reliability_chart, BINS), (charts.risk_coverage_chart, CURVE)):
        checked = cast(Any, draw).__wrapped__(told)
        assert checked.startswith("<svg")
        assert without_numbers_of_parts(draw(cast(Any, told))) == without_numbers_of_parts(checked)


def marks(svg: str, kind: str) -> list[str]:
    """What is drawn of the data, each group of one kind of mark."""
    return re.findall(rf'<g class="mark-{kind} role-mark[^>]*>(.*?)</g>', svg)


def places(group: str) -> np.ndarray:
    """Where marks stand, from the left and from the top (k, 2), in pixels."""
    return np.array([[float(x) for x in at] for at in re.findall(r'translate\(([-\d.e]+),([-\d.e]+)\)"', group)])


def corners(group: str) -> np.ndarray:
    """The corners of a line (k, 2)."""
    (path,) = re.findall(r'<path d="M([^"Z]*)Z?"', group)
    return np.array([[float(x) for x in corner.split(",")] for corner in path.split("L")])


def test_a_reliability_curve_shows_its_bins() -> None:
    svg = charts.reliability_chart(BINS)
    sure, right, low, high, n = np.array(
        [[b["confidence"], *(b["accuracy"][key] for key in ("value", "low", "high", "n"))] for b in cast(Any, BINS)]
    ).T
    across, up = charts.WIDTH * sure, charts.HEIGHT * (1 - right)
    (points,), (spans,), (diagonal,) = (marks(svg, kind) for kind in ("symbol", "rule", "line"))
    np.testing.assert_allclose(places(points), np.column_stack([across, up]), atol=1e-6)
    np.testing.assert_allclose(corners(diagonal), [[0, charts.HEIGHT], [charts.WIDTH, 0]])
    np.testing.assert_allclose(places(spans), np.column_stack([across, charts.HEIGHT * (1 - low)]), atol=1e-6)
    heights = [float(y) for y in re.findall(r'x2="0" y2="-([\d.]+)"', spans)]
    np.testing.assert_allclose(heights, charts.HEIGHT * (high - low), atol=1e-6)
    sizes = [float(r) for r in re.findall(r'd="M([\d.]+),0A', points)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1], n
    assert svg.count("how sure the model was") == svg.count("how often it was right") == 1


def test_a_risk_coverage_curve_shows_its_points() -> None:
    svg = charts.risk_coverage_chart(CURVE)
    top = 1.15 * 0.1
    points = np.column_stack([CURVE["coverage"], np.array(CURVE["risk"])])
    expected = [[charts.WIDTH, charts.HEIGHT] * (np.array([0, 1]) + [1, -1] * (at / [1, top])) for at in points]
    (line,), (area,) = marks(svg, "line"), marks(svg, "area")
    np.testing.assert_allclose(corners(line), expected, atol=1e-3)
    np.testing.assert_allclose(corners(area)[: len(points)], expected, atol=1e-3)
    assert "share of items answered" in svg
    assert "share of those wrong" in svg
    assert "answering everything, 10.0% are wrong; answering the surer half, 2.0%" in svg


@pytest.mark.parametrize(("risk", "top"), [(0.0, 0.02), (0.5, 0.575), (0.99, 1.0)])
def test_the_scale_of_risk_fits_what_is_drawn(risk: float, top: float) -> None:
    svg = charts.risk_coverage_chart({"coverage": [0.5, 1.0], "risk": [risk, risk]})
    heights = corners(marks(svg, "line")[0])[:, 1]
    np.testing.assert_allclose(heights, charts.HEIGHT * (1 - risk / top), atol=1e-3)


def falling(*ends: float) -> tuple[dict[str, Any], list[str], list[str]]:
    """A section of faults whose accuracy falls from .9 to each end, in even steps."""
    names = [f"{letter}.v1" for letter in "abcdefghi"[: len(ends)]]
    rows = [
        {"corruption": name, "severity": s, "accuracy": {"value": 0.9 + (end - 0.9) * s / 5}}
        for name, end in zip(names, ends, strict=True) for s in range(1, 6)
    ]  # fmt: skip
    return {"clean": {"value": 0.9}, "rows": rows}, names, [name[0].upper() for name in names]


def test_curves_of_faults_start_clean_and_end_at_the_worst() -> None:
    ends = (0.1, 0.6, 0.6)
    svg = charts.faults_chart(*falling(*ends))
    lines, points = marks(svg, "line"), marks(svg, "symbol")
    for number, (line, end) in enumerate(zip(lines, ends, strict=True)):
        expected = np.column_stack([np.linspace(0, 520, 6), 300 * (1 - np.linspace(0.9, end, 6))])
        np.testing.assert_allclose(corners(line), expected, atol=1e-3)
        assert f"var(--series-{number + 1})" in line
    assert len(places("".join(points))) == 18
    (names,) = marks(svg, "text")
    assert re.findall(r">(\w)</text>", names) == ["A", "B", "C"]
    assert re.findall(r'fill="var\(--series-(\d)', names) == ["1", "2", "3"]
    at = 1 - (places(names)[:, 1] - 4) / 300  # the middle of a letter lies four pixels above where it is set
    assert (places(names)[:, 0] == 529).all()
    np.testing.assert_allclose(at[:2], ends[:2], atol=1e-6)
    assert at[2] == pytest.approx(0.655)
    assert "A: 10%; B: 60%; C: 60%" in svg


@pytest.mark.parametrize("ends", [(0.5,) * 9, (1.0,) * 9, (0.97, 1.0, 0.99), (0.0, 0.02, 0.5), (0.3,)])
def test_names_at_the_ends_never_lie_on_one_another(ends: tuple[float, ...]) -> None:
    held: list[dict[str, Any]] = [{"right": end} for end in ends]
    charts._spread(held)
    at = [end["at"] for end in held]
    assert max(at) <= 1.0
    heights = sorted(at)
    assert all(b - a >= 0.055 - 1e-9 for a, b in pairwise(heights))
    order = sorted(range(len(ends)), key=lambda i: ends[i])
    assert sorted(range(len(ends)), key=lambda i: at[i]) == order
    assert max(abs(a - b) for a, b in zip(at, ends)) <= 0.055 * (len(ends) - 1) + 1e-9


def test_more_faults_than_colours_begin_again() -> None:
    assert charts._colours(9) == [*charts.SERIES, charts.SERIES[0]]


def shown(items: str, inside: str, *, kind: str = "", label: str = "") -> str:
    return f"[{label}|{items}|{inside}]"


LIBRARY = cast(Any, SimpleNamespace(link=shown))


def test_a_bar_lies_where_its_interval_lies() -> None:
    drawn = bar({"value": 0.25, "low": 0.1, "high": 0.4, "n": 1_234}, "class=a", LIBRARY)
    assert 'left:10.0%;width:30.0%"' in drawn
    assert 'class="dot" style="left:25.0%"' in drawn
    assert "1,234" in drawn
    assert "width:0.6%" in bar({"value": 0.5, "low": 0.5, "high": 0.5, "n": 9}, "x", LIBRARY)  # still to be seen
    assert "no items" in bar({"value": None, "low": 0.0, "high": 1.0, "n": 0}, "x", LIBRARY)


def test_a_confusion_matrix_is_shaded_by_the_share_of_its_row() -> None:
    section = {"cells": [[0, 0, 3], [0, 1, 1], [1, 1, 5]], "most_confused": []}
    report = cast(Any, SimpleNamespace(sections={"confusion": section}, classes=("a", "b", "c")))
    drawn = matrix(report, LIBRARY)
    cells = re.findall(r'<td class="(right|wrong)" style="--share:(\d+)%">(.*?)</td>', drawn)
    assert [(kind, share) for kind, share, _ in cells] == [
        ("right", "75"), ("wrong", "25"), ("wrong", "0"),
        ("wrong", "0"), ("right", "100"), ("wrong", "0"),
        ("wrong", "0"), ("wrong", "0"), ("right", "0"),
    ]  # fmt: skip
    assert cells[1][2] == "[a taken for b: 1|label=a predicted=b|1]"
    assert cells[3][2] == ""


def test_faults_are_shaded_by_how_far_right_answers_fall() -> None:
    rows = [
        {"corruption": "blur.v1", "severity": s, "clean": 0.9, "broken": f"broken {s}",
         "accuracy": {"value": 0.95 - 0.1 * s, "low": 0.2, "high": 0.9, "n": 40}}
        for s in range(1, 6)
    ]  # fmt: skip
    drawn = fault_row({"rows": rows}, LIBRARY, "blur.v1", {"blur.v1": 1.25})
    assert re.findall(r"--share:(-?\d+)%", drawn) == ["5", "15", "25", "35", "45"]
    assert re.findall(r"\|broken \d\|(\d+)\]", drawn) == ["85", "75", "65", "55", "45"]
    assert "1.25" in drawn
    better = [{**row, "accuracy": {**cast(Any, row["accuracy"]), "value": 1.0}} for row in rows]
    assert re.findall(r"--share:(-?\d+)%", fault_row({"rows": better}, LIBRARY, "blur.v1", {})) == ["0"] * 5


def test_a_calibration_by_class_is_said_with_what_it_brought() -> None:
    found = scaled({"kind": "vector", "held_out_gain": 0.0123, "held_out_gain_se": 0.004})
    assert "vector scaling" in found
    assert "fell by 0.012 ± 0.004 nats" in found
    assert scaled({"kind": "temperature"}) == scaled(None) == ""
