"""Unusable items and personal data: counted by reason and kind, never repeated."""

from passmuster.checks.personal_data import personal_data
from passmuster.checks.quality import unusable


def test_oversized_and_unreadable_are_told_apart_and_counted() -> None:
    found = unusable([("a", "item.empty: x"), ("b", "item.too_large: x"), ("c", "item.empty: y")])
    assert [(f.kind, f.items, dict(f.evidence["reasons"])) for f in found] == [
        ("unreadable", ("a", "c"), {"item.empty": 2}),
        ("oversized", ("b",), {"item.too_large": 1}),
    ]
    assert unusable([]) == []


def test_personal_data_is_one_finding_for_each_kind() -> None:
    found = personal_data([("a", ["email", "email", "ip"]), ("b", ["email"]), ("c", [])])
    assert [(f.evidence["kind"], f.items, f.evidence["n_spans"]) for f in found] == [
        ("email", ("a", "b"), 3),
        ("ip", ("a",), 1),
    ]
