"""What the answers cost, in plain words: for the summary and for the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WAYS = {
    "served": "As it answers now",
    "decision=likeliest": "Always the likeliest class",
    "decision=cheapest": "Always the class that is cheapest to say",
}
SWITCH = 'set answer = "cheapest" in [policy.costs] and train again'


def amount(value: float, unit: str, digits: int = 3) -> str:
    """A cost with its unit, to so many digits.

    >>> amount(0.21349, "EUR"), amount(1234.5, "")
    ('0.213\\xa0EUR', '1,230')
    """
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:,g}\u00a0{unit}" if unit else f"{rounded:,g}"


def spread(found: Mapping[str, Any], unit: str) -> str:
    """A mean cost with its interval.

    >>> spread({"value": 0.5, "low": 0.25, "high": 1.0, "n": 40}, "EUR")
    '0.5\\xa0EUR (0.25 to 1\\xa0EUR, 40 items)'
    """
    low, high = amount(found["low"], "", 2), amount(found["high"], unit, 2)
    return f"{amount(found['value'], unit)} ({low} to {high}, {found['n']:,} items)"


def way(decision: str) -> str:
    """A decision in words.

    >>> way("constant=ham"), way("constant=withheld")
    ('Always saying “ham”', 'Never answering')
    """
    if decision.startswith("constant="):
        said = decision.removeprefix("constant=")
        return "Never answering" if said == "withheld" else f"Always saying “{said}”"
    return WAYS[decision]


def cost_lines(section: Mapping[str, Any] | None) -> tuple[list[str], list[str]]:
    """Sentences for what the model is good at, and for where it breaks; none without declared costs."""
    if not section or not section["applies"]:
        return [], []
    unit = section["unit"]
    served, _, least, constant = section["decisions"]
    pays = constant["served_costs_more_by"]["high"] < 0
    text = f"An answer costs {spread(served['cost'], unit)} on average. {way(constant['decision'])} would cost "
    text += amount(constant["cost"]["value"], unit)
    if live := section.get("live"):
        text += f", the live release {amount(live['cost']['value'], unit)} on the {live['cost']['n']:,} items that "
        text += "neither learned from"
    dearer = constant["served_costs_more_by"]
    good, bad = ([text + "."], []) if pays else ([], [f"{text}: that the model saves anything is not shown."])
    if dearer["low"] > 0:
        other = way(constant["decision"])
        bad = [f"{text}. {other} surely costs less than the model, by {spread(dearer, unit)}."]
    if live and live["costs_more_by"]["low"] > 0:
        bad.append(f"It surely costs {amount(live['costs_more_by']['value'], unit)} more than the live release.")
    if least["served_costs_more_by"]["low"] > 0 and section["answer"] == "likeliest":
        bad.append(
            f"Saying the class that is cheapest, not the likeliest, would cost {amount(least['cost']['value'], unit)}: "
            f"{SWITCH} (it then answers the other classes less often, which gates of single classes may hold)."
        )
    return good, bad
