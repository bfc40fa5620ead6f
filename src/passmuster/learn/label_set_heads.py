"""Heads for sets of classes: one-against-rest, calibrated with few labels, judged by repeated cross-validation.

A class has few labels of its own, so that its calibration leans on the others': one slope and one shift for all, and
for each class a shift that a Gaussian prior holds near them (Platt 1999, partially pooled). On parts of the training
splits of two composed sets that was better than a shared calibration or none; see docs/log.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from passmuster.core.errors import DataError
from passmuster.learn.heads import PENALTIES, standard_error
from passmuster.learn.one_vs_rest import binary_losses, fit_one_vs_rest, sigmoid

KIND = "one-vs-rest"
SHIFT_SPREAD = 1.0  # in logits, of the classes' own shifts around the shared one


@dataclass(frozen=True)
class LabelSetsCrossValidated:
    """How a one-against-rest head did on labels it had not seen. The counterpart of `learn.heads.CrossValidated`.

    `targets` (m, k) are the labelled items' classes; `logits` (repeats, m, k) their out-of-fold logits before
    calibration, which is ``logits / temperature + shift``. `judged` (k,) are the classes that every fold's head had
    seen, and had seen missing: of the others nothing can be said. `decide_at` is the probability from which a class
    counts as said.
    """

    c: float
    temperature: float
    shift: np.ndarray  # (k,)
    targets: np.ndarray
    logits: np.ndarray
    judged: np.ndarray
    decide_at: float
    kind: str = KIND

    @property
    def items(self) -> np.ndarray:
        """Positions among the labelled items of those held out: all."""
        return np.arange(len(self.targets))

    @property
    def losses(self) -> np.ndarray:
        """Log-loss of each held-out item (m,) in nats, summed over the judged classes, mean over repeats."""
        targets = self.targets[:, self.judged]
        return np.asarray(
            np.mean([binary_losses(z[:, self.judged], targets).sum(axis=1) for z in self._calibrated()], axis=0)
        )

    @property
    def log_loss(self) -> float:
        return float(self.losses.mean())

    @property
    def log_loss_se(self) -> float:
        return standard_error(self.losses)

    @property
    def right(self) -> np.ndarray:
        """Share of repeats (m,) in which the whole set of each held-out item was said."""
        said = sigmoid(self._calibrated()) >= self.decide_at
        return np.asarray((said == (self.targets > 0)).all(axis=2).mean(axis=0))

    @property
    def accuracy(self) -> float:
        """Share of held-out items whose whole set was said."""
        return float(self.right.mean())

    @property
    def item_f1(self) -> float:
        """Mean F1 of held-out items' sets, ``2 |Y & Z| / (|Y| + |Z|)``, 1 where both are empty; mean over repeats."""
        said, carried = sigmoid(self._calibrated()) >= self.decide_at, self.targets > 0
        sizes = said.sum(axis=2) + carried.sum(axis=1)
        return float(np.where(sizes > 0, 2.0 * (said & carried).sum(axis=2) / np.maximum(sizes, 1), 1.0).mean())

    @property
    def calibrated(self) -> np.ndarray:
        """Calibrated out-of-fold logits of the first repeat (m, k), for the guard."""
        return np.asarray(self._calibrated()[0])

    def _calibrated(self) -> np.ndarray:
        return np.asarray(self.logits / np.float32(self.temperature) + self.shift)


def cross_validate_label_sets(
    x: np.ndarray,
    targets: np.ndarray,
    folds: np.ndarray,
    decide_at: float,
    penalties: tuple[float, ...] = PENALTIES,
) -> LabelSetsCrossValidated:
    """The one-against-rest head's best penalty by cross-validated log-loss, each at its own best calibration.

    Parameters
    ----------
    x : (n, d) scaled embeddings of the labelled items
    targets : (n, k) float32, 0 or 1
    folds : (repeats, n)
    """
    judged = judged_classes(targets, folds)
    tried = []
    starts: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}
    for c in penalties:
        logits = np.zeros((len(folds), *targets.shape), np.float32)
        for repeat, fold in enumerate(folds):
            for number in range(int(fold.max()) + 1):
                inside = fold == number
                name = inside.tobytes()  # a weaker penalty begins where the stronger one ended
                starts[name] = fit_one_vs_rest(x[~inside], targets[~inside], c=c, start=starts.get(name))
                logits[repeat, inside] = x[inside] @ starts[name][0] + starts[name][1]
        temperature, shift = fit_shared_platt(logits, targets, judged)
        tried.append(LabelSetsCrossValidated(c, temperature, shift, targets, logits, judged, decide_at))
    return min(tried, key=lambda result: result.log_loss)


def judged_classes(targets: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Which classes (k,) every fold's head can be asked about: some of the items it learns from have it, some have not.

    Raises
    ------
    DataError
        ``data.too_few_labels`` when there is none.
    """
    judged = np.ones(targets.shape[1], bool)
    for fold in folds:
        for number in range(int(fold.max()) + 1):
            inside = fold == number
            if inside.any():
                share = targets[~inside].mean(axis=0) if (~inside).any() else np.zeros(targets.shape[1])
                judged &= (share > 0) & (share < 1)
    if not judged.any():
        raise DataError(
            "data.too_few_labels",
            "at least one class needs two items that carry it and two that do not, to learn from and to judge by",
            value=f"{len(targets)} labels of {targets.shape[1]} classes",
            next="label a few more items with muster label",
        )
    return judged


def fit_shared_platt(logits: np.ndarray, targets: np.ndarray, judged: np.ndarray) -> tuple[float, np.ndarray]:
    """Temperature, and the shift of each class (k,), from out-of-fold logits (repeats, m, k).

    Minimises the binary log-loss over items and judged classes, mean over repeats, plus ``d_c^2 / (2 s^2)`` for each
    class's own shift d_c beside the shared one. Classes that are not judged get the shared shift alone. Targets are
    smoothed as if one more yes and one more no had been foretold wrongly (Platt 1999, section 2.2): a few labels that
    are all foretold rightly do not make a head certain.
    """
    from scipy.optimize import minimize

    z = logits[:, :, judged].astype(np.float64)  # (repeats, m, j)
    carried = targets[:, judged] > 0
    n_yes, n_no = int(carried.sum()), int((~carried).sum())
    y = np.where(carried, (n_yes + 1.0) / (n_yes + 2.0), 1.0 / (n_no + 2.0))
    j = z.shape[2]

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        slope, shared, own = np.exp(flat[0]), flat[1], flat[2:]
        scaled = slope * z + shared + own
        rest = (sigmoid(scaled) - y) / len(z)
        loss = float(binary_losses(scaled, y).sum() / len(z) + 0.5 * (own**2).sum() / SHIFT_SPREAD**2)
        gradient = np.empty_like(flat)
        gradient[0] = slope * float((rest * z).sum())
        gradient[1] = float(rest.sum())
        gradient[2:] = rest.sum(axis=(0, 1)) + own / SHIFT_SPREAD**2
        return loss, gradient

    found = minimize(
        objective, np.zeros(2 + j), jac=True, method="L-BFGS-B", bounds=[(-3, 3), *[(-10, 10)] * (1 + j)]
    ).x
    shift = np.full(targets.shape[1], found[1], np.float32)
    shift[judged] += found[2:].astype(np.float32)
    return float(np.exp(-found[0])), shift
