"""A first look at what a graph says of the project's own items: whether these are scores, and of which kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from passmuster.core.errors import DataError
from passmuster.core.records import Payload
from passmuster.runtime.engine import Engine
from passmuster.stages.importing.rewrite import SCORES
from passmuster.stages.importing.scores import Scores

BATCH = 64
N_ALONE = 8  # of the smallest and of the largest items, that are asked once in company and once alone
MAX_EMBEDDING = 4_096  # numbers of an embedding: a guard that keeps thousands of them stays below 200 MB
SUM_TOLERANCE = 0.01  # of probabilities around 1: half-precision sums over many classes are as rough
COMPANY_TOLERANCE = 1e-3  # of a score alone and in company, as a share of the scores' spread

Prepare = Callable[[Sequence[Payload]], dict[str, np.ndarray]]


def ask(engine: Engine, prepare: Prepare, payloads: Sequence[Payload], where: Sequence[str]) -> dict[str, np.ndarray]:
    """Every output of the graph for the items, in batches.

    Raises
    ------
    DataError
        ``import.runs`` when the graph cannot be run on them; ``import.shape`` when it does not give a row for each.
    """
    parts: list[Mapping[str, np.ndarray]] = []
    for at in range(0, len(payloads), BATCH):
        batch = payloads[at : at + BATCH]
        try:
            found = engine.run(prepare(batch))
        except Exception as error:  # the engine's classes share no other base
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(
                "import.runs", f"the graph does not run on the project's items: {first[:300]}",
                where=f"{where[at]} and after", next="look at --preprocess, and export with a free batch size",
            ) from error  # fmt: skip
        for name, array in found.items():
            if not np.ndim(array) or len(array) != len(batch):
                raise DataError(
                    "import.shape", "the graph does not give a row for each item", value=f"{name}: {np.shape(array)}",
                    limit=f"{len(batch)} items", next="export the model with a free batch size",
                )  # fmt: skip
        parts.append(found)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def check_scores(scores: np.ndarray, found: Scores, where: Sequence[str]) -> int:
    """How many columns the scores have, after checking that they are what they are said to be.

    Raises
    ------
    DataError
        ``import.shape``, ``import.not_finite``, ``import.not_probabilities``, ``import.not_logits``.
    """
    rows = np.asarray(scores, dtype=np.float64).reshape(len(scores), -1)
    if np.ndim(scores) > 2 and np.prod(np.shape(scores)[1:-1]) != 1:
        raise DataError(
            "import.shape", "the scores are not one row of classes for each item", value=np.shape(scores),
            next="name another output with --output",
        )  # fmt: skip
    broken = ~np.isfinite(rows).all(axis=1)
    if broken.any():
        raise DataError(
            "import.not_finite", "some scores are not numbers (NaN or infinite)",
            value=f"{int(broken.sum()):,} of {len(rows):,} items", where=where[int(broken.argmax())],
            next="mend the model or its preprocessing: such an answer cannot be judged",
        )  # fmt: skip
    sums, inside = rows.sum(axis=1), (rows >= -1e-6).all() and (rows <= 1 + 1e-6).all()
    adds_up = inside and rows.shape[1] > 1 and bool((np.abs(sums - 1) <= SUM_TOLERANCE).all())
    if found.kind == "probabilities" and not (adds_up or (inside and rows.shape[1] == 1)):
        worst = int(np.abs(sums - 1).argmax())
        each = "; scores of each class for itself are not read" if inside else ""
        raise DataError(
            "import.not_probabilities", f"these scores are no probabilities that add up to 1{each}",
            value=f"from {rows.min():.4g} to {rows.max():.4g}, sum {sums[worst]:.4g}", where=where[worst],
            next="if the softmax comes after the graph: --scores logits",
        )  # fmt: skip
    if found.kind == "logits" and adds_up:
        raise DataError(
            "import.not_logits", "these scores are probabilities, and a softmax would be taken of them twice",
            value=f"from {rows.min():.4g} to {rows.max():.4g}, every sum 1", next="--scores probabilities",
        )  # fmt: skip
    return int(rows.shape[1])


def check_embedding(embedding: np.ndarray, name: str) -> None:
    """Refuse what is no embedding: one row of numbers for each item.

    Raises
    ------
    DataError
        ``import.embedding``.
    """
    if embedding.ndim != 2 or not 1 <= embedding.shape[1] <= MAX_EMBEDDING or not np.isfinite(embedding).all():
        raise DataError(
            "import.embedding", "this tensor is no embedding, one row of finite numbers for each item",
            value=f"{name}: {embedding.shape}", limit=f"(n, at most {MAX_EMBEDDING:,})",
            next="name another with --embedding, or none",
        )  # fmt: skip


def check_company(engine: Engine, prepare: Prepare, payloads: Sequence[Payload], where: Sequence[str]) -> None:
    """Refuse a graph whose answer to an item changes with the items beside it: the smallest ones beside the largest.

    That is what a graph does that was exported while learning (batch normalisation, dropout), or that forgets which
    tokens are padding: served, an answer would depend on who else asks.

    Raises
    ------
    DataError
        ``import.company``.
    """
    order = sorted(range(len(payloads)), key=lambda i: len(payloads[i]) if isinstance(payloads[i], str) else 0)
    chosen = list(dict.fromkeys((*order[:N_ALONE], *order[-N_ALONE:])))
    together = ask(engine, prepare, [payloads[i] for i in chosen], [where[i] for i in chosen])[SCORES]
    spread = float(together.std()) or 1.0
    for place, i in enumerate(chosen):
        alone = ask(engine, prepare, payloads[i : i + 1], where[i : i + 1])[SCORES][0]
        off = float(np.abs(alone - together[place]).max())
        if off > COMPANY_TOLERANCE * spread:
            raise DataError(
                "import.company", "the graph answers differently to an item alone and to the same item among others",
                value=f"a score differs by {off:.3g}", limit=f"{COMPANY_TOLERANCE * spread:.3g}",
                where=where[i],
                next="export the model in its eval mode, with its attention mask, and name all of the preprocessing",
            )  # fmt: skip
