"""Leakage: copies and people on both sides of the split, and only those."""

from passmuster.checks.duplicates import Pair
from passmuster.checks.leakage import leakage

NOBODY = ["", "", "", ""]


def test_an_exact_copy_across_the_split_blocks_with_the_training_item_first() -> None:
    found = leakage(["a", "b", "c"], ["test", "train", "train"], [0, 0, 2], [], NOBODY[:3])
    assert [(f.severity, f.items) for f in found] == [("blocking", ("b", "a"))]


def test_a_near_copy_carries_every_exact_copy_of_either_side() -> None:
    # contents 0 (items 0, 1) and 2 (items 2, 3) are near-copies; each has one item on each side
    found = leakage(list("abcd"), ["train", "train", "test", "test"], [0, 0, 2, 2], [Pair(0, 2, 0.9, "words")], NOBODY)
    assert found[0].evidence["n_test_items"] == 2
    assert set(found[0].items[1::2]) == {"c", "d"}


def test_copies_within_a_split_or_with_the_reference_do_not_leak() -> None:
    same = ["train", "train", "test", "test"]
    assert leakage(list("abcd"), same, [0, 0, 2, 2], [], NOBODY) == []
    assert leakage(["a", "b"], ["reference", "test"], [0, 0], [], NOBODY[:2]) == []


def test_a_person_on_both_sides_blocks() -> None:
    found = leakage(list("abc"), ["train", "test", "test"], [0, 1, 2], [], ["ana", "ana", "bo"])
    assert [(f.severity, f.items, f.evidence["how"]) for f in found] == [("blocking", ("a", "b"), ["same subject"])]
