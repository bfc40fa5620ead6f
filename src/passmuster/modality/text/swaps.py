"""Faults that exchange whole words by English lists: misspelt, contracted, synonyms, other names, genders, nations.

What a text says stays the same, or stays as answerable. At severity 1 to 5 a fifth to all of the words that the lists
know are exchanged, at least one; a text without any stays as it is. After the invariance tests of Ribeiro et al. (2020,
"Beyond accuracy: behavioral testing of NLP models with CheckList").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from passmuster.modality.text import english

SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)  # of the words that a list knows, by severity
Exchange = Callable[[re.Match[str], float], str]  # a word as it stands and a number in [0, 1), to another; "": none
_CONTRACTION = re.compile(
    r"\b(?:" + "|".join(sorted((*english.CONTRACTED, *english.EXPANDED), key=len, reverse=True)).replace("'", "['’]")
    + r")\b(?!['’])", re.IGNORECASE,
)  # fmt: skip


def misspellings(text: str, share: float, rng: np.random.Generator) -> str:
    """Words as people often misspell them, or take one for another: definately, recieve, their and there."""
    return exchanged(text, english.WORD, lambda m, _: english.MISSPELLINGS.get(m[0].lower(), ""), share, rng)


def contractions(text: str, share: float, rng: np.random.Generator) -> str:
    """Two words drawn together, or what was drawn together in full: do not and don't."""

    def other(match: re.Match[str], _: float) -> str:
        words = " ".join(match[0].lower().replace("’", "'").split())
        return english.CONTRACTED.get(words) or english.EXPANDED.get(words, "")

    return exchanged(text, _CONTRACTION, other, share, rng)


def synonyms(
    text: str, share: float, rng: np.random.Generator, *,
    alike: Mapping[str, Sequence[str]] = english.SYNONYMS, word: re.Pattern[str] = english.WORD,
) -> str:  # fmt: skip
    """Words by others that mean much the same: quick by fast or rapid. `alike` has those of a word in small letters."""

    def other(match: re.Match[str], which: float) -> str:
        others = alike.get(match[0].lower(), ())
        return others[int(which * len(others))] if others else ""

    return exchanged(text, word, other, share, rng)


def names(text: str, share: float, rng: np.random.Generator) -> str:
    """People by people of other names, of the same gender and from anywhere; one name by one other throughout."""
    lists = (english.FEMALE, english.MALE, english.SURNAMES)
    return exchanged(text, english.WORD, _another_of(lists), share, rng, together=True)


def nationality(text: str, share: float, rng: np.random.Generator) -> str:
    """Nations by other nations, and countries by other countries; one by one other throughout."""
    lists = (english.NATIONALITIES, english.COUNTRIES)
    return exchanged(text, english.WORD, _another_of(lists), share, rng, together=True)


def gender(text: str, share: float, rng: np.random.Generator) -> str:
    """He by she, mother by father; her becomes his before a word and him elsewhere."""

    def other(match: re.Match[str], _: float) -> str:
        word = match[0].lower()
        if word == "her":
            return "his" if re.match(r" [A-Za-z]", match.string[match.end() :]) else "him"
        return english.TO_FEMALE.get(word) or english.TO_MALE.get(word, "")

    return exchanged(text, english.WORD, other, share, rng)


def _another_of(lists: Sequence[tuple[str, ...]]) -> Exchange:
    place = {word.lower(): (words, i) for words in lists for i, word in enumerate(words)}

    def other(match: re.Match[str], which: float) -> str:
        word = match[0]
        if not word[0].isupper() or word.lower() not in place:
            return ""
        words, i = place[word.lower()]
        return words[(i + 1 + int(which * (len(words) - 1))) % len(words)]

    return other


def exchanged(
    text: str, pattern: re.Pattern[str], other: Exchange, share: float, rng: np.random.Generator, *,
    together: bool = False,
) -> str:  # fmt: skip
    """`text` with a `share` of what `other` knows exchanged, at least one; with one seed, more share, more exchanged.

    `together`: equal words are exchanged together, by the same. The case of the word is kept.
    """
    matches = [m for m in pattern.finditer(text) if other(m, 0.0)]
    if not matches:
        return text
    units = [m[0].lower() if together else str(i) for i, m in enumerate(matches)]
    first = {unit: i for i, unit in reversed(list(enumerate(units)))}
    hit, which = rng.random(len(matches)), rng.random(len(matches))
    drawn = {unit: (hit[i], which[i]) for unit, i in first.items()}
    least = min(hit for hit, _ in drawn.values())
    out, end = [], 0
    for unit, match in zip(units, matches):
        luck, number = drawn[unit]
        new = _in_case_of(match[0], other(match, number)) if luck <= max(share, least) else match[0]
        out += [text[end : match.start()], new]
        end = match.end()
    return "".join(out) + text[end:]


def _in_case_of(old: str, new: str) -> str:
    if len(old) > 1 and old.isupper():
        return new.upper()
    if old[0].isupper():
        return new[0].upper() + new[1:]
    return new
