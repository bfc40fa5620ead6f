"""The meter: what it sees of memory, children and time, and that its limit interrupts and nothing else does."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from passmuster.core import meter as module
from passmuster.core.meter import MemoryOverError, Meter, Usage, high_water_bytes, resident_bytes

MIB = 2**20
pytestmark = pytest.mark.skipif(not resident_bytes(), reason="this system does not tell what a process holds")


def hold(mib: int) -> np.ndarray:
    """So much memory, touched."""
    return np.ones(mib * MIB // 8)


def long_enough_to_be_seen() -> None:
    end = time.monotonic() + 10 * module.LOOK_EVERY_S
    while time.monotonic() < end:
        time.sleep(0.001)


def hoard(kept: list[np.ndarray]) -> None:
    """Take memory, slowly, until something happens."""
    while True:
        kept.append(hold(20))
        long_enough_to_be_seen()


def taken_now(meter: Meter) -> int:
    """What the meter sees before anything is taken: this process, and the children that earlier tests left it."""
    meter.mark_peak()
    long_enough_to_be_seen()
    return meter.mark_peak()


def test_a_peak_between_two_marks_is_seen_and_belongs_to_them() -> None:
    with Meter() as meter:
        before = taken_now(meter)
        block = hold(200)
        long_enough_to_be_seen()
        del block
        assert meter.mark_peak() >= before + 190 * MIB
        long_enough_to_be_seen()
        assert meter.mark_peak() < before + 100 * MIB
    assert meter.usage().peak_memory_bytes >= before + 190 * MIB


def test_a_short_peak_is_known_from_the_high_water_mark() -> None:
    """In a process of its own, whose high water the block raises: no look has to fall into the peak."""
    script = (
        "import numpy as np\n"
        "from passmuster.core import meter\n"
        "meter.LOOK_EVERY_S = 60\n"
        "with meter.Meter() as m:\n"
        "    before = meter.resident_bytes()\n"
        "    np.ones(40_000_000)\n"
        "print((m.usage().peak_memory_bytes - before) // 2**20)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) >= 290


def test_children_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHILDREN_EVERY", 1)
    code = "import numpy, time; block = numpy.ones(40_000_000); print('ready', flush=True); time.sleep(60)"
    with Meter() as meter:
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        try:
            assert child.stdout is not None
            child.stdout.readline()
            long_enough_to_be_seen()
        finally:
            child.kill()
            child.communicate()
    assert meter.usage().peak_memory_bytes >= resident_bytes() + 250 * MIB


def test_above_the_limit_the_work_is_interrupted_and_may_go_on_within_it() -> None:
    kept = []
    with Meter() as meter:
        meter.limit_bytes = taken_now(meter) + 150 * MIB
        for _ in range(2):  # the second time shows that the limit holds again
            with pytest.raises(MemoryOverError):
                hoard(kept)
            assert len(kept) >= 5
            kept.clear()
            meter.forgive()
        block = hold(20)
        long_enough_to_be_seen()
    assert len(block)


def test_no_library_can_swallow_the_interruption() -> None:
    assert not issubclass(MemoryOverError, Exception)


def test_after_the_block_nothing_is_interrupted() -> None:
    with Meter() as meter:
        meter.limit_bytes = resident_bytes() + 2**40
    meter.limit_bytes = 1
    long_enough_to_be_seen()
    assert not any(thread.name == "meter" for thread in threading.enumerate())


def test_usage_is_reported_while_work_goes_on_and_not_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_EVERY_S", 0.1)
    told: list[Usage] = []
    with Meter(started_s_ago=100.0) as meter:
        meter.report_to(told.append)
        while len(told) < 2:
            time.sleep(0.01)
        meter.report_to(None)
        n = len(told)
        long_enough_to_be_seen()
    assert len(told) == n
    assert 100 < told[0].seconds < told[1].seconds <= meter.usage().seconds
    assert meter.usage().cpu_seconds > 0
    assert high_water_bytes() >= resident_bytes()
