"""Prices: from what was used to money, what a second costs, and numbers of predictions as people write them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from passmuster.core.config import CostConfig
from passmuster.core.cost import check_prices, cost_of, parse_volume, price_per_s
from passmuster.core.errors import UsageError
from passmuster.core.meter import Usage

HOUR = Usage(seconds=3600.0, cpu_seconds=5400.0, peak_memory_bytes=2**30, energy_j=None, n_cores=4)
PRICES = CostConfig(per_core_hour=0.05, per_gpu_hour=2.0, per_kwh=0.5, watts_per_core=20.0)


def test_a_machine_is_paid_by_its_cores_whether_they_are_busy_or_not() -> None:
    cost = cost_of(HOUR, PRICES)
    assert cost.money == pytest.approx(4 * 0.05)
    assert cost.money_energy == 0.0
    assert (cost.energy_how, cost.energy_kwh) == ("estimated", pytest.approx(5400 * 20 / 3.6e6))


def test_a_price_of_the_whole_machine_stands_instead_of_the_cores() -> None:
    assert cost_of(HOUR, replace(PRICES, per_machine_hour=0.3)).money == pytest.approx(0.3)
    with_card = cost_of(replace(HOUR, n_gpus=1), replace(PRICES, per_machine_hour=0.3))
    assert with_card.money == pytest.approx(2.3)


def test_energy_is_paid_besides_where_it_is_not_included_and_measured_beats_estimated() -> None:
    apart = replace(PRICES, energy_included=False)
    assert cost_of(HOUR, apart).money_energy == pytest.approx(0.03 * 0.5)
    measured = cost_of(replace(HOUR, energy_j=7.2e6), apart)
    assert (measured.energy_how, measured.energy_kwh) == ("measured", 2.0)
    assert measured.money == pytest.approx(0.2 + 1.0)


@pytest.mark.parametrize("included", [True, False])
def test_an_hour_at_full_load_costs_what_a_second_costs_3600_times(included: bool) -> None:
    """The deadline that money becomes is not later than the money lasts."""
    prices = replace(PRICES, energy_included=included)
    busy = replace(HOUR, cpu_seconds=3600.0 * HOUR.n_cores)
    assert cost_of(busy, prices).money == pytest.approx(3600 * price_per_s(prices, HOUR.n_cores, 0))


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
@pytest.mark.parametrize("name", ["per_core_hour", "per_kwh", "per_label", "months"])
def test_what_is_no_price_is_told(name: str, value: float) -> None:
    with pytest.raises(UsageError) as caught:
        check_prices(replace(PRICES, **{name: value}))
    assert caught.value.code == "cost.price"
    assert f"cost.{name}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "per_month"),
    [("1m/month", 1e6), ("500k", 5e5), ("1000/day", 30_400), ("12b/year", 12e9 * 30.4 / 365), (" 7 / WEEK ", 30.4)],
)
def test_volumes(text: str, per_month: float) -> None:
    assert parse_volume(text) == pytest.approx(per_month)


@pytest.mark.parametrize("text", ["", "many", "-1/day", "1m/hour", "1e6"])
def test_what_is_no_volume_is_told(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_volume(text)
    assert caught.value.code == "cost.volume"
