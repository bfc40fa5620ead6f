"""The description of the server, held to what it answers: every field of an answer is described, every status told."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import jsonschema
import msgspec
import pytest

from passmuster.core.codec import to_plain
from passmuster.core.errors import IntegrityError, NetworkError, ResourceError
from passmuster.core.records import Prediction
from passmuster.stages.serve import inference_protocol as oip
from passmuster.stages.serve.answering import Answered, Placed
from passmuster.stages.serve.app import Endpoint, Service
from passmuster.stages.serve.asking import Failing
from passmuster.stages.serve.door import error_response
from passmuster.stages.serve.openapi import STATUSES, describe, statuses_of
from passmuster.stages.serve.refusals import Full, TooLate, Unanswered
from serving_case import maker, pictures, png, project, serving

MAX_BODY = 200_000
GOOD = png(pictures(1)[0])
TENSOR = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [GOOD]}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    store = project(maker(tmp_path_factory.mktemp("serve")), max_body_bytes=MAX_BODY, max_items=5)
    with serving(store) as running, running.client() as made:
        yield made


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    """The description, with no field allowed that it does not name."""
    whole = json.loads(json.dumps(describe(endpoints())))
    for component in whole["components"]["schemas"].values():
        component["additionalProperties"] = False
    return whole


def endpoints() -> list[Endpoint]:
    return object.__new__(Service).endpoints()  # the table alone; nothing is served


def fits(answer: Any, schema: dict[str, Any], described: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator({**schema, "components": described["components"]}).validate(answer)


def held(answer: httpx.Response, method: str, path: str, described: dict[str, Any]) -> None:
    """Check that an answer is one that the description tells of."""
    told = described["paths"][path][method.lower()]["responses"][str(answer.status_code)]
    ((media, content),) = told["content"].items()
    assert answer.headers["content-type"] == media
    if media == "application/json":
        fits(answer.json(), content["schema"], described)
    if answer.status_code != 502:
        assert ("retry-after" in answer.headers) == ("headers" in told)
    elif "retry-after" in answer.headers:
        assert "retry-after" in told["headers"]


LOOKED = [(e.method, e.path) for e in endpoints() if e.method == "GET"]
INFER = "/v2/models/{model}/infer"
SENT: list[tuple[str, Any, int]] = [
    ("/v1/predict", {"item": GOOD}, 200),
    ("/v1/predict", {"items": [GOOD, GOOD]}, 200),
    ("/invocations", {"items": [GOOD], "key": "me"}, 200),
    (INFER, {"inputs": [TENSOR]}, 200),
    (INFER, {"inputs": [TENSOR], "id": "mine"}, 200),
    ("/v2/models/{model}/versions/{version}/infer", {"inputs": [TENSOR], "outputs": [{"name": "label"}]}, 200),
    ("/v1/predict", b"{", 400),
    ("/v1/feedback", b"{", 400),
    (INFER, b"{", 400),
    ("/v1/feedback", {"id": "nobody", "label": "light"}, 404),
    ("/v1/feedback", [{"id": "nobody", "label": ["light"]}], 404),
    ("/v1/predict", b"x" * (MAX_BODY + 1), 413),
    (INFER, b"x" * (MAX_BODY + 1), 413),
    ("/v1/predict", {"items": [GOOD, "aGVsbG8="]}, 422),
    ("/v1/predict", {"items": [GOOD] * 6}, 422),
    ("/v1/feedback", {"id": "nobody"}, 422),
    (INFER, {"inputs": []}, 422),
]


@pytest.mark.parametrize(("method", "path"), LOOKED)
def test_what_is_looked_at_is_described(
    client: httpx.Client, described: dict[str, Any], method: str, path: str
) -> None:
    answer = client.request(method, path.format(model="project", version="r1"))
    assert answer.status_code == 200
    held(answer, method, path, described)
    if "{" in path:
        gone = client.request(method, path.format(model="other", version="r9"))
        assert gone.status_code == 404
        held(gone, method, path, described)


@pytest.mark.parametrize(("path", "body", "status"), SENT)
def test_what_is_sent_and_answered_is_described(
    client: httpx.Client, described: dict[str, Any], path: str, body: Any, status: int
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post(path.format(model="project", version="r1"), content=content)
    assert answer.status_code == status, answer.text
    held(answer, "POST", path, described)
    if status in (200, 404):
        schema = described["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        fits(body, schema, described)


def test_feedback_is_described_as_one_fact_and_as_a_list(client: httpx.Client, described: dict[str, Any]) -> None:
    id = client.post("/v1/predict", json={"item": GOOD}).json()["id"]
    for body in ({"id": id, "label": "light"}, [{"id": id, "label": "Light", "who": "ana"}, {"id": id, "label": "x"}]):
        answer = client.post("/v1/feedback", json=body)
        assert answer.status_code == 200
        held(answer, "POST", "/v1/feedback", described)


def test_strangers_are_described(client: httpx.Client, described: dict[str, Any]) -> None:
    for method, path in (("GET", "/readyz"), ("GET", "/v2"), ("POST", "/v1/predict"), ("POST", "/v1/feedback")):
        answer = client.request(method, path, headers={"host": "evil.example"})
        assert answer.status_code == 421
        held(answer, method, path, described)
    answer = client.post("/v1/predict", headers={"origin": "http://evil.example"}, json={"item": GOOD})
    assert answer.status_code == 403
    held(answer, "POST", "/v1/predict", described)


ERRORS = [
    Full("serve.full", "too many requests are under way", value=9, limit=8, next="wait"),
    IntegrityError("graph.shape", "the graph's logits do not fit", where="r1"),
    Unanswered(NetworkError("endpoint.status", "the endpoint answered 500"), [2, 3], 5),
    Unanswered(ValueError("a graph failed"), [0], 1),
    ResourceError("serve.draining", "the server is shutting down", next="ask another one"),
    TooLate("serve.deadline", "there was no answer in time", limit="10 s"),
]


@pytest.mark.parametrize("path", ["/v1/predict", INFER])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.code)
def test_errors_that_are_rare_are_described(described: dict[str, Any], error: Any, path: str) -> None:
    made = error_response(error, path)
    answer = httpx.Response(made.status_code, headers=dict(made.headers), content=bytes(made.body))
    held(answer, "POST", path, described)


def test_answers_of_many_labels_are_described(described: dict[str, Any]) -> None:
    lane: Any = SimpleNamespace(
        predictor=SimpleNamespace(classes=("broken", "late")), release=SimpleNamespace(id="r1"),
        channel=SimpleNamespace(name="canary"),
    )  # fmt: skip
    found = Prediction('["broken","late"]', (0.5, 0.9), ("late",), True, ("novel",), 1.5, whole=0.45)
    answer = Answered(Placed("p1", None, "", lane, True), "", found, 0.1).as_dict()  # type: ignore[arg-type]
    assert "label" not in answer
    fits(json.loads(msgspec.json.encode(answer)), {"$ref": "#/components/schemas/Answer"}, described)


def test_a_release_that_fails_and_a_full_disk_are_described(described: dict[str, Any]) -> None:
    failing = to_plain(Failing(5, "2026-01-01T00:00:00+00:00", "refused"))
    channel = {"release": "r1", "bundle": "ab", "mode": "normal", "share": 1.0, "generation": 2, "failing": failing}
    fits(channel, {"$ref": "#/components/schemas/ServedChannel"}, described)
    for path, more in (("/readyz", {}), ("/healthz", {"channels": {}, "draining": True, "version": "1"})):
        told = described["paths"][path]["get"]["responses"]["503"]["content"]["application/json"]["schema"]
        fits({"ready": False, "why": "records cannot be kept", **more}, told, described)


def test_what_is_not_described_would_be_noticed(described: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError, match="Additional properties"):
        fits({"live": True, "since": 3}, {"$ref": "#/components/schemas/Live"}, described)


def test_every_status_of_an_error_is_told_of(described: dict[str, Any]) -> None:
    assert {status for e in endpoints() for status in statuses_of(e)} == set(STATUSES)
    for item in described["paths"].values():
        for operation in item.values():
            assert all(told["description"] for told in operation["responses"].values())
            assert operation["operationId"]
    names = [operation["operationId"] for item in described["paths"].values() for operation in item.values()]
    assert len(names) == len(set(names))
    for name, component in described["components"]["schemas"].items():
        assert component["description"], name
        assert [field for field, told in component["properties"].items() if not told.get("description")] == [], name
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(described)))
    assert references <= set(described["components"]["schemas"])


def test_every_tensor_has_a_meaning() -> None:
    from passmuster.stages.serve.responses import TENSORS

    assert set(TENSORS) == {*oip.OUTPUTS, *oip.LABEL_SETS_OUTPUTS}
