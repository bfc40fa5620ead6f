"""Test labels from draw to report, on real digits: what is recorded, what is unbiased, what stays as it was."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from evaluate_case import Digits, add_model, go_live, make_digits
from passmuster.core.clock import now
from passmuster.core.config import DEFAULT_GATES, Config, CostsPolicy, Policy
from passmuster.core.config_file import render_config
from passmuster.core.errors import DataError, UsageError
from passmuster.core.progress import Silent
from passmuster.core.records import GateResult, Item, Label, Metric
from passmuster.flows.evidence import choose_evidence
from passmuster.flows.labelling import suggest
from passmuster.flows.next_steps import more_evidence
from passmuster.metrics.disagreements import census_of_disagreements
from passmuster.metrics.error_prediction import ErrorPredictor
from passmuster.metrics.gates import decide
from passmuster.metrics.gates.base import effective_n
from passmuster.runtime.predictor import Predictor
from passmuster.runtime.release import open_checked
from passmuster.stages.evaluate import Scope, census, evaluate
from passmuster.stages.evaluate.answers_table import answers_csv
from passmuster.stages.evaluate.foretell import foretell
from passmuster.stages.evaluate.test_labels import drawn_once
from passmuster.store.draws import TestDraw, read_draws
from passmuster.store.items import add_labels
from passmuster.store.ledger import read as read_events
from passmuster.store.schema import seal_openings
from passmuster.store.store import Store

SMALL = Scope(n_corrupted=4, n_fit=100, n_classes_left_out=2, n_resamples=20, n_previews=10)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    config = Config()
    config = replace(config, project=replace(config.project, modality="image", name="Digits"))
    (tmp_path / "muster.toml").write_text(render_config(config))
    return Store.create(tmp_path)


def label(digits: Digits, chosen: list[tuple[Item, float]]) -> None:
    """What the label page or table does: the truth, with the weight that the draw gave."""
    truth = {item.key: str(shown) for item, shown in zip(digits.items["test"], digits.shown["test"], strict=True)}
    with digits.store.act("label.add") as act:
        add_labels(act.db, [Label(i.key, truth[i.key], "ana", now(), "test", weight) for i, weight in chosen])


def accuracy_of(digits: Digits) -> Metric:
    found = evaluate(digits.store, scope=SMALL).report.metric("accuracy")
    assert found is not None
    return found


def test_without_a_bundle_every_item_is_equally_likely(store: Store) -> None:
    make_digits(store, n_labelled=0)
    chosen = choose_evidence(store, n=40, rng=np.random.default_rng(0))
    assert len({item.key for item, _ in chosen}) == 40
    assert {weight for _, weight in chosen} == {5.0}


def test_a_draw_is_recorded_and_does_not_count_as_reuse(store: Store) -> None:
    digits = make_digits(store, n_labelled=0)
    bundle = add_model(digits, n_fit=60)
    chosen = choose_evidence(store, n=40, rng=np.random.default_rng(0))
    with store.read() as db:
        (draw,) = read_draws(db)
        (event,) = read_events(db, kind="label.draw")
        counted = [row.counted for row in db.execute(seal_openings.select())]
    assert draw.chances == {item.key: pytest.approx(1 / weight) for item, weight in chosen}
    assert (draw.n_population, len(draw.chances), draw.held_out) == (200, 40, frozenset())
    assert (event.payload["n"], event.payload["bundle"]) == (40, bundle.digest)
    assert counted == [0]
    weights = np.array([weight for _, weight in chosen])
    assert weights.min() < 0.7 * weights.max()


def test_the_report_is_worth_more_than_its_labels_and_close_to_the_whole_test(store: Store) -> None:
    digits = make_digits(store, n_labelled=0)
    add_model(digits, n_fit=60)
    rng = np.random.default_rng(0)
    for n in (30, 30):
        label(digits, choose_evidence(store, n=n, rng=rng))
    result = evaluate(digits.store, scope=SMALL)
    found = result.report.metric("accuracy")
    assert found is not None
    assert "60 labels worth about" in result.path.read_text(encoding="utf-8")
    assert found.n == 60
    assert found.method.startswith("prediction-powered.v3, 60 labels worth about ")
    assert effective_n(found) > 80
    with store.read() as db:
        assert sum(row.counted for row in db.execute(seal_openings.select())) == 1
    every = {item.key for item in digits.items["test"]}
    with store.read() as db:
        asked = {key for draw in read_draws(db) for key in draw.chances}
    label(digits, [(item, 1.0) for item in digits.items["test"] if item.key in every - asked])
    whole = accuracy_of(digits)
    assert (whole.n, whole.method) == (200, "wilson")
    assert found.low <= whole.value <= found.high


def test_labels_that_no_draw_asked_for_are_read_as_before(store: Store) -> None:
    digits = make_digits(store, n_labelled=50)
    add_model(digits, n_fit=60)
    assert accuracy_of(digits).method == "wilson"


@pytest.mark.parametrize("given_first", [True, False])
def test_labels_given_beside_draws_stand_for_themselves(store: Store, given_first: bool) -> None:
    """All given labels are of items the model gets right; they must not pull the estimate for the rest."""
    digits = make_digits(store, n_labelled=0)
    add_model(digits, n_fit=60)
    whole = make_truth(digits)
    given = [(item, 1.0) for item in digits.items["test"] if whole[item.key]][:80]
    if given_first:
        label(digits, given)
    chosen = choose_evidence(store, n=60, rng=np.random.default_rng(1))
    label(digits, chosen)
    if not given_first:
        asked = {item.key for item, _ in chosen}
        label(digits, [pair for pair in given if pair[0].key not in asked])
    found = accuracy_of(digits)
    truth = np.mean(list(whole.values()))
    assert found.low <= truth <= found.high
    assert abs(found.value - truth) < 0.05


def test_skipped_items_are_not_drawn_and_are_remembered(store: Store) -> None:
    digits = make_digits(store, n_labelled=0)
    skip = {item.key for item in digits.items["test"][:150]}
    chosen = choose_evidence(store, n=100, skip=skip, rng=np.random.default_rng(0))
    assert len(chosen) == 50
    assert not skip & {item.key for item, _ in chosen}
    with store.read() as db:
        assert read_draws(db)[0].held_out == skip


def test_items_that_were_passed_over_are_spoken_for_by_the_others(store: Store) -> None:
    """A first draw of 40, then one in which all but ten of the unlabelled items are passed over."""
    digits = make_digits(store, n_labelled=0)
    add_model(digits, n_fit=60)
    label(digits, choose_evidence(store, n=40, rng=np.random.default_rng(0)))
    with store.read() as db:
        asked = set(read_draws(db)[0].chances)
    others = [item.key for item in digits.items["test"] if item.key not in asked]
    label(digits, choose_evidence(store, n=10, skip=set(others[10:]), rng=np.random.default_rng(1)))
    found = accuracy_of(digits)
    assert found.n == 50
    assert effective_n(found) < 150
    assert found.low <= np.mean(list(make_truth(digits).values())) <= found.high


def left_out_of(digits: Digits) -> tuple[Any, GateResult]:
    """What the report says was left out, and what the gate makes of it."""
    report = evaluate(digits.store, scope=SMALL).report
    (gate,) = decide(report, Policy(gates={"test_labels.v1": DEFAULT_GATES["test_labels.v1"]})).gates
    return report.sections["test_labels"]["left_out"], gate


def test_a_class_left_out_of_a_draw_is_missed_and_asked_for_first(store: Store) -> None:
    digits = make_digits(store, n_labelled=0)
    add_model(digits, n_fit=400)
    truth = dict(zip([item.key for item in digits.items["test"]], digits.shown["test"], strict=True))
    drawn = choose_evidence(store, n=120, rng=np.random.default_rng(0))
    passed_over = [one for one in drawn if str(truth[one[0].key]) in ("3", "8")]
    label(digits, [one for one in drawn if one not in passed_over])
    left, gate = left_out_of(digits)
    assert (left["n_drawn"], left["n_left"]) == (120, len(passed_over))
    assert left["mark"] in ("3", "8")
    assert (gate.state, gate.n_more) == ("insufficient", len(passed_over))
    assert "muster label --serve --for test --skipped" in more_evidence(gate.n_more, 80, gate.n_more or 0)
    again = suggest(store, n=100, role="test", again=True)
    assert [s.key for s in again] == [item.key for item, _ in passed_over]
    assert [s.weight for s in again] == pytest.approx([weight for _, weight in passed_over])
    with store.read() as db:
        assert len(read_draws(db)) == 1  # asked for, and not drawn, again
    label(digits, passed_over)
    left, gate = left_out_of(digits)
    assert left is None
    assert gate.state == "passed"
    assert len(suggest(store, n=5, role="test", again=True)) == 5  # nothing was left: a draw as ever


def test_what_is_passed_over_is_missed_even_if_the_model_doubts_it_no_more(store: Store) -> None:
    """Where doubt knows nothing of what is hard, the order of the draw still does."""
    digits = make_digits(store, n_labelled=0)
    add_model(digits, n_fit=400)
    drawn = choose_evidence(store, n=100, rng=np.random.default_rng(0))
    label(digits, [one for i, one in enumerate(drawn[:60]) if i % 6])
    left, gate = left_out_of(digits)
    assert (left["n_left"], left["n_passed"]) == (50, 10)
    assert left["p"] > 0.05
    assert (gate.state, gate.n_more) == ("insufficient", 10)
    assert gate.reason.startswith("10 of 100 items drawn for the test were passed over, and later ones labelled")


def test_stopping_early_is_by_lot(store: Store) -> None:
    digits = make_digits(store, n_labelled=0)
    add_model(digits, n_fit=400)
    drawn = choose_evidence(store, n=120, rng=np.random.default_rng(0))
    label(digits, drawn[:50])
    left, gate = left_out_of(digits)
    assert (left["n_left"], left["n_passed"]) == (70, 0)
    assert left["p"] > 0.05
    assert gate.state == "passed"


def test_what_was_drawn_again_counts_once_and_what_never_came_back_says_nothing() -> None:
    def drawn(number: int, *keys: str) -> TestDraw:
        return TestDraw(number, 50, 0, dict.fromkeys(keys, 0.5), frozenset())

    known = [f"{x}{i}" for x in "abc" for i in range(20)]
    first, lost, other = drawn(1, *known[:20]), drawn(2, *known[20:40]), drawn(3, known[0], *known[40:])
    told = {"a0", "a1", "c3"}
    found = drawn_once([first, lost, other], told, set(known))
    assert {number for _, number, _ in found} == {1, 3}  # the second has no label
    assert [number for key, number, _ in found if key == "a0"] == [3]
    assert len(found) == 40
    assert drawn_once([first, drawn(2, *known[:3], *known[40:])], {*told, "a7"}, set(known)) == [
        (key, 2, 2.0) for key in (*known[:3], *known[40:])
    ]  # a seventh of the first was drawn again: what is left of it was left by doubt
    assert drawn_once([first], told, set(known) - {"a5"}) == [(k, 1, 2.0) for k in known[:20] if k != "a5"]


def test_with_a_live_release_disagreements_are_asked_about(store: Store) -> None:
    digits = make_digits(store, n_labelled=0)
    live = add_model(digits, n_fit=40, run="run-0")
    go_live(store, live)
    before = share_of_disagreements(digits, n_seeds=3)
    add_model(digits, n_fit=300)
    assert share_of_disagreements(digits, n_seeds=3) > 1.5 * before


def test_the_comparison_is_worth_more_where_answers_mostly_agree(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def spy(*given: Any, **named: Any) -> dict[str, float]:
        asked.append(named["clusters"])
        return census_of_disagreements(*given, **named)

    monkeypatch.setattr(census, "census_of_disagreements", spy)
    digits = make_digits(store, n_labelled=0)
    live = add_model(digits, n_fit=250, run="run-0")
    add_model(digits, n_fit=300)
    go_live(store, live)
    label(digits, choose_evidence(store, n=40, rng=np.random.default_rng(0)))
    section = evaluate(store, scope=SMALL).report.sections["versions"]
    new, old, truth = fitted(digits, 300), fitted(digits, 250), digits.shown["test"]
    assert section["n"] == 40
    assert 40 < section["worth"]["n"] <= 200
    assert 0 < (new != old).sum() < 20
    assert section["worth"]["only_incumbent"] <= int(((old == truth) & (new != truth)).sum())
    whole = section["census"]
    assert (whole["n_items"], whole["n_differ"]) == (200, int((new != old).sum()))
    assert whole["n_unknown"] == whole["n_differ"] - len(section["changed"])
    assert whole["n"] <= 200
    assert len(asked[0]) == 200, "of every item, what it goes together with"


def test_labels_that_nobody_drew_are_compared_on_the_whole_test_too(store: Store) -> None:
    """Where the two agree no label is missing, whoever chose which items have one; a look more is not counted."""
    digits = make_digits(store, n_labelled=50)
    live = add_model(digits, n_fit=250, run="run-0")
    add_model(digits, n_fit=300)
    go_live(store, live)
    report = evaluate(store, scope=SMALL).report
    new, old = fitted(digits, 300), fitted(digits, 250)
    section = report.sections["versions"]
    assert (section["n"], section["worth"], report.look) == (50, None, 1)
    assert section["census"]["n_items"] == 200
    assert section["census"]["n_differ"] == int((new != old).sum())
    assert section["census"]["n_unknown"] == section["census"]["n_differ"] - len(section["changed"])
    with store.read() as db:
        assert [row.purpose for row in db.execute(seal_openings.select()) if row.counted] == ["evaluate"]


def test_what_is_served_decides_what_is_asked_about(store: Store) -> None:
    """Two bundles of one head, one of which answers the cheapest class: they differ, and there labels tell most."""
    digits = make_digits(store, n_labelled=0)
    live = add_model(digits, n_fit=60, run="run-0")
    go_live(store, live)
    dear = CostsPolicy(answer="cheapest", when={"3": {"8": 0.02}, "5": {"8": 0.02}, "9": {"8": 0.02}})
    store.config = replace(store.config, policy=replace(store.config.policy, costs=dear))
    new = add_model(digits, n_fit=60)
    items = digits.items["test"]
    found = foretell(store, new, Predictor(open_checked(store, new)), items, progress=Silent())
    served = Predictor(open_checked(store, new)).predict(list(images_of(digits)))
    assert list(found.said) == [p.label for p in served]
    likeliest = Predictor(open_checked(store, live)).predict(list(images_of(digits)))
    differ = {i.key for i, a, b in zip(items, served, likeliest, strict=True) if a.label != b.label}
    assert len(differ) > 5
    chances = {i.key: 1 / weight for i, weight in choose_evidence(store, n=60, rng=np.random.default_rng(0))}
    shown = [chance for key, chance in chances.items() if key in differ]
    assert np.mean(shown) > 1.5 * np.mean([chance for key, chance in chances.items() if key not in differ])
    assert isinstance(found.predictor, ErrorPredictor)
    doubt = found.predictor.fixed[:, 1]  # of the answer that is given, which is not always the likeliest
    assert doubt[[i.key in differ for i in items]].min() > doubt[[i.key not in differ for i in items]].mean()


def images_of(digits: Digits) -> np.ndarray:
    return np.uint8(digits.pixels["test"].reshape(-1, 8, 8, 1) * 255)


def test_it_refuses_what_cannot_be_drawn(store: Store) -> None:
    digits = make_digits(store)
    with pytest.raises(UsageError, match=r"not a number of items"):
        choose_evidence(store, n=0, rng=np.random.default_rng(0))
    with pytest.raises(DataError) as caught:
        choose_evidence(digits.store, n=1, rng=np.random.default_rng(0))
    assert caught.value.code == "label.none_left"


def share_of_disagreements(digits: Digits, n_seeds: int) -> float:
    """Of the items drawn, how many two models answer differently that learnt from 40 and from 300 labels."""
    few, many = fitted(digits, 40), fitted(digits, 300)
    differ = {item.key: a != b for item, a, b in zip(digits.items["test"], few, many, strict=True)}
    chosen = [
        item.key
        for seed in range(n_seeds)
        for item, _ in choose_evidence(digits.store, n=40, rng=np.random.default_rng(seed))
    ]
    return float(np.mean([differ[key] for key in chosen]))


def make_truth(digits: Digits) -> dict[str, bool]:
    """Whether the model fitted on 60 labels is right, by item."""
    right = fitted(digits, 60) == digits.shown["test"]
    return {item.key: bool(r) for item, r in zip(digits.items["test"], right, strict=True)}


def fitted(digits: Digits, n_fit: int) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=5.0, max_iter=500).fit(digits.pixels["train"][:n_fit], digits.shown["train"][:n_fit])
    return np.asarray(model.predict(digits.pixels["test"]))


def recomputed(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> float:
    """What the lines in the documentation print in the folder of a report."""
    text = (Path(__file__).parents[2] / "docs" / "explanation" / "evidence.md").read_text(encoding="utf-8")
    lines = text.split("## Recompute the headline")[1].split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(folder)
    exec(lines, {})
    return float(capsys.readouterr().out)


def test_a_table_of_answers_holds_no_formula() -> None:
    report = SimpleNamespace(sections={"answers": {"probability": [0.5], "abstained": [0], "weight": [1.0]}})
    evidence = SimpleNamespace(items=[SimpleNamespace(id="=1+1", key="k")], labels=["-x"])
    table = answers_csv(report, evidence, SimpleNamespace(predictions=[SimpleNamespace(label="@y")]))  # type: ignore[arg-type]
    assert table.splitlines()[1] == "'=1+1,k,'-x,'@y,0.5,False,1.0,"


def test_the_headline_can_be_recomputed_from_the_report(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digits = make_digits(store, n_labelled=0)
    add_model(digits, n_fit=40)
    label(digits, choose_evidence(store, n=60, rng=np.random.default_rng(0)))
    result = evaluate(store, scope=SMALL)
    shown = result.report.metric("accuracy")
    assert shown is not None
    assert shown.method.startswith("prediction-powered")
    assert recomputed(result.path.parent, monkeypatch, capsys) == pytest.approx(shown.value, abs=1e-9)
    with (result.path.parent / "answers.csv").open() as file:
        table = list(csv.DictReader(file))
    assert {row["id"] for row in table} <= {item.id for item in digits.items["test"]}
    answers = result.report.sections["answers"]
    assert [float(row["weight"]) for row in table] == answers["weight"]
    assert np.ptp(answers["weight"]) > 0
    assert "counted one by one; shares elsewhere" in result.path.read_text(encoding="utf-8")
    assert "id" not in answers, "the report is signed into the bundle: it names items by keyed digests"
    label(digits, [(item, 1.0) for item in digits.items["test"]])
    result = evaluate(store, scope=SMALL)
    shown = result.report.metric("accuracy")
    assert shown is not None
    assert recomputed(result.path.parent, monkeypatch, capsys) == pytest.approx(shown.value, abs=1e-9)
