"""What is asked over plain HTTP: `POST /v1/predict` and `POST /v1/feedback`, checked field by field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from passmuster.core.errors import DataError, UsageError
from passmuster.core.label_sets import MULTI, join_classes, spelling, split_label

T = TypeVar("T")
MAX_KEY_CHARS = 512
MAX_LABEL_CHARS = 1_000
ITEM = (
    "A text: a string. An image: base64 of an image file (or its `data:` URL), or pixels 0 to 255 as lists `[h][w]`, "
    "`[h][w][1]` or `[h][w][3]`"
)


class PredictRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `/v1/predict`: either one `item`, or a list of `items`."""

    item: Annotated[Any, Meta(description=ITEM)] = msgspec.UNSET
    items: Annotated[list[Any], Meta(description="Several; at most `serve.max_items`")] | msgspec.UnsetType = (
        msgspec.UNSET
    )
    key: Annotated[str, Meta(description="Keeps a caller on one side of a canary; only its keyed digest is kept")] = ""


class FeedbackRequest(msgspec.Struct, forbid_unknown_fields=True):
    """One fact of `/v1/feedback`: the prediction `id` was of something that `who` says is `label`.

    Of a multi-label model a list of classes, empty where none fits; the name of one class stands for itself.
    """

    id: Annotated[str, Meta(description="`id` of an answer")]
    label: Annotated[str | list[str], Meta(description="The class; of a multi-label model a list of classes")]
    who: Annotated[str, Meta(description="Who says so")] = "http"


@dataclass(frozen=True)
class ItemsAsked:
    """Raw items of a request, whether it asked for one, and its routing key."""

    items: Sequence[Any]
    single: bool
    key: str


def read_predict(body: bytes, header_key: str, max_items: int) -> ItemsAsked:
    """Items and key of a predict request.

    Raises
    ------
    UsageError
        ``request.json``: the body is not JSON (HTTP 400).
    DataError
        ``request.shape``, ``request.too_many_items``, ``request.no_items``, ``request.key`` (HTTP 422).
    """
    asked = decode(body, PredictRequest)
    if (asked.item is msgspec.UNSET) == (asked.items is msgspec.UNSET):
        raise DataError("request.shape", 'give either "item" or "items"', next='{"item": ...} or {"items": [...]}')
    single = asked.item is not msgspec.UNSET
    items = [asked.item] if single else list(asked.items or ())
    check_count(len(items), max_items)
    return ItemsAsked(items, single, check_key(asked.key or header_key))


def read_feedback(body: bytes, max_items: int) -> list[FeedbackRequest]:
    """The facts of a feedback request: one object, or a list of them."""
    facts = decode(body, FeedbackRequest | list[FeedbackRequest])
    facts = facts if isinstance(facts, list) else [facts]
    check_count(len(facts), max_items, 'send {"id": ..., "label": ...}, or a list of such')
    for i, fact in enumerate(facts):
        names = [fact.label] if isinstance(fact.label, str) else fact.label
        for name, text in (("id", fact.id), *(("label", name) for name in names), ("who", fact.who)):
            if not text or len(text) > MAX_LABEL_CHARS:
                raise DataError(
                    "request.shape",
                    f"{name} is empty or too long",
                    value=len(text),
                    limit=MAX_LABEL_CHARS,
                    where=f"[{i}].{name}",
                    next="send a text of at most that many characters",
                )
    return facts


def as_classes(labels: Sequence[str], classes: Sequence[str]) -> dict[str, str]:
    """For each label that is no class, but another spelling of one alone, that class.

    >>> as_classes(["sports", "World", "weather"], ["Sports", "World", "Late delivery"])
    {'sports': 'Sports'}
    """
    alike: dict[str, list[str]] = {}
    for name in classes:
        alike.setdefault(spelling(name), []).append(name)
    found = {label: alike.get(spelling(label), []) for label in labels if label not in classes}
    return {label: names[0] for label, names in found.items() if len(names) == 1}


def feedback_label(fact: FeedbackRequest, task: str, classes: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The label as it is kept, and what in it was another spelling of one of `classes`: of a multi-label model as its
    own answers are written, so that the two compare.

    Raises
    ------
    DataError
        ``feedback.label`` for a list of classes about a model that gives one.

    >>> feedback_label(FeedbackRequest("1", ["late", "Broken"]), "multi-label", ["broken", "late"])
    ('["broken","late"]', {'Broken': 'broken'})
    """
    if task == MULTI:
        said = split_label(fact.label) if isinstance(fact.label, str) else fact.label
        meant = as_classes(said, classes)
        return join_classes(meant.get(name, name) for name in said), meant
    if isinstance(fact.label, list):
        raise DataError(
            "feedback.label",
            "this model gives each item one label, and here is a list",
            value=f"{len(fact.label)} labels",
            where="label",
            next="send the one label as text",
        )
    meant = as_classes([fact.label], classes)
    return meant.get(fact.label, fact.label), meant


def decode(body: bytes, kind: Any) -> Any:
    """`body` as JSON of the given shape."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        shape = 'send {"item": ...} or {"items": [...]}; ' if kind is PredictRequest else ""
        raise DataError(
            "request.shape", str(error), next=f"{shape}see /openapi.json for the shape of the body"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(
            "request.json", f"the body is not JSON: {error}", next="send JSON; see /openapi.json"
        ) from error


def check_count(n: int, limit: int, shape: str = 'send {"item": ...} or {"items": [...]}') -> None:
    """At least one, at most `limit`; `shape` says what a request looks like."""
    if n == 0:
        raise DataError("request.no_items", "the request holds no items", next=shape)
    if n > limit:
        raise DataError(
            "request.too_many_items",
            "too many items in one request",
            value=n,
            limit=limit,
            next="send several requests",
        )


def check_key(key: str) -> str:
    """A routing key of bearable length."""
    if len(key) > MAX_KEY_CHARS:
        raise DataError(
            "request.key",
            "the routing key is too long",
            value=len(key),
            limit=MAX_KEY_CHARS,
            next="send a shorter key, or its hash",
        )
    return key
