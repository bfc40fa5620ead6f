"""What a model costs over its life: training, and the price of a prediction times how many are expected.

A candidate is one way to answer: a rung with an engine and a precision. Costs are straight lines in the number of
predictions, so which candidate is cheapest changes at few points: the break-even volumes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from passmuster.core.cost import money


@dataclass(frozen=True)
class Candidate:
    """One way to answer.

    `accuracy` is cross-validated, None where this precision was not judged; `behind` is how much lower it is than the
    best candidate's, paired over the same items, and `behind_se` the error of that. `refused` is why the policy does
    not let it serve. Money is of one currency; `per_million` is the price of a million predictions by the faster of the
    two measured ways, one by one or in batches.
    """

    name: str
    accuracy: float | None
    behind: float
    behind_se: float
    training: float
    per_million: float
    items_per_s: float
    single_items_per_s: float
    taken: bool = False
    refused: str = ""

    def lifetime(self, n: float, per_error: float = 0.0) -> float:
        """Money for training and `n` predictions, and for the wrong ones among them where that has a price."""
        wrong = 0.0 if self.accuracy is None else 1.0 - self.accuracy
        return self.training + n * (self.per_million / 1e6 + per_error * wrong)

    @property
    def as_good(self) -> bool:
        """Whether it may be as right as the best: not behind by more than one standard error."""
        return self.accuracy is not None and self.behind <= self.behind_se


@dataclass(frozen=True)
class Advice:
    """Which candidate to serve for `n` predictions, and why.

    `dominated` names those that nobody should take, and by which other. `changes` are break-even points: number of
    predictions, and who is cheapest from there on.
    """

    name: str
    reasons: tuple[str, ...]
    dominated: dict[str, str]
    changes: tuple[tuple[float, str], ...]


def advise(candidates: Sequence[Candidate], n: float, *, per_error: float = 0.0, currency: str = "") -> Advice | None:
    """The candidate with the lowest cost over `n` predictions; None when none was judged.

    Where a wrong answer has a price, it counts, and every judged candidate competes. Where it has none, only those that
    may be as right as the best do: accuracy is then not for sale.

    Examples
    --------
    >>> small = Candidate("static.v1", 0.80, 0.01, 0.02, 0.001, 0.02, 1e3, 7e2)
    >>> large = Candidate("pretrained.v1", 0.81, 0.0, 0.0, 0.004, 0.4, 60.0, 30.0)
    >>> advise([small, large], 12e6).name
    'static.v1'
    >>> advise([small, large], 12e6, per_error=0.01).name
    'pretrained.v1'
    """
    judged = [c for c in candidates if c.accuracy is not None and not c.refused]
    if not judged:
        return None
    running = judged if per_error else [c for c in judged if c.as_good]
    chosen = min(running, key=lambda c: c.lifetime(n, per_error))
    return Advice(
        chosen.name,
        tuple(_reasons(chosen, judged, running, n, per_error, currency)),
        _dominated(candidates),
        tuple(break_evens(running, per_error)),
    )


def break_evens(candidates: Sequence[Candidate], per_error: float = 0.0) -> list[tuple[float, str]]:
    """From how many predictions on who is cheapest: the lower envelope of the cost lines, beginning at none.

    >>> cheap = Candidate("a", 0.9, 0, 0, 1.0, 10.0, 1, 1)
    >>> dear = Candidate("b", 0.9, 0, 0, 5.0, 2.0, 1, 1)
    >>> break_evens([cheap, dear])
    [(0.0, 'a'), (500000.0, 'b')]
    """
    lines = {
        c.name: (c.lifetime(0, per_error), c.lifetime(1e6, per_error) - c.lifetime(0, per_error)) for c in candidates
    }
    at, here = 0.0, min(lines, key=lambda name: lines[name])
    found = [(at, here)]
    while True:
        start, slope = lines[here]
        crossings = [
            ((other_start - start) / (slope - other_slope) * 1e6, other_slope, name)
            for name, (other_start, other_slope) in lines.items()
            if other_slope < slope
        ]
        crossings = [crossing for crossing in crossings if crossing[0] >= at]
        if not crossings:
            return found
        at, _, here = min(crossings)
        found.append((at, here))


def _dominated(candidates: Sequence[Candidate]) -> dict[str, str]:
    """For each candidate that another beats or equals in accuracy, training and price per prediction: that other."""
    found = {}
    for one in candidates:
        for other in candidates:
            if other is one or other.accuracy is None or other.refused:
                continue
            same_model = one.accuracy is None and other.name.split()[0] == one.name.split()[0]
            no_worse = same_model or (one.accuracy is not None and other.accuracy >= one.accuracy)
            prices = ((other.training, one.training), (other.per_million, one.per_million))
            if no_worse and all(a <= b for a, b in prices) and (same_model or any(a < b for a, b in prices)):
                found[one.name] = other.name
                break
    return found


def _reasons(
    chosen: Candidate,
    judged: Sequence[Candidate],
    running: Sequence[Candidate],
    n: float,
    per_error: float,
    currency: str,
) -> list[str]:
    assert chosen.accuracy is not None
    if per_error:
        said = [f"the lowest sum of training, predictions and wrong answers at {per_error:g} {currency} each"]
    elif len(running) == 1:
        said = ["no other candidate may be as right"]
    elif chosen.behind > 0:
        said = [
            f"{100 * chosen.behind:.1f} points behind the most accurate, which is within one standard error "
            f"({100 * chosen.behind_se:.1f}), and the cheapest of those"
        ]
    else:
        said = ["the cheapest of those that may be as right as the best"]
    for other in judged:
        more = other.lifetime(n) - chosen.lifetime(n)
        fewer = n * ((other.accuracy or 0.0) - chosen.accuracy)
        if more * fewer > 0:  # else one of the two is better in both
            costs, makes = ("more", "fewer") if more > 0 else ("less", "more")
            said.append(
                f"{other.name} would cost {money(abs(more))} {currency} {costs} and make {abs(fewer):,.0f} {makes} "
                f"mistakes: it pays where a mistake costs {costs} than {money(more / fewer)} {currency}"
            )
    return said
