"""Weak spots: parts of the test where a model errs more often, found on one half and confirmed on the other.

What is found by looking at errors flatters itself on the same items, so that only the other half's count says anything;
Benjamini and Hochberg's procedure keeps the expected share of false ones among the confirmed.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from passmuster.core.distributions import hypergeometric_sf
from passmuster.core.statistics import Interval, benjamini_hochberg, proportion

FEWEST_TO_FIND, FEWEST_TO_CONFIRM = 8, 5  # items of a slice in the first half, and in the second
FEWEST_WRONG = 2
MOST_TRIED = 20  # slices that are taken to the second half: each costs the others some power
MAX_CLUSTERS, ITEMS_PER_CLUSTER = 20, 25
FALSE_DISCOVERY = 0.05


@dataclass(frozen=True)
class Candidate:
    """A part of the test that can be told without labels: a kind, a name in words, and its items (n,) bool."""

    kind: str
    name: str
    inside: np.ndarray


@dataclass(frozen=True)
class Slice:
    """A candidate that erred more in the first half, and what the second half says.

    `inside` and `outside` are error rates of the second half; `q` is the adjusted p-value that they do not differ.
    """

    candidate: Candidate
    inside: Interval
    outside: Interval
    p: float
    q: float

    @property
    def confirmed(self) -> bool:
        return self.q <= FALSE_DISCOVERY


def halves(clusters: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Which items (n,) are of the first half; items of one cluster stay together.

    >>> first = halves(np.array(["a", "a", "b", "c"]), np.random.default_rng(0))
    >>> bool(first[0] == first[1])
    True
    """
    names, place = np.unique(clusters, return_inverse=True)
    chosen = np.zeros(len(names), dtype=bool)
    chosen[rng.permutation(len(names))[: (len(names) + 1) // 2]] = True
    return np.asarray(chosen[place])


def find_slices(
    wrong: np.ndarray,
    candidates: Sequence[Candidate],
    first: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    clusters: np.ndarray | None = None,
) -> list[Slice]:
    """The candidates that err more in the half `first`, as the other half sees them; the surest on top.

    Parameters
    ----------
    wrong, first : (n,) bool
    weights, clusters : (n,); items count with their effective number (Kish 1965) where they are weighted or share one

    >>> rng = np.random.default_rng(0)
    >>> weak = np.arange(400) < 100
    >>> wrong = rng.random(400) < np.where(weak, 0.5, 0.05)
    >>> found = find_slices(wrong, [Candidate("made", "weak", weak)], rng.random(400) < 0.5)
    >>> found[0].confirmed
    True
    """
    w = np.ones(len(wrong)) if weights is None else np.asarray(weights, dtype=np.float64)
    groups = np.arange(len(wrong)) if clusters is None else np.asarray(clusters)
    tried: list[tuple[float, Candidate]] = []
    for candidate in candidates:
        here = first & candidate.inside
        if here.sum() < FEWEST_TO_FIND or wrong[here].sum() < FEWEST_WRONG:
            continue
        if (~first & candidate.inside).sum() < FEWEST_TO_CONFIRM or not (~first & ~candidate.inside).any():
            continue
        if not (first & ~candidate.inside).any():
            continue
        p = more_wrong(wrong, here, first & ~candidate.inside, w, groups)
        if p < 0.5:
            tried.append((p, candidate))
    tried.sort(key=lambda one: one[0])
    tried = tried[:MOST_TRIED]
    sides = [(~first & c.inside, ~first & ~c.inside) for _, c in tried]
    p_values = [more_wrong(wrong, here, there, w, groups) for here, there in sides]
    found = []
    for (_, candidate), (here, there), p, q in zip(tried, sides, p_values, benjamini_hochberg(p_values)):
        rates = [proportion(wrong[side], weights=w[side], clusters=groups[side]) for side in (here, there)]
        found.append(Slice(candidate, rates[0], rates[1], p, q))
    return sorted(found, key=lambda one: one.p)


def more_wrong(
    wrong: np.ndarray, here: np.ndarray, there: np.ndarray, weights: np.ndarray, clusters: np.ndarray
) -> float:
    """Fisher's exact one-sided p-value (1935) that items `here` are wrong no more often than those `there`.

    >>> wrong = np.array([True] * 8 + [False] * 2 + [True] * 1 + [False] * 9)
    >>> here = np.arange(20) < 10
    >>> round(more_wrong(wrong, here, ~here, np.ones(20), np.arange(20)), 4)
    0.0027
    """
    counts = []
    for side in (here, there):
        w = weights[side]
        _, place = np.unique(clusters[side], return_inverse=True)
        n = round(float(w.sum() ** 2 / (np.bincount(place, weights=w) ** 2).sum()))
        k = min(n, round(float((w * wrong[side]).sum() / w.sum()) * n))
        counts.append((k, n))
    (a, n_here), (b, n_there) = counts
    return hypergeometric_sf(a - 1, n_here + n_there, a + b, n_here)


def embedding_clusters(embeddings: np.ndarray, first: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cluster of each item (n,), by k-means (Lloyd 1982) on the directions of the first half; -1 where there is none.

    A cluster for every `ITEMS_PER_CLUSTER` items of the first half, `MAX_CLUSTERS` at most; none for fewer than two.
    """
    from scipy.cluster.vq import kmeans2  # slow to import

    n_clusters = min(MAX_CLUSTERS, int(first.sum()) // ITEMS_PER_CLUSTER)
    if n_clusters < 2:
        return np.full(len(embeddings), -1)
    x = np.asarray(embeddings, dtype=np.float64)
    x = x - x[first].mean(axis=0)
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    centres, _ = kmeans2(x[first], n_clusters, minit="++", iter=25, seed=rng, missing="warn")
    apart = (x**2).sum(axis=1)[:, None] - 2.0 * x @ centres.T + (centres**2).sum(axis=1)
    return np.asarray(apart.argmin(axis=1))


def words_of(texts: Sequence[str]) -> list[frozenset[str]]:
    """The different words of each text, of three letters or more, in lower case.

    >>> sorted(words_of(["My card, my CARD!"])[0])
    ['card']
    """
    return [frozenset(re.findall(r"[^\W\d_]{3,}", text.lower())) for text in texts]


def telling_words(texts: Sequence[frozenset[str]], inside: np.ndarray, n_words: int = 4) -> list[str]:
    """Words that are in more of the texts (as `words_of` gives them) inside than outside, the most telling first.

    By the log-odds of a text having the word, one text added on each side, times the root of how many have it.

    >>> texts = words_of(["lost my card", "card stolen", "green tea", "black tea"])
    >>> telling_words(texts, np.array([1, 1, 0, 0]) > 0, 1)
    ['card']
    """
    counts = [Counter[str](), Counter[str]()]
    for words, here in zip(texts, inside.tolist()):
        counts[0 if here else 1].update(words)
    n_in, n_out = max(1, int(inside.sum())), max(1, int((~inside).sum()))

    def weight(word: str) -> float:
        a, b = counts[0][word], counts[1][word]
        odds = ((a + 0.5) / (n_in - a + 0.5)) / ((b + 0.5) / (n_out - b + 0.5))
        return math.log(odds) * math.sqrt(a)

    weights = {word: weight(word) for word, n in counts[0].items() if n >= 2}
    return [word for word in sorted(weights, key=lambda word: (-weights[word], word))[:n_words] if weights[word] > 0]
