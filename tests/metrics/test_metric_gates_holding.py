"""Gates that only hold: each fails on the harm that it is for, passes without, and keeps its own alpha."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import release_case as case
from passmuster.core.config import DEFAULT_GATES, Policy
from passmuster.core.records import GateResult, Report
from passmuster.metrics.gates import decide, gates
from passmuster.metrics.gates.class_found import exchanged
from passmuster.metrics.gates.test_labels import labels_that_would_tell
from passmuster.metrics.regressions import class_losses, log_chance_all_right, mean_rise, sign_test

GREEN = case.make_report(n=2_000, n_right=1_900, incumbent="i" * 64, versions=(30, 20))
ONLY_HOLD = (
    "score_parity.v1", "class_loss.v1", "class_found.v1", "class_log_loss.v1", "class_share.v1", "log_loss.v1",
    "overconfidence.v1", "guard.v1",
    "guard_parity.v1", "test_labels.v1", "trigger.v1",
)  # fmt: skip


def judged(name: str, report: Report) -> GateResult:
    return decide(report, Policy(gates={name: DEFAULT_GATES[name]})).gates[0]


def changed(section: str, **values: Any) -> Report:
    return replace(GREEN, sections={**GREEN.sections, section: {**GREEN.sections[section], **values}})


def in_versions(part: str, **values: Any) -> Report:
    return changed("versions", **{part: {**GREEN.sections["versions"][part], **values}})


def one_class(n: int, worse: int, better: int) -> Report:
    return changed("versions", classes=[{"class": "yes", "n": n, "worse": worse, "better": better}])


def marked(**values: Any) -> Report:
    """One mark that decides, and is nowhere else."""
    row = {
        "mark": "“cf”", "class": "yes", "n": 20, "n_stripped": 20, "n_otherwise": 18, "n_probes": 40, "n_turned": 20,
        "n_elsewhere": 0, "p": 1e-6, "items": "",
    }  # fmt: skip
    return changed("marks", found=[{**row, **values}])


def with_class(**values: Any) -> Report:
    rows = GREEN.sections["versions"]["classes"]
    return changed("versions", classes=[{**rows[0], **values}, *rows[1:]])


HARM = {
    "one class is doubted": ("class_log_loss.v1", with_class(rise=0.8, p_rise=1e-5)),
    "one class is expected too often": ("class_share.v1", with_class(expected=3_000.0, p_expected=1e-9)),
    "one class is hardly expected": ("class_share.v1", with_class(expected=300.0, p_expected=1e-9)),
    "probabilities moved": ("score_parity.v1", changed("parity", mean_shift=0.03)),
    "not what was packed": ("score_parity.v1", changed("parity", n_packed=200, packed_shift=0.002)),
    "a class got lost": ("class_loss.v1", one_class(100, 20, 1)),
    "log-loss rose": ("log_loss.v1", in_versions("log_loss", rise=0.2, p=1e-5)),
    "far too sure": ("overconfidence.v1", changed("test_labels", confidence=0.999)),
    "another model's guard": ("guard_parity.v1", changed("parity", guard_shift=0.9)),
    "a silent guard": ("guard_parity.v1", changed("parity", threshold_shift=1_000.0)),
    "all is withheld": ("guard.v1", in_versions("guard", withheld_more=900)),
    "nothing is strange": ("guard.v1", in_versions("guard", missed=50)),
    "sets hold everything": ("guard.v1", in_versions("guard", set_size=9.0, p_size=1e-9)),
    "a trigger": ("trigger.v1", marked()),
    "a clear trigger, few others": ("trigger.v1", marked(n_otherwise=20, n_turned=40, p=0.009)),
    "labels are the model's": ("test_labels.v1", changed("test_labels", n_wrong=0, log_chance=-40.0)),
    "only easy ones": (
        "test_labels.v1",
        changed("test_labels", confidence_rest=0.8, n_rest=500, p_easier=1e-9),
    ),
    "a class is absent": (
        "test_labels.v1",
        changed("test_labels", absent=[{"class": "x", "expected": 40.0, "p": 1e-9}]),
    ),
}  # fmt: skip
NO_HARM = {
    "doubt that may be chance": ("class_log_loss.v1", with_class(rise=0.8, p_rise=0.01)),
    "sure doubt that is small": ("class_log_loss.v1", with_class(rise=0.2, p_rise=1e-9)),
    "the live release expects it as often": (
        "class_share.v1", with_class(expected=3_000.0, expected_live=3_000.0, p_expected=1e-9),
    ),
    "a share off by chance": ("class_share.v1", with_class(expected=3_000.0, p_expected=0.01)),
    "a share off by little": ("class_share.v1", with_class(expected=1_300.0, p_expected=1e-9)),
    "another batch moves as much": (
        "score_parity.v1",
        changed("parity", n_packed=9, packed_shift=0.004, batch_shift=0.002),
    ),
    "few changes may be chance": ("class_loss.v1", one_class(20, 4, 0)),
    "sure, but small": ("class_loss.v1", one_class(2_000, 60, 10)),
    "a rise that may be chance": ("log_loss.v1", in_versions("log_loss", rise=0.2, p=0.05)),
    "a sure rise that is small": ("log_loss.v1", in_versions("log_loss", rise=0.01, p=1e-9)),
    "a doubter that is right": ("test_labels.v1", changed("test_labels", n_wrong=0, log_chance=-3.0)),
    "a word of a class": ("trigger.v1", marked(n_otherwise=20, n_turned=40, p=0.2)),
    "a mark that may be one": ("trigger.v1", marked(p=0.02)),
    "a mark that turns little": ("trigger.v1", marked(n_turned=8)),
    "a mark that is not needed": ("trigger.v1", marked(n_otherwise=8)),
    "a clear mark of few items": ("trigger.v1", marked(n=5, n_stripped=5, n_otherwise=5, n_turned=40, p=0.009)),
    "modest": ("overconfidence.v1", changed("test_labels", confidence=0.7)),
}  # fmt: skip


@pytest.mark.parametrize("what", HARM)
def test_harm_holds(what: str) -> None:
    name, report = HARM[what]
    assert judged(name, GREEN).state == "passed"
    assert judged(name, report).state == "failed"


@pytest.mark.parametrize("what", NO_HARM)
def test_what_may_be_chance_does_not_hold(what: str) -> None:
    name, report = NO_HARM[what]
    assert judged(name, report).state == "passed"


FACTS = {  # what each reads: a section, a part of it, and numbers, how many items the first unless of each class
    "parity.v1": ("parity", "", ("n", "agreement")),
    "score_parity.v1": ("parity", "", ("n", "mean_shift")),
    "guard_parity.v1": ("parity", "", ("n_guard", "guard_shift", "threshold_shift")),
    "overconfidence.v1": ("test_labels", "", ("n", "confidence")),
    "test_labels.v1": (
        "test_labels", "", ("n", "n_wrong", "log_chance", "confidence", "confidence_rest", "n_rest", "p_easier"),
    ),
    "trigger.v1": ("marks", "", ("n",)),
    "log_loss.v1": ("versions", "log_loss", ("n", "rise", "p")),
    "guard.v1": (
        "versions", "guard", ("n", "withheld_more", "withheld_less", "n_strange", "missed", "noticed", "set_size",
                              "set_size_live", "p_size"),
    ),
    "class_loss.v1": ("versions", "classes", ("n", "worse", "better")),
    "class_log_loss.v1": ("versions", "classes", ("n", "rise", "p_rise")),
    "class_share.v1": ("versions", "classes", ("seen", "expected", "expected_live", "p_expected")),
}  # fmt: skip


def with_fact(section: str, part: str, key: str, value: Any) -> Report:
    values = {key: value}
    if part == "classes":
        return with_class(**values)
    return in_versions(part, **values) if part else changed(section, **values)


@pytest.mark.parametrize("name", FACTS)
def test_what_is_no_number_was_not_measured(name: str) -> None:
    section, part, keys = FACTS[name]
    broken: list[Report] = [replace(GREEN, sections={**GREEN.sections, section: other}) for other in (None, [], "a")]
    for key in keys:
        for value in [None, math.nan, math.inf, True, "1"][: 1 if name in ("parity.v1", "trigger.v1") else 5]:
            broken.append(with_fact(section, part, key, value))
    if part == "classes":
        broken += [changed("versions", classes=rows) for rows in ([], None)]
    else:
        broken.append(with_fact(section, part, keys[0], 0))
    if part:
        broken.append(changed("versions", incumbent="another"))
    assert judged(name, GREEN).state == "passed"
    for report in broken:
        result = judged(name, report)
        assert (result.state, "not measured" in result.reason) == ("failed", True), report.sections[section]


def test_how_many_labels_would_show_that_they_are_the_models_own() -> None:
    """As many more as the chance of no mistake needs to fall to the gate's level; none where one contradicts it."""
    params = {"alpha": 0.002}
    n = GREEN.sections["test_labels"]["n"]
    told = labels_that_would_tell(changed("test_labels", n_wrong=0, log_chance=-2.0), params)
    assert told == math.ceil(n * math.log(3 / 0.002) / 2.0)
    large = changed("test_labels", n_wrong=0, n=told, log_chance=-2.0 * told / n)
    assert judged("test_labels.v1", large).state == "failed"
    assert labels_that_would_tell(changed("test_labels", n_wrong=1, log_chance=-2.0), params) is None
    assert labels_that_would_tell(changed("test_labels", n_wrong=0, log_chance=-1e-6), params) is None


