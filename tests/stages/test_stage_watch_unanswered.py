"""Requests without an answer: what raises an alarm, and when another release takes the place of the one that fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import serving_case
import watch_case as case
from passmuster.core.clock import now
from passmuster.core.config import WatchPolicy
from passmuster.core.records import UNREAD, FailureRecord, Metric, Report, TrafficRecord
from passmuster.runtime.predictor import Predictor
from passmuster.stages.watch import inputs_of, read_status, resolve_incident, watch_once
from passmuster.stages.watch.state import CURSOR, pack
from passmuster.store.incidents import read_cursor, write_cursor
from passmuster.store.releases import add_report
from passmuster.store.store import Store

DOWN = "the endpoint did not answer: status 502"


def broken(self, payloads, **how):
    raise RuntimeError("no answer today")


def failed(answer: TrafficRecord) -> FailureRecord:
    """The same item, had there been no answer."""
    shared = {name: getattr(answer, name) for name in FailureRecord.__dataclass_fields__ if hasattr(answer, name)}
    return FailureRecord(**shared, code="endpoint.unanswered", why=DOWN)


def asked(traffic: case.Traffic, fails: list[bool], **how: object) -> None:
    """Items of which some stay without an answer."""
    found = traffic.answers(len(fails), **how)
    traffic.write([failed(a) if fail else a for a, fail in zip(found, fails, strict=True)])


def two_releases(new_store, monkeypatch: pytest.MonkeyPatch, failing: str) -> tuple[Store, case.Traffic]:
    """ "old" before, "new" live; those named in `failing` give no answer when they are asked."""
    store = case.project(new_store, report=False)
    broken = set()
    for name, scale in (("old", 22.0), ("new", 21.0)):
        made = serving_case.release(store, name, scale=scale)
        serving_case.point(store, "live", made)
        if name in failing:
            broken.add(made.bundle)
    answer = Predictor.predict

    def predict(self, payloads, **how):
        if self.bundle.digest in broken:
            raise RuntimeError("no answer today")
        return answer(self, payloads, **how)

    monkeypatch.setattr(Predictor, "predict", predict)
    return store, case.Traffic(store)


def test_an_outage_opens_an_incident_that_says_why(new_store, monkeypatch) -> None:
    store = case.project(new_store)
    traffic = case.Traffic(store)
    monkeypatch.setattr(Predictor, "predict", broken)
    asked(traffic, [False] * 50 + [True] * 6)
    watch_once(store)
    (incident,) = case.incidents(store)
    alarm = incident.alarm
    assert (alarm.signal, incident.channel, incident.release) == ("unanswered.v1", "live", "r1")
    assert alarm.n_seen <= 56, "a handful of failures in a row is enough"
    assert alarm.evidence["why"] == [
        f"{alarm.n_seen - 50} of the latest {alarm.n_seen - 50}: endpoint.unanswered: {DOWN}"
    ]
    assert alarm.harm_points == pytest.approx(99, abs=0.1)
    assert incident.action == "nothing was changed: there is no release before this one"
    assert "label_next" not in alarm.evidence, "labels would bring no answer"
    assert case.channels(store)["live"].mode == "normal"
    shown = list(inputs_of(store, incident))
    assert [type(s.record) for s in shown] == [FailureRecord] * (alarm.n_seen - 50)
    assert shown[0].record.input is not None
    assert "ALARM" in next(line for line in read_status(store).lines() if line.startswith("unanswered.v1"))


def test_answers_of_no_class_count_as_none(new_store) -> None:
    store = case.project(new_store)
    traffic = case.Traffic(store)
    traffic.write(traffic.answers(20))
    traffic.write(traffic.answers(20, label="(no answer)", probability=0.0, abstained=True, reasons=(UNREAD,)))
    watch_once(store)
    (incident,) = case.incidents(store)
    assert incident.alarm.signal == "unanswered.v1"
    assert "an answer that names no class" in incident.alarm.evidence["why"][0]


def test_as_many_failures_as_good_times_allow_raise_no_alarm(new_store) -> None:
    store = case.project(new_store, watch=WatchPolicy())
    traffic = case.Traffic(store)
    asked(traffic, (np.random.default_rng(0).random(3_000) < 0.01).tolist())
    watch_once(store)
    assert case.incidents(store) == []
    detector = case.state(store).live.detectors["unanswered.v1"]
    assert (detector.n_seen, detector.n_flagged) == (3_000, 34)
    assert case.state(store).live.n_predictions == 2_966, "what was not answered is no prediction"


def add_report_of_no_answers(store: Store) -> None:
    """A report that the live bundle names no class for 1.4 to 6.4 % of the items."""
    bundle = case.channels(store)["live"].bundle
    metrics = (Metric("accuracy", 0.9, 0.85, 0.94, 200), Metric("no_answer", 0.03, 0.014, 0.064, 200))
    report = Report(bundle, "5" * 64, now(), "image", ("dark", "light"), 200, 1, metrics, {}, {})
    with store.act("evaluate.done") as act:
        add_report(act.db, report)


def test_where_a_test_showed_more_the_test_counts(new_store) -> None:
    store = case.project(new_store, report=False)
    add_report_of_no_answers(store)
    watch_once(store)
    assert case.state(store).live.detectors["unanswered.v1"].mixture.null_rate == pytest.approx(0.064)


def test_a_release_that_answers_takes_the_place_of_one_that_does_not(new_store, monkeypatch) -> None:
    store, traffic = two_releases(new_store, monkeypatch, "new")
    asked(traffic, [False] * 30 + [True] * 12)
    notices = watch_once(store)
    (incident,) = case.incidents(store)
    assert case.channels(store)["live"].release == "old"
    assert incident.action == "rolled back to old, which answers"
    compared = incident.alarm.evidence["decision"]["compared"]
    assert (compared["n"], compared["unanswered_by_candidate"]) == (10, 0)
    assert compared["unanswered_by_present"] == 10
    assert compared["p_mcnemar"] <= 0.05
    assert any("watching old" in n.text for n in notices)


def test_one_that_fails_as_often_does_not(new_store, monkeypatch) -> None:
    store, traffic = two_releases(new_store, monkeypatch, "old new")
    asked(traffic, [False] * 30 + [True] * 12)
    watch_once(store)
    (incident,) = case.incidents(store)
    assert case.channels(store)["live"].release == "new"
    assert incident.action == "nothing was changed: old does not answer more"
    assert incident.alarm.evidence["decision"]["compared"]["why_candidate_failed"] == "RuntimeError"


def test_one_that_has_recovered_stays(new_store, monkeypatch) -> None:
    store, traffic = two_releases(new_store, monkeypatch, "")
    asked(traffic, [False] * 30 + [True] * 12)
    watch_once(store)
    (incident,) = case.incidents(store)
    assert case.channels(store)["live"].release == "new"
    assert incident.action == "nothing was changed: new answers again, all 10 that it had failed at"
    detector = case.state(store).live.detectors["unanswered.v1"]
    assert (detector.fired, detector.statistic) == (False, 0.0), "what is over is watched for anew"
    asked(traffic, [False] * 5 + [True] * 12)
    watch_once(store)
    (again,) = case.incidents(store)
    assert [further["signal"] for further in again.alarm.evidence["further"]] == ["unanswered.v1"]


def test_what_three_failures_cannot_decide_more_of_them_do(new_store, monkeypatch) -> None:
    """The alarm comes at the third failure in a row; that another release answers takes six to show."""
    store, traffic = two_releases(new_store, monkeypatch, "new")
    asked(traffic, [False] * 200)
    watch_once(store)
    n = fail_until(lambda: bool(case.incidents(store)), store, traffic)
    assert n <= 4
    (incident,) = case.incidents(store)
    assert incident.action == "nothing was changed: old answers more, of too few to tell yet"
    assert case.channels(store)["live"].release == "new"
    n += fail_until(lambda: case.channels(store)["live"].release == "old", store, traffic)
    assert n <= 12
    (incident,) = case.incidents(store)
    assert incident.action.endswith("; then, on unanswered.v1: rolled back to old, which answers")


def fail_until(done: Callable[[], bool], store: Store, traffic: case.Traffic) -> int:
    """Requests that fail one by one, each seen by the watch, until `done`; how many there were."""
    for n in range(30):
        if done():
            return n
        asked(traffic, [True])
        watch_once(store)
    raise AssertionError("thirty failures in a row changed nothing")


def test_what_stands_in_for_a_canary_accuses_nobody(new_store) -> None:
    """Items that the canary failed at are no sample of what comes to the live release."""
    store = case.project(new_store)
    traffic = case.Traffic(store)
    hard = traffic.answers(60, stands_in=True, novel=True)
    traffic.write([r for a in hard for r in (a, traffic.label(a, error=True))])
    traffic.write([replace(failed(a), stands_in=True) for a in traffic.answers(20)])
    watch_once(store)
    assert case.incidents(store) == []
    assert case.state(store).live.n_predictions == 0


def test_what_stands_in_is_not_asked_about_again(new_store, monkeypatch) -> None:
    """What the canary failed at, and the live release too, says nothing of the requests that were the live one's."""
    store, traffic = two_releases(new_store, monkeypatch, "new")
    asked(traffic, [False] * 30 + [True] * 4)
    traffic.write([replace(failed(a), stands_in=True) for a in traffic.answers(20)])
    watch_once(store)
    (incident,) = case.incidents(store)
    assert incident.alarm.evidence["decision"]["compared"]["n"] == 4


