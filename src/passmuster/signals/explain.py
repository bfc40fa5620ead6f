"""What moved most between two windows of answers. It explains an alarm; it never raises one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from passmuster.core.distributions import normal_sf


def explain_shift(reference: Mapping[str, int], current: Mapping[str, int], *, n_top: int = 5) -> list[dict[str, Any]]:
    """The categories whose share changed most, by the size of the change in standard errors.

    Two-proportion z test with pooled variance (Fleiss, Levin and Paik 2003, eq. 3.4). The p-values are of each category
    alone and chosen after looking: they rank, they do not decide.

    >>> explain_shift({"a": 50, "b": 40, "c": 10}, {"a": 50, "b": 20, "c": 30}, n_top=1)[0]["category"]
    'c'
    """
    n_reference, n_current = sum(reference.values()), sum(current.values())
    if not n_reference or not n_current:
        return []
    rows: list[dict[str, Any]] = []
    for category in sorted({*reference, *current}):
        before, after = reference.get(category, 0), current.get(category, 0)
        pooled = (before + after) / (n_reference + n_current)
        error = np.sqrt(pooled * (1 - pooled) * (1 / n_reference + 1 / n_current))
        z = (after / n_current - before / n_reference) / error if error > 0 else 0.0
        rows.append(
            {
                "category": category,
                "reference_share": before / n_reference,
                "current_share": after / n_current,
                "z": float(z),
                "p": float(2 * normal_sf(abs(z))),
            }
        )
    return sorted(rows, key=lambda row: -abs(row["z"]))[:n_top]


def population_stability(reference: Mapping[str, int], current: Mapping[str, int]) -> float:
    """Population stability index, ``sum (c - r) ln(c / r)`` over shares (Siddiqi 2006), half a count added to each.

    By custom, below 0.1 little has changed, above 0.25 much has. 0 when a window is empty.

    >>> population_stability({"a": 50, "b": 50}, {"a": 50, "b": 50})
    0.0
    """
    categories = sorted({*reference, *current})
    if not sum(reference.values()) or not sum(current.values()):
        return 0.0
    r = np.array([reference.get(c, 0) + 0.5 for c in categories])
    c = np.array([current.get(k, 0) + 0.5 for k in categories])
    r, c = r / r.sum(), c / c.sum()
    return float(((c - r) * np.log(c / r)).sum())
