"""The engine ``http``: asks an endpoint, several requests at a time, and reads its answers into arrays.

Asked again are timeouts, refused connections and the statuses 408, 429, 5xx, after a wait that doubles (or that
``Retry-After`` names). What stays unanswered is a `NetworkError`: no item is passed over. Redirects are not followed,
because they would take the key along.
"""

from __future__ import annotations

import json
import os
import random
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from passmuster.core.errors import NetworkError, ResourceError, UsageError
from passmuster.core.waiting import Waiters
from passmuster.runtime.endpoint import Asking, Endpoint, Reader, as_sent, check_endpoint, fill, find, read_asking

MAX_ANSWER_BYTES = 8 * 2**20
AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
FIRST_WAIT_S, MAX_WAIT_S = 0.5, 30.0
ITEM = "item"  # the graph's input: items as bytes, as `Modality.encode` writes them


def load_http(graph: bytes | Path, threads: int) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """Items (n,) of bytes under `ITEM`, to ``logits`` (n, c), ``embedding`` (the logits about their mean), and of each
    item ``seconds``, ``input_tokens``, ``output_tokens`` and ``unread``: what it said that names no class, or "".

    Raises
    ------
    ResourceError
        ``endpoint.httpx`` when the extra is not installed.
    UsageError
        ``endpoint.key`` when the variable of the key is empty.
    """
    httpx = import_httpx()
    asking = read_asking(graph if isinstance(graph, bytes) else graph.read_bytes())
    endpoint = check_endpoint(asking.endpoint)
    client = httpx.Client(
        timeout=endpoint.timeout_s,
        headers={**endpoint.headers, **key_header(endpoint)},
        follow_redirects=False,
        limits=httpx.Limits(max_connections=endpoint.concurrency, max_keepalive_connections=endpoint.concurrency),
    )
    run = runner(Caller(asking, client))
    weakref.finalize(run, client.close)
    return run


def runner(caller: Caller) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """What asks a caller about a batch, several requests at a time, and makes arrays of it; see `load_http`."""
    asking, endpoint = caller.asking, caller.asking.endpoint
    waiters = Waiters(endpoint.concurrency, "muster-endpoint")

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        items = [as_sent(bytes(item), asking.sends) for item in inputs[ITEM]]
        parts = [items[at : at + endpoint.batch] for at in range(0, len(items), endpoint.batch)]
        rows = [row for asked in [waiters.submit(caller.ask, part) for part in parts] for row in asked.result()]
        logits = np.stack([row[0] for row in rows]) / asking.temperature
        embedding = logits - logits.mean(axis=1, keepdims=True)
        facts = np.array([row[2:] for row in rows], dtype=np.float64).reshape(len(rows), 3)
        return {
            "logits": logits.astype(np.float32), "embedding": embedding.astype(np.float32),
            "unread": np.array([row[1] for row in rows], dtype=object),
            "seconds": facts[:, 0], "input_tokens": facts[:, 1], "output_tokens": facts[:, 2],
        }  # fmt: skip

    return run


def import_httpx() -> Any:
    """The package that speaks HTTP, loaded where an endpoint is asked and nowhere else."""
    try:
        import httpx
    except ImportError as error:
        raise ResourceError(
            "endpoint.httpx", "the package httpx is not installed", next='pip install "passmuster[endpoint]"'
        ) from error
    return httpx


def key_header(endpoint: Endpoint) -> dict[str, str]:
    """The header with the key, read from the environment now; none where the endpoint needs none."""
    if not endpoint.key_variable:
        return {}
    key = os.environ.get(endpoint.key_variable, "").strip()
    if not key:
        raise UsageError(
            "endpoint.key", "the variable that should hold the endpoint's key is empty", value=endpoint.key_variable,
            where=endpoint.url, next=f"export {endpoint.key_variable}=…",
        )  # fmt: skip
    return {endpoint.key_header: endpoint.key_format.replace("{key}", key)}


class EndpointError(NetworkError):
    """An endpoint gave no answer. `brief` says why without a word of what it sent: that may repeat an item."""

    def __init__(self, code: str, what: str, *, brief: str, **facts: Any) -> None:
        super().__init__(code, what, **facts)
        self.brief = brief


@dataclass(frozen=True)
class Entry:
    """One item's part of an answer, not read yet: JSON or text; the seconds of its request, its share of tokens."""

    said: Any
    seconds: float
    input_tokens: float
    output_tokens: float


