"""Threads that nobody waits for: as many as asked for, errors handed back, gone with their owner, no end held up."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time

import pytest

from passmuster.core.waiting import Waiters


def test_as_many_at_a_time_as_there_may_be_and_no_more() -> None:
    waiters, go, begun = Waiters(3, "t"), threading.Event(), threading.Semaphore(0)

    def job(n: int) -> int:
        begun.release()
        assert go.wait(10)
        return n

    jobs = [waiters.submit(job, n) for n in range(7)]
    for _ in range(3):
        assert begun.acquire(timeout=5)
    assert not begun.acquire(timeout=0.1), "a fourth has to wait"
    assert jobs[6].cancel(), "what has not begun can be taken back"
    go.set()
    assert [job.result(5) for job in jobs[:6]] == list(range(6))
    again = [waiters.submit(job, n) for n in range(3)]
    assert [job.result(5) for job in again] == [0, 1, 2]


def test_an_error_is_handed_back_and_the_thread_goes_on() -> None:
    waiters = Waiters(1, "t")
    with pytest.raises(ZeroDivisionError):
        waiters.submit(divmod, 1, 0).result(5)
    assert waiters.submit(divmod, 7, 2).result(5) == (3, 1)


def test_its_threads_end_with_it() -> None:
    waiters = Waiters(2, "to-be-dropped")
    waiters.submit(int).result(5)
    del waiters
    gc.collect()
    end = time.monotonic() + 5
    while any(thread.name.startswith("to-be-dropped") for thread in threading.enumerate()):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_process_does_not_wait_for_them() -> None:
    code = "import time\nfrom passmuster.core.waiting import Waiters\nWaiters(1, 'w').submit(time.sleep, 60)"
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
    assert time.perf_counter() - start < 20
