"""Quality: items that could not be read, or were larger than the project allows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from passmuster.core.records import Finding

OVERSIZED = ("item.too_large", "item.too_long", "item.too_many_pixels")


def unusable(quarantined: Iterable[tuple[str, str]]) -> list[Finding]:
    """Findings about quarantined items, given as key and reason (``"item.code: in words"``).

    >>> [f.kind for f in unusable([("a", "item.empty: the text is empty"), ("b", "item.too_long: …")])]
    ['unreadable', 'oversized']
    """
    unreadable: list[tuple[str, str]] = []
    oversized: list[tuple[str, str]] = []
    for key, reason in quarantined:
        code = reason.partition(":")[0]
        (oversized if code in OVERSIZED else unreadable).append((key, code))
    found = []
    for kind, part, verb, remedy in (
        ("unreadable", unreadable, "could not be read", "repair them and add them again; the rest is already there"),
        ("oversized", oversized, "larger than allowed", "make them smaller, or raise the limit in [data]"),
    ):
        if part:
            n = len(part)
            word = "was" if n == 1 else "were"
            title = f"{n:,} {'item' if n == 1 else 'items'} {verb if kind == 'unreadable' else f'{word} {verb}'}"
            reasons = dict(sorted(Counter(code for _, code in part).items()))
            found.append(Finding(kind, "warning", title, tuple(k for k, _ in part), {"reasons": reasons}, remedy))
    return found
