"""How fitted rungs stand on a task: what they were measured to gain, beside what earlier sets say of its kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from passmuster.learn.priors import prior_gains
from passmuster.learn.select import Candidate, Standing, choose_rung
from passmuster.stages.train.task import Task


def standings_of(task: Task, measured: Sequence[tuple[str, np.ndarray]]) -> list[Standing]:
    """Standings of rungs, by name and held-out losses (m,), in the ladder's order; one of them is chosen."""
    priors = prior_gains(task.modality.name, [name for name, _ in measured], len(task.classes))
    return choose_rung([Candidate(*one, prior) for one, prior in zip(measured, priors, strict=True)])
