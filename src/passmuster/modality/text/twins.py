"""Near-duplicate texts: MinHash proposes, exact set similarity confirms.

Shingles are three words; texts of fewer than five words are cut into four-character shingles instead. Texts are read
once and kept as numbers of their words, so that a million of them take less memory than their characters.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

import numpy as np

from passmuster.core.records import Payload
from passmuster.modality.base import Twins
from passmuster.modality.text.minhash import candidate_pairs

MIN_WORDS = 5  # fewer words: shingles of characters
LONG_WORDS = 20  # from here on single words carry the comparison, which an edited word in ten does not break
SHINGLE_WORDS, SHINGLE_CHARS = 3, 4
KEPT_SHINGLES = 4_096  # texts whose shingles wait for their next comparison

_WORD = re.compile(r"\w+")


def find_twins(payloads: Sequence[Payload], similarity: float) -> list[Twins]:
    """Confirmed pairs of near copies among texts, each pair once with ``a < b``.

    Texts that differ in case, punctuation or spacing only are paired with the first of their kind. Others are pairs
    when their similarity (see `text_similarity`) reaches `similarity`.

    >>> find_twins(["Hello dear world, how are you?", "hello dear world how are you", "Something else"], 0.8)
    [Twins(a=0, b=1, similarity=1.0, how='same words')]
    """
    words = Words.of(payloads)
    twins, unique = _same_words(words)
    sizes = words.sizes[unique]
    for short in (True, False):
        chosen = unique[(sizes < MIN_WORDS) == short]
        twins += _near(words, chosen, similarity, short=short)
    return sorted(twins, key=lambda t: (t.a, t.b))


@dataclass(frozen=True)
class Words:
    """The lower-case words of many texts: `numbers` (words,) of all texts in a row, `starts` (n + 1,) of each text."""

    vocabulary: list[str]
    numbers: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, payloads: Iterable[Payload]) -> Words:
        known = _Numbers()
        numbers, starts = array("i"), array("q", [0])
        for text in payloads:
            numbers.extend(map(known.__getitem__, _WORD.findall(str(text).lower())))
            starts.append(len(numbers))
        return cls(list(known), np.frombuffer(numbers, np.int32), np.frombuffer(starts, np.int64))

    @property
    def sizes(self) -> np.ndarray:
        """Number of words of each text (n,)."""
        return np.diff(self.starts)

    def part(self, text: int) -> np.ndarray:
        """The numbers of one text's words, in order."""
        return self.numbers[self.starts[text] : self.starts[text + 1]]

    def tuple(self, text: int) -> tuple[str, ...]:
        """One text's words, in order."""
        return tuple(self.vocabulary[number] for number in self.part(text).tolist())


class _Numbers(dict[str, int]):
    """Words numbered in the order in which they are asked for."""

    def __missing__(self, word: str) -> int:
        self[word] = number = len(self)
        return number


def text_similarity(
    a_words: tuple[str, ...], b_words: tuple[str, ...], a: frozenset[str], b: frozenset[str]
) -> tuple[float, str]:
    """The largest measure of sameness that the two texts' lengths allow, in [0, 1], and its name.

    Always the Jaccard index of shingles; for two long texts (20 words or more) also that of the words they hold, with
    multiplicity, and how much of the shorter one's shingles the longer contains.
    """
    shared = len(a & b)
    measures = [(shared / max(1, len(a) + len(b) - shared), "shingles (Jaccard)")]
    if min(len(a_words), len(b_words)) >= LONG_WORDS:
        common = sum((Counter(a_words) & Counter(b_words)).values())
        measures.append((common / (len(a_words) + len(b_words) - common), "words (Jaccard)"))
        measures.append((shared / min(len(a), len(b)), "contained"))
    return max(measures)


def _same_words(words: Words) -> tuple[list[Twins], np.ndarray]:
    """Texts of the same words as an earlier one, and the positions of the others that have words."""
    first: dict[bytes, int] = {}
    twins, unique = [], []
    for position in np.flatnonzero(words.sizes).tolist():
        name = blake2b(words.part(position).tobytes(), digest_size=16).digest()
        if (known := first.setdefault(name, position)) == position:
            unique.append(position)
        else:
            twins.append(Twins(known, position, 1.0, "same words"))
    return twins, np.array(unique, dtype=np.int64)


def _near(words: Words, chosen: np.ndarray, similarity: float, *, short: bool) -> Iterator[Twins]:
    """Pairs among `chosen` texts, all short or none, that are similar enough."""
    if short:
        values, sizes, width = *_characters(words, chosen), SHINGLE_CHARS
    else:
        values, sizes, width = *_hashed(words, chosen), SHINGLE_WORDS

    @lru_cache(maxsize=KEPT_SHINGLES)
    def seen(position: int) -> tuple[tuple[str, ...], frozenset[str]]:
        own = words.tuple(position)
        return own, _shingles(own)

    for i, j in candidate_pairs(values, np.concatenate([[0], np.cumsum(sizes)]), width):
        a, b = int(chosen[i]), int(chosen[j])
        (a_words, a_shingles), (b_words, b_shingles) = seen(a), seen(b)
        value, how = text_similarity(a_words, b_words, a_shingles, b_shingles)
        if value >= similarity:
            yield Twins(a, b, value, how)


def _shingles(words: tuple[str, ...]) -> frozenset[str]:
    if len(words) >= MIN_WORDS:
        return frozenset(" ".join(words[i : i + SHINGLE_WORDS]) for i in range(len(words) - SHINGLE_WORDS + 1))
    joined = _joined(words)
    return frozenset(joined[i : i + SHINGLE_CHARS] for i in range(len(joined) - SHINGLE_CHARS + 1))


def _joined(words: tuple[str, ...]) -> str:
    return f" {' '.join(words)} ".ljust(SHINGLE_CHARS)


def _characters(words: Words, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The characters of these texts in a row, as numbers, and how many each has."""
    joined = [_joined(words.tuple(position)) for position in chosen.tolist()]
    codes = np.frombuffer("".join(joined).encode("utf-32-le", "surrogatepass"), np.uint32)
    return codes.astype(np.uint64), np.array([len(text) for text in joined], dtype=np.int64)


def _hashed(words: Words, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The words of these texts in a row, as numbers that do not depend on the other texts, and how many each has."""
    named = b"".join(
        blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest() for word in words.vocabulary
    )
    sizes = words.sizes
    kept = np.zeros(len(sizes), bool)
    kept[chosen] = True
    inside = np.repeat(kept, sizes)
    return np.frombuffer(named, np.uint64)[words.numbers[inside]], sizes[chosen]
