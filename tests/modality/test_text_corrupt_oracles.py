"""Every corruption of texts against a second version from its description, on 1,000 random texts.

Both read the same drawn numbers, so that they must agree to the letter: texts without a letter, of one word, of words
that no list knows, in capitals, with accents. Of slips each kind is as frequent as said.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pytest

from oracle_case import counted, oracle
from passmuster.modality.text import english
from passmuster.modality.text.corruptions import _OCR, corruptions

N_TEXTS = 1_000
SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)
RATES = {
    "typos.v1": (0.02, 0.05, 0.09, 0.14, 0.2), "ocr.v1": (0.04, 0.08, 0.14, 0.22, 0.32),
    "casing.v1": (0.05, 0.15, 0.3, 0.6, 1.0), "spaces.v1": (0.08, 0.18, 0.32, 0.5, 0.75),
    "truncation.v1": (0.85, 0.7, 0.55, 0.4, 0.25), "word_drop.v1": (0.08, 0.16, 0.27, 0.4, 0.55),
}  # fmt: skip


@cache
def words() -> list[str]:
    known = [*english.MISSPELLINGS, *english.CONTRACTED, *english.EXPANDED, *english.SYNONYMS, *english.TO_FEMALE]
    known += [*english.TO_MALE, *english.FEMALE, *english.MALE, *english.SURNAMES, *english.NATIONALITIES]
    known += [*english.COUNTRIES, "her", "Her", "don’t", "Über", "naïve", "42", "x", "-", "…", "qwerty", "Zebra", ""]
    return known


def texts() -> Iterator[tuple[int, str, int]]:
    rng = np.random.default_rng(0)
    for number in range(N_TEXTS):
        chosen = [str(word) for word in rng.choice(words(), rng.integers(0, 16))]
        marks = rng.choice([" ", " ", " ", ", ", ". ", "  "], len(chosen))
        text = "".join(word + mark for word, mark in zip(chosen, marks, strict=True)).rstrip()
        change = (str, str, str.upper, str.capitalize, str.lower)[number % 5]
        yield number, change(text), 1 + number // 5 % 5


@cache
def touching() -> dict[str, list[str]]:
    """Keys half a key apart from row to row, or one in the same; the own row first, then the one above."""
    at = {
        key: (y, x + y / 2) for y, row in enumerate(("qwertyuiop", "asdfghjkl", "zxcvbnm")) for x, key in enumerate(row)
    }
    found = {}
    for key, (y, x) in at.items():
        near = [(abs(b - y), b, a, other) for other, (b, a) in at.items() if abs(b - y) < 2 and 0 < abs(a - x) <= 1]
        found[key] = [k for apart, b, a, k in sorted(near) if abs(a - x) == (0.5 if apart else 1)]
    return found


def typos(text: str, rate: float, rng: np.random.Generator) -> str:
    hit, which, kind = (rng.random(len(text)).tolist() for _ in range(3))

    def rest(i: int) -> str:
        if i >= len(text):
            return ""
        own, near = text[i], touching().get(text[i].lower(), [])
        if not own.isalpha() or hit[i] >= rate:
            return own + rest(i + 1)
        if near and kind[i] < 0.55:
            key = near[int(which[i] * len(near))]
            return (key.upper() if own.isupper() else key) + rest(i + 1)
        if kind[i] < 0.7:
            return rest(i + 1)
        if kind[i] < 0.85 or i == len(text) - 1:
            return own + own + rest(i + 1)
        return text[i + 1] + own + rest(i + 2)

    return rest(0) or text


def ocr(text: str, rate: float, rng: np.random.Generator) -> str:
    drawn = iter(rng.random(len(text)).tolist())
    return "".join(_OCR[c] if (next(drawn) < rate) and c in _OCR else c for c in text)


def casing(text: str, rate: float, rng: np.random.Generator) -> str:
    other = [c.lower() if c.isupper() else c.upper() if c.islower() else c for c in text]
    return "".join(b if h < rate else a for a, b, h in zip(text, other, rng.random(len(text)).tolist()))


def spaces(text: str, rate: float, rng: np.random.Generator) -> str:
    made = ""
    for c, h in zip(text, rng.random(len(text)).tolist()):
        if c == " ":
            made += "" if h < rate else " "
        else:
            made += c + (" " if c.isalpha() and 8 * h < rate else "")
    return made if made.strip() else text


def truncation(text: str, keep: float, rng: np.random.Generator) -> str:
    n = max(1, round(keep * len(text)))
    while n and text[:n][-1:].isspace():
        n -= 1
    return text[:n] if n else text


def word_drop(text: str, rate: float, rng: np.random.Generator) -> str:
    every = re.split(" ", text)
    luck = rng.random(len(every)).tolist()
    stays = luck.index(max(luck))
    kept = " ".join(word for i, word in enumerate(every) if i == stays or luck[i] >= rate)
    return kept if kept.split() else text


Other = Callable[[str, str, float], str]  # a word, what follows it, and a number, to another word or ""


def misspellings(word: str, after: str, which: float) -> str:
    return english.MISSPELLINGS.get(word.lower(), "")


def contractions(word: str, after: str, which: float) -> str:
    plain = re.sub(r"\s+", " ", word.lower().replace("’", "'"))
    return english.CONTRACTED.get(plain, english.EXPANDED.get(plain, ""))


def synonyms(word: str, after: str, which: float) -> str:
    alike = english.SYNONYMS.get(word.lower(), ())
    return alike[int(which * len(alike))] if alike else ""


def gender(word: str, after: str, which: float) -> str:
    if word.lower() == "her":
        return "his" if after[:1] == " " and after[1:2].isascii() and after[1:2].isalpha() else "him"
    return english.TO_FEMALE.get(word.lower()) or english.TO_MALE.get(word.lower(), "")


def another(*lists: tuple[str, ...]) -> Other:
    def other(word: str, after: str, which: float) -> str:
        for names in reversed(lists):  # a name on two lists is the later one's
            lower = [name.lower() for name in names]
            if word.lower() in lower and word[0].isupper():
                place = len(lower) - 1 - lower[::-1].index(word.lower())
                following = [*names[place + 1 :], *names[:place]]
                return following[int(which * len(following))]
        return ""

    return other


def in_case(old: str, new: str) -> str:
    if old.isupper() and len(old) > 1:
        return new.upper()
    return new[0].upper() + new[1:] if old[0].isupper() else new


WORD = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)?")


def swapped(text: str, other: Other, share: float, rng: np.random.Generator, *, pairs: bool, together: bool) -> str:
    found = [m.span() for m in WORD.finditer(text)]
    if pairs:  # two words drawn together, where two are known, else what is drawn together already
        found = [m.span() for m in contracted().finditer(text)]
    found = [(a, b) for a, b in found if other(text[a:b], text[b:], 0.0)]
    if not found:
        return text
    luck, which = rng.random(len(found)).tolist(), rng.random(len(found)).tolist()
    leader: dict[str, int] = {}
    of = [leader.setdefault(text[a:b].lower(), i) if together else i for i, (a, b) in enumerate(found)]
    least = min(luck[i] for i in set(of))
    for (a, b), i in reversed(list(zip(found, of))):
        if luck[i] <= share or luck[i] == least:
            text = text[:a] + in_case(text[a:b], other(text[a:b], text[b:], which[i])) + text[b:]
    return text


@cache
def contracted() -> re.Pattern[str]:
    every = sorted({*english.CONTRACTED, *english.EXPANDED}, key=lambda words: (-len(words), words))
    return re.compile(r"\b(" + "|".join(every).replace("'", "['’]") + r")\b(?!['’])", re.IGNORECASE)


LETTERS = {"typos.v1": typos, "ocr.v1": ocr, "casing.v1": casing, "spaces.v1": spaces, "truncation.v1": truncation,
           "word_drop.v1": word_drop}  # fmt: skip
WORDS: dict[str, tuple[Other, bool, bool]] = {
    "misspellings.v1": (misspellings, False, False),
    "contractions.v1": (contractions, True, False),
    "synonyms.v1": (synonyms, False, False),
    "names.v1": (another(english.FEMALE, english.MALE, english.SURNAMES), False, True),
    "gender.v1": (gender, False, False),
    "nationality.v1": (another(english.NATIONALITIES, english.COUNTRIES), False, True),
}


@oracle("its description")
@pytest.mark.parametrize("name", corruptions.names())
def test_as_described(name: str) -> None:
    changed = 0
    for number, text, severity in counted(texts()):
        rng = np.random.default_rng(number)
        if name in LETTERS:
            expected = LETTERS[name](text, RATES[name][severity - 1], rng)
        else:
            other, pairs, together = WORDS[name]
            expected = swapped(text, other, SHARES[severity - 1], rng, pairs=pairs, together=together)
        assert corruptions[name](text, severity, np.random.default_rng(number)) == expected, (number, text)
        changed += expected != text
    assert changed > N_TEXTS / 10


def test_of_the_slips_as_many_of_each_kind_as_said() -> None:
    """Of 150,000 times the letter q at severity 5: shares of all within a fifth of a point."""
    n = 150_000
    found = str(corruptions["typos.v1"]("q  " * n, 5, np.random.default_rng(1))).split()
    shares = {"w": 0.2 * 0.55 / 2, "a": 0.2 * 0.55 / 2, "qq": 0.2 * 0.15, "q": 0.8 + 0.2 * 0.15}
    assert set(found) == set(shares)
    for part, share in shares.items():
        assert found.count(part) / n == pytest.approx(share, abs=0.002), part
    assert 1 - len(found) / n == pytest.approx(0.2 * 0.15, abs=0.002)  # lost