class Caller:
    """One endpoint, asked about a few items in one request; safe to use from several threads."""

    def __init__(self, asking: Asking, client: Any) -> None:
        self.asking = asking
        self._endpoint, self._client, self._reader = asking.endpoint, client, Reader(asking)
        self._key = os.environ.get(asking.endpoint.key_variable, "").strip() if asking.endpoint.key_variable else ""

    def ask(self, items: Sequence[str]) -> list[tuple[np.ndarray, str, float, float, float]]:
        """A row for each item: log-probabilities, what could not be read, seconds of its request, share of tokens."""
        return [
            (*self._reader.read(entry.said), entry.seconds, entry.input_tokens, entry.output_tokens)
            for entry in self.answers(items)
        ]

    def answers(self, items: Sequence[str]) -> list[Entry]:
        """What the endpoint says of each item, from one request."""
        endpoint = self._endpoint
        start = time.perf_counter()
        answer, text = self._post(fill(endpoint.body, items))
        seconds = time.perf_counter() - start
        entries = [answer if answer is not None else text]
        if endpoint.answer.items:
            found = find(answer, endpoint.answer.items)
            if not isinstance(found, list) or len(found) != len(items):
                raise NetworkError(
                    "endpoint.items", "the endpoint does not give an answer for each item",
                    value=f"{len(found)} answers" if isinstance(found, list) else text[:200],
                    limit=f"{len(items)} items", where=f"{endpoint.url}, {endpoint.answer.items}",
                    next="look at answer.items, or send one item at a time with {text} or {image}",
                )  # fmt: skip
            entries = found
        usage = endpoint.usage
        sent, got = (_number(find(answer, path)) / len(items) for path in (usage.input_tokens, usage.output_tokens))
        return [Entry(entry, seconds, sent, got) for entry in entries]

    def _post(self, body: Any) -> tuple[Any, str]:
        """What came back: as JSON (None where it is none) and as text."""
        httpx = import_httpx()
        problem = brief = ""
        for attempt in range(self._endpoint.retries + 1):
            wait = min(FIRST_WAIT_S * 2**attempt, MAX_WAIT_S) * random.uniform(0.5, 1.0)
            try:
                status, data, headers = self._send(body)
            except httpx.TimeoutException:
                problem = brief = f"no answer within {self._endpoint.timeout_s:g} s"
            except httpx.TransportError as error:
                brief = "no connection"
                problem = f"{brief}: {(str(error).splitlines() or [type(error).__name__])[0][:200]}"
            else:
                if 200 <= status < 300:
                    text = data.decode("utf-8", "replace")
                    try:
                        return json.loads(data), text
                    except ValueError:
                        return None, text
                self._refuse(status, data)
                brief = f"status {status}"
                problem = f"{brief}: {self._said(data)}"
                wait = max(wait, min(_number(headers.get("retry-after")), MAX_WAIT_S))
            if attempt < self._endpoint.retries:
                time.sleep(wait)
        raise EndpointError(
            "endpoint.unanswered", f"the endpoint did not answer: {problem}", brief=brief,
            value=f"asked {self._endpoint.retries + 1} times", where=self._endpoint.url,
            next="try again when it answers; timeout_s, retries and concurrency say how it is asked",
        )  # fmt: skip

    def _send(self, body: Any) -> tuple[int, bytes, Mapping[str, str]]:
        """Status, bytes and headers; no more of the answer is read than an answer may have."""
        data, end = bytearray(), time.perf_counter() + self._endpoint.timeout_s
        with self._client.stream("POST", self._endpoint.url, json=body) as response:
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) > MAX_ANSWER_BYTES:
                    raise NetworkError(
                        "endpoint.too_large", "the endpoint's answer is larger than any answer needs to be",
                        limit=f"{MAX_ANSWER_BYTES:,} bytes", where=self._endpoint.url,
                    )  # fmt: skip
                if time.perf_counter() > end:  # it dribbles
                    raise import_httpx().ReadTimeout("the answer did not end in time")
            return response.status_code, bytes(data), response.headers

    def _refuse(self, status: int, data: bytes) -> None:
        """Raise for a status that asking again would not change."""
        if status in AGAIN or status >= 500:
            return
        key = status in (401, 403)
        said = "the endpoint refuses the key" if key else "the endpoint refuses the request"
        if 300 <= status < 400:
            said = "the endpoint sends elsewhere, and redirects are not followed"
        raise EndpointError(
            "endpoint.refused", f"{said}: {self._said(data)}", brief=f"{said} (status {status})",
            value=f"status {status}", where=self._endpoint.url,
            next=f"look at ${self._endpoint.key_variable}" if key and self._endpoint.key_variable
            else "look at url, body and headers",
        )  # fmt: skip

    def _said(self, data: bytes) -> str:
        """The beginning of what the endpoint says of its refusal, on one line; some echo the key that they refuse."""
        text = data[:2_000].decode("utf-8", "replace")
        text = text.replace(self._key, "(the key)") if self._key else text
        return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200] or "(nothing said)"


def _number(value: Any) -> float:
    """A finite number that is 0 or more, also written out; else 0."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return 0.0
    return found if 0 <= found < float("inf") else 0.0