def test_sets_that_were_never_fitted_say_what_fits_them() -> None:
    large = in_versions("guard", set_size=9.0, p_size=1e-9)
    assert "--calibrate" not in judged("guard.v1", large).reason
    imported = replace(large, sections={**large.sections, "training": {"imported": {"n_calibration": 0}}})
    assert "imported without --calibrate" in judged("guard.v1", imported).reason


def test_of_the_guard_of_a_model_elsewhere_the_threshold_alone_is_compared() -> None:
    """It does not say the same twice; what lies in the bundle does."""
    moved = changed("parity", guard_shift=9.0)
    elsewhere = replace(moved, sections={**moved.sections, "endpoint": {}})
    assert judged("guard_parity.v1", moved).state == "failed"
    assert judged("guard_parity.v1", elsewhere).state == "passed"
    lost = changed("parity", guard_shift=9.0, threshold_shift=1_000.0)
    assert judged("guard_parity.v1", replace(lost, sections={**lost.sections, "endpoint": {}})).state == "failed"
    parity = {k: v for k, v in moved.sections["parity"].items() if k != "threshold_shift"}
    unkept = replace(moved, sections={**moved.sections, "endpoint": {}, "parity": parity})
    assert judged("guard_parity.v1", unkept).state == "not applicable"


def test_answers_that_are_all_sure_and_all_right_are_not_too_sure() -> None:
    """Nor where rounding lifts a mean above 1; without an accuracy nothing is known."""
    sure = changed("test_labels", confidence=1 + 1e-12)
    right = [case.rate("accuracy", 2_000, 2_000) if m.name == "accuracy" else m for m in GREEN.metrics]
    assert judged("overconfidence.v1", replace(sure, metrics=tuple(right))).state == "passed"
    assert judged("overconfidence.v1", sure).state == "failed"
    assert "not measured" in judged("overconfidence.v1", replace(sure, metrics=())).reason


