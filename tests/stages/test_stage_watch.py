"""Watch: traffic to alarms, alarms to incidents and actions, one event each, and nothing twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

import serving_case
import watch_case as case
from passmuster.core.clock import now
from passmuster.core.codec import to_plain
from passmuster.core.config import Config, WatchPolicy
from passmuster.core.digests import canonical_json, sha256_hex
from passmuster.core.errors import NotFoundError, ResourceError, UsageError
from passmuster.core.records import FeedbackRecord
from passmuster.flows.rebuilt import readable_events, wrong_channels, wrong_incidents
from passmuster.stages.watch import loop as watch_loop
from passmuster.stages.watch import read_status, resolve_incident, watch_once
from passmuster.store.approvals import how_it_came
from passmuster.store.releases import add_release, read_release, read_releases
from passmuster.store.store import Store
from passmuster.store.traffic_reader import TrafficReader

QUIET = [i % 20 == 0 for i in range(100)]  # 5 % errors
BAD = [i % 2 == 0 for i in range(80)]  # 50 %


def test_quiet_traffic_moves_the_cursor_and_nothing_else(new_store) -> None:
    store = case.project(new_store)
    case.Traffic(store).labelled(QUIET)
    before = len(case.events(store, ""))
    assert [n.kind for n in watch_once(store)] == ["following"]
    state = case.state(store)
    assert state.live is not None
    assert (state.n_read, state.live.n_predictions, state.live.n_labels) == (200, 100, 100)
    errors, novelty = state.live.detectors["errors.v1"], state.live.detectors["novelty.v1"]
    assert (errors.n_seen, errors.n_flagged, novelty.n_seen, novelty.n_flagged) == (100, 5, 100, 0)
    assert errors.mixture.null_rate == pytest.approx(1 - 0.9243, abs=0.001)  # the upper bound, not 5 %
    assert errors.declared_between == 4 * case.POLICY.mean_observations_between_false_alarms
    assert len(case.events(store, "")) == before
    assert watch_once(store) == []
    assert case.state(store) == state


def test_errors_open_one_incident_and_degrade_where_nothing_is_better(new_store) -> None:
    store = case.project(new_store)
    traffic = case.Traffic(store)
    answers = traffic.labelled([*QUIET, *BAD])
    notices = watch_once(store)
    assert [n.kind for n in notices] == ["following", "alarm"]
    (incident,) = case.incidents(store)
    (event,) = case.events(store)
    assert event.kind == "incident.open"
    said = {
        "incident": incident.id, "channel": "live", "signal": "errors.v1", "action": "degrade", "from": "r1", "to": "",
    }  # fmt: skip
    assert {name: event.payload[name] for name in said} == said
    assert event.payload["record"] == sha256_hex(canonical_json(to_plain(incident)))
    (row,) = event.payload["channels"]
    assert (row["name"], row["mode"], row["generation"]) == ("live", "degraded", 2)
    live = case.channels(store)["live"]
    assert (live.mode, live.release, live.generation) == ("degraded", "r1", 2)
    alarm, evidence = incident.alarm, incident.alarm.evidence
    assert alarm.statistic >= alarm.bound
    assert 100 < alarm.n_seen < 150
    assert abs(evidence["since_change"]["after_observation"] - 100) <= 5
    assert evidence["since_change"]["rate"] > 0.4
    assert alarm.harm_points == pytest.approx(100 * (evidence["since_change"]["rate"] - 0.05))
    assert evidence["base_rate"] == pytest.approx(0.0757, abs=0.001)
    assert evidence["decision"]["rollback"] == "there is no release before this one"
    assert set(evidence["examples"]) <= {f"p{i:06d}" for i in range(181)}
    assert incident.watermark == f"p{alarm.n_seen:06d}"
    state = case.state(store)
    assert state.n_read == 360  # what came after the alarm was read too
    assert state.live is not None
    assert state.live.detectors["errors.v1"].n_seen == 180
    traffic.write([traffic.label(answers[0], False)])  # counted in the batch of the alarm: not again
    traffic.labelled(BAD)
    assert watch_once(store) == []  # no second alarm while this incident is open
    assert case.state(store).n_corrected == 1
    assert len(case.incidents(store)) == len(case.events(store)) == 1


def test_resolving_brings_back_normal_service_and_fresh_detectors(new_store) -> None:
    store = case.project(new_store)
    traffic = case.Traffic(store)
    traffic.labelled([*QUIET, *BAD])
    late = traffic.answers(5)
    traffic.write(late)
    watch_once(store)
    (incident,) = case.incidents(store)
    closed, moved = resolve_incident(store, incident.id[:6], note="the lamp was replaced")
    assert closed.closed
    assert closed.resolution == "the lamp was replaced"
    assert moved is not None
    assert (moved.mode, moved.release, moved.generation) == ("normal", "r1", 3)
    with store.read() as db:  # what opened, degraded, resolved and moved back left is what the ledger tells
        told = readable_events(db)
        assert [*wrong_channels(db, told), *wrong_incidents(db, told)] == []
    assert [e.kind for e in case.events(store)] == ["incident.open", "incident.resolve"]
    unlabelled = traffic.answer()
    traffic.write([unlabelled])
    traffic.write([traffic.label(unlabelled, True), *(traffic.label(a, True) for a in late)])
    assert [n.kind for n in watch_once(store)] == ["following"]
    state = case.state(store)
    assert state.live is not None
    assert state.live.detectors["errors.v1"].n_seen == 1
    assert not state.live.incident
    traffic.labelled(BAD)
    assert [n.kind for n in watch_once(store)] == ["alarm"]
    with pytest.raises(UsageError, match="closed already"):
        resolve_incident(store, incident.id, note="again")
    with pytest.raises(UsageError, match="say what was found"):
        resolve_incident(store, incident.id, note=" ")
    with pytest.raises(NotFoundError):
        resolve_incident(store, "i-none", note="x")


def test_labels_of_an_earlier_stay_accuse_nobody(new_store) -> None:
    store = case.project(new_store)
    traffic = case.Traffic(store)
    old = traffic.answers(60)
    traffic.write(old)
    watch_once(store)
    r2 = serving_case.release(store, "r2", scale=21.0)
    case.add_evidence(store, r2)
    serving_case.point(store, "live", r2)
    traffic.write([traffic.label(a, True) for a in old])
    assert [n.kind for n in watch_once(store)] == ["following"]
    state = case.state(store)
    assert state.live is not None
    assert (state.live.release, state.live.n_labels) == ("r2", 0)
    assert case.incidents(store) == []


def two_releases(new_store, *, old_scale: float, new_scale: float) -> tuple[Store, case.Traffic]:
    """r1 before, r2 live; a negative scale answers "dark" to light pictures."""
    store = case.project(new_store, report=False)
    for name, scale in (("old", old_scale), ("new", new_scale)):
        made = serving_case.release(store, name, scale=scale)
        case.add_evidence(store, made)
        serving_case.point(store, "live", made)
    return store, case.Traffic(store)


def test_a_release_that_is_measurably_better_is_put_back(new_store) -> None:
    store, traffic = two_releases(new_store, old_scale=22.0, new_scale=-22.0)
    answers = traffic.answers(60, label="dark")  # all are light pictures
    traffic.write([r for a in answers for r in (a, FeedbackRecord(a.id, "light", "ana", a.at))])
    notices = watch_once(store)
    (incident,) = case.incidents(store)
    live = case.channels(store)["live"]
    assert (live.release, live.mode) == ("old", "normal")
    assert [e.payload["action"] for e in case.events(store)] == ["rollback"]
    compared = incident.alarm.evidence["decision"]["compared"]
    assert (compared["accuracy_candidate"], compared["accuracy_present"]) == (1.0, 0.0)
    assert compared["p_mcnemar"] < 0.05
    assert "rolled back to old" in incident.action
    assert any("watching old" in n.text for n in notices)
    with store.read() as db:
        assert how_it_came(db, live) == f"put back on {incident.opened[:10]} by the watch ({incident.id})"
    state = case.state(store)
    assert state.live is not None
    assert (state.live.release, state.live.n_labels) == ("old", 0)


def test_a_release_that_is_no_better_is_not_put_back(new_store) -> None:
    store, traffic = two_releases(new_store, old_scale=22.0, new_scale=21.0)
    traffic.labelled(BAD)
    watch_once(store)
    (incident,) = case.incidents(store)
    assert case.channels(store)["live"].mode == "degraded"
    assert case.channels(store)["live"].release == "new"
    decision = incident.alarm.evidence["decision"]
    assert "not measurably better" in decision["rollback"]
    assert decision["compared"]["p_mcnemar"] == 1.0


def test_what_was_judged_again_and_held_is_not_put_back(new_store) -> None:
    store, traffic = two_releases(new_store, old_scale=22.0, new_scale=-22.0)
    with store.read() as db:
        old = next(r for r in read_releases(db) if r.id == "old")
    with store.act("release.sign") as act:
        add_release(act.db, replace(old, id="old-again", verdict="HOLD", created=now()))
    answers = traffic.answers(60, label="dark")
    traffic.write([r for a in answers for r in (a, FeedbackRecord(a.id, "light", "ana", a.at))])
    watch_once(store)
    decision = case.incidents(store)[0].alarm.evidence["decision"]
    assert case.channels(store)["live"].release == "new"
    assert decision["rollback"] == "the bundle of old was judged again since and held: old-again"


def test_a_changed_bundle_is_not_put_back(new_store) -> None:
    store, traffic = two_releases(new_store, old_scale=22.0, new_scale=-22.0)
    with store.read() as db:
        old = next(r for r in read_releases(db) if r.id == "old")
    graph = store.bundle_folder(old.path) / "graphs" / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    answers = traffic.answers(60, label="dark")
    traffic.write([r for a in answers for r in (a, FeedbackRecord(a.id, "light", "ana", a.at))])
    watch_once(store)
    (incident,) = case.incidents(store)
    assert case.channels(store)["live"].mode == "degraded"
    assert "could not be compared" in incident.alarm.evidence["decision"]["rollback"]


def test_four_answers_do_not_measure_that_a_release_is_better(new_store) -> None:
    store, traffic = two_releases(new_store, old_scale=22.0, new_scale=-22.0)
    there, gone = traffic.answers(4, label="dark"), traffic.answers(56, label="dark", input=None)
    traffic.write([r for a in [*there, *gone] for r in (a, FeedbackRecord(a.id, "light", "ana", a.at))])
    watch_once(store)
    decision = case.incidents(store)[0].alarm.evidence["decision"]
    assert case.channels(store)["live"].release == "new"
    assert (decision["compared"]["only_candidate_right"], decision["compared"]["p_mcnemar"]) == (4, 0.125)
    assert "not measurably better" in decision["rollback"]


def test_an_unsigned_bundle_is_not_put_back(new_store) -> None:
    store = case.project(new_store, report=False)
    serving_case.point(store, "live", serving_case.release(store, "old", signed=False, scale=22.0))
    bad = serving_case.release(store, "new", scale=-22.0)
    case.add_evidence(store, bad)
    serving_case.point(store, "live", bad)
    traffic = case.Traffic(store)
    answers = traffic.answers(60, label="dark")
    traffic.write([r for a in answers for r in (a, FeedbackRecord(a.id, "light", "ana", a.at))])
    watch_once(store)
    assert case.channels(store)["live"].release == "new"
    assert "not signed" in case.incidents(store)[0].alarm.evidence["decision"]["rollback"]


def test_novelty_needs_no_label_and_says_what_it_does_not_know(new_store) -> None:
    store = case.project(new_store)
    traffic = case.Traffic(store)
    traffic.write(traffic.answers(50) + traffic.answers(20, novel=True))
    watch_once(store)
    (incident,) = case.incidents(store)
    assert incident.alarm.signal == "novelty.v1"
    assert incident.alarm.n_seen < 62
    assert incident.alarm.harm_points is None
    assert "unknown without labels" in incident.alarm.evidence["harm"]
    assert len(incident.alarm.evidence["label_next"]) == 40
    assert "/v1/feedback" in incident.alarm.evidence["how"]


@pytest.mark.parametrize(
    ("errors", "on_novelty", "action", "mode"),
    [
        ([], "ask", "ask", "normal"),  # a handful of new inputs typed by hand
        ([False] * 40, "ask", "ask", "normal"),
        ([True] * 4 + [False] * 6, "ask", "degrade", "degraded"),  # labels show that answers got worse
        ([], "act", "degrade", "degraded"),
    ],
)
def test_novelty_alone_asks_for_labels_and_changes_nothing(
    new_store, errors: list[bool], on_novelty: str, action: str, mode: str
) -> None:
    store = case.project(new_store, watch=WatchPolicy(on_novelty=on_novelty))
    traffic = case.Traffic(store)
    traffic.labelled(errors)
    traffic.write([a for i in range(21) for a in traffic.answers(1, novel=i % 7 < 4)])
    notice = watch_once(store)[-1]
    (incident,) = case.incidents(store)
    assert (incident.alarm.signal, incident.alarm.evidence["action"]) == ("novelty.v1", action)
    assert case.channels(store)["live"].mode == mode
    assert case.events(store)[0].payload["action"] == action
    loss = {0: "loss unknown", 40: "no loss measured", 10: "about 35 accuracy points lost"}[len(errors)]
    assert loss in notice.text


def test_the_incident_shows_which_answers_moved(new_store) -> None:
    store = case.project(new_store)
    traffic = case.Traffic(store)
    traffic.write([*traffic.answers(60), *traffic.answers(12, label="dark", novel=True)])
    watch_once(store)
    shift = case.incidents(store)[0].alarm.evidence["shift"]
    assert (shift["moved_most"][0]["category"], shift["moved_most"][0]["reference_share"]) in {
        ("dark", 0),
        ("light", 1),
    }
    assert shift["n_current"] == shift["n_reference"] or shift["n_current"] == shift["n_reference"] - 1
    assert shift["population_stability_index"] > 0.1
    assert 0 < shift["novel_share_latest"] < 0.5


def test_a_second_signal_joins_the_open_incident(new_store) -> None:
    store = case.project(new_store)
    traffic = case.Traffic(store)
    traffic.write(traffic.answers(20, novel=True))
    watch_once(store)
    traffic.labelled(BAD)
    watch_once(store)
    (incident,) = case.incidents(store)
    assert [e.kind for e in case.events(store)] == ["incident.open", "incident.escalate"]
    (further,) = incident.alarm.evidence["further"]
    assert (incident.alarm.signal, further["signal"]) == ("novelty.v1", "errors.v1")
    assert incident.action.startswith("nothing was changed")
    assert "then, on errors.v1: degraded: answers" in incident.action
    traffic.labelled(BAD)
    assert watch_once(store) == []
    assert case.channels(store)["live"].generation == 2


@pytest.mark.parametrize(("on_alarm", "mode"), [("record", "normal"), ("degrade", "degraded")])
def test_the_policy_decides(new_store, on_alarm: str, mode: str) -> None:
    policy = replace(case.POLICY, on_alarm=on_alarm)
    store = case.project(new_store, watch=policy)
    traffic = case.Traffic(store)
    traffic.labelled(BAD)
    watch_once(store)
    (incident,) = case.incidents(store)
    assert case.channels(store)["live"].mode == mode
    assert case.channels(store)["live"].release == "r1"
    traffic.labelled(BAD)
    assert watch_once(store) == []
    resolve_incident(store, incident.id, note="looked at")
    traffic.labelled(BAD)
    watch_once(store)
    assert len(case.incidents(store)) == 2


def canary_project(new_store) -> tuple[Store, case.Traffic]:
    store = case.project(new_store)
    serving_case.point(store, "canary", serving_case.release(store, "worse", scale=21.0), share=0.33)
    return store, case.Traffic(store)


def test_a_worse_canary_is_withdrawn_and_the_live_release_stays(new_store) -> None:
    store, traffic = canary_project(new_store)
    rng = np.random.default_rng(0)
    for _ in range(60):
        traffic.labelled([bool(rng.random() < 0.05), bool(rng.random() < 0.05)])
        traffic.labelled([bool(rng.random() < 0.6)], channel="canary")
    notices = watch_once(store)
    (incident,) = case.incidents(store)
    assert [n.kind for n in notices] == ["following", "following", "alarm"]
    assert (incident.channel, incident.release, incident.alarm.signal) == ("canary", "worse", "canary.v1")
    assert incident.alarm.statistic >= incident.alarm.bound == pytest.approx(1 / (0.01 * 0.9))
    assert incident.alarm.harm_points is not None
    assert incident.alarm.harm_points > 20
    assert sorted(case.channels(store)) == ["live"]
    assert case.channels(store)["live"].mode == "normal"
    assert [e.payload["action"] for e in case.events(store)] == ["withdraw"]
    assert case.state(store).trial is None
    assert resolve_incident(store, incident.id, note="labels were exchanged")[1] is None


def test_an_equal_canary_stays(new_store) -> None:
    store, traffic = canary_project(new_store)
    rng = np.random.default_rng(1)
    for _ in range(60):
        traffic.labelled([bool(rng.random() < 0.05), bool(rng.random() < 0.05)])
        traffic.labelled([bool(rng.random() < 0.05)], channel="canary")
    watch_once(store)
    assert sorted(case.channels(store)) == ["canary", "live"]
    trial = case.state(store).trial
    assert trial is not None
    assert (trial.comparison.n_canary, trial.comparison.n_live) == (60, 120)


def test_a_label_counts_once_and_the_latest_where_releases_are_compared(new_store) -> None:
    store = case.project(new_store)
    traffic = case.Traffic(store)
    (answer,) = traffic.labelled([True])
    watch_once(store)
    traffic.write([traffic.label(answer, False), traffic.label(answer, True), FeedbackRecord("nobody", "x", "b", "")])
    watch_once(store)
    state = case.state(store)
    assert state.live is not None
    errors = state.live.detectors["errors.v1"]
    assert (errors.n_seen, errors.n_flagged) == (1, 1)
    assert (state.n_corrected, state.n_unmatched) == (2, 1)
    again = traffic.answer()
    traffic.write([again, traffic.label(again, True), traffic.label(again, False)])  # twice in one batch
    watch_once(store)
    state = case.state(store)
    assert state.live is not None
    assert (state.live.detectors["errors.v1"].n_seen, state.n_corrected) == (2, 3)


def test_without_a_report_errors_are_not_watched_and_it_says_so(new_store) -> None:
    store = case.project(new_store, report=False)
    traffic = case.Traffic(store)
    traffic.labelled(BAD)
    notices = watch_once(store)
    assert [n.kind for n in notices] == ["following", "unwatched"]
    assert "muster evaluate" in notices[1].text
    assert "errors.v1" in read_status(store).unwatched
    assert case.incidents(store) == []
    with store.read() as db:
        r1 = read_release(db, "r1")
    case.add_evidence(store, r1)
    traffic.labelled(QUIET)
    assert [n.kind for n in watch_once(store)] == ["following"]
    state = case.state(store)
    assert state.live is not None
    assert state.live.detectors["errors.v1"].n_seen == 100
    assert state.live.detectors["novelty.v1"].n_seen == 180  # went on as it was
    assert state.live.unwatched == {}


def test_a_base_rate_that_leaves_no_rise_is_said(new_store) -> None:
    store = case.project(new_store, report=False)
    with store.read() as db:
        case.add_evidence(store, read_release(db, "r1"), n_right=0, n=20)
    (_, unwatched) = watch_once(store)
    assert "no rise can be watched for" in unwatched.text


def test_what_was_provisional_is_withdrawn_when_its_time_is_over(new_store) -> None:
    store = case.project(new_store)
    canary = serving_case.release(store, "maybe", scale=21.0)
    soon = (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="microseconds")
    serving_case.point(store, "canary", canary, share=0.1, mode="provisional", expires=soon)
    watch_once(store)
    assert "canary" in case.channels(store)
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat(timespec="microseconds")
    serving_case.point(store, "canary", canary, share=0.1, mode="provisional", expires=past)
    assert [n.kind for n in watch_once(store)] == ["expired"]
    assert "canary" not in case.channels(store)
    assert [e.kind for e in case.events(store, "channel.expire")] == ["channel.expire"]
    assert watch_once(store) == []


def test_evidence_against_a_provisional_release_withdraws_it(new_store) -> None:
    store = case.project(new_store)
    with store.read() as db:
        r1 = read_release(db, "r1")
    serving_case.point(store, "live", r1, share=0.2, mode="provisional")
    traffic = case.Traffic(store)
    traffic.write(traffic.answers(20, novel=True))
    watch_once(store)
    assert case.channels(store)["live"].mode == "provisional"  # never "degraded", which would widen its share
    assert case.channels(store)["live"].share == 0.2
    traffic.labelled(BAD)
    watch_once(store)
    assert case.channels(store) == {}
    assert any("nothing is live" in line for line in read_status(store).lines())


@pytest.mark.parametrize("batch", [1, 7, 512])
def test_the_size_of_a_batch_changes_nothing(new_store, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_loop.step, "__kwdefaults__", {"limit": batch})
    store = case.project(new_store)
    case.Traffic(store).labelled([*QUIET[:40], *BAD[:40]])
    watch_once(store)
    (incident,) = case.incidents(store)
    state = case.state(store)
    assert state.live is not None
    assert (incident.alarm.n_seen, state.n_read, state.live.detectors["errors.v1"].n_seen) == (51, 160, 80)


def test_a_channel_moved_while_measuring_is_left_alone(new_store, monkeypatch: pytest.MonkeyPatch) -> None:
    store = case.project(new_store)
    r2 = serving_case.release(store, "r2", scale=21.0)
    case.add_evidence(store, r2)
    case.Traffic(store).labelled(BAD)
    real = watch_loop.respond

    def slow(*given):
        if case.channels(store)["live"].release == "r1":
            serving_case.point(store, "live", r2)
        return real(*given)

    monkeypatch.setattr(watch_loop, "respond", slow)
    watch_once(store)
    live = case.channels(store)["live"]
    assert (live.release, live.mode) == ("r2", "normal")
    assert case.incidents(store) == []
    assert case.state(store).n_read == 160


def test_one_watch_at_a_time(new_store) -> None:
    store = case.project(new_store)
    with store.lock("watch"), pytest.raises(ResourceError) as caught:
        watch_once(store)
    assert caught.value.code == "lock.held"


def test_the_status_tells_where_it_stands(new_store) -> None:
    store = case.project(new_store, watch=WatchPolicy())
    assert read_status(store).lines() == ["nothing is live: nothing to watch"]
    traffic = case.Traffic(store)
    first = datetime.now(UTC) + timedelta(seconds=1)
    at = [(first + timedelta(seconds=10 * i)).isoformat(timespec="microseconds") for i in range(101)]
    traffic.write([traffic.answer(at=moment) for moment in at])
    watch_once(store)
    status = read_status(store)
    assert status.false_alarms_per_year == pytest.approx(101 / 1000 * 365.25 * 86_400 / 10_000)
    text = "\n".join(status.lines())
    assert "r1: 101 predictions, 0 labels" in text
    assert "novelty.v1: 0 of 101" in text
    assert "one in 10,000 predictions" in text
    assert "at most 20,300 per year" in "\n".join(replace(status, false_alarms_per_year=20_341.7).lines())


def test_a_project_without_traffic_or_channels_is_watched_in_peace(new_store) -> None:
    store = new_store("image", Config())
    assert watch_once(store) == []


def test_inputs_are_erased_after_their_time_without_a_server(new_store) -> None:
    store = case.project(new_store)
    traffic = case.Traffic(store)
    old, new = traffic.answer(at="2020-01-01T00:00:00.000000+00:00"), traffic.answer()
    traffic.write([old, new])
    assert "expired" in [n.kind for n in watch_once(store)]
    reader = TrafficReader(store.traffic_folder)
    found = reader.predictions([old.id, new.id], inputs=True)
    assert found[old.id].input is None
    assert found[new.id].input is not None
    assert [e.payload for e in case.events(store, "traffic.expire")] == [{"n_inputs": 1}]


def test_labels_that_name_no_class_are_said_in_the_incident(new_store) -> None:
    store = case.project(new_store)
    traffic = case.Traffic(store)
    answers = traffic.answers(60)
    traffic.write([r for a in answers for r in (a, FeedbackRecord(a.id, "twilight", "ana", a.at))])
    watch_once(store)
    assert case.incidents(store)[0].alarm.evidence["labels_of_no_class"][0].startswith("twilight (")


def test_a_shadow_is_compared_with_what_answered(new_store) -> None:
    store = case.project(new_store)
    assert read_status(store).shadow is None
    serving_case.point(store, "shadow", serving_case.release(store, "new", scale=21.0))
    found = read_status(store)
    assert found.shadow is not None
    assert found.shadow.n == 0
    traffic = case.Traffic(store)
    answers = traffic.answers(20)
    shadows = [
        replace(a, id=f"{a.id}.shadow", channel="shadow", release="new", label="dark" if i < 3 else a.label)
        for i, a in enumerate(answers)
    ]
    before = [replace(a, id=f"old-{a.id}", at="2020-01-01T00:00:00.000000+00:00") for a in answers]
    before += [replace(a, id=f"{a.id}.shadow", channel="shadow", release="new") for a in before]  # an earlier stay
    labels = [traffic.label(a, error=i < 2) for i, a in enumerate(answers[:10])]  # the shadow is right where live errs
    traffic.write([*before, *answers, *shadows, *labels])
    watch_once(store)
    shadow = read_status(store).shadow
    assert shadow is not None
    assert (shadow.n, shadow.n_same, shadow.n_labelled, shadow.n_right, shadow.n_live_right) == (20, 17, 10, 9, 8)
    assert "right on 9 of 10, live on 8" in " ".join(read_status(store).lines())
