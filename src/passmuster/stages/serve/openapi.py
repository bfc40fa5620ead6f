"""The server's description in OpenAPI 3.1, made from the table of endpoints and the types that check bodies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from passmuster import __version__

if TYPE_CHECKING:
    from passmuster.stages.serve.app import Endpoint

_REFUSALS = {
    "400": "The body is not JSON",
    "403": "A browser asks for a page of another site",
    "404": "No such prediction, model or release",
    "413": "The body is too large",
    "421": "The server is not known by that host name",
    "422": "The body does not have the right shape or holds an item that cannot be read",
    "429": "Full; see Retry-After",
    "503": "Not ready, draining, or records cannot be kept; see Retry-After",
    "504": "No answer before the deadline",
}


def describe(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The whole description."""
    bodies = [e.body for e in endpoints if e.body is not None]
    unique = list(dict.fromkeys(bodies))
    _, components = msgspec.json.schema_components(unique, ref_template="#/components/schemas/{name}")
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Muster", "version": __version__},
        "paths": paths,
        "components": {"schemas": components},
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    answers = {"200": {"description": "The answer"}}
    if endpoint.works:
        answers |= {status: {"description": text} for status, text in _REFUSALS.items()}
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "operationId": f"{endpoint.method.lower()}{re.sub('[^a-z0-9]+', '_', endpoint.path)}".rstrip("_"),
        "responses": answers,
    }
    if names := re.findall(r"{(\w+)}", endpoint.path):
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    if endpoint.body is not None:
        schema = {"$ref": f"#/components/schemas/{endpoint.body.__name__}"}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation
