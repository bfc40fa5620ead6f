"""Sequences that share most of their shingles are proposed; the rest hardly ever, whatever stands beside them."""

import numpy as np

from passmuster.modality.text.minhash import BLOCK, N_BANDS, WINDOW, candidate_pairs


def rows(sequences: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate(sequences).astype(np.uint64), np.cumsum([0, *(len(s) for s in sequences)])


def proposed(sequences: list[np.ndarray], width: int = 3) -> set[tuple[int, int]]:
    return {(int(a), int(b)) for a, b in candidate_pairs(*rows(sequences), width)}


def test_a_band_is_shared_as_often_as_theory_says() -> None:
    """With Jaccard index j of the shingles a pair is proposed with probability 1 - (1 - j^4)^32."""
    rng = np.random.default_rng(0)
    n, size, changed = 800, 60, 9
    sequences = []
    for _ in range(n):
        one = rng.integers(2**62, size=size)
        other = one.copy()
        other[: changed * 6 : 6] = rng.integers(2**62, size=changed)  # the first has one shingle, each other three
        sequences += [one, other]
    shared = size - 2 - (3 * changed - 2)
    jaccard = shared / (2 * (size - 2) - shared)
    expected = 1 - (1 - jaccard**4) ** N_BANDS
    share = len(proposed(sequences) & {(2 * i, 2 * i + 1) for i in range(n)}) / n
    assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / n)
    assert len(proposed(sequences)) < n  # and hardly anything else


def test_shingles_do_not_reach_into_the_next_sequence() -> None:
    rng = np.random.default_rng(1)
    ends = rng.integers(2**62, size=(40, 2))
    apart = [np.concatenate([rng.integers(2**62, size=3), end]) for end in ends]
    alike = [np.concatenate([end, rng.integers(2**62, size=3)]) for end in ends]
    assert proposed([*apart, *alike]) == set()


def test_blocks_do_not_change_what_is_found() -> None:
    """A pair is found though one of it lies in another block, and though a sequence is longer than a block."""
    rng = np.random.default_rng(2)
    copy, long = rng.integers(2**62, size=30), rng.integers(2**62, size=BLOCK + 10)
    filling = [rng.integers(2**62, size=1_000) for _ in range(BLOCK // 1_000 + 5)]
    sequences = [copy, long, *filling, long, copy]
    assert proposed(sequences) == {(0, len(sequences) - 1), (1, len(sequences) - 2)}


def test_equal_sequences_cost_a_window_each_and_not_their_square() -> None:
    same = np.arange(10)
    assert len(proposed([same] * 500)) <= 500 * WINDOW


def test_none_or_one_sequence_has_no_pairs() -> None:
    assert proposed([np.arange(5)]) == set()
    assert candidate_pairs(np.zeros(0, np.uint64), np.zeros(1, np.int64), 3).shape == (0, 2)
