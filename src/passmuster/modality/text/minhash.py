"""MinHash: which sequences probably share most of their shingles, in memory and time that grow with their number.

128 permutations in 32 bands of 4 rows (Broder 1997; Leskovec, Rajaraman & Ullman, "Mining of massive datasets", ch. 3);
permutations are multiply-add hashes of 64 bits (Dietzfelbinger et al. 1997). Of each sequence 32 numbers are kept.
"""

from __future__ import annotations

import numpy as np

N_PERMUTATIONS, N_BANDS = 128, 32
WINDOW = 24  # neighbours tried within one bucket of candidates, so that a template does not cost its square
SEED = 20_111
BLOCK = 65_536  # values at once: what is multiplied 128 times stays in the processor's cache
_MIX, _FOLD = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)


def candidate_pairs(values: np.ndarray, starts: np.ndarray, width: int) -> np.ndarray:
    """Pairs (p, 2) of sequences that share at least one band, each once with ``a < b``, in order.

    Parameters
    ----------
    values : (t,) uint64, all sequences one after the other; equal things have equal numbers
    starts : (n + 1,) where each begins, and where the last ends; none is shorter than `width`
    width : values in a shingle

    Examples
    --------
    >>> values = np.array([1, 2, 3, 4, 9, 8, 7, 1, 2, 3, 4], np.uint64)
    >>> candidate_pairs(values, np.array([0, 4, 7, 11]), 3).tolist()
    [[0, 2]]
    """
    n = len(starts) - 1
    if n < 2:
        return np.zeros((0, 2), np.int64)
    bands = np.empty((N_BANDS, n), np.uint32)
    edge = 0
    while edge < n:
        end = max(edge + 1, int(np.searchsorted(starts, starts[edge] + BLOCK, side="right")) - 1)
        part = values[starts[edge] : starts[end]]
        bands[:, edge:end] = _bands(*_shingles(part, starts[edge : end + 1] - starts[edge], width))
        edge = end
    found = np.zeros(0, np.int64)
    for keys in bands:
        found = np.union1d(found, _pairs(keys, n))
    return np.stack(np.divmod(found, n), axis=1)


def _shingles(values: np.ndarray, starts: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A hash of each run of `width` values within a sequence, and where each sequence's begin."""
    n_runs = len(values) - width + 1
    mixed = np.zeros(n_runs, np.uint64)
    for offset in range(width):
        mixed *= _FOLD
        mixed += values[offset : offset + n_runs]
        mixed ^= mixed >> np.uint64(33)
        mixed *= _MIX
    inside = np.ones(len(values), bool)
    for offset in range(1, width):  # a run that begins here would reach into the next sequence
        inside[starts[1:] - offset] = False
    return mixed[inside[:n_runs]], starts[:-1] - (width - 1) * np.arange(len(starts) - 1)


def _bands(shingles: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The number of each band of each sequence's signature, (bands, n) uint32."""
    rng = np.random.default_rng(SEED)
    factors = rng.integers(2**63, size=N_PERMUTATIONS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    shifts = rng.integers(2**63, size=N_PERMUTATIONS, dtype=np.uint64)
    keys = np.zeros((N_BANDS, len(starts)), np.uint64)
    hashed = np.empty_like(shingles)
    for number, (factor, shift) in enumerate(zip(factors, shifts, strict=True)):
        np.multiply(shingles, factor, out=hashed)
        hashed += shift
        key = keys[number * N_BANDS // N_PERMUTATIONS]
        key *= _FOLD
        key += np.minimum.reduceat(hashed, starts) >> _HALF
    return np.asarray((keys * _MIX) >> _HALF, np.uint32)


def _pairs(keys: np.ndarray, n: int) -> np.ndarray:
    """``a * n + b`` of pairs with equal keys, ``a < b``; each tries its next `WINDOW` fellows."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    codes = [np.zeros(0, np.int64)]
    for offset in range(1, min(WINDOW, n - 1) + 1):
        same = ordered[offset:] == ordered[:-offset]
        if not same.any():
            break
        codes.append(order[:-offset][same] * n + order[offset:][same])  # the sort is stable: a < b
    return np.concatenate(codes)
