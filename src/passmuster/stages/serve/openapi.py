"""The server's description in OpenAPI 3.1, made from the table of endpoints and the types of bodies and answers."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from passmuster import __version__
from passmuster.stages.serve import responses
from passmuster.stages.serve.inference_protocol import InferRequest
from passmuster.stages.serve.requests import MAX_KEY_CHARS, PredictRequest

if TYPE_CHECKING:
    from passmuster.stages.serve.app import Endpoint

KEY_HEADER = "x-muster-key"
STATUSES = {
    200: "The answer",
    400: "The body is not JSON",
    403: "A browser asks for a page of another site",
    404: "No such prediction, model or release",
    413: "The body is too large",
    421: "The server is not known by that host name",
    422: "The body does not have the right shape, or holds an item that cannot be read",
    429: "Full",
    500: "A fault of the server, or a release that fails at an item; the server's log says more",
    502: "The release asks a model behind an address, and that gave no answer; `where` names the first such item",
    503: "Not ready, draining, or records cannot be kept",
    504: "No answer before the deadline (`serve.deadline_s`)",
}
TELLS_READY = (responses.Ready, responses.ModelReady, responses.Health)  # with status 503 too
REF = "#/components/schemas/{name}"


def describe(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The whole description."""
    kinds = [kind for e in endpoints for kind in (*([e.body] if e.body else []), *e.answers)]
    kinds += [responses.ErrorAnswer, responses.ProtocolError]
    _, components = msgspec.json.schema_components(list(dict.fromkeys(kinds)), ref_template=REF)
    for component in components.values():
        component["description"] = inspect.cleandoc(component.get("description", ""))
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Muster", "version": __version__},
        "paths": paths,
        "components": {"schemas": components},
    }


def statuses_of(endpoint: Endpoint) -> list[int]:
    """Every status that an address may answer with. A path that is none is a 404, another method a 405."""
    found = {200, 421, 500}
    if endpoint.method == "POST":
        found.add(403)
    if endpoint.works:
        found |= {400, 413, 422, 429, 503, 504}
    if endpoint.body in (PredictRequest, InferRequest):
        found.add(502)
    if "{model}" in endpoint.path or endpoint.body not in (None, PredictRequest, InferRequest):
        found.add(404)
    if "{model}" in endpoint.path or any(kind in TELLS_READY for kind in endpoint.answers):
        found.add(503)
    return sorted(found)


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "operationId": f"{endpoint.method.lower()}{re.sub('[^a-z0-9]+', '_', endpoint.path)}".rstrip("_"),
        "responses": {str(status): _response(endpoint, status) for status in statuses_of(endpoint)},
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", endpoint.path)
    ]
    if endpoint.body in (PredictRequest, InferRequest):
        said = "Keeps a caller on one side of a canary; the body's own key goes before"
        schema = {"type": "string", "maxLength": MAX_KEY_CHARS}
        parameters.append({"name": KEY_HEADER, "in": "header", "description": said, "schema": schema})
    if parameters:
        operation["parameters"] = parameters
    if endpoint.body is not None:
        (schema,), _ = msgspec.json.schema_components([endpoint.body], ref_template=REF)
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _response(endpoint: Endpoint, status: int) -> dict[str, Any]:
    """One status: what it means, its headers, and the shape of its body."""
    error = responses.ProtocolError if endpoint.path.startswith("/v2") else responses.ErrorAnswer
    kinds: tuple[type, ...] = endpoint.answers if status == 200 else (error,)
    if status == 503 and any(kind in TELLS_READY for kind in endpoint.answers):
        kinds = endpoint.answers + ((error,) if "{model}" in endpoint.path else ())
    told: dict[str, Any] = {"description": STATUSES[status]}
    if status in (429, 502, 503) and error in kinds:
        said = "Seconds to wait" + (", where that is known" if status == 502 else "")
        told["headers"] = {"retry-after": {"description": said, "schema": {"type": "integer"}}}
    if not kinds:  # not of our making: text, or this description
        return {**told, "content": {endpoint.media: {"schema": {} if "json" in endpoint.media else {"type": "string"}}}}
    schemas = [{"$ref": REF.format(name=kind.__name__)} for kind in kinds]
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    return {**told, "content": {"application/json": {"schema": schema}}}