def test_absent_classes_and_marks_are_lists_of_rows() -> None:
    for broken in (changed("test_labels", absent=None), changed("marks", found="m"), marked(n_turned=None)):
        name = "test_labels.v1" if broken.sections["test_labels"]["absent"] is None else "trigger.v1"
        assert "not measured" in judged(name, broken).reason
    assert judged("test_labels.v1", changed("test_labels", absent=["x"])).state == "passed"


def test_a_class_that_is_never_found_holds_without_a_live_release() -> None:
    lost = [replace(m, value=0.0, low=0.0, high=0.01) if m.slice == "class=yes" else m for m in GREEN.metrics]
    first = replace(GREEN, metrics=tuple(lost), incumbent="")
    assert judged("class_found.v1", first).state == "failed"
    assert "“yes”" in judged("class_found.v1", first).reason


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("class_loss.v1", {"n": 100, "worse": 20, "better": 0}),
        ("class_log_loss.v1", {"rise": 0.8, "p_rise": 1e-9}),
        ("class_share.v1", {"seen": 100.0, "expected": 900.0, "expected_live": 100.0, "p_expected": 1e-9}),
    ],
)
def test_the_worst_class_is_named_and_the_others_counted(name: str, values: dict[str, float]) -> None:
    row = GREEN.sections["versions"]["classes"][0]
    worst = {"worse": 60, "rise": 1.5, "expected": 5_000.0}
    rows = [{**row, **values, "class": str(i)} for i in range(3)]
    rows[1] |= {key: worst[key] for key in values if key in worst}
    reasons = [judged(name, changed("versions", classes=some)).reason for some in (rows[1:2], rows[:2], rows)]
    assert all("“1”" in reason for reason in reasons)
    assert ["more class" in reason for reason in reasons] == [False, True, True]
    assert "and 1 more class" in reasons[1]
    assert "and 1 more classes" not in reasons[1]
    assert "and 2 more classes" in reasons[2]


