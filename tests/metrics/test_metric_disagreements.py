"""What labels say of two versions where they were asked for unequally: rates whose intervals hold the truth."""

from __future__ import annotations

import numpy as np
import pytest

from passmuster.core.sampling import draw, inclusion_probabilities
from passmuster.metrics.disagreements import read_by_disagreements, told_by_disagreements
from passmuster.metrics.versions import Comparison, compare

N, N_LABELS, N_RUNS = 800, 200, 300
DIFFER, LOSS, GAIN = 0.14, 0.05, 0.02  # of all: answered differently, right to wrong, and net


def drawn(seed: int) -> tuple[Comparison, Comparison]:
    """A test of which items that the two answer differently were asked for more often, and of those some more still:
    read as if each label counted alike, and by what the disagreements tell."""
    rng = np.random.default_rng(seed)
    better = LOSS + GAIN
    kind = rng.choice(4, N, p=[1 - DIFFER, better, LOSS, DIFFER - better - LOSS])
    truth = np.where(rng.random(N) < 0.3, "c", "a")
    new = np.select([kind == 2, kind == 3], ["x", "x"], truth)
    old = np.select([kind == 1, kind == 3], ["y", "y"], truth)
    both_wrong = (kind == 0) & (rng.random(N) < 0.25)
    new, old = np.where(both_wrong, "z", new), np.where(both_wrong, "z", old)
    doubt = rng.uniform(0.5, 1.5, N) * np.where(kind == 2, 1.5, 1.0)  # what got worse looks doubtful
    chances = inclusion_probabilities(np.where(new != old, 0.5 / DIFFER, 0.5 / (1 - DIFFER)) * doubt, N_LABELS)
    at = draw(chances, rng)
    rest = np.setdiff1d(np.arange(N), at)
    said = truth[at].tolist(), new[at].tolist(), old[at].tolist()
    plain = compare(*said, rng=rng)
    told = told_by_disagreements(
        *said, 1 / chances[at], n_rest=len(rest), n_rest_differ=int((new[rest] != old[rest]).sum())
    )
    return plain, read_by_disagreements(plain, told, {"n": 1.0})


def test_intervals_hold_the_truth_where_each_label_alike_does_not() -> None:
    runs = [drawn(seed) for seed in range(N_RUNS)]

    def covered(which: int, name: str, value: float) -> float:
        found = [getattr(run[which], name) for run in runs]
        return float(np.mean([one.low <= value <= one.high for one in found]))

    assert 0.92 <= covered(1, "negative_flips", LOSS) <= 0.985
    assert 0.92 <= covered(1, "difference", GAIN) <= 0.985
    assert covered(0, "negative_flips", LOSS) < 0.1, "labels that were asked for where the two differ are no sample"
    flips = [run[1].negative_flips.value for run in runs]
    assert np.mean(flips) == pytest.approx(LOSS, abs=0.003)


def test_a_wholly_labelled_test_reads_as_it_counts() -> None:
    rng = np.random.default_rng(0)
    said = tuple(rng.choice(list("ab"), (3, 200)).tolist())
    plain = compare(*said, rng=rng)
    told = told_by_disagreements(*said, rng.uniform(1, 9, 200), n_rest=0, n_rest_differ=0)
    found = read_by_disagreements(plain, told, {})
    assert found.negative_flips.value == pytest.approx(plain.negative_flips.value)
    assert found.difference.value == pytest.approx(plain.difference.value)
    assert found.p_mcnemar == plain.p_mcnemar
    for name in ("negative_flips", "difference"):
        one, other = getattr(found, name), getattr(plain, name)
        assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=2e-3)


def test_without_a_labelled_disagreement_it_stays_as_it_was() -> None:
    plain = compare(["a"] * 4, ["a"] * 4, ["a"] * 4, rng=np.random.default_rng(0))
    told = told_by_disagreements(["a"] * 4, ["a"] * 4, ["a"] * 4, np.ones(4), n_rest=9, n_rest_differ=3)
    assert told is None
    assert read_by_disagreements(plain, told, {}) is plain
