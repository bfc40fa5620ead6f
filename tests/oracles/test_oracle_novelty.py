"""Every novelty detector against its published formula, written out item by item, on 1,000 small random cases.

Few items, ties, one class only, classes of one item, values rounded to whole numbers. Nothing here is shared with the
detectors but the shrunk covariance, which `test_oracle_metrics` holds against scikit-learn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from oracle_case import counted, oracle
from passmuster.metrics.novelty import detectors, neighbours
from passmuster.metrics.novelty.gaussian import shrunk_covariance

N_CASES = 1_000
Case = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def cases() -> Iterator[Case]:
    for seed in range(N_CASES):
        rng = np.random.default_rng(seed)
        n, d, c = int(rng.integers(1, 30)), int(rng.integers(1, 7)), int(rng.integers(1, 6))
        x, new = rng.normal(1, 2, (n, d)), rng.normal(1, 4, (int(rng.choice([1, 3, 6])), d))
        if seed % 3 == 0:
            x, new = np.round(x), np.round(new)  # ties
        weight = rng.normal(size=(d, c))
        logits, new_logits = x @ weight + 1.0, new @ weight + 1.0
        if seed % 4 == 1:
            logits[:, 0] += 50  # one class for all
        if seed % 4 == 2:
            logits, new_logits = np.round(logits), np.round(new_logits)  # not linear any more
        if seed % 5 == 3:
            new[0] = x[0]
            new_logits[0] = logits[0]
        yield x, logits, new, new_logits


def softmax(z: np.ndarray) -> list[float]:
    top = max(z)
    total = sum(math.exp(v - top) for v in z)
    return [math.exp(v - top) / total for v in z]


def lse(z: np.ndarray) -> float:
    return max(z) + math.log(sum(math.exp(v - max(z)) for v in z))


def said(z: np.ndarray) -> int:
    return max(range(len(z)), key=lambda k: (z[k], -k))


def classes_of(logits: np.ndarray) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for i, z in enumerate(logits):
        found.setdefault(said(z), []).append(i)
    return found


def of_unit(row: np.ndarray) -> np.ndarray:
    return row / max(math.sqrt(sum(v * v for v in row)), 1e-12)


def knn(case: Case) -> list[float]:
    x, _, new, _ = case
    rows = [row for row in x if any(row)] or list(x)  # zeros point nowhere
    k = min(10, len(rows))
    bank = [of_unit(row).astype(np.float32).astype(float) for row in rows]  # kept in single precision
    return [sorted(math.dist(of_unit(row), other) for other in bank)[k - 1] for row in new]


def centroid(case: Case) -> list[float]:
    x, logits, new, _ = case
    means = [of_unit(sum(of_unit(x[i]) for i in members) / len(members)) for members in classes_of(logits).values()]
    return [1 - max(float(of_unit(row) @ mean) for mean in means) for row in new]


def inverse(rows: np.ndarray) -> np.ndarray:
    """Of the shrunk covariance; no direction counts as narrower than a thousandth of the widest."""
    vectors, values, _ = np.linalg.svd(shrunk_covariance(rows))
    least = 1e-6 * max(values[0], 1e-12)
    return sum(np.outer(vectors[:, k], vectors[:, k]) / max(values[k], least) for k in range(len(values)))


def mahalanobis(case: Case) -> list[float]:
    x, logits, new, _ = case
    groups = classes_of(logits)
    means = {c: x[members].mean(axis=0) for c, members in groups.items()}
    precision = inverse(np.stack([x[i] - means[said(logits[i])] for i in range(len(x))]))
    return [min(float((row - m) @ precision @ (row - m)) for m in means.values()) for row in new]


def rmds(case: Case) -> list[float]:
    x, _, new, _ = case
    mean = x.mean(axis=0)
    precision = inverse(x - mean)
    return [near - float((row - mean) @ precision @ (row - mean)) for near, row in zip(mahalanobis(case), new)]


def head(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Weight (d, c) and bias (c,) by the pseudo-inverse."""
    x, logits, _, _ = case
    mean, middle = x.mean(axis=0), logits.mean(axis=0)
    weight = np.linalg.pinv(x - mean, rcond=1e-5) @ (logits - middle)
    return weight, middle - mean @ weight


def fdbd(case: Case) -> list[float]:
    x, _, new, new_logits = case
    weight, _ = head(case)
    c = weight.shape[1]
    largest = max(math.hypot(*weight[:, k]) for k in range(c))
    found = []
    for row, z in zip(new, new_logits):
        m, total = said(z), 0.0
        for k in range(c):
            apart = math.dist(weight[:, m], weight[:, k])
            if k != m and apart > 3e-7 * largest:
                total += (z[m] - z[k]) / apart
        found.append(-total / max(1, c - 1) / max(math.dist(row, x.mean(axis=0)), 1e-12))
    return found


