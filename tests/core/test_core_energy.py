"""Energy counters, on folders laid out as the kernel's: sums, wrap-around, what does not add up or cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from passmuster.core.energy import EnergyCounters


def zone(root: Path, folder: str, name: str, energy_uj: int, range_uj: int = 1_000_000) -> Path:
    path = root / folder
    path.mkdir(parents=True)
    (path / "name").write_text(name + "\n")
    (path / "energy_uj").write_text(f"{energy_uj}\n")
    (path / "max_energy_range_uj").write_text(f"{range_uj}\n")
    return path


def test_sockets_and_their_memory_add_up_and_parts_and_wholes_do_not(tmp_path: Path) -> None:
    zones = [
        zone(tmp_path, "intel-rapl:0", "package-0", 100),
        zone(tmp_path, "intel-rapl:1", "package-1", 100),
        zone(tmp_path, "intel-rapl:0:2", "dram", 100),
        zone(tmp_path, "intel-rapl:0:0", "core", 100),
        zone(tmp_path, "intel-rapl:2", "psys", 100),
        zone(tmp_path, "intel-rapl-mmio:0", "package-0", 100),
    ]
    counters = EnergyCounters.find(tmp_path)
    assert counters is not None
    for number, path in enumerate(zones):
        (path / "energy_uj").write_text(str(100 + 10**number))
    assert counters.read_j() == pytest.approx((1 + 10 + 100) / 1e6)


def test_a_counter_that_wrapped_around_goes_on(tmp_path: Path) -> None:
    path = zone(tmp_path, "intel-rapl:0", "package-0", 900_000)
    counters = EnergyCounters.find(tmp_path)
    assert counters is not None
    for now, total in ((990_000, 90_000), (5_000, 105_000), (405_000, 505_000), (4_000, 1_104_000)):
        (path / "energy_uj").write_text(str(now))
        assert counters.read_j() == pytest.approx(total / 1e6)


def test_without_a_counter_that_can_be_read_nothing_is_measured(tmp_path: Path) -> None:
    assert EnergyCounters.find(tmp_path / "nowhere") is None
    path = zone(tmp_path, "intel-rapl:0", "package-0", 5)
    (path / "energy_uj").unlink()  # where rights forbid it, reading fails too
    assert EnergyCounters.find(tmp_path) is None
    (path / "energy_uj").write_text("5")
    counters = EnergyCounters.find(tmp_path)
    assert counters is not None
    (path / "energy_uj").write_text("")
    assert counters.read_j() is None
