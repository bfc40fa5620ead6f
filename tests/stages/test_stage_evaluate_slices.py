"""Weak spots in a report: what is looked at, what is said, and what is said where it cannot be looked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from passmuster.core.config import Config, DataConfig
from passmuster.stages.evaluate.draft import Answers, Draft, Evidence, Looks
from passmuster.stages.evaluate.slices import measure_slices, weak_spot

N = 600


def made(n: int = N) -> tuple[Evidence, Answers, list[str]]:
    """Texts on refunds are wrong half of the time, the others one time in twenty."""
    rng = np.random.default_rng(0)
    refund = np.arange(n) % 5 == 0
    texts = [f"refund of order {i % 7}" if r else f"card and pin {i % 7}" for i, r in enumerate(refund)]
    y = rng.integers(0, 2, n)
    wrong = rng.random(n) < np.where(refund, 0.5, 0.05)
    items = [
        SimpleNamespace(
            key=f"k{i}", source="a.csv", at=f"2026-01-{i % 28 + 1:02d}", groups={"region": "north" if r else "south"}
        )
        for i, r in enumerate(refund)
    ]
    evidence = Evidence(
        snapshot=cast(Any, None), items=cast(Any, tuple(items)), labels=("",) * n, classes=("no", "yes"), n_known=2,
        y=y, weights=np.ones(n), clusters=np.array([f"c{i}" for i in range(n)]), look=1, opening=1, created="",
        n_seen=0,
        n_unlabelled=0, who=(),
    )  # fmt: skip
    probabilities = np.eye(2)[np.where(wrong, 1 - y, y)]
    embeddings = np.where(refund[:, None], [5.0, 0.0], [0.0, 5.0]) + rng.normal(size=(n, 2))
    return evidence, Answers(embeddings, probabilities, probabilities, ()), texts


def measured(n: int = N, **how: Any) -> Draft:
    evidence, answers, texts = made(n)
    draft = Draft()
    config = Config(data=DataConfig(group_columns=("region",)))
    looks = Looks()
    for text in texts:
        looks.add(text)
    measure_slices(config, draft, evidence, answers, looks, np.random.default_rng(3), **how)
    return draft


def test_the_weak_part_is_confirmed_named_by_its_words_and_opens_its_items() -> None:
    draft = measured()
    confirmed = [row for row in draft.sections["slices"]["rows"] if row["confirmed"]]
    names = [row["name"] for row in confirmed]
    assert "region = north" in names
    assert any(row["kind"] == "like items" and "“refund”" in row["name"] for row in confirmed)
    north = next(row for row in confirmed if row["name"] == "region = north")
    assert north["n_items"] == N // 5 == len(draft.item_sets[north["items"]])
    assert north["error"]["n"] < 80  # of the second half alone
    assert {m.slice for m in draft.metrics} == set(names)
    found = weak_spot(draft)
    assert found is not None
    assert found[0].startswith("Weak spot: ")
    assert "confirmed there" in draft.sections["slices"]["said"]


def test_too_few_items_and_no_embedding_are_said() -> None:
    few = measured(50)
    assert "50 labelled test items are too few" in few.sections["slices"]["said"]
    assert weak_spot(few) is None
    blind = measured(has_embedding=False)
    assert "gives no embedding" in blind.sections["slices"]["said"]
    assert not any(row["kind"] == "like items" for row in blind.sections["slices"]["rows"])


def test_the_same_seed_finds_the_same() -> None:
    assert measured().sections == measured().sections
