"""What the server does when a release gives no answer: others are answered, failures are kept, an endpoint rests."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httpx", reason="asking endpoints needs the extra `endpoint`")

import serving_case
from endpoint_case import Served, serve, topic_of
from passmuster.core.errors import NetworkError
from passmuster.core.records import UNREAD, FailureRecord, Prediction, TrafficRecord
from passmuster.flows.release import release
from passmuster.runtime import endpoint_calls
from passmuster.runtime.bundle import open_bundle
from passmuster.runtime.endpoint import NO_ANSWER, AnswerPaths, Asking, Endpoint
from passmuster.runtime.predictor import Predictor
from passmuster.stages.evaluate import evaluate
from passmuster.stages.importing import import_endpoint
from passmuster.stages.serve import asking
from passmuster.stages.serve.answering import (
    Answered,
    Asked,
    Failed,
    answer,
    answer_in_shadow,
    place,
    record_of,
)
from passmuster.stages.serve.asking import Asker
from passmuster.stages.serve.batcher import Batcher
from passmuster.stages.serve.fleet import Fleet
from passmuster.stages.serve.meters import Meters
from passmuster.stages.watch import watch_once
from passmuster.store.releases import read_channels, read_releases
from passmuster.store.store import Store
from passmuster.store.traffic import TrafficWriter
from passmuster.store.traffic_reader import TrafficReader
from serving_case import serving
from train_case import new_project, write_texts

ENDPOINT = """
url = "{url}/{name}"
timeout_s = 5
retries = 0
[body]
text = "{{text}}"
[answer]
label = "topic"
"""
TEA, BANK = "a cup of green tea", "an account at the bank"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_calls, "FIRST_WAIT_S", 0.01)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=150, n_labels=20, n_test=120))


def topics(body: Any) -> Any:
    return {"topic": topic_of(body["text"])}


def put_live(store: Store, tmp_path: Path, url: str, name: str) -> str:
    """Import the endpoint of that name, judge it, and put it live, whatever the verdict; its release."""
    path = tmp_path / f"{name}.toml"
    path.write_text(ENDPOINT.format(url=url, name=name))
    import_endpoint(store, str(path), n_asked=60)
    evaluate(store)
    made = release(store).release
    serving_case.point(store, "live", made)
    return made.id


def asker_of(store: Store) -> Asker:
    with store.read() as db:
        made = read_releases(db)[0]
    return Asker(Predictor(open_bundle(store.bundle_folder(made.path))), made.id)


def test_an_outage_is_kept_told_and_ended_by_the_release_before(store: Store, tmp_path: Path) -> None:
    def answer(body: Any) -> Any:
        return topics(body) if up else (502, {"error": "bad gateway"})

    up = True
    with serve(topics) as sound, serve(answer) as other:
        old, new = put_live(store, tmp_path, sound.url, "first"), put_live(store, tmp_path, other.url, "second")
        with serving(store) as server, server.client() as client:
            assert client.post("/v1/predict", json={"item": TEA}).json()["label"] == "tea"
            up = False
            for _ in range(8):
                down = client.post("/v1/predict", json={"items": [BANK, TEA]})
                assert down.status_code == 502
            error = down.json()["error"]
            assert (error["code"], error["where"]) == ("endpoint.resting", "items[0]")
            assert error["what"].endswith("gave no answer to 2 of 2 items, so that the request has none")
            assert 1 <= int(down.headers["retry-after"]) <= 60
            assert other.url not in down.text, "where the model lies is not for callers"
            assert "bad gateway" not in down.text
            n_asked = len(other.asked)
            client.post("/v1/predict", json={"items": [BANK] * 20})
            assert len(other.asked) == n_asked, "an endpoint at rest is not asked"
            health = client.get("/healthz").json()
            assert health["channels"]["live"]["failing"]["n"] >= 5
            assert health["channels"]["live"]["failing"]["why"] == "status 502", "not what it sent: that may be an item"
            assert server.metric("muster_unanswered_total") == 36
            records = TrafficReader(store.traffic_folder).read("", 100, inputs=True)[0]
            assert [type(r) for r in records] == [TrafficRecord] + [FailureRecord] * 36
            first = records[1]
            assert (first.release, first.channel, first.code) == (new, "live", "endpoint.unanswered")
            assert first.why == "status 502"
            assert first.input == BANK.encode()
            told = " ".join(notice.text for notice in watch_once(store))
            assert f"rolled back to {old}, which answers" in told
            until(lambda: client.post("/v1/predict", json={"item": TEA}).status_code == 200)
            answered = client.post("/v1/predict", json={"item": TEA}).json()
            assert (answered["label"], answered["release"]) == ("tea", old)
            assert "failing" not in client.get("/healthz").json()["channels"]["live"]
    with store.read() as db:
        assert read_channels(db)["live"].release == old


def until(true: Any, limit_s: float = 20) -> None:
    end = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_one_item_that_fails_is_paid_for_once_and_spoils_no_other_request(store: Store, tmp_path: Path) -> None:
    def answer(body: Any) -> Any:
        return (400, {"error": "too rude"}) if "rude" in body["text"] else topics(body)

    with serve(answer) as served:
        put_live(store, tmp_path, served.url, "first")
        asker = asker_of(store)
        n_before = len(served.asked)
        found = asker.ask([TEA, "rude words", BANK])
        assert [getattr(one, "label", type(one).__name__) for one in found] == ["tea", "EndpointError", "bank"]
        assert len(served.asked) - n_before == 3


def test_an_endpoint_rests_after_failures_in_a_row_and_is_tried_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(body: Any) -> Any:
        return topics(body) if up else (503, {"error": "down"})

    up = True
    with serve(answer) as served:
        put_live(store, tmp_path, served.url, "first")
        asker, clock = asker_of(store), [1000.0]
        monkeypatch.setattr(asking.time, "monotonic", lambda: clock[0])
        up = False
        for i in range(5):
            assert [one.code for one in asker.ask([TEA])] == ["endpoint.unanswered"]
            assert asker.failing.n == i + 1
        n_before = len(served.asked)
        assert [one.code for one in asker.ask([TEA] * 3)] == ["endpoint.resting"] * 3
        assert len(served.asked) == n_before
        assert asker.failing.n == 5, "what was not asked has not failed"
        clock[0] += asking.REST_S + 0.1
        assert sorted(codes(asker.ask([TEA] * 3))) == ["endpoint.resting"] * 2 + ["endpoint.unanswered"]
        assert len(served.asked) == n_before + 1, "one request tries it"
        clock[0] += asking.REST_S + 0.1
        assert asker.ask([TEA])[0].code == "endpoint.resting", "the pause has doubled"
        clock[0] += asking.REST_S + 0.1
        up = True
        assert [one.label for one in asker.ask([TEA])] == ["tea"]
        assert [one.label for one in asker.ask([TEA, BANK])] == ["tea", "bank"]
        assert asker.failing is None


def test_the_live_release_steps_in_for_a_canary_that_fails(new_store, monkeypatch: pytest.MonkeyPatch) -> None:
    store = serving_case.project(new_store)
    canary = serving_case.release(store, "new", scale=21.0)
    serving_case.point(store, "canary", canary, share=1.0)
    fleet = Fleet(store, Meters())
    fleet.start()
    try:
        lanes = fleet.lanes
        assert lanes.canary is not None
        monkeypatch.setattr(lanes.canary.predictor, "predict", broken)
        light = serving_case.pictures(2)[1]
        asked = [Asked(light, "ana", "", time.perf_counter()), Asked(light, "ana", "new", time.perf_counter())]
        found, covered = answer(place(asked, lanes, lambda key: "0" * 32), lanes, patience_s=5.0, canary_s=1.0)
    finally:
        fleet.stop()
    assert isinstance(found[0], Answered)
    assert (found[0].lane.channel.name, found[0].prediction.label) == ("live", "light")
    assert isinstance(found[1], Failed), "who asks for a release by id gets that one or none"
    assert [(f.item.lane.channel.name, f.item.asked) for f in covered] == [("canary", asked[0])]
    assert (record_of(found[0]).stands_in, record_of(covered[0]).stands_in) == (True, False)
    assert covered[0].item.id != found[0].item.id


def test_the_live_release_steps_in_where_a_canary_names_no_class(new_store, monkeypatch: pytest.MonkeyPatch) -> None:
    store = serving_case.project(new_store)
    serving_case.point(store, "canary", serving_case.release(store, "new", scale=21.0), share=1.0)
    fleet = Fleet(store, Meters())
    fleet.start()
    try:
        lanes = fleet.lanes
        assert lanes.canary is not None
        whole = lanes.canary.predictor.predict

        def prose(payloads: Any, **how: Any) -> Any:
            return [replace(one, label=NO_ANSWER, abstained=True, reasons=(UNREAD,)) for one in whole(payloads)]

        monkeypatch.setattr(lanes.canary.predictor, "predict", prose)
        asked = [Asked(serving_case.pictures(2)[1], "ana", "", time.perf_counter())]
        found, covered = answer(place(asked, lanes, lambda key: "0" * 32), lanes, patience_s=5.0, canary_s=1.0)
    finally:
        fleet.stop()
    assert [(one.lane.channel.name, one.prediction.label) for one in found] == [("live", "light")]
    assert [record_of(one).label for one in covered] == [NO_ANSWER], "the watch sees what the canary said"


def broken(payloads: Any, **how: Any) -> Any:
    raise RuntimeError("a graph that fails")


def test_a_shadow_that_fails_is_kept_and_harms_nobody(new_store, monkeypatch: pytest.MonkeyPatch) -> None:
    store = serving_case.project(new_store)
    serving_case.point(store, "shadow", serving_case.release(store, "new", scale=21.0))
    fleet = Fleet(store, Meters())
    fleet.start()
    try:
        lanes = fleet.lanes
        assert lanes.shadow is not None
        monkeypatch.setattr(lanes.shadow.predictor, "predict", broken)
        asked = [Asked(serving_case.pictures(1)[0], "", "", time.perf_counter())]
        found, _ = answer(place(asked, lanes, lambda key: "0" * 32), lanes, patience_s=5.0, canary_s=1.0)
        in_shadow = answer_in_shadow([one for one in found if isinstance(one, Answered)], lanes.shadow)
    finally:
        fleet.stop()
    record = record_of(in_shadow[0])
    assert isinstance(record, FailureRecord)
    assert (record.channel, record.code, record.id) == ("shadow", "serve.bug", f"{found[0].item.id}.shadow")


def test_a_graph_that_fails_at_one_item_answers_the_others(new_store, monkeypatch: pytest.MonkeyPatch) -> None:
    store = serving_case.project(new_store)
    asker = asker_of(store)
    dark, light = serving_case.pictures(2)
    whole = asker.predictor.predict

    def picky(payloads: Any, **how: Any) -> Any:
        if any(payload is dark for payload in payloads):
            raise ValueError("not that one")
        return whole(payloads, **how)

    monkeypatch.setattr(asker.predictor, "predict", picky)
    found = asker.ask([light, dark, light])
    assert [getattr(one, "label", str(one)) for one in found] == ["light", "not that one", "light"]
    assert asking.in_short(found[1]) == "ValueError", "what a graph met may be an item"


def test_answers_that_name_no_class_are_told_like_failures_and_never_rest(store: Store, tmp_path: Path) -> None:
    said = ["", "I would rather talk about the weather"]
    with serve(lambda body: {"topic": said[-1] or topic_of(body["text"])}) as served:
        said.append("")
        put_live(store, tmp_path, served.url, "first")
        said.append("I would rather talk about the weather")
        with serving(store) as server, server.client() as client:
            for _ in range(7):
                answer = client.post("/v1/predict", json={"item": TEA}).json()
            assert (answer["label"], answer["probability"], answer["abstained"]) == ("(no answer)", 0.0, True)
            assert "(no answer)" not in answer["probabilities"], "it is no class"
            assert "(no answer)" not in answer["prediction_set"]
            address = f"/v2/models/{store.config.project.name}"
            described = client.get(address).json()
            assert described["parameters"]["classes"] == ["bank", "rail", "tea"]
            row = client.post(f"{address}/infer", json=tensor(TEA)).json()["outputs"]
            assert next(o for o in row if o["name"] == "probabilities")["shape"] == [1, 3]
            failing = client.get("/healthz").json()["channels"]["live"]["failing"]
            assert (failing["n"], failing["why"]) == (8, "what it says names no class")
            assert server.metric("muster_unanswered_total") == 8
            said.append("")
            assert client.post("/v1/predict", json={"item": TEA}).json()["label"] == "tea"
            assert "failing" not in client.get("/healthz").json()["channels"]["live"]


def tensor(text: str) -> dict[str, Any]:
    """A request of the Open Inference Protocol for one text."""
    return {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]}


def test_feedback_in_another_spelling_is_the_class(store: Store, tmp_path: Path) -> None:
    with serve(topics) as served:
        put_live(store, tmp_path, served.url, "first")
        with serving(store) as server, server.client() as client:
            ids = [client.post("/v1/predict", json={"item": TEA}).json()["id"] for _ in range(3)]
            facts = [{"id": id, "label": label} for id, label in zip(ids, ("Tea ", "tea", "coffee"), strict=True)]
            told = client.post("/v1/feedback", json=facts).json()
    assert told == {"accepted": 3, "unknown_labels": ["coffee"], "read_as": {"Tea ": "tea"}}
    labels = TrafficReader(store.traffic_folder).labels()
    assert [labels[id] for id in ids] == ["tea", "tea", "coffee"]


@contextlib.contextmanager
def hanging() -> Iterator[tuple[Served, threading.Event]]:
    """A server that answers nothing until the event is set."""
    go = threading.Event()

    def answer(body: Any) -> Any:
        go.wait(20)
        return {"topic": "light"}

    with serve(answer) as served:
        yield served, go


@pytest.mark.parametrize("channel", ["canary", "shadow"])
def test_nobody_waits_for_a_model_elsewhere_that_hangs(new_store, channel: str) -> None:
    """The live release is on this machine; beside it one is asked that never answers in time."""
    store = serving_case.project(new_store, deadline_s=3.0)
    with hanging() as (served, go):
        beside = hanging_release(store, served.url)
        serving_case.point(store, channel, beside, share=0.5)
        with serving_case.serving(store) as server, server.client() as client:
            items = [serving_case.png(pixels) for pixels in serving_case.pictures(8)]
            took = []
            with ThreadPoolExecutor(40) as callers:
                for answer in callers.map(lambda i: timed(client, items[i % 8], f"user {i}"), range(40)):
                    took.append(answer)
            assert all(status == 200 for status, *_ in took), (
                "a canary that hangs is answered for, a shadow is not felt"
            )
            assert {release for _, release, _ in took} == {"r1"}
            seconds = sorted(s for *_, s in took)
            if channel == "shadow":
                assert seconds[-1] < 2.0
            else:  # half of the callers are the canary's, and wait for it as long as it is given
                assert seconds[10] < 0.9
            go.set()
            server.stop()


def timed(client: Any, item: str, key: str) -> tuple[int, str, float]:
    """Status, release and seconds of one request."""
    start = time.perf_counter()
    answer = client.post("/v1/predict", json={"item": item, "key": key})
    return answer.status_code, answer.json().get("release", ""), time.perf_counter() - start


def hanging_release(store: Store, url: str) -> Any:
    """A signed release that asks an endpoint, made by hand: nothing is asked for it."""
    asking = Asking(
        Endpoint(url, {"image": "{image}"}, AnswerPaths(label="topic"), timeout_s=15, retries=0),
        (*serving_case.CLASSES, NO_ANSWER), "png",
    )  # fmt: skip
    path = serving_case.write_endpoint(store.bundles_folder, asking)
    return serving_case.release(store, "away", path=path)


class Slow:
    """Stands for a model elsewhere, whose answers have to come when the test wants them: once `go` is set."""

    def __init__(self, asker: Asker) -> None:
        self.go, self.n_begun, self.fails = threading.Event(), 0, False
        asker.predictor.predict = self  # type: ignore[method-assign,assignment]

    def __call__(self, payloads: Any, **how: Any) -> Any:
        self.n_begun += 1
        assert self.go.wait(20)
        if self.fails:
            raise NetworkError("endpoint.unanswered", "it is down")
        return [Prediction("dark", (0.9, 0.05, 0.05), ("dark",), False, (), 0.0) for _ in payloads]


def away(new_store: Any, concurrency: int = 4) -> tuple[Asker, Slow, Any]:
    """An asker of an endpoint that is never reached, and pictures to ask about."""
    store = serving_case.project(new_store)
    endpoint = Endpoint(
        "http://127.0.0.1:9/x", {"image": "{image}"}, AnswerPaths(label="topic"), concurrency=concurrency
    )
    path = serving_case.write_endpoint(
        store.bundles_folder, Asking(endpoint, (*serving_case.CLASSES, NO_ANSWER), "png")
    )
    asker = Asker(Predictor(open_bundle(path)), "away")
    return asker, Slow(asker), serving_case.pictures(12)


def codes(found: Any) -> list[str]:
    return [getattr(one, "code", "answer") for one in found]


def test_what_is_never_begun_says_nothing_of_the_endpoint(new_store) -> None:
    asker, slow, pictures = away(new_store)
    assert codes(asker.ask(pictures, patience_s=0.2)) == ["endpoint.late"] * 4 + ["endpoint.busy"] * 8
    assert asker.failing.n == 4, "four were asked and are late, and eight never were"
    slow.fails = True
    slow.go.set()
    time.sleep(0.2)
    assert asker.failing.n == 4, "what was counted as late is not counted again when it fails"


def test_what_was_under_way_makes_a_rest_no_longer(new_store, monkeypatch: pytest.MonkeyPatch) -> None:
    asker, slow, pictures = away(new_store, concurrency=12)
    slow.fails = True
    with ThreadPoolExecutor(1) as caller:
        asked = caller.submit(asker.ask, pictures)
        until(lambda: slow.n_begun == 12)
        monkeypatch.setattr(asking.time, "monotonic", lambda: 1000.0)
        slow.go.set()
        assert codes(asked.result(20)) == ["endpoint.unanswered"] * 12
    (rests,) = asker.ask(pictures[:1])
    assert rests.again_in_s == asking.REST_S, "twelve failures at once are one outage"


def test_one_piece_alone_tries_after_a_rest(new_store, monkeypatch: pytest.MonkeyPatch) -> None:
    asker, slow, pictures = away(new_store, concurrency=12)
    clock = [1000.0]
    monkeypatch.setattr(asking.time, "monotonic", lambda: clock[0])
    slow.fails = True
    slow.go.set()
    for picture in pictures[:5]:
        asker.ask([picture])
    slow.go.clear()
    slow.n_begun, slow.fails = 0, False
    clock[0] += asking.REST_S + 0.1
    assert sorted(codes(asker.ask(pictures, patience_s=0.2))) == ["endpoint.late"] + ["endpoint.resting"] * 11
    assert slow.n_begun == 1
    slow.go.set()
    clock[0] += asking.REST_AT_MOST_S
    until(lambda: codes(asker.ask(pictures[:1])) == ["answer"])
    assert codes(asker.ask(pictures)) == ["answer"] * 12


def test_a_live_endpoint_that_is_late_is_kept_as_a_failure_and_ends_with_the_caller(new_store) -> None:
    """Its answers would come after the callers have gone: to them it does not answer."""
    store = serving_case.project(new_store, deadline_s=1.0)
    with hanging() as (served, go):
        serving_case.point(store, "live", hanging_release(store, served.url))
        with serving_case.serving(store) as server, server.client() as client:
            item = serving_case.png(serving_case.pictures(1)[0])
            statuses = {client.post("/v1/predict", json={"item": item}).status_code for _ in range(3)}
            assert statuses <= {502, 504}
            start = time.perf_counter()
            assert server.stop() == 0
            assert time.perf_counter() - start < 10, "nobody waits for what its callers have given up"
            go.set()
    records = TrafficReader(store.traffic_folder).read("", 100)[0]
    assert {type(r) for r in records} == {FailureRecord}
    assert {r.code for r in records} == {"endpoint.late"}


@contextlib.contextmanager
def in_process(store: Store) -> Iterator[tuple[Fleet, Batcher, Meters]]:
    """The server's parts behind its door, in this process; the batcher is begun by whoever has an event loop."""
    meters = Meters()
    fleet = Fleet(store, meters)
    fleet.start()
    try:
        with contextlib.closing(TrafficWriter(store.traffic_folder, "test")) as writer:
            yield fleet, Batcher(fleet, writer, meters, store.config.serve, store.keyed), meters
    finally:
        fleet.stop()


