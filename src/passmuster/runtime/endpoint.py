"""A model that answers over HTTP: how it is asked, and how what it answers is read. Nothing here opens a connection.

An endpoint's scores have one column more than it has classes: `NO_ANSWER`, for what names no class. So prose, a class
that it never said before, or a broken score is counted as what it is: wrong, and seen.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np

from passmuster.core.codec import from_plain, to_plain
from passmuster.core.digests import canonical_json
from passmuster.core.errors import DataError, UsageError

NO_ANSWER = "(no answer)"
SCHEMA = 1
# The probability of a class that is named without one; `--calibrate` puts the share that is right in its place.
CERTAIN = 0.99
LEAST = 1e-6  # probability below which a score says nothing more
SUM_TOLERANCE = 0.01  # of probabilities above 1
MAX_SAID = 160  # characters of an answer that are shown
PLACES = ("{text}", "{image}", "{texts}", "{images}")
MAX_CONCURRENCY, MAX_BATCH, MAX_TIMEOUT_S, MAX_RETRIES = 64, 1_024, 600.0, 10

ScoreKind = Literal["probabilities", "logits"]
Words = Literal["utf-8", "png"]


@dataclass(frozen=True)
class AnswerPaths:
    """Where in the JSON the answer lies: keys and positions with dots between (``choices.0.message.content``).

    One of `label` (the name of a class) and `scores` (by class, as pairs, or in the order of the classes). With
    `items`, a list with one entry for each item of a request, the other two start inside an entry.
    """

    label: str = ""
    scores: str = ""
    kind: ScoreKind = "probabilities"
    items: str = ""


@dataclass(frozen=True)
class UsagePaths:
    """Where an answer says how many tokens it took."""

    input_tokens: str = ""
    output_tokens: str = ""


@dataclass(frozen=True)
class EndpointPrice:
    """What a million of each costs, in the project's currency."""

    per_million_requests: float = 0.0
    per_million_input_tokens: float = 0.0
    per_million_output_tokens: float = 0.0


@dataclass(frozen=True)
class Endpoint:
    """How a model is asked over HTTP.

    Parameters
    ----------
    url : https, or http on this machine or (without a key) elsewhere
    body : the JSON that is sent. In its strings ``{text}`` stands for the item's text and ``{image}`` for a PNG file in
        base64; a string that is ``{texts}`` or ``{images}`` alone becomes a list of `batch` items at most
    answer : where the answer lies
    names : what the endpoint calls a class, to what the project calls it, where they differ
    key_variable : the environment variable that holds the key; the key itself is never kept
    key_header, key_format : the header that carries it
    headers : further headers, none of them secret: they are kept in the bundle
    timeout_s, retries, concurrency : seconds for one answer; how often it is asked again; requests at a time
    """

    url: str
    body: Mapping[str, Any]
    answer: AnswerPaths
    names: Mapping[str, str] = field(default_factory=dict)
    key_variable: str = ""
    key_header: str = "Authorization"
    key_format: str = "Bearer {key}"
    headers: Mapping[str, str] = field(default_factory=dict)
    batch: int = 1
    timeout_s: float = 30.0
    retries: int = 2
    concurrency: int = 4
    usage: UsagePaths = UsagePaths()
    price: EndpointPrice = EndpointPrice()


@dataclass(frozen=True)
class Asking:
    """What a bundle of an endpoint keeps: `classes` with `NO_ANSWER` last, what items are sent as, a temperature."""

    endpoint: Endpoint
    classes: tuple[str, ...]
    sends: Words
    temperature: float = 1.0
    schema: int = SCHEMA


def write_asking(asking: Asking) -> bytes:
    """As JSON, the same for the same content."""
    return canonical_json(to_plain(asking))


def read_asking(data: bytes) -> Asking:
    """From JSON; raises `DataError` (``record.shape``, ``endpoint.json``)."""
    try:
        raw = json.loads(data)
    except ValueError as error:
        raise DataError("endpoint.json", f"how the endpoint is asked is not JSON: {error}") from error
    return from_plain(Asking, raw, where="endpoint.json")


