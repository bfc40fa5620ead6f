"""Releases, bundles, dataset versions, incidents, named by their first digits; several that fit are refused."""

from __future__ import annotations

from collections.abc import Iterable

from passmuster.core.errors import NotFoundError, UsageError

SHOWN = 5  # candidates named in an error


def the_one_named(name: str, known: Iterable[str], *, noun: str, what: str, next: str) -> str:
    """The one of `known` that is `name` or begins with it; an exact name always counts.

    Parameters
    ----------
    noun : first word of the error's code, such as "bundle"
    what : the noun in words, such as "dataset version"
    next : where to look when there is none

    Raises
    ------
    NotFoundError
        ``<noun>.none``.
    UsageError
        ``<noun>.ambiguous``, listing the candidates.

    >>> the_one_named("ab", ["abc", "bcd"], noun="bundle", what="bundle", next="muster train")
    'abc'
    >>> the_one_named("b", ["ba", "bc", "b"], noun="bundle", what="bundle", next="muster train")
    'b'
    """
    fits = sorted({one for one in known if name and one.startswith(name)})
    if name in fits:
        return name
    if not fits:
        raise NotFoundError(f"{noun}.none", f"there is no such {what}", value=name or None, next=next)
    if len(fits) > 1:
        more = f" and {len(fits) - SHOWN:,} more" if len(fits) > SHOWN else ""
        raise UsageError(
            f"{noun}.ambiguous", f"several {what}s begin like that", value=name,
            limit=", ".join(one[:20] for one in fits[:SHOWN]) + more, next="give more of its digits",
        )  # fmt: skip
    return fits[0]
