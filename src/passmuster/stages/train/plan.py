"""Prices before the start: what every rung would cost here, and whether the budget holds one at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from passmuster.core.budget import Deadline, Machine
from passmuster.core.config import TrainConfig
from passmuster.core.cost import money
from passmuster.core.errors import BudgetError, ResourceError
from passmuster.core.meter import resident_bytes
from passmuster.modality.base import Modality, Profile, Rung
from passmuster.stages.train.head_price import USUAL_WIDTH, all_heads_s, head_kind, heads_s
from passmuster.stages.train.limits import Limits
from passmuster.store.embeddings import IN_MEMORY_BYTES

FINISH_S = 2.0  # last head, guard, bundle, ledger; without what grows with the data
ENGINE_S = 0.2  # loading engines and timing them, beside what a rung quotes; what is put together has its parts' times
# What stays with the process after a fit: engines and libraries at least, and of a large fit most (torch; what the
# allocator does not give back), into which half of what the heads need fits. Seen on real runs, docs/log.md.
KEPT_BYTES = 140 * 2**20
FIT_STAYS, HEADS_ON_TOP = 0.9, 0.5
MEMORY_MARGIN = 1.1  # a limit of memory is a promise, and runs of the same size differ by so much
ITEM_BYTES = 400  # of an item, in the index of embeddings
SPREAD_ITEMS, SPREAD_BLOCK = 12_600, 1_024  # items that labels spread over, and rows of the neighbour search at once


@dataclass(frozen=True)
class Quote:
    """What one rung is expected to cost, and why it will not be tried ("" when it will).

    `seconds` are of the whole, its heads' among them. An `elastic` one takes whatever time there is, and this at least.
    """

    rung: str
    seconds: float
    memory_bytes: int
    note: str
    refused: str
    heads_seconds: float = 0.0
    elastic: bool = False

    @property
    def encoder_s(self) -> float:
        """Seconds without the heads'."""
        return self.seconds - self.heads_seconds


def quote_rungs(
    modality: Modality, config: TrainConfig, machine: Machine, profile: Profile, deadline: Deadline, limits: Limits
) -> list[Quote]:
    """A quote for each rung, cheapest first as the modality lists them.

    Raises
    ------
    BudgetError
        ``budget.time``, ``budget.cost`` or ``budget.memory`` when not even the cheapest rung fits.
    ResourceError
        ``rung.none`` when none of the rungs asked for is available.
    """
    names = config.rungs or modality.rungs.names()
    rungs = [modality.rungs[name] for name in modality.rungs.names() if name in {modality.rungs[n].name for n in names}]
    quotes: list[Quote] = []
    for rung in rungs:
        done = {quote.rung: quote.encoder_s - ENGINE_S for quote in quotes if not quote.refused}
        there = sum(done[name] for name in rung.parts) if all(name in done for name in rung.parts) else 0.0
        quotes.append(_quote(rung, config, machine, profile, deadline, limits, there))
    if all(quote.refused for quote in quotes):
        _refuse(quotes, config, profile, machine, deadline, limits)
    return quotes


def _quote(
    rung: Rung,
    config: TrainConfig,
    machine: Machine,
    profile: Profile,
    deadline: Deadline,
    limits: Limits,
    parts_s: float = 0.0,
) -> Quote:
    """`parts_s` are the seconds of rungs that this one is made of, which will be there already."""
    missing = rung.unavailable(config)
    if profile.label_sets and (rung.held_out is not None or rung.teachers):
        missing = missing or "it is not taught by sets of classes yet"
    if missing:
        return Quote(rung.name, 0.0, 0, "", f"not available: {missing}")
    price = rung.quote(machine, replace(profile, encoders=config.encoders))
    held = resident_bytes()
    memory = held + run_bytes(price.memory_bytes, profile)
    there_is = machine.memory_bytes + held
    limit = min(limits.memory_bytes, there_is) if limits.memory_bytes else there_is
    encoder_s = price.seconds - parts_s + (0.0 if parts_s else ENGINE_S)
    kind = head_kind(machine, profile, deadline.left_s)
    least_s = encoder_s + (heads_s(machine, profile, kind) if price.heads_s is None else price.heads_s) + FINISH_S
    heads = price.heads_s
    if heads is None:
        heads = all_heads_s(machine, profile, kind, sampled=rung.sampled, spread_items=config.spread_items)
    refused = ""
    if memory > limit:
        refused = f"memory: needs {memory / 2**20:.0f} MiB of {limit / 2**20:.0f}"
    elif least_s > deadline.left_s:
        refused = f"{limits.by}: needs {needs(least_s, deadline, limits)}"
    return Quote(rung.name, encoder_s + heads, memory, price.note, refused, heads, price.elastic)


