"""Asking a loaded release about items: the answer to each, or why there is none.

A graph on this machine answers a batch at once; where that fails, each item by itself, so that one spoils nothing for
the others. A model behind an address (`Asker.away`) is asked in the pieces that its endpoint takes, several at a time;
a piece that stays unanswered costs only its own items, and nothing is asked, or paid for, twice. Whoever asks may wait
for a while only: what comes later is dropped. An endpoint that does not answer is left to rest after a few failures in
a row. Until the pause is over its items are refused at once, so that callers hear soon and the queue moves on; then one
piece tries it again.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass

from passmuster.core.clock import now
from passmuster.core.errors import MusterError, NetworkError
from passmuster.core.records import UNREAD, Payload, Prediction
from passmuster.core.waiting import Waiters
from passmuster.runtime.account import Account
from passmuster.runtime.endpoint import read_asking
from passmuster.runtime.engine import HTTP
from passmuster.runtime.predictor import Predictor

JOBS = 32  # requests that wait for one model elsewhere at a time
FAILURES_BEFORE_REST = 5  # in a row
REST_S, REST_AT_MOST_S = 2.0, 60.0  # the first pause, which doubles with each failure after it, and the longest


@dataclass(frozen=True)
class Failing:
    """That the latest `n` pieces a release was asked about got no answer, or none of a class, since `since` (ISO time),
    and why."""

    n: int
    since: str
    why: str


class Resting(NetworkError):
    """An endpoint is left alone for a while; it is asked again in `again_in_s` seconds."""

    def __init__(self, release: str, failing: Failing, again_in_s: int) -> None:
        self.again_in_s = again_in_s
        super().__init__(
            "endpoint.resting",
            f"the endpoint of {release} has not answered {failing.n} times in a row and is left alone for a while",
            value=failing.why,
            limit=f"asked again in {again_in_s} s",
        )


class Piece:
    """What goes to an endpoint in one request. `late` once whoever asked has stopped waiting, and it was counted."""

    def __init__(self, payloads: Sequence[Payload]) -> None:
        self.payloads, self.late = payloads, False


class Asker:
    """One loaded release; `failing` says whether it fails at present. Asked from any thread; a graph on this machine
    answers one of them after the other.

    Parameters
    ----------
    predictor : Predictor
    release : str
        Its id, for what is said of it.
    """

    def __init__(self, predictor: Predictor, release: str) -> None:
        self.predictor, self.release = predictor, release
        self.failing: Failing | None = None
        self._lock, self._answering = threading.Lock(), threading.Lock()
        self._n_errors, self._resting_until, self._probing = 0, 0.0, False  # errors in a row, of an endpoint
        self._pool: Waiters | None = None
        self._jobs: Waiters | None = None
        self.piece = 1  # items of one request to an endpoint, at most
        if predictor.bundle.manifest.engine.name == HTTP:
            endpoint = read_asking(predictor.bundle.graph).endpoint
            self.piece = endpoint.batch
            self._pool, self._jobs = Waiters(endpoint.concurrency, "muster-ask"), Waiters(JOBS, "muster-away")

    @property
    def away(self) -> bool:
        """Whether the model answers from elsewhere, so that an answer may take long and costs nothing here."""
        return self._pool is not None

    def hand(self, job: Callable[..., None], *given: object) -> Future[None]:
        """Do `job` in a thread that may wait for this model; what waits for another has threads of its own."""
        assert self._jobs is not None
        return self._jobs.submit(job, *given)

    def ask(
        self, payloads: Sequence[Payload], *, degraded: bool = False, patience_s: float = math.inf
    ) -> list[Prediction | Exception]:
        """For each item its answer, or the error that stands in its place; after `patience_s` of a model that is away
        an error, too."""
        if self._pool is None:
            with self._answering:
                return self._ask_at_once(payloads, degraded)
        self.predictor.account = Account()  # nobody reads it here, and it grows with every answer
        pieces = [Piece(payloads[at : at + self.piece]) for at in range(0, len(payloads), self.piece)]
        asked = [self._pool.submit(self._ask_piece, piece, degraded) for piece in pieces]
        wait(asked, timeout=None if math.isinf(patience_s) else max(0.0, patience_s))
        found: list[Prediction | Exception] = []
        for piece, answer in zip(pieces, asked, strict=True):
            if answer.cancel():  # never begun: others were before it, which says nothing of the endpoint
                busy = NetworkError("endpoint.busy", "the endpoint is asked as much at a time as it may be")
                found += [busy] * len(piece.payloads)
            elif answer.done():
                found += answer.result()
            else:  # it goes on, and what it brings is dropped
                found += [self._give_up(piece)] * len(piece.payloads)
        return found

    def _ask_at_once(self, payloads: Sequence[Payload], degraded: bool) -> list[Prediction | Exception]:
        try:
            found = self.predictor.predict(payloads, degraded=degraded)
        except Exception as error:  # noqa: BLE001  (a graph can fail in any way)
            if len(payloads) > 1:
                return [found for payload in payloads for found in self._ask_at_once([payload], degraded)]
            self._note(in_short(error))
            return [error]
        self.failing = None
        return [*found]

    def _ask_piece(self, piece: Piece, degraded: bool) -> list[Prediction | Exception]:
        """What one request to an endpoint brings, or the same error for each of its items."""
        n = len(piece.payloads)
        if (resting := self._resting()) is not None:
            return [resting] * n
        try:
            found = self.predictor.predict(piece.payloads, degraded=degraded)
        except Exception as error:  # noqa: BLE001  (what an endpoint sends can break anything)
            with self._lock:
                if not piece.late:
                    self._count_error(error)
                self._probing = False
            return [error] * n
        with self._lock:
            self._n_errors, self._resting_until, self._probing = 0, 0.0, False
            if all(UNREAD in one.reasons for one in found):
                self._note("what it says names no class")
            elif not piece.late:
                self.failing = None
        return [*found]

    def _resting(self) -> Resting | None:
        """Why a piece is not asked now; None where it is, or where it is the one that tries after a rest."""
        with self._lock:
            if self.failing is None or self._n_errors < FAILURES_BEFORE_REST:
                return None
            left_s = self._resting_until - time.monotonic()
            if left_s > 0 or self._probing:
                return Resting(self.release, self.failing, max(1, math.ceil(left_s)))
            self._probing = True
            return None

    def _give_up(self, piece: Piece) -> NetworkError:
        late = NetworkError("endpoint.late", "the endpoint takes longer than its caller may wait")
        with self._lock:
            piece.late = True
            self._count_error(late)
        return late

    def _count_error(self, error: Exception) -> None:
        """One error more of an endpoint, and a rest where there have been enough; the lock is held.

        Errors of what was under way when the rest began make it no longer.
        """
        self._note(in_short(error))
        if time.monotonic() < self._resting_until:
            return
        self._n_errors += 1
        if (n := self._n_errors - FAILURES_BEFORE_REST) >= 0:
            self._resting_until = time.monotonic() + min(REST_S * 2.0 ** min(n, 10), REST_AT_MOST_S)

    def _note(self, why: str) -> None:
        """One piece more without an answer."""
        n, since = (1, now()) if self.failing is None else (self.failing.n + 1, self.failing.since)
        self.failing = Failing(n, since, why)


def in_short(error: Exception) -> str:
    """What an error says, on one line, without what an endpoint sent or a graph met: either may repeat an item."""
    said = getattr(error, "brief", "") or (error.what if isinstance(error, MusterError) else type(error).__name__)
    return " ".join(said.split())[:200]
