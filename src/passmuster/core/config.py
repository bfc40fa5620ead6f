"""`muster.toml`: the project's configuration and its policy, as records whose defaults are the documentation.

Flags beat ``MUSTER_*`` variables, which beat ``muster.toml``, which beats the defaults here. An unknown key is an error
that names the nearest one, and so is a number outside the range that its field declares (`Annotated`). The policy's
digest enters every verdict.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import re
import tomllib
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from passmuster.core.codec import from_plain, to_plain
from passmuster.core.digests import canonical_json, sha256_hex
from passmuster.core.errors import DataError, MusterError, NotFoundError, UsageError
from passmuster.core.ranges import COUNT, NOT_NEGATIVE, OPEN_RATE, POSITIVE, RATE, SHARE, Range

FILE_NAME = "muster.toml"
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


@dataclass(frozen=True)
class GuardPolicy:
    """When an answer is withheld. Thresholds come from held-out unlabelled items at these rates."""

    novelty: str = "auto"  # a detector of docs/reference/tables.md, or the best for its cost on classes left out
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
    abstain: Annotated[float, NOT_NEGATIVE] = (
        0.0  # of a withheld answer; 0: not stated, it costs what it would have said
    )
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
    "log_loss.v1": {"max_rise": 0.05},
    "overconfidence.v1": {"max_ratio": 2.0},
    "guard.v1": {"max_change": 0.05},
    "test_labels.v1": {"max_gap": 0.03},
}
# Of a new multi-label project: that whole sets are right four times of five is more than most such tasks allow.
MULTI_LABEL_GATES: Mapping[str, Mapping[str, Any]] = {
    "item_f1.v1": {"min": 0.8},
    **{name: given for name, given in DEFAULT_GATES.items() if name != "accuracy.v1"},
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
    encoders: tuple[str, ...] = ()
    image_encoder_sha256: tuple[str, ...] = ()  # that an image encoder's weights must have one of; empty: any
    image_pooling: Literal["both", "cls", "mean"] = "both"  # class token, mean of the patches, or both side by side
    pretrained: bool = True
    rungs: tuple[str, ...] = ()  # empty: every rung of the modality
    serve: str = ""  # the rung that is served, whatever came of the others; empty: the best bet
    decide_at: Annotated[float, OPEN_RATE] = (
        0.35  # multi-label: probability from which a class is said; see docs/log.md
    )
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


def find_project(start: Path) -> Path:
    """The nearest folder at or above `start` that holds `muster.toml`.

    Raises
    ------
    NotFoundError
        ``project.none`` when there is none.
    """
    for folder in (start.resolve(), *start.resolve().parents):
        if (folder / FILE_NAME).is_file():
            return folder
    raise NotFoundError("project.none", f"no {FILE_NAME} here or above", where=start.resolve(), next="muster init")


def read_config(folder: Path, overrides: Mapping[str, Any] | None = None) -> Config:
    """Read `folder`/muster.toml, then ``MUSTER_SECTION_KEY`` variables, then `overrides` (``{"serve.port": 0}``).

    Relative paths in it start at `folder`.
    """
    path = folder / FILE_NAME
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFoundError("project.none", f"no {FILE_NAME}", where=folder, next="muster init") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            "config.syntax", f"{FILE_NAME} is not valid TOML: {error}", where=path,
            next=f"mend that line of {FILE_NAME}",
        ) from error  # fmt: skip
    for dotted, value in {**_environment(), **(overrides or {})}.items():
        table = raw
        *sections, key = dotted.split(".")
        for section in sections:
            table = table.setdefault(section, {})
        table[key] = value
    config = parse_config(raw, where=str(path))
    encoders = tuple(str(folder / Path(name).expanduser()) for name in config.train.encoders)
    return dataclasses.replace(config, train=dataclasses.replace(config.train, encoders=encoders))


def parse_config(raw: Mapping[str, Any], *, where: str = FILE_NAME) -> Config:
    """Check a raw table against the records above.

    Raises
    ------
    UsageError
        ``config.unknown_key`` with the nearest key, ``config.value``, or ``config.range``.

    >>> parse_config({"serve": {"prot": 1}})
    Traceback (most recent call last):
    ...
    passmuster.core.errors.UsageError: unknown key 'serve.prot' (where: muster.toml). Next: did you mean 'serve.port'?
    """
    _refuse_unknown(Config, raw, "", where)
    try:
        config = from_plain(Config, raw, where=where)
    except DataError as error:
        raise UsageError("config.value", error.what, value=error.value, limit=error.limit, where=error.where) from error
    _refuse_outside(config, "", where)
    return config


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


def _refuse_outside(record: Any, prefix: str, where: str) -> None:
    for f in dataclasses.fields(record):
        value, allowed = getattr(record, f.name), range_of(type(record), f.name)
        if dataclasses.is_dataclass(value):
            _refuse_outside(value, f"{prefix}{f.name}.", where)
        elif allowed is not None:
            for name, number in _numbers(value, f"{prefix}{f.name}"):
                if not allowed.holds(number):
                    raise UsageError(
                        "config.range", f"{name} is out of range", value=number, limit=allowed, where=where
                    )


def _numbers(value: Any, name: str) -> Iterator[tuple[str, float]]:
    """A number, or every number of a table, with its name."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(inner, f"{name}.{key}")
    else:
        yield name, value


