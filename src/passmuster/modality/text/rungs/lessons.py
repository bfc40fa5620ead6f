"""What a text encoder is taught from raw texts: which two halves are of one text, and words that were hidden.

Every step is a pure function of the pool, the seed and the step's number: which texts, what is hidden, how they are
halved. So a killed run needs nothing but its weights to go on, and CPU and card read the same lessons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from passmuster.modality.text.rungs import modernbert
from passmuster.modality.text.rungs.modernbert import Packed, Shape, pack
from passmuster.modality.text.rungs.own_tokenizer import MASK, SPECIAL

HIDDEN_SHARE = 0.3  # of a text's words, as ModernBERT hides, where words are hidden
MASKED, REPLACED = 0.8, 0.1  # of them, as BERT does (Devlin et al. 2019); the rest stand as they are
LENGTH_JITTER = 0.25  # texts of like length share a batch, and others in every pass
TEMPERATURE = 0.05  # of the cosine between half texts (Gao et al. 2021)


@dataclass(frozen=True)
class Pool:
    """Texts as tokens in one row (t,) uint16, where each begins (n + 1,), and how often each word occurs (words,)."""

    tokens: np.ndarray
    borders: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, texts: Iterable[Sequence[int]], n_words: int) -> Pool:
        """The texts that have two words at least, special ones not counted."""
        kept = [np.asarray(text, np.uint16) for text in texts if len(text) >= 4]
        tokens = np.concatenate(kept) if kept else np.zeros(0, np.uint16)
        counts = np.bincount(tokens, minlength=n_words)
        counts[: len(SPECIAL)] = 0
        return cls(tokens, np.concatenate([[0], np.cumsum([len(text) for text in kept])]).astype(np.int64), counts)

    def __len__(self) -> int:
        return len(self.borders) - 1

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.borders)

    def read(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The tokens (m,) of the texts `chosen`, one text after the other, and whose they are: 0, 1, …"""
        lengths = self.lengths[chosen]
        owners = np.repeat(np.arange(len(chosen)), lengths)
        within = np.arange(len(owners)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return self.tokens[self.borders[chosen][owners] + within].astype(np.int64), owners


@dataclass(frozen=True)
class Lesson:
    """One step's work.

    batch : what the network reads
    places, words : (m,) where a word was hidden, and which it was
    halves : (texts, 2) the numbers in `batch` of the halves of one text
    """

    batch: Packed
    places: Any
    words: Any
    halves: Any


def course(pool: Pool, tokens_per_step: int, seed: int) -> tuple[int, Callable[[int], np.ndarray]]:
    """How many steps one pass over the pool takes, and the function from a step's number to its texts.

    The steps of a pass hold about equally many tokens, of texts of like length.

    >>> n_steps, texts_of = course(Pool.of([[1, 9, 9, 2]] * 6, 10), 8, 0)
    >>> n_steps, sorted(np.concatenate([texts_of(i) for i in (3, 4, 5)]).tolist())
    (3, [0, 1, 2, 3, 4, 5])
    """
    lengths = pool.lengths
    n_steps = int(max(1, lengths.sum() // max(tokens_per_step, 2 * lengths.max(initial=1))))

    @lru_cache(maxsize=1)
    def steps_of(number: int) -> list[np.ndarray]:
        rng = np.random.default_rng([seed, 0, number])
        order = np.argsort(lengths * rng.uniform(1 - LENGTH_JITTER, 1 + LENGTH_JITTER, len(lengths)), kind="stable")
        middle = np.cumsum(lengths[order]) - lengths[order] / 2
        part = np.minimum(n_steps - 1, (middle * n_steps / lengths.sum()).astype(np.int64))
        starts = np.searchsorted(part, np.arange(1, n_steps))
        parts = np.split(order, starts)
        return [parts[i] for i in rng.permutation(n_steps)]

    return n_steps, lambda step: steps_of(step // n_steps)[step % n_steps]


def lesson(
    pool: Pool,
    chosen: np.ndarray,
    step: int,
    seed: int,
    *,
    hidden_share: float,
    device: str = "cpu",
) -> Lesson:
    """Read the `chosen` texts in halves, and hide that share of their words.

    Each word of a text goes to one half or the other at random. So what tells that two halves belong together is which
    words keep company; two copies of a text would be told by having the same words.
    """
    import torch

    rng = np.random.default_rng([seed, 1, step])
    words, owners = pool.read(chosen)
    side, ends = rng.random(len(words)) < 0.5, words < len(SPECIAL)
    parts = (ends | side, ends | ~side)
    words = np.concatenate([words[part] for part in parts])
    owners = np.concatenate([owners[part] + i * len(chosen) for i, part in enumerate(parts)])
    lengths = np.bincount(owners, minlength=2 * len(chosen))
    order = np.argsort(lengths, kind="stable")
    place = np.argsort(order, kind="stable")
    words = words[np.argsort(place[owners], kind="stable")]
    hidden = np.flatnonzero((words >= len(SPECIAL)) & (rng.random(len(words)) < hidden_share))
    shown, fate = words.copy(), rng.random(len(hidden))
    shown[hidden[fate < MASKED]] = MASK
    replaced = hidden[(fate >= MASKED) & (fate < MASKED + REPLACED)]
    shown[replaced] = rng.choice(len(pool.counts), len(replaced), p=pool.counts / pool.counts.sum())
    batch = pack(shown, lengths[order], device)
    rows = (hidden, words[hidden], np.ascontiguousarray(place.reshape(2, -1).T))
    return Lesson(batch, *(torch.from_numpy(row).to(device) for row in rows))


def loss_of(net: Any, shape: Shape, given: Lesson) -> Any:
    """Nats per half of finding the other in the batch, and where words are hidden, nats per hidden word besides."""
    import torch
    from torch.nn import functional

    x = modernbert.forward(net, shape, given.batch)
    means = functional.normalize(modernbert.mean_of_texts(x, given.batch), dim=1)
    alike = means[given.halves[:, 0]] @ means[given.halves[:, 1]].T / TEMPERATURE
    own = torch.arange(len(alike), device=alike.device)
    loss = (functional.cross_entropy(alike, own) + functional.cross_entropy(alike.T, own)) / 2
    if len(given.places):
        loss = loss + functional.cross_entropy(modernbert.word_logits(net, x[given.places]).float(), given.words)
    return loss
