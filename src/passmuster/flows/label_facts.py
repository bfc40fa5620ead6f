"""What one labelling session knows: what stands, what was left aside, and its own turns, so that they can be undone.

Not locked: whoever shares one between threads holds a lock of their own around each call.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from passmuster.core.label_sets import Task, classes_in
from passmuster.core.records import Role
from passmuster.flows.labelling import Suggestion
from passmuster.stages.govern.answer import skipped
from passmuster.store.items import read_labels, standing_labels
from passmuster.store.seal import keys_of
from passmuster.store.snapshots import read_snapshot
from passmuster.store.store import Store

KEPT_TURNS = 10_000  # that can be undone


def as_counted(name: str) -> tuple[list[tuple[bool, int, str]], str]:
    """How names of classes are ordered for people: numbers in them as numbers.

    >>> sorted(["grade 10", "grade 9", "12", "2", "Ham", "ham"], key=as_counted)
    ['2', '12', 'grade 9', 'grade 10', 'Ham', 'ham']
    """
    parts = re.findall(r"([0-9]+)|([^0-9]+)", name.casefold())
    return [(not number, int(number or 0), words) for number, words in parts], name


@dataclass(frozen=True)
class Turn:
    """What was done at once at one place: a label for these items, or "" where they were left aside."""

    items: tuple[Suggestion, ...]
    label: str
    place: str = ""


class Facts:
    """`labels` of the whole project by item key, `aside` and `done` of this session; `again` forgets what was aside.

    Attributes
    ----------
    labels : item key to label and role, as they stood when last read
    aside : keys that this person left aside, or that are gone
    done : keys labelled in this session and not taken back
    classes : every class there is, by name and the numbers in it; new ones at the end
    """

    def __init__(self, store: Store, who: str, *, again: bool) -> None:
        self._store = store
        self._task: Task = store.config.project.task
        self._turns: list[Turn] = []
        self.done: set[str] = set()
        with store.read() as db:
            snapshot = read_snapshot(db)
            self.labels = {key: (label.label, label.role) for key, label in read_labels(db).items()}
            self._held_out = set(keys_of(db, snapshot.digest, "reference"))
            self.aside = set() if again else skipped(db, who)
        said = {name for label, _ in self.labels.values() for name in classes_in(label, self._task)}
        self.classes = sorted({*snapshot.classes, *said}, key=as_counted)

    def read_again(self) -> None:
        """What others answered meanwhile counts too."""
        with self._store.read() as db:
            self.labels = {key: (label.label, label.role) for key, label in read_labels(db).items()}

    def was_answered(self, key: str) -> bool:
        """Whether a label stands for an item now, given here or elsewhere."""
        with self._store.read() as db:
            facts = standing_labels(db, keys=[key]).get(key, [])
        if facts:
            self.labels[key] = (facts[-1].label, facts[-1].role)
        return bool(facts)

    def learnt(self) -> dict[str, str]:
        """The labels for learning: item key to label."""
        return {key: label for key, (label, role) in self.labels.items() if role == "train"}

    # --- what is done

    def set_label(self, suggestion: Suggestion, label: str) -> None:
        """An item was answered here."""
        self.labels[suggestion.key] = (label, suggestion.role)
        self.done.add(suggestion.key)
        self.aside.discard(suggestion.key)

    def set_back(self, key: str, left: tuple[str, Role] | None) -> None:
        """What was done here with an item is taken back; `left` is the label and role that another person gave."""
        self.aside.discard(key)
        self.done.discard(key)
        self.labels.pop(key, None)
        if left:
            self.labels[key] = left

    # --- turns

    def remember(self, turn: Turn) -> None:
        """Keep a turn as the last one."""
        self._turns = [*self._turns[-KEPT_TURNS:], turn]

    def forget(self, turn: Turn) -> None:
        """A turn was taken back."""
        self._turns.remove(turn)

    def turns(self, place: str | None = None) -> list[Turn]:
        """Turns of one place, or of all, oldest first."""
        return [turn for turn in self._turns if place is None or turn.place == place]

    # --- how many

    def counts(self) -> dict[str, dict[str, int]]:
        """Labels of the whole project that stand now: role to class to number; for learning, those learnt from."""
        counted = Counter((role, name) for label, role in self._counted() for name in classes_in(label, self._task))
        found: dict[str, dict[str, int]] = {"train": {}, "test": {}}
        for (role, label), number in sorted(counted.items()):
            found[role][label] = number
        return found

    def n_labels(self) -> dict[str, int]:
        """Labelled items of the whole project, by role; for learning, those that are learnt from."""
        counted = Counter(role for _, role in self._counted())
        return {"train": counted["train"], "test": counted["test"]}

    def _counted(self) -> list[tuple[str, Role]]:
        return [said for key, said in self.labels.items() if key not in self._held_out or said[1] != "train"]

    def free(self, keys: Collection[str]) -> list[str]:
        """Those of `keys` that are neither labelled nor left aside, in their order."""
        return [key for key in keys if key not in self.labels and key not in self.aside]
