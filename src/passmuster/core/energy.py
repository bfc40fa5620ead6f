"""Energy by the processor's own counters, as Linux shows them (powercap, RAPL); None where they cannot be read.

A counter of a package counts the whole processor, so other work on the machine is in it. Since 2020 most systems let
only the administrator read them (CVE-2020-8694); then energy is estimated from processor seconds, and marked so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
# Zones that add up: sockets, and the memory beside them. The others (core, uncore, psys) are parts or wholes of these,
# and `intel-rapl-mmio` is another view of the same socket.
ADDITIVE = ("package", "dram")


@dataclass
class EnergyCounters:
    """Counters that were readable at the start. `read_j` must be called more often than a counter wraps around.

    A counter runs to `max_energy_range_uj` and begins again; on a busy server that takes some minutes.

    Examples
    --------
    >>> EnergyCounters.find(Path("/nowhere")) is None
    True
    """

    zones: Sequence[Path]
    total_uj: int = 0
    _last: dict[Path, int] = field(default_factory=dict)

    @classmethod
    def find(cls, root: Path = POWERCAP) -> EnergyCounters | None:
        """The counters that can be read here, begun at zero; None when a socket's cannot, or there are none."""
        zones = sorted(path for path in root.glob("intel-rapl:*") if _name(path).startswith(ADDITIVE))
        if not any(_name(zone).startswith("package") for zone in zones):
            return None
        found = cls(zones)
        try:
            found._last = {zone: _microjoules(zone, "energy_uj") for zone in zones}
        except (OSError, ValueError):
            return None
        return found

    def read_j(self) -> float | None:
        """Joules since the start, a wrap-around since the last reading included; None once a counter has failed."""
        try:
            for zone in self.zones:
                now = _microjoules(zone, "energy_uj")
                step = now - self._last[zone]
                self.total_uj += step if step >= 0 else step + _microjoules(zone, "max_energy_range_uj")
                self._last[zone] = now
        except (OSError, ValueError):
            return None
        return self.total_uj / 1e6


def _name(zone: Path) -> str:
    try:
        return (zone / "name").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _microjoules(zone: Path, file: str) -> int:
    return int((zone / file).read_text(encoding="ascii"))
