"""Labels: enough, even, agreeing."""

from passmuster.checks.labels import alike_classes, class_balance, label_conflicts

LIMITS = {"n_items": 100, "max_ratio": 10.0, "min_labels": 2}


def labels(**counts: int) -> dict[str, str]:
    return {f"{name}{i}": name for name, n in counts.items() for i in range(n)}


def test_even_labels_are_silent() -> None:
    assert class_balance(labels(a=5, b=5), labels(a=2, b=2), **LIMITS) == []


def test_no_label_and_one_class_are_findings() -> None:
    assert "none of 100 items" in class_balance({}, {}, **LIMITS)[0].title
    assert "'a'" in class_balance(labels(a=5), {}, **LIMITS)[0].title


def test_uneven_rare_and_one_sided_classes_are_findings() -> None:
    titles = " | ".join(f.title for f in class_balance(labels(a=50, b=1), labels(a=5, c=5), **LIMITS))
    assert "uneven: 50 labels of 'a', 1 of 'b'" in titles
    assert "fewer than 2 training labels ('b')" in titles
    assert "test labels but no training label ('c')" in titles
    assert "no test label ('b')" in titles


def test_equal_contents_with_different_labels_conflict() -> None:
    found = label_conflicts([0, 0, 2, 2, 4], ["x", "y", "x", "x", None], list("abcde"))
    assert [f.items for f in found] == [("a", "b")]
    assert label_conflicts([0, 0], ["x", None], ["a", "b"]) == []


def test_classes_that_differ_in_writing_only_are_named_and_the_rarer_ones_asked_about() -> None:
    classes = {"k0": ["late delivery"], "k1": ["late delivery"], "k2": ["Late_Delivery"], "k3": ["ｌate-delivery"]}
    (found,) = alike_classes(classes)
    assert found.title.startswith("3 classes have nearly the same name: 'late delivery' (2), 'Late_Delivery' (1)")
    assert found.items == ("k2", "k3")
    assert "muster label --disputed" in found.remedy
    assert alike_classes({"k0": ["c"], "k1": ["c++"], "k2": ["class 1"], "k3": ["class1"]}) == []
