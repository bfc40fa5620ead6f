"""Near-duplicate texts: MinHash proposes, exact set similarity confirms.

Signatures: shingles of three words, 128 permutations in 32 bands of 4 rows (Broder 1997; Leskovec, Rajaraman & Ullman,
"Mining of massive datasets", ch. 3). Texts of fewer than five words are cut into four-character shingles instead.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from passmuster.core.records import Payload
from passmuster.modality.base import Twins

N_PERMUTATIONS, N_BANDS = 128, 32
MIN_WORDS = 5  # fewer words: shingles of characters
LONG_WORDS = 20  # from here on single words carry the comparison, which an edited word in ten does not break
WINDOW = 24  # neighbours tried within one bucket of candidates, so that a template does not cost its square
SEED = 20_111

_WORD = re.compile(r"\w+")


def find_twins(payloads: Sequence[Payload], similarity: float) -> list[Twins]:
    """Confirmed pairs of near copies among texts, each pair once with ``a < b``.

    Texts that differ in case, punctuation or spacing only are paired with the first of their kind. Others are pairs
    when their similarity (see `text_similarity`) reaches `similarity`.

    >>> find_twins(["Hello dear world, how are you?", "hello dear world how are you", "Something else"], 0.8)
    [Twins(a=0, b=1, similarity=1.0, how='same words')]
    """
    words = [tuple(_WORD.findall(str(text).lower())) for text in payloads]
    first: dict[tuple[str, ...], int] = {}
    twins: list[Twins] = []
    for position, key in enumerate(words):
        if key and (known := first.setdefault(key, position)) != position:
            twins.append(Twins(known, position, 1.0, "same words"))
    unique = list(first.values())
    for short in (True, False):
        chosen = [p for p in unique if (len(words[p]) < MIN_WORDS) == short]
        shingles = [_shingles(words[p]) for p in chosen]
        for i, j in _candidates(shingles):
            value, how = text_similarity(words[chosen[i]], words[chosen[j]], shingles[i], shingles[j])
            if value >= similarity:
                a, b = sorted((chosen[i], chosen[j]))
                twins.append(Twins(a, b, value, how))
    return sorted(twins, key=lambda t: (t.a, t.b))


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


def _shingles(words: tuple[str, ...]) -> frozenset[str]:
    if len(words) >= MIN_WORDS:
        return frozenset(" ".join(words[i : i + 3]) for i in range(len(words) - 2))
    joined = f" {' '.join(words)} "
    return frozenset(joined[i : i + 4] for i in range(max(1, len(joined) - 3)))


def _candidates(shingles: list[frozenset[str]]) -> Iterator[tuple[int, int]]:
    """Pairs that share at least one band of their signatures, each once."""
    if len(shingles) < 2:
        return
    from rensa import RMinHash

    rows = N_PERMUTATIONS // N_BANDS
    matrix = RMinHash.digest_matrix_from_token_sets([sorted(s) for s in shingles], N_PERMUTATIONS, SEED)
    signatures = np.asarray(matrix.to_rows(), dtype=np.uint32)  # (n, 128)
    seen: set[int] = set()
    n = len(shingles)
    for band in range(N_BANDS):
        part = np.ascontiguousarray(signatures[:, band * rows : (band + 1) * rows])
        keys = part.view(np.dtype((np.void, part.itemsize * rows))).ravel()
        order = np.argsort(keys, kind="stable")
        same = np.concatenate([[False], keys[order][1:] == keys[order][:-1], [False]])
        starts = np.flatnonzero(~same[:-1] & same[1:])
        for start in starts:
            end = start + 1
            while same[end]:
                end += 1
            bucket = order[start:end].tolist()
            for i, a in enumerate(bucket):
                for b in bucket[i + 1 : i + 1 + WINDOW]:
                    code = a * n + b if a < b else b * n + a
                    if code not in seen:
                        seen.add(code)
                        yield (a, b) if a < b else (b, a)
