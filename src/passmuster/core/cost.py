"""From what was used to what it cost, by the price table of the project (`[cost]` in muster.toml)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from passmuster.core.config import CostConfig
from passmuster.core.errors import UsageError
from passmuster.core.meter import Usage

JOULES_PER_KWH = 3.6e6
DAYS_PER_MONTH = 30.4
_DAYS = {"day": 1.0, "week": 7.0, "month": DAYS_PER_MONTH, "year": 365.0}
_MANY = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9}


@dataclass(frozen=True)
class Cost:
    """What a piece of work cost. `money` is the sum of machine and energy; the latter is 0 where it is included.

    `energy_how` is "measured" (the processor's counters, other work included) or "estimated" (processor seconds times
    the stated watts of a busy core).
    """

    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    energy_kwh: float
    energy_how: Literal["measured", "estimated"]
    money: float
    money_machine: float
    money_energy: float
    currency: str
    per_hour: float
    n_cores: int
    n_gpus: int


def cost_of(usage: Usage, prices: CostConfig) -> Cost:
    """Price what was used.

    >>> cost = cost_of(Usage(3600.0, 7200.0, 2**30, None, 2), CostConfig(per_core_hour=0.04, watts_per_core=10.0))
    >>> round(cost.money, 4), cost.energy_kwh, cost.energy_how
    (0.08, 0.02, 'estimated')
    """
    check_prices(prices)
    estimated = usage.cpu_seconds * prices.watts_per_core
    joules = estimated if usage.energy_j is None else usage.energy_j
    per_hour = machine_per_hour(prices, usage.n_cores, usage.n_gpus)
    machine = per_hour * usage.seconds / 3600.0
    energy = 0.0 if prices.energy_included else joules / JOULES_PER_KWH * prices.per_kwh
    return Cost(
        seconds=round(usage.seconds, 3),
        cpu_seconds=round(usage.cpu_seconds, 3),
        peak_memory_bytes=usage.peak_memory_bytes,
        energy_kwh=joules / JOULES_PER_KWH,
        energy_how="estimated" if usage.energy_j is None else "measured",
        money=machine + energy,
        money_machine=machine,
        money_energy=energy,
        currency=prices.currency,
        per_hour=per_hour,
        n_cores=usage.n_cores,
        n_gpus=usage.n_gpus,
    )


def in_words(cost: Mapping[str, Any]) -> str:
    """A `Cost`, as JSON holds it, in one line for people.

    >>> from passmuster.core.codec import to_plain
    >>> in_words(to_plain(cost_of(Usage(60.0, 90.0, 2**30, None, 2), CostConfig(per_core_hour=0.03))))
    '0.0010 EUR: 60.0 s on 2 cores, 0.00025 kWh (estimated), 1,024 MiB at most'
    """
    gpus = f" and {cost['n_gpus']} GPU" if cost["n_gpus"] else ""
    return (
        f"{money(cost['money'])} {cost['currency']}: {cost['seconds']:.1f} s on {cost['n_cores']} cores{gpus}, "
        f"{cost['energy_kwh']:.2g} kWh ({cost['energy_how']}), {cost['peak_memory_bytes'] / 2**20:,.0f} MiB at most"
    )


def machine_per_hour(prices: CostConfig, n_cores: int, n_gpus: int) -> float:
    """Price of holding the machine for an hour: every core, busy or not, or its own price, and cards that were used."""
    cores = prices.per_machine_hour or prices.per_core_hour * n_cores
    return cores + prices.per_gpu_hour * n_gpus


def price_per_s(prices: CostConfig, n_cores: int, n_gpus: int) -> float:
    """What a second of work on all cores costs: the machine, and its energy at the stated watts where it is paid apart.

    >>> round(3600 * price_per_s(CostConfig(per_core_hour=0.05), 2, 0), 3)
    0.1
    """
    check_prices(prices)
    watts = 0.0 if prices.energy_included else n_cores * prices.watts_per_core
    return (machine_per_hour(prices, n_cores, n_gpus) + watts / 1000.0 * prices.per_kwh) / 3600.0


def check_prices(prices: CostConfig) -> None:
    """Every number of the table is finite and not negative.

    Raises
    ------
    UsageError
        ``cost.price``.
    """
    for entry in fields(prices):
        value = getattr(prices, entry.name)
        if isinstance(value, float) and not (math.isfinite(value) and value >= 0):
            raise UsageError(
                "cost.price", f"cost.{entry.name} is no price", value=value, limit="0 or more",
                next="see docs/how-to/budget.md",
            )  # fmt: skip


def parse_volume(text: str) -> float:
    """Predictions a month in ``"1m/month"``, ``"2000/day"`` or ``"500k"`` (a month).

    >>> parse_volume("1m/month"), parse_volume("70/week")
    (1000000.0, 304.0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmb]?)\s*(?:/\s*(day|week|month|year))?", text.strip().lower())
    if not match:
        raise UsageError(
            "cost.volume", "not a number of predictions", value=text, next="write it like 1m/month, 2000/day or 500k"
        )
    return float(match[1]) * _MANY[match[2]] * DAYS_PER_MONTH / _DAYS[match[3] or "month"]


def money(amount: float) -> str:
    """An amount with as many digits as tell something.

    >>> money(12.3456), money(0.0001234), money(0.0)
    ('12.35', '0.00012', '0')
    """
    if amount == 0:
        return "0"
    return f"{amount:.2f}" if amount >= 1 else f"{amount:.{1 - math.floor(math.log10(abs(amount)))}f}"
