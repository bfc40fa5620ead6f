"""What answers cost: the price of saying one class when it is another, the mean over items, and the cheapest answer.

A cost matrix is ``(c, c)``: row the true class, column the class said. Expected cost of saying j at probabilities p is
``sum_i p_i C_ij``, and the cheapest answer has the lowest (Elkan 2001, The foundations of cost-sensitive learning,
IJCAI, eq. 1); where a withheld answer has a price, the answer is withheld when none is cheaper (Chow 1970).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from passmuster.core.errors import UsageError
from passmuster.core.statistics import Interval, proportion

Clusters = Sequence[str] | np.ndarray
WITHHELD = -1  # instead of a class, where no answer is cheaper than withholding it


def cost_matrix(classes: Sequence[str], when: Mapping[str, Mapping[str, float]], wrong: float = 1.0) -> np.ndarray:
    """The matrix (c, c) of `classes`: `wrong` off the diagonal, 0 on it, and what `when` says, by true class and said.

    Names that are not among `classes` are passed over; see `refuse_unknown`.

    >>> cost_matrix(["ham", "spam"], {"spam": {"ham": 10}}).tolist()
    [[0.0, 1.0], [10.0, 0.0]]
    """
    found = wrong * (1.0 - np.eye(len(classes)))
    place = {name: i for i, name in enumerate(classes)}
    for truth, row in when.items():
        for said, cost in row.items():
            if truth in place and said in place:
                found[place[truth], place[said]] = cost
    return found


def refuse_unknown(known: Sequence[str], when: Mapping[str, Mapping[str, float]]) -> None:
    """Refuse costs of classes that are not among `known`.

    Raises
    ------
    UsageError
        ``costs.class``, with the nearest name.

    >>> refuse_unknown(["ham", "spam"], {"spam": {"ham": 10}})
    """
    for name in [*when, *(said for row in when.values() for said in row)]:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise UsageError(
                "costs.class", "a cost of a class that does not exist", value=name, limit=", ".join(known[:20]),
                where="[policy.costs.when]", next=f"did you mean {near[0]!r}?" if near else "name a class of the data",
            )  # fmt: skip


def item_costs(matrix: np.ndarray, labels: np.ndarray, said: np.ndarray, abstain: float = 0.0) -> np.ndarray:
    """What each answer costs (n,): `said` (n,) class numbers, or `WITHHELD`, which costs `abstain`.

    >>> item_costs(np.array([[0.0, 1.0], [10.0, 0.0]]), np.array([1, 1, 0]), np.array([0, 1, WITHHELD]), 0.5).tolist()
    [10.0, 0.0, 0.5]
    """
    labels, said = np.asarray(labels, dtype=np.int64), np.asarray(said, dtype=np.int64)
    return np.where(said == WITHHELD, abstain, matrix[labels, said])


def cheapest(matrix: np.ndarray, probabilities: np.ndarray, abstain: float = 0.0) -> np.ndarray:
    """The answer of lowest expected cost to each item (n,), or `WITHHELD` where that is cheaper still.

    `matrix` (c, c), `probabilities` (n, c); `abstain` 0: no price is stated, and nothing is withheld. Among equally
    cheap answers the most probable one is taken, then the first.

    >>> costs = np.array([[0.0, 1.0], [10.0, 0.0]])
    >>> cheapest(costs, np.array([[0.95, 0.05], [0.8, 0.2]])).tolist()
    [0, 1]
    >>> cheapest(costs, np.array([[0.95, 0.05], [0.8, 0.2]]), abstain=0.4).tolist()
    [-1, -1]
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if not p.size:
        return np.zeros(len(p), dtype=np.int64)
    expected = p @ matrix
    least = expected.min(axis=1)
    tied = expected <= least[:, None] + 1e-12 * max(1.0, float(matrix.max()))
    best = np.where(tied, p, -1.0).argmax(axis=1)
    return np.where((abstain > 0) & (least > abstain), WITHHELD, best).astype(np.int64)


def mean_cost(
    costs: np.ndarray, largest: float, *, weights: np.ndarray | None = None, clusters: Clusters | None = None
) -> Interval:
    """Mean of the items' costs (n,), each between 0 and `largest`, with an interval that rare dear mistakes fit in.

    The interval is that of a coin that costs `largest` or nothing, with the same mean: of all costs in that range and
    of that mean it varies most, so that the interval is wide rather than narrow, also when no dear mistake was seen
    yet, of which a bootstrap would know nothing. Weighted and clustered as `proportion`.

    >>> found = mean_cost(np.array([0.0, 0.0, 1.0, 0.0]), 10.0)
    >>> found.value, round(found.high, 1)
    (0.25, 5.1)
    """
    if not largest > 0:
        return Interval(0.0 if len(costs) else float("nan"), 0.0, 0.0, len(costs), "wilson")
    found = proportion(np.asarray(costs, dtype=np.float64) / largest, weights=weights, clusters=clusters)
    return replace(found, value=found.value * largest, low=found.low * largest, high=found.high * largest)


@dataclass(frozen=True)
class Constant:
    """The answer that, given to every item, would have cost least: its class number, and what each item costs (n,)."""

    said: int
    costs: np.ndarray


def best_constant(
    matrix: np.ndarray, labels: np.ndarray, n_known: int, weights: np.ndarray, abstain: float = 0.0
) -> Constant:
    """The best of saying one of the first `n_known` classes always, or of withholding always where that has a price.

    It is chosen on the very labels it is counted on, which flatters it, so that beating it means something.

    >>> best_constant(np.array([[0.0, 1.0], [10.0, 0.0]]), np.array([0, 0, 1]), 2, np.ones(3)).said
    1
    """
    shares = np.bincount(np.asarray(labels, dtype=np.int64), weights=weights, minlength=len(matrix))
    means = (shares @ matrix)[:n_known] / max(float(shares.sum()), 1e-300)
    best = int(means.argmin())
    if abstain > 0 and abstain < means[best]:
        best = WITHHELD
    return Constant(best, item_costs(matrix, labels, np.full(len(labels), best), abstain))
