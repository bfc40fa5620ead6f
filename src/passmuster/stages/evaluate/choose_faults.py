"""Which natural faults an evaluation tries: the usual ones, others by name, and the team's own functions.

``[evaluate] corruptions`` holds names of the modality's table, ``"usual"``, ``"all"``, and functions of the project's
own files as ``"faults.py:blur_left"``; those come on top of the usual ones, where no other is named. A function takes
an item (a string, or uint8 pixels of shape (height, width, channels)), a severity from 1 to 5 and a
`numpy.random.Generator`, and returns the spoilt item. Only files inside the project's folder are run, and the report
keeps their digest.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from passmuster.core.digests import sha256_hex
from passmuster.core.errors import UsageError
from passmuster.core.records import Payload
from passmuster.modality.base import Modality
from passmuster.modality.harm import Corruption, OwnWords

USUAL, ALL = "usual", "all"
WHERE = "[evaluate] corruptions"


@dataclass(frozen=True)
class Own:
    """A function of the team: as it was named, and the SHA-256 of its file."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Faults:
    """What is tried, by name, in order; and which of them are the team's own, or go by words of its own."""

    corruptions: dict[str, Corruption]
    own: tuple[Own, ...] = ()
    by_own_words: frozenset[str] = frozenset()


def choose_faults(modality: Modality, asked: Sequence[str], folder: Path, words: OwnWords | None = None) -> Faults:
    """The corruptions that `asked` names, own ones from `folder`, and some by the team's own `words`.

    Raises
    ------
    UsageError
        ``corruption.unknown`` with the nearest name; ``evaluate.own_fault`` for a file outside of `folder`, one that
        is not there or fails, or one without that function.
    """
    named = [name for name in asked if ":" not in name]
    own_names = dict.fromkeys(name for name in asked if ":" in name)
    chosen: dict[str, Corruption] = {}
    for name in named or [USUAL]:
        several = {USUAL: modality.usual_faults, ALL: modality.corruptions.names()}.get(name, (name,))
        chosen |= {each: modality.corruptions[each] for each in several}
    own: list[Own] = []
    by_words = {name: spoil for name, spoil in words.corruptions.items() if name in chosen} if words else {}
    chosen |= by_words
    if words:
        own += [Own(f"{name}, words of your own", words.sha256) for name in by_words]
    for name in own_names:
        function, digest = load_own(name, folder)
        chosen[name] = partial(run_own, name, function)
        own.append(Own(name, digest))
    return Faults(chosen, tuple(own), frozenset(by_words))


def load_own(name: str, folder: Path) -> tuple[Any, str]:
    """The function that ``"file.py:function"`` names, and the digest of the very bytes that were run for it."""
    file, _, attribute = name.partition(":")
    path = (folder / file).resolve()
    if Path(file).is_absolute() or not path.is_relative_to(folder.resolve()) or path.suffix != ".py":
        raise UsageError(
            "evaluate.own_fault", "a fault of your own is a function in a .py file inside the project's folder",
            value=name, limit=folder, where=WHERE, next="move the file there, and name it from there",
        )  # fmt: skip
    try:
        source = path.read_bytes()
    except OSError as error:
        raise UsageError(
            "evaluate.own_fault", f"the file cannot be read: {error.strerror}", value=name, where=path
        ) from error
    module = types.ModuleType(f"muster_own_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look there for their annotations
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
    except Exception as error:
        raise UsageError(
            "evaluate.own_fault", f"{file} cannot be run: {type(error).__name__}: {error}", where=path,
            next=f"mend {file}",
        ) from error  # fmt: skip
    function = getattr(module, attribute, None)
    if not callable(function):
        there = [n for n, v in vars(module).items() if isinstance(v, types.FunctionType) and not n.startswith("_")]
        raise UsageError(
            "evaluate.own_fault", f"{file} has no function {attribute!r}", limit=", ".join(there) or "none", where=path,
            next=f'write it: def {attribute or "blur"}(item, severity, rng): …',
        )  # fmt: skip
    return function, sha256_hex(source)


def run_own(name: str, function: Any, payload: Payload, severity: int, rng: np.random.Generator) -> Payload:
    """What a function of the team makes of a copy of an item, held to be an item of the same kind.

    Raises
    ------
    UsageError
        ``evaluate.own_fault`` when it fails, or returns something else.
    """
    try:
        after = function(payload.copy() if isinstance(payload, np.ndarray) else payload, severity, rng)
    except Exception as error:
        raise UsageError(
            "evaluate.own_fault", f"{name} failed: {type(error).__name__}: {error}", value=f"severity {severity}",
            next=f"mend {name.partition(':')[0]}",
        ) from error  # fmt: skip
    if isinstance(payload, str) and isinstance(after, str):
        return after
    if isinstance(payload, np.ndarray) and isinstance(after, np.ndarray) and is_picture(after):
        return after
    kind = f"an array {after.dtype} {after.shape}" if isinstance(after, np.ndarray) else type(after).__name__
    raise UsageError(
        "evaluate.own_fault", f"{name} returned no item", value=kind,
        limit="a string" if isinstance(payload, str) else "uint8 of shape (height, width, 1 or 3)",
    )  # fmt: skip


def is_picture(after: np.ndarray) -> bool:
    """Whether an array is an image as every modality function takes it."""
    return after.dtype == np.uint8 and after.ndim == 3 and after.shape[2] in (1, 3) and after.size > 0
