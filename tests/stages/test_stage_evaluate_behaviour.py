"""The team's own behaviour tests: how the file is read, what fails, what the page and the gate say of it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import release_case
from evaluate_case import Digits, add_model, image_store, make_digits
from passmuster.core.config import DataConfig
from passmuster.core.digests import sha256_hex
from passmuster.core.errors import DataError, NotFoundError
from passmuster.flows.release import why_tests_changed
from passmuster.metrics.gates import gates
from passmuster.modality.find import modalities
from passmuster.stages.evaluate import EvaluateResult, evaluate
from passmuster.stages.evaluate.behaviour_file import Behaviour, read_behaviour
from passmuster.stages.evaluate.draft import Scope

SCOPE = Scope(n_corrupted=8, n_fit=150, n_classes_left_out=3, n_resamples=20, n_previews=40)
TEXT = modalities["text"]
GOOD = """test,kind,item,changed,expected,direction
negation,MFT,"Not bad, not bad at all",,good,
names,INV,Anna likes it,Fatima likes it,,
intensifier,dir,It is good,It is very good,good,not lower
"""
Read = Callable[..., Behaviour]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def reader(content: str | bytes, task: str = "single-label") -> Behaviour:
        path = tmp_path / "behaviour.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_behaviour(path, TEXT, DataConfig(), ("bad", "good"), task)

    return reader


def test_a_spreadsheet_is_read_as_it_was_written(read: Read) -> None:
    found = read(GOOD)
    assert [(r.row, r.test, r.kind, r.expected, r.direction) for r in found.rows] == [
        (2, "negation", "MFT", "good", ""), (3, "names", "INV", "", ""), (4, "intensifier", "DIR", "good", "not lower"),
    ]  # fmt: skip
    assert found.rows[0].item == "Not bad, not bad at all"
    assert found.rows[0].changed is None
    assert found.rows[1].changed == "Fatima likes it"
    assert found.sha256 == sha256_hex(GOOD.encode())


def test_other_spreadsheets_write_other_separators_marks_and_blank_rows(read: Read) -> None:
    rows = read(GOOD).rows
    assert (
        read("\ufeff" + GOOD.replace("Not bad, not", "Not bad; not").replace(",", "\t").replace(";", ",")).rows == rows
    )
    european = GOOD.replace(",", ";").replace("Not bad;", "Not bad,").replace("\n", "\r\n")
    assert read(european).rows == rows
    blank = GOOD.replace("names,", ",,,,,\n\nnames,")
    assert [r.row for r in read(blank).rows] == [2, 5, 6]
    assert [r.item for r in read(blank).rows] == [r.item for r in rows]


def test_columns_may_stand_in_any_order_and_be_left_out(read: Read) -> None:
    assert read("kind,note,item,expected,test\nmft,why not,fine,good,t\n").rows[0].expected == "good"
    tolerant = 'test,kind,item,changed,expected,direction,tolerance\nt,DIR,a,b,bad,not higher,"0,25"\n'
    assert read(tolerant).rows[0].tolerance == 0.25


def test_sets_of_classes_are_expected_as_they_are_labelled(read: Read) -> None:
    rows = read("test,kind,item,expected\nt,MFT,a,good; bad\nt,MFT,b,[]\nt,MFT,c,bad\n", "multi-label").rows
    assert [r.expected for r in rows] == ['["bad","good"]', "[]", "bad"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("t,MFT,a,,goood,,", "row 4, column expected: the model has no class 'goood'; did you mean 'good'?"),
        ("t,MFT,a,,,,", "row 4, column expected: empty"),
        (",MFT,a,,good,,", "row 4, column test: empty"),
        ("t,MTF,a,,good,,", "row 4, column kind: 'MTF' is none of MFT, INV, DIR"),
        ("t,MFT,,,good,,", "row 4, column item: empty"),
        ("t,INV,a,,,,", "row 4, column changed: empty"),
        ("t,INV,a,b,good,,", "row 4, column expected: 'good' says nothing in a row of kind INV"),
        ("t,MFT,a,b,good,,", "row 4, column changed: 'b' says nothing in a row of kind MFT"),
        ("t,DIR,a,b,good,up,", "row 4, column direction: 'up' is neither 'not lower' nor 'not higher'"),
        ("t,DIR,a,b,good,not lower,2", "row 4, column tolerance: '2' is no number from 0 to 1"),
        ("t,MFT,a,,good,,0.1", "row 4, column tolerance: '0.1' says nothing"),
        ("t,MFT,a,,good,,,,x", "row 4: 9 cells for 7 columns"),
    ],
)
def test_a_bad_row_is_named_with_its_column(read: Read, row: str, said: str) -> None:
    head = "test,kind,item,changed,expected,direction,tolerance\n"
    good = "t,MFT,fine,,good,,\n"
    with pytest.raises(DataError) as caught:
        read(head + good + good + row + "\n" + good)
    assert caught.value.code == "behaviour.rows"
    assert said in str(caught.value)


def test_every_bad_row_is_counted(read: Read) -> None:
    bad = "t,MFT,a,better\n" * 25
    with pytest.raises(DataError, match=r"row 21, .* and 5 more \(value: 25 of them in 25 rows"):
        read("test,kind,item,expected\n" + bad)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("test,item\na,b\n", "no column 'kind'"),
        ("test,kind,item,expcted\n", "unknown column 'expcted'"),
        ("test,kind,item,item\n", "one twice"),
        ("test,kind,item\n", "no test in it"),
        ("", "no column 'test'"),
        (b"test,kind,item\nt,MFT,\xff\xfe\n", "not UTF-8 at byte"),
        ('test,kind,item\nt,MFT,"open\n', "no CSV"),
    ],
)
def test_what_is_no_table_of_tests_is_refused(read: Read, content: str | bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(content)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Digits, EvaluateResult, list[str]]:
    """Digits as behaviour tests: each must be known, and turning it upside down must change nothing (which it does)."""
    digits = make_digits(image_store(tmp_path_factory.mktemp("behaviour")))
    folder = digits.store.folder / "tests"
    folder.mkdir()
    lines = ["test,kind,item,changed,expected,direction"]
    decode = digits.store.blobs.get_many([item.blob for item in digits.items["test"][:40]])
    for i, data in enumerate(decode):
        (folder / f"{i}.png").write_bytes(data)
        turned = modalities["image"].decode(data, DataConfig())[::-1]
        Image.fromarray(turned[:, :, 0]).save(folder / f"{i}-turned.png")
        lines.append(f"known,MFT,{i}.png,,{digits.shown['test'][i]},")
        lines.append(f"turned,INV,{i}.png,{i}-turned.png,,")
        lines.append(f"same,DIR,{i}.png,{i}.png,{digits.shown['test'][i]},not higher")
    (folder / "behaviour.csv").write_text("\n".join(lines) + "\n")
    config = digits.store.config
    digits.store.config = replace(config, evaluate=replace(config.evaluate, behaviour="tests/behaviour.csv"))
    add_model(digits)
    return digits, evaluate(digits.store, scope=SCOPE), lines


def test_each_failure_is_listed_by_its_row(judged: tuple[Digits, EvaluateResult, list[str]]) -> None:
    _, result, lines = judged
    section = result.report.sections["behaviour"]
    by_test = {test["test"]: test for test in section["tests"]}
    assert section["n"] == 120
    assert by_test["same"]["n_failed"] == 0
    assert 0 <= by_test["known"]["n_failed"] < 12
    assert by_test["turned"]["n_failed"] > 8
    assert section["tests"][0]["test"] == "turned"  # the worst first
    assert len(section["failures"]) == section["n_failed"] == sum(t["n_failed"] for t in section["tests"])
    for failure in section["failures"]:
        assert lines[failure["row"] - 1].startswith(f"{failure['test']},{failure['kind']},")
        assert failure["said"] != (failure["said_changed"] or failure["expected"])
    metric = result.report.metric("behaviour_failure_rate", "test=turned kind=INV")
    assert metric is not None
    assert (metric.n, metric.method) == (40, "clopper-pearson")
    page = result.path.read_text()
    assert "Does it behave as you say it must?" in page
    assert page.count('<td class="wrong">') >= section["n_failed"]


def test_a_changed_file_asks_for_a_new_report(judged: tuple[Digits, EvaluateResult, list[str]]) -> None:
    digits, result, _ = judged
    path = digits.store.folder / "tests" / "behaviour.csv"
    with digits.store.read() as db:
        from passmuster.store.releases import read_bundle

        bundle = read_bundle(db, result.report.bundle)
        assert why_tests_changed(db, digits.store, bundle) == ""
        before = path.read_bytes()
        path.write_bytes(before + b"known,MFT,0.png,,0,\n")
        assert "is not what its report asked" in why_tests_changed(db, digits.store, bundle)
        path.write_bytes(before)


def test_a_missing_picture_is_named_and_the_test_stays_sealed(tmp_path: Path) -> None:
    digits = make_digits(image_store(tmp_path / "p"))
    add_model(digits)
    config = digits.store.config
    digits.store.config = replace(config, evaluate=replace(config.evaluate, behaviour="b.csv"))
    with pytest.raises(NotFoundError, match="behaviour tests cannot be read"):
        evaluate(digits.store, scope=SCOPE)
    (digits.store.folder / "b.csv").write_text("test,kind,item,expected\nt,MFT,gone.png,3\n")
    with pytest.raises(DataError, match=r"row 2, column item: 'gone.png' cannot be read"):
        evaluate(digits.store, scope=SCOPE)
    assert evaluate_looks(digits) == 0


def evaluate_looks(digits: Digits) -> int:
    from sqlalchemy import func, select

    from passmuster.store.schema import seal_openings

    with digits.store.read() as db:
        return int(db.execute(select(func.count()).select_from(seal_openings)).scalar_one())


def test_the_gate_takes_rows_as_a_specification_or_as_a_sample() -> None:
    gate = gates["behaviour.v1"]

    def state(n_failed: int, n: int, most: float) -> str:
        report = release_case.make_report(n=n, n_right=n - n_failed)
        return gate.judge(report, {"max_rate": most}, 0.05).state

    assert [state(0, 5, 0.0), state(1, 500, 0.0)] == ["passed", "failed"]
    assert [state(0, 5, 0.1), state(0, 60, 0.1), state(30, 60, 0.1)] == ["insufficient", "passed", "failed"]
    # 2 of 60: the exact upper bound at 5 % is 0.1008 (beta quantile), so 0.1 is not shown and 0.11 is
    assert [state(2, 60, 0.1), state(2, 60, 0.11)] == ["insufficient", "passed"]
    assert np.isclose(
        next(m for m in release_case.make_report(n=60, n_right=58).metrics if m.name == "behaviour_failure_rate").value,
        2 / 60,
    )
