"""The A/A noise bound in words: how much of a difference between versions the same version shows against itself.

An answer near the edge between two classes tips with the size of a batch, the number of threads, the engine's kernels,
a rounding of weights or the draw of a seed. The upper end of how many answers do so is the bound: a smaller difference
between versions may be nothing but that, however small its p-value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from passmuster.core.records import Report

SEED = "seed"  # the source of the bound where learning again changes most


def noise_bound(report: Report) -> float | None:
    """The bound as a share of answers; None where it was not measured."""
    section: Any = report.sections.get("noise")
    found = section.get("bound") if isinstance(section, Mapping) else None
    return float(found) if isinstance(found, (int, float)) and not isinstance(found, bool) else None


def inside_words(report: Report, difference: float) -> str:
    """That a difference of shares lies inside the bound; "" where it does not, or the bound is not known, or it is 0.

    >>> report = Report("b", "s", "", "text", ("x",), 9, 1, (), {}, {"noise": {"bound": 0.013, "by": "seed"}})
    >>> inside_words(report, -0.007)
    '0.7 points lie inside the A/A noise bound of 1.3 points (seed): noise alone could make such a difference'
    >>> inside_words(report, 0.02), inside_words(report, 0.0)
    ('', '')
    """
    bound = noise_bound(report)
    if bound is None or not difference or abs(difference) > bound:
        return ""
    section = report.sections["noise"]
    return (
        f"{100 * abs(difference):.1f} points lie inside the A/A noise bound of {100 * bound:.1f} points "
        f"({section.get('by') or 'the same again'}): noise alone could make such a difference{changed_words(section)}"
    )


def changed_words(section: Mapping[str, Any]) -> str:
    """What came of asking the changed decisions themselves again, as the end of a sentence; of a seed it tells nothing.

    >>> changed_words({"changed": {"n": 20, "n_asked": 20, "n_unstable": 1}, "not_asked": ["the live release"]})
    ', though 1 of the 20 changed decisions that were asked again (not of the live release) is not repeated'
    """
    changed = section.get("changed") or {}
    n, n_unstable = changed.get("n_asked", 0), changed.get("n_unstable", 0)
    if not n or section.get("by") == SEED:
        return ""
    who = f" (not of {' and '.join(section['not_asked'])})" if section.get("not_asked") else ""
    verb = "is" if n_unstable == 1 else "are"
    return f", though {n_unstable:,} of the {n:,} changed decisions that were asked again{who} {verb} not repeated"


def noted(report: Report, difference: float) -> str:
    """`inside_words` as the end of a gate's reason.

    >>> noted(Report("b", "s", "", "text", ("x",), 9, 1, (), {}, {}), 0.01)
    ''
    """
    words = inside_words(report, difference)
    return f"; {words}" if words else ""


def bound_words(section: Mapping[str, Any] | None) -> str:
    """What the bound is and rests on; "" where it was not measured.

    >>> row = {"source": "asked otherwise", "n": 300, "value": 1 / 300, "high": 0.019}
    >>> bound_words({"bound": 0.019, "by": "asked otherwise", "rows": [row]})
    'A/A noise bound 1.9 points (asked otherwise: 1 of 300 answers): no smaller difference can be told from noise'
    """
    if not section or section.get("bound") is None:
        return ""
    row = next((row for row in section["rows"] if row["source"] == section["by"]), None)
    seen = f": {round(row['value'] * row['n']):,} of {row['n']:,} answers" if row else ""
    return (
        f"A/A noise bound {100 * section['bound']:.1f} points ({section['by']}{seen}): no smaller difference can be "
        "told from noise"
    )
