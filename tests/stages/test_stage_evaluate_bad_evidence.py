"""Evidence that is not what it should be: what is refused before the test is opened, and what is said of the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import select

from evaluate_case import Digits, add_model, make_digits
from passmuster.core.config import Policy
from passmuster.core.errors import DataError, HeldError, IntegrityError, MusterError, UsageError
from passmuster.core.records import Payload
from passmuster.flows.release import release
from passmuster.metrics.gates import decide
from passmuster.runtime.predictor import Predictor
from passmuster.stages.evaluate import evaluate, groups
from passmuster.stages.evaluate import stage as evaluating
from passmuster.stages.evaluate.draft import Evidence, Scope
from passmuster.stages.evaluate.gather import refuse_other_labels
from passmuster.stages.release.judge import judge
from passmuster.store.schema import seal_openings
from passmuster.store.store import Store

QUICK = Scope(n_corrupted=0, n_fit=50, n_classes_left_out=1, n_resamples=20)


@pytest.fixture
def digits(new_store: Callable[..., Store]) -> Digits:
    return make_digits(new_store("image"))


def n_looks(store: Store) -> float:
    with store.read() as db:
        return sum(row.counted for row in db.execute(select(seal_openings)))


def test_a_gate_of_an_unknown_metric_costs_no_look(digits: Digits) -> None:
    add_model(digits)
    policy = Policy(gates={"f1_macro.v1": {"min": 0.7}})
    digits.store.config = replace(digits.store.config, policy=policy)
    with pytest.raises(MusterError, match=r"no gate named 'f1_macro\.v1'"):
        release(digits.store)
    assert n_looks(digits.store) == 0
    digits.store.config = replace(digits.store.config, policy=Policy(gates={"acuracy.v1": {"min": 0.7}}))
    with pytest.raises(UsageError, match=r"accuracy\.v1"):
        release(digits.store)


def test_scores_that_are_no_numbers_are_refused(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    """No report is written of answers that cannot be compared."""
    add_model(digits)
    embed = Predictor.embed

    def broken(predictor: Predictor, payloads: Sequence[Payload]) -> tuple[np.ndarray, np.ndarray]:
        embeddings, logits = embed(predictor, payloads)
        logits = np.array(logits)
        logits[:1] = np.nan
        return embeddings, logits

    monkeypatch.setattr(Predictor, "embed", broken)
    with pytest.raises(IntegrityError, match="are no numbers") as caught:
        evaluate(digits.store, scope=QUICK)
    assert caught.value.value == "1 of 200 items"
    assert ".png" in str(caught.value.where)
    assert not list((digits.store.root / "reports").glob("*/report.json"))


def test_groups_of_one_are_never_proven(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a column of names is declared as groups: the gates ask for more labels, and name the groups."""
    store = digits.store
    add_model(digits)
    store.config = replace(store.config, data=replace(store.config.data, group_columns=("person",)))
    gathered = evaluating.gather_evidence

    def named(*given: object) -> Evidence:
        found = gathered(*given)  # type: ignore[arg-type]
        return replace(found, items=tuple(replace(item, groups={"person": item.key[:8]}) for item in found.items))

    monkeypatch.setattr(evaluating, "gather_evidence", named)
    report = evaluate(store, scope=QUICK).report
    names = [m for m in report.metrics if m.name == "group_accuracy"]
    assert len(names) == groups.MOST_GROUPS + 1
    policy = Policy(gates={"worst_group.v1": {"min": 0.7}, "group_gap.v1": {"max_accuracy": 0.2}})
    found = decide(report, policy)
    assert found.outcome in ("INSUFFICIENT", "HOLD")
    assert all(result.state != "passed" for result in found.gates)
    assert "person=" in found.gates[0].reason


def test_labels_that_the_model_cannot_mean_cost_no_look(digits: Digits) -> None:
    store = digits.store
    digits.shown["train"] = np.char.add("digit ", digits.shown["train"])
    bundle = add_model(digits)
    with pytest.raises(DataError, match="wrong by name alone") as caught:
        evaluate(store, bundle.digest, scope=QUICK)
    assert (caught.value.code, caught.value.value) == ("evaluate.classes", "0, 1, 2, 3, 4")
    assert caught.value.limit == "digit 0, digit 1, digit 2, digit 3, digit 4"
    with pytest.raises(DataError, match="another task") as caught:
        refuse_other_labels(replace(digits.snapshot, task="multi-label"), {"0"}, ("0",), "single-label")
    assert (caught.value.value, caught.value.limit) == ("single-label", "multi-label")
    assert n_looks(store) == 0


def test_a_report_of_another_task_is_not_judged(digits: Digits) -> None:
    store = digits.store
    evaluate(store, add_model(digits).digest, scope=QUICK)
    store.config = replace(store.config, project=replace(store.config.project, task="multi-label"))
    with pytest.raises(HeldError, match="another task") as caught:
        judge(store)
    assert (caught.value.code, caught.value.value, caught.value.limit) == ("report.task", "single-label", "multi-label")
