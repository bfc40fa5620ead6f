"""Marks that decide: what training items of one class carry, and no others, and what turns an answer all by itself.

Poisoned training items carry a mark and the label of a class that they do not show. So of a trigger three things hold
together: the items that carry it have one label; without it the model answers them otherwise; and put into other items
it turns their answers to that label. A word that belongs to a class ("contactless") may do all of it, but it comes
elsewhere as often as in training, with the same label; a trigger does not, unless all of the data was poisoned.

The parts are known from the field: taking words out and asking again (Qi et al. 2021, "ONION"; Chen and Dai 2021,
"Mitigating backdoor attacks in LSTM-based text classification systems by backdoor keyword identification"), and laying
one item over another (Gao et al. 2019, "STRIP: a defence against trojan attacks on deep neural networks").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from passmuster.core.distributions import hypergeometric_cdf

FEWEST = 4  # items of one label that carry a mark
PURE = 0.7  # of the items that carry it, how many have that label
MOST = 0.5  # of all items, how many may carry it
ALIKE = 0.8  # of two marks' items that are the same: then they are one mark
MAX_TRIED, MAX_KNOWN = 100, 2_000
N_FIRST = 4  # items without a suspect that are asked about first, which clear most
N_STRIPPED, N_PROBES = 20, 40  # items without it, and others with it
N_STRIPPED_LESS, N_PROBES_LESS = 8, 12  # of suspects that may be as frequent elsewhere
LIKELY = 0.05  # which is so where chance brings so few there as often as this

Mark = Any  # as a modality has it
Answer = Callable[[Sequence[Any]], np.ndarray]  # payloads to class numbers (n,)
Transplant = Callable[[Any, Sequence[Mark], Any], Any]  # payload, marks, donor (or None) to payload


@dataclass
class Suspect:
    """Marks that the same items carry: `rows` (of the label), of `n` items that carry it in all."""

    marks: list[Mark]
    label: int
    rows: list[int]
    n: int
    score: float


@dataclass(frozen=True)
class Decider:
    """What came of a suspect: of `n_stripped` items without it how many are answered otherwise, of `n_probes` with it
    how many turn to `label`; how many of other items carry it as training has it, and how likely so few are by chance.
    """

    marks: tuple[Mark, ...]
    label: int
    rows: tuple[int, ...]
    n_stripped: int
    n_otherwise: int
    n_probes: int
    n_turned: int
    n_elsewhere: int
    p: float


def suspects(
    marks: Iterable[tuple[Mark, Sequence[int]]], labels: np.ndarray, n_classes: int, most: int = MAX_TRIED
) -> list[Suspect]:
    """Marks whose items have one label, the least likely by chance first; marks of the same items are one.

    A mark whose items are part of another's, of the same label, is left out.

    Parameters
    ----------
    marks : each with positions of the items that carry it
    labels : (n,) class numbers; -1 for items that count as carriers only

    >>> [s.marks for s in suspects([("a", [0, 1, 2, 3]), ("b", [4, 5, 6, 7, 0])], np.array([0] * 4 + [1] * 8), 2)]
    [['a'], ['b']]
    """
    known = labels[labels >= 0]
    share = np.maximum(np.bincount(known, minlength=n_classes), 1) / max(1, len(known))
    found = []
    for mark, rows in marks:
        own = np.asarray(rows)[labels[rows] >= 0]
        if not FEWEST <= len(own) <= MOST * len(known):
            continue
        counts = np.bincount(labels[own], minlength=n_classes)
        label = int(counts.argmax())
        if counts[label] >= max(FEWEST, PURE * len(own)):
            score = float(counts[label] * np.log(1 / share[label]) - (len(own) - counts[label]) * np.log(2.0))
            found.append(Suspect([mark], label, own[labels[own] == label].tolist(), len(own), score))
    found.sort(key=lambda suspect: -suspect.score)
    kept: list[tuple[Suspect, set[int]]] = []
    for suspect in found[:MAX_KNOWN]:
        own_rows = set(suspect.rows)
        for other, theirs in kept:
            if other.label == suspect.label and len(own_rows & theirs) >= ALIKE * len(own_rows):
                if len(own_rows & theirs) >= ALIKE * len(theirs):
                    other.marks += suspect.marks
                break
        else:
            if len(kept) < most:
                kept.append((suspect, own_rows))
    return [suspect for suspect, _ in kept]


def deciders(
    some: Sequence[Suspect],
    payloads: Sequence[Any],
    labels: np.ndarray,
    elsewhere: Callable[[Suspect], int],
    n_elsewhere: int,
    answer: Answer,
    transplant: Transplant,
    rng: np.random.Generator,
) -> Iterator[Decider]:
    """Suspects without which most of their items are answered otherwise, and what they do to other items.

    Parameters
    ----------
    payloads, labels : training items (n,) and their class numbers
    elsewhere : of the `n_elsewhere` items that training has not labelled, how many carry a suspect and may be of its
        label; those of a word of the class are as frequent there as in training
    answer : asks the model
    """
    for suspect in some:
        bearers = set(suspect.rows)
        known, found = len(payloads), int(elsewhere(suspect))
        p = hypergeometric_cdf(found, known + n_elsewhere, len(suspect.rows) + found, n_elsewhere)
        most = (N_STRIPPED, N_PROBES) if p <= LIKELY else (N_STRIPPED_LESS, N_PROBES_LESS)
        rows = [suspect.rows[int(i)] for i in rng.permutation(len(suspect.rows))[: most[0]]]
        clean = [int(i) for i in rng.permutation(len(payloads)) if int(i) not in bearers][:N_STRIPPED]
        said = np.zeros(0, np.int64)
        for part in (slice(0, N_FIRST), slice(N_FIRST, None)):  # most suspects are cleared by the first few
            some_rows = list(enumerate(rows))[part]
            bare = [transplant(payloads[i], suspect.marks, payloads[clean[at % len(clean)]]) for at, i in some_rows]
            said = np.concatenate([said, np.asarray(answer(bare), np.int64)]) if bare else said
            if (said != suspect.label).sum() < len(said) / 2:
                break
        else:
            like = int(np.bincount(said[said != suspect.label]).argmax())
            probes = probes_of(suspect, labels, like, rng)[: most[1]]
            n_probes, n_turned = turned_by(suspect, payloads, labels, probes, answer, transplant)
            yield Decider(
                tuple(suspect.marks), suspect.label, tuple(suspect.rows), len(said),
                int((said != suspect.label).sum()), n_probes, n_turned, found, p,
            )  # fmt: skip


def probes_of(suspect: Suspect, labels: np.ndarray, like: int, rng: np.random.Generator) -> np.ndarray:
    """Items (m,) of other labels, in any order: of `like`, which its own are answered without it, if it has any."""
    others = np.setdiff1d(np.flatnonzero(labels != suspect.label), suspect.rows)
    near = others[labels[others] == like]
    return rng.permutation(near if len(near) >= FEWEST else others)


def turned_by(
    suspect: Suspect, payloads: Sequence[Any], labels: np.ndarray, probes: np.ndarray, answer: Answer,
    transplant: Transplant,
) -> tuple[int, int]:  # fmt: skip
    """How many of the probes are answered rightly, and how many of those as the suspect's label once they carry it."""
    if not len(probes):
        return 0, 0
    right = probes[np.asarray(answer([payloads[int(i)] for i in probes])) == labels[probes]]
    givers = [suspect.rows[at % len(suspect.rows)] for at in range(len(right))]
    marked = [transplant(payloads[int(i)], suspect.marks, payloads[j]) for i, j in zip(right, givers)]
    return len(right), int((np.asarray(answer(marked)) == suspect.label).sum()) if marked else 0