def test_what_failed_in_an_earlier_stay_is_not_asked_about_again(new_store, monkeypatch) -> None:
    store, traffic = two_releases(new_store, monkeypatch, "new")
    long_ago = [failed(a) for a in traffic.answers(20, at="2020-01-01T00:00:00.000000+00:00")]
    traffic.write(long_ago)
    asked(traffic, [False] * 30 + [True] * 4)
    watch_once(store)
    (incident,) = case.incidents(store)
    assert incident.alarm.evidence["decision"]["compared"]["n"] == 4


def test_a_report_that_comes_later_says_what_is_usual(new_store) -> None:
    store = case.project(new_store, report=False)
    watch_once(store)
    assert case.state(store).live.detectors["unanswered.v1"].mixture.null_rate == 0.01
    add_report_of_no_answers(store)
    watch_once(store)
    assert case.state(store).live.detectors["unanswered.v1"].mixture.null_rate == pytest.approx(0.064)


def test_the_policy_may_forbid_it(new_store, monkeypatch) -> None:
    store, traffic = two_releases(new_store, monkeypatch, "new")
    (store.folder / "muster.toml").write_text(
        (store.folder / "muster.toml").read_text().replace('"rollback-or-degrade"', '"degrade"')
    )
    store = Store.open(store.folder)
    asked(traffic, [True] * 12)
    watch_once(store)
    assert case.channels(store)["live"].release == "new"
    assert "the policy lets no other release take its place" in case.incidents(store)[0].action


