"""Where a model probably errs, before anyone has looked: what its own answer, its neighbours' and a teacher's say.

Six features per item:

1. the model's own doubt of its answer, ``logit(1 - confidence)``;
2. its neighbours' doubt: how little the nearest items, by embedding, are taken for the same class;
3. how much nearer the nearest training item of another class is than the nearest of its own;
4. the doubt of a wider circle of neighbours;
5. by how much the model would doubt more if its answers were evened out until every class is as common as any other
   (the scaling of Sinkhorn 1967). Test labels alone say whether that means anything, and which way: in a pool where
   one class is rare it points the other way;
6. a teacher's objection: a ridge regression of the classes on the embeddings (Hoerl and Kennard 1970), taught by the
   training labels *and* by the test labels so far, prefers another class. It never touches the model; where few
   labels trained the model, a hundred test labels teach it much. What it says of an item whose label it knows is
   what it would say without that label (leave-one-out, in closed form: Allen 1974).

All but the fifth are larger where an error is likelier. Any item may be mispredicted: the estimate that uses these is
corrected by the labels (`passmuster.core.prediction_powered`). Chosen on training parts; the ablation is in
`docs/log.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from passmuster.core.prediction_powered import Prior, expit, fit_logistic, logit

N_NEIGHBOURS, N_CIRCLE = 5, 30
N_DIRECTIONS = 64  # of the embeddings that the teacher sees
RIDGE = 3.0
BIAS = 0.3  # length of the constant direction beside embeddings of length 1
CERTAIN = 0.01  # doubt of neighbours is kept this far from 0 and 1
N_SCALINGS = 10
LEAST = 1e-3  # of a chance, where doubt before and after evening out are compared
PRIOR = Prior((0.0, 0.4, 0.4, 0.1, 0.2, 0.0, 0.5), (0.25, 8.0, 8.0, 8.0, 8.0, 3.0, 3.0))
BLOCK = 1_024


@dataclass(frozen=True)
class Teacher:
    """What the teacher learns from and of: directions of the pool ``(N, q)``, and what training labels add up to."""

    x: np.ndarray
    predicted: np.ndarray  # (N,) the model's class numbers
    gram: np.ndarray  # (q, q)
    moment: np.ndarray  # (q, classes)

    def objection(self, positions: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """By how much another class than the model's is preferred ``(N,)``, standardised; taught by test labels too.

        `labels` (n,) are class numbers of the items at `positions`; -1 for a class the model does not know.
        """
        n_classes = self.moment.shape[1]
        targets = np.full((len(positions), n_classes), -1.0 / n_classes, dtype=self.x.dtype)
        inside = labels >= 0
        targets[np.flatnonzero(inside), labels[inside]] += 1.0
        scores = taught_scores(self.x, self.gram, self.moment, positions, targets)
        rows = np.arange(len(scores))
        given = scores[rows, self.predicted].copy()
        scores[rows, self.predicted] = -np.inf
        return standardised(scores.max(axis=1) - given)


@dataclass(frozen=True)
class ErrorPredictor:
    """The fixed features ``(N, 6)`` of a pool (constant, then 1 to 5) and the teacher for the last."""

    fixed: np.ndarray
    teacher: Teacher

    def features(self, positions: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Features (N, 7) given the test labels so far; for `passmuster.core.prediction_powered.powered_rate`."""
        return np.column_stack([self.fixed, self.teacher.objection(positions, labels)])

    def risk(self, positions: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The chance of an error (N,), given the test labels so far; from the prior alone where there are none."""
        wrong = (self.teacher.predicted[positions] != labels).astype(np.float64)
        return fitted_risk(self.features(positions, labels), positions, wrong)


def fitted_risk(features: np.ndarray, positions: np.ndarray, wrong: np.ndarray, prior: Prior = PRIOR) -> np.ndarray:
    """The chance of an error (N,) by a logistic regression near the prior on the labelled items, each counting alike.

    It only says where to ask next. Weights would steady an estimate; here they would only make it noisier.

    >>> doubt = np.array([[1.0, -3.0], [1.0, 0.0], [1.0, 3.0]])
    >>> fitted_risk(doubt, np.array([0, 2]), np.array([0.0, 1.0]), Prior((0.0, 0.0), (1.0, 1.0))).round(2)
    array([0.11, 0.5 , 0.89])
    """
    coefficients, _ = fit_logistic(features[positions], wrong, np.ones(len(positions)), prior)
    return expit(features @ coefficients)


def error_predictor(
    probabilities: np.ndarray, embeddings: np.ndarray, taught: np.ndarray, taught_labels: np.ndarray,
    said: np.ndarray | None = None,
) -> ErrorPredictor:  # fmt: skip
    """From a bundle's answers to the test items, labelled or not, and its training labels.

    Parameters
    ----------
    probabilities : (N, k)
    embeddings : (N, d)
    taught : (l, d) embeddings of labelled training items
    taught_labels : (l,) class numbers
    said : (N,) class numbers of the answers, where they are not the likeliest classes

    >>> rng = np.random.default_rng(0)
    >>> z, p = rng.normal(size=(40, 8)), rng.dirichlet(np.ones(3), 40)
    >>> error_predictor(p, z, z[:6], np.arange(6) % 3).features(np.arange(2), np.array([0, 1])).shape
    (40, 7)
    """
    units, taught_units, seen = seen_by_teacher(embeddings, taught)
    predicted = probabilities.argmax(axis=1) if said is None else said
    n_classes = probabilities.shape[1]
    known = seen(taught_units)
    targets = np.full((len(known), n_classes), -1.0 / n_classes, dtype=np.float32)
    targets[np.arange(len(known)), taught_labels] += 1.0
    gram = known.T @ known + RIDGE * np.eye(known.shape[1], dtype=np.float32)
    own = logit(1 - probabilities[np.arange(len(units)), predicted])
    near, circle = logit(1 - _neighbours_say(units, probabilities, predicted), least=CERTAIN).T
    evened = _doubt_if_even(probabilities, predicted)
    other = _another_is_nearer(units, predicted, taught_units, np.asarray(taught_labels))
    fixed = np.column_stack([np.ones(len(units)), own, near, other, circle, evened])
    return ErrorPredictor(fixed, Teacher(seen(units), predicted, gram, known.T @ targets))


def seen_by_teacher(
    embeddings: np.ndarray, taught: np.ndarray
) -> tuple[np.ndarray, np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Embeddings of a pool (N, d) and of training items (l, d) at length 1 around the pool's mean, and what a teacher
    sees of such: the pool's first directions and a constant."""
    pool = np.asarray(embeddings, dtype=np.float32)
    centre = pool.mean(axis=0)
    units = _units(pool - centre)
    directions = np.linalg.eigh(units.T @ units)[1][:, ::-1][:, :N_DIRECTIONS]

    def seen(x: np.ndarray) -> np.ndarray:
        return np.column_stack([x @ directions, np.full(len(x), BIAS, np.float32)]).astype(np.float32)

    return units, _units(np.asarray(taught, dtype=np.float32).reshape(-1, pool.shape[1]) - centre), seen


def taught_scores(
    x: np.ndarray, gram: np.ndarray, moment: np.ndarray, positions: np.ndarray, targets: np.ndarray
) -> np.ndarray:
    """A ridge regression's scores (N, k) of the items `x` (N, q), taught by the test labels `targets` (n, k) too.

    `gram` (q, q) and `moment` (q, k) are what the training labels add up to. The scores of the items at `positions` are
    those without their own label.
    """
    known = x[positions]
    inverse = np.linalg.inv(gram + known.T @ known)
    scores = np.asarray(x @ (inverse @ (moment + known.T @ targets)))
    own = np.minimum(np.einsum("ij,ij->i", known @ inverse, known), 0.95)[:, None]
    scores[positions] = (scores[positions] - own * targets) / (1 - own)
    return scores


def nearest_others(units: np.ndarray) -> np.ndarray:
    """Positions (N, `N_CIRCLE` or one less than N) of the nearest other items of each, the nearest first."""
    n = len(units)
    k = min(N_CIRCLE, n - 1)
    found = np.empty((n, max(k, 0)), dtype=np.int64)
    for start in range(0, n if k > 0 else 0, BLOCK):
        cosine = units[start : start + BLOCK] @ units.T
        rows = np.arange(len(cosine))[:, None]
        cosine[rows[:, 0], start + rows[:, 0]] = -np.inf
        circle = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
        found[start : start + BLOCK] = circle[rows, np.argsort(-cosine[rows, circle], axis=1)]
    return found


def _neighbours_say(units: np.ndarray, probabilities: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Mean probability (N, 2) that an item's nearest `N_NEIGHBOURS` and `N_CIRCLE` give to the item's own class."""
    circle = nearest_others(units)
    if not circle.shape[1]:
        return np.repeat(probabilities[np.arange(len(units)), predicted, None], 2, axis=1)
    each = probabilities[circle, predicted[:, None]]
    return np.stack([each[:, :N_NEIGHBOURS].mean(axis=1), each.mean(axis=1)], axis=1)


def _doubt_if_even(probabilities: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """How much more the answers would be doubted ``(N,)`` if all classes were equally common in the pool.

    >>> given = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8]])
    >>> bool((_doubt_if_even(given, np.array([0, 0, 1])) > 0).tolist() == [True, True, False])
    True
    """
    rows, n_classes = np.arange(len(predicted)), probabilities.shape[1]
    even = np.asarray(probabilities, dtype=np.float64) + 1e-6
    for _ in range(N_SCALINGS):
        even /= even.mean(axis=0) * n_classes
        even /= even.sum(axis=1, keepdims=True)
    after, before = (logit(1 - p[rows, predicted], least=LEAST) for p in (even, probabilities))
    return np.asarray(after - before)


def _another_is_nearer(
    units: np.ndarray, predicted: np.ndarray, taught: np.ndarray, taught_labels: np.ndarray
) -> np.ndarray:
    """Cosine of the nearest taught item of another class, less that of the own class ``(N,)``, standardised."""
    margin = np.zeros(len(units), dtype=np.float32)
    for start in range(0, len(units) if len(taught) else 0, BLOCK):
        part = slice(start, start + BLOCK)
        cosine = units[part] @ taught.T
        own = predicted[part, None] == taught_labels
        nearest_other = np.where(own, -1.0, cosine).max(axis=1)
        margin[part] = nearest_other - np.where(own, cosine, -1.0).max(axis=1)
    return standardised(margin)


def standardised(x: np.ndarray) -> np.ndarray:
    """With mean 0 and standard deviation 1; all 0 where nothing varies."""
    y = x.astype(np.float64)
    return np.asarray((y - y.mean()) / (y.std() + 1e-9))


def _units(x: np.ndarray) -> np.ndarray:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))
