"""Natural faults of texts at severity 1 to 5. With one seed, a higher severity damages what a lower one did and more.

After the noise models of Belinkov & Bisk (2018, "Synthetic and natural noise both break neural machine translation")
and the severity scale of Hendrycks & Dietterich (2019). Those of `ENGLISH` exchange words by English lists
(`passmuster.modality.text.swaps`) and are left out where the texts are not English.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps

import numpy as np

from passmuster.core.errors import UsageError
from passmuster.core.records import Payload
from passmuster.core.tables import Table
from passmuster.modality.harm import Corruption
from passmuster.modality.text import swaps
from passmuster.modality.text.english import is_english

corruptions: Table[Corruption] = Table("corruption")
ENGLISH = ("misspellings.v1", "contractions.v1", "synonyms.v1", "names.v1", "gender.v1", "nationality.v1")
USUAL = ("typos.v1", "ocr.v1", "casing.v1", "spaces.v1", "truncation.v1", "word_drop.v1", *ENGLISH)

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_OCR = {
    "l": "1", "1": "l", "o": "0", "0": "o", "i": "l", "e": "c", "c": "e", "s": "5", "5": "s", "b": "6", "g": "9",
    "m": "rn", "w": "vv", "d": "cl", "h": "b", "u": "v", "n": "r", "t": "f", "z": "2", "B": "8", "S": "5", "O": "0",
    "I": "l", "a": "o", "D": "O", "E": "F", "G": "6", "T": "7", "Z": "2", "r": "n", "v": "u",
}  # fmt: skip


def _neighbours() -> dict[str, str]:
    """Keys that touch each other on a QWERTY keyboard."""
    near: dict[str, str] = {}
    for y, row in enumerate(_ROWS):
        for x, key in enumerate(row):
            around = [(y, x - 1), (y, x + 1), (y - 1, x), (y - 1, x + 1), (y + 1, x - 1), (y + 1, x)]
            near[key] = "".join(_ROWS[b][a] for b, a in around if 0 <= b < 3 and 0 <= a < len(_ROWS[b]))
    return near


NEAR = _neighbours()


def fault(
    name: str, strengths: tuple[float, float, float, float, float]
) -> Callable[[Callable[[str, float, np.random.Generator], str]], Corruption]:
    """Register ``body(text, strength, rng)`` under `name`; severity 0 is the identity, s has ``strengths[s - 1]``."""

    def register(body: Callable[[str, float, np.random.Generator], str]) -> Corruption:
        @wraps(body)
        def corrupt(payload: Payload, severity: int, rng: np.random.Generator) -> Payload:
            if not 0 <= severity <= 5:
                raise UsageError("corruption.severity", "no such severity", value=severity, limit="0 to 5")
            return body(str(payload), strengths[severity - 1], rng) if severity else payload

        return corruptions.add(name, corrupt)

    return register


@fault("typos.v1", (0.02, 0.05, 0.09, 0.14, 0.2))
def typos(text: str, rate: float, rng: np.random.Generator) -> str:
    """Slips on a keyboard: a letter hits a neighbouring key, is lost, doubled, or trades places with the next one."""
    hit, which, kind = rng.random(len(text)), rng.random(len(text)), rng.random(len(text))
    out: list[str] = []
    position = 0
    while position < len(text):
        letter = text[position]
        if hit[position] >= rate or not letter.isalpha():
            out.append(letter)
        elif kind[position] < 0.55 and letter.lower() in NEAR:
            near = NEAR[letter.lower()]
            key = near[int(which[position] * len(near))]
            out.append(key.upper() if letter.isupper() else key)
        elif kind[position] < 0.7:
            pass  # lost
        elif kind[position] < 0.85 or position + 1 == len(text):
            out.append(letter * 2)
        else:
            out.append(text[position + 1] + letter)
            position += 1
        position += 1
    return "".join(out) or text


@fault("ocr.v1", (0.04, 0.08, 0.14, 0.22, 0.32))
def ocr(text: str, rate: float, rng: np.random.Generator) -> str:
    """Letters misread by optical character recognition: l and 1, o and 0, m and rn, …"""
    hit = rng.random(len(text))
    return "".join(_OCR.get(c, c) if h < rate else c for c, h in zip(text, hit, strict=True))


@fault("casing.v1", (0.05, 0.15, 0.3, 0.6, 1.0))
def casing(text: str, rate: float, rng: np.random.Generator) -> str:
    """Letters in the wrong case; at severity 5 all of them, as after caps lock."""
    hit = rng.random(len(text))
    return "".join(c.swapcase() if h < rate else c for c, h in zip(text, hit, strict=True))


@fault("spaces.v1", (0.08, 0.18, 0.32, 0.5, 0.75))
def spaces(text: str, rate: float, rng: np.random.Generator) -> str:
    """Spaces lost between words, and, an eighth as often per letter, spaces inside them."""
    hit = rng.random(len(text))
    out = []
    for c, h in zip(text, hit, strict=True):
        if c == " " and h < rate:
            continue
        out.append(c + " " if c.isalpha() and h < rate / 8 else c)
    return "".join(out) if "".join(out).strip() else text


@fault("truncation.v1", (0.85, 0.7, 0.55, 0.4, 0.25))
def truncation(text: str, keep: float, rng: np.random.Generator) -> str:
    """Only the beginning is left, cut as by a form field's limit."""
    return text[: max(1, round(len(text) * keep))].rstrip() or text


@fault("word_drop.v1", (0.08, 0.16, 0.27, 0.4, 0.55))
def word_drop(text: str, rate: float, rng: np.random.Generator) -> str:
    """Whole words are missing; the one least likely to go stays always."""
    words = text.split(" ")
    hit = rng.random(len(words))
    kept = [w for i, (w, h) in enumerate(zip(words, hit, strict=True)) if h >= rate or i == int(hit.argmax())]
    return " ".join(kept) if " ".join(kept).strip() else text


misspellings = fault("misspellings.v1", swaps.SHARES)(swaps.misspellings)
contractions = fault("contractions.v1", swaps.SHARES)(swaps.contractions)
synonyms = fault("synonyms.v1", swaps.SHARES)(swaps.synonyms)
names = fault("names.v1", swaps.SHARES)(swaps.names)
gender = fault("gender.v1", swaps.SHARES)(swaps.gender)
nationality = fault("nationality.v1", swaps.SHARES)(swaps.nationality)


def why_left_out(name: str, texts: Sequence[Payload]) -> str:
    """Why a fault says nothing of these texts; "" when it does.

    >>> why_left_out("synonyms.v1", ["Wann kommt meine neue Karte an?"])
    'its word lists are English, and these texts are not'
    """
    if name in ENGLISH and not is_english([str(text) for text in texts]):
        return "its word lists are English, and these texts are not"
    return ""
