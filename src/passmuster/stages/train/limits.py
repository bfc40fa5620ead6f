"""The limits of a training: time, money and memory, and which of the first two is the tighter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from passmuster.core.budget import count_cores, parse_bytes, parse_duration_s
from passmuster.core.config import Config
from passmuster.core.cost import money, price_per_s
from passmuster.core.errors import UsageError
from passmuster.learn.device import training_device


@dataclass(frozen=True)
class Limits:
    """What a training may take. Money is a deadline too: what is left of it, over what a second costs.

    Money that processes killed before had spent is gone; their time is not counted, because `time_s` is a command's.

    Examples
    --------
    >>> limits = Limits(time_s=600.0, max_cost=0.01, per_s=0.0001, spent_s=20.0)
    >>> limits.by, limits.seconds
    ('cost', 80.0)
    """

    time_s: float
    max_cost: float = 0.0  # 0: no limit
    per_s: float = 0.0  # money
    currency: str = ""
    spent_s: float = 0.0  # by earlier processes of the same run
    memory_bytes: int = 0  # 0: what the machine has

    @property
    def cost_s(self) -> float:
        """Seconds that the money left buys."""
        if not self.max_cost or not self.per_s:
            return math.inf
        return max(0.0, self.max_cost / self.per_s - self.spent_s)

    @property
    def seconds(self) -> float:
        """Seconds of this process, by the tighter limit."""
        return min(self.time_s, self.cost_s)

    @property
    def by(self) -> str:
        """Which limit is the tighter: "time" or "cost"."""
        return "cost" if self.cost_s < self.time_s else "time"

    def money(self, seconds: float) -> str:
        """What so many seconds cost, for people."""
        return f"{money(self.per_s * seconds)} {self.currency}"

    @property
    def memory_words(self) -> str:
        """The memory limit, for people."""
        return f"{self.memory_bytes / 2**20:.0f} MiB" if self.memory_bytes else "what the machine has"

    def line(self) -> str:
        """The tighter limit in one sentence, where there are two; "" where money is not limited."""
        if not self.max_cost:
            return ""
        gone = f", {money(self.per_s * self.spent_s)} of it spent before the stop" if self.spent_s else ""
        at = f"at {money(self.per_s * 3600)} {self.currency} an hour"
        if self.by == "cost":
            return f"{self.seconds:.0f} s: the money is the tighter limit ({money(self.max_cost)} {at}{gone})"
        return (
            f"{self.seconds:.0f} s: the time is the tighter limit ({money(self.max_cost)} {at} would last longer{gone})"
        )

    def facts(self) -> dict[str, Any]:
        """What the plan, the ledger and the cost say of the limits."""
        return {
            "by": self.by,
            "seconds": round(self.seconds, 3),
            "time_s": self.time_s,
            "max_cost": self.max_cost,
            "per_s": self.per_s,
            "currency": self.currency,
            "spent_s": round(self.spent_s, 3),
            "memory_bytes": self.memory_bytes,
        }


def limits_of(config: Config, time_s: float, *, spent_s: float = 0.0) -> Limits:
    """The limits that the configuration sets. A second is priced with the card that training would take, if any.

    Raises
    ------
    UsageError
        ``budget.money``, ``budget.size``, ``cost.price``.
    """
    max_cost = config.train.max_cost
    if not math.isfinite(max_cost) or max_cost < 0:
        raise UsageError("budget.money", "not an amount of money", value=max_cost, next="write it like --max-cost 0.05")
    return Limits(
        time_s=time_s,
        max_cost=max_cost,
        per_s=price_per_s(config.cost, count_cores(), int(training_device() == "cuda")),
        currency=config.cost.currency,
        spent_s=spent_s if max_cost else 0.0,
        memory_bytes=parse_bytes(config.train.max_memory) if config.train.max_memory else 0,
    )


def time_of(config: Config) -> float:
    """The time budget of the configuration, in seconds."""
    return parse_duration_s(config.train.time)
