"""Evaluate, on real digits and bundles that run: numbers that can be checked by hand, and every way it must refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from evaluate_case import Digits, add_model, go_live, image_store, make_digits
from passmuster.core.codec import from_plain
from passmuster.core.digests import sha256_hex
from passmuster.core.errors import DataError, IntegrityError, NotFoundError
from passmuster.core.progress import Silent
from passmuster.core.records import Report
from passmuster.metrics.novelty import detectors
from passmuster.modality.find import modalities
from passmuster.stages.evaluate import EvaluateResult, Scope, evaluate, foresee
from passmuster.stages.evaluate.draft import Draft
from passmuster.stages.evaluate.summary import when_sure
from passmuster.store.items import add_labels, read_labels
from passmuster.store.ledger import read as read_events
from passmuster.store.releases import read_report
from passmuster.store.schema import seal_openings
from passmuster.store.store import Store

SMALL = Scope(n_corrupted=8, n_fit=150, n_classes_left_out=3, n_resamples=20, n_previews=40)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Digits, EvaluateResult]:
    """A full evaluation: four twins across the split, and a weaker live release."""
    digits = make_digits(image_store(tmp_path_factory.mktemp("whole")), n_twins=4)
    go_live(digits.store, add_model(digits, n_fit=60, run="run-0"))
    add_model(digits)
    return digits, evaluate(digits.store)


@pytest.fixture
def digits(tmp_path: Path) -> Digits:
    return make_digits(image_store(tmp_path / "project"))


def n_openings(store: Store) -> int:
    with store.read() as db:
        return len(db.execute(seal_openings.select()).all())


def test_the_headline_is_what_the_bundle_answers(whole: tuple[Digits, EvaluateResult]) -> None:
    """Recomputed from the parity file's way of making logits: pixels times the head's weights."""
    digits, result = whole
    answers = result.report.sections["answers"]
    truth = dict(zip((i.key for i in digits.items["test"]), digits.shown["test"]))
    said = [result.report.classes[i] for i in answers["predicted"]]
    right = np.mean([truth[key] == label for key, label in zip(answers["keys"], said)])
    headline = result.report.metric("accuracy")
    assert headline is not None
    assert headline.value == pytest.approx(right)
    assert (headline.n, result.report.n_test, result.report.look) == (200, 200, 1)
    assert 0.9 < right < 1.0
    assert result.report.sections["parity"]["agreement"] == 1.0
    assert result.report.sections["parity"]["max_abs_difference"] < 1e-3


def test_every_metric_has_an_interval_and_opens_items(whole: tuple[Digits, EvaluateResult]) -> None:
    digits, result = whole
    known = {item.key for items in digits.items.values() for item in items}
    for metric in result.report.metrics:
        assert metric.low <= metric.value <= metric.high, metric
        assert metric.method, metric
        assert metric.items in result.report.item_sets, metric
    for name, keys in result.report.item_sets.items():
        assert keys, name
        assert set(keys) <= known, name


def test_the_names_that_gates_read_are_there(whole: tuple[Digits, EvaluateResult]) -> None:
    report = whole[1].report
    for name in (
        "accuracy", "macro_f1", "ece", "nll", "brier", "aurc", "abstention_rate", "accuracy_answered",
        "negative_flip_rate", "accuracy_difference", "accuracy_under_faults",
    ):  # fmt: skip
        assert report.metric(name) is not None, name
    for fault in modalities["image"].usual_faults:
        for severity in range(1, 6):
            assert report.metric("accuracy", f"corruption={fault} severity={severity}") is not None
    for detector in detectors:
        assert report.metric("novelty_auroc", f"detector={detector}") is not None
        assert report.metric("novelty_fpr95", f"detector={detector}") is not None
    own = report.metric("novelty_auroc", "detector=knn.v1+mahalanobis.v1")
    assert own is not None, "the guard's own detector is two"
    rows = report.sections["novelty"]["rows"]
    assert rows[0]["detector"] == report.sections["novelty"]["guard"] == "knn.v1+mahalanobis.v1"
    assert own.value > 0.5
    for name in report.classes:
        assert report.metric("recall", f"class={name}") is not None
        assert report.metric("precision", f"class={name}") is not None
    for section in (
        "per_class", "confusion", "calibration", "risk_coverage", "corruptions", "novelty", "versions", "training",
        "data", "unknown", "summary", "parity",
    ):  # fmt: skip
        assert report.sections[section], section


def test_counts_agree_with_each_other(whole: tuple[Digits, EvaluateResult]) -> None:
    report = whole[1].report
    counts = np.array(report.sections["confusion"]["counts"])
    headline = report.metric("accuracy")
    assert headline is not None
    assert counts.sum() == 200
    assert np.trace(counts) == round(headline.value * 200)
    assert sum(b["accuracy"]["n"] for b in report.sections["calibration"]["bins"]) == 200
    assert sum(row["n"] for row in report.sections["per_class"]) == 200
    assert report.sections["risk_coverage"]["risk"][-1] == pytest.approx(1 - headline.value)
    off = [m["n"] for m in report.sections["confusion"]["most_confused"]]
    assert sum(off) == counts.sum() - np.trace(counts)


def test_versions_are_compared_item_by_item(whole: tuple[Digits, EvaluateResult]) -> None:
    _, result = whole
    section = result.report.sections["versions"]
    assert section["incumbent"] == result.report.incumbent != result.report.bundle
    four = [section[name] for name in ("both_right", "only_candidate", "only_incumbent", "both_wrong")]
    assert sum(four) == section["n"] == 200
    assert section["only_candidate"] > section["only_incumbent"]
    assert section["p_mcnemar"] < 0.01
    difference = result.report.metric("accuracy_difference")
    assert difference is not None
    assert difference.value == pytest.approx((section["only_candidate"] - section["only_incumbent"]) / 200)
    assert len(section["changed"]) == len(result.report.item_sets["changed"])
    assert all(row["candidate"] != row["incumbent"] for row in section["changed"])
    assert len(result.report.item_sets["negative_flips"]) == section["only_incumbent"]


def test_twins_are_paired_and_the_headline_is_given_without_them(whole: tuple[Digits, EvaluateResult]) -> None:
    digits, result = whole
    pairs = result.report.sections["data"]["leakage"]
    train, test = ([item.key for item in digits.items[split]] for split in ("train", "test"))
    assert [(p["train"], p["test"]) for p in pairs] == list(zip(train[:4], test[:4]))
    clean = result.report.metric("accuracy", "leakage=clean")
    assert clean is not None
    assert clean.n == 196
    assert not set(result.report.item_sets["leakage=clean"]) & set(test[:4])


def test_faults_cost_more_the_worse_they_are(whole: tuple[Digits, EvaluateResult]) -> None:
    section = whole[1].report.sections["corruptions"]
    at = {(row["corruption"], row["severity"]): row["accuracy"]["value"] for row in section["rows"]}
    mild, severe = (np.mean([v for (_, s), v in at.items() if s == severity]) for severity in (1, 5))
    assert severe < mild - 0.1
    assert section["clean"]["value"] >= mild
    assert section["worst"] in {name for name, _ in at}


def test_what_is_kept_is_what_was_reported(whole: tuple[Digits, EvaluateResult]) -> None:
    digits, result = whole
    data = (result.path.parent / "report.json").read_bytes()
    assert sha256_hex(data) == result.digest
    assert from_plain(Report, json.loads(data)) == result.report
    with digits.store.read() as db:
        assert read_report(db, result.report.bundle) == (result.digest, result.report)
        event = list(read_events(db))[-1]
    assert event.kind == "evaluate.done"
    assert event.payload["report"] == result.digest
    assert event.payload["look"] == 1


def test_no_id_and_no_content_is_in_the_report(whole: tuple[Digits, EvaluateResult]) -> None:
    digits, result = whole
    text = (result.path.parent / "report.json").read_text()
    assert not any(item.id in text or item.blob in text for item in digits.items["test"])


def test_the_same_seed_gives_the_same_numbers(digits: Digits) -> None:
    add_model(digits)
    first, second = (evaluate(digits.store, scope=SMALL).report for _ in range(2))
    assert first.metrics == second.metrics
    assert (first.look, second.look) == (1, 2)
    assert any("looked at 2 times" in line for line in second.sections["unknown"])


def test_products_of_an_evaluation_take_one_thread_and_give_the_others_back(digits: Digits) -> None:
    seen: list[int] = []

    class Listening(Silent):
        def say(self, line: str) -> None:
            seen.extend(threads_of_products())

    add_model(digits)
    with threadpool_limits(2, "blas"):
        before = threads_of_products()
        evaluate(digits.store, progress=Listening(), scope=replace(SMALL, page=False))
        assert threads_of_products() == before
    assert set(seen) == {1}


def threads_of_products() -> list[int]:
    return [int(found["num_threads"]) for found in threadpool_info() if "numpy" in found["filepath"]]


def test_without_test_labels_the_seal_stays_closed(tmp_path: Path) -> None:
    digits = make_digits(image_store(tmp_path / "p"), n_labelled=0)
    add_model(digits)
    for work in (evaluate, foresee):
        with pytest.raises(DataError) as caught:
            work(digits.store)
        assert caught.value.code == "evaluate.no_test_labels"
        assert caught.value.next == "muster label --export todo.csv --for test"
    assert n_openings(digits.store) == 0


def test_foresee_opens_nothing(digits: Digits) -> None:
    bundle = add_model(digits)
    assert "200 labelled items" in foresee(digits.store)[0]
    assert bundle.digest[:16] in foresee(digits.store, bundle.digest[:6])[0]
    assert n_openings(digits.store) == 0


def test_one_class_in_the_test_is_said(tmp_path: Path) -> None:
    digits = make_digits(image_store(tmp_path / "p"), only="3", n_labelled=9)
    add_model(digits)
    report = evaluate(digits.store, scope=SMALL).report
    assert report.n_test == 9
    assert any("All test labels are of one class" in line for line in report.sections["unknown"])
    assert any("Classes without a test label (9)" in line for line in report.sections["unknown"])
    assert report.sections["novelty"]["setting"] == "none"


def test_a_single_test_label_is_enough_to_report(tmp_path: Path) -> None:
    digits = make_digits(image_store(tmp_path / "p"), n_labelled=1)
    add_model(digits)
    report = evaluate(digits.store, scope=SMALL).report
    for name in ("accuracy", "macro_f1", "macro_accuracy", "aurc", "augrc"):
        metric = report.metric(name)
        assert metric is not None
        # the right answer leaves the other ends open, whatever draws of one item say
        assert metric.high - metric.low > 0.5, name


def test_of_a_few_sure_answers_the_number_is_said_and_no_share() -> None:
    """“Right on 100 % of them” is true of a single item, and says too much."""
    for n_sure, words in ((3, "it is right on 3 of 3."), (30, "it is right on 100\u00a0% of them.")):
        sure = np.where(np.arange(40) < n_sure, 0.95, 0.5)
        answers = cast(Any, SimpleNamespace(confidence=sure, predicted=np.zeros(40)))
        evidence = cast(Any, SimpleNamespace(y=np.zeros(40), keys=tuple(map(str, range(40))), weights=np.ones(40)))
        (line,), _ = when_sure(Draft(), evidence, answers)
        assert line["text"].endswith(words)


def test_shares_of_sure_answers_count_drawn_labels_by_their_weights() -> None:
    """Thirty of sixty labels are sure, a third of those wrong; but they stand for a quarter, and the wrong for less."""
    sure, wrong = np.where(np.arange(60) < 30, 0.95, 0.5), np.arange(60) < 10
    weights = np.where(np.arange(60) < 30, np.where(wrong, 0.5, 1.0), 75 / 30)
    answers = cast(Any, SimpleNamespace(confidence=sure, predicted=np.zeros(60)))
    evidence = cast(Any, SimpleNamespace(y=wrong.astype(float), keys=tuple(map(str, range(60))), weights=weights))
    (line,), _ = when_sure(Draft(), evidence, answers)
    assert "which it is for 25.0\u00a0% of items" in line["text"]
    assert line["text"].endswith("80.0\u00a0% of them.")


def test_a_label_that_the_model_does_not_know_counts_as_wrong(digits: Digits) -> None:
    add_model(digits, without="7")
    report = evaluate(digits.store, scope=SMALL).report
    assert report.classes[-1] == "7"
    recall = report.metric("recall", "class=7")
    assert recall is not None
    assert recall.value == 0.0
    assert recall.n == sum(digits.shown["test"] == "7")
    assert any("Labels that the model does not know: “7”" in line for line in report.sections["unknown"])


def test_weights_of_labels_are_used(tmp_path: Path) -> None:
    """Items that show 1 or 2 stand for fifty each: the headline is nearly theirs."""
    plain = make_digits(image_store(tmp_path / "plain"))
    add_model(plain, without="7")
    weights = [50.0 if shown in "12" else 1.0 for shown in plain.shown["test"]]
    weighted = make_digits(image_store(tmp_path / "weighted"), weights=weights)
    add_model(weighted, without="7")
    low, high = (evaluate(d.store, scope=SMALL).report.metric("accuracy") for d in (plain, weighted))
    assert low is not None
    assert high is not None
    assert high.value > low.value + 0.05
    assert "weighted" in high.method


def test_items_that_the_model_learned_from_are_no_evidence(digits: Digits) -> None:
    """A later dataset version moved ten training items into the test; they are left out, and that is said."""
    from passmuster.store.snapshots import add_snapshot, commit_items

    add_model(digits)
    moved = digits.items["train"][:10]
    root, rows = commit_items([(item, "test", "") for item in (*moved, *digits.items["test"])])
    with digits.store.act("data.add") as act:
        add_snapshot(act.db, replace(digits.snapshot, digest=root, parent=digits.snapshot.digest), rows)
        facts = read_labels(act.db, role="train")
        add_labels(act.db, [replace(facts[item.key], role="test") for item in moved])
    report = evaluate(digits.store, scope=SMALL).report
    assert report.snapshot == root
    assert report.n_test == 200
    assert not {item.key for item in moved} & set(report.item_sets["test"])
    assert any("10 test items left out, because this model learned" in line for line in report.sections["unknown"])


def test_a_changed_bundle_is_not_judged(digits: Digits) -> None:
    bundle = add_model(digits)
    path = digits.store.bundle_folder(bundle.path) / "guard.npz"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError) as caught:
        evaluate(digits.store, scope=SMALL)
    assert caught.value.code == "bundle.changed"
    assert n_openings(digits.store) == 0


def test_a_damaged_parity_file_is_named(digits: Digits) -> None:
    add_model(digits)
    (digits.store.runs_folder / "run-1" / "parity.npz").write_bytes(b"not an archive")
    with pytest.raises(IntegrityError) as caught:
        evaluate(digits.store, scope=SMALL)
    assert caught.value.code == "run.parity"


def test_the_guard_is_held_against_the_one_that_was_packed(digits: Digits) -> None:
    add_model(digits)
    same = evaluate(digits.store, scope=SMALL).report.sections["parity"]
    assert (same["n_guard"], same["threshold_shift"]) == (50, 0.0)
    assert same["guard_shift"] < 1e-3
    path = digits.store.runs_folder / "run-1" / "parity.npz"
    with np.load(path) as kept:
        arrays = dict(kept)
    np.savez(path, **{**arrays, "novelty": arrays["novelty"][::-1], "novelty_threshold": 9.0})
    other = evaluate(digits.store, scope=SMALL).report.sections["parity"]
    assert other["guard_shift"] > 0.1
    assert other["threshold_shift"] > 0.1


def test_without_a_parity_file_nothing_is_claimed(digits: Digits) -> None:
    add_model(digits)
    (digits.store.runs_folder / "run-1" / "parity.npz").unlink()
    assert "parity" not in evaluate(digits.store, scope=SMALL).report.sections


def test_named_strange_items_are_told_apart(digits: Digits, tmp_path: Path) -> None:
    """Noise instead of digits; one file that is no image is counted, not swallowed."""
    add_model(digits)
    folder = tmp_path / "strange"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(12):
        noise = rng.integers(0, 256, (8, 8, 1), dtype=np.uint8)
        (folder / f"{i}.png").write_bytes(modalities["image"].encode(noise))
    (folder / "broken.png").write_bytes(b"no image")
    result = evaluate(digits.store, novel=folder, scope=SMALL)
    section = result.report.sections["novelty"]
    assert (section["setting"], section["n_strange"], section["n_unreadable"]) == ("named", 12, 1)
    knn = result.report.metric("novelty_auroc", "detector=knn.v1")
    assert knn is not None
    assert knn.value > 0.9
    assert [row["detector"] for row in section["rows"]] == [section["guard"], *detectors]
    assert section["guard"] == "knn.v1+mahalanobis.v1", "its own two, as the bundle keeps them"
    assert len(result.report.item_sets["novel"]) == 12
    flagged = result.report.metric("novelty_flagged", "set=novel")
    assert flagged is not None
    assert flagged.value > 0.5
    assert str(tmp_path) not in json.dumps(result.report.sections)


def test_a_path_of_strange_items_that_is_not_there(digits: Digits, tmp_path: Path) -> None:
    add_model(digits)
    with pytest.raises(NotFoundError):
        evaluate(digits.store, novel=tmp_path / "nowhere", scope=SMALL)
    assert n_openings(digits.store) == 0, "what can be refused beforehand costs no look"


def test_a_disk_that_refuses_leaves_no_report(digits: Digits) -> None:
    add_model(digits)
    folder = digits.store.root / "reports"
    folder.write_text("a file where the folder should be")
    with pytest.raises(Exception, match="could not be written"):
        evaluate(digits.store, scope=SMALL)
    with digits.store.read() as db:
        assert all(event.kind != "evaluate.done" for event in read_events(db))


def test_what_falls_short_is_no_praise(digits: Digits) -> None:
    add_model(digits, n_fit=20)  # hardly taught
    summary = evaluate(digits.store).report.sections["summary"]
    good, bad = (" ".join(line["text"] for line in summary[side]) for side in ("good", "breaks"))
    assert "It is right on" not in good
    assert bad.startswith("It is right on only")
    assert "where the policy asks for 80.0" in bad