@pytest.mark.parametrize(("fails", "stays"), [(0.02, True), (0.9, False)])
def test_a_canary_that_does_not_answer_is_withdrawn(new_store, fails: float, stays: bool) -> None:
    store = case.project(new_store)
    serving_case.point(store, "canary", serving_case.release(store, "new", scale=21.0), share=0.33)
    traffic, rng = case.Traffic(store), np.random.default_rng(0)
    for _ in range(40):
        asked(traffic, (rng.random(2) < 0.02).tolist())
        asked(traffic, (rng.random(1) < fails).tolist(), channel="canary")
    watch_once(store)
    assert ("canary" in case.channels(store)) == stays
    found = [i for i in case.incidents(store) if i.channel == "canary"]
    assert [i.alarm.signal for i in found] == ([] if stays else ["canary_unanswered.v1"])
    if found:
        evidence = found[0].alarm.evidence
        assert evidence["compared"] == "requests without an answer"
        assert evidence["why"][0].endswith(DOWN)
        assert found[0].alarm.bound == pytest.approx(1 / (0.01 * 0.1))
        assert resolve_incident(store, found[0].id, note="its address was wrong")[1] is None


def test_a_watch_that_began_before_there_was_this_signal_goes_on_with_it(new_store) -> None:
    store = case.project(new_store)
    traffic = case.Traffic(store)
    traffic.labelled([False] * 10)
    watch_once(store)
    state = case.state(store)
    old = {name: d for name, d in state.live.detectors.items() if name != "unanswered.v1"}
    with store.read() as db:
        position = read_cursor(db, CURSOR)[0]
    with store.note() as db:
        write_cursor(db, CURSOR, position, pack(replace(state, live=replace(state.live, detectors=old))))
    watch_once(store)
    live = case.state(store).live
    assert sorted(live.detectors) == ["errors.v1", "novelty.v1", "unanswered.v1"]
    assert (live.n_labels, live.detectors["errors.v1"].n_seen) == (10, 10), "the others go on where they were"
