"""A linear map, learnt without labels, that takes every item's embedding towards its nearest neighbours'.

What an item shares with its neighbours is more often what it is about than what it has alone. So each embedding is
regressed (ridge, in closed form) on the mean of its neighbours in the pool, weighed as labels spread over the same
graph, and an item then keeps a quarter of itself. What heads learn from few labels is then mostly said by directions
that neighbours share: one step of label spreading, made into a layer that serves. As the image rung `conv.v1` learns
places in the neighbourhood (docs/why/007), here in closed form. The map is what locality preserving projections (He and
Niyogi 2003) choose directions by, as a regression.

Neighbours, penalty and share were chosen on parts of two pools' own labels (docs/log.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from passmuster.core.threads import one_thread
from passmuster.learn.neighbours import search_flops
from passmuster.learn.propagation import Spreading, neighbour_graph


@dataclass(frozen=True)
class Places:
    """How the map is learnt."""

    n_neighbours: int = 10
    ridge: float = 1.0  # penalty, in mean variances of a direction
    share: float = 0.75  # of an embedding that comes from where its neighbours are; the rest stays as it was


@one_thread()
def learn_places(x: np.ndarray, settings: Places = Places()) -> np.ndarray:
    """The map (d, d) float32: ``x @ map`` are the embeddings in their places. Labels are not read.

    The same rows give the same map, however many threads there are: one is used.

    Parameters
    ----------
    x : embeddings (n, d) of some of the pool, n of 2 or more; centred here

    Examples
    --------
    Two topics that differ in the first number; the second is each item's own.

    >>> x = np.array([[1.0, 0.3], [1.0, -0.3], [-1.0, 0.2], [-1.0, -0.2]], np.float32)
    >>> map = learn_places(x, Places(n_neighbours=1, ridge=0.01))
    >>> bool(map[0, 0] > 0.9), bool(map[1, 1] < 0.1)
    (True, True)
    """
    centred = (x - x.mean(axis=0, dtype=np.float64)).astype(np.float32)
    graph = neighbour_graph(centred, Spreading(n_neighbours=settings.n_neighbours))
    degree = np.sqrt(np.asarray(graph.sum(axis=1)).ravel())
    weigh = np.divide(1.0, degree, out=np.zeros_like(degree), where=degree > 0)[:, None]
    near = weigh * (graph @ (weigh * centred))  # of items with many neighbours less, as labels spread
    covariance = (centred.T @ centred).astype(np.float64)
    d = len(covariance)
    penalty = settings.ridge * max(float(np.trace(covariance)) / d, 1e-12)
    found = np.linalg.solve(covariance + penalty * np.eye(d), (centred.T @ near).astype(np.float64))
    return ((1.0 - settings.share) * np.eye(d) + settings.share * found).astype(np.float32)


def places_flops(n: int, d: float) -> float:
    """Operations of `learn_places`: neighbours, two products of all rows, and solving."""
    return search_flops(n, int(d)) + 4.0 * n * d**2 + 3.0 * d**3
