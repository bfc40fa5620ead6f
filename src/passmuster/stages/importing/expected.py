"""The owner's own answers beside the import's: whether what was named of the preprocessing is what the model knows.

A wrong resize, a tokenizer of another case or a mean left out makes a model worse without any error. A table of a few
items with what the model said of them where it was made finds that before anything else is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from passmuster.core.config import DataConfig
from passmuster.core.errors import DataError, NotFoundError
from passmuster.core.records import Payload
from passmuster.modality.base import Modality
from passmuster.runtime.answers import softmax

MAX_ROWS = 2_000
MAX_BYTES = 256 * 2**20
LEAST_AGREEMENT = 0.99  # of answers, as the policy's `parity.v1` asks; the rest may be ties that rounding breaks
MAX_DIFFERENCE = 0.01  # of a probability: float16 against float32 stays below, other preprocessing does not
CONTENT = {"text": ("text", "item"), "image": ("path", "file", "item")}
ANSWER = ("answer", "label", "prediction", "predicted")


@dataclass(frozen=True)
class Expected:
    """Items and what the model said of them elsewhere: class numbers (n,), or -1; probabilities (n, c), or None."""

    payloads: list[Payload]
    where: list[str]
    answers: np.ndarray
    probabilities: np.ndarray | None


def read_expected(path: Path, modality: Modality, config: DataConfig, classes: Sequence[str]) -> Expected:
    """A table of items and answers: CSV, TSV, JSON lines or Parquet.

    Texts stand in a column ``text``, images are named in ``path``, seen from the table. The answer stands in ``answer``
    (or ``label``), its probabilities in one column for each class; one of the two is enough.

    Raises
    ------
    NotFoundError
        ``expect.none``.
    DataError
        ``expect.table``, ``expect.columns``, ``expect.class``, ``expect.item``.
    """
    rows = _rows(path)
    columns = list(rows[0])
    content = next((name for name in CONTENT[modality.name] if name in columns), "")
    answer = next((name for name in ANSWER if name in columns and name not in classes), "")
    each = all(name in columns for name in classes)
    if not content or not (answer or each):
        raise DataError(
            "expect.columns", "the table needs the items, and what the model said of them", where=path,
            value=", ".join(columns[:9]),
            limit=f"{CONTENT[modality.name][0]}, and {ANSWER[0]} or a column for each class",
        )  # fmt: skip
    number = {name: i for i, name in enumerate(classes)}
    payloads, where, answers, probabilities = [], [], [], []
    for i, row in enumerate(rows, start=1):
        place = f"row {i} of {path.name}"
        if answer and str(row[answer]) not in number:
            raise DataError("expect.class", "the model has no such class", value=row[answer], where=place)
        try:
            if row[content] is None:
                raise ValueError("there is no item")
            data = (
                str(row[content]).encode()
                if modality.name == "text"
                else (path.parent / str(row[content])).read_bytes()
            )
            payloads.append(modality.decode(data, config))
            probabilities.append([float(row[name]) for name in classes] if each else [])
        except (DataError, OSError, TypeError, ValueError) as error:
            raise DataError("expect.item", f"the row cannot be read: {error}", where=place) from error
        answers.append(number[str(row[answer])] if answer else -1)
        where.append(place)
    return Expected(payloads, where, np.array(answers), np.array(probabilities) if each else None)


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
    said = f"the same answer on {int(same.sum()):,} of {len(same):,} items"
    off = np.zeros(len(same))
    if expected.probabilities is not None:
        off = np.abs(found - expected.probabilities).max(axis=1)
        off = np.where(np.isnan(off), np.inf, off)
        said += f", probabilities apart by {off.max():.2g} at most"
    near = same.mean() >= LEAST_AGREEMENT and float((off <= MAX_DIFFERENCE).mean()) >= LEAST_AGREEMENT
    if not near:
        worst = int(np.argmax(off + 2.0 * ~same))
        raise DataError(
            "import.differs", f"the model does not answer as it does where it was made: {said}",
            value=f"{classes[int(found[worst].argmax())]} instead of {classes[int(told[worst])]}",
            limit=f"{LEAST_AGREEMENT:.0%} the same, and apart by {MAX_DIFFERENCE}", where=expected.where[worst],
            next="look at --preprocess, --scores and the order of --labels",
        )  # fmt: skip
    return f"answers as where it was made: {said}"


def _rows(path: Path) -> list[dict[str, Any]]:
    import polars as pl

    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise NotFoundError(
            "expect.none", "there is no such table of a usual size", limit=f"{MAX_BYTES:,} bytes", where=path
        )
    try:
        match path.suffix.lower():
            case ".parquet":
                table = pl.read_parquet(path, n_rows=MAX_ROWS)
            case ".jsonl" | ".ndjson":
                table = pl.read_ndjson(path, n_rows=MAX_ROWS)
            case suffix:
                separator = "\t" if suffix == ".tsv" else ","
                table = pl.read_csv(path, n_rows=MAX_ROWS, separator=separator, infer_schema=False)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise DataError("expect.table", f"the table cannot be read: {error}", where=path) from error
    if not len(table):
        raise DataError("expect.table", "the table has no rows", where=path)
    return table.to_dicts()
