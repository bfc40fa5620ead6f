"""The project's configuration and its policy, as records whose defaults are the documentation.

`passmuster.core.config_file` reads them from `muster.toml` and writes them there. The policy's digest enters every
verdict; the range in which a number may lie stands in its annotation.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Literal

from passmuster.core.codec import to_plain
from passmuster.core.digests import canonical_json, sha256_hex
from passmuster.core.ranges import COUNT, NOT_NEGATIVE, OPEN_RATE, POSITIVE, RATE, SHARE, Range

PORT = Range(0, 65_535)  # 0: any that is free


@dataclass(frozen=True)
class ProjectConfig:
    """What the project is."""

    name: str = "project"
    modality: Literal["text", "image"] = "text"
    task: Literal["single-label", "multi-label"] = "single-label"  # one class for each item, or any number, none too


@dataclass(frozen=True)
class DataConfig:
    """How raw files are read and split. Column names are used for tables; "" means: recognise the usual names."""

    text_column: str = ""
    label_column: str = ""
    label_separator: str = ";"  # between the classes of a cell of labels, where the task is multi-label
    id_column: str = ""
    split_column: str = ""
    subject_column: str = ""
    time_column: str = ""
    group_columns: tuple[str, ...] = ()
    max_item_bytes: Annotated[int, COUNT] = 16_777_216
    max_pixels: Annotated[int, COUNT] = 33_554_432
    max_text_chars: Annotated[int, COUNT] = 1_048_576
    test_share: Annotated[float, Range(0, 1, high_open=True)] = 0.2
    reference_share: Annotated[float, Range(0, 1, high_open=True)] = 0.15
    max_reference_items: Annotated[int, NOT_NEGATIVE] = 2_000
    max_sealed_items: Annotated[int, NOT_NEGATIVE] = (
        1_000  # unlabelled items kept for the test, where Muster splits, to be labelled when needed
    )
    max_class_ratio: Annotated[float, COUNT] = 10.0  # largest class to smallest, in training labels, before a warning
    min_class_labels: Annotated[int, NOT_NEGATIVE] = 4  # training labels per class, before a warning
    near_duplicate_similarity: Annotated[float, SHARE] = 0.8
    terms: str = ""


MIN_REFERENCE_ITEMS = 20  # held out for the guard; with fewer, part of the pool stands in


@dataclass(frozen=True)
class GuardPolicy:
    """When an answer is withheld. Thresholds come from held-out unlabelled items at these rates."""

    novelty: str = "auto"  # of docs/reference/tables.md, two joined by "+", or the best on classes left out
    novelty_rate: Annotated[float, OPEN_RATE] = 0.01  # share of ordinary items that may be called novel
    min_confidence: Annotated[float, RATE] = 0.0  # abstain below this probability
    sets: str = "lac.v1"  # how prediction sets are made
    set_coverage: Annotated[float, OPEN_RATE] = 0.9  # of conformal prediction sets
    max_risk: Annotated[float, Range(0, 1, high_open=True)] = 0.0  # of wrong answers among those given; 0: none
    risk_confidence: Annotated[float, OPEN_RATE] = 0.95  # with which `max_risk` is kept
    degraded_min_confidence: Annotated[float, RATE] = 0.9  # while degraded or provisional


@dataclass(frozen=True)
class CostsPolicy:
    """What an answer costs: `wrong` where it is wrong, 0 where it is right, unless `[policy.costs.when]` says more.

    There, ``"spam" = { "ham" = 10 }`` reads: when it is spam, saying ham costs 10.
    """

    unit: str = ""  # of every cost, in words: "EUR", "minutes"
    wrong: Annotated[float, NOT_NEGATIVE] = 1.0
    abstain: Annotated[float, NOT_NEGATIVE] = 0.0  # of a withheld answer; 0: not stated, as what it would have said
    answer: Literal["likeliest", "cheapest"] = "likeliest"  # class that is answered; cheapest: by expected cost
    when: Annotated[Mapping[str, Mapping[str, float]], NOT_NEGATIVE] = field(default_factory=dict)

    @property
    def declared(self) -> bool:
        """Whether the team said anything of costs at all."""
        return self != CostsPolicy()


@dataclass(frozen=True)
class WatchPolicy:
    """How many false alarms are allowed, all signals together, and what an alarm leads to."""

    mean_observations_between_false_alarms: Annotated[float, Range(1, low_open=True)] = 10_000.0
    smallest_error_increase: Annotated[float, OPEN_RATE] = 0.05  # rise in error rate worth an alarm
    smallest_novelty_ratio: Annotated[float, Range(1, low_open=True)] = 3.0  # rise in novel share worth an alarm
    usual_unanswered: Annotated[float, OPEN_RATE] = 0.01  # share of requests without an answer in good times, at most
    on_alarm: Literal["rollback-or-degrade", "degrade", "record"] = "rollback-or-degrade"
    on_novelty: Literal["ask", "act"] = "ask"  # while labels show no harm: ask for labels, or do as `on_alarm` says
    estimated_answers: Annotated[int, NOT_NEGATIVE] = 500  # answers over which accuracy is estimated; 0: it is not
    recent_labels: Annotated[int, COUNT] = 200  # labelled traffic on which releases are compared


@dataclass(frozen=True)
class CanaryPolicy:
    """How a candidate is tried beside the live release."""

    share: Annotated[float, SHARE] = 0.1
    alpha: Annotated[float, OPEN_RATE] = 0.01  # error of withdrawing an equally good canary, over its whole life
    smallest_error_increase: Annotated[float, OPEN_RATE] = 0.05
    provisional_days: Annotated[float, POSITIVE] = 14.0


@dataclass(frozen=True)
class TrafficPolicy:
    """What is kept of requests, and for how long."""

    keep_inputs_days: Annotated[float, NOT_NEGATIVE] = 30.0


DEFAULT_GATES: Mapping[str, Mapping[str, Any]] = {
    "accuracy.v1": {"min": 0.8},
    "non_inferiority.v1": {"margin": 0.02},
    "leakage.v1": {"max_twins": 0},
    "calibration.v1": {"max_ece": 0.15},
    "parity.v1": {"min_agreement": 0.99},
    "score_parity.v1": {"max_shift": 0.02},
    "class_loss.v1": {"max_loss": 0.05},
    "class_found.v1": {"min": 0.4},
    "class_log_loss.v1": {"max_rise": 0.5},
    "class_share.v1": {"max_ratio": 2.0},
    "log_loss.v1": {"max_rise": 0.05},
    "overconfidence.v1": {"max_ratio": 2.0},
    "guard.v1": {"max_change": 0.05},
    "guard_parity.v1": {"max_shift": 0.1},
    "test_labels.v1": {"max_gap": 0.03},
    "trigger.v1": {"min_turned": 0.35},
}
# Of a new multi-label project: that whole sets are right four times of five is more than most such tasks allow.
MULTI_LABEL_GATES: Mapping[str, Mapping[str, Any]] = {
    "item_f1.v1": {"min": 0.8},
    **{name: given for name, given in DEFAULT_GATES.items() if name not in ("accuracy.v1", "trigger.v1")},
}


@dataclass(frozen=True)
class Policy:
    """The team's gates and what guards a release in service. `gates` maps a versioned name to its parameters."""

    alpha: Annotated[float, OPEN_RATE] = 0.05
    max_looks: Annotated[int, COUNT] = 5  # evaluations that share `alpha`
    approval_days: Annotated[float, POSITIVE] = 180.0  # for which an approval holds; answers go on, audits fail
    gates: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: dict(DEFAULT_GATES))
    guard: GuardPolicy = GuardPolicy()
    costs: CostsPolicy = CostsPolicy()
    watch: WatchPolicy = WatchPolicy()
    canary: CanaryPolicy = CanaryPolicy()
    traffic: TrafficPolicy = TrafficPolicy()

    def digest(self) -> str:
        """SHA-256 of the whole policy, defaults included."""
        return sha256_hex(canonical_json(to_plain(self)))


