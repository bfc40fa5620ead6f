"""Named properties of every novelty detector."""

from __future__ import annotations

import io

import numpy as np
import pytest

from passmuster.core.errors import DataError
from passmuster.metrics.novelty import detectors

ALL = pytest.mark.parametrize("name", detectors.names())


def some_items(seed: int = 0, n: int = 300, d: int = 8, c: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Three clusters, and logits that are sure of them."""
    rng = np.random.default_rng(seed)
    said = rng.integers(0, c, n)
    centres = np.eye(c, d) * 10 + 3
    return centres[said] + rng.normal(size=(n, d)), np.eye(c)[said] * 8 + rng.normal(size=(n, c)) * 0.3


def strange_items(n: int = 40, d: int = 8, c: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(9)
    return rng.normal(size=(n, d)) * 1.0 - 9.0, rng.normal(size=(n, c)) * 0.1


@ALL
def test_strange_items_score_higher(name: str) -> None:
    arrays = detectors[name].fit(*some_items())
    usual = detectors[name].score(arrays, *some_items(seed=1))
    strange = detectors[name].score(arrays, *strange_items())
    assert np.min(strange) > np.quantile(usual, 0.95)


@ALL
def test_a_score_depends_on_its_row_only(name: str) -> None:
    arrays = detectors[name].fit(*some_items())
    embeddings, logits = some_items(seed=1, n=1_100)
    whole = detectors[name].score(arrays, embeddings, logits)
    assert whole.shape == (1_100,)
    one_by_one = np.concatenate(
        [detectors[name].score(arrays, embeddings[i : i + 1], logits[i : i + 1]) for i in range(20)]
    )
    np.testing.assert_allclose(one_by_one, whole[:20], rtol=1e-4, atol=1e-5)


@ALL
def test_arrays_survive_a_file_without_pickle(name: str) -> None:
    arrays = detectors[name].fit(*some_items())
    file = io.BytesIO()
    np.savez(file, **arrays)
    file.seek(0)
    with np.load(file, allow_pickle=False) as back:
        again = {key: back[key] for key in back.files}
    new = some_items(seed=2, n=50)
    np.testing.assert_array_equal(detectors[name].score(arrays, *new), detectors[name].score(again, *new))


@ALL
def test_fitting_twice_gives_the_same(name: str) -> None:
    new = some_items(seed=2, n=50)
    first, second = detectors[name].fit(*some_items()), detectors[name].fit(*some_items())
    np.testing.assert_array_equal(detectors[name].score(first, *new), detectors[name].score(second, *new))


@ALL
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_broken_row_is_infinitely_strange(name: str, bad: float) -> None:
    arrays = detectors[name].fit(*some_items())
    embeddings, logits = some_items(seed=1, n=3)
    embeddings[1, 0] = logits[1, 0] = bad
    scores = detectors[name].score(arrays, embeddings, logits)
    assert np.isfinite(scores).tolist() == [True, False, True]
    assert scores[1] == np.inf


@ALL
def test_nothing_to_fit_on_is_an_error(name: str) -> None:
    with pytest.raises(DataError, match="ordinary items") as caught:
        detectors[name].fit(np.zeros((0, 8)), np.zeros((0, 3)))
    assert caught.value.code == "novelty.no_items"
    for shape in ((4, 0), (4,)):
        with pytest.raises(DataError, match="ordinary items"):
            detectors[name].fit(np.zeros(shape), np.zeros(shape))
    embeddings, logits = some_items(n=5)
    embeddings[2, 3] = logits[2, 1] = np.nan
    with pytest.raises(DataError, match="row 2"):
        detectors[name].fit(embeddings, logits)


@ALL
@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_or_equal_items_do_not_break_it(name: str, n: int) -> None:
    for embeddings, logits in [
        some_items(n=n),
        (np.ones((n, 8)), np.ones((n, 3))),
        (np.zeros((n, 8)), np.zeros((n, 3))),
    ]:
        arrays = detectors[name].fit(embeddings, logits)
        assert np.isfinite(detectors[name].score(arrays, *some_items(seed=1, n=4))).all()


@ALL
def test_no_items_to_score_give_no_scores(name: str) -> None:
    arrays = detectors[name].fit(*some_items())
    assert detectors[name].score(arrays, np.zeros((0, 8)), np.zeros((0, 3))).shape == (0,)
