"""A server's life: it follows the channel, loses no record when killed, refuses what is not whole, drains."""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from passmuster.core.config import GuardPolicy
from passmuster.core.errors import IntegrityError, NotFoundError, UsageError
from passmuster.runtime.bundle import MANIFEST
from passmuster.stages.serve.server import serve
from passmuster.store import ledger
from passmuster.store.store import Store
from serving_case import Server, forked, kept, pictures, png, point, project, release, serving, sign, strange

LIGHT = png(pictures(2)[1])


def until(holds: Callable[[], bool], what: str, limit_s: float = 20.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end, f"not within {limit_s} s: {what}"
        time.sleep(0.01)


def answered_by(client: httpx.Client) -> str:
    return client.post("/v1/predict", json={"item": LIGHT}).json()["release"]


def test_none_of_a_thousand_requests_fails_while_the_channel_moves_ten_times(new_store) -> None:
    store = project(new_store)
    others = [release(store, f"r{i}", scale=20.0 + i) for i in range(2, 5)]
    n_done, lock = 0, threading.Lock()
    with serving(store) as server, server.client(limits=httpx.Limits(max_connections=16)) as client:

        def ask(i: int) -> tuple[int, str, str]:
            nonlocal n_done
            answer = client.post("/v1/predict", json={"item": LIGHT})
            with lock:
                n_done += 1
            return answer.status_code, answer.json().get("id", ""), answer.json().get("release", "")

        with ThreadPoolExecutor(16) as pool:
            answers = [pool.submit(ask, i) for i in range(1_000)]
            for move in range(10):
                until(lambda move=move: n_done >= 90 * (move + 1), "requests are being answered", 60)
                point(store, "live", others[move % 3])
            found = [answer.result() for answer in answers]
        until(lambda: answered_by(client) == others[0].id, "the last move is followed")
    assert {status for status, _, _ in found} == {200}
    assert len({release for _, _, release in found}) >= 3
    records = kept(store)
    assert len({id for _, id, _ in found}) == 1_000
    assert all(records[id].release == by for _, id, by in found)


def test_kill_9_at_twenty_points_loses_no_acknowledged_record(new_store) -> None:
    store = project(new_store)
    rng = np.random.default_rng(0)
    acknowledged: list[str] = []
    lock = threading.Lock()
    for _ in range(20):
        enough = len(acknowledged) + int(rng.integers(1, 60))
        with forked(store, "-q") as server:
            stop = threading.Event()

            def ask(server: Server = server, stop: threading.Event = stop) -> None:
                with server.client() as client:
                    while not stop.is_set():
                        try:
                            answer = client.post("/v1/predict", json={"items": [LIGHT, LIGHT]})
                        except httpx.HTTPError:
                            return  # killed before it answered: not acknowledged
                        with lock:
                            acknowledged.extend(p["id"] for p in answer.json()["predictions"])

            callers = [threading.Thread(target=ask) for _ in range(4)]
            for caller in callers:
                caller.start()
            until(lambda enough=enough: len(acknowledged) >= enough, "answers come")
            server.process.kill()
            stop.set()
            for caller in callers:
                caller.join()
    records = kept(store)
    assert len(acknowledged) > 20
    assert not set(acknowledged) - set(records)
    with store.read() as db:
        assert ledger.problems(db, []) == []


def test_draining_answers_what_is_under_way_refuses_the_rest_and_exits_0(new_store) -> None:
    store = project(new_store)
    body = json.dumps({"item": LIGHT}).encode()
    with serving(store) as server, server.client() as client:
        address = (urlsplit(server.url).hostname, urlsplit(server.url).port)
        slow = socket.create_connection(address)
        slow.sendall(
            b"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(body) + body[:5]
        )
        until(lambda: server.metric("http_server_active_requests") == 2, "the slow request is inside")
        assert client.get("/readyz").status_code == 200
        server.process.terminate()
        until(lambda: client.get("/readyz").status_code == 503, "readiness falls")
        time.sleep(0.5)  # whoever balances load needs time to see it
        assert client.get("/readyz").status_code == 503
        assert client.get("/livez").status_code == 200
        refused = client.post("/v1/predict", json={"item": LIGHT})
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "serve.draining"
        assert int(refused.headers["retry-after"]) > 0
        slow.sendall(body[5:])
        answer = slow.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 200")
        assert server.wait(20) == 0
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["id"] in kept(store)
        slow.close()


def test_a_moved_channel_is_followed_and_the_old_release_stays_warm(new_store) -> None:
    store = project(new_store)
    second = release(store, "r2", scale=-20.0)  # answers the other way round
    with forked(store) as server, server.client() as client:
        assert client.post("/v1/predict", json={"item": LIGHT}).json()["label"] == "light"
        point(store, "live", second)
        until(lambda: answered_by(client) == "r2", "the move is followed")
        assert client.post("/v1/predict", json={"item": LIGHT}).json()["label"] == "dark"
        with store.read() as db:
            from passmuster.store.releases import read_release

            first = read_release(db, "r1")
        for path in store.bundle_folder(first.path).rglob("*"):
            if path.is_file():
                path.write_bytes(b"")  # what is warm needs no file
        point(store, "live", first)
        until(lambda: answered_by(client) == "r1", "the way back needs no loading")
        assert server.metric("muster_swaps_total") == 2
        assert server.metric("muster_swap_failures_total") == 0
        point(store, "live", None)
        until(lambda: client.get("/readyz").status_code == 503, "nothing to serve is not ready")
        answer = client.post("/v1/predict", json={"item": LIGHT})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "serve.not_ready")
        point(store, "live", second)
        until(lambda: client.get("/readyz").status_code == 200, "a release again")


