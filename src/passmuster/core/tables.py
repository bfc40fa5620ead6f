"""Tables of named, versioned entries: the one way Muster is extended.

An entry is one function (or frozen value) under a name such as ``"knn.v1"``. A changed meaning is a new version;
the old one stays, so that an old report keeps its words. Heavy entries are registered as import strings and
loaded when first asked for, so that a process without torch can still read the table's names.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Generic, TypeVar

from passmuster.core.errors import UsageError

T = TypeVar("T")


class Table(Generic[T]):
    """A mapping from versioned name to entry, which answers an unknown name with the nearest one.

    Examples
    --------
    >>> shapes: Table[str] = Table("shape")
    >>> shapes.add("round.v1", "O")
    'O'
    >>> shapes["round.v1"], shapes.names()
    ('O', ['round.v1'])
    >>> shapes["rund.v1"]
    Traceback (most recent call last):
    ...
    passmuster.core.errors.UsageError: there is no shape named 'rund.v1' (limit: round.v1). Next: use 'round.v1'
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}
        self._lazy: dict[str, str] = {}

    def add(self, name: str, entry: T) -> T:
        """Register `entry` under `name` (``word.vN``) and return it."""
        if name in self._entries or name in self._lazy:
            raise UsageError(
                "table.taken", f"a {self.kind} named {name!r} exists already", next="give it a new version"
            )
        self._entries[name] = entry
        return entry

    def entry(self, name: str) -> Callable[[T], T]:
        """Decorator form of `add`."""
        return lambda entry: self.add(name, entry)

    def add_lazy(self, name: str, target: str) -> None:
        """Register an import string ``"package.module:attribute"``, loaded at first use."""
        self._lazy[name] = target

    def names(self) -> list[str]:
        """Every name, in order of registration."""
        return [*(n for n in self._entries if n not in self._lazy), *self._lazy]  # loading changes no order

    def __contains__(self, name: str) -> bool:
        return name in self._entries or name in self._lazy

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def __getitem__(self, name: str) -> T:
        if name not in self._entries:
            if name not in self._lazy:
                near = difflib.get_close_matches(name, self.names(), n=1)
                raise UsageError(
                    f"{self.kind.replace(' ', '_')}.unknown",
                    f"there is no {self.kind} named {name!r}",
                    limit=", ".join(self.names()),
                    next=f"use {near[0]!r}" if near else None,
                )
            module, _, attribute = self._lazy[name].partition(":")
            self._entries[name] = getattr(import_module(module), attribute)
        return self._entries[name]

    def items(self) -> Iterator[tuple[str, T]]:
        """Name and entry of every row; loads the lazy ones."""
        for name in self.names():
            yield name, self[name]
