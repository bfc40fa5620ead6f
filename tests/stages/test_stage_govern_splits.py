"""Where items go: properties that hold for any data."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from passmuster.core.config import DataConfig
from passmuster.stages.govern.splits import place


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[int], list[str | None], list[str]]:
    n = draw(st.integers(1, 80))
    group = draw(st.lists(st.integers(0, max(1, n // 2)), min_size=n, max_size=n))
    labels = draw(st.lists(st.sampled_from([None, None, "a", "b"]), min_size=n, max_size=n))
    given_split = draw(st.lists(st.sampled_from(["", "", "", "train", "test", "reference"]), min_size=n, max_size=n))
    return group, labels, given_split


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@given(cases())
@settings(max_examples=150, deadline=None)
def test_groups_stay_together_and_given_splits_are_kept(case: tuple[list[int], list[str | None], list[str]]) -> None:
    group, labels, asked = case
    n = len(group)
    free = place([None] * n, [""] * n, np.array(group), labels, DataConfig(), rng())
    assert all(len({free[i] for i in range(n) if group[i] == g}) == 1 for g in group)
    kept = place([None] * n, asked, np.array(group), labels, DataConfig(), rng())
    assert all(kept[i] == asked[i] for i in range(n) if asked[i] in ("test", "reference"))
    assert all(kept[i] != "test" for i in range(n) if asked[i] == "train")


@given(cases(), st.integers(1, 40))
@settings(max_examples=100, deadline=None)
def test_nothing_moves_when_more_comes(case: tuple[list[int], list[str | None], list[str]], n_old: int) -> None:
    group, labels, asked = case
    n_old = min(n_old, len(group))
    first = place([None] * n_old, asked[:n_old], np.array(group[:n_old]), labels[:n_old], DataConfig(), rng())
    old = [*first, *[None] * (len(group) - n_old)]
    after = place(old, asked, np.array(group), labels, DataConfig(), rng())
    assert after[:n_old] == first
    for i in range(n_old, len(group)):
        beside = {first[j] for j in range(n_old) if group[j] == group[i]}
        if asked[i] == "" and "test" in beside:
            assert after[i] == "test"


def test_the_shares_are_those_of_the_configuration() -> None:
    labels: list[str | None] = ["a"] * 100 + ["b"] * 20 + [None] * 2_000
    split = place([None] * 2_120, [""] * 2_120, np.arange(2_120), labels, DataConfig(max_sealed_items=300), rng())
    count = lambda kind, label: sum(s == kind and x == label for s, x in zip(split, labels, strict=True))  # noqa: E731
    assert (count("test", "a"), count("test", "b"), count("test", None)) == (20, 4, 300)
    assert (count("reference", "a"), count("reference", None)) == (0, 255)  # 15 % of the 1,700 unlabelled left


def test_a_set_that_is_all_labelled_still_has_a_reference() -> None:
    """Of each class its share, rounded down: labels are rarer than items."""
    labels = ["a"] * 300 + ["b"] * 50 + ["c"] * 7
    split = place([None] * 357, [""] * 357, np.arange(357), labels, DataConfig(), rng())
    held = [label for s, label in zip(split, labels, strict=True) if s == "reference"]
    assert (held.count("a"), held.count("b"), held.count("c")) == (36, 6, 0)  # 15 % of 240, 40 and 6 left by the test


def test_few_labels_are_all_learnt_from() -> None:
    """Fewer than twenty reference items are no use to a guard, so no label is given for them."""
    labels = [f"class {i % 20}" for i in range(80)]
    split = place([None] * 80, ["train"] * 80, np.arange(80), labels, DataConfig(), rng())
    assert split == ["train"] * 80


def test_no_class_gives_its_last_labels_to_the_guard() -> None:
    labels = [f"class {i // 2}" for i in range(9_000)] + ["common"] * 2_000
    config = DataConfig(test_share=0.0)
    split = place([None] * 11_000, [""] * 11_000, np.arange(11_000), labels, config, rng())
    held = [label for s, label in zip(split, labels, strict=True) if s == "reference"]
    assert held == ["common"] * 300


def test_what_has_no_label_is_held_out_first() -> None:
    """Nor does the draw for the test, which takes what has no label, leave what has one at the head of the order."""
    labels: list[str | None] = [None if i % 3 == 0 else "ab"[i % 2] for i in range(6_000)]
    split = place([None] * 6_000, [""] * 6_000, np.arange(6_000), labels, DataConfig(), rng())
    held = [label for s, label in zip(split, labels, strict=True) if s == "reference"]
    n_bare = sum(s == "train" and label is None for s, label in zip(split, labels, strict=True))
    assert held == [None] * 720  # 15 % of what the test left
    assert n_bare == 880  # to be asked for, still


def test_the_guard_takes_no_label_where_few_have_one() -> None:
    labels: list[str | None] = [None if i % 2 else "ab"[i % 4 // 2] for i in range(2_000)]
    config = DataConfig(max_sealed_items=0)
    split = place([None] * 2_000, [""] * 2_000, np.arange(2_000), labels, config, rng())
    held = [label for s, label in zip(split, labels, strict=True) if s == "reference"]
    assert held == [None] * 150


@given(cases())
@settings(max_examples=150, deadline=None)
def test_every_class_keeps_labels_to_learn_from(case: tuple[list[int], list[str | None], list[str]]) -> None:
    group, labels, _ = case
    n = len(group)
    for share in (0.15, 0.9):
        split = place([None] * n, ["train"] * n, np.array(group), labels, DataConfig(reference_share=share), rng())
        for name in {label for label in labels if label}:
            learnt = sum(s == "train" and label == name for s, label in zip(split, labels, strict=True))
            assert learnt >= min(labels.count(name), 4)
