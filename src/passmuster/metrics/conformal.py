"""Sets of classes that hold the true one at a stated rate: split conformal prediction.

Each method scores how badly a class fits an item. A set holds every class whose score is at most a threshold: the
``ceil((n + 1) coverage)``-th smallest score of the true classes of n calibration items that the model did not learn
from (Vovk, Gammerman and Shafer 2005). For a new item that is exchangeable with these, the set holds the true class
with probability `coverage` at least, and with ``coverage + 1 / (n + 1)`` at most where scores do not tie: on average
over items, not for each class or group. Where it falls short for some, the report says so.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from passmuster.core.tables import Table

EVERY_CLASS = float(np.finfo(np.float32).max)  # threshold where there are too few labels for the coverage
SLACK = 1e-12  # of a comparison with the threshold
PENALTY, FREE_RANKS = 0.05, 2  # of RAPS: for each class beyond the second; a `v2` if they change


@dataclass(frozen=True)
class SetMethod:
    """One way to score how badly classes fit an item.

    Parameters
    ----------
    scores : probabilities ``(n, c)`` and uniform numbers ``(n,)`` in [0, 1) to ``(n, c)``; lower fits better
    randomised : whether it reads the uniform numbers
    summary : one line for reports

    Examples
    --------
    >>> p = np.array([[0.7, 0.2, 0.1]])
    >>> set_methods["aps.v1"].scores(p, np.array([0.5])).round(2).tolist()
    [[0.35, 0.8, 0.95]]
    """

    scores: Callable[[np.ndarray, np.ndarray], np.ndarray]
    randomised: bool
    summary: str


set_methods: Table[SetMethod] = Table("prediction set")


def _lac(probabilities: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    return 1.0 - np.asarray(probabilities, dtype=np.float64)


def _aps(probabilities: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    p = np.asarray(probabilities, dtype=np.float64)
    order = np.argsort(-p, axis=1, kind="stable")
    ranked = np.take_along_axis(p, order, axis=1)
    scores = np.empty_like(p)
    above = np.cumsum(ranked, axis=1) - ranked
    np.put_along_axis(scores, order, above + np.asarray(uniform)[:, None] * ranked, axis=1)
    return scores


def _raps(probabilities: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    p = np.asarray(probabilities, dtype=np.float64)
    ranks = np.argsort(np.argsort(-p, axis=1, kind="stable"), axis=1) + 1
    return _aps(p, uniform) + PENALTY * np.maximum(0, ranks - FREE_RANKS)


set_methods.add(
    "lac.v1",
    SetMethod(_lac, False, "least ambiguous: every class that is probable enough (Sadinle, Lei and Wasserman 2019)"),
)
set_methods.add(
    "aps.v1",
    SetMethod(_aps, True, "adaptive: more classes where the model is in doubt (Romano, Sesia and Candès 2020)"),
)
set_methods.add(
    "raps.v1",
    SetMethod(_raps, True, "adaptive, with a penalty on long sets (Angelopoulos et al. 2021)"),
)


def conformal_threshold(scores: np.ndarray, coverage: float) -> float:
    """The largest score (n,) of a true class that stays in a set; `EVERY_CLASS` with too few labels.

    >>> conformal_threshold(np.arange(1.0, 10.0), 0.9), conformal_threshold(np.arange(8.0), 0.9) == EVERY_CLASS
    (9.0, True)
    """
    rank = math.ceil((len(scores) + 1) * coverage - 1e-9)
    return float(np.sort(scores)[rank - 1]) if 0 < rank <= len(scores) else EVERY_CLASS


def calibrate_sets(
    name: str, probabilities: np.ndarray, uniform: np.ndarray, labels: np.ndarray, coverage: float
) -> float:
    """The threshold of a method from calibration items: probabilities (n, c), uniform numbers (n,), labels (n,)."""
    if not len(labels):
        return EVERY_CLASS
    scores = set_methods[name].scores(probabilities, uniform)
    return conformal_threshold(scores[np.arange(len(labels)), np.asarray(labels, dtype=np.int64)], coverage)


def sets_of(name: str, probabilities: np.ndarray, uniform: np.ndarray, threshold: float) -> np.ndarray:
    """Which classes remain possible (n, c), bool.

    >>> sets_of("lac.v1", np.array([[0.7, 0.2, 0.1]]), np.zeros(1), 0.8).tolist()
    [[True, True, False]]
    """
    return np.asarray(set_methods[name].scores(probabilities, uniform) <= threshold + SLACK)


def uniform_of(logits: np.ndarray) -> np.ndarray:
    """A number in [0, 1) for each row of logits (n, c), as if drawn by chance, and the same for the same row.

    Randomised sets need such a number. A digest of the row, in hundredths, makes the answer to an item repeat itself;
    coverage does not suffer, because the score remains one fixed function of item and class.

    >>> a, b = uniform_of(np.array([[1.0, 2.0], [1.0, 2.0]]))
    >>> bool(a == b and 0 <= a < 1)
    True
    """
    rows = np.round(np.nan_to_num(np.asarray(logits, dtype=np.float64), posinf=1e6, neginf=-1e6) * 100)
    whole = np.ascontiguousarray(np.clip(rows, -1e9, 1e9).astype("<i8"))
    return np.array(
        [int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=7).digest(), "little") / 2**56 for row in whole]
    )
