"""The releases being served: loaded and checked before anything is answered, swapped whole when a channel moves.

A thread follows the channels' generation. A new release is read, its digests and signature checked and its graph loaded
beside the old one; then one assignment puts it in place. A release that fails a check is refused, and the old one goes
on serving. The deposed release stays loaded, so that a rollback takes no loading.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from sqlalchemy import Connection

from passmuster.core.errors import MusterError, NotFoundError
from passmuster.core.records import Channel, Release
from passmuster.runtime.predictor import Predictor
from passmuster.runtime.release import open_release
from passmuster.stages.serve.asking import Asker
from passmuster.stages.serve.meters import Meters
from passmuster.store.approvals import points_at_nothing
from passmuster.store.releases import channel_generations, read_channels, read_releases
from passmuster.store.store import Store

POLL_S = 0.04
RETRY_S, RETRY_AT_MOST_S = 2.0, 300.0  # until a refused release is tried again; doubles each time
N_WARM = 4  # loaded releases kept, those in use included

log = logging.getLogger("muster.serve")


@dataclass(frozen=True)
class Lane:
    """One channel with the release it serves, ready to answer."""

    channel: Channel
    release: Release
    asker: Asker

    @property
    def predictor(self) -> Predictor:
        """What answers, as loaded from the release's bundle."""
        return self.asker.predictor


@dataclass(frozen=True)
class Lanes:
    """What serves at one moment. A batch is answered under one such value."""

    main: Lane | None = None
    canary: Lane | None = None
    shadow: Lane | None = None

    def all(self) -> list[Lane]:
        return [lane for lane in (self.main, self.canary, self.shadow) if lane is not None]


def pointed_at(db: Connection, name: str) -> Channel:
    """The channel of that name; ``channel.none`` when it points at nothing, with how that came."""
    channels = read_channels(db)
    if name not in channels:
        raise points_at_nothing(db, name)
    return channels[name]


class Fleet:
    """The lanes of one server.

    Parameters
    ----------
    store : Store
    meters : Meters
    main : str
        The channel that answers; ``canary`` and ``shadow`` ride along only with ``live``.
    """

    def __init__(self, store: Store, meters: Meters, *, main: str = "live") -> None:
        self._store, self._meters, self._main = store, meters, main
        self._warm: OrderedDict[str, Asker] = OrderedDict()
        self._generation = -1
        self._n_refused, self._retry_at = 0, math.inf  # refusals in a row, and when to try again (monotonic seconds)
        self._refused: set[tuple[Channel, str]] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="muster-follow", daemon=True)
        self.lanes = Lanes()

    def start(self) -> None:
        """Load what the channels point at, then follow them.

        Raises
        ------
        NotFoundError
            ``channel.none`` when the main channel points at nothing.
        IntegrityError
            When its bundle is not what was signed.
        """
        with self._store.read() as db:
            generation, channels = channel_generations(db), read_channels(db)
            answers = pointed_at(db, self._main)
        main = self._lane(answers)
        self._take(channels, Lanes(main=main))
        self._generation = generation
        self._meters.generation.set(generation)
        self._thread.start()

    def stop(self) -> None:
        """Stop following."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _follow(self) -> None:
        while not self._stop.wait(POLL_S):
            try:
                with self._store.read() as db:
                    generation = channel_generations(db)
                    channels = read_channels(db) if generation != self._generation else {}
            except Exception as error:  # noqa: BLE001  (this thread must not end; what serves goes on serving)
                log.warning("the channels could not be read: %s", error)
                continue
            if generation == self._generation and self._retry_at <= time.monotonic():
                with contextlib.suppress(MusterError), self._store.read() as db:
                    channels = read_channels(db)
                if channels:
                    self._take(channels, self.lanes)
            if generation != self._generation:
                self._n_refused = 0
                self._refused.clear()
                self._take(channels, self.lanes)
                self._generation = generation
                self._meters.generation.set(generation)

    def _take(self, channels: dict[str, Channel], old: Lanes) -> None:
        """Put in place what the channels say; one assignment, after everything has been loaded.

        What was refused is tried again, ever later: a file may have been busy, or memory short.
        """
        n_refused_before, self._retry_at = self._n_refused, math.inf
        main = self._follow_lane(channels.get(self._main), old.main, keep=True)
        canary = shadow = None
        if self._main == "live":
            canary = self._follow_lane(channels.get("canary"), old.canary, keep=False)
            shadow = self._follow_lane(channels.get("shadow"), old.shadow, keep=False)
        if self._n_refused == n_refused_before:
            self._n_refused = 0
        else:
            self._n_refused = n_refused_before + 1
            self._retry_at = time.monotonic() + min(RETRY_S * 2**n_refused_before, RETRY_AT_MOST_S)
        before, self.lanes = self.lanes, Lanes(main, canary, shadow)
        self._meters.serving.clear()
        for lane in self.lanes.all():
            self._meters.serving.labels(lane.channel.name, lane.release.id).set(1)
        if before.main is not None and _names(before) != _names(self.lanes):
            self._meters.swaps.inc()
            log.info("now serving %s", ", ".join(f"{n}={r}" for n, r in _names(self.lanes).items()) or "nothing")

    def _follow_lane(self, channel: Channel | None, old: Lane | None, *, keep: bool) -> Lane | None:
        """The lane of a channel; where its release is refused, the old lane if it is to be kept, else none."""
        if channel is None:
            return None
        try:
            return self._lane(channel)
        except Exception as error:  # noqa: BLE001  (a signed bundle may still hold anything)
            self._n_refused += 1
            if (channel, str(error)) not in self._refused:  # told and counted once, however often it is tried
                self._refused.add((channel, str(error)))
                self._meters.swap_failures.inc()
                log.error("release %s is refused for channel %s: %s", channel.release, channel.name, error)
            return old if keep else None

    def _lane(self, channel: Channel) -> Lane:
        with self._store.read() as db:
            release = next((r for r in read_releases(db) if r.id == channel.release), None)
        if release is None:
            raise NotFoundError("release.none", "there is no such release", value=channel.release)
        if release.id not in self._warm:
            self._warm[release.id] = Asker(load_release(self._store, release), release.id)
        self._warm.move_to_end(release.id)
        in_use = {lane.release.id for lane in self.lanes.all()} | {release.id}
        for name in [name for name in self._warm if name not in in_use][: max(0, len(self._warm) - N_WARM)]:
            del self._warm[name]
        return Lane(channel, release, self._warm[release.id])


def load_release(store: Store, release: Release) -> Predictor:
    """A release's predictor; raises as `open_release` does."""
    return Predictor(open_release(store, release), threads=store.config.serve.threads)


def _names(lanes: Lanes) -> dict[str, str]:
    return {lane.channel.name: lane.release.id for lane in lanes.all()}
