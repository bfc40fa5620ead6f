"""A command on a terminal of its own, typed at by a test."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

WAIT_S = 60.0


class Terminal:
    """What a person sees on stderr and types; stdout is collected apart."""

    def __init__(self, process: subprocess.Popen[str], master: int) -> None:
        self.process, self._master, self.seen = process, master, ""

    def until(self, text: str) -> str:
        """Read until `text` shows up; returns what came since the last call."""
        end, came = time.monotonic() + WAIT_S, ""
        while text not in came:
            ready, _, _ = select.select([self._master], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{text!r} did not come; seen: {self.seen[-2000:]}"
            try:
                part = os.read(self._master, 65_536).decode(errors="replace")
            except OSError:  # the other end is closed
                part = ""
            assert part, f"it ended before {text!r} came; seen: {self.seen[-2000:]}"
            came, self.seen = came + part, self.seen + part
        return came

    def type(self, line: str) -> None:
        os.write(self._master, f"{line}\n".encode())

    def end(self) -> str:
        """What was said on stdout, once it has ended."""
        assert self.process.stdout
        told = self.process.stdout.read()
        self.process.wait(WAIT_S)
        return told


@contextlib.contextmanager
def terminal(folder: Path, *words: str) -> Iterator[Terminal]:
    """`muster` with these words on a pseudo-terminal; skips where there is none."""
    pty = pytest.importorskip("pty", reason="no pseudo-terminals on this system")
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "passmuster", "-C", str(folder), *words]
    process = subprocess.Popen(command, stdin=slave, stderr=slave, stdout=subprocess.PIPE, text=True)
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()
        os.close(master)
