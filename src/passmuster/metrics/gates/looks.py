"""When to look again: how many test labels to add before the next verdict."""

from __future__ import annotations

GROWTH = 1.0  # of the labels there are, at most, before the next look


def next_batch(n_labels: int, n_more: int | None, n_left: int) -> int:
    """How many of the `n_left` unlabelled test items to label before the next look.

    What the verdict says would decide, but never more than there are labels already: the forecast of few labels is
    poor (an early rate near the bound asks for thousands), and a look after doubling is cheap. With looks at 40, 80,
    160 … labels, the old ones sum to less than one more full look, and seven of them at a fifth of `alpha` err with
    a probability below `alpha` (0.049 for 0.05, normal approximation). `bench/decide.py` measures what this saves.

    >>> next_batch(40, 1_900, 960), next_batch(40, 12, 960), next_batch(40, None, 30)
    (40, 12, 30)
    """
    most = max(1, round(GROWTH * n_labels))
    return max(0, min(n_left, most if n_more is None else max(1, n_more), most))
