"""A team's own list of words of one meaning, for the natural fault and for the attack that exchange such words.

A CSV without a header: a row holds words that may stand for each other in most sentences of this project, two at least.
Words of the texts are looked for one by one; what is put in their place may be several (`low-priced`, `in stock`).
"""

from __future__ import annotations

import csv
import io
from functools import partial
from pathlib import Path

import numpy as np

from passmuster.core.digests import sha256_hex
from passmuster.core.errors import UsageError
from passmuster.core.records import Payload
from passmuster.modality.harm import OwnWords
from passmuster.modality.text import swaps
from passmuster.modality.text.attacks import WORD, by_own_words

MAX_LETTERS = 80  # of one entry
NAME = "synonyms.v1"
HOW = "docs/how-to/attacks.md"
SHOWN = 10  # problems in one message


def read_own_words(data: bytes, path: Path) -> OwnWords:
    """The fault and the attack `synonyms.v1` by the words of a file, which stand in the place of the English list.

    Raises
    ------
    UsageError
        ``evaluate.synonyms``, naming every row that cannot be used.
    """
    try:
        text = data.decode("utf-8-sig")
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            "evaluate.synonyms", f"the words of one meaning are no CSV in UTF-8: {error}", where=path,
            next=f"save it as one ({HOW})",
        ) from error  # fmt: skip
    alike: dict[str, dict[str, None]] = {}
    problems = []
    for number, row in enumerate(rows, 1):
        words = {" ".join(cell.split()).lower(): " ".join(cell.split()) for cell in row if cell.strip()}
        if not words:
            continue
        singles = [key for key in words if WORD.fullmatch(key)]
        if why := what_is_wrong(list(words), singles):
            problems.append(f"row {number}: {why}")
        for key in singles:
            alike.setdefault(key, {}).update({other: None for k, other in words.items() if k != key})
    if not problems and not alike:
        problems.append("there is no row")
    if problems:
        more = f" … and {len(problems) - SHOWN:,} more" if len(problems) > SHOWN else ""
        raise UsageError(
            "evaluate.synonyms", f"words of one meaning that cannot be used: {'; '.join(problems[:SHOWN])}{more}",
            value=f"{len(problems):,} of {len(rows):,} rows", where=path, next=f"mend them ({HOW})",
        )  # fmt: skip
    found = {word: tuple(others) for word, others in alike.items()}

    def corrupt(payload: Payload, severity: int, rng: np.random.Generator) -> Payload:
        if not 0 <= severity <= 5:
            raise UsageError("corruption.severity", "no such severity", value=severity, limit="0 to 5")
        share = swaps.SHARES[severity - 1]
        return swap(str(payload), share, rng) if severity else payload

    swap = partial(swaps.synonyms, alike=found, word=WORD)
    return OwnWords({NAME: corrupt}, {NAME: by_own_words(found)}, len(found), sha256_hex(data))


def what_is_wrong(words: list[str], singles: list[str]) -> str:
    """Why a row cannot be used; "" where it can.

    >>> what_is_wrong(["cheap"], ["cheap"]), what_is_wrong(["cheap", "low-priced"], ["cheap"])
    ('one word alone', '')
    """
    if len(words) < 2:
        return "one word alone"
    if not singles:
        return "none of them is a single word, which is what a text is searched for"
    if any(len(word) > MAX_LETTERS for word in words):
        return f"an entry of more than {MAX_LETTERS} letters"
    return ""
