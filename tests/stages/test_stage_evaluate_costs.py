"""Costs in an evaluation: the numbers by hand, the words, the page, and what is refused before the seal is opened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluate_case import Digits, add_model, go_live, make_digits
from passmuster.core.config import Config, CostsPolicy
from passmuster.core.config_file import render_config
from passmuster.core.errors import UsageError
from passmuster.runtime.bundle import open_bundle
from passmuster.runtime.predictor import Predictor
from passmuster.stages.evaluate import EvaluateResult, Scope, evaluate, foresee
from passmuster.store.schema import seal_openings
from passmuster.store.store import Store

SMALL = Scope(n_corrupted=4, n_fit=100, n_classes_left_out=1, n_resamples=50, n_previews=20)
COSTS = CostsPolicy(unit="EUR", when={"8": {"1": 10.0, "3": 4}, "1": {"8": 0.5}})


def digits_with(folder: Path, costs: CostsPolicy) -> Digits:
    config = Config()
    config = replace(
        config,
        project=replace(config.project, modality="image", name="digits"),
        policy=replace(config.policy, costs=costs),
    )
    folder.mkdir()
    (folder / "muster.toml").write_text(render_config(config))
    return make_digits(Store.create(folder))


@pytest.fixture(scope="module")
def priced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Digits, EvaluateResult]:
    digits = digits_with(tmp_path_factory.mktemp("costs") / "project", COSTS)
    go_live(digits.store, add_model(digits, n_fit=40, run="run-0"))
    add_model(digits)
    return digits, evaluate(digits.store, scope=SMALL)


def cost(truth: str, said: str) -> float:
    return 0.0 if truth == said else COSTS.when.get(truth, {}).get(said, 1.0)


def test_the_mean_cost_is_that_of_the_answers(priced: tuple[Digits, EvaluateResult]) -> None:
    report = priced[1].report
    told = report.sections["answers"]
    paid = [cost(report.classes[i], report.classes[j]) for i, j in zip(told["label"], told["predicted"], strict=True)]
    found = report.metric("expected_cost")
    assert found
    assert found.value == pytest.approx(np.mean(paid))
    assert found.unit == "EUR per item"
    assert found.low < found.value < found.high
    assert max(paid) > 1  # a mistake that is not an ordinary one is among them
    constants = {name: np.mean([cost(report.classes[i], name) for i in told["label"]]) for name in report.classes}
    best = min(constants, key=lambda name: constants[name])
    constant = report.metric("expected_cost", f"constant={best}")
    assert constant
    assert constant.value == pytest.approx(constants[best])
    mistakes = report.sections["costs"]["mistakes"]
    assert sum(row["share"] for row in mistakes) <= 1 + 1e-9
    assert all(row["each"] == cost(row["label"], row["predicted"]) for row in mistakes)


def test_the_live_release_is_compared_on_the_same_items(priced: tuple[Digits, EvaluateResult]) -> None:
    report = priced[1].report
    names = ("incumbent_cost", "cost_difference", "cost_added", "cost_saved")
    live, more, added, saved = (report.metric(name, "against=live") for name in names)
    served = report.metric("expected_cost")
    assert live
    assert more
    assert added
    assert saved
    assert served
    assert more.value == pytest.approx(served.value - live.value)
    assert more.value == pytest.approx(added.value - saved.value)
    assert more.value < 0 < saved.value


def test_costs_come_first_on_the_page_and_in_the_words(priced: tuple[Digits, EvaluateResult]) -> None:
    result = priced[1]
    (cost,) = result.report.sections["summary"]["cost"]
    assert cost["text"].startswith("An answer costs")
    assert "EUR" in cost["text"]
    assert "of all costs are of “" in cost["text"]
    assert "Always saying" in cost["text"]
    assert "the live release costs" in cost["text"]
    assert any("would surely cost more" in line["text"] for line in result.report.sections["summary"]["good"])
    text = result.path.read_text(encoding="utf-8")
    assert text.index("What it costs when wrong:</b> An answer costs") < text.index("What it is good at</h2>")
    assert (
        text.index("What is not known</h2>") < text.index("What an answer costs</h2>") < text.index("The numbers</h2>")
    )
    assert "8 taken for <b>" in text or "1 taken for <b>" in text
    assert not any("What mistakes cost" in line for line in result.report.sections["unknown"])


def test_without_costs_it_is_said_that_they_are_not_known_and_where_to_say_them(tmp_path: Path) -> None:
    digits = digits_with(tmp_path / "project", CostsPolicy())
    add_model(digits)
    result = evaluate(digits.store, scope=SMALL)
    assert "costs" not in result.report.sections
    assert result.report.metric("expected_cost") is None
    assert result.report.sections["summary"]["cost"] == []
    assert "What mistakes cost: nobody has said it" in result.report.sections["unknown"][1]
    assert "[policy.costs]" in result.report.sections["unknown"][1]
    page = result.path.read_text(encoding="utf-8")
    assert "What an answer costs" not in page
    assert page.index("What mistakes cost: nobody") < page.index("The numbers</h2>")


def test_a_class_that_nobody_has_is_refused_before_the_seal_is_opened(tmp_path: Path) -> None:
    digits = digits_with(tmp_path / "project", CostsPolicy(when={"8": {"l": 10.0}}))
    add_model(digits)
    for act in (evaluate, foresee):
        with pytest.raises(UsageError) as caught:
            act(digits.store)
        assert caught.value.code == "costs.class"
    with digits.store.read() as db:
        assert not db.execute(seal_openings.select()).all()


def test_a_withheld_answer_has_its_price(tmp_path: Path) -> None:
    """Every answer withheld: each costs what was stated, and the cheapest constant answer is none."""
    digits = digits_with(tmp_path / "project", CostsPolicy(unit="EUR", abstain=0.25))
    config = digits.store.config
    guard = replace(config.policy.guard, min_confidence=1.0)
    digits.store.config = replace(config, policy=replace(config.policy, guard=guard))
    add_model(digits)
    report = evaluate(digits.store, scope=SMALL).report
    found = report.metric("expected_cost")
    assert found
    assert found.value == pytest.approx(0.25)
    assert report.sections["costs"]["constant"] == "withheld"
    mistakes = report.sections["costs"]["mistakes"]
    assert {row["predicted"] for row in mistakes} == {""}
    assert "withheld. Never answering would cost 0.25" in report.sections["summary"]["cost"][0]["text"]
    assert all(row["each"] == 0.25 for row in mistakes)


def test_a_bundle_may_answer_the_cheapest_class(tmp_path: Path, priced: tuple[Digits, EvaluateResult]) -> None:
    """Served, judged and counted as answered: each answer has the least expected cost, and its own probability."""
    digits = digits_with(tmp_path / "project", replace(COSTS, answer="cheapest", abstain=0.7))
    bundle = add_model(digits)
    predictor = Predictor(open_bundle(digits.store.bundle_folder(bundle.path)))
    images = [np.uint8(row.reshape(8, 8, 1) * 255) for row in digits.pixels["test"]]
    logits = predictor.embed(images)[1]
    found = predictor.predict(images)
    assert [p.label for p in found] == predictor.labels(logits)
    matrix = np.array([[cost(a, b) for b in predictor.classes] for a in predictor.classes])
    unlike = 0
    for p in found:
        expected = np.array(p.probabilities) @ matrix
        place = predictor.classes.index(p.label)
        assert expected[place] == pytest.approx(expected.min())
        assert p.probability == p.probabilities[place]
        assert p.label in p.prediction_set
        assert ("costly" in p.reasons) == (expected.min() > 0.7)
        unlike += p.probabilities[place] < max(p.probabilities)
    assert unlike  # else nothing was tried
    report = evaluate(digits.store, scope=SMALL).report
    served, least, likeliest = (
        report.metric("expected_cost", where) for where in ("", "decision=cheapest", "decision=likeliest")
    )
    assert served
    assert least
    assert likeliest
    assert served.value == pytest.approx(least.value)
    assert served.value != likeliest.value
    told = report.sections["answers"]
    said = [report.classes[i] for i in told["predicted"]]
    assert said == [p.label for key in told["keys"] for p in [dict(zip(keys_of(digits), found, strict=True))[key]]]
    assert not any("cheapest, not the likeliest" in line["text"] for line in report.sections["summary"]["breaks"])


def keys_of(digits: Digits) -> list[str]:
    return [item.key for item in digits.items["test"]]
