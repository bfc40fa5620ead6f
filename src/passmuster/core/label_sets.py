"""Sets of classes as labels: how the label of a multi-label item is written, read and shown.

A label is one string everywhere: in facts, traffic, feedback. In a multi-label project it stands for a set. One class
is written as its name, so that a single-label project can become a multi-label one without touching a fact; none or
several as a JSON list, sorted, so that equal sets are equal strings and "the same answer" needs no other test.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from typing import Literal

Task = Literal["single-label", "multi-label"]
SINGLE: Task = "single-label"
MULTI: Task = "multi-label"
NO_CLASS = "[]"  # an answer: none of the classes; an item without a label has no fact at all


def join_classes(names: Iterable[str]) -> str:
    """The label that stands for a set of classes.

    >>> join_classes(["late", "broken", "late"]), join_classes(["late"]), join_classes([])
    ('["broken","late"]', 'late', '[]')
    """
    members = sorted(set(names))
    if len(members) == 1 and not members[0].startswith("["):
        return members[0]
    return json.dumps(members, ensure_ascii=False, separators=(",", ":"))


def split_label(label: str) -> tuple[str, ...]:
    """The classes that a multi-label item's label stands for, sorted.

    >>> split_label('["broken","late"]'), split_label("late"), split_label("[]")
    (('broken', 'late'), ('late',), ())
    """
    if label.startswith("["):
        try:
            members = json.loads(label)
        except ValueError:
            return (label,)
        if isinstance(members, list) and all(isinstance(name, str) for name in members):
            return tuple(sorted(set(members)))
    return (label,)


def classes_in(label: str, task: str) -> tuple[str, ...]:
    """The classes that a label of either task speaks of.

    >>> classes_in("late", "single-label"), classes_in("[]", "multi-label")
    (('late',), ())
    """
    return split_label(label) if task == MULTI else (label,)


def label_in_words(label: str) -> str:
    """A label for people; one of a single-label project stays as it is.

    >>> label_in_words('["broken","late"]'), label_in_words("[]"), label_in_words("late")
    ('broken + late', '(none of the classes)', 'late')
    """
    members = split_label(label)
    return " + ".join(members) if members else "(none of the classes)"


def spelling(name: str) -> str:
    """A class name without what people write differently: case, width, and what stands between words.

    >>> spelling("Late-Delivery ") == spelling("late delivery")
    True
    """
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", name)).strip().casefold()
