"""Multi-label texts, composed: there is no multi-label set among the data, so real requests are put side by side.

An item is one, two or three real requests of different classes, one after the other; its labels are their classes. In
`clinc150` the classes are the ten domains, and some items are one out-of-scope request, of none of them. In `banking77`
they are the 77 intents. The parts come from the set's own training and test splits, so that no request lies on both
sides. Such items are easier than what people write when they want two things in one breath.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

SETS = ("clinc150", "banking77")
SIZES = {
    "clinc150": (0.1, 0.45, 0.35, 0.1),
    "banking77": (0.0, 0.5, 0.4, 0.1),
}  # share of items with 0, 1, 2, 3 classes
JOINTS = (". ", ", and ", "; also ", ". ")


@dataclass(frozen=True)
class Composed:
    """Texts and the set of classes of each; `test` (n,) says which are composed of the test split's requests."""

    texts: list[str]
    sets: list[tuple[str, ...]]
    test: np.ndarray


def compose(
    data: Path, name: str, *, n_train: int, n_test: int, seed: int, skew: float = 0.0, halves: bool = False
) -> Composed:
    """`n_train` and `n_test` items, drawn with `seed`.

    Classes are as frequent as each other, or the one of rank r as ``r ** -skew``, in an order drawn with `seed`. With
    `halves` the test is composed of a half of the training split's requests and the rest of the other half, to tune on.
    """
    texts, classes, test = _requests(data, name)
    if halves:
        texts, classes = texts[~test], classes[~test]
        test = np.random.default_rng(123).random(len(texts)) < 0.5
    rng = np.random.default_rng([seed, SETS.index(name)])
    shares = None
    if skew:
        ranks = 1.0 + rng.permutation(len(set(classes) - {""}))
        shares = ranks**-skew / (ranks**-skew).sum()
    parts = [
        _side(texts[side], classes[side], n, SIZES[name], rng, shares) for side, n in ((~test, n_train), (test, n_test))
    ]
    return Composed(
        [text for part in parts for text, _ in part],
        [names for part in parts for _, names in part],
        np.arange(n_train + n_test) >= n_train,
    )


def _side(
    texts: np.ndarray,
    classes: np.ndarray,
    n: int,
    sizes: tuple[float, ...],
    rng: np.random.Generator,
    shares: np.ndarray | None = None,
) -> list[tuple[str, tuple[str, ...]]]:
    foreign = np.flatnonzero(classes == "")
    names = np.array(sorted(set(classes) - {""}))
    members = {name: np.flatnonzero(classes == name) for name in names}
    made = []
    for size in rng.choice(len(sizes), n, p=sizes):
        if not size:
            made.append((str(texts[rng.choice(foreign)]), ()))
            continue
        if shares is None:
            chosen = rng.permutation(names)[:size]
        else:
            chosen = rng.choice(names, size, replace=False, p=shares)
        requests = [str(texts[rng.choice(members[name])]).rstrip(" .?!") for name in chosen]
        text = requests[0]
        for request in requests[1:]:
            text += JOINTS[int(rng.integers(len(JOINTS)))] + request
        made.append((text, tuple(sorted(str(name) for name in chosen))))
    return made


def _requests(data: Path, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Texts, the class of each ("" for none), and the mask of the test."""
    import polars

    if name == "clinc150":
        table = polars.read_parquet(data / "clinc150_oos" / "clinc150.parquet")
        classes = np.where(table["is_oos"].to_numpy(), "", table["domain"].to_numpy().astype(str))
    else:
        table = polars.read_parquet(next((data / "banking77").glob("*.parquet")))
        classes = table["label"].to_numpy().astype(str)
    return table["text"].to_numpy().astype(str), classes, table["split"].to_numpy() == "test"
