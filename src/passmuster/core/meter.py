"""What a piece of work takes while it runs: seconds, processor seconds, memory with its children, energy.

    with Meter(limit_bytes=2**30) as meter:
        meter.report_to(write_down)  # every two seconds, for what must survive a kill
        work()
    meter.usage()

A thread looks twenty times a second. Above `limit_bytes` it raises `MemoryOverError` in the thread that entered the
block, at its next Python instruction: one long call into C may go over first, which `Usage.peak_memory_bytes` tells.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from passmuster.core.budget import count_cores
from passmuster.core.energy import EnergyCounters

LOOK_EVERY_S = 0.05
BEAT_EVERY_S = 2.0
CHILDREN_EVERY = 10  # looks
OUT_OF_MEMORY = ("allocate memory", "bad allocation", "bad_alloc", "CUDA out of memory")  # torch, ONNX Runtime


@dataclass(frozen=True)
class Usage:
    """What was used. `energy_j` is measured for the whole processor, None where nothing can be read.

    >>> once = Usage(2.0, 3.0, 100, None, 2)
    >>> once.plus(Usage(1.0, 1.0, 300, 5.0, 2))
    Usage(seconds=3.0, cpu_seconds=4.0, peak_memory_bytes=300, energy_j=None, n_cores=2, n_gpus=0)
    """

    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    energy_j: float | None
    n_cores: int
    n_gpus: int = 0

    def plus(self, other: Usage) -> Usage:
        """Both, one after the other: sums, and the higher peak. Energy that was not measured in one is not known."""
        measured = self.energy_j is not None and other.energy_j is not None
        return Usage(
            self.seconds + other.seconds,
            self.cpu_seconds + other.cpu_seconds,
            max(self.peak_memory_bytes, other.peak_memory_bytes),
            (self.energy_j or 0.0) + (other.energy_j or 0.0) if measured else None,
            max(self.n_cores, other.n_cores),
            max(self.n_gpus, other.n_gpus),
        )


_card_uses = 0  # of this process


def note_card() -> None:
    """Work on a card begins in this process. Of every meter under way, from here on it is paid for."""
    global _card_uses
    _card_uses += 1


class MemoryOverError(BaseException):
    """The memory given was used up. Not an `Exception`, so that no library swallows it."""


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether this error, of Python or of a library that allocates for itself, says that memory ran out.

    >>> ran_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"))
    True
    >>> ran_out_of_memory(RuntimeError("shapes do not fit"))
    False
    """
    if isinstance(error, (MemoryOverError, MemoryError)):
        return True
    return isinstance(error, Exception) and any(words in str(error) for words in OUT_OF_MEMORY)


class Meter:
    """Usage of this process and its children since the start of the block; see the module.

    Parameters
    ----------
    limit_bytes : int
        Resident memory at which the work is interrupted; 0 for none. May be set later.
    started_s_ago : float
        Seconds that were used before, by the same process (its imports, for instance); they count.
    energy : EnergyCounters
        The machine's when None.
    """

    def __init__(
        self,
        *,
        limit_bytes: int = 0,
        started_s_ago: float = 0.0,
        energy: EnergyCounters | None = None,
    ) -> None:
        self.limit_bytes = limit_bytes
        self._beat: Callable[[Usage], None] | None = None
        self._beating = threading.Lock()
        self._energy = energy or EnergyCounters.find()
        self._began = time.monotonic() - started_s_ago
        self._cpu_before = 0.0 if started_s_ago else _cpu_s()
        self._high_before, self._high_marked = high_water_bytes(), high_water_bytes()
        self._peak, self._since_mark = resident_bytes(), resident_bytes()
        self._energy_j = self._energy.read_j() if self._energy else None
        self._card_uses_before = _card_uses
        self._thread_id = 0
        self._over = False
        self._guard = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="meter", daemon=True)

    def __enter__(self) -> Meter:
        self._thread_id = threading.get_ident()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        with self._guard:  # from here on nothing is raised any more
            if self._over and kind is not MemoryOverError:
                _raise_in(self._thread_id, None)  # asked for, and not arrived yet: the block is over
        self._thread.join()
        self._look(children=True)

    def usage(self) -> Usage:
        """What was used so far; also without entering the block, where nothing is watched and no limit holds."""
        with self._guard:
            self._read_energy()
        high = high_water_bytes()
        peak = max(self._peak, high) if high > self._high_before else self._peak
        return Usage(
            seconds=time.monotonic() - self._began,
            cpu_seconds=_cpu_s() - self._cpu_before,
            peak_memory_bytes=peak,
            energy_j=self._energy_j,
            n_cores=count_cores(),
            n_gpus=int(_card_uses > self._card_uses_before),  # training takes one card, whatever there are
        )

    def report_to(self, beat: Callable[[Usage], None] | None) -> None:
        """Tell `beat` the usage now and every two seconds, on the meter's thread; None ends it, and waits for it."""
        with self._beating:
            self._beat = beat
            if beat is not None:
                beat(self.usage())

    def mark_peak(self) -> int:
        """The most memory held since the last mark, in bytes."""
        high, now = high_water_bytes(), resident_bytes()
        peak = max(self._since_mark, now, high if high > self._high_marked else 0)
        self._since_mark, self._high_marked = now, high
        return peak

    def forgive(self) -> None:
        """Go on after a `MemoryOverError`: what can be given back is, and the limit holds again."""
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)  # glibc keeps freed memory otherwise
        self._over = False

    def _watch(self) -> None:
        looks, beaten = 0, time.monotonic()
        while not self._stop.wait(LOOK_EVERY_S):
            looks += 1
            self._look(children=looks % CHILDREN_EVERY == 0)
            if time.monotonic() - beaten > BEAT_EVERY_S:
                beaten = time.monotonic()
                with self._beating:
                    if self._beat is not None:
                        self._beat(self.usage())

    def _look(self, *, children: bool) -> None:
        held = resident_bytes() + (_children_bytes() if children else 0)
        self._peak, self._since_mark = max(self._peak, held), max(self._since_mark, held)
        with self._guard:
            if children:
                self._read_energy()
            if self.limit_bytes and held > self.limit_bytes and not (self._over or self._stop.is_set()):
                self._over = True
                _raise_in(self._thread_id, MemoryOverError)

    def _read_energy(self) -> None:
        if self._energy is not None:
            self._energy_j = self._energy.read_j()


def resident_bytes() -> int:
    """Memory that this process holds now; where the system does not tell, the most it has held."""
    return _resident_of("self") or high_water_bytes()


def high_water_bytes() -> int:
    """The most memory this process has ever held; 0 where the system does not tell.

    Linux is asked for the address space's own mark: that of `getrusage` begins with what the parent held at the fork.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _resident_of(process: str) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0


def _children_bytes() -> int:
    total, waiting = 0, ["self"]
    while waiting:
        process = waiting.pop()
        with contextlib.suppress(OSError):  # it has ended meanwhile, or this is not Linux
            for children in Path(f"/proc/{process}/task").glob("*/children"):
                found = children.read_text().split()
                waiting += found
                total += sum(_resident_of(child) for child in found)
    return total


def _cpu_s() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _raise_in(thread_id: int, error: type[BaseException] | None) -> None:
    """Raise `error` in a thread at its next instruction; None takes back what has not arrived."""
    target = ctypes.py_object(error) if error is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), target)
