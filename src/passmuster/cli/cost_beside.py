"""Bundles side by side in the terminal: right on the test, seconds of an answer, money, and where items go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from passmuster.flows.cost_beside import Beside, BundleCost


def beside_lines(found: Beside) -> Iterator[str]:
    """A row for each bundle, and at how many answers what is bought costs as much as a machine of one's own."""
    from passmuster.cli.columns import table_lines
    from passmuster.cli.cost_verb import amount
    from passmuster.stages.evaluate.serving_words import break_even_words, place_words

    known = [row for row in found.rows if row.serving]
    yield f"bundles beside each other, for {amount(found.per_month)} predictions a month, in {found.currency}"
    headers = ["bundle", "from", "right", "under faults", "an answer", "95 of 100", "per million", "a month"]
    yield from table_lines(headers, [_cells(row) for row in known], left=2)
    for row in known:
        if row.serving["host"]:
            yield f"items asked of {row.bundle.digest[:16]} go to {place_words(row.serving)}"
    if words := break_even_words({"rows": [row.serving for row in known], "always_on": found.always_on}):
        yield words
    if rest := [row for row in found.rows if not row.serving]:
        some = ", ".join(row.bundle.digest[:16] for row in rest[:3]) + (" and more" if rest[3:] else "")
        yield f"not timed so far: {some} (muster evaluate does it, or muster cost BUNDLE of one that answers here)"
    yield "right: the sealed test; seconds: of single answers; a machine's price is of one that is busy all the time"
    if any(row.serving["machine"] for row in known):
        yield f"timed on {', '.join(sorted({row.serving['machine'] for row in known}))}; {_when(known)}"


def _cells(row: BundleCost) -> list[str]:
    from passmuster.cli.cost_verb import money
    from passmuster.stages.evaluate.serving_words import time_words
    from passmuster.stages.evaluate.words import percent

    latency = row.serving["latency"]
    each = row.serving["per_million"]
    channels = f" ({', '.join(row.channels)})" if row.channels else ""
    return [
        f"{row.bundle.digest[:16]}{channels}", row.serving["what"],
        *("not tested" if m is None else percent(m.value) for m in (row.right, row.under_faults)),
        *("–" if not latency else time_words(latency[key]) for key in ("median_s", "p95_s")),
        "not named" if each is None else money(each),
        "–" if row.per_month is None else money(row.per_month),
    ]  # fmt: skip


def _when(known: list[BundleCost]) -> str:
    return "; ".join(f"{row.bundle.digest[:8]} {row.measured}" for row in known)
