"""One run of the command: its global options, how it shows progress, and how it says what it did."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

import typer

from passmuster.core.codec import to_plain
from passmuster.core.errors import MusterError
from passmuster.core.progress import Progress, Silent

if TYPE_CHECKING:
    from passmuster.store.store import Store

T = TypeVar("T")
LIMIT_FLAGS = {"train.time": "--time", "train.max_cost": "--max-cost", "train.max_memory": "--max-memory"}


@dataclass
class Session:
    """Global options. `overrides` are configuration keys given as flags."""

    folder: Path = field(default_factory=Path.cwd)
    as_json: bool = False
    quiet: bool = False
    verbose: bool = False
    yes: bool = False
    no_input: bool = False
    dry_run: bool = False
    overrides: dict[str, Any] = field(default_factory=dict)
    verb: str = ""
    at_end: Callable[[Callable[[], None]], object] | None = None  # takes what is to be called when the command ends

    def store(self) -> Store:
        """The project's store; the project is the nearest folder at or above `folder` with a muster.toml."""
        from passmuster.core.config_file import find_project
        from passmuster.store.store import Store

        store = Store.open(find_project(self.folder), overrides=self.overrides)
        if self.at_end is not None:
            self.at_end(store.close)
        return store

    @property
    def progress(self) -> Progress:
        """Bars with ETA on a terminal's stderr; lines otherwise; nothing when quiet."""
        if self.quiet:
            return Silent()
        return Bars() if sys.stderr.isatty() else Lines()

    def done(self, data: Any, lines: Iterable[str], next: str) -> None:
        """Say what was done: `lines` and ``Next: …`` for people, or `data` as versioned JSON; both on stdout."""
        if self.as_json:
            tell(json.dumps({"schema": 1, "ok": True, "verb": self.verb, "data": to_plain(data), "next": next}))
            return
        for line in lines:
            tell(line)
        if next:
            tell(f"Next: {next}")

    def failed(self, data: Any, lines: Iterable[str], error: MusterError) -> NoReturn:
        """Say what was found, then end with the error: for what was done whole and came out badly."""
        if self.as_json:
            answer = {"schema": 1, "ok": False, "verb": self.verb, "data": to_plain(data), "error": error.as_dict()}
            tell(json.dumps(answer))
            raise SystemExit(error.exit_code)
        for line in lines:
            tell(line)
        raise error


def tell(line: str, *, on_stderr: bool = False) -> None:
    """Print a line at once. Where nobody reads any more (``muster release 2>&1 | head``) the work goes on in silence: a
    look at the test that was spent has to come to its verdict."""
    stream = sys.stderr if on_stderr else sys.stdout
    try:
        print(line, file=stream, flush=True)
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # what is still in the buffer, too: it would fail once more at the end
        os.close(nowhere)


QUIET_S = 30.0  # a log hears of work that takes longer, so often


class Lines:
    """Progress for logs: what was said, one line each, and of long work twice a minute how far it is."""

    def track(self, items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
        told = time.monotonic()
        for n_begun, item in enumerate(items):
            if time.monotonic() - told >= QUIET_S:
                told = time.monotonic()
                self.say(f"{what}: {n_begun:,}{'' if total is None else f' of {total:,}'}")
            yield item

    def say(self, line: str) -> None:
        tell(line, on_stderr=True)


class Bars:
    """Progress for a terminal."""

    def track(self, items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with RichProgress(*columns, console=Console(stderr=True), transient=True) as bars:
            yield from bars.track(items, total=total, description=what)

    def say(self, line: str) -> None:
        tell(line, on_stderr=True)


def session_of(context: typer.Context) -> Session:
    """The session that the application callback made."""
    session = cast(Session, context.find_root().obj)
    session.verb = context.info_name or ""
    session.at_end = context.call_on_close
    return session
