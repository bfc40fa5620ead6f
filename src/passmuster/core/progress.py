"""How long work reports on itself without knowing who listens: a terminal bar, a browser, or nobody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from passmuster.core.errors import UsageError

T = TypeVar("T")


class Progress(Protocol):
    """Something that shows how far work has come: any object with these two methods.

    Examples
    --------
    >>> class Lines:
    ...     def track(self, items, what, total=None):
    ...         for n, item in enumerate(items, start=1):
    ...             print(f"{what}: {n} of {total or '?'}")
    ...             yield item
    ...
    ...     def say(self, line):
    ...         print(line)
    >>> list(check_progress(Lines()).track("ab", "counting", 2))
    counting: 1 of 2
    counting: 2 of 2
    ['a', 'b']
    """

    def track(self, items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
        """Yield `items` unchanged while showing how many of `total` are done."""
        ...

    def say(self, line: str) -> None:
        """Show one line of what is happening."""
        ...


class Silent:
    """Progress that nobody watches.

    >>> list(Silent().track([1, 2], "counting"))
    [1, 2]
    """

    def track(self, items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
        yield from items

    def say(self, line: str) -> None:
        return None


def check_progress(given: Progress | None) -> Progress:
    """What was given, if it is a `Progress`; `Silent` for None.

    Raises
    ------
    UsageError
        ``progress.kind``: it lacks `track` or `say`, as a bare function does.
    """
    progress = Silent() if given is None else given
    if missing := [name for name in ("track", "say") if not callable(getattr(progress, name, None))]:
        raise UsageError(
            "progress.kind", f"this is no Progress: it has no {' and no '.join(missing)}", value=type(given).__name__,
            limit="track(items, what, total=None) -> Iterator, say(line) -> None",
            next="see passmuster.core.progress.Progress",
        )  # fmt: skip
    return progress