def check_endpoint(endpoint: Endpoint, *, where: str = "") -> Endpoint:
    """The same, if it can be asked; raises `UsageError` (``endpoint.*``) naming what is wrong."""
    address = urlsplit(endpoint.url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise _refusal("url", "not the address of an endpoint", endpoint.url, where, "https://HOST/PATH")
    if address.username or address.password:
        raise _refusal("url", "an address with a password in it would be kept in the bundle", "", where, "key_variable")
    if address.scheme == "http" and endpoint.key_variable and not is_loopback(address.hostname):
        raise _refusal("url", "a key would cross the network unencrypted", address.hostname, where, "https://")
    used = [place for place in PLACES if place in json.dumps(to_plain(endpoint.body))]
    if len(used) != 1:
        raise _refusal(
            "body", "the body says in one way where an item goes", ", ".join(used), where, " or ".join(PLACES)
        )
    many = used[0].endswith("s}")
    if (endpoint.batch > 1 or endpoint.answer.items) and not many:
        raise _refusal("batch", "the body has a place for one item", endpoint.batch, where, f"{used[0][:-1]}s}}")
    if many and not endpoint.answer.items:
        raise _refusal("items", "the body holds a list, and answer.items does not say where its answers are", "", where)
    if bool(endpoint.answer.label) == bool(endpoint.answer.scores):
        raise _refusal("answer", "name one of answer.label and answer.scores", "", where)
    bounds = {
        "batch": (endpoint.batch, 1, MAX_BATCH), "timeout_s": (endpoint.timeout_s, 0.1, MAX_TIMEOUT_S),
        "retries": (endpoint.retries, 0, MAX_RETRIES), "concurrency": (endpoint.concurrency, 1, MAX_CONCURRENCY),
    }  # fmt: skip
    for name, (value, least, most) in bounds.items():
        if not least <= value <= most:
            raise _refusal(name, f"{name} is out of its range", value, where, f"{least} to {most}")
    for name, price in to_plain(endpoint.price).items():
        if not 0 <= price < math.inf:
            raise _refusal("price", f"{name} is no price", price, where, "0 or more")
    if "{key}" not in endpoint.key_format:
        raise _refusal("key_format", "the header has no place for the key", endpoint.key_format, where, "{key}")
    return endpoint


def is_loopback(host: str) -> bool:
    """Whether a host is this machine.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("example.org")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refusal(what: str, why: str, value: Any, where: str, limit: str | None = None) -> UsageError:
    return UsageError(f"endpoint.{what}", why, value=value, limit=limit, where=where or None)


def fill(body: Any, items: Sequence[str]) -> Any:
    """The body of a request, with the items in their places; nothing in an item can change the body's form.

    >>> fill({"inputs": "{texts}", "top": 3}, ["a", "b"]), fill({"q": "Is {text} spam?"}, ["{image}"])
    ({'inputs': ['a', 'b'], 'top': 3}, {'q': 'Is {image} spam?'})
    """
    if isinstance(body, str):
        if body in ("{texts}", "{images}"):
            return list(items)
        place = next((p for p in ("{text}", "{image}") if p in body), "")
        return body.replace(place, items[0]) if place else body
    if isinstance(body, Mapping):
        return {key: fill(value, items) for key, value in body.items()}
    if isinstance(body, (list, tuple)):
        return [fill(value, items) for value in body]
    return body


def as_sent(content: bytes, sends: Words) -> str:
    """An encoded item as it stands in the body: a text as it is, an image in base64."""
    return content.decode() if sends == "utf-8" else base64.b64encode(content).decode()


def find(value: Any, path: str) -> Any:
    """What lies at a path; None where nothing does. "" is the whole.

    >>> find({"choices": [{"message": "spam"}]}, "choices.0.message"), find({"a": 1}, "b.c")
    ('spam', None)
    """
    for part in path.split(".") if path else ():
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.lstrip("-").isdigit() and -len(value) <= int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


class Reader:
    """Reads answers into rows of log-probabilities over `classes`, `NO_ANSWER` the last of them."""

    def __init__(self, asking: Asking) -> None:
        self._paths = asking.endpoint.answer
        self._classes = asking.classes
        self._column = {plain(name): i for i, name in enumerate(asking.classes)}
        self._column |= {
            plain(theirs): asking.classes.index(ours)
            for theirs, ours in asking.endpoint.names.items()
            if ours in asking.classes
        }
        self._none = len(asking.classes) - 1

    def read(self, entry: Any) -> tuple[np.ndarray, str]:
        """Log-probabilities (c,) of one item's part of an answer; where that names no class, what it said and why."""
        found = find(entry, self._paths.label or self._paths.scores)
        if self._paths.label:
            return self._of_label(found, entry)
        row = self._of_scores(found)
        if isinstance(row, str):
            return self._certain(self._none), f"{row}: {_shown(found, entry)}"
        named_none = "the likeliest is none of the classes"
        return row, f"{named_none}: {_shown(found, entry)}" if int(row.argmax()) == self._none else ""

    def _of_label(self, found: Any, entry: Any) -> tuple[np.ndarray, str]:
        column = self._column.get(plain(_unwrapped(found)), self._none)
        return self._certain(column), _shown(found, entry) if column == self._none else ""

    def _certain(self, column: int) -> np.ndarray:
        row = np.full(len(self._classes), math.log((1 - CERTAIN) / (len(self._classes) - 1)))
        row[column] = math.log(CERTAIN)
        return row

    def _of_scores(self, found: Any) -> np.ndarray | str:
        """Why these are no scores, in words, where they are none."""
        pairs = _pairs(found, self._classes[:-1])
        if not pairs:
            many = isinstance(found, list) and found
            return f"{len(found)} scores, and {self._none} classes" if many else "no scores"
        if broken := [(name, score) for name, score in pairs if not _is_number(score)]:
            return f"the score of {str(broken[0][0])[:40]!r} is no number"
        scores = np.full(len(self._classes), -math.inf)
        for name, score in pairs:
            value = float(score)
            if self._paths.kind == "probabilities":
                if not -LEAST <= value <= 1 + SUM_TOLERANCE:
                    return f'{value:g} is no probability (answer.kind = "logits" takes any number)'
                value = math.log(max(value, LEAST))
            column = self._column.get(plain(name), self._none)
            scores[column] = np.logaddexp(scores[column], value)
        total = float(np.logaddexp.reduce(scores))
        if self._paths.kind == "logits" or total > 0:
            if self._paths.kind == "probabilities" and total > math.log1p(SUM_TOLERANCE) + len(pairs) * LEAST:
                return f"the probabilities add up to {math.exp(total):.3g}"
            scores = scores - total
        else:  # what a list of the likeliest classes leaves over could be any class that it lacks
            lacking = np.isneginf(scores)
            left = max(-math.expm1(total), 0.0)
            if lacking.any():
                scores[lacking] = math.log(max(left / lacking.sum(), LEAST))
        return np.asarray(np.maximum(scores, math.log(LEAST)))


def plain(name: Any) -> str:
    """A class name as it is compared: case, spaces, quotes and a full stop around it do not count.

    >>> plain(' "Spam". ') == plain("spam")
    True
    """
    return re.sub(r"\s+", " ", str(name)).strip(" \t\"'`*.").casefold() if isinstance(name, (str, int)) else ""


def _unwrapped(found: Any) -> Any:
    """The name inside JSON that a text model writes, such as ``{"label": "spam"}``; else what was found."""
    if isinstance(found, str) and found.strip().startswith("{"):
        try:
            inside = json.loads(found)
        except ValueError:
            return found
        values = list(inside.values()) if isinstance(inside, dict) else []
        return values[0] if len(values) == 1 else found
    return found


def _pairs(found: Any, classes: Sequence[str]) -> list[tuple[Any, Any]]:
    """(class, score) of what is a table, a list of such with label and score, of pairs, or of scores in order.

    >>> _pairs([["b", 0.9], ["a", 0.1]], ("a", "b"))
    [('b', 0.9), ('a', 0.1)]
    """
    if isinstance(found, Mapping):
        return list(found.items())
    if not isinstance(found, list):
        return []
    if all(isinstance(entry, Mapping) for entry in found):
        return [
            (entry.get("label", entry.get("class")), entry.get("score", entry.get("probability"))) for entry in found
        ]
    if all(isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str) for entry in found):
        return [(name, score) for name, score in found]
    return list(zip(classes, found, strict=True)) if len(found) == len(classes) else []


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _shown(found: Any, entry: Any) -> str:
    said = found if found is not None else entry
    text = said if isinstance(said, str) else json.dumps(said, default=str)
    text = "".join(c if c.isprintable() else " " for c in text).strip()
    return (text[: MAX_SAID - 1] + "…" if len(text) > MAX_SAID else text) or "(nothing)"