def one_item() -> list[Asked]:
    return [Asked(serving_case.pictures(1)[0], "", "", time.perf_counter())]


def test_what_its_caller_has_given_up_is_not_asked(new_store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be paid for, and the end of the server would wait for it."""
    store = serving_case.project(new_store)
    serving_case.point(store, "live", hanging_release(store, "http://127.0.0.1:9/x"))
    monkeypatch.setattr(asking, "JOBS", 1)

    async def two_callers(batcher: Batcher) -> None:
        batcher.start()
        callers = [asyncio.create_task(asyncio.wait_for(batcher.submit(one_item()), 0.3)) for _ in range(2)]
        assert [type(end) for end in await asyncio.gather(*callers, return_exceptions=True)] == [TimeoutError] * 2
        slow.go.set()
        await asyncio.to_thread(batcher.stop)

    with in_process(store) as (fleet, batcher, _):
        assert fleet.lanes.main is not None
        slow = Slow(fleet.lanes.main.asker)
        asyncio.run(two_callers(batcher))
    assert slow.n_begun == 1


def test_a_shadow_that_cannot_keep_up_misses_some_and_is_asked_again(
    new_store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = serving_case.project(new_store)
    serving_case.point(store, "shadow", hanging_release(store, "http://127.0.0.1:9/x"))
    monkeypatch.setattr("passmuster.stages.serve.batcher.SHADOWS", 1)

    async def three_callers(batcher: Batcher) -> None:
        batcher.start()
        await batcher.submit(one_item())
        await asyncio.to_thread(until, lambda: slow.n_begun == 1)
        await batcher.submit(one_item())
        await asyncio.to_thread(until, lambda: b'code="shadow.busy"' in meters.render())
        slow.go.set()
        for _ in range(100):  # it is free soon after it has answered
            await batcher.submit(one_item())
            if slow.n_begun > 1:
                break
        await asyncio.to_thread(batcher.stop)

    with in_process(store) as (fleet, batcher, meters):
        assert fleet.lanes.shadow is not None
        slow = Slow(fleet.lanes.shadow.asker)
        asyncio.run(three_callers(batcher))
    assert slow.n_begun >= 2, "once before it was busy, and again after"
    kept = TrafficReader(store.traffic_folder).read("", 500)[0]
    assert sum(record.channel == "shadow" for record in kept) == slow.n_begun
