"""Two models on one test, of which a part has labels: what is known without a label, and which reading tells more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from passmuster.core.records import Report
from passmuster.metrics.disagreements import census_of_disagreements, told_by_disagreements
from passmuster.metrics.gates.paired_counts import census_of, counts_of, sharper, worth_of
from passmuster.metrics.gates.prospect import Prospect
from passmuster.metrics.gates.versions import (
    foresee_negative_flips,
    foresee_non_inferiority,
    judge_negative_flips,
    judge_non_inferiority,
)

MARGIN = 0.02


def report_of(
    truth: np.ndarray,
    new: np.ndarray,
    old: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    rest: np.ndarray = np.zeros(0, dtype=bool),
    clusters: list[str] | None = None,
) -> Report:
    """What an evaluation leaves of a comparison; `rest` says where the two differ without a label."""
    weights = np.ones(len(truth)) if weights is None else weights
    new_right, old_right = new == truth, old == truth
    census = census_of_disagreements(list(truth), list(new), list(old), rest_differs=rest, clusters=clusters)
    section: dict[str, Any] = {
        "incumbent": "i",
        "both_right": int((new_right & old_right).sum()), "only_candidate": int((new_right & ~old_right).sum()),
        "only_incumbent": int((~new_right & old_right).sum()), "both_wrong": int((~new_right & ~old_right).sum()),
        "worth": told_by_disagreements(
            list(truth), list(new), list(old), weights, n_rest=len(rest), n_rest_differ=int(rest.sum()),
            clusters=None if clusters is None else clusters[: len(truth)], most=census["n_apart"],
        ).worth,
        "census": census,
    }  # fmt: skip
    return Report("b", "s", "", "text", ("a", "b"), len(truth), 1, (), {}, {"versions": section}, "i")


def without_census(report: Report) -> Report:
    section = {k: v for k, v in report.sections["versions"].items() if k != "census"}
    return replace(report, sections={"versions": section})


def alike(n: int) -> np.ndarray:
    return np.array(["a"] * n)


def test_two_that_hardly_differ_are_told_without_a_label_where_they_do() -> None:
    """1 of 1,000 answers is another one, and nobody labelled it: that cannot be a loss of two in a hundred."""
    report = report_of(alike(50), alike(50), alike(50), rest=np.arange(950) < 1)
    found = judge_non_inferiority(report, {"margin": MARGIN}, 0.05)
    assert found.state == "passed"
    assert str(found.value) == "0.0", "nothing was gained or lost; not -0"
    assert "differ on 1 of 1,000 test items; 1 of the 1 without a label, read against it" in found.reason
    assert judge_non_inferiority(without_census(report), {"margin": MARGIN}, 0.05).state == "insufficient"
    assert judge_negative_flips(report, {"max_rate": MARGIN}, 0.05).state == "passed"
    assert judge_negative_flips(without_census(report), {"max_rate": MARGIN}, 0.05).state == "insufficient"


def test_what_is_not_known_is_read_against_every_answer() -> None:
    """A hundred of a thousand differ without a label: all may be losses, all may be gains."""
    report = report_of(alike(50), alike(50), alike(50), rest=np.arange(950) < 100)
    for judge, params in ((judge_non_inferiority, {"margin": MARGIN}), (judge_negative_flips, {"max_rate": MARGIN})):
        found = judge(report, params, 0.05)
        assert found.state == "insufficient"
    assert judge_non_inferiority(report, {"margin": MARGIN}, 0.05).n_more is not None


def test_labels_where_they_differ_are_what_is_asked_for() -> None:
    report = report_of(alike(50), alike(50), alike(50), rest=np.arange(950) < 14)
    found = judge_non_inferiority(report, {"margin": MARGIN}, 0.05)
    assert (found.state, found.n_more) == ("insufficient", 14)


def test_losses_that_are_known_are_proven_though_some_are_not_known() -> None:
    truth, old = alike(100), alike(100)
    new = np.where(np.arange(100) < 40, "b", "a")
    found = judge_non_inferiority(report_of(truth, new, old, rest=np.arange(900) < 5), {"margin": MARGIN}, 0.05)
    assert found.state == "failed"


def test_where_every_disagreement_has_a_label_weights_tell_nothing() -> None:
    truth, old = alike(60), alike(60)
    new = np.where(np.arange(60) < 4, "b", "a")
    report = report_of(truth, new, old, weights=np.geomspace(1, 50, 60), rest=np.zeros(940, dtype=bool))
    counts = counts_of(report)
    assert counts is not None
    chosen = sharper(report, counts, lambda worth: 1.0 / max(worth.n, 1.0))
    assert (chosen.n, chosen.worse, chosen.unknown) == (1000, 4, 0)
    assert worth_of(report, counts).n == 1000


@pytest.mark.parametrize(
    ("weights", "n_unknown", "n", "of_all"),
    [([1.0] * 12, 8, 1_101, False), ([1.2, 2.3, 1.5], 1, 392, True), ([1.5, 3.4, 4.0, 7.8, 4.9], 1, 745, True)],
)
def test_the_choice_does_not_look_at_who_was_right(weights: list[float], n_unknown: int, n: int, of_all: bool) -> None:
    """Labels on as many disagreements as there are weights: many even ones tell more than all with some unknown."""
    differ = np.arange(80) < len(weights)
    new, old = np.where(differ, "b", "a"), alike(80)
    given = np.concatenate([weights, np.ones(80 - len(weights))])
    rest = np.arange(n - 80) < n_unknown
    for truth in (old, new, np.array(["c"] * 80)):
        reason = judge_non_inferiority(
            report_of(truth, new, old, weights=given, rest=rest), {"margin": MARGIN}, 0.05
        ).reason  # fmt: skip
        assert ("test items" in reason) == of_all


def test_items_that_go_together_count_together() -> None:
    truth = alike(100)
    new = np.where(np.arange(100) < 10, "b", "a")
    apart = census_of_disagreements(list(truth), list(new), list(truth), rest_differs=np.zeros(100, dtype=bool))
    people = [f"{i // 10}" for i in range(200)]
    found = census_of_disagreements(
        list(truth), list(new), list(truth), rest_differs=np.zeros(100, dtype=bool), clusters=people
    )
    assert (apart["n"], apart["only_incumbent"], apart["n_items"]) == (200, 10, 200)
    assert found["n"] < 30, "twenty people, one of whom answers for all that differs"
    assert found["only_incumbent"] / found["n"] == pytest.approx(0.05)
    same = report_of(truth, truth, truth, rest=np.zeros(100, dtype=bool), clusters=people)
    assert judge_non_inferiority(same, {"margin": MARGIN}, 0.05).state == "insufficient", "of twenty people"


@pytest.mark.parametrize(
    "broken",
    [
        None, [], {}, {"n": float("nan")}, {"n": -1.0}, {"unknown": "3"}, {"only_candidate": 9.0}, {"differ": 2_000.0},
        {"n_items": None},
    ],
)  # fmt: skip
def test_a_broken_census_is_as_none(broken: object) -> None:
    report = report_of(alike(50), alike(50), alike(50), rest=np.arange(950) < 1)
    section = dict(report.sections["versions"])
    section["census"] = section["census"] | broken if isinstance(broken, dict) and broken else broken
    damaged = replace(report, sections={"versions": section})
    assert census_of(damaged) is None
    assert judge_non_inferiority(damaged, {"margin": MARGIN}, 0.05).state == "insufficient"


def people_of(rng: np.random.Generator) -> np.ndarray:
    """Who wrote each of 1,000 items: most a few, one in twenty forty."""
    sizes = np.minimum(40, rng.geometric(0.2, 1_000))
    sizes[rng.random(1_000) < 0.05] = 40
    return np.repeat(np.arange(1_000), sizes)[:1_000]


@pytest.mark.parametrize(
    ("worse", "better", "asked", "in_groups"),
    [(0.02, 0.0, (0.0, 0.2), False), (0.025, 0.005, (0.1, 0.5), False), (0.02, 0.0, (0.6, 1.0), True)],
)
def test_a_loss_of_the_margin_passes_no_more_often_than_promised(
    worse: float, better: float, asked: tuple[float, float], in_groups: bool
) -> None:
    """Labels drawn by chances that differ: of 100 tests at .05 at most 5 pass, but for chance. Of one person's items
    most fare alike."""
    rng, n_passed = np.random.default_rng(0), 0
    for _ in range(100):
        people = people_of(rng) if in_groups else np.arange(1_000)
        alone, together = rng.random(1_000), rng.random(1_000)[people]
        u = np.where(rng.random(1_000) < 0.7, together, alone)
        kind = np.where(u < worse, 1, np.where(u < worse + better, 2, 0))
        chance = np.where(kind > 0, rng.uniform(*asked, 1_000), 0.05)
        told = rng.random(1_000) < chance
        new, old = np.where(kind == 1, "b", "a"), np.where(kind == 2, "b", "a")
        report = report_of(
            alike(int(told.sum())), new[told], old[told], weights=1 / chance[told], rest=kind[~told] > 0,
            clusters=[str(i) for i in np.concatenate([people[told], people[~told]])] if in_groups else None,
        )  # fmt: skip
        n_passed += judge_non_inferiority(report, {"margin": MARGIN}, 0.05).state == "passed"
    assert n_passed <= 5 + 2 * 2


def test_the_plan_foretells_what_needs_no_label() -> None:
    hardly = Prospect(n=30, differ=0.001, n_compared=1_000)
    for foresee, params in (
        (foresee_non_inferiority, {"margin": MARGIN}), (foresee_negative_flips, {"max_rate": MARGIN})
    ):  # fmt: skip
        found = foresee(params, hardly, 0.05, 0.8)
        assert found.n_needed == 0
        assert found.reason.startswith("whatever labels say")
        for other in (replace(hardly, n_compared=0), replace(hardly, differ=0.1)):
            assert (foresee(params, other, 0.05, 0.8).n_needed or 10**6) > 30