def test_a_release_refused_for_a_passing_reason_is_tried_again(new_store) -> None:
    store = project(new_store)
    second = release(store, "r2", scale=21.0)
    graph = store.bundle_folder(second.path) / "graphs" / "model.onnx"
    with forked(store) as server, server.client() as client:
        graph.rename(graph.with_suffix(".busy"))
        point(store, "live", second)
        until(lambda: server.metric("muster_swap_failures_total") == 1, "it is refused")
        assert answered_by(client) == "r1"
        graph.with_suffix(".busy").rename(graph)
        until(lambda: answered_by(client) == "r2", "it is taken though the channel did not move")
        assert server.metric("muster_swap_failures_total") == 1


def tamper_graph(store: Store, path) -> None:
    data = bytearray((path / "graphs" / "model.onnx").read_bytes())
    data[-20] ^= 1
    (path / "graphs" / "model.onnx").write_bytes(data)


def tamper_policy_and_manifest(store: Store, path) -> None:
    """A thief who keeps the manifest consistent still has no key."""
    from passmuster.core.digests import canonical_json, sha256_hex

    text = (path / "policy.toml").read_text().replace("novelty_rate = 0.01", "novelty_rate = 0.99")
    (path / "policy.toml").write_text(text)
    raw = json.loads((path / MANIFEST).read_bytes())
    raw["files"]["policy.toml"] = sha256_hex(text.encode())
    (path / MANIFEST).write_bytes(canonical_json(raw))


def change_run(store: Store, path) -> None:
    manifest = path / MANIFEST
    manifest.write_bytes(manifest.read_bytes().replace(b'"run-1"', b'"run-2"'))


def remove_signature(store: Store, path) -> None:
    (path / "signature.dsse.json").unlink()


def sign_with_another_key(store: Store, path) -> None:
    from passmuster.store import keys

    class Other:
        keys_folder = path.parent.parent / "other-keys"

    keys.create_keys(Other.keys_folder)
    sign(Other, path)  # type: ignore[arg-type]


def swap_with_another_signed_bundle(store: Store, path) -> None:
    import shutil

    other = store.bundle_folder(release(store, "r9", scale=5.0).path)
    shutil.rmtree(path)
    shutil.copytree(other, path)


TAMPERINGS = [
    tamper_graph, tamper_policy_and_manifest, change_run, remove_signature, sign_with_another_key,
    swap_with_another_signed_bundle,
]  # fmt: skip


def test_a_release_that_is_not_whole_is_refused_and_the_old_one_goes_on(new_store) -> None:
    store = project(new_store)
    with forked(store) as server, server.client() as client:
        for i, tamper in enumerate(TAMPERINGS):
            bad = release(store, f"bad{i}", scale=-20.0 - i)
            tamper(store, store.bundle_folder(bad.path))
            point(store, "live", bad)
            until(lambda i=i: server.metric("muster_swap_failures_total") == i + 1, f"{tamper.__name__} is refused")
            assert answered_by(client) == "r1"
            assert client.get("/readyz").status_code == 200
        good = release(store, "r2")
        point(store, "live", good)
        until(lambda: answered_by(client) == "r2", "a good one is taken again")
        assert server.log.read_text().count("is refused for channel live") == len(TAMPERINGS)


def test_a_signed_release_that_cannot_be_loaded_does_not_end_the_following(new_store, monkeypatch) -> None:
    store = project(new_store)
    with monkeypatch.context() as patched:
        patched.setattr("serving_case.fit_guard", lambda **_: {})
        no_guard = release(store, "r2")
        patched.setattr("serving_case.graph", lambda scale: b"no graph")
        no_graph = release(store, "r3")
    with forked(store) as server, server.client() as client:
        for i, bad in enumerate((no_guard, no_graph)):
            point(store, "live", bad)
            until(lambda i=i: server.metric("muster_swap_failures_total") == i + 1, f"{bad.id} is refused")
            assert answered_by(client) == "r1"
        point(store, "live", release(store, "r4"))
        until(lambda: answered_by(client) == "r4", "a good one is followed")


