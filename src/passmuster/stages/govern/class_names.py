"""What may be the name of a class."""

from __future__ import annotations

import unicodedata

from passmuster.core.errors import DataError
from passmuster.core.label_sets import MULTI, join_classes, split_label

MAX_LABEL_CHARACTERS = 120  # a class name longer than this is a text pasted into the wrong field


def clean_name(name: str, *, multi: bool = False) -> str:
    """A class name as it is kept: without space around it.

    Parameters
    ----------
    multi : whether items carry sets of classes; a name that began as a written set does could not be told from one

    Raises
    ------
    DataError
        ``label.name`` when it is empty, too long, or has control characters.

    >>> clean_name("  late delivery ")
    'late delivery'
    """
    kept = name.strip()
    what = ""
    if not kept:
        what = "a class needs a name"
    elif len(kept) > MAX_LABEL_CHARACTERS:
        what = "this is too long for the name of a class"
    elif any(unicodedata.category(c) in ("Cc", "Cs") for c in kept):
        what = "the name of a class cannot have control characters"
    elif multi and kept.startswith("["):
        what = "in a multi-label project the name of a class cannot begin with a bracket"
    if what:
        raise DataError(
            "label.name",
            what,
            value=f"{len(kept):,} characters",
            limit=f"1 to {MAX_LABEL_CHARACTERS}",
            next="name it shorter" if len(kept) > MAX_LABEL_CHARACTERS else "name it otherwise",
        )
    return kept


def clean_label(label: str, task: str) -> str:
    """A label as it is kept: the name of a class, or a set of such names, each cleaned; raises as `clean_name`.

    >>> clean_label('["late", " broken "]', "multi-label"), clean_label(" late ", "single-label")
    ('["broken","late"]', 'late')
    """
    if task != MULTI:
        return clean_name(label)
    return join_classes(clean_name(name, multi=True) for name in split_label(label.strip()))