@dataclass(frozen=True)
class ServeConfig:
    """How the server listens. Loopback unless you say otherwise."""

    host: str = "127.0.0.1"
    port: Annotated[int, PORT] = 8080
    allowed_hosts: tuple[str, ...] = ()  # more names than loopback, `host` and addresses; "*": any
    max_body_bytes: Annotated[int, COUNT] = 8_388_608
    max_items: Annotated[int, COUNT] = 1_000
    max_request_pixels: Annotated[int, COUNT] = 67_108_864  # of a request's images together, decompressed, before 413
    max_pixels_in_flight: Annotated[int, COUNT] = 134_217_728  # of all requests together, 3 bytes each, before 429
    max_waiting: Annotated[int, COUNT] = 2_048  # requests in flight before 429
    max_batch: Annotated[int, COUNT] = 64
    max_batch_wait_ms: Annotated[float, NOT_NEGATIVE] = 2.0
    deadline_s: Annotated[float, POSITIVE] = 10.0
    threads: Annotated[int, NOT_NEGATIVE] = 0  # 0: all cores


@dataclass(frozen=True)
class TrainConfig:
    """What training may use. `encoders` are folders, seen from the project's; those of texts must be known ones."""

    time: str = "10m"
    max_cost: Annotated[float, NOT_NEGATIVE] = 0.0  # money of [cost]; 0: no limit
    max_memory: str = ""
    seed: Annotated[int, NOT_NEGATIVE] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"  # that networks are taught on; auto: a card where there is one
    encoders: tuple[str, ...] = ()
    image_encoder_sha256: tuple[str, ...] = ()  # that an image encoder's weights must have one of; empty: any
    image_pooling: Literal["both", "cls", "mean"] = "both"  # class token, mean of the patches, or both side by side
    pretrained: bool = True
    rungs: tuple[str, ...] = ()  # empty: every rung of the modality
    serve: str = ""  # the rung that is served, whatever came of the others; empty: the best bet
    decide_at: Annotated[float, OPEN_RATE] = 0.35  # multi-label: probability from which a class is said; docs/log.md
    min_neighbour_agreement: Annotated[float, RATE] = 0.95  # of a lower precision with float32, before it may serve
    spread_items: Annotated[int, NOT_NEGATIVE] = 30_000  # unlabelled items that labels spread over, at most


