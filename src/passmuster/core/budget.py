"""Budgets: a deadline that is kept, what a duration like ``10m`` means, and what this machine has."""

from __future__ import annotations

import math
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from passmuster.core.errors import UsageError
from passmuster.core.threads import limits_threads, one_thread

_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
OF_ONE = 0.9  # of one core's speed that each has when all are at work
_UNITS_BYTES = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}


def parse_duration_s(given: str | float) -> float:
    """Seconds in a duration such as ``"90s"``, ``"10m"``, ``"1h30m"`` or ``"45"``; a number is seconds already.

    Raises
    ------
    UsageError
        ``budget.duration``.

    >>> parse_duration_s("1h30m"), parse_duration_s(60)
    (5400.0, 60.0)
    """
    words = given.strip().lower() if isinstance(given, str) else ""
    if isinstance(given, (int, float)) and not isinstance(given, bool) and 0 <= given < math.inf:
        return float(given)
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([smhd]?)", words)
    if not parts or "".join(n + u for n, u in parts) != re.sub(r"\s", "", words):
        raise UsageError("budget.duration", "not a duration", value=given, next="write it like 90s, 10m or 1h30m")
    return sum(float(number) * _UNITS_S[unit or "s"] for number, unit in parts)


def parse_bytes(text: str) -> int:
    """Bytes in a size such as ``"2g"``, ``"512MiB"``.

    >>> parse_bytes("2g")
    2147483648
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]?)(i?b)?", text.strip().lower())
    if not match:
        raise UsageError("budget.size", "not a size", value=text, next="write it like 512m or 2g")
    return int(float(match[1]) * _UNITS_BYTES[match[2]])


@dataclass(frozen=True)
class Deadline:
    """A moment on the monotonic clock. `Deadline.after(60)` ends in a minute.

    >>> Deadline.after(60).left_s > 59
    True
    """

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(time.monotonic() + seconds)

    @property
    def left_s(self) -> float:
        """Seconds left; negative when past."""
        return self.at - time.monotonic()

    @property
    def passed(self) -> bool:
        return self.left_s <= 0

    def sooner(self, seconds: float) -> Deadline:
        """A deadline `seconds` before this one, to leave room for what comes after."""
        return Deadline(self.at - seconds)


@dataclass(frozen=True)
class Machine:
    """What quotes are made for. `matmul_gflops` is measured once per process, float32, all cores."""

    n_cores: int
    memory_bytes: int
    matmul_gflops: float


VISIBLE_CARDS = "CUDA_VISIBLE_DEVICES"  # the variable by which a process is kept from cards, torch too


def count_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def count_gpus(devices: Path = Path("/dev")) -> int:
    """NVIDIA cards that this process may see."""
    cards = len(list(devices.glob("nvidia[0-9]*")))
    allowed = os.environ.get(VISIBLE_CARDS)
    if allowed is None:
        return cards
    return min(cards, len([name for name in allowed.split(",") if name.strip() and not name.strip().startswith("-")]))


def process_start_age_s() -> float:
    """Seconds since this process began, imports included; 0 where the system does not tell."""
    try:
        ticks = float(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks)
    except (OSError, AttributeError, IndexError, ValueError):
        return 0.0


def measure_machine() -> Machine:
    """Look at this machine; takes about a tenth of a second.

    The speed is the best that was seen, of all cores at once or of one alone times their number: what others take of a
    machine comes and goes, and threads that wait for a core that others have make a product ten times as slow.
    """
    import numpy as np

    a = np.ones((768, 768), dtype=np.float32)
    a @ a
    n_cores = count_cores()
    best = min(_timed(lambda: a @ a) for _ in range(5))
    with one_thread():
        alone = min(_timed(lambda: a @ a) for _ in range(5))
    seconds = min(best, alone / (n_cores * OF_ONE)) if n_cores > 1 and limits_threads() else best
    return Machine(n_cores, _memory_bytes(), 2 * 768**3 / seconds / 1e9)


def _timed(work: object) -> float:
    start = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - start


def _memory_bytes() -> int:
    """Memory that can be had without swapping: the system's estimate, else the free pages."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, AttributeError, OSError):
        return 4 * 2**30
