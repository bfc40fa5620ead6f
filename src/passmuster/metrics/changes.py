"""Which decisions change from one model to another, item by item, and what each change costs the user.

A decision is what the user gets: an answer, or none because it was withheld.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "right to wrong",
    "wrong to other wrong",
    "wrong to right",
    "changed",
    "answered to withheld",
    "withheld to answered",
]
KINDS: tuple[Kind, ...] = (
    "right to wrong",
    "wrong to other wrong",
    "wrong to right",
    "changed",
    "answered to withheld",
    "withheld to answered",
)
CostOf = Callable[[str, str, bool], float]  # label, what was said, whether it was withheld


@dataclass(frozen=True)
class Decision:
    """What one model says of an item, how sure it is, and whether the answer is withheld."""

    said: str
    sure: float
    withheld: bool


@dataclass(frozen=True)
class Change:
    """An item, by its position, whose decision changes. `cost` is what that adds for the user; None without a label."""

    position: int
    kind: Kind
    label: str | None
    before: Decision
    after: Decision
    cost: float | None


def one_for_each_mistake(label: str, said: str, withheld: bool) -> float:
    """The cost of an answer where nobody stated one: 1 where it is wrong, whether or not it is withheld.

    >>> one_for_each_mistake("a", "b", False), one_for_each_mistake("a", "a", True)
    (1.0, 0.0)
    """
    return float(label != said)


def changes(
    before: Sequence[Decision],
    after: Sequence[Decision],
    labels: Sequence[str | None],
    *,
    cost_of: CostOf = one_for_each_mistake,
) -> list[Change]:
    """Every item whose decision changes, the dearest first, and of equally dear ones the surest new answer first.

    Where both withhold their answer nothing changes for the user, whatever they would have said.

    >>> old, new = Decision("a", 0.9, False), Decision("b", 0.8, False)
    >>> [(c.kind, c.cost) for c in changes([old, old], [new, old], ["a", "a"])]
    [('right to wrong', 1.0)]
    """
    found = []
    for position, (old, new, label) in enumerate(zip(before, after, labels, strict=True)):
        kind = kind_of(old, new, label)
        if kind is None:
            continue
        added = None
        if label is not None:
            added = cost_of(label, new.said, new.withheld) - cost_of(label, old.said, old.withheld)
        found.append(Change(position, kind, label, old, new, added))
    return sorted(found, key=lambda c: (-(c.cost or 0.0), KINDS.index(c.kind), -c.after.sure, c.position))


def kind_of(before: Decision, after: Decision, label: str | None) -> Kind | None:
    """What kind of change it is; None where there is none."""
    if before.withheld and after.withheld:
        return None
    if before.withheld != after.withheld:
        return "answered to withheld" if after.withheld else "withheld to answered"
    if before.said == after.said:
        return None
    if label is None:
        return "changed"
    if before.said == label:
        return "right to wrong"
    return "wrong to right" if after.said == label else "wrong to other wrong"
