"""`muster.toml`: found, read, checked against the records of `passmuster.core.config`, and written.

Flags beat ``MUSTER_*`` variables, which beat ``muster.toml``, which beats the defaults of the records. An unknown key
is an error that names the nearest one, and so is a number outside the range that its field declares.
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
from pathlib import Path
from typing import Any

from passmuster.core.codec import from_plain, to_plain
from passmuster.core.config import Config, range_of
from passmuster.core.errors import DataError, MusterError, NotFoundError, UsageError

FILE_NAME = "muster.toml"


def find_project(start: Path) -> Path:
    """The nearest folder at or above `start` that holds `muster.toml`.

    Raises
    ------
    NotFoundError
        ``project.none`` when there is none, or when `start` itself is not there: a slip in its name must not lead to
        the project above it.
    """
    if not start.exists():
        raise NotFoundError("project.none", "there is no such folder", where=start.resolve(), next="check its name")
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
