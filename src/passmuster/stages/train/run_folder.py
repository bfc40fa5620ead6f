"""The run folder: arguments, decisions, measurements and checkpoints of one training, and how a killed one goes on.

What depends on the clock (engine measured, labels spread over how many items, rungs left out) is *decided* once and
written down before it is acted on, so that the same run, resumed after a kill, comes to the same weights.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from passmuster.core.codec import to_plain
from passmuster.core.digests import canonical_json
from passmuster.core.errors import IntegrityError
from passmuster.learn.checkpoint import FileCheckpoint, write_atomic
from passmuster.store.releases import end_run, read_runs, start_run
from passmuster.store.store import Store


@dataclass
class RunFolder:
    """One training's folder. `resumed` tells whether an earlier process began it."""

    id: str
    path: Path
    arguments: Mapping[str, Any]
    resumed: bool
    started: float = field(default_factory=time.monotonic)

    def decide(self, name: str, decide: Callable[[], Any]) -> Any:
        """The decision recorded under `name`; when there is none, take it and record it."""
        path = self.path / "decisions" / f"{name}.json"
        if path.is_file():
            return read_json(path)
        decision = json.loads(canonical_json(to_plain(decide())))
        write_atomic(path, canonical_json(decision))
        return decision

    def rung(self, name: str) -> FileCheckpoint:
        """Checkpoints of one rung."""
        return FileCheckpoint(self.path / "rungs" / name)

    def note(self, phase: str, **facts: Any) -> None:
        """Add a line to ``metrics.jsonl``."""
        line = {"at_s": round(time.monotonic() - self.started, 3), "phase": phase, **to_plain(facts)}
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + os.linesep)

    def write(self, name: str, value: Any) -> None:
        """Write a JSON file for people and reports."""
        text = json.dumps(to_plain(value), indent=1, ensure_ascii=False, allow_nan=False)
        write_atomic(self.path / name, text.encode())


def unfinished_run(store: Store, arguments: Mapping[str, Any]) -> str | None:
    """The id of a run of these arguments whose plan was written down and whose process has ended, or None."""
    plain = json.loads(canonical_json(to_plain(arguments)))
    with store.read() as db:
        left = read_runs(db, kind="train", status="running")
    for run in left:
        if (
            _recipe(run["record"]) == _recipe(plain)
            and (store.runs_folder / run["id"] / "decisions" / "plan.json").is_file()
        ):
            return str(run["id"])
    return None


def open_run(store: Store, snapshot: str, arguments: Mapping[str, Any]) -> RunFolder:
    """The unfinished run of the same arguments, or a new one; other unfinished runs are closed as failed.

    The caller holds the lock ``train``, so a run that is still "running" has lost its process.
    """
    plain = json.loads(canonical_json(to_plain(arguments)))
    same = unfinished_run(store, arguments)
    if same is not None:
        with store.act("train.resume") as act:
            act.payload.update(run=same, snapshot=snapshot)
        return RunFolder(same, store.runs_folder / same, plain, resumed=True)
    run = f"train-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    folder = store.runs_folder / run
    write_atomic(folder / "args.json", json.dumps(plain, indent=1).encode())
    with store.act("train.start") as act:
        left = read_runs(act.db, kind="train", status="running")
        for dead in left:
            end_run(act.db, dead["id"], "failed", {**dead["record"], "error": "its process ended"})
        start_run(act.db, run, "train", snapshot, plain)
        act.payload.update(run=run, snapshot=snapshot, arguments=plain, closed=[dead["id"] for dead in left])
    return RunFolder(run, folder, plain, resumed=False)


def _recipe(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments without the memory limit: a run that it stopped goes on with more of it."""
    return {name: value for name, value in arguments.items() if name != "max_memory"}


def read_json(path: Path) -> Any:
    """A JSON file of the run folder.

    Raises
    ------
    IntegrityError
        ``run.damaged``.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise IntegrityError(
            "run.damaged", f"a file of the run folder is not JSON: {error}", where=path,
            next="remove the run's folder and muster train again",
        ) from error  # fmt: skip
