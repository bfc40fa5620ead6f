"""When to look again: how many test labels to add before the next verdict."""

from __future__ import annotations

FIRST = 20  # labels before the first look: with half as many, doubling would err more often than `alpha` allows
GROWTH = 1.0  # of the labels there are, at most, before the next look


def next_batch(n_labels: int, n_more: int | None, n_left: int) -> int:
    """How many of the `n_left` unlabelled test items to label before the next look.

    What the verdict says would decide, but never more than there are labels already: the forecast of few labels is
    poor (an early rate near the bound asks for thousands), and a look after doubling is cheap. With looks at 20, 40,
    80 … labels, the old ones sum to less than one more full look, and those up to 2,000 at a fifth of `alpha` err with
    a probability below `alpha` on either side (at most 0.0484 for 0.05, exact, rates from .55 to .97; from 10 labels
    on it would be 0.0549). `bench/decide.py` measures what this saves.

    >>> next_batch(0, None, 960), next_batch(40, 1_900, 960), next_batch(40, 12, 960), next_batch(40, None, 30)
    (20, 40, 12, 30)
    """
    if n_labels < FIRST:
        return max(0, min(n_left, FIRST - n_labels))
    most = round(GROWTH * n_labels)
    return max(0, min(n_left, most if n_more is None else max(1, n_more), most))
