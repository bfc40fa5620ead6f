"""The nouns of Muster, as frozen records. Every stage reads some of these from the store and leaves others there.

Rates lie in [0, 1]; counts begin with ``n_``; units stand in names (``_s``, ``_bytes``). A `Payload` is a decoded item:
``str`` for text, ``numpy.uint8`` of shape ``(height, width, channels)`` with one or three channels for images.
Records that reach ledger, reports or bundles refer to items by `Item.key`, never by the id that the user gave.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from passmuster.core.label_sets import Task, split_label

Payload = str | np.ndarray
Role = Literal["train", "test"]
Split = Literal["train", "reference", "test"]
Outcome = Literal["SHIP", "HOLD", "INSUFFICIENT"]
Severity = Literal["info", "warning", "blocking"]


@dataclass(frozen=True, slots=True)  # a million of them lie in memory at once
class Item:
    """One text or image, as govern recorded it.

    `key` is the id keyed with the project secret (32 hex digits), `digest` the content likewise, `blob` the SHA-256
    under which the bytes lie in the blob store ("" when quarantined before reading). `given_split` is the split the
    user's folders or column named, "" when none. `at` is an ISO time, "" when unknown.
    """

    key: str
    id: str
    digest: str
    blob: str
    n_bytes: int
    source: str
    status: Literal["kept", "quarantined"] = "kept"
    reason: str = ""
    given_split: Literal["", "train", "reference", "test"] = ""
    subject: str = ""
    at: str = ""
    groups: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Label:
    """An append-only fact: `who` said at `at` that item `key` is `label`, for learning (`train`) or evidence (`test`).

    In a multi-label project `label` stands for a set of classes, as `passmuster.core.label_sets` writes it.
    `weight` is the inverse of the probability with which the item was asked for (1 when all were equally likely). For
    a test item that a recorded draw gave, what the draw says goes before it (`passmuster.store.draws`).
    """

    key: str
    label: str
    who: str
    at: str
    role: Role
    weight: float = 1.0


@dataclass(frozen=True)
class Finding:
    """What a check saw. `items` are item keys (pairs follow each other in twin findings); `evidence` is JSON-ready."""

    kind: str
    severity: Severity
    title: str
    items: tuple[str, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)
    remedy: str = ""


@dataclass(frozen=True)
class Snapshot:
    """An immutable data-set version. `digest` commits to every item, split and label (`labels_read` facts deep)."""

    digest: str
    parent: str
    created: str
    modality: str
    classes: tuple[str, ...]
    n_items: Mapping[str, int]  # split -> number of items
    n_labels: Mapping[str, int]  # role -> number of labelled items
    labels_read: int
    terms: str = ""
    task: Task = "single-label"


@dataclass(frozen=True)
class Price:
    """What a rung is expected to cost on this machine.

    `heads_s` are seconds of its heads where they are not cross-validated as usual. An `elastic` rung uses whatever time
    it is given: its seconds are the least that is useful.
    """

    seconds: float
    memory_bytes: int
    note: str = ""
    heads_s: float | None = None
    elastic: bool = False


@dataclass(frozen=True)
class Metric:
    """A number with its interval and the items behind it.

    `items` names an entry of `Report.item_sets`. `method` names how the interval was made, for example ``"wilson"``.
    """

    name: str
    value: float
    low: float
    high: float
    n: int
    unit: str = "rate"
    slice: str = ""
    items: str = ""
    method: str = ""
    level: float = 0.95


@dataclass(frozen=True)
class Report:
    """All that was measured of one bundle on one snapshot. `sections` holds JSON-ready detail by subject.

    Sections written by evaluate: ``per_class``, ``confusion``, ``calibration``, ``risk_coverage``, ``corruptions``,
    ``novelty``, ``versions`` (against the incumbent), ``training`` (rungs), ``data`` (findings), ``unknown`` (what is
    not known, in plain words). `look` counts how often these test labels were looked at (`store.seal.count_looks`).
    """

    bundle: str
    snapshot: str
    created: str
    modality: str
    classes: tuple[str, ...]
    n_test: int
    look: int
    metrics: tuple[Metric, ...]
    item_sets: Mapping[str, tuple[str, ...]]
    sections: Mapping[str, Any]
    incumbent: str = ""
    schema: int = 1
    task: Task = "single-label"

    def metric(self, name: str, slice: str = "") -> Metric | None:
        """The metric of that name and slice, or None."""
        return next((m for m in self.metrics if m.name == name and m.slice == slice), None)

    @property
    def unopened(self) -> str:
        """What was wrong with the live release where it did not open, so that nothing was compared with it; else ""."""
        versions: Any = self.sections.get("versions")
        return str(versions.get("unopened") or "") if self.incumbent and isinstance(versions, Mapping) else ""


@dataclass(frozen=True)
class GateResult:
    """One gate's answer. `state` is "passed", "failed", "insufficient" or "not applicable"; the last never holds.

    `level` is the chance of a wrong answer at which labels were judged; None for what no label decides.
    """

    gate: str
    state: Literal["passed", "failed", "insufficient", "not applicable"]
    reason: str
    value: float | None = None
    bound: float | None = None
    n_more: int | None = None  # labels that would probably decide
    items: str = ""
    level: float | None = None


@dataclass(frozen=True)
class Verdict:
    """SHIP, HOLD or INSUFFICIENT for one bundle and report under one policy, with every gate's reason.

    `notes` say what a reader must know besides, such as a policy edited after the test set was opened.
    """

    bundle: str
    report: str
    policy: str
    outcome: Outcome
    gates: tuple[GateResult, ...]
    created: str
    look: int
    n_more_labels: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bundle:
    """What the catalog knows of a bundle: `digest` is the payload digest (report, card, checkpoint left out)."""

    digest: str
    snapshot: str
    run: str
    path: str
    created: str
    origin: Literal["trained", "imported"] = "trained"


@dataclass(frozen=True)
class Release:
    """A signed bundle with its verdict. `override` is the recorded reason when a held candidate was let through."""

    id: str
    bundle: str
    verdict: Outcome
    path: str
    created: str
    override: str = ""


@dataclass(frozen=True)
class Channel:
    """A name that points at a release. `generation` grows by one at each move; servers follow it.

    `mode` is "normal", "degraded" (abstain more) or "provisional" (serves only its share, until `expires`).
    `share` is the part of requests, by hashed key, that the channel answers (live: 1).
    """

    name: str
    release: str
    bundle: str
    generation: int
    share: float = 1.0
    mode: Literal["normal", "degraded", "provisional"] = "normal"
    expires: str = ""
    updated: str = ""


UNREAD = "no_answer"  # why an answer is withheld that names no class


@dataclass(frozen=True)
class Prediction:
    """One answer of a bundle. `probabilities` follow the bundle's classes; `novelty` grows with strangeness.

    Of a multi-label bundle, `label` stands for a set of classes, each class has a probability of its own, and
    `whole` is the probability that the whole set is right; None otherwise. `said` is the probability of the label where
    that need not be the largest, because the cheapest class is answered, or no class at all (0); None otherwise.
    """

    label: str
    probabilities: tuple[float, ...]
    prediction_set: tuple[str, ...]
    abstained: bool
    reasons: tuple[str, ...]
    novelty: float
    whole: float | None = None
    said: float | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes that are said: one, or of a multi-label bundle any number, sorted.

        >>> Prediction('["broken","late"]', (0.9, 0.8), (), False, (), 0.1, whole=0.7).labels
        ('broken', 'late')
        """
        return (self.label,) if self.whole is None else split_label(self.label)

    @property
    def probability(self) -> float:
        """That this answer is right, as the bundle says."""
        if self.said is not None:
            return self.said
        return max(self.probabilities) if self.whole is None else self.whole