def vim(case: Case) -> list[float]:
    x, logits, new, new_logits = case
    weight, bias = head(case)
    mean = x.mean(axis=0)  # where the head reads nothing, the origin is the mean item
    origin = mean - np.linalg.pinv(weight.T, rcond=1e-5) @ (bias + mean @ weight)
    moved = x - origin
    _, lengths, rows = np.linalg.svd(moved, full_matrices=True)
    n_principal = min(x.shape[1] // 2, int((lengths > 1e-5 * lengths[0]).sum()))
    residual = rows[n_principal:]

    def outside(row: np.ndarray) -> float:
        return math.sqrt(sum(float((row - origin) @ direction) ** 2 for direction in residual))

    length = sum(outside(row) for row in x)
    tops = max(0.0, sum(max(z) for z in logits))
    alpha = tops / length if length > 1e-9 * np.abs(moved).sum() else 0.0
    return [alpha * outside(row) - lse(z) for row, z in zip(new, new_logits)]


def gen(case: Case) -> list[float]:
    found = []
    for z in case[3]:
        p = sorted(softmax(z))
        rest = [math.fsum(p[:k] + p[k + 1 :]) for k in range(len(p))]
        found.append(sum(a**0.1 * b**0.1 for a, b in list(zip(p, rest))[-100:]))
    return found


SLOW = {
    "knn.v1": knn,
    "centroid.v1": centroid,
    "mahalanobis.v1": mahalanobis,
    "rmds.v1": rmds,
    "fdbd.v1": fdbd,
    "vim.v1": vim,
    "gen.v1": gen,
    "msp.v1": lambda case: [1 - max(softmax(z)) for z in case[3]],
    "max_logit.v1": lambda case: [-max(z) for z in case[3]],
    "energy.v1": lambda case: [-lse(z) for z in case[3]],
}


@oracle("the published formula")
@pytest.mark.parametrize("name", detectors.names())
def test_as_published(name: str) -> None:
    for number, case in enumerate(counted(cases())):
        x, logits, new, new_logits = case
        found = detectors[name].score(detectors[name].fit(x, logits), new, new_logits)
        np.testing.assert_allclose(found, SLOW[name](case), rtol=1e-6, atol=1e-6, err_msg=f"case {number}")


def test_gen_reads_the_hundred_most_probable() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(0, 3, (20, 150))
    expected = gen((z, z, z, z))
    np.testing.assert_allclose(detectors["gen.v1"].score({}, np.zeros((20, 2)), z), expected, rtol=1e-9)


def test_energy_at_another_temperature() -> None:
    """As a guard from elsewhere may keep one (Liu et al. 2020, equation 4)."""
    z = np.random.default_rng(0).normal(0, 3, (20, 5))
    found = detectors["energy.v1"].score({"temperature": np.array(2.5)}, np.zeros((20, 2)), z)
    np.testing.assert_allclose(found, [-2.5 * lse(row / 2.5) for row in z], rtol=1e-9)


def test_large_logits_do_not_overflow() -> None:
    z = np.array([[900.0, 899.0, 0.0], [-900.0, -900.0, -2000.0]])
    for name in ("gen.v1", "msp.v1", "energy.v1", "max_logit.v1"):
        found = detectors[name].score(detectors[name].fit(np.zeros((2, 1)), z), np.zeros((2, 1)), z)
        np.testing.assert_allclose(found, SLOW[name]((z, z, z, z)), rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_distances_to_boundaries_know_no_scale_of_logits(scale: float) -> None:
    rng = np.random.default_rng(0)
    x, new, weight = rng.normal(size=(30, 4)), rng.normal(size=(5, 4)), rng.normal(size=(4, 3))
    plain, scaled = (
        detectors["fdbd.v1"].score(detectors["fdbd.v1"].fit(x, s * x @ weight), new, s * new @ weight)
        for s in (1.0, scale)
    )
    np.testing.assert_allclose(scaled, plain, rtol=1e-6)


def test_of_many_items_neighbours_are_kept_at_even_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "MAX_BANK", 5)
    x = np.random.default_rng(0).normal(size=(21, 3))
    bank = detectors["knn.v1"].fit(x, np.zeros((21, 2)))["bank"]
    np.testing.assert_allclose(bank, [of_unit(row) for row in x[::5]], atol=1e-6)
    assert len(detectors["knn.v1"].fit(x[:5], np.zeros((5, 2)))["bank"]) == 5


def test_a_linear_head_is_read_back_exactly() -> None:
    from passmuster.metrics.novelty.boundary import linear_head

    rng = np.random.default_rng(1)
    x, weight, bias = rng.normal(3, 1, (60, 12)), rng.normal(size=(12, 4)), rng.normal(size=4)
    found, middle, mean = linear_head(x, x @ weight + bias)
    np.testing.assert_allclose(found, weight, atol=1e-10)
    np.testing.assert_allclose(middle - mean @ found, bias, atol=1e-10)
