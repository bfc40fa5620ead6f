"""Where a project stands, at every step of the way: what is there, what comes next, and that asking changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import select

from evaluate_case import Digits, add_model, go_live, make_digits
from passmuster.cli.status_verb import lines_of
from passmuster.core.clock import now
from passmuster.core.records import Alarm, Incident, Label, Release, Verdict
from passmuster.flows.label_facts import Facts
from passmuster.flows.status import project_status
from passmuster.stages.evaluate import evaluate
from passmuster.stages.evaluate.draft import Scope
from passmuster.store.incidents import write_incident
from passmuster.store.items import add_labels
from passmuster.store.ledger import read as read_ledger
from passmuster.store.releases import (
    add_release,
    add_verdict,
    point_channel,
    read_release,
    read_releases,
    start_run,
)
from passmuster.store.schema import seal_openings
from passmuster.store.store import Store

QUICK = Scope(n_corrupted=0, n_fit=50, n_classes_left_out=1, n_resamples=20, page=False)


@pytest.fixture
def digits(new_store: Callable[..., Store]) -> Digits:
    return make_digits(new_store("image"))


def judged(store: Store, bundle: str, path: str, outcome: str, n_more: int | None = None, name: str = "") -> str:
    """A verdict and a release, as `muster release` would leave them."""
    name = name or f"r-{outcome.lower()}"
    verdict = Verdict(bundle, "r" * 64, "p" * 64, outcome, (), now(), 1, n_more)  # type: ignore[arg-type]
    with store.act("release") as act:
        add_verdict(act.db, verdict, "{}")
        add_release(act.db, Release(name, bundle, outcome, path, now()))  # type: ignore[arg-type]
    return name


def test_an_empty_project_wants_data(new_store: Callable[..., Store]) -> None:
    found = project_status(new_store("text"))
    assert (found.snapshot, found.candidates, found.n_labels) == (None, (), {"train": 0, "test": 0})
    assert found.next == "muster add PATH"
    assert "no bundle so far" in list(lines_of(found))


def test_data_without_labels_wants_labels_and_with_them_a_training(new_store: Callable[..., Store]) -> None:
    digits = make_digits(new_store("image"))
    found = project_status(digits.store)
    assert found.snapshot is not None
    assert sum(found.snapshot.n_items.values()) == sum(len(items) for items in digits.items.values())
    assert found.n_labels["test"] == 200
    assert found.next == ("muster train" if found.n_labels["train"] else "muster label --serve")
    item = digits.items["train"][0]
    with digits.store.act("label") as act:
        add_labels(act.db, [Label(item.key, "3", "anna", now(), "train")])
    assert project_status(digits.store).next == "muster train"


def test_asking_opens_and_records_nothing(digits: Digits) -> None:
    add_model(digits)
    with digits.store.read() as db:
        before = [event.hash for event in read_ledger(db)]
    list(lines_of(project_status(digits.store)))
    with digits.store.read() as db:
        assert [event.hash for event in read_ledger(db)] == before
        assert not list(db.execute(select(seal_openings)))


def test_a_bundle_is_followed_from_training_to_the_channel(digits: Digits) -> None:
    store = digits.store
    older, bundle = add_model(digits, n_fit=60), add_model(digits, run="run-2")
    fresh = project_status(store)
    assert [row.bundle for row in fresh.candidates] == [bundle.digest, older.digest], "latest first"
    assert (fresh.candidates[0].accuracy, fresh.candidates[0].verdict, fresh.n_looks) == (None, "", 0.0)
    assert fresh.next == f"muster release {bundle.digest[:16]}"

    report = evaluate(store, bundle.digest, scope=QUICK).report
    measured = project_status(store)
    assert measured.candidates[0].accuracy == report.metric("accuracy")
    assert measured.n_looks == 1.0
    assert any("looked at 1 of 5 times" in line for line in lines_of(measured))
    assert project_status(store, n_shown=1).n_bundles == 2
    assert "… and 1 more (--show 2)" in list(lines_of(project_status(store, n_shown=1)))

    name = judged(store, bundle.digest, bundle.path, "SHIP")
    assert project_status(store).next == f"muster approve {name}"
    go_live(store, bundle)
    live = project_status(store)
    assert live.candidates[0].channels == ("live",)
    assert live.next == "muster watch"
    assert f"live: {live.channels['live'].release}" in list(lines_of(live))
    again = replace(live.candidates[0], release="r-again", verdict="HOLD")
    assert any(
        line.startswith("live: ") and line.endswith("(the same bundle was judged again since: r-again, HOLD)")
        for line in lines_of(replace(live, candidates=(again, *live.candidates[1:])))
    )

    with store.act("label") as act:
        fresh_labels = [Label(item.key, "3", "anna", now(), "train") for item in digits.items["train"][:7]]
        add_labels(act.db, fresh_labels)
    assert project_status(store).candidates[0].n_labels_since == live.candidates[0].n_labels_since + 7
    assert project_status(store).next == "muster train", "what it could learn from has grown"

    incident = Incident("i-1", now(), "live", name, Alarm("errors", "live", 9.0, 3.0, 100, 2.0), "alarm")
    with store.act("incident.open") as act:
        write_incident(act, incident)
    assert project_status(store).next == "muster incidents i-1", "what burns comes first"
    with store.act("incident.close") as act:
        write_incident(act, replace(incident, closed=now(), resolution="mended"))
    assert project_status(store).next == "muster train"


def test_labels_on_items_held_out_for_the_guard_are_not_counted_as_learnt_from(digits: Digits) -> None:
    store, bundle = digits.store, add_model(digits)
    before = project_status(store)
    item = digits.items["reference"][0]
    with store.act("label") as act:
        add_labels(act.db, [Label(item.key, "3", "anna", now(), "train")])
    after = project_status(store)
    assert after.n_labels == before.n_labels
    assert after.candidates[0].n_labels_since == before.candidates[0].n_labels_since
    facts = Facts(store, "anna", again=False)
    assert facts.n_labels() == dict(after.n_labels)
    assert sum(facts.counts()["train"].values()) == after.n_labels["train"]
    assert bundle.digest == after.candidates[0].bundle


def test_what_was_put_back_is_not_asked_for_again(digits: Digits) -> None:
    store = digits.store
    first, second = add_model(digits, n_fit=60), add_model(digits)
    for bundle in (first, second):
        name = judged(store, bundle.digest, bundle.path, "SHIP", name=f"r-{bundle.digest[:4]}")
        with store.act("release.approve") as act:
            point_channel(act, "live", read_release(act.db, name))
            act.payload.update(channel="live", release=name, share=1.0, mode="normal", expires="", override="")
    rollback_of(store)
    found = project_status(store)
    row = next(row for row in found.candidates if row.bundle == second.digest)
    assert row.put_back.endswith(": customers complain")
    assert found.next.startswith("muster add PATH (every test item has a label; ")
    assert found.next.endswith(f"or muster train ({row.put_back})")
    assert any("customers complain" in line for line in lines_of(found) if line.startswith("live: "))


def rollback_of(store: Store) -> None:
    """A rollback as its act leaves it; the bundles here are not signed."""
    with store.act("channel.rollback") as act:
        target, present = read_releases(act.db)[1], read_releases(act.db)[0]
        point_channel(act, "live", target)
        reason = {"reason": "customers complain", "from": present.id, "to": target.id}
        act.payload.update(channel="live", bundle=target.bundle, **reason)


def test_a_policy_that_was_edited_since_is_said(digits: Digits) -> None:
    store, bundle = digits.store, add_model(digits)
    name = judged(store, bundle.digest, bundle.path, "SHIP")
    with store.act("release.sign") as act:
        act.payload.update(release=name, gates_policy="0" * 64)
    found = project_status(store)
    assert found.candidates[0].edited
    assert found.next == f"muster release {bundle.digest[:16]} (the policy was edited since its verdict)"
    assert any("the policy was edited since" in line for line in lines_of(found))


def test_past_thresholds_are_listed_and_those_that_moved_are_told(digits: Digits) -> None:
    store, bundle = digits.store, add_model(digits)
    name = judged(store, bundle.digest, bundle.path, "HOLD")
    kept = {"shared": {}, "numbers": {"accuracy.v1": {"min": 0.99}}, "states": {"accuracy.v1": "failed"}}
    with store.act("release.sign") as act:
        act.payload.update(release=name, thresholds=kept)
    found = project_status(store)
    assert [(one.gate, one.asked[0].value, one.now) for one in found.thresholds] == [("accuracy.v1", 0.99, 0.8)]
    (line,) = (line for line in lines_of(found) if "min: " in line)
    assert line.startswith("accuracy.v1 min: 0.99 (")
    assert line.endswith("failed), 0.8 now")


def test_the_one_that_answers_is_listed_however_old_it_is(digits: Digits) -> None:
    older = add_model(digits, n_fit=60)
    go_live(digits.store, older)
    newer = add_model(digits, run="run-2")
    found = project_status(digits.store, n_shown=1)
    assert [row.bundle for row in found.candidates] == [newer.digest, older.digest]


@pytest.mark.parametrize(
    ("outcome", "n_labelled", "following"),
    [
        ("HOLD", 200, "look at the report, mend the data and muster train again"),
        ("INSUFFICIENT", 200, "muster add PATH (every test item has a label; about 30 more labelled test items"),
        ("INSUFFICIENT", 150, "muster label --export todo.csv --for test (about 30 more test labels), then muster rel"),
    ],
)
def test_a_verdict_that_does_not_ship_says_what_may_change_it(
    new_store: Callable[..., Store], outcome: str, n_labelled: int, following: str
) -> None:
    digits = make_digits(new_store("image"), n_labelled=n_labelled)
    bundle = add_model(digits)
    evaluate(digits.store, bundle.digest, scope=QUICK)
    judged(digits.store, bundle.digest, bundle.path, outcome, 30)
    assert project_status(digits.store).next.startswith(following)


def test_labels_newer_than_the_report_ask_for_the_verdict_again(new_store: Callable[..., Store]) -> None:
    digits = make_digits(new_store("image"), n_labelled=150)
    bundle = add_model(digits)
    evaluate(digits.store, bundle.digest, scope=QUICK)
    judged(digits.store, bundle.digest, bundle.path, "INSUFFICIENT", 30)
    with digits.store.act("label") as act:
        add_labels(act.db, [Label(item.key, "3", "anna", now(), "test") for item in digits.items["test"][150:154]])
    found = project_status(digits.store)
    assert found.candidates[0].outdated == "4 test labels are newer than its report"
    assert found.next == f"muster release {bundle.digest[:16]}"


def test_a_stopped_training_goes_on_and_a_living_one_is_left_alone(digits: Digits) -> None:
    with digits.store.act("train.start") as act:
        start_run(act.db, "train-1", "train", "s" * 64, {})
    stopped = project_status(digits.store)
    assert (stopped.training, stopped.under_way) == ("train-1", False)
    assert stopped.next.startswith("muster train, as it was begun")
    with digits.store.lock("train"):
        living = project_status(digits.store)
    assert living.under_way
    assert not living.next.startswith("muster train, as it was begun")
    assert any("train-1 is under way" in line for line in lines_of(living))
