"""Natural faults in an evaluation: what is tried, what does not count, own functions, and the live release beside."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluate_case import Digits, add_model, go_live, image_store, make_digits
from passmuster.core.digests import sha256_hex
from passmuster.core.errors import UsageError
from passmuster.metrics.robustness import corruption_error, robustness
from passmuster.modality.find import modalities
from passmuster.stages.evaluate import evaluate, faults
from passmuster.stages.evaluate.choose_faults import choose_faults
from passmuster.stages.evaluate.draft import Scope

SCOPE = Scope(n_corrupted=60, n_fit=150, n_classes_left_out=3, n_resamples=20, n_previews=40)
IMAGE = modalities["image"]
OWN = """
import numpy as np

def fade_left(item, severity, rng):
    item[:, : severity + 2] //= 2
    return item

def some(item, severity, rng):
    return item if item.sum() % 2 == 0 else 255 - item

def nothing(item, severity, rng):
    return item

def broken(item, severity, rng):
    return 1 / 0

def floats(item, severity, rng):
    return item / 2.0
"""


@pytest.fixture
def digits(tmp_path: Path) -> Digits:
    made = make_digits(image_store(tmp_path / "p"))
    (made.store.folder / "faults.py").write_text(OWN)
    return made


def test_usual_all_names_and_own_ones(tmp_path: Path) -> None:
    (tmp_path / "faults.py").write_text(OWN)

    def names(*asked: str) -> list[str]:
        return list(choose_faults(IMAGE, asked, tmp_path).corruptions)

    usual = list(IMAGE.usual_faults)
    assert names() == names("usual") == usual
    assert names("all") == IMAGE.corruptions.names()
    assert len(names("all")) == 7 + 15 + 4
    assert names("fog.v1", "blur.v1") == ["fog.v1", "blur.v1"]
    assert names("faults.py:nothing") == [*usual, "faults.py:nothing"]
    assert names("fog.v1", "faults.py:nothing", "faults.py:nothing") == ["fog.v1", "faults.py:nothing"]
    own = choose_faults(IMAGE, ["faults.py:broken"], tmp_path).own
    assert [(o.name, o.sha256) for o in own] == [("faults.py:broken", sha256_hex(OWN.encode()))]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("fogg.v1", "use 'fog.v1'"),
        ("../outside.py:f", "inside the project's folder"),
        ("/etc/faults.py:f", "inside the project's folder"),
        ("faults.txt:f", "inside the project's folder"),
        ("missing.py:f", "cannot be read"),
        ("syntax.py:f", "SyntaxError"),
        ("raises.py:f", "RuntimeError: no"),
        ("faults.py:fade", "has no function 'fade'"),
        ("faults.py:np.sin", "has no function"),
        ("link.py:f", "inside the project's folder"),
    ],
)
def test_what_cannot_be_tried_is_refused_before_the_test_is_opened(tmp_path: Path, asked: str, said: str) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (tmp_path / "outside.py").write_text("def f(item, severity, rng): return item")
    (folder / "faults.py").write_text(OWN)
    (folder / "syntax.py").write_text("def f(:")
    (folder / "raises.py").write_text("raise RuntimeError('no')")
    (folder / "link.py").symlink_to(tmp_path / "outside.py")
    with pytest.raises(UsageError, match=said):
        choose_faults(IMAGE, [asked], folder)


def test_items_that_a_fault_leaves_alone_are_not_counted(digits: Digits) -> None:
    add_model(digits)
    asked = ["blur.v1", "saturate.v1", "faults.py:some", "faults.py:nothing"]
    report = evaluate(digits.store, corruptions=asked, scope=SCOPE).report
    section = report.sections["corruptions"]
    assert [(row["corruption"], row["reason"]) for row in section["left_out"]] == [
        ("saturate.v1", "it changes no item"),
        ("faults.py:nothing", "it changes no item"),
    ]
    assert {row["corruption"] for row in section["rows"]} == {"blur.v1", "faults.py:some"}
    assert [own["name"] for own in section["own"]] == asked[2:]
    assert section["own"][0]["sha256"] == sha256_hex(OWN.encode())
    some = report.metric("accuracy", "corruption=faults.py:some severity=2")
    assert some is not None
    assert 6 <= some.n < 60
    assert set(report.item_sets[some.items]) < set(report.item_sets["corrupted"])
    assert some.n == len(report.item_sets[some.items])


@pytest.mark.parametrize(("name", "said"), [("broken", "ZeroDivisionError"), ("floats", "returned no item")])
def test_an_own_fault_that_fails_names_the_item(digits: Digits, name: str, said: str) -> None:
    add_model(digits)
    with pytest.raises(UsageError, match=said) as caught:
        evaluate(digits.store, corruptions=[f"faults.py:{name}"], scope=SCOPE)
    assert caught.value.code == "evaluate.own_fault"
    assert any(item.key in str(caught.value.where) for item in digits.items["test"])


def test_an_own_fault_may_spoil_the_item_in_place(digits: Digits) -> None:
    add_model(digits)
    report = evaluate(digits.store, corruptions=["blur.v1", "faults.py:fade_left", "contrast.v1"], scope=SCOPE).report
    alone = evaluate(digits.store, corruptions=["contrast.v1"], scope=SCOPE).report
    for severity in (1, 5):
        where = f"corruption=contrast.v1 severity={severity}"
        assert report.metric("accuracy", where) == alone.metric("accuracy", where)


def test_nothing_left_to_try_is_said(digits: Digits) -> None:
    add_model(digits)
    result = evaluate(digits.store, corruptions=["saturate.v1"], scope=SCOPE)
    assert result.report.metric("accuracy_under_faults") is None
    assert "saturate: it changes no item" in result.path.read_text()


def test_the_live_release_is_asked_the_same(digits: Digits) -> None:
    live = add_model(digits, without="3", run="run-0")
    go_live(digits.store, live)
    add_model(digits)
    result = evaluate(digits.store, corruptions=["blur.v1", "fog.v1"], scope=SCOPE)
    beside = result.report.sections["corruptions"]["against_live"]
    mce = result.report.metric("mce")
    assert mce is not None
    assert mce.value == pytest.approx(np.mean(list(beside["of"].values())))
    assert mce.low <= mce.value <= mce.high
    assert mce.value < 1  # the live one knows nine digits
    assert beside["worst"] == max(beside["of"], key=beside["of"].__getitem__)
    assert "times the errors of the live release" in result.path.read_text()


def test_corruption_error_is_the_ratio_of_summed_errors() -> None:
    rng = np.random.default_rng(0)
    a, b = ({(name, s): (rng.random(200) < 0.7).astype(float) for name in "xy" for s in (1, 2, 3)} for _ in range(2))
    for fault in a:
        gone = rng.random(200) < 0.3
        a[fault][gone] = b[fault][gone] = np.nan
    found = corruption_error(a, b, rng=np.random.default_rng(1))
    for name in "xy":
        ours, theirs = (sum(1 - np.nanmean(v) for (n, _), v in of.items() if n == name) for of in (a, b))
        assert found.of[name] == pytest.approx(ours / theirs)
    assert found.mean.value == pytest.approx(np.mean(list(found.of.values())))
    assert corruption_error(a, a, rng=np.random.default_rng(1)).mean.low == pytest.approx(1)


def test_an_incumbent_without_errors_is_not_divided_by() -> None:
    perfect, flawed = {("x", 1): np.ones(50)}, {("x", 1): np.r_[np.zeros(3), np.ones(47)]}
    assert corruption_error(flawed, perfect, rng=np.random.default_rng(0)).mean.value == pytest.approx(6)
    assert corruption_error(perfect, perfect, rng=np.random.default_rng(0)).mean.value == 1


def test_unchanged_items_do_not_count_as_survived() -> None:
    clean = np.array([1, 1, 0, 1])
    found = robustness(clean, {("x", 1): np.array([0, np.nan, np.nan, 1])}, rng=np.random.default_rng(0))
    assert (found.accuracy["x", 1].value, found.accuracy["x", 1].n) == (0.5, 2)
    assert found.clean_of["x", 1] == 1
    assert found.mean.value == 0.5


def test_an_item_is_spoilt_by_its_key_whichever_others_are_tried(digits: Digits) -> None:
    """Forty items drawn, or all of the test: noise falls on each alike, so shared items are answered alike."""
    add_model(digits)
    few, many = (
        evaluate(digits.store, corruptions=["gaussian_noise.v1"], scope=Scope(n_corrupted=n, n_fit=150)).report
        for n in (40, 200)
    )
    shared = set(few.item_sets["corrupted"])
    for severity in (3, 5):
        name = f"corruption=gaussian_noise.v1 severity={severity} broken"
        assert set(few.item_sets.get(name, ())) == set(many.item_sets.get(name, ())) & shared


def test_how_many_are_spoilt_at_once_changes_no_figure(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    add_model(digits)
    asked, some = ["contrast.v2", "spatter.v1", "occlusion.v1"], replace(SCOPE, page=False)
    together = evaluate(digits.store, corruptions=asked, scope=some).report
    monkeypatch.setattr(faults, "AT_ONCE", (7, 7))
    apart = evaluate(digits.store, corruptions=asked, scope=some).report
    assert apart.sections["corruptions"] == together.sections["corruptions"]
    assert apart.item_sets == together.item_sets
    assert apart.sections["estimated"]["mean_error"] == pytest.approx(together.sections["estimated"]["mean_error"])


def test_with_no_item_to_spoil_no_fault_is_tried(digits: Digits) -> None:
    add_model(digits)
    report = evaluate(digits.store, scope=replace(SCOPE, n_corrupted=0)).report
    section = report.sections["corruptions"]
    assert (section["n"], section["rows"], section["mean"]) == (0, [], None)
    assert report.metric("accuracy_under_faults") is None
    assert report.metric("accuracy") is not None
