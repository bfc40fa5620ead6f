"""The owner's own answers beside the import's: whether what was named of the preprocessing is what the model knows.

A wrong resize, a tokenizer of another case or a mean left out makes a model worse without any error. A table of a few
items with what the model said of them where it was made finds that before anything else is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from passmuster.core.config import DataConfig
from passmuster.core.errors import DataError
from passmuster.core.records import Payload
from passmuster.modality.base import Modality
from passmuster.runtime.answers import softmax
from passmuster.stages.importing.rows import content_column, item_in, read_rows

MAX_ROWS = 2_000
LEAST_AGREEMENT = 0.99  # of answers, as the policy's `parity.v1` asks; the rest may be ties that rounding breaks
MAX_DIFFERENCE = 0.01  # of a probability: float16 against float32 stays below, other preprocessing does not
ANSWER = ("answer", "label", "prediction", "predicted")


@dataclass(frozen=True)
class Expected:
    """Items and what the model said of them elsewhere: class numbers (n,), or -1; probabilities (n, c), or None.

    `cut`: the table goes on, and only its first `MAX_ROWS` rows are compared.
    """

    payloads: list[Payload]
    where: list[str]
    answers: np.ndarray
    probabilities: np.ndarray | None
    cut: bool = False


def read_expected(path: Path, modality: Modality, config: DataConfig, classes: Sequence[str]) -> Expected:
    """A table of items and answers: CSV, TSV, JSON lines or Parquet.

    Texts stand in a column ``text``, images are named in ``path``, seen from the table. The answer stands in ``answer``
    (or ``label``), its probabilities in one column for each class; one of the two is enough.

    Raises
    ------
    NotFoundError, DataError
        ``table.*``; ``expect.columns``, ``expect.class``, ``expect.item``.
    """
    rows = read_rows(path, MAX_ROWS + 1)
    cut, rows = len(rows) > MAX_ROWS, rows[:MAX_ROWS]
    columns = list(rows[0])
    content = content_column(columns, modality, path)
    answer = next((name for name in ANSWER if name in columns and name not in classes), "")
    each = all(name in columns for name in classes)
    if not (answer or each):
        raise DataError(
            "expect.columns", "the table does not tell what the model said of its items", where=path,
            value=", ".join(columns[:9]),
            limit=f"{ANSWER[0]}, or a column for each class",
        )  # fmt: skip
    number = {name: i for i, name in enumerate(classes)}
    payloads, where, answers, probabilities = [], [], [], []
    for i, row in enumerate(rows, start=1):
        place = f"row {i} of {path.name}"
        if answer and str(row[answer]) not in number:
            raise DataError("expect.class", "the model has no such class", value=row[answer], where=place)
        try:
            payloads.append(item_in(row[content], path, modality, config))
            probabilities.append([float(row[name]) for name in classes] if each else [])
        except (DataError, TypeError, ValueError) as error:
            raise DataError("expect.item", f"the row cannot be read: {error}", where=place) from error
        answers.append(number[str(row[answer])] if answer else -1)
        where.append(place)
    return Expected(payloads, where, np.array(answers), np.array(probabilities) if each else None, cut)


def compare(expected: Expected, logits: np.ndarray, classes: Sequence[str]) -> str:
    """How near the import comes, in words.

    Parameters
    ----------
    logits : (n, c) of the import for the same items

    Raises
    ------
    DataError
        ``import.differs`` when answers or probabilities are not those that were expected.
    """
    found = softmax(logits)
    told = expected.answers if expected.probabilities is None else expected.probabilities.argmax(axis=1)
    told = np.where(expected.answers >= 0, expected.answers, told)
    same = found.argmax(axis=1) == told
    first = "the first " if expected.cut else ""
    said = f"the same answer on {int(same.sum()):,} of {first}{len(same):,} items"
    off = np.zeros(len(same))
    if expected.probabilities is not None:
        off = np.abs(found - expected.probabilities).max(axis=1)
        off = np.where(np.isnan(off), np.inf, off)
        said += f", probabilities apart by {off.max():.2g} at most"
    near = same.mean() >= LEAST_AGREEMENT and float((off <= MAX_DIFFERENCE).mean()) >= LEAST_AGREEMENT
    if not near:
        worst = int(np.argmax(off + 2.0 * ~same))
        here, there = classes[int(found[worst].argmax())], classes[int(told[worst])]
        differs = f"{here} instead of {there}" if here != there else f"{here} as there, {off[worst]:.2g} apart"
        raise DataError(
            "import.differs", f"the model does not answer as it does where it was made: {said}",
            value=differs,
            limit=f"{LEAST_AGREEMENT:.0%} the same, and apart by {MAX_DIFFERENCE}", where=expected.where[worst],
            next="look at --preprocess, --scores and the order of --labels",
        )  # fmt: skip
    return f"answers as where it was made: {said}"
