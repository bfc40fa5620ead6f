"""What a planted fault is, and what came of it. An entry of the table is a function from the scene to what it changed.

Groups say who made the mistake: `packaging` spoils what is served and leaves the run folder as it was; in `training`
the trained model has the fault too, so that both agree; `evidence` spoils the test or what training saw of it;
`tampering` changes bytes and signs nothing anew; `harmless` is no fault at all and must not be stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from passmuster.core.errors import MusterError
from passmuster.core.records import GateResult, Outcome
from passmuster.core.tables import Table
from passmuster.runtime.engine import EngineChoice

if TYPE_CHECKING:
    from passmuster.flows.drill.scene import Scene

Group = Literal["packaging", "training", "evidence", "tampering", "harmless"]
State = Literal["stopped", "unstopped", "changes nothing", "not here"]


TRIED = ("stopped", "unstopped")  # states of trials that count


class NotHereError(Exception):
    """The fault cannot happen to this model or data; says why."""


@dataclass(frozen=True)
class Parts:
    """A bundle taken apart."""

    classes: tuple[str, ...]
    graph: bytes
    preprocess: Mapping[str, Any]
    assets: Mapping[str, bytes]
    head: Mapping[str, object]
    guard: Mapping[str, np.ndarray]
    reference: Mapping[str, object]
    policy_toml: str
    engine: EngineChoice

    def with_(self, **changes: Any) -> Parts:
        """The same with some parts exchanged."""
        return replace(self, **changes)


# From the scene to the bundle as the fault leaves it. Evidence faults change the scene's store and give its parts back;
# tampering faults change a copy on the disk, and give None.
Plant = Callable[["Scene"], "Parts | None"]


@dataclass(frozen=True)
class Fault:
    """One way to go wrong.

    Parameters
    ----------
    summary : what happened, in plain words
    group : who made the mistake, see above
    touches : which part of the model or the data
    plant : makes it; raises `NotHereError` where it cannot happen
    taught : whether the trained model is the changed one too, so that the run folder says what is served
    unseen : whether it is a fault even where no answer to a test item changes
    in_data : whether it changes the data, and so needs a copy of its own
    """

    summary: str
    group: Group
    touches: str
    plant: Plant
    taught: bool = False
    unseen: bool = False
    in_data: bool = False


faults: Table[Fault] = Table("fault")


def fault(
    name: str, summary: str, *, group: Group, touches: str, taught: bool = False, unseen: bool = False,
    in_data: bool = False,
) -> Callable[[Plant], Plant]:  # fmt: skip
    """Register a function as what plants the fault `name`."""

    def register(plant: Plant) -> Plant:
        faults.add(name, Fault(
            summary, group, touches, plant, taught or group == "training", unseen, in_data or group == "evidence"
        ))  # fmt: skip
        return plant

    return register


@dataclass(frozen=True)
class Trial:
    """What came of one fault.

    `stopped_by` are gates of the policy that the healthy copy passes and this one does not, or the check that refused
    it. `would_stop` are gates that the policy lacks and that would have stopped it, as they are written in a policy;
    about `n_labels_to_stop` test labels would have stopped it too, where that can be foretold. A copy whose answers are
    the healthy one's "changes nothing": the model is blind to the fault, which counts neither as stopped nor as let
    through.
    `accuracy_change` is that of the faulty copy less that of the healthy one; None where nothing was measured.
    """

    fault: str
    summary: str
    group: Group
    touches: str
    state: State
    stopped_by: tuple[str, ...] = ()
    outcome: Outcome | None = None
    accuracy_change: float | None = None
    reasons: tuple[str, ...] = ()
    would_stop: Mapping[str, Mapping[str, float]] | None = None
    n_labels_to_stop: int | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class DrillResult:
    """Every trial, and how the healthy copy fared under the policy: what it does not pass itself stops nothing.

    A model behind an address was asked `n_questions`, which by the price that was named cost about `price`.
    """

    bundle: str
    n_test: int
    healthy: Outcome
    healthy_gates: tuple[GateResult, ...]
    trials: tuple[Trial, ...]
    n_questions: int = 0
    price: float = 0.0

    @property
    def faulty(self) -> tuple[Trial, ...]:
        """Trials of faults that could be planted here."""
        return tuple(t for t in self.trials if t.group != "harmless" and t.state in TRIED)

    @property
    def unstopped(self) -> tuple[Trial, ...]:
        """Faults that nothing stopped."""
        return tuple(t for t in self.faulty if t.state == "unstopped")

    @property
    def harmless(self) -> tuple[Trial, ...]:
        """Trials of copies that have no fault."""
        return tuple(t for t in self.trials if t.group == "harmless" and t.state in TRIED)

    @property
    def false_stops(self) -> tuple[Trial, ...]:
        """Copies without a fault that were stopped."""
        return tuple(t for t in self.harmless if t.state == "stopped")


def words_of(error: MusterError) -> str:
    """A refusal as the name of a check."""
    return error.code