@dataclass(frozen=True)
class TrafficRecord:
    """What was asked and answered. `id` is the prediction id; `input` the bytes as `Modality.encode` gives them.

    `input` is None once its retention has passed. `routing_key` is keyed, never raw. `latency_s` is the server's own.
    `stands_in` marks what the live release answered because the canary did not: items that were chosen by a failure.
    """

    id: str
    at: str
    channel: str
    release: str
    bundle: str
    routing_key: str
    input: bytes | None
    label: str
    probability: float
    abstained: bool
    reasons: tuple[str, ...]
    novelty: float
    novel: bool
    latency_s: float
    stands_in: bool = False


@dataclass(frozen=True)
class FailureRecord:
    """An item that a release was asked about and gave no answer to, and why not: an error's `code` and its words.

    Its id is of the same kind as a prediction's, though nobody was told it. The other fields are as in `TrafficRecord`.
    """

    id: str
    at: str
    channel: str
    release: str
    bundle: str
    routing_key: str
    input: bytes | None
    code: str
    why: str
    stands_in: bool = False


@dataclass(frozen=True)
class FeedbackRecord:
    """A later label for a prediction. Contradictions are kept; the latest counts."""

    prediction: str
    label: str
    who: str
    at: str


@dataclass(frozen=True)
class Alarm:
    """A watched signal that crossed its bound after `n_seen` observations. `evidence` is JSON-ready."""

    signal: str
    channel: str
    statistic: float
    bound: float
    n_seen: int
    harm_points: float | None
    evidence: Mapping[str, Any] = field(default_factory=dict)


def harm_in_words(points: float | None, signal: str = "") -> str:
    """What an alarm of `signal` means for those who ask: accuracy points lost, or requests without an answer.

    >>> harm_in_words(12.3), harm_in_words(-3.0), harm_in_words(None)
    ('about 12 accuracy points lost', 'no loss measured', 'loss unknown')
    >>> harm_in_words(98.6, "unanswered.v1")
    'about 99 more of 100 requests without an answer'
    """
    if points is None:
        return "loss unknown"
    if "unanswered" in signal:
        return f"about {points:.0f} more of 100 requests without an answer"
    return f"about {points:.0f} accuracy points lost" if points >= 0.5 else "no loss measured"


@dataclass(frozen=True)
class Incident:
    """Alarm, what was done about it, and how it ended. `watermark` is the last traffic record it rests on."""

    id: str
    opened: str
    channel: str
    release: str
    alarm: Alarm
    action: str
    resolution: str = ""
    closed: str = ""
    watermark: str = ""


@dataclass(frozen=True)
class Event:
    """One act in the ledger. `hash` covers every other field and the previous event's hash."""

    seq: int
    at: str
    kind: str
    actor: str
    payload: Mapping[str, Any]
    previous: str
    hash: str
