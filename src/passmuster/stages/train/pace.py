"""How a run keeps pace with its quotes, and what it keeps for its end: a machine may be busier than it was measured."""

from __future__ import annotations

from collections.abc import Sequence

from passmuster.stages.train.plan import FINISH_S
from passmuster.stages.train.step import Climbed

N_PARITY = 500  # items that the trained model answers once more at the end, as exported, in float32
FLOAT32 = "float32"
HEADS = "heads"  # the phase that is quoted apart
GRAIN_S = 2.0  # a rung of a fraction of a second says little of the machine


def pace_of(fitted: Sequence[Climbed]) -> float:
    """Seconds taken for each that was quoted, of the rungs so far that do not take whatever there is; at least 1."""
    judged = [rung for rung in fitted if not rung.quote.elastic]
    quoted = GRAIN_S + sum(rung.quote.encoder_s for rung in judged)
    taken = GRAIN_S + sum(s for rung in judged for phase, s in rung.phases.seconds.items() if phase != HEADS)
    return max(1.0, taken / quoted)


def finish_s(fitted: Sequence[Climbed]) -> float:
    """Seconds to keep for the end, whichever of these rungs is chosen."""
    fits = max((rung.last_fit_s for rung in fitted), default=0.0)
    return pace_of(fitted) * (FINISH_S + fits) + max((parity_s(rung) for rung in fitted), default=0.0)


def parity_s(rung: Climbed) -> float:
    """Seconds in which `N_PARITY` items go through the rung's graph in float32, by the speed that was measured.

    None where it is served in float32 anyway: the pool was embedded by it.
    """
    if rung.choice.precision == FLOAT32:
        return 0.0
    rates = [row["items_per_s"] for row in rung.engines if row["precision"] == FLOAT32 and row.get("items_per_s")]
    return min(N_PARITY, len(rung.seen)) / max(rates) if rates else 0.0
