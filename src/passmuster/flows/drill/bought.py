"""A model behind an address in a drill: what it says of an item is bought once, and every copy reads it in its own way.

How an answer is read (names, the list of classes, the temperature) lies in the bundle, so that most of what goes wrong
there can be planted without another question. What changes the question itself, such as another prompt, asks again.
"""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from passmuster.core.codec import to_plain
from passmuster.core.digests import canonical_json, sha256_hex
from passmuster.core.errors import UsageError
from passmuster.flows.drill.base import NotHereError, Parts
from passmuster.runtime.bundle import LoadedBundle
from passmuster.runtime.endpoint import Asking, Endpoint, read_asking, write_asking
from passmuster.runtime.endpoint_calls import Caller, Entry, import_httpx, key_header, runner
from passmuster.runtime.engine import HTTP
from passmuster.runtime.predictor import Predictor

MOST_QUESTIONS = 2_000  # to an endpoint, in one drill
N_POOL_BOUGHT = 100  # training items that say what the model makes of this kind of data


class QuestionsSpentError(NotHereError):
    """No more questions may be put to the endpoint."""


@dataclass
class Bought:
    """What endpoints said, by how they were asked and of which item; at most so many questions are put to them."""

    most: int = MOST_QUESTIONS
    known: dict[str, Entry] = field(default_factory=dict)
    n_asked: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, n: int) -> None:
        """Count questions before they are put; raises `QuestionsSpentError` where they would be too many."""
        with self.lock:
            if self.n_asked + n > self.most:
                raise QuestionsSpentError(
                    f"it asks the endpoint more than the {self.most:,} questions that this drill may (--questions)"
                )
            self.n_asked += n


class CallerOnce(Caller):
    """`Caller`, which asks only of what is not known yet. What was not answered is not kept."""

    def __init__(self, asking: Asking, client: Any, bought: Bought) -> None:
        super().__init__(asking, client)
        self._bought, self._way = bought, way_of(asking.endpoint)

    def answers(self, items: Sequence[str]) -> list[Entry]:
        """As `Caller.answers`."""
        names = [sha256_hex(f"{self._way} {item}".encode()) for item in items]
        new = {name: item for name, item in zip(names, items, strict=True) if name not in self._bought.known}
        if new:
            self._bought.take(len(new))
            self._bought.known |= dict(zip(new, super().answers(list(new.values())), strict=True))
        return [self._bought.known[name] for name in names]


def way_of(endpoint: Endpoint) -> str:
    """What an answer depends on beside the item: the address, the body around it, the headers, where answers lie."""
    parts = [endpoint.url, to_plain(endpoint.body), dict(endpoint.headers), endpoint.answer.items]
    return sha256_hex(canonical_json(parts))


class PredictorOnce(Predictor):
    """`Predictor` of an endpoint, with what was bought."""

    def __init__(self, bundle: LoadedBundle, bought: Bought) -> None:
        super().__init__(bundle)
        asking = read_asking(bundle.graph)
        endpoint = asking.endpoint
        client = import_httpx().Client(
            timeout=endpoint.timeout_s, headers={**endpoint.headers, **key_header(endpoint)}, follow_redirects=False
        )
        weakref.finalize(self, client.close)
        self._ask = runner(CallerOnce(asking, client, bought))

    def _outputs(self, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return self._ask(inputs)


def is_bought(bundle: LoadedBundle) -> bool:
    """Whether its answers come from elsewhere, and may have to be paid for."""
    return bundle.manifest.engine.name == HTTP


def asking_in(parts: Parts) -> Asking:
    """How the endpoint is asked; raises `NotHereError` of a model that is here."""
    if parts.engine.name != HTTP:
        raise NotHereError("this model is here: nobody asks it by name")
    return read_asking(parts.graph)


def asked_otherwise(parts: Parts, change: Callable[[Asking], Asking]) -> Parts:
    """The bundle that asks otherwise, or reads answers otherwise."""
    return parts.with_(graph=write_asking(change(asking_in(parts))))


def colder(parts: Parts, factor: float) -> Parts:
    """Every logit times `factor`, which for an endpoint is another temperature."""
    return asked_otherwise(parts, lambda asking: replace(asking, temperature=asking.temperature / factor))


def instruction_of(body: Any) -> str:
    """The longest text of a body that tells the model what to do: one that is not the item alone; "" without one.

    >>> instruction_of({"messages": [{"role": "system", "content": "Is it spam or ham?"}, {"content": "{text}"}]})
    'Is it spam or ham?'
    >>> instruction_of({"inputs": "{text}", "model": "tiny-classifier"})
    ''
    """
    texts = [text for text in strings_of(body) if " " in text.strip()]
    return max(texts, key=len, default="")


def strings_of(body: Any) -> list[str]:
    """Every string in a body."""
    if isinstance(body, str):
        return [body]
    inside = body.values() if isinstance(body, Mapping) else body if isinstance(body, (list, tuple)) else ()
    return [text for value in inside for text in strings_of(value)]


def with_instruction(body: Mapping[str, Any], old: str, new: str) -> Mapping[str, Any]:
    """The body with one of its texts exchanged; the place of the item in it stays."""

    def through(value: Any) -> Any:
        if value == old:
            return new
        if isinstance(value, Mapping):
            return {key: through(inner) for key, inner in value.items()}
        return [through(inner) for inner in value] if isinstance(value, (list, tuple)) else value

    exchanged: Mapping[str, Any] = json.loads(json.dumps(through(to_plain(body))))
    return exchanged


def refuse_too_many(bundle: LoadedBundle, n_items: int, most: int) -> None:
    """Refuse a drill whose healthy copy alone would ask more than it may, before anything is asked.

    Raises
    ------
    UsageError
        ``drill.questions``.
    """
    if is_bought(bundle) and n_items > most:
        raise too_many(bundle, f"{n_items:,} items of the test and of the import", most, n_items + 1_000)


def too_many(bundle: LoadedBundle, value: str, most: int, enough: int) -> UsageError:
    """What is said where the healthy copy alone asks more than it may."""
    return UsageError(
        "drill.questions", "a copy without a fault alone asks the endpoint more questions than this drill may",
        value=value, limit=f"{most:,} questions", where=read_asking(bundle.graph).endpoint.url,
        next=f"muster drill gates --questions {enough}, if that is not too dear",
    )  # fmt: skip
