"""What the test set remembers: copies that this bundle or an earlier live one learned from, looks, loosened bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import release_case as case
from evaluate_case import Digits, add_model, make_digits
from passmuster.core.config import Policy
from passmuster.core.records import Bundle, Item, Release
from passmuster.flows.diff import bundle_named
from passmuster.modality.find import modalities
from passmuster.stages.evaluate import evaluate
from passmuster.stages.evaluate.draft import Scope
from passmuster.stages.evaluate.memory import memory_lines
from passmuster.stages.release import judge, sign
from passmuster.store.items import add_items
from passmuster.store.releases import add_bundle, add_release, point_channel, read_bundle
from passmuster.store.snapshots import add_snapshot, commit_items
from passmuster.store.store import Store

QUICK = Scope(n_corrupted=5, n_fit=50, n_classes_left_out=1, n_resamples=20)


@pytest.fixture
def digits(new_store: Callable[..., Store]) -> Digits:
    return make_digits(new_store("image"))


def earlier_model(digits: Digits) -> Bundle:
    """A bundle that learned from another dataset version: an exact copy, a near-copy and the very item of the test."""
    store, tests = digits.store, digits.items["test"]
    modality = modalities["image"]
    near = modality.decode(store.blobs.get(tests[1].blob), store.config.data).astype(int)  # type: ignore[union-attr]
    near = np.uint8(np.clip(near + 1, 0, 255))
    blobs = store.blobs.put_many([store.blobs.get(tests[0].blob), modality.encode(near)])
    copies = [
        Item(store.keyed(f"old-{i}".encode()), f"old/{i}.png", store.keyed(blob.encode()), blob, 99, "made")
        for i, blob in enumerate(blobs)
    ]
    root, rows = commit_items([(item, "train", "") for item in [*copies, tests[2]]])
    snapshot = replace(digits.snapshot, digest=root, created="2020-01-01T00:00:00+00:00")
    bundle = add_model(digits, run="run-old", n_fit=200)
    with store.act("data.add") as act:
        add_items(act.db, copies)
        add_snapshot(act.db, snapshot, rows)
        add_snapshot(act.db, replace(digits.snapshot, digest="f" * 64), current_rows(digits))  # the latest again
    old = replace(bundle, digest="e" * 64, snapshot=snapshot.digest)
    with store.act("release.approve") as act:
        add_bundle(act.db, old)
        act.payload.update(channel="live", bundle=old.digest, release="r0001-old")
    return old


def current_rows(digits: Digits) -> list[dict[str, str]]:
    placed = [(item, split, "") for split, items in digits.items.items() for item in items]
    return commit_items(placed)[1]  # type: ignore[arg-type]


def test_copies_that_an_earlier_live_model_learned_from_are_found(digits: Digits) -> None:
    old = earlier_model(digits)
    new = add_model(digits, run="run-new")
    report = evaluate(digits.store, new.digest, scope=QUICK).report
    mine, theirs = report.sections["memory"]["contamination"]
    assert (mine["role"], mine["n_same"] + mine["n_copies"] + mine["n_near"]) == ("candidate", 0)
    assert (theirs["bundle"], theirs["role"]) == (old.digest, "earlier")
    assert (theirs["n_same"], theirs["n_copies"], theirs["n_near"]) == (1, 1, 1)
    assert set(report.item_sets[theirs["items"]]) == {item.key for item in digits.items["test"][:3]}
    assert any("knows 3 of 200 test items" in line for line in memory_lines(report.sections["memory"]))


def test_looks_are_said_with_what_they_cost(digits: Digits) -> None:
    new = add_model(digits)
    first = evaluate(digits.store, new.digest, scope=QUICK).report.sections["memory"]
    second = evaluate(digits.store, new.digest, scope=QUICK).report.sections["memory"]
    assert (first["looks"], second["looks"]) == (1.0, 2.0)
    assert first["extra_if_adaptive"] == 0.0 < second["extra_if_fixed"] < second["extra_if_adaptive"]
    assert not any("looks at these" in line for line in memory_lines(first))
    assert any(line.startswith("2 looks at these 200 labels") for line in memory_lines(second))


def test_a_bound_loosened_after_a_failed_look_is_on_verdict_and_card(new_store: Callable[..., Store]) -> None:
    made = case.ready(new_store(), n_right=330)
    strict = case.with_policy(made.store, Policy(gates={"accuracy.v1": {"min": 0.9}}))
    held = judge(strict)
    assert held.outcome == "HOLD"
    assert not any("loosened" in note for note in held.notes)
    sign(strict, held)
    loose = case.with_policy(made.store, Policy(gates={"accuracy.v1": {"min": 0.7}}))
    verdict = judge(loose)
    assert verdict.outcome == "SHIP"
    assert any("accuracy.v1 asked for min 0.9 when r0001-" in note for note in verdict.notes)
    sign(loose, verdict)
    card = (loose.bundle_folder(made.bundle.path) / "card.md").read_text()
    assert "loosened after a look" in card


def test_a_channel_and_a_release_name_a_bundle(digits: Digits) -> None:
    bundle = add_model(digits)
    release = Release(f"r0001-{bundle.digest[:8]}", bundle.digest, "SHIP", bundle.path, "2026-01-01")
    with digits.store.act("release.approve") as act:
        add_release(act.db, release)
        point_channel(act, "live", release)
    with digits.store.read() as db:
        for name in ("live", "r0001", release.id, bundle.digest[:10]):
            assert bundle_named(db, name) == read_bundle(db, bundle.digest)
