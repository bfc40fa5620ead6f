"""Copies: pairs, groups and findings."""

from passmuster.checks.duplicates import Pair, exact_duplicates, exact_pairs, groups, near_duplicates


def test_every_repetition_is_paired_with_the_first() -> None:
    pairs = exact_pairs(["x", "y", "x", "x"])
    assert [(p.a, p.b) for p in pairs] == [(0, 2), (0, 3)]


def test_groups_join_through_others() -> None:
    assert groups(6, [(5, 4), (4, 2), (0, 1)]).tolist() == [0, 0, 2, 3, 2, 2]


def test_findings_count_pairs_and_list_both_items() -> None:
    found = exact_duplicates(["a", "b", "c"], exact_pairs(["x", "x", "x"]))[0]
    assert found.items == ("a", "b", "a", "c")
    assert found.evidence["n_pairs"] == 2
    assert found.title.startswith("2 items repeat")
    near = near_duplicates(["a", "b"], [Pair(0, 1, 0.91234, "words")])[0]
    assert near.evidence["similarity"] == [0.9123]
    assert near.evidence["how"] == ["words"]


def test_nothing_is_said_where_nothing_is() -> None:
    assert exact_duplicates(["a"], []) == [] == near_duplicates(["a"], [])
