"""Each class left out in turn: what is found for all classes at once is what each fit alone finds."""

from __future__ import annotations

import numpy as np
import pytest

from passmuster.core.errors import DataError
from passmuster.metrics.novelty import detectors, left_out, scores_left_out

Case = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def case(seed: int, *, n: int = 300, d: int = 12, c: int = 5) -> Case:
    """Items of c classes and strange ones between them, logits of a linear head."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(c, d))
    rows = np.concatenate([centres[rng.integers(0, c, n)] + 0.6 * rng.normal(size=(n, d)) for _ in "ab"])
    logits = rows @ centres.T
    return rows[:n], logits[:n], rows[n:], logits[n:]


def alone(name: str, c: int, x: np.ndarray, z: np.ndarray, new: np.ndarray, new_z: np.ndarray) -> np.ndarray:
    """The slow way: fitted on the rest."""
    keep, others = z.argmax(axis=1) != c, np.arange(z.shape[1]) != c
    arrays = detectors[name].fit(x[keep], z[keep][:, others])
    return detectors[name].score(arrays, new, new_z[:, others])


@pytest.mark.parametrize("kind", ["usual", "few", "flat", "wide", "zeros", "float32"])
def test_every_detector_scores_as_if_it_were_fitted_on_the_rest(kind: str) -> None:
    shapes = {"few": {"n": 40}, "wide": {"n": 60, "d": 90}}
    for seed in range(4):
        x, z, new, new_z = case(seed, **shapes.get(kind, {}))
        if kind == "flat":  # hardly any variance in half of the directions: they are held back
            x, new = (np.concatenate([rows[:, :6], 1e-6 * rows[:, 6:]], axis=1) for rows in (x, new))
        if kind == "zeros":
            x[3] = 0.0
        if kind == "float32":
            x, z, new, new_z = (rows.astype(np.float32) for rows in (x, z, new, new_z))
        found = scores_left_out(detectors.names(), (x, z), (new, new_z), [0, 2, 4])
        assert list(found) == detectors.names()
        for name, rows in found.items():
            for row, c in zip(rows, [0, 2, 4], strict=True):
                np.testing.assert_allclose(row, alone(name, c, x, z, new, new_z), rtol=1e-8, atol=1e-8, err_msg=name)


def test_what_can_be_shared_is_shared() -> None:
    x, z, _, _ = case(0)
    shared = {name for _, names in left_out._shared(x, z.argmax(axis=1), [0, 1]) for name in names}
    assert shared == {"centroid.v1", "knn.v1", "mahalanobis.v1", "rmds.v1"}


def test_a_broken_item_is_never_ordinary() -> None:
    x, z, new, new_z = case(1)
    new[5], new_z[5] = np.nan, np.nan
    for name, rows in scores_left_out(detectors.names(), (x, z), (new, new_z), [1]).items():
        assert np.flatnonzero(np.isinf(rows[0])).tolist() == [5], name


def test_where_every_item_is_of_the_class_there_is_no_score() -> None:
    x, z, new, new_z = case(2)
    z[:, 1] += 100.0
    found = scores_left_out(["knn.v1", "msp.v1"], (x, z), (new, new_z), [0, 1])
    for rows in found.values():
        assert np.isfinite(rows[0]).all()
        assert np.isnan(rows[1]).all()


def test_without_items_it_says_so() -> None:
    with pytest.raises(DataError, match="needs embeddings"):
        scores_left_out(["knn.v1"], (np.zeros((0, 2)), np.zeros((0, 2))), (np.zeros((1, 2)), np.zeros((1, 2))), [0])