def _refuse_unknown(kind: type, raw: Mapping[str, Any], prefix: str, where: str) -> None:
    hints = typing.get_type_hints(kind)
    for key, value in raw.items():
        if key not in hints:
            near = difflib.get_close_matches(key, list(hints), n=1)
            hint = f"did you mean '{prefix}{near[0]}'?" if near else f"known keys: {', '.join(hints)}"
            raise UsageError("config.unknown_key", f"unknown key '{prefix}{key}'", where=where, next=hint)
        if dataclasses.is_dataclass(hints[key]) and isinstance(value, Mapping):
            _refuse_unknown(typing.cast(type, hints[key]), value, f"{prefix}{key}.", where)


def _environment() -> dict[str, Any]:
    """``MUSTER_SERVE_PORT=0`` as ``{"serve.port": 0}``; ``MUSTER_BENCH_*`` belongs to the benchmarks."""
    found: dict[str, Any] = {}
    sections = {f.name: typing.get_type_hints(Config)[f.name] for f in dataclasses.fields(Config)}
    for name, text in os.environ.items():
        if not name.startswith("MUSTER_") or name.startswith("MUSTER_BENCH_"):
            continue
        section, _, key = name.removeprefix("MUSTER_").lower().partition("_")
        if section not in sections:
            raise UsageError(
                "config.unknown_key", f"unknown variable {name}", next="see docs/reference/configuration.md"
            )
        known = [f.name for f in dataclasses.fields(sections[section])]
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            meant = f"MUSTER_{section}_{near[0]}".upper() if near else ""
            raise UsageError(
                "config.unknown_key", f"unknown variable {name}", limit=meant or None,
                next=f"use {meant}" if meant else "see docs/reference/configuration.md",
            )  # fmt: skip
        try:
            found[f"{section}.{key}"] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            found[f"{section}.{key}"] = text
    return found


def render_config(config: Config) -> str:
    """`config` as TOML, with every key written out, so that what may be changed can be seen."""
    lines: list[str] = []
    _render_table(to_plain(config), "", lines)
    return "\n".join(lines).strip() + "\n"


def render_policy(config: Config) -> str:
    """The policy alone, as TOML, every key written out."""
    text = render_config(dataclasses.replace(Config(), policy=config.policy))
    return text[text.index("[policy]") :].split("\n[serve]")[0].strip() + "\n"


INLINE = ("policy.gates", "policy.costs.when")  # tables whose keys are names, one line each


def _render_table(table: Mapping[str, Any], prefix: str, lines: list[str]) -> None:
    plain = {k: v for k, v in table.items() if not isinstance(v, Mapping)}
    if (plain and prefix) or prefix in INLINE:
        lines += ["", f"[{prefix}]"]
    lines += [f"{k} = {_render_value(v)}" for k, v in plain.items()]
    for key, value in table.items():
        if prefix in INLINE:
            inner = ", ".join(f"{_render_key(k)} = {_render_value(v)}" for k, v in value.items())
            lines.append(f"{_render_key(key)} = {{ {inner} }}")
        elif isinstance(value, Mapping):
            _render_table(value, f"{prefix}.{key}" if prefix else key, lines)


def _render_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _render_value(key)


def _render_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # TOML's basic strings but for DEL
    if isinstance(value, list):
        return "[" + ", ".join(_render_value(v) for v in value) + "]"
    if isinstance(value, (int, float)):
        return repr(value)
    raise MusterError("config.render", "no TOML form", value=type(value).__name__)
