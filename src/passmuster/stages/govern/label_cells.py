"""What a cell of a table says as a label: one class, or in a multi-label project a set of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from passmuster.core.config import Config
from passmuster.core.errors import DataError
from passmuster.core.label_sets import MULTI, SINGLE, Task, join_classes
from passmuster.stages.govern.class_names import clean_name
from passmuster.stages.govern.rows import HALF_A_PAIR, plain

BEGIN_ANEW = 'muster init OTHER-FOLDER --task multi-label, or set project.task = "multi-label" in muster.toml'


@dataclass(frozen=True)
class LabelCells:
    """How cells are read. `separator` stands between the classes of a cell of text, where the task is multi-label."""

    task: Task = SINGLE
    separator: str = ";"

    @classmethod
    def of(cls, config: Config) -> LabelCells:
        """As a project's configuration says."""
        return cls(config.project.task, config.data.label_separator)

    def read(self, value: Any) -> str | None:
        """The label that a cell means; None where it is empty, which is no answer at all.

        In a multi-label project a list (a Parquet list, a JSON list, or its text in any table) is a set, the empty
        list says "none of the classes", and text is split at the separator.

        Raises
        ------
        ValueError
            With the reason: a list in a single-label project, something in it that is no name of a class.

        >>> cells = LabelCells("multi-label")
        >>> cells.read("late; broken"), cells.read("[]"), cells.read(["late"]), cells.read("")
        ('["broken","late"]', '[]', 'late', None)
        """
        if isinstance(value, str) and HALF_A_PAIR.search(value):
            raise ValueError("half a surrogate pair is no text")
        if self.task != MULTI:
            if isinstance(value, (list, dict)):
                raise ValueError(f"one label was expected, and here is a {type(value).__name__}")
            return plain(value)
        if isinstance(value, dict):
            raise ValueError("a set of classes was expected, and here is a dict")
        if isinstance(value, (list, tuple)):
            return join_classes(self._names(value))
        text = plain(value)
        if text is None:
            return None
        if text.startswith("["):
            try:
                members = json.loads(text)
            except ValueError as error:
                raise ValueError(f"this is no JSON list of classes: {text[:80]!r}") from error
            return join_classes(self._names(members))
        return join_classes(self._names([part for part in text.split(self.separator) if part.strip()]))

    def _names(self, members: Sequence[Any]) -> list[str]:
        names = [plain(member) for member in members if not isinstance(member, (list, dict))]
        if len(names) != len(members) or None in names:
            raise ValueError("a list of classes holds something that is no name of a class")
        if any(HALF_A_PAIR.search(str(name)) for name in names):
            raise ValueError("half a surrogate pair is no text")
        try:
            return [clean_name(str(name), multi=True) for name in names]
        except DataError as error:
            raise ValueError(error.what) from error
