"""One server, every kind of request: what it answers, and how it refuses."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from passmuster.core.records import FeedbackRecord
from passmuster.store.store import Store
from passmuster.store.traffic_reader import TrafficReader
from serving_case import CLASSES, Server, kept, maker, pictures, png, project, serving, strange

MAX_BODY = 200_000
LIGHT, DARK = pictures(2)[1], pictures(2)[0]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return project(maker(tmp_path_factory.mktemp("serve")), max_body_bytes=MAX_BODY, max_items=50)


@pytest.fixture(scope="module")
def server(store: Store) -> Iterator[Server]:
    with serving(store) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as made:
        yield made


def test_one_item_is_answered_and_kept(client: httpx.Client, store: Store) -> None:
    answer = client.post("/v1/predict", json={"item": png(LIGHT), "key": "customer 7"})
    assert answer.status_code == 200
    body = answer.json()
    assert body["label"] == "light"
    assert body["probability"] == body["probabilities"]["light"] > 0.9
    assert set(body["probabilities"]) == set(CLASSES)
    assert (body["prediction_set"], body["abstained"], body["reasons"]) == (["light"], False, [])
    assert (body["release"], body["channel"]) == ("r1", "live")
    record = kept(store)[body["id"]]
    assert (record.label, record.release, record.channel) == ("light", "r1", "live")
    assert record.probability == pytest.approx(body["probability"])
    assert record.routing_key == store.keyed(b"customer 7")
    assert b"customer 7" not in b"".join(p.read_bytes() for p in store.traffic_folder.iterdir())
    from passmuster.modality.find import modalities

    assert np.array_equal(modalities["image"].decode(record.input, store.config.data), LIGHT)


def test_a_list_is_answered_in_order(client: httpx.Client) -> None:
    images = pictures(20, seed=3)
    body = client.post("/v1/predict", json={"items": [png(i) for i in images]}).json()
    assert [p["label"] for p in body["predictions"]] == [CLASSES[i % 2] for i in range(20)]
    assert len({p["id"] for p in body["predictions"]}) == 20


def test_a_strange_item_is_withheld_and_says_why(client: httpx.Client, store: Store) -> None:
    body = client.post("/v1/predict", json={"item": png(strange())}).json()
    assert (body["abstained"], body["reasons"]) == (True, ["novel"])
    assert kept(store)[body["id"]].novel


def test_the_alias_of_other_platforms_answers_the_same(client: httpx.Client) -> None:
    assert client.post("/invocations", json={"item": png(DARK)}).json()["label"] == "dark"
    assert client.get("/ping").json() == {"ready": True}


def test_feedback_is_kept(client: httpx.Client, store: Store) -> None:
    ids = [p["id"] for p in client.post("/v1/predict", json={"items": [png(LIGHT)] * 3}).json()["predictions"]]
    one = client.post("/v1/feedback", json={"id": ids[0], "label": "light", "who": "ana"})
    assert (one.status_code, one.json()) == (200, {"accepted": 1, "unknown_labels": [], "read_as": {}})
    many = client.post("/v1/feedback", json=[{"id": ids[1], "label": "dark"}, {"id": ids[2], "label": "grey"}])
    assert many.json() == {"accepted": 2, "unknown_labels": ["grey"], "read_as": {}}
    found = {r.prediction: r for r in everything(store) if isinstance(r, FeedbackRecord)}
    assert [(found[i].label, found[i].who) for i in ids] == [("light", "ana"), ("dark", "http"), ("grey", "http")]


def test_feedback_on_an_unknown_id_is_refused_whole(client: httpx.Client, store: Store) -> None:
    id = client.post("/v1/predict", json={"item": png(LIGHT)}).json()["id"]
    answer = client.post("/v1/feedback", json=[{"id": id, "label": "dark"}, {"id": "nobody", "label": "dark"}])
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "feedback.unknown_id"
    assert id not in {r.prediction for r in everything(store) if isinstance(r, FeedbackRecord)}


def everything(store: Store) -> list[object]:
    return TrafficReader(store.traffic_folder).read("", 100_000)[0]


GOOD = png(LIGHT)
TENSOR = {"name": "image", "shape": [1, 2, 2, 1], "datatype": "UINT8", "data": [0, 1, 2, 3]}


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/predict", b"{", 400, "request.json"),
        ("/v1/predict", b"", 400, "request.json"),
        ("/v1/predict", b"\xff\xfe", 400, "request.json"),
        ("/v1/predict", b'{"item": ' + b"[" * 50_000, 400, "request.json"),
        ("/v1/predict", b'{"item": NaN}', 400, "request.json"),
        ("/v1/predict", b"[]", 422, "request.shape"),
        ("/v1/predict", b"{}", 422, "request.shape"),
        ("/v1/predict", {"item": GOOD, "items": [GOOD]}, 422, "request.shape"),
        ("/v1/predict", {"items": GOOD}, 422, "request.shape"),
        ("/v1/predict", {"items": []}, 422, "request.no_items"),
        ("/v1/predict", {"items": [GOOD] * 51}, 422, "request.too_many_items"),
        ("/v1/predict", {"item": GOOD, "keys": "x"}, 422, "request.shape"),
        ("/v1/predict", {"item": GOOD, "key": 3}, 422, "request.shape"),
        ("/v1/predict", {"item": GOOD, "key": "k" * 600}, 422, "request.key"),
        ("/v1/predict", {"item": 7}, 422, ""),
        ("/v1/predict", {"item": None}, 422, ""),
        ("/v1/predict", {"item": "not base64 !"}, 422, ""),
        ("/v1/predict", {"item": "aGVsbG8="}, 422, ""),
        ("/v1/predict", {"item": [[300, -1]]}, 422, ""),
        ("/v1/predict", {"items": [GOOD, "aGVsbG8="]}, 422, ""),
        ("/v1/feedback", b"nonsense", 400, "request.json"),
        ("/v1/feedback", {"id": "x"}, 422, "request.shape"),
        ("/v1/feedback", {"id": "x", "label": 3}, 422, "request.shape"),
        ("/v1/feedback", {"id": "x", "label": ""}, 422, "request.shape"),
        ("/v1/feedback", {"id": "x", "label": "l" * 2_000}, 422, "request.shape"),
        ("/v1/feedback", [], 422, "request.no_items"),
        ("/v1/feedback", [{"id": "x", "label": "y"}] * 51, 422, "request.too_many_items"),
        ("/v2/models/nobody/infer", {"inputs": [TENSOR]}, 404, "model.none"),
        ("/v2/models/project/versions/r9/infer", {"inputs": [TENSOR]}, 404, "model.version"),
        ("/v2/models/project/infer", b"{", 400, "request.json"),
        ("/v2/models/project/infer", {}, 422, "request.shape"),
        ("/v2/models/project/infer", {"inputs": []}, 422, "tensor.inputs"),
        ("/v2/models/project/infer", {"inputs": [{**TENSOR, "name": "text"}]}, 422, "tensor.inputs"),
        ("/v2/models/project/infer", {"inputs": [{**TENSOR, "shape": [1, 2, 2, 2]}]}, 422, "tensor.shape"),
        ("/v2/models/project/infer", {"inputs": [{**TENSOR, "shape": [-1, 2, 2, 1]}]}, 422, "tensor.shape"),
        ("/v2/models/project/infer", {"inputs": [{**TENSOR, "shape": []}]}, 422, "tensor.shape"),
        ("/v2/models/project/infer", {"inputs": [{**TENSOR, "shape": [0, 2, 2, 1]}]}, 422, "request.no_items"),
        ("/v2/models/project/infer", {"inputs": [{**TENSOR, "shape": [51, 2, 2, 1]}]}, 422, "request.too_many_items"),
        ("/v2/models/project/infer", {"inputs": [{**TENSOR, "shape": [1, 10**6, 10**6, 1]}]}, 422, "item.too_large"),
        ("/v2/models/project/infer", {"inputs": [{**TENSOR, "data": [0, 1, 2]}]}, 422, "tensor.data"),
        ("/v2/models/project/infer", {"inputs": [{**TENSOR, "data": [0, 1, 2, 256]}]}, 422, "tensor.data"),
        ("/v2/models/project/infer", {"inputs": [{**TENSOR, "data": [0, 1, 2, -1]}]}, 422, "tensor.data"),
        ("/v2/models/project/infer", {"inputs": [{**TENSOR, "data": [0, 1, 2, 10**400]}]}, 422, "tensor.data"),
        ("/v1/predict", {"item": [[0.5, 10**400]]}, 422, "item.type"),
        ("/v2/models/project/infer", {"inputs": [{**TENSOR, "data": [0, 1, 2, 0.5]}]}, 422, "tensor.data"),
        ("/v2/models/project/infer", {"inputs": [{**TENSOR, "data": [0, 1, 2, "3"]}]}, 422, "tensor.data"),
        ("/v2/models/project/infer", {"inputs": [{**TENSOR, "data": [0, 1, 2, True]}]}, 422, "tensor.data"),
        ("/v2/models/project/infer", {"inputs": [{**TENSOR, "data": [[0, 1], 2]}]}, 422, "tensor.data"),
        ("/v2/models/project/infer", {"inputs": [{**TENSOR, "datatype": "FP32"}]}, 422, "tensor.data"),
        ("/v2/models/project/infer", {"inputs": [{**TENSOR, "datatype": "INT64"}]}, 422, "tensor.datatype"),
        ("/v2/models/project/infer", {"inputs": [TENSOR], "outputs": [{"name": "x"}]}, 422, "tensor.outputs"),
        ("/v2/models/project/infer", {"inputs": [TENSOR], "parameters": {"key": 1}}, 422, "request.key"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(
    client: httpx.Client, path: str, body: object, status: int, code: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post(path, content=content)
    assert answer.status_code == status, answer.text
    told = answer.json() if path.startswith("/v2") else answer.json()["error"]
    assert code in ("", told["code"])
    if (path, code) == ("/v1/predict", "request.shape"):
        assert '{"item": ...}' in told["next"]  # what would have been right, without a look at the schema
    if path.startswith("/v2"):
        assert ". Next: " in told["error"]
    else:
        assert told["what"]
        assert told["next"]
    assert client.post("/v1/predict", json={"item": GOOD}).status_code == 200  # and goes on


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("GET", "/v1/predict", 405), ("POST", "/readyz", 405), ("DELETE", "/v2", 405)],
)
def test_a_wrong_address_is_told(client: httpx.Client, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert "openapi" in answer.text
    assert ("another method" in answer.text) == (status == 405)


def test_a_body_announced_too_large_is_413(client: httpx.Client) -> None:
    answer = client.post("/v1/predict", content=b"x" * (MAX_BODY + 1))
    assert answer.status_code == 413
    assert answer.json()["error"]["limit"] == str(MAX_BODY)


def test_a_body_too_large_in_chunks_is_413(client: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(MAX_BODY // 10_000 + 3):
            yield b"x" * 10_000

    assert client.post("/v1/predict", content=chunks()).status_code == 413
    half = json.dumps({"item": GOOD}).encode()
    assert client.post("/v1/predict", content=iter([half[:10], half[10:]])).status_code == 200


def test_a_caller_who_hangs_up_harms_nobody(server: Server, client: httpx.Client) -> None:
    address = (urlsplit(server.url).hostname, urlsplit(server.url).port)
    for raw in (
        b"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{",
        b"GARBAGE\r\n\r\n",
        b"\x16\x03\x01",
    ):
        with socket.create_connection(address) as caller:
            caller.sendall(raw)
    assert client.post("/v1/predict", json={"item": GOOD}).status_code == 200


def test_the_open_inference_protocol(client: httpx.Client) -> None:
    assert client.get("/v2").json()["name"] == "muster"
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    for path in ("/v2/models/project", "/v2/models/project/versions/r1"):
        model = client.get(path).json()
        assert (model["name"], model["versions"]) == ("project", ["r1"])
        assert model["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, -1, -1, -1]}]
        assert client.get(f"{path}/ready").json() == {"name": "project", "ready": True}
    assert client.get("/v2/models/other/ready").status_code == 404


@pytest.mark.parametrize("shape", [[2, 8, 8, 1], [2, 8, 8]])
@pytest.mark.parametrize("datatype", ["UINT8", "FP32", "BYTES"])
@pytest.mark.parametrize("nested", [True, False])
def test_tensors_in_tensors_out(client: httpx.Client, shape: list[int], datatype: str, nested: bool) -> None:
    pixels = np.stack([LIGHT, DARK]).reshape(shape)
    if datatype == "BYTES":
        tensor = {"name": "image", "shape": [2], "datatype": "BYTES", "data": [png(LIGHT), png(DARK)]}
    else:
        values = pixels if datatype == "UINT8" else pixels / 255
        data = values.tolist() if nested else values.reshape(-1).tolist()
        tensor = {"name": "image", "shape": shape, "datatype": datatype, "data": data}
    body = client.post("/v2/models/project/versions/r1/infer", json={"id": "mine", "inputs": [tensor]}).json()
    assert (body["id"], body["model_name"], body["model_version"]) == ("mine", "project", "r1")
    outputs = {o["name"]: o for o in body["outputs"]}
    assert outputs["label"] == {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["light", "dark"]}
    assert outputs["probabilities"]["shape"] == [2, 2]
    plain = client.post("/v1/predict", json={"items": [png(LIGHT), png(DARK)]}).json()["predictions"]
    expected = [p["probabilities"][c] for p in plain for c in CLASSES]
    assert outputs["probabilities"]["data"] == pytest.approx(expected)
    assert outputs["abstained"]["data"] == [False, False]


def test_only_the_outputs_asked_for(client: httpx.Client) -> None:
    body = client.post("/v2/models/project/infer", json={"inputs": [TENSOR], "outputs": [{"name": "abstained"}]}).json()
    assert [o["name"] for o in body["outputs"]] == ["abstained"]


def test_metrics_count_what_happened(client: httpx.Client, server: Server) -> None:
    before = server.metric("muster_predictions_total")
    client.post("/v1/predict", json={"items": [GOOD] * 5})
    assert server.metric("muster_predictions_total") == before + 5
    text = client.get("/metrics").text
    assert 'http_server_request_duration_seconds_count{http_request_method="POST"' in text
    assert 'http_route="/v1/predict"' in text
    assert 'muster_channel_release{channel="live",release="r1"} 1.0' in text
    assert 'muster_abstentions_total{reason="novel"}' in text
    assert server.metric("muster_waiting_items") == 0


def test_the_description_names_every_address_and_its_body(client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()
    assert described["openapi"].startswith("3.1")
    for path, item in described["paths"].items():
        for method in item:
            concrete = path.replace("{model}", "project").replace("{version}", "r1")
            assert client.request(method, concrete, content=b"{").status_code in (200, 400)


def test_requests_at_once_share_batches_and_get_their_own_answers(server: Server) -> None:
    images = pictures(200, seed=11)
    batches, items = server.metric("muster_batch_items_count"), server.metric("muster_batch_items_sum")
    with server.client(limits=httpx.Limits(max_connections=32)) as client, ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda i: client.post("/v1/predict", json={"item": png(i)}).json()["label"], images))
    assert answers == [CLASSES[i % 2] for i in range(200)]
    assert server.metric("muster_batch_items_sum") - items == 200
    assert server.metric("muster_batch_items_count") - batches < 200


def test_an_error_in_a_list_says_which_item(client: httpx.Client) -> None:
    answer = client.post("/v1/predict", json={"items": [GOOD, GOOD, "aGVsbG8="]})
    assert answer.json()["error"]["where"] == "items[2]"
    tensor = {"name": "image", "shape": [2], "datatype": "BYTES", "data": [GOOD, "aGVsbG8="]}
    assert "inputs.image.data[1]" in client.post("/v2/models/project/infer", json={"inputs": [tensor]}).text
    tensor = {**TENSOR, "shape": [2, 1, 2, 1], "data": [0, 1, 2, 256]}
    assert "value: 256" in client.post("/v2/models/project/infer", json={"inputs": [tensor]}).text
    assert "inputs.image.data[1]" in client.post("/v2/models/project/infer", json={"inputs": [tensor]}).text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:1234"}, 200),
        ({"host": "LOCALHOST"}, 200),
        ({"host": "[::1]:80"}, 200),
        ({"host": "10.0.0.7"}, 200),  # an address is nobody's name: health checks and Prometheus ask so
        ({"host": ""}, 200),
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1.evil.example"}, 421),
        ({"origin": "http://evil.example", "content-type": "text/plain"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "localhost:1", "origin": "http://localhost:1"}, 200),
        ({"host": "localhost:1", "origin": "http://localhost:2"}, 403),
    ],
)
def test_pages_of_other_sites_are_not_answered(client: httpx.Client, headers: dict[str, str], status: int) -> None:
    answer = client.post("/v1/predict", content=json.dumps({"item": GOOD}), headers=headers)
    assert answer.status_code == status, answer.text
    if status != 200:
        assert "serve.allowed_hosts" in answer.json()["error"]["next"]
    if status == 421:
        assert client.get("/metrics", headers=headers).status_code == 421


def test_names_that_a_proxy_passes_on_can_be_allowed() -> None:
    from passmuster.stages.serve.callers import Callers, CrossSite, Misdirected

    proxied = Callers("127.0.0.1", ("Muster.example",))
    proxied.check("POST", {"host": "muster.example", "origin": "https://muster.example"})
    proxied.check("POST", {"host": "127.0.0.1:8080", "origin": "https://muster.example:8443"})
    with pytest.raises(Misdirected):
        proxied.check("GET", {"host": "other.example"})
    with pytest.raises(CrossSite):
        proxied.check("POST", {"host": "muster.example", "origin": "https://other.example"})
    Callers("0.0.0.0", ("*",)).check("POST", {"host": "any.example", "origin": "https://other.example"})
