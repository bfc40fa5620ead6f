"""Where a picture's neighbourhood lies: embeddings spread over the graph of nearest neighbours of the whole pool.

Spreading the embeddings themselves, instead of labels, needs no labels: after some steps a row says which region of the
graph its picture belongs to (Zhou et al. 2004, eq. 5, applied to features; diffusion maps, Coifman & Lafon 2006). A
linear head on such rows does about what label spreading does, and an encoder can be taught to give them for a picture
that was never in the graph.
"""

from __future__ import annotations

import math
import time

import numpy as np

MAX_NEIGHBOURS, MIN_NEIGHBOURS = 15, 5
POWER = 3.0  # of the cosine, as the weight of an edge
ALPHA = 0.99  # share of a row that comes from its neighbours
N_STEPS = 20
WHITENING = 0.5  # exponent: 0 keeps the spread of the directions, 1 makes them equal
BLOCK = 512


def n_neighbours(n: int) -> int:
    """Neighbours per picture in a pool of `n`.

    >>> n_neighbours(900), n_neighbours(60_000), n_neighbours(3)
    (7, 15, 2)
    """
    return min(n - 1, int(np.clip(math.sqrt(n) / 4, MIN_NEIGHBOURS, MAX_NEIGHBOURS)))


def nearest(unit: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The `k` nearest others of each row of length one (n, d): positions and cosines, each (n, k)."""
    import torch

    rows = torch.from_numpy(np.ascontiguousarray(unit))
    near, cosine = [], []
    for start in range(0, len(rows), BLOCK):
        similar = rows[start : start + BLOCK] @ rows.T
        similar[torch.arange(len(similar)), torch.arange(start, start + len(similar))] = -2.0
        values, positions = similar.topk(k, dim=1)
        near.append(positions)
        cosine.append(values)
    return torch.cat(near).numpy(), torch.cat(cosine).numpy()


def affordable(unit: np.ndarray, seconds: float) -> int:
    """How many rows' graph fits `seconds`, by timing one block of the search."""
    import torch

    rows = torch.from_numpy(np.ascontiguousarray(unit))
    start = time.perf_counter()
    (rows[:BLOCK] @ rows.T).topk(n_neighbours(len(rows)), dim=1)
    each = (time.perf_counter() - start) * len(rows) / min(BLOCK, len(rows))
    return len(rows) if each <= seconds else int(len(rows) * math.sqrt(max(seconds, 0.0) / each))


def places(unit: np.ndarray) -> np.ndarray:
    """Each picture's place (n, d), rows of length one: `unit` spread over its graph of neighbours."""
    from scipy import sparse

    n = len(unit)
    k = n_neighbours(n)
    near, cosine = nearest(unit, k)
    values = np.maximum(cosine, 0.0).ravel() ** POWER
    graph = sparse.csr_matrix((values, (np.repeat(np.arange(n), k), near.ravel())), shape=(n, n))
    graph = graph.maximum(graph.T)
    degree = np.asarray(graph.sum(axis=1)).ravel()
    scale = sparse.diags(1 / np.sqrt(np.maximum(degree, 1e-9)).astype(np.float32))
    normal = (scale @ graph @ scale).tocsr().astype(np.float32)
    start = (unit - unit.mean(axis=0)).astype(np.float32)
    rows = start
    for _ in range(N_STEPS):
        rows = ALPHA * (normal @ rows) + (1 - ALPHA) * start
    return _half_whitened(rows)


def _half_whitened(rows: np.ndarray) -> np.ndarray:
    rows = rows - rows.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(rows.T.astype(np.float64)))
    floor = max(float(values.max()) * 1e-6, 1e-12)
    rows = rows @ (vectors / np.maximum(values, floor) ** (WHITENING / 2)).astype(np.float32)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9))
