"""The story: from raw files to a released model that is served and watched. Read this first.

Each step is a stage that could run alone, as a command and a process of its own: it reads what the step before left in
the store, and leaves something for the next. What passes from hand to hand here is only the name of what to look at.

    raw files ─ govern ─▶ snapshot ─ train ─▶ bundle ─ evaluate ─▶ report ─ release ─▶ release ─ serve ─▶ traffic
                                                                      │ policy                      │
                                                            SHIP, HOLD or INSUFFICIENT            watch ─▶ incident
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from passmuster.core.budget import parse_duration_s
from passmuster.core.errors import MusterError, ResourceError
from passmuster.core.progress import Progress, Silent
from passmuster.core.records import Channel
from passmuster.flows.release import ReleaseResult
from passmuster.store.store import Store

STOP_WITHIN_S = 30.0


@dataclass(frozen=True)
class Lifecycle:
    """What came of the way: the project, the account of the rows, the training, the verdict, and who is live."""

    store: Store
    added: Any  # passmuster.stages.govern.AddResult
    trained: Any  # passmuster.stages.train.TrainResult
    released: ReleaseResult
    live: Channel | None


def lifecycle(
    folder: Path,
    data: Path,
    *,
    labels: Path | None = None,
    modality: str = "",
    time: str = "",
    approve: bool = False,
    progress: Progress | None = None,
) -> Lifecycle:
    """Take raw files in `data` to a signed release in the project `folder`; approve it if asked to and if it is SHIP.

    Parameters
    ----------
    labels : a table of labels by id or path; folder names and columns are used when None
    modality : "text" or "image"; what most files are when empty
    time : budget of the training, such as "10m"; the configuration's when empty

    Raises
    ------
    MusterError
        Of the step that cannot be done. What the steps before left in the store stays; the way can go on from there.
    """
    from passmuster.stages import govern
    from passmuster.stages import release as gatekeeping
    from passmuster.stages.train import train

    progress = progress or Silent()

    # Govern. Every row is accounted for: kept, or quarantined with a reason. Copies and personal data become findings,
    # a part of the items is sealed for the test, and all of it is committed to as one immutable dataset version.
    store = govern.init(folder, modality=modality)
    added = govern.add(store, data, labels=labels, progress=progress)

    # Train. Within the budget, climb the rungs that are worth their price, on everything but the sealed test. Ends with
    # an unsigned bundle: graph, preprocessing, head and guard, exactly as they will be served.
    seconds = parse_duration_s(time or store.config.train.time)
    trained = train(store, budget_s=seconds, seed=store.config.train.seed, progress=progress)

    # Evaluate and release. The bundle itself answers the sealed test; the report is judged by the policy's gates; the
    # verdict, whatever it is, is signed together with every byte.
    from passmuster.flows.release import release

    released = release(store, trained.bundle, progress=progress)
    progress.say(f"{released.verdict.outcome}: {released.release.id}")

    # Approve. Only SHIP goes live; a held candidate goes no further than a canary, by a recorded override.
    live = gatekeeping.approve(store, released.release.id) if approve and released.shipped else None
    return Lifecycle(store, added, trained, released, live)


@contextlib.contextmanager
def in_service(store: Store, *, port: int = 0) -> Iterator[str]:
    """Serve the live release and watch it, each in a process of its own, while the block runs; yields the address.

    The two share nothing but the store: the server writes every answer down before it gives it, the watch reads them,
    and moves a channel when an alarm fires; the server follows the channel.

    Raises
    ------
    ResourceError
        ``serve.start`` when the server does not come up; it has said why on stderr.
    """
    with _process(store, "--json", "serve", "--port", str(port)) as server:
        first = server.stdout.readline() if server.stdout else ""
        answer: dict[str, Any] = json.loads(first) if first.strip() else {"ok": False}
        if not answer["ok"]:
            why = answer.get("error", {}).get("what", "see what it said on stderr")
            raise ResourceError("serve.start", f"the server did not start: {why}", next="muster serve")
        with _process(store, "-q", "watch"):
            yield str(answer["data"]["url"])
    if server.returncode:
        raise MusterError("serve.end", "the server did not end well", value=server.returncode, next="muster doctor")


@contextlib.contextmanager
def _process(store: Store, *words: str) -> Iterator[subprocess.Popen[str]]:
    """The command `muster`, ended politely and, if it does not listen, not so politely."""
    command = [sys.executable, "-m", "passmuster", "-C", str(store.folder), *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()
