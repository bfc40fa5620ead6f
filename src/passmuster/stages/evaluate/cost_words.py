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


def cost_sentence(section: Mapping[str, Any] | None) -> str:
    """What an answer costs, beside the best constant answer and the live release; "" where no costs are declared."""
    if not section:
        return ""
    if not section["applies"]:
        return str(section["why"])
    unit, constant = section["unit"], section["decisions"][3]
    text = f"An answer costs {spread(section['decisions'][0]['cost'], unit)} on average by your own costs, and at most "
    text += amount(section["largest"], unit)
    if section["mistakes"]:
        worst = section["mistakes"][0]
        how = f"taken for “{worst['predicted']}”" if worst["predicted"] else "withheld"
        text += f"; {100 * worst['share']:.0f}\u00a0% of all costs are of “{worst['label']}” {how}"
    text += f". {way(constant['decision'])} would cost "
    text += amount(constant["cost"]["value"], unit)
    if live := section.get("live"):
        text += f"; the live release costs {amount(live['cost']['value'], unit)} on the {live['cost']['n']:,} items "
        text += "that neither learned from"
    return f"{text}."


def cost_lines(section: Mapping[str, Any] | None) -> tuple[list[str], list[str]]:
    """What the costs speak for, and what against; none without declared costs."""
    if not section or not section["applies"]:
        return [], []
    unit = section["unit"]
    _, _, least, constant = section["decisions"]
    more, other = constant["served_costs_more_by"], way(constant["decision"])
    by = f"by {amount(abs(more['value']), unit)} ({between_amounts(more, unit)})"
    good, bad = [], []
    if more["high"] < 0:
        good.append(f"{other} would surely cost more, {by}.")
    elif more["low"] > 0:
        bad.append(f"{other} surely costs less than the model, {by}.")
    else:
        bad.append(f"{other} may cost no more: that the model saves anything is not shown.")
    live = section.get("live")
    if live and live["costs_more_by"]["low"] > 0:
        bad.append(f"It surely costs {amount(live['costs_more_by']['value'], unit)} more than the live release.")
    if least["served_costs_more_by"]["low"] > 0 and section["answer"] == "likeliest":
        bad.append(
            f"Saying the class that is cheapest, not the likeliest, would cost {amount(least['cost']['value'], unit)}: "
            f"{SWITCH} (it then answers the other classes less often, which gates of single classes may hold)."
        )
    return good, bad


def between_amounts(found: Mapping[str, Any], unit: str) -> str:
    """The interval of a difference that has one sign, without it.

    >>> between_amounts({"low": -2.0, "high": -0.5}, "EUR")
    '0.5 to 2\\xa0EUR'
    """
    low, high = sorted((abs(found["low"]), abs(found["high"])))
    return f"{amount(low, '', 2)} to {amount(high, unit, 2)}"