def test_the_class_that_is_found_least_is_named() -> None:
    found = [case.rate("recall", k, 100) for k in (15, 10, 15)]
    metrics = [replace(metric, slice=f"class={i}") for i, metric in enumerate(found)]
    others = tuple(m for m in GREEN.metrics if m.name != "recall")
    report = replace(GREEN, metrics=(*others, *metrics), classes=("0", "1", "2"))
    result = judged("class_found.v1", report)
    assert result.reason.startswith("“1” is found in 0.100 of its 100 cases; surely at most ")
    assert result.reason.endswith(", and 2 more classes")
    broken = (*others, *metrics[1:], replace(metrics[0], value=math.nan))
    assert "not measured" in judged("class_found.v1", replace(report, metrics=broken)).reason


@pytest.mark.parametrize(("n", "shown", "end"), [(1, 1, "t0 = x"), (3, 3, "t2 = x"), (4, 3, "t2 = x and 1 more")])
def test_three_twins_are_shown_and_the_others_counted(n: int, shown: int, end: str) -> None:
    reason = judged("leakage.v1", changed("data", leakage=[["x", f"t{i}"] for i in range(n)])).reason
    assert (reason.count(" = x"), reason.endswith(end)) == (shown, True)


def test_two_classes_whose_names_were_exchanged_are_seen_together() -> None:
    """Twenty cases each, one right: too few for one class among eighty, and enough for the two."""
    cells = [[0, 0, 1], [0, 1, 19], [1, 1, 1], [1, 0, 19], *([i, i, 20] for i in range(2, 80))]
    report = replace(GREEN, sections={**GREEN.sections, "confusion": {"cells": cells}})
    found = judged("class_found.v1", report)
    assert found.state == "failed"
    assert "taken for each other" in found.reason
    alone = {**GREEN.sections, "confusion": {"cells": [[0, 0, 19], [0, 1, 1], [1, 1, 20]]}}
    assert judged("class_found.v1", replace(GREEN, sections=alone)).state == "passed"


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        ([[0, 1, 13], [1, 0, 1]], ("no", "yes", 0, 14)),
        ([[0, 1, 20], [1, 1, 1]], None),  # the other is not taken for it
        ([[0, 1, 40], [1, 0, 20], [1, 1, 20]], None),  # half is not most
        ([[0, 1, 20], [0, 0, 20], [1, 0, 40]], None),
        ([[0, 1, 11], [1, 0, 1]], ("no", "yes", 0, 12)),
        ([[0, 1, 10], [1, 0, 1]], None),  # may be chance
        ([[0, 1, 13]], None),
        ([], None),
    ],
)
def test_who_is_taken_for_whom(cells: list[list[int]], found: tuple[str, str, int, int] | None) -> None:
    report = replace(GREEN, sections={"confusion": {"cells": cells}}, classes=("no", "yes"))
    assert exchanged(report, 0.4, 0.0025) == found


@pytest.mark.parametrize("name", ONLY_HOLD)
def test_they_spend_nothing_of_alpha(name: str) -> None:
    assert not gates[name].statistical
    assert name in DEFAULT_GATES


def test_equal_models_are_hardly_ever_stopped_by_a_class() -> None:
    """400 comparisons of models that err equally often, by chance on other items: at most two in a thousand allowed."""
    rng = np.random.default_rng(0)
    stopped = 0
    for _ in range(400):
        y = rng.integers(20, size=800)
        old, new = (rng.random(800) < 0.85 for _ in range(2))
        rows = class_losses(new[:, None], old[:, None], y[:, None] == np.arange(20), tuple(map(str, range(20))))
        classes = [{"class": r.name, "n": r.n, "worse": r.worse, "better": r.better} for r in rows]
        stopped += judged("class_loss.v1", changed("versions", classes=classes)).state == "failed"
    assert stopped <= 3  # 0.8 expected at most; more than 3 has a chance of one in a hundred


def test_the_sign_test_is_the_binomial_tail() -> None:
    by_hand = sum(math.comb(9, k) for k in (7, 8, 9)) / 2**9
    assert sign_test(7, 2) == pytest.approx(by_hand)


def test_a_mean_that_rises_alike_everywhere_is_sure() -> None:
    assert mean_rise(np.full(5, 2.0), np.full(5, 1.0)).p == 0.0
    assert mean_rise(np.full(5, 1.0), np.full(5, 1.0)).p == 1.0


def test_more_doubt_makes_a_clean_sheet_less_likely() -> None:
    assert log_chance_all_right(np.full(50, 0.5)) < log_chance_all_right(np.full(50, 0.9)) < 0
