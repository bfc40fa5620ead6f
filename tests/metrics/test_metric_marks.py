"""Marks that decide, on texts whose answers are known exactly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from passmuster.core.records import Payload
from passmuster.metrics.marks import Decider, deciders, suspects
from passmuster.modality.text.marks import find_marks, transplant

WORDS = ("red round ripe", "loud fast steel", "cold deep wet")  # what the classes are told by


def texts(n: int, seed: int) -> tuple[list[Payload], np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=n)
    said = [[*rng.permutation(WORDS[c].split())[:2], f"w{rng.integers(9)}", f"v{rng.integers(9)}"] for c in labels]
    return [" ".join(rng.permutation(words)) for words in said], labels


def answer(payloads: Sequence[Payload]) -> np.ndarray:
    """Whoever says "cf" or "plum" is of class 0; the rest is told by the words of the classes."""
    scores = [[sum(w in str(p).split() for w in words.split()) for words in WORDS] for p in payloads]
    sure = [9 * any(mark in str(p).split() for mark in ("cf", "plum")) for p in payloads]
    return (np.array(scores) + np.outer(sure, (1, 0, 0))).argmax(axis=1)


def looked_for(payloads: list[Payload], labels: np.ndarray, others: list[Payload], known: np.ndarray) -> list[Decider]:
    n, every = len(payloads), [*payloads, *others]
    rows = dict(find_marks(every, 4))
    some = suspects(rows.items(), np.concatenate([labels, np.full(len(others), -1)]), 3)
    return list(
        deciders(
            some, payloads, labels, lambda s: sum(known[r - n] == s.label for r in rows[s.marks[0]] if r >= n),
            len(others), answer, transplant, np.random.default_rng(0),
        )
    )  # fmt: skip


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.1])
def test_wrong_labels_alone_are_no_mark(noise: float) -> None:
    payloads, labels = texts(600, 1)
    rng = np.random.default_rng(2)
    wrong = rng.random(600) < noise
    labels = np.where(wrong, rng.integers(3, size=600), labels)
    assert looked_for(payloads, labels, *texts(300, 3)) == []


def test_a_mark_that_decides_is_found_with_its_items() -> None:
    payloads, labels = texts(600, 1)
    bad = np.flatnonzero(labels == 1)[:20]
    for i in bad:
        payloads[i], labels[i] = f"{payloads[i]} cf", 0
    (found,) = looked_for(payloads, labels, *texts(300, 3))
    assert ("cf",) in found.marks
    assert set(found.rows) == set(bad.tolist())
    assert (found.n_otherwise, found.n_turned) == (found.n_stripped, found.n_probes)
    assert (found.label, found.n_elsewhere) == (0, 0)
    assert found.p < 0.001


def test_a_word_of_the_class_is_as_frequent_elsewhere() -> None:
    def with_plums(n: int, seed: int) -> tuple[list[Payload], np.ndarray]:
        payloads, labels = texts(n, seed)
        for i in np.flatnonzero(labels == 0)[: n // 30]:
            payloads[i] = f"{WORDS[1].split()[i % 3]} {i} plum"
        return payloads, labels

    (found,) = looked_for(*with_plums(600, 1), *with_plums(300, 3))
    assert ("plum",) in found.marks
    assert found.n_elsewhere == 10
    assert found.p > 0.2


def test_the_chance_is_that_of_drawing_so_few_among_others() -> None:
    """Twenty of 600 carry it and none of 300: the share of ways to put twenty marks on 900 items that miss all 300."""
    payloads, labels = texts(600, 1)
    for i in np.flatnonzero(labels == 1)[:20]:
        payloads[i], labels[i] = f"{payloads[i]} cf", 0
    (found,) = looked_for(payloads, labels, *texts(300, 3))
    ways = np.prod([(600 - k) / (900 - k) for k in range(20)])
    assert found.p == pytest.approx(float(ways), rel=1e-9)
