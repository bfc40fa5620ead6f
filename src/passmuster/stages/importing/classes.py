"""The classes of an imported model: named in the order of its scores, and matched with those of the project."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from passmuster.core.errors import DataError, UsageError

MAX_BYTES = 16 * 2**20
N_SHOWN = 8


def read_names(given: str | Sequence[str]) -> tuple[str, ...]:
    """Class names in order, from a file, from a list with commas, or as they are.

    A file is one name a line, or JSON: a list, ``{"0": "ham"}`` as ``id2label`` has it, or ``{"ham": 0}``.

    Raises
    ------
    DataError
        ``import.labels``.

    >>> read_names("ham, spam")
    ('ham', 'spam')
    """
    if not isinstance(given, str):
        return _checked([str(name) for name in given], "labels")
    path = Path(given).expanduser()
    if not given or len(given) > 4_096 or not path.is_file():
        return _checked([name.strip() for name in given.split(",")], given) if given else ()
    if path.stat().st_size > MAX_BYTES:
        raise DataError("import.labels", "the file of class names is too large", limit=MAX_BYTES, where=path)
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    if path.suffix.lower() == ".json":
        try:
            return _checked(in_order(json.loads(text)), path)
        except ValueError as error:
            raise DataError("import.labels", f"the class names are not JSON: {error}", where=path) from error
    return _checked([line.strip() for line in text.splitlines() if line.strip()], path)


def in_order(said: Any) -> list[str]:
    """Names from a JSON value; raises ValueError for one that is no list of names.

    >>> in_order({"1": "spam", "0": "ham"}), in_order({"ham": 0, "spam": 1})
    (['ham', 'spam'], ['ham', 'spam'])
    """
    if isinstance(said, list):
        return [str(name) for name in said]
    if not isinstance(said, dict):
        raise ValueError("a list of names, or names by number")
    pairs = {int(k): str(v) for k, v in said.items()} if all(str(k).isdigit() for k in said) else (
        {int(v): str(k) for k, v in said.items()}
    )  # fmt: skip
    if sorted(pairs) != list(range(len(said))):
        raise ValueError("the numbers do not run from 0 without a gap")
    return [pairs[i] for i in range(len(pairs))]


def name_classes(given: Sequence[str], in_file: Sequence[str], width: int) -> tuple[str, ...]:
    """The classes in the order of the model's `width` scores: as the user names them, else as the file does.

    Names from the user take the place of the file's. The same names in another order are refused: one of the two is
    wrong, and every answer would be.

    Raises
    ------
    UsageError
        ``import.no_labels``, ``import.labels_order``.
    DataError
        ``import.n_classes``.
    """
    if not given and not in_file:
        raise UsageError(
            "import.no_labels", "the file does not name its classes", value=f"{width} scores",
            next="name them in the order of the scores: --labels first,second, or --labels FILE",
        )  # fmt: skip
    if given and in_file and sorted(given) == sorted(in_file) and list(given) != list(in_file):
        raise UsageError(
            "import.labels_order", "--labels names the classes in another order than the model's file",
            value=_some(given), limit=_some(in_file), next="leave --labels out: the file names its classes",
        )  # fmt: skip
    names = tuple(given or in_file)
    if len(names) != (2 if width == 1 else width):
        raise DataError(
            "import.n_classes", "the model does not give one score for each class that is named",
            value=f"{width} scores, {len(names)} classes", where=_some(names),
            next="name every class in the order of the scores with --labels",
        )  # fmt: skip
    return names


def match_classes(model: Sequence[str], project: Sequence[str], *, accept: bool) -> tuple[str, ...]:
    """Compare with the classes of the project's labels; returns lines about a difference that was accepted.

    Raises
    ------
    DataError
        ``import.classes`` with the difference.
    """
    lacking, unknown = [c for c in project if c not in model], [c for c in model if c not in project]
    if not project or not (lacking or unknown):
        return ()
    said = [f"the project has, the model has not: {_some(lacking)}"] * bool(lacking)
    said += [f"the model has, no label of the project has: {_some(unknown)}"] * bool(unknown)
    if accept:
        return tuple(said)
    raise DataError(
        "import.classes", "the model's classes are not the project's", value="; ".join(said),
        next="rename them in order with --labels, or take the model as it is with --accept-classes",
    )  # fmt: skip


def _checked(names: list[str], where: Any) -> tuple[str, ...]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not all(names) or len(names) < 2:
        what = "a class is named twice" if twice else "class names are at least two, and none is empty"
        raise DataError("import.labels", what, value=_some(twice) or None, where=where)
    return tuple(names)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - N_SHOWN} more" if len(names) > N_SHOWN else ""
    return ", ".join(map(repr, names[:N_SHOWN])) + more
