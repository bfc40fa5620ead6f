"""Prices before the start: what every rung would cost here, and whether the budget holds one at all."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from passmuster.core.budget import Deadline, Machine, parse_bytes
from passmuster.core.config import TrainConfig
from passmuster.core.errors import BudgetError, ResourceError
from passmuster.modality.base import Modality, Profile, Rung

FINISH_S = 2.0  # last head, guard, bundle, ledger; without what grows with the data
HEAD_EFFICIENCY = 0.2  # of many small products against the machine's large one
HEAD_FITS = 24.0  # fits of a logistic head in one cross-validation
HEAD_EVALUATIONS = 18.0
USUAL_WIDTH = 640.0


@dataclass(frozen=True)
class Quote:
    """What one rung is expected to cost, and why it will not be tried ("" when it will)."""

    rung: str
    seconds: float
    memory_bytes: int
    note: str
    refused: str


def quote_rungs(
    modality: Modality, config: TrainConfig, machine: Machine, profile: Profile, deadline: Deadline
) -> list[Quote]:
    """A quote for each rung, cheapest first as the modality lists them.

    Raises
    ------
    BudgetError
        ``budget.time`` or ``budget.memory`` when not even the cheapest rung fits.
    ResourceError
        ``rung.none`` when none of the rungs asked for is available.
    """
    names = config.rungs or modality.rungs.names()
    rungs = [modality.rungs[name] for name in modality.rungs.names() if name in {modality.rungs[n].name for n in names}]
    quotes = [_quote(rung, config, machine, profile, deadline) for rung in rungs]
    if all(quote.refused for quote in quotes):
        _refuse(quotes, config, profile, machine, deadline)
    return quotes


def _quote(rung: Rung, config: TrainConfig, machine: Machine, profile: Profile, deadline: Deadline) -> Quote:
    missing = rung.unavailable(config)
    if missing:
        return Quote(rung.name, 0.0, 0, "", f"not available: {missing}")
    price = rung.quote(machine, profile)
    memory = used_memory_bytes() + price.memory_bytes
    there_is = machine.memory_bytes + used_memory_bytes()
    limit = min(parse_bytes(config.max_memory), there_is) if config.max_memory else there_is
    seconds = price.seconds + heads_s(machine, profile) + FINISH_S
    refused = ""
    if memory > limit:
        refused = f"memory: needs {memory / 2**20:.0f} MiB of {limit / 2**20:.0f}"
    elif seconds > deadline.left_s:
        refused = f"time: needs {seconds:.1f} s of {deadline.left_s:.1f}"
    return Quote(rung.name, price.seconds, memory, price.note, refused)


def _refuse(
    quotes: Sequence[Quote], config: TrainConfig, profile: Profile, machine: Machine, deadline: Deadline
) -> None:
    priced = [quote for quote in quotes if quote.seconds > 0]
    if not priced:
        raise ResourceError(
            "rung.none", "none of the rungs asked for is available", value="; ".join(q.refused for q in quotes),
            next="muster doctor",
        )  # fmt: skip
    late = [quote for quote in priced if quote.refused.startswith("time")]
    if late:
        cheapest = min(late, key=lambda quote: quote.seconds)
        needed = cheapest.seconds + heads_s(machine, profile) + FINISH_S
        used = parse_budget_s(config) - deadline.left_s
        raise BudgetError(
            "budget.time", f"even the cheapest rung, {cheapest.rung}, does not fit the time", value=f"{needed:.1f} s",
            limit=f"{max(0.0, deadline.left_s):.1f} s left of {config.time}",
            next=f"muster train --time {int(needed * 1.2 + used) + 1}s",
        )  # fmt: skip
    cheapest = min(priced, key=lambda quote: quote.memory_bytes)
    raise BudgetError(
        "budget.memory", f"even {cheapest.rung} does not fit the memory",
        value=f"{cheapest.memory_bytes / 2**20:.0f} MiB",
        limit=config.max_memory or f"{machine.memory_bytes / 2**20:.0f} MiB free",
        next=f"muster train --max-memory {cheapest.memory_bytes // 2**20 + 64}m",
    )  # fmt: skip


def parse_budget_s(config: TrainConfig) -> float:
    """The time budget in seconds."""
    from passmuster.core.budget import parse_duration_s

    return parse_duration_s(config.time)


def heads_s(machine: Machine, profile: Profile, width: float = USUAL_WIDTH) -> float:
    """Seconds of one cross-validation of the logistic head."""
    inner = min(width, float(profile.n_labels))
    flops = HEAD_FITS * HEAD_EVALUATIONS * 4.0 * profile.n_labels * inner * profile.n_classes
    return 0.2 + flops / (machine.matmul_gflops * 1e9 * HEAD_EFFICIENCY)


def used_memory_bytes() -> int:
    """The most memory this process has held so far; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def describe(quotes: Sequence[Quote]) -> list[dict[str, Any]]:
    """Quotes as JSON-ready rows."""
    return [
        {"rung": q.rung, "seconds": round(q.seconds, 2), "memory_bytes": q.memory_bytes, "note": q.note,
         "refused": q.refused}
        for q in quotes
    ]  # fmt: skip