def test_a_server_does_not_start_on_a_bundle_that_is_not_whole(new_store) -> None:
    store = project(new_store)
    with store.read() as db:
        from passmuster.store.releases import read_release

        path = store.bundle_folder(read_release(db, "r1").path)
    tamper_graph(store, path)
    with pytest.raises(IntegrityError, match=r"model\.onnx"):
        serve(store, port=0)


def test_a_server_needs_a_release(new_store) -> None:
    with pytest.raises(NotFoundError, match="muster approve") as caught:
        serve(new_store("image"), port=0)
    assert caught.value.code == "channel.none"


def test_a_port_in_use_is_told_with_the_way_out(new_store) -> None:
    store = project(new_store)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run(store, "serve", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 6
    assert "muster serve --port 0" in done.stderr
    with pytest.raises(UsageError, match="70000"):
        serve(store, port=70_000)
    with pytest.raises(UsageError, match="no host"):
        serve(store, host="no host", port=0)


def run(store: Store, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "passmuster", "-C", str(store.folder), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_two_servers_of_one_project_write_beside_each_other(new_store) -> None:
    store = project(new_store)
    with forked(store) as one, forked(store) as two:
        ids = []
        for server in (one, two):
            with server.client() as client:
                ids.append(client.post("/v1/predict", json={"item": LIGHT}).json()["id"])
        with two.client() as client:  # feedback may reach the other one
            assert client.post("/v1/feedback", json={"id": ids[0], "label": "light"}).status_code == 200
        assert one.stop() == 0
    assert set(ids) <= set(kept(store))
    assert {p.name for p in store.traffic_folder.glob("*.db")} == {"w00-000001.db", "w01-000001.db"}


def test_the_canary_gets_its_share_and_a_key_keeps_its_side(new_store) -> None:
    store = project(new_store)
    point(store, "canary", release(store, "r2", scale=21.0), share=0.3)
    with forked(store) as server, server.client() as client:

        def side(key: str) -> str:
            return client.post("/v1/predict", json={"item": LIGHT, "key": key}).json()["channel"]

        sides = [side(f"customer {i}") for i in range(300)]
        n_canary = sides.count("canary")
        assert 55 < n_canary < 130  # 90 expected; four standard deviations are 32
        assert [side(f"customer {i}") for i in range(50)] == sides[:50]
        header = client.post("/v1/predict", json={"item": LIGHT}, headers={"x-muster-key": "customer 0"}).json()
        assert header["channel"] == sides[0]
        tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [LIGHT]}
        for version, channel in (("r1", "live"), ("r2", "canary")):  # a named version is not routed
            body = client.post(f"/v2/models/project/versions/{version}/infer", json={"inputs": [tensor]}).json()
            assert {o["name"]: o["data"] for o in body["outputs"]}["channel"] == [channel]
        point(store, "canary", None)
        until(lambda: side(f"customer {sides.index('canary')}") == "live", "the canary is withdrawn")
    counts = Counter(r.channel for r in kept(store).values())
    assert counts["canary"] >= n_canary


def test_a_refused_canary_leaves_everything_to_live(new_store) -> None:
    store = project(new_store)
    point(store, "canary", release(store, "r2", scale=21.0, signed=False), share=1.0)
    with forked(store) as server, server.client() as client:
        assert answered_by(client) == "r1"
        assert server.metric("muster_swap_failures_total") == 1


def test_a_shadow_answers_nobody_and_is_recorded(new_store) -> None:
    store = project(new_store)
    point(store, "shadow", release(store, "r2", scale=-20.0))
    with forked(store) as server, server.client() as client:
        body = client.post("/v1/predict", json={"item": LIGHT}).json()
        assert (body["release"], body["label"]) == ("r1", "light")
        until(lambda: f"{body['id']}.shadow" in kept(store), "the shadow's answer is kept")
        assert server.stop() == 0
    shadow = kept(store)[f"{body['id']}.shadow"]
    assert (shadow.channel, shadow.release, shadow.label) == ("shadow", "r2", "dark")


def test_a_degraded_channel_withholds_more(new_store) -> None:
    store = project(new_store, guard=GuardPolicy(novelty_rate=0.001, degraded_min_confidence=0.99999))
    with forked(store) as server, server.client() as client:

        def reasons() -> list[str]:
            return client.post("/v1/predict", json={"item": LIGHT}).json()["reasons"]

        assert reasons() == []
        with store.read() as db:
            from passmuster.store.releases import read_release

            live = read_release(db, "r1")
        point(store, "live", live, mode="degraded")
        until(lambda: reasons() == ["degraded"], "the mode is followed")
        point(store, "live", live)
        until(lambda: reasons() == [], "and back")


def test_provisional_service_answers_its_share_until_it_expires(new_store) -> None:
    store = project(new_store, guard=GuardPolicy(degraded_min_confidence=0.5))
    with store.read() as db:
        from passmuster.store.releases import read_release

        live = read_release(db, "r1")
    point(store, "live", live, mode="provisional", share=0.4, expires="2100-01-01T00:00:00+00:00")
    with forked(store) as server, server.client() as client:

        def withheld(key: str) -> bool:
            body = client.post("/v1/predict", json={"item": LIGHT, "key": key}).json()
            assert body["abstained"] == ("provisional" in body["reasons"])
            return body["abstained"]

        found = [withheld(f"k{i}") for i in range(100)]
        assert 40 < sum(found) < 80
        point(store, "live", live, mode="provisional", share=0.4, expires="2020-01-01T00:00:00+00:00")
        until(lambda: withheld(f"k{found.index(False)}"), "expiry withholds everything")


def test_a_flood_is_refused_at_the_door_and_counted(new_store) -> None:
    store = project(new_store, max_waiting=4)
    body = json.dumps({"item": LIGHT}).encode()
    with forked(store) as server, server.client() as client:
        address = (urlsplit(server.url).hostname, urlsplit(server.url).port)
        held = [socket.create_connection(address) for _ in range(4)]
        for caller in held:
            caller.sendall(b"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n{" % len(body))
        until(lambda: server.metric("http_server_active_requests") == 5, "four are inside")
        answer = client.post("/v1/predict", json={"item": LIGHT})
        assert answer.status_code == 429
        assert answer.json()["error"]["limit"] == "4"
        assert int(answer.headers["retry-after"]) >= 1
        assert client.get("/readyz").status_code == 200
        for caller in held:
            caller.sendall(body[1:])
            assert caller.recv(100).startswith(b"HTTP/1.1 200")
            caller.close()
        assert client.post("/v1/predict", json={"item": LIGHT}).status_code == 200
        assert client.post("/v1/predict", json={"items": [LIGHT] * 20}).status_code == 200  # alone, it may be large
        assert server.metric("muster_refused_total") == 1


def test_a_request_without_an_answer_in_time_is_504(new_store) -> None:
    store = project(new_store, deadline_s=0.3)
    with forked(store) as server, server.client() as client:
        with socket.create_connection((urlsplit(server.url).hostname, urlsplit(server.url).port)) as slow:
            slow.sendall(b"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n{")
            assert slow.recv(100).startswith(b"HTTP/1.1 504")
        assert client.post("/v1/predict", json={"item": LIGHT}).status_code == 200


def test_a_full_disk_acknowledges_nothing_and_recovers(new_store) -> None:
    store = project(new_store)
    limit = 200_000  # bytes in one file

    def few_bytes() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    item = png(np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8))
    with serving(store, preexec=few_bytes) as server, server.client() as client:
        acknowledged = []
        for _ in range(200):
            answer = client.post("/v1/predict", json={"item": item})
            if answer.status_code != 200:
                break
            acknowledged.append(answer.json()["id"])
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert answer.json()["error"]["code"] in ("disk.full", "traffic.write")
        assert set(kept(store)) == set(acknowledged)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (4_096, resource.RLIM_INFINITY))
        assert client.post("/v1/predict", json={"item": item}).status_code == 503
        for path in ("/readyz", "/v2/health/ready", "/ping", "/healthz"):
            told = client.get(path)
            assert (told.status_code, told.json()["ready"]) == (503, False)
            assert "cannot be kept" in told.json()["why"]
        assert client.get("/livez").status_code == 200
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        until(lambda: client.get("/readyz").status_code == 200, "readiness comes back without a request")
        assert set(kept(store)) == set(acknowledged)
        answer = client.post("/v1/predict", json={"item": item})
        assert answer.status_code == 200
    assert set(kept(store)) == {*acknowledged, answer.json()["id"]}


def test_old_inputs_are_erased_by_the_server(new_store) -> None:
    from dataclasses import replace

    from passmuster.store.traffic import TrafficWriter

    store = project(new_store)
    with forked(store) as server, server.client() as client:
        id = client.post("/v1/predict", json={"item": png(strange())}).json()["id"]
        assert server.stop() == 0
    writer = TrafficWriter(store.traffic_folder, "w00")
    writer.append([replace(kept(store)[id], id="old", at="2020-01-01T00:00:00.000000+00:00")])
    writer.close()

    def expirations() -> list[object]:
        with store.read() as db:
            return [event.payload for event in ledger.read(db, kind="traffic.expire")]

    with forked(store):
        until(lambda: kept(store)["old"].input is None, "the old input is gone")
        until(lambda: bool(expirations()), "the event of it is written")
    assert kept(store)[id].input is not None
    assert expirations() == [{"n_inputs": 1}]