@dataclass(frozen=True)
class EvaluateConfig:
    """What an evaluation tries besides the test items as they are."""

    corruptions: tuple[str, ...] = ()  # names, "usual", "all", own functions as "faults.py:blur_left"; empty: "usual"
    n_corrupted: Annotated[int, COUNT] = 200  # test items that suffer every fault
    behaviour: str = ""  # a CSV of tests of your own; docs/how-to/behaviour.md
    n_attacked: Annotated[int, NOT_NEGATIVE] = (
        0  # test items that attacks search against, some minutes for 200; 0: none
    )
    attack_strengths: tuple[
        float, ...
    ] = ()  # sizes of change: levels of 255, or shares of words; empty: as attacks are
    attack_steps: Annotated[int, NOT_NEGATIVE] = 0  # gradient steps of an attack on images; 0: 50
    attack_queries: Annotated[int, NOT_NEGATIVE] = 0  # questions about each item; 0: 200 of images, 300 of texts
    synonyms: str = ""  # a CSV of words of one meaning, for the fault and the attack; docs/how-to/attacks.md


@dataclass(frozen=True)
class CostConfig:
    """What things cost. The defaults are EXAMPLES, not your prices; docs/how-to/budget.md says where they are from."""

    currency: str = "EUR"
    per_core_hour: Annotated[float, NOT_NEGATIVE] = 0.04  # of every core, busy or not
    per_machine_hour: Annotated[float, NOT_NEGATIVE] = 0.0  # above 0: of the whole machine, instead of its cores
    per_gpu_hour: Annotated[float, NOT_NEGATIVE] = 2.5
    energy_included: bool = True  # in the hours' price, as where a machine is rented
    per_kwh: Annotated[float, NOT_NEGATIVE] = 0.29  # paid besides, where it is not included
    watts_per_core: Annotated[float, NOT_NEGATIVE] = (
        10.0  # of a busy core with its share of the machine, where no counter can be read
    )
    per_label: Annotated[float, NOT_NEGATIVE] = 0.06
    per_error: Annotated[float, NOT_NEGATIVE] = 0.0  # what a wrong answer costs; 0: not stated
    volume: str = "1m/month"  # predictions expected
    months: Annotated[float, POSITIVE] = 12.0  # that a model is expected to serve


@dataclass(frozen=True)
class Config:
    """All of `muster.toml`."""

    project: ProjectConfig = ProjectConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    policy: Policy = Policy()
    serve: ServeConfig = ServeConfig()
    cost: CostConfig = CostConfig()


def range_of(kind: type, name: str) -> Range | None:
    """Where the values of a record's field may lie, as its annotation says; None when it says nothing.

    >>> print(range_of(ServeConfig, "port"))
    at least 0, at most 65,535
    """
    return next((mark for mark in _marks(kind).get(name, ()) if isinstance(mark, Range)), None)


@cache
def _marks(kind: type) -> dict[str, tuple[Any, ...]]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}
