"""Personal data: how many items hold it, and of what kind. The modality finds the spans; they are not repeated here."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from passmuster.core.records import Finding

IN_WORDS = {
    "email": "e-mail addresses",
    "phone": "telephone numbers",
    "card": "payment card numbers",
    "iban": "bank account numbers",
    "ip": "IP addresses",
}


def personal_data(spans: Iterable[tuple[str, Iterable[str]]]) -> list[Finding]:
    """One finding for each kind; `spans` gives an item's key and the kinds of its spans, with repetition.

    >>> personal_data([("a", ["email", "email"]), ("b", [])])[0].title
    '1 item holds e-mail addresses'
    """
    items: dict[str, list[str]] = defaultdict(list)
    n_spans: Counter[str] = Counter()
    for key, kinds in spans:
        counted = Counter(kinds)
        n_spans.update(counted)
        for kind in counted:
            items[kind].append(key)
    remedy = "mask them before adding, or make sure that you may keep them"
    return [
        Finding(
            "personal_data",
            "warning",
            f"{len(keys):,} {'items hold' if len(keys) > 1 else 'item holds'} {IN_WORDS.get(kind, kind)}",
            tuple(keys),
            {"kind": kind, "n_spans": n_spans[kind]},
            remedy,
        )
        for kind, keys in sorted(items.items())
    ]
