"""Answers that a labelling session left unpinned become a data-set version before anything learns from it."""

from __future__ import annotations

from passmuster.core.errors import ResourceError
from passmuster.core.progress import Progress
from passmuster.stages.govern.answer import Pinned, pin
from passmuster.store.store import Store


def pin_answers(store: Store, progress: Progress) -> Pinned | None:
    """Pin the answers given since the latest data-set version, and say so; None when there are none.

    While data are being added, they wait: they are on disk, and that add or the next pin takes them in.
    """
    try:
        pinned = pin(store)
    except ResourceError as error:
        if error.code != "lock.held":
            raise
        progress.say("answers given since the latest dataset version wait for the add that is under way")
        return None
    if pinned:
        what = "items whose labels changed" if pinned.n > 1 else "item whose label changed"
        progress.say(f"pinned {pinned.n:,} {what} since in dataset version {pinned.snapshot.digest[:12]}")
    return pinned