def refuse_unserved(quotes: Sequence[Quote], serve: str) -> None:
    """Say before anything is learnt that the rung to be served will not be there.

    Raises
    ------
    ResourceError
        ``rung.not_there`` when `serve` names a rung that is not tried, or that is not available or does not fit.
    """
    found = next((quote for quote in quotes if quote.rung == serve), None)
    if serve and (found is None or found.refused):
        raise ResourceError(
            "rung.not_there", f"{serve} is to be served (train.serve) and will not be fitted",
            value="not among the rungs tried" if found is None else found.refused,
            limit=", ".join(quote.rung for quote in quotes if not quote.refused), next="muster train without --serve",
        )  # fmt: skip


def needs(seconds: float, deadline: Deadline, limits: Limits) -> str:
    """So much of what is left, in the unit of the tighter limit: ``12.0 s of 4.0`` or ``0.003 of 0.001 EUR``."""
    left = max(0.0, deadline.left_s)
    if limits.by == "time":
        return f"{seconds:.1f} s of {left:.1f}"
    return f"{money(limits.per_s * seconds)} of {limits.money(left)} ({seconds:.1f} s of {left:.1f})"


def _refuse(
    quotes: Sequence[Quote],
    config: TrainConfig,
    profile: Profile,
    machine: Machine,
    deadline: Deadline,
    limits: Limits,
) -> None:
    priced = [quote for quote in quotes if quote.seconds > 0]
    if not priced:
        raise ResourceError(
            "rung.none", "none of the rungs asked for is available", value="; ".join(q.refused for q in quotes),
            next="muster doctor",
        )  # fmt: skip
    late = [quote for quote in priced if not quote.refused.startswith("memory")]
    if late:
        heads = min(heads_s(machine, profile, kind) for kind in ("logistic", "discriminant"))
        least = {quote.rung: quote.encoder_s + min(heads, quote.heads_seconds) + FINISH_S for quote in late}
        cheapest = min(late, key=lambda quote: least[quote.rung])
        needed = least[cheapest.rung]
        used = limits.seconds - deadline.left_s
        enough = needed * 1.2 + used
        if limits.by == "cost":
            raise BudgetError(
                "budget.cost", f"even the cheapest rung, {cheapest.rung}, does not fit the money",
                value=limits.money(needed),
                limit=f"{limits.money(max(0.0, deadline.left_s))} left of {limits.max_cost:g}",
                next=f"muster train --max-cost {money(limits.per_s * (enough + limits.spent_s + 1.0) * 1.05)}",
            )  # fmt: skip
        raise BudgetError(
            "budget.time", f"even the cheapest rung, {cheapest.rung}, does not fit the time", value=f"{needed:.1f} s",
            limit=f"{max(0.0, deadline.left_s):.1f} s left of {config.time}",
            next=f"muster train --time {int(enough) + 1}s",
        )  # fmt: skip
    cheapest = min(priced, key=lambda quote: quote.memory_bytes)
    raise BudgetError(
        "budget.memory", f"even {cheapest.rung} does not fit the memory",
        value=f"{cheapest.memory_bytes / 2**20:.0f} MiB",
        limit=config.max_memory or f"{machine.memory_bytes / 2**20:.0f} MiB free",
        next=f"muster train --max-memory {cheapest.memory_bytes // 2**20 + 64}m",
    )  # fmt: skip


def run_bytes(fit_bytes: int, profile: Profile) -> int:
    """Memory of a whole run whose fit takes `fit_bytes`: of the fit, or of the heads in what the fit left them."""
    heads = heads_bytes(profile)
    most = max(fit_bytes, KEPT_BYTES + heads, FIT_STAYS * fit_bytes + HEADS_ON_TOP * heads)
    return int(MEMORY_MARGIN * most)


def heads_bytes(profile: Profile, width: float = USUAL_WIDTH) -> int:
    """Memory of the embeddings as far as they lie in it, their index, and heads whose labels spread over a part."""
    held = min(3 * profile.n_pool * width, IN_MEMORY_BYTES / 4) + ITEM_BYTES / 4 * profile.n_pool
    spread = min(profile.n_pool, SPREAD_ITEMS)  # more of them only where there is room: see `climb`
    block = 4 * min(spread, SPREAD_BLOCK) * spread  # similarities of a block, their copy, and their order
    return int(4 * (held + 3 * spread * width + block + 8 * spread * profile.n_classes))


def describe(quotes: Sequence[Quote]) -> list[dict[str, Any]]:
    """Quotes as JSON-ready rows."""
    return [
        {"rung": q.rung, "seconds": round(q.seconds, 2), "memory_bytes": q.memory_bytes, "note": q.note,
         "refused": q.refused, "heads_seconds": round(q.heads_seconds, 2), "elastic": q.elastic}
        for q in quotes
    ]  # fmt: skip
