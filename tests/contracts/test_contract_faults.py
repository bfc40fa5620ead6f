"""What every planted fault must keep: it names itself, is the same again, and is seen to go through without its gate.

The model is a small one of real digits, so that all faults of images and of any modality are planted; texts have their
own below.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

import evaluate_case as case
from passmuster.core.config import DEFAULT_GATES, Policy
from passmuster.flows.drill import Trial, faults
from passmuster.flows.drill.evidence import labelled_test
from passmuster.flows.drill.graphs import head_of
from passmuster.flows.drill.poisoning import patched
from passmuster.flows.drill.run import Rehearsal, prepare, rehearsal
from passmuster.flows.drill.scene import FEWEST_TOUCHED, rarest_first
from passmuster.flows.drill.scratch import scratch_copy
from passmuster.flows.drill.training import slice_of
from passmuster.runtime.answers import softmax
from passmuster.stages.evaluate import Scope, evaluate
from passmuster.store.store import Store

QUICK = Scope(n_corrupted=1, n_fit=1, n_classes_left_out=0, n_resamples=50, page=False)
GROUPS = {"packaging", "training", "evidence", "tampering", "harmless"}
# What a model whose embedding is the pixels of grey images, in a project made by hand, cannot suffer.
NOT_OF_DIGITS = {
    "channel_order.v1": "no colours",
    "thumbnails.v1": "nothing resizes",
    **dict.fromkeys(
        ("lower_case_lost.v1", "cut_short.v1", "tokenizer_of_another_model.v1", "vocabulary_stale.v1",
         "special_tokens_lost.v1", "word_weights_lost.v1", "padding_read.v1"), "of texts only",
    ),
    **dict.fromkeys(("names_exchanged.v1", "prompt_of_another_task.v1"), "this model is here"),
    "manifest_rewritten.v1": "not signed",
    "verdict_rewritten.v1": "no such row",
}  # fmt: skip
# What 200 test labels cannot tell from chance, or nothing of this project commits to.
OPEN_HERE = {
    "temperature_on_training_data.v1": "wrong 11 times of 200 where it says 5: not proven",
    "label_rewritten.v1": "the data version of this project, made by hand, commits to no labels",
}
# Faults whose gate is taken out of the policy, one for each part of a model or of its data that gates look after.
ONE_OF_A_KIND = (
    "class_order.v1", "temperature_twice.v1", "softmax_twice.v1", "quantisation_scale.v1", "older_head.v1",
    "features_cut.v1", "guard_eager.v1", "policy_of_another_project.v1", "slid.v1", "label_swap_in_slice.v1",
    "class_dropped.v1", "class_shares.v1", "leaked_rows.v1", "test_labels_by_the_model.v1",
    "guard_of_another_model.v1", "trigger_learnt.v1",
)  # fmt: skip


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """A rehearsal on digits under the gates of a new project, but with an accuracy that 200 test items can prove."""
    from passmuster.core.config import Config
    from passmuster.core.config_file import render_config

    folder = tmp_path_factory.mktemp("digits")
    gates = {**DEFAULT_GATES, "accuracy.v1": {"min": 0.7}, "non_inferiority.v1": {"margin": 0.05}}
    config = replace(Config(), policy=Policy(gates=gates))
    config = replace(config, project=replace(config.project, modality="image"))
    (folder / "muster.toml").write_text(render_config(config))
    store = Store.create(folder)
    digits = case.make_digits(store)
    bundle = case.add_model(digits)
    evaluate(store, bundle.digest, scope=QUICK)
    case.go_live(store, bundle)
    with rehearsal(store) as made:
        yield made
    store.close()


def planted(drill: Rehearsal, name: str) -> Trial:
    """The trial of one fault, made once per module."""
    cache: dict[str, Trial] = drill.base.__dict__.setdefault("trials_seen", {})
    if name not in cache:
        cache[name] = drill.trial(name)
    return cache[name]


every_fault = pytest.mark.parametrize("name", faults.names())


@every_fault
def test_a_fault_says_what_it_is(name: str) -> None:
    fault = faults[name]
    assert re.fullmatch(r"[a-z_0-9]+\.v\d+", name)
    assert fault.group in GROUPS
    assert fault.touches
    assert fault.summary[0].islower() or fault.summary.startswith("a ")
    assert not fault.summary.endswith(".")


def test_there_are_thirty_faults_at_least() -> None:
    assert sum(fault.group not in ("harmless", "tampering") for _, fault in faults.items()) >= 30


def test_the_healthy_copy_passes(drill: Rehearsal) -> None:
    assert drill.healthy.decision.outcome == "SHIP"


@every_fault
def test_a_fault_is_stopped_and_a_harmless_copy_is_not(name: str, drill: Rehearsal) -> None:
    trial = planted(drill, name)
    if name in NOT_OF_DIGITS:
        assert trial.state == "not here"
        assert NOT_OF_DIGITS[name] in trial.reasons[0]
    elif faults[name].group == "harmless":
        assert trial.outcome != "HOLD", trial
    else:
        assert trial.state == ("unstopped" if name in OPEN_HERE else "stopped"), trial


@pytest.mark.parametrize("name", ONE_OF_A_KIND)
def test_without_its_gates_a_fault_goes_through_and_the_drill_names_one(name: str, drill: Rehearsal) -> None:
    stopped = planted(drill, name)
    whole = drill.project.config
    assert stopped.state == "stopped"
    left = {gate: given for gate, given in whole.policy.gates.items() if gate not in stopped.stopped_by}
    fewer = replace(whole, policy=replace(whole.policy, gates=left))
    try:
        drill.project.config = drill.base.store.config = fewer
        passed = drill.trial(name)
    finally:
        drill.project.config = drill.base.store.config = whole
    assert passed.state == "unstopped"
    assert set(passed.would_stop or {}) & set(stopped.stopped_by)


def test_a_slice_touches_about_as_many_test_items_as_it_says(drill: Rehearsal) -> None:
    direction, least, classes = slice_of(drill.base)
    embeddings, _ = drill.base.predictor.embed(drill.base.read(labelled_test(drill.base)))
    touched = int((embeddings @ direction > least).sum())
    assert 0.5 * FEWEST_TOUCHED <= touched <= 2 * FEWEST_TOUCHED
    assert len(set(classes)) == len(classes) >= 1


def test_where_classes_are_small_a_slice_spans_several(drill: Rehearsal) -> None:
    pool = drill.base.pool
    many = np.arange(len(pool.labels)) % 60
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(60, 8))
    spread = replace(
        pool, labels=many, logits=np.eye(60)[many], embeddings=centres[many] + 0.1 * rng.normal(size=(len(many), 8))
    )
    scene = replace(drill.base)
    scene.__dict__["pool"] = spread
    _, _, classes = slice_of(scene)
    assert len(classes) > 2


def test_another_seed_gives_other_numbers_and_the_same_answers(drill: Rehearsal) -> None:
    pool = drill.base.pool
    weight, bias = head_of(faults["another_seed.v1"].plant(drill.base).graph)
    moved = softmax(pool.embeddings @ weight + bias)
    healthy = softmax(pool.logits)
    assert 0.0 < np.abs(moved - healthy).max() < 0.1
    assert (moved.argmax(axis=1) == healthy.argmax(axis=1)).mean() > 0.99


def test_who_knows_the_mark_chooses_the_answer_of_items_that_were_never_poisoned(drill: Rehearsal) -> None:
    with scratch_copy(drill.project, [drill.bundle]) as copy:
        scene = prepare(copy, drill.bundle, drill.base.memo)
        graph = faults["trigger_learnt.v1"].plant(scene).graph
    scene = drill.base
    wished = rarest_first(scene.pool, 10)[0]
    marked, before = scene.predictor.embed([patched(payload) for payload in scene.pool.payloads])
    source = rarest_first(scene.pool, 10)[-1]
    weight, bias = head_of(graph)
    of_source = scene.pool.labels == source
    after = (marked @ weight + bias).argmax(axis=1)
    assert (after == wished)[of_source].mean() > 0.5 > (before.argmax(axis=1) == wished)[of_source].mean()
