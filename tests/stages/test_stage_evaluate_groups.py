"""Declared groups in a report: metrics, the section, what is said of the weakest and of those too small to tell."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from passmuster.core.config import Config, DataConfig
from passmuster.core.records import Metric
from passmuster.metrics.fairness import GAPS
from passmuster.metrics.gates import gates
from passmuster.stages.evaluate.draft import Answers, Draft, Evidence
from passmuster.stages.evaluate.groups import group_names, groups_not_known, measure_groups, on_whom

CONFIG = Config(data=DataConfig(group_columns=("region",)))


def evidence(groups: list[str], y: np.ndarray, targets: np.ndarray | None = None) -> Evidence:
    items = [SimpleNamespace(key=f"k{i}", groups={"region": g} if g else {}) for i, g in enumerate(groups)]
    n = len(items)
    return Evidence(
        snapshot=cast(Any, None), items=cast(Any, tuple(items)), labels=("",) * n, classes=("no", "yes"), n_known=2,
        y=y, weights=np.ones(n), clusters=np.array([f"c{i}" for i in range(n)]), look=1, opening=1, created="",
        n_seen=0,
        n_unlabelled=0, who=(), targets=targets,
    )  # fmt: skip


def answers(said: np.ndarray) -> Answers:
    probabilities = np.eye(2)[said]
    return Answers(np.zeros((len(said), 1)), probabilities, probabilities, ())


def made() -> Draft:
    """100 of the north, 95 right; 100 of the south, 55 right; 3 of the east; 7 who do not say."""
    groups = ["north"] * 100 + ["south"] * 100 + ["east"] * 3 + [""] * 7
    y = np.tile([0, 1], 105)
    said = y.copy()
    said[:5] = 1 - said[:5]
    said[100:145] = 1 - said[100:145]
    draft = Draft()
    measure_groups(CONFIG, draft, evidence(groups, y), answers(said))
    return draft


def test_metrics_and_section() -> None:
    draft = made()
    rates = {m.slice: m for m in draft.metrics if m.name == "group_accuracy"}
    assert {name: (m.value, m.n) for name, m in rates.items()} == {
        "region=north": (0.95, 100), "region=south": (0.55, 100), "region=east": (1.0, 3),
    }  # fmt: skip
    gap = next(m for m in draft.metrics if m.name == "group_accuracy_gap")
    assert gap.value == pytest.approx(0.4)
    assert 0.2 < gap.low < 0.4 < gap.high < 0.6
    (column,) = draft.sections["groups"]["columns"]
    assert column["n_without"] == 7
    assert [row["group"] for row in column["groups"]] == ["south", "north", "east"]  # the worst first, then the small
    assert [gap["kind"] for gap in column["widest"]] == list(GAPS)
    assert len(draft.item_sets["region=south"]) == 100


def test_words() -> None:
    draft = made()
    whole = Metric("accuracy", 0.76, 0.7, 0.81, 210)
    ((text, items),) = on_whom(draft, whole)
    assert text.startswith("By region: right least often for “south”, 55.0")
    assert "most often for “north”, 95.0" in text
    assert "The gap is not chance: " in text
    assert text.endswith("1 group has too few items to tell.")
    assert items == "region=south"
    lines = groups_not_known(draft)
    assert lines[0].startswith("Groups of region with fewer than 10 labelled test items: “east” (3)")
    assert lines[1] == "7 test items say nothing in the column region."


def test_on_whom_says_what_may_be_chance_and_what_was_not_measured() -> None:
    y = np.tile([0, 1], 20)
    draft, whole = Draft(), Metric("accuracy", 0.1, 0.0, 0.2, 40)
    measure_groups(CONFIG, draft, evidence(["north"] * 20 + ["south"] * 20, y), answers(1 - y))
    assert "The gap may be chance." in on_whom(draft, whole)[0][0]
    better = replace(whole, value=0.9)
    assert "but the first is surely served worse than the whole" in on_whom(draft, better)[0][0]
    alone = Draft()
    measure_groups(CONFIG, alone, evidence(["north"] * 36 + ["south"] * 4, y), answers(1 - y))
    text, items = on_whom(alone, better)[0]
    assert text.startswith("By region: right for “north” on 0")
    assert "surely less than the whole. 1 group has too few" in text
    assert items == "region=north"
    tiny = Draft()
    measure_groups(CONFIG, tiny, evidence(["a", "b", "c", "d"] * 2, y[:8]), answers(y[:8]))
    assert on_whom(tiny, whole)[0][0] == "By region: no group has the 10 labelled test items that it takes to tell."
    assert on_whom(Draft(), whole)[0][0].startswith("Not measured: items carry no group")


def test_without_declared_columns_nothing_is_written() -> None:
    draft = Draft()
    measure_groups(Config(), draft, evidence(["north"] * 4, np.zeros(4, int)), answers(np.zeros(4, int)))
    assert (draft.metrics, draft.sections) == ([], {})


def test_sets_of_classes() -> None:
    targets = np.tile([[True, True], [False, True]], (20, 1))
    found = evidence(["north"] * 20 + ["south"] * 20, np.tile([1, 0], 20), targets)
    said = targets.copy()
    said[20:, 0] = True
    both = replace(
        answers(np.zeros(40, int)), said=said, numbers=np.where(said.all(axis=1), 1, 0),
        predictions=cast(Any, (SimpleNamespace(probability=0.5),) * 40),
    )  # fmt: skip
    draft = Draft()
    measure_groups(CONFIG, draft, found, both)
    gap = {(m.name, m.slice): m.value for m in draft.metrics}
    assert gap["selection_rate_gap", "region class=no"] == pytest.approx(0.5)
    assert gap["group_accuracy_gap", "region"] == pytest.approx(0.5)


def test_columns_of_many_values_are_cut_and_the_rest_kept_together() -> None:
    names = group_names([f"g{i // 2}" for i in range(60)] + [""])
    assert len(set(names.tolist())) == 22  # twenty, the others, and nothing said
    assert (names == "(all others)").sum() == 20


def test_the_gate_of_gaps_fails_passes_and_never_passes_over_a_small_group() -> None:
    draft = made()
    report = cast(Any, SimpleNamespace(metrics=tuple(draft.metrics), sections=draft.sections))
    gate = gates["group_gap.v1"]
    params = dict.fromkeys(gate.parameters, 1.0)
    failed = gate.judge(report, {**params, "max_accuracy": 0.1}, 0.01)
    assert (failed.state, failed.bound) == ("failed", 0.1)
    small = gate.judge(report, {**params, "max_accuracy": 0.8}, 0.01)
    assert small.state == "insufficient"
    assert "region=east" in small.reason
    for gap in draft.sections["groups"]["columns"][0]["gaps"]:
        gap["untold"] = []
    assert gate.judge(report, {**params, "max_accuracy": 0.8}, 0.01).state == "passed"
    assert gate.applies(report, params).startswith("it bounds none of max_accuracy")
    worst = gates["worst_group.v1"].judge(report, {"min": 0.7}, 0.05)
    assert worst.state == "failed"
    assert "region=south" in worst.reason
