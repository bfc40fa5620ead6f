"""How long work reports on itself without knowing who listens: a terminal bar, a browser, or nobody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """Something that shows how far work has come."""

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
