"""The live release, found out before the test is opened: whether it can be asked, and what is said where it cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from passmuster.core.records import Bundle
from passmuster.runtime.bundle import LoadedBundle
from passmuster.runtime.predictor import Predictor
from passmuster.runtime.release import UNOPENED, open_checked, why_unopened
from passmuster.store.releases import read_bundle, read_channels
from passmuster.store.store import Store

Start = Callable[[LoadedBundle], Predictor]  # a bundle that was opened, to what answers for it


@dataclass(frozen=True)
class Live:
    """The bundle behind the live channel. `predictor` is None where it does not open, and `unopened` says why."""

    bundle: Bundle
    predictor: Predictor | None
    unopened: str = ""

    @property
    def asked(self) -> Bundle | None:
        """The bundle where it can be compared with."""
        return self.bundle if self.predictor is not None else None

    def section(self) -> dict[str, Any]:
        """What the report's section ``versions`` says where nothing can be compared."""
        return {"incumbent": self.bundle.digest, "n": 0, "n_seen_by_incumbent": 0, "unopened": self.unopened}


def find_live(store: Store, bundle: Bundle, start: Start = Predictor) -> Live | None:
    """What is live, opened as far as it opens; None where nothing is, or this bundle itself."""
    incumbent = find_incumbent(store, bundle)
    return None if incumbent is None else opened(store, incumbent, start)


def opened(store: Store, incumbent: Bundle, start: Start = Predictor) -> Live:
    """A bundle, its bytes checked and its model started, as far as that goes."""
    try:
        return Live(incumbent, start(open_checked(store, incumbent)))
    except UNOPENED as error:
        return Live(incumbent, None, why_unopened(error))


def opens(store: Store, incumbent: Bundle) -> bool:
    """Whether a bundle can be asked."""
    return opened(store, incumbent).predictor is not None


def find_incumbent(store: Store, bundle: Bundle) -> Bundle | None:
    """The bundle behind the live channel, unless there is none or it is this one."""
    with store.read() as db:
        live = read_channels(db).get("live")
        return read_bundle(db, live.bundle) if live and live.bundle != bundle.digest else None
