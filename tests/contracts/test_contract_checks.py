"""Every check finds a planted defect, is silent on clean data, and says what to do."""

import pkgutil
from collections.abc import Callable, Sequence

import pytest

import passmuster.checks
from passmuster.checks.duplicates import Pair, exact_duplicates, exact_pairs, near_duplicates
from passmuster.checks.labels import alike_classes, class_balance, label_conflicts, near_conflicts
from passmuster.checks.leakage import leakage
from passmuster.checks.personal_data import personal_data
from passmuster.checks.quality import unusable
from passmuster.core.codec import from_plain, to_plain
from passmuster.core.digests import canonical_json
from passmuster.core.records import Finding

KEYS = [f"k{i}" for i in range(6)]
EVEN = {f"k{i}": "ab"[i % 2] for i in range(6)}
LIMITS = {"n_items": 6, "max_ratio": 10.0, "min_labels": 2}
SPLITS = ["train", "train", "train", "reference", "test", "test"]

# kind -> module, the check on clean data, the check with a defect planted
CASES: dict[str, tuple[str, Callable[[], Sequence[Finding]], Callable[[], Sequence[Finding]]]] = {
    "exact_duplicate": (
        "duplicates",
        lambda: exact_duplicates(KEYS, exact_pairs(list("abcdef"))),
        lambda: exact_duplicates(KEYS, exact_pairs(list("abcdea"))),
    ),
    "near_duplicate": (
        "duplicates",
        lambda: near_duplicates(KEYS, []),
        lambda: near_duplicates(KEYS, [Pair(1, 4, 0.9, "words")]),
    ),
    "leakage": (
        "leakage",
        lambda: leakage(KEYS, SPLITS, [0, 0, 2, 3, 4, 4], [Pair(0, 2, 0.9, "words")], [""] * 6),
        lambda: leakage(KEYS, SPLITS, [0, 1, 2, 3, 4, 0], [], [""] * 6),
    ),
    "label_conflict": (
        "labels",
        lambda: label_conflicts([0, 0, 2, 3, 4, 5], ["a", "a", "b", None, "a", "b"], KEYS),
        lambda: label_conflicts([0, 0, 2, 3, 4, 5], ["a", "b", "b", None, "a", "b"], KEYS),
    ),
    "near_conflict": (
        "labels",
        lambda: near_conflicts([("k0", "k1"), ("k2", "k5")], {"k0": "a", "k1": "a", "k2": "b"}),
        lambda: near_conflicts([("k0", "k1"), ("k2", "k5")], {"k0": "a", "k1": "b", "k2": "b"}),
    ),
    "class_names": (
        "labels",
        lambda: alike_classes({"k0": ["a b"], "k1": ["a c"]}),
        lambda: alike_classes({"k0": ["a b"], "k1": ["A_b"]}),
    ),
    "class_balance": (
        "labels",
        lambda: class_balance(EVEN, {}, **LIMITS),
        lambda: class_balance(dict.fromkeys(KEYS, "a"), {}, **LIMITS),
    ),
    "personal_data": (
        "personal_data",
        lambda: personal_data((key, []) for key in KEYS),
        lambda: personal_data((key, ["iban"] if key == "k2" else []) for key in KEYS),
    ),
    "unreadable": ("quality", lambda: unusable([]), lambda: unusable([("k1", "item.encoding: not UTF-8")])),
    "oversized": ("quality", lambda: unusable([]), lambda: unusable([("k1", "item.too_large: too large")])),
}


def test_every_check_has_a_case() -> None:
    modules = {module.name for module in pkgutil.iter_modules(passmuster.checks.__path__)}
    assert modules == {module for module, _, _ in CASES.values()}


@pytest.mark.parametrize("kind", CASES)
def test_it_is_silent_on_clean_data(kind: str) -> None:
    assert list(CASES[kind][1]()) == []


@pytest.mark.parametrize("kind", CASES)
def test_it_finds_what_was_planted_and_says_what_to_do(kind: str) -> None:
    found = list(CASES[kind][2]())
    assert [f.kind for f in found] == [kind]
    assert found[0].items
    assert set(found[0].items) <= set(KEYS)
    assert found[0].remedy
    assert found[0].title
    assert (found[0].severity == "blocking") == (kind == "leakage")


@pytest.mark.parametrize("kind", CASES)
def test_what_it_says_can_be_stored(kind: str) -> None:
    found = next(iter(CASES[kind][2]()))
    canonical_json(to_plain(found))
    assert from_plain(Finding, to_plain(found)).items == found.items


@pytest.mark.parametrize("kind", ["exact_duplicate", "near_duplicate", "leakage", "label_conflict", "near_conflict"])
def test_twins_follow_each_other_in_pairs(kind: str) -> None:
    found = next(iter(CASES[kind][2]()))
    assert len(found.items) == 2 * found.evidence["n_pairs"]
