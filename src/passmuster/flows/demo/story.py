"""The teller of a demo: runs the commands a user would type, as processes of their own, and checks what came of them.

A check that does not hold makes the demo fail: it is a test of the whole way, not a show.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from passmuster.core.errors import MusterError
from passmuster.store.store import Store

BUSY = 0.6  # of the clock's seconds: with less processor time than that, something else had the machine


@dataclass
class Story:
    """A demo under way in `folder`. `checks` holds ``(what should be, whether it is, what was seen)``."""

    folder: Path
    checks: list[tuple[str, bool, str]] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def chapter(self, title: str) -> None:
        """Print a heading with the time gone so far."""
        print(f"\n── {title} ── {time.monotonic() - self.started:.0f} s", flush=True)

    def run(self, project: Path, *words: str, expect: int = 0) -> str:
        """Run ``muster WORDS`` in `project`, show what it prints, and check its exit code; returns its stdout."""
        print(f"$ muster {' '.join(_quoted(w) for w in words)}", flush=True)
        done = subprocess.run(self._command(project, words), stdout=subprocess.PIPE, text=True, env=_environment())
        print(done.stdout, end="", flush=True)
        self.check(f"muster {words[0]} exits with {expect}", done.returncode == expect, f"exit {done.returncode}")
        return done.stdout

    def check(self, what: str, holds: bool, seen: str) -> None:
        """Note whether something came out as it should; a failure ends the demo at once, keeping the folder."""
        self.checks.append((what, holds, seen))
        if not holds:
            self.summary()
            raise MusterError(
                "demo.failed", f"the demo did not come out as it should: {what}", value=seen, where=self.folder,
                next="please report this, with the output above",
            )  # fmt: skip

    def wait_until(self, what: str, holds: Callable[[], bool], *, limit_s: float = 30.0) -> None:
        """Wait for something that another process does."""
        end = time.monotonic() + limit_s
        while not holds():
            if time.monotonic() > end:
                self.check(what, False, f"not within {limit_s:.0f} s")
            time.sleep(0.1)
        self.check(what, True, "seen")

    @contextlib.contextmanager
    def serving(self, project: Path) -> Iterator[Client]:
        """A server (``muster serve --port 0``) on a free loopback port while the block runs; drained at the end."""
        print("$ muster serve --port 0 &", flush=True)
        with self._process(project, ("--json", "serve", "--port", "0")) as process:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                self.check("the server starts", False, f"exit {process.wait()}")
            url = json.loads(line)["data"]["url"]
            print(f"serving on {url}", flush=True)
            client = Client(url)
            try:
                yield client
            finally:
                client.close()
        self.check("the server drains and exits with 0", process.returncode == 0, f"exit {process.returncode}")

    @contextlib.contextmanager
    def watching(self, project: Path) -> Iterator[None]:
        """A watcher (``muster watch``) while the block runs."""
        print("$ muster watch &", flush=True)
        with self._process(project, ("-q", "watch", "--interval", "0.2s")):
            yield

    @contextlib.contextmanager
    def _process(self, project: Path, words: tuple[str, ...]) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(self._command(project, words), stdout=subprocess.PIPE, text=True, env=_environment())
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout:
                process.stdout.close()

    def _command(self, project: Path, words: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "passmuster", "-C", str(project), *words]

    def summary(self) -> None:
        """Print what was checked."""
        from rich.console import Console
        from rich.table import Table

        table = Table("what should be", "", "what was seen", title="what was checked", title_justify="left")
        for what, holds, seen in self.checks:
            if holds and what.startswith("muster "):
                continue  # exit codes are shown only where they are wrong
            table.add_row(what, "yes" if holds else "NO", seen)
        Console().print(table)

    def ending(self, report: Path, *, limit_s: float, limit_bytes: int) -> None:
        """Check time and memory, print the summary and where the report lies.

        On a machine that others use, the clock says little of Muster: then its own processor time is what must fit.
        """
        seconds, peak_bytes = time.monotonic() - self.started, peak_memory_bytes()
        processor_s = processor_seconds()
        is_busy = seconds > limit_s and 0 < processor_s < seconds * BUSY
        seen = f"{seconds:.0f} s" + (f" on a busy machine, {processor_s:.0f} s of processor time" if is_busy else "")
        self.check(f"at most {limit_s:.0f} s", (processor_s if is_busy else seconds) <= limit_s, seen)
        self.check(
            f"at most {limit_bytes / 2**30:.0f} GiB in any process",
            peak_bytes <= limit_bytes,
            f"{peak_bytes / 2**30:.2f} GiB",
        )
        self.summary()
        print(f"\nThe report, to open in a browser: {report}")


@dataclass
class Client:
    """A caller of the server over real HTTP, one connection kept alive."""

    url: str
    _connection: http.client.HTTPConnection | None = None

    def post(self, path: str, body: Any) -> dict[str, Any]:
        """POST `body` as JSON and return the JSON answer; anything but 200 is an error."""
        parts = urlsplit(self.url)
        if self._connection is None:
            self._connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=30)
        self._connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        response = self._connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise MusterError("demo.http", "the server did not answer 200", value=response.status, where=text.decode())
        answer: dict[str, Any] = json.loads(text)
        return answer

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def open_store(project: Path) -> Store:
    """The project's store, for looking at what the commands left in it."""
    return Store.open(project)


def peak_memory_bytes() -> int:
    """The largest resident memory of any child process so far; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit


def processor_seconds() -> float:
    """Processor time of all ended child processes so far; 0 where the system does not tell."""
    times = os.times()
    return times.children_user + times.children_system


def _environment() -> dict[str, str]:
    """The user's environment, without settings of another project."""
    return {k: v for k, v in os.environ.items() if not k.startswith("MUSTER_") or k.startswith("MUSTER_BENCH_")}


def _quoted(word: str) -> str:
    return f'"{word}"' if " " in word else word
