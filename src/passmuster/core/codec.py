"""Records to JSON values and back, by their type hints. Unknown and missing fields are errors, never dropped."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import PurePath
from typing import Any, TypeVar

from passmuster.core.errors import DataError

R = TypeVar("R")
_PLAIN = frozenset({str, int, float, bool, type(None)})


def to_plain(value: Any) -> Any:
    """A record, or any nesting of records, tuples, mappings and numbers, as JSON-ready values."""
    if type(value) in _PLAIN:  # most of what a report holds
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "tolist"):  # numpy arrays and scalars
        return value.tolist()
    if isinstance(value, (list, tuple, set, frozenset)):
        return [v if type(v) in _PLAIN else to_plain(v) for v in value]
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def from_plain(kind: type[R], value: Any, *, where: str = "") -> R:
    """Build a record of `kind` from JSON values.

    Raises
    ------
    DataError
        ``record.shape`` when a field is unknown, missing, or not of the declared shape; names the field's path.
    """
    return typing.cast(R, _build(kind, value, where or kind.__name__))


def _build(kind: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _build_record(typing.cast(type, kind), value, where)
    if origin in (typing.Union, types.UnionType):
        return _build_union(args, value, where)
    if origin is typing.Literal:
        if value in args:
            return value
        raise DataError("record.shape", "not one of the allowed values", value=value, limit=list(args), where=where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise DataError("record.shape", "expected a list", value=value, where=where)
        inner = [args[0]] * len(value) if len(args) == 2 and args[1] is Ellipsis else list(args)
        if len(inner) != len(value):
            raise DataError("record.shape", "wrong number of entries", value=len(value), limit=len(inner), where=where)
        return tuple(_build(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(inner, value, strict=True)))
    if origin in (list, Sequence):
        return [_build(args[0], v, f"{where}[{i}]") for i, v in enumerate(value)]
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise DataError("record.shape", "expected a table", value=value, where=where)
        return {k: _build(args[1], v, f"{where}.{k}") for k, v in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        raise DataError("record.shape", f"expected {kind.__name__}", value=repr(value)[:80], where=where)
    return value


def _build_record(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise DataError("record.shape", f"expected a table for {kind.__name__}", value=repr(value)[:80], where=where)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    if unknown := [k for k in value if k not in fields]:
        raise DataError("record.shape", "unknown field", value=unknown[0], limit=", ".join(fields), where=where)
    missing = [
        n
        for n, f in fields.items()
        if n not in value and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise DataError("record.shape", "missing field", value=missing[0], where=where)
    hints = _hints(kind)
    return kind(**{k: _build(hints[k], v, f"{where}.{k}") for k, v in value.items()})


def _build_union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    problems = []
    for kind in kinds:
        if kind is type(None):
            continue
        try:
            return _build(kind, value, where)
        except DataError as problem:
            problems.append(problem)
    raise problems[0]
