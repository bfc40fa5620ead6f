"""The guard of answers that are sets: what is said, how sure, what remains possible, and which detectors it takes."""

from __future__ import annotations

import numpy as np
import pytest

from passmuster.core.config import CostsPolicy, GuardPolicy, Policy
from passmuster.core.errors import UsageError
from passmuster.metrics.novelty import detectors
from passmuster.runtime.answers import answers_of
from passmuster.runtime.guard import apply_guard
from passmuster.runtime.label_sets import fit_label_sets_guard, refuse_detector, refuse_single_label
from passmuster.runtime.risk import risk_of


def world(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings on one side, calibrated logits of three classes, and the classes each item carries."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 3)) * 2.0 - 0.5
    targets = rng.random((n, 3)) < 1.0 / (1.0 + np.exp(-logits))
    return rng.normal(4.0, 1.0, (n, 5)), logits, targets


def fitted(policy: GuardPolicy = GuardPolicy(), n_oof: int = 400) -> dict[str, np.ndarray]:
    embeddings, logits, _ = world(400)
    _, oof, targets = world(n_oof, 1)
    return fit_label_sets_guard(
        fit_embeddings=embeddings[:200], fit_logits=logits[:200], held_embeddings=embeddings[200:],
        held_logits=logits[200:], oof_logits=oof, oof_targets=targets, decide_at=0.35, policy=policy,
    )  # fmt: skip


def test_each_class_is_said_for_itself_and_none_may_be() -> None:
    logits = np.array([[3.0, 2.0, -3.0], [-3.0, -3.0, -3.0]])
    embeddings = np.full((2, 5), 4.0)
    found = apply_guard(fitted(), embeddings, logits, GuardPolicy())
    assert found.said.tolist() == [[True, True, False], [False, False, False]]
    p = 1.0 / (1.0 + np.exp(-logits))
    assert found.sure == pytest.approx([p[0, 0] * p[0, 1] * (1 - p[0, 2]), ((1 - p[1]) ** 1).prod()])
    assert (found.sets | ~found.said).all()  # what is said is possible


def test_what_remains_possible_holds_all_classes_at_the_coverage() -> None:
    policy = GuardPolicy(set_coverage=0.8)
    embeddings, logits, targets = world(4_000, 2)
    found = apply_guard(fitted(policy), embeddings, logits, policy)
    held = (found.sets | ~targets).all(axis=1).mean()
    assert 0.75 < held < 0.93  # of 400 calibration items; what is said besides only adds


def test_few_labels_leave_every_class_possible() -> None:
    embeddings, logits, _ = world(20, 3)
    assert apply_guard(fitted(n_oof=5), embeddings, logits, GuardPolicy()).sets.all()


def test_withholding_speaks_of_the_whole_set() -> None:
    logits = np.array([[3.0, 3.0, -3.0], [9.0, -9.0, -9.0]])
    embeddings = np.full((2, 5), 4.0)
    found = apply_guard(fitted(), embeddings, logits, GuardPolicy(min_confidence=0.9))
    assert found.reasons == (("low_confidence",), ())
    assert answers_of(logits, np.full(3, 0.35)).sure[0] == pytest.approx(0.9526**3, abs=1e-3)


def test_what_is_not_finite_says_nothing_and_is_novel() -> None:
    found = apply_guard(fitted(), np.full((1, 5), 4.0), np.array([[np.nan, 1.0, 1.0]]), GuardPolicy())
    assert not found.said.any()
    assert found.reasons == (("novel",),)


def test_detectors_that_read_exclusive_logits_are_refused() -> None:
    for name in detectors:
        if not detectors[name].needs_exclusive_classes:
            refuse_detector(GuardPolicy(novelty=name))
            continue
        with pytest.raises(UsageError) as caught:
            refuse_detector(GuardPolicy(novelty=name))
        assert caught.value.code == "guard.novelty"


def test_a_promised_risk_is_of_the_whole_set() -> None:
    policy = GuardPolicy(max_risk=0.3, risk_confidence=0.9)
    guard = fitted(policy, n_oof=800)
    promised = risk_of(guard)
    assert promised
    assert promised.reached
    embeddings, logits, targets = world(4_000, 5)
    found = apply_guard(guard, embeddings, logits, policy)
    given = np.array(["risk" not in reasons for reasons in found.reasons])
    assert given.tolist() == (found.sure >= promised.threshold).tolist()
    wrong = (found.said != targets).any(axis=1)
    assert wrong[given].mean() <= 0.3 < wrong.mean()


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        (Policy(costs=CostsPolicy(answer="cheapest")), "costs.multi_label"),
        (Policy(guard=GuardPolicy(sets="aps.v1")), "guard.sets"),
    ],
)
def test_what_is_made_for_one_class_is_refused(policy: Policy, code: str) -> None:
    with pytest.raises(UsageError) as caught:
        refuse_single_label(policy)
    assert caught.value.code == code
    refuse_single_label(Policy())
