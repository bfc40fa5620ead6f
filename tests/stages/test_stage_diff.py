"""What changes from one bundle to another: on the test without a look, on the user's items, and what is refused."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from evaluate_case import Digits, add_model, go_live, make_digits
from passmuster.core.config import DataConfig
from passmuster.core.errors import DataError, MusterError, NotFoundError, UsageError
from passmuster.core.label_sets import SINGLE
from passmuster.flows.diff import Named, as_csv, compare_bundles, rows
from passmuster.metrics.changes import Decision
from passmuster.modality.find import modalities
from passmuster.stages.evaluate import evaluate
from passmuster.stages.evaluate.diff import diff, renamed
from passmuster.stages.evaluate.diff_words import summary_lines
from passmuster.stages.evaluate.draft import Scope
from passmuster.stages.evaluate.named_items import read_named
from passmuster.store import ledger
from passmuster.store.schema import seal_openings
from passmuster.store.store import Store

NewStore = Callable[..., Store]
QUICK = Scope(n_corrupted=5, n_fit=50, n_classes_left_out=1, n_resamples=20)


@pytest.fixture
def digits(new_store: NewStore) -> Digits:
    return make_digits(new_store("image"))


def openings(store: Store) -> list[tuple[str, int]]:
    with store.read() as db:
        return [(row.purpose, row.counted) for row in db.execute(select(seal_openings).order_by(seal_openings.c.n))]


def test_without_a_report_no_label_is_read(digits: Digits) -> None:
    """The answers alone are compared: the opening is recorded, and does not count as a look."""
    old, new = add_model(digits, n_fit=60), add_model(digits, run="run-2")
    found = diff(digits.store, new, old)
    assert openings(digits.store) == [("compare-answers", 0)]
    assert (found.asked.labels_from, found.comparison, found.n_labelled) == ("none", None, 0)
    assert {change.kind for change in found.changes} <= {"changed", "answered to withheld", "withheld to answered"}
    assert len(found.changes) == round(found.changed.value * found.changed.n) > 5
    assert any("no look at the test; --labels" in line for line in summary_lines(found))


def test_labels_are_a_look_where_they_are_asked_for(digits: Digits) -> None:
    old, new = add_model(digits, n_fit=60), add_model(digits, run="run-2")
    found = diff(digits.store, new, old, labels=True)
    assert openings(digits.store) == [("evaluate", 1)]
    assert found.comparison is not None
    assert found.asked.look == 1
    counts = found.counts()
    answered = [c for c in found.changes if not c.before.withheld and not c.after.withheld]
    assert sum(c.before.said == c.label for c in answered) == counts.get("right to wrong", 0)
    assert found.comparison.only_candidate > found.comparison.only_incumbent
    assert found.changes[0].cost == 1.0
    assert found.changes[-1].cost == -1.0


def test_what_reports_on_both_have_shown_is_no_further_look(digits: Digits) -> None:
    old, new = add_model(digits, n_fit=60), add_model(digits, run="run-2")
    evaluate(digits.store, old.digest, scope=QUICK)
    evaluate(digits.store, new.digest, scope=QUICK)
    before = openings(digits.store)
    found = diff(digits.store, new, old)
    assert openings(digits.store) == [*before, ("compare-answers", 0)]
    assert (found.asked.labels_from, found.n_labelled) == ("reported", 200)


def test_the_same_numbers_as_the_report(digits: Digits) -> None:
    old, new = add_model(digits, n_fit=60), add_model(digits, run="run-2")
    go_live(digits.store, old)
    report = evaluate(digits.store, new.digest, scope=QUICK).report
    found = diff(digits.store, new, old)
    assert found.asked.labels_from == "reported"
    table = found.comparison
    assert table is not None
    section = report.sections["versions"]
    assert {key: getattr(table, key) for key in ("both_right", "only_candidate", "only_incumbent", "both_wrong")} == {
        key: section[key] for key in ("both_right", "only_candidate", "only_incumbent", "both_wrong")
    }


def test_a_label_that_was_corrected_since_is_news(digits: Digits) -> None:
    from passmuster.core.clock import now
    from passmuster.core.records import Label
    from passmuster.store.items import add_labels

    old, new = add_model(digits, n_fit=60), add_model(digits, run="run-2")
    go_live(digits.store, old)
    evaluate(digits.store, new.digest, scope=QUICK)
    key = digits.items["test"][0].key
    with digits.store.act("label.add") as act:
        add_labels(act.db, [Label(key, "0" if digits.shown["test"][0] != "0" else "1", "bea", now(), "test")])
    assert diff(digits.store, new, old).n_labelled == 199


def test_the_same_model_twice_is_stable_and_noise_is_named(digits: Digits) -> None:
    old, new = add_model(digits, n_fit=60), add_model(digits, run="run-2")
    found = diff(digits.store, new, old)
    assert found.noise.n_asked([change.position for change in found.changes]) == len(found.changes)
    assert found.noise.rate.n == 200
    assert found.noise.unstable == frozenset()
    assert [other.bundle for other in found.noise.retrained] == [old.digest]  # the same data, rung and head
    assert found.noise.retrained[0].differ.value == found.changed.value


def test_an_answer_on_the_edge_is_found_by_asking_again(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle that answers otherwise when it is asked alone: every item is noise, and the words say so."""
    from passmuster.runtime.predictor import Predictor

    old, new = add_model(digits, n_fit=60), add_model(digits, run="run-2")
    plain = Predictor.embed

    def tipping(self: Predictor, payloads: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        embeddings, logits = plain(self, payloads)
        return (embeddings, -logits) if len(payloads) == 1 else (embeddings, logits)

    monkeypatch.setattr(Predictor, "embed", tipping)
    found = diff(digits.store, new, old)
    assert found.noise.rate.value > 0.9
    n = found.noise.of([change.position for change in found.changes])
    assert n > 0.8 * len(found.changes)
    assert any(line.startswith(f"{n:,} of {len(found.changes):,} changes are noise") for line in summary_lines(found))


def test_what_was_not_asked_again_is_not_called_quiet(
    digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = add_model(digits, n_fit=60), add_model(digits, run="run-2")
    (tmp_path / "own").mkdir()
    for i, item in enumerate(digits.items["test"]):
        (tmp_path / "own" / f"{i}.png").write_bytes(digits.store.blobs.get(item.blob))
    on_test = compare_bundles(digits.store, new.digest, old.digest)
    monkeypatch.setattr("passmuster.stages.evaluate.noise.N_SAMPLED", 3)
    found = compare_bundles(
        digits.store, new.digest, old.digest, items=tmp_path / "own", csv_file=tmp_path / "changes.csv"
    )
    n = len(found.diff.changes)
    n_asked = found.diff.noise.n_asked([change.position for change in found.diff.changes])
    assert 3 <= n_asked <= 6 < n
    assert any(line.endswith(f"; {n - n_asked} changes were not asked again") for line in summary_lines(found.diff))
    with (tmp_path / "changes.csv").open() as file:
        said = [row["noise"] for row in csv.DictReader(file)]
    assert (said.count("not asked again"), said.count("False")) == (n - n_asked, n_asked)
    assert found.page != on_test.page
    assert re.search(r"-on-own-[0-9a-f]{8}\.html$", found.page.name)
    assert found.page.read_text().count("not asked again</span>") == n - n_asked


def test_a_table_of_changes_holds_no_formula_and_each_page_its_name(digits: Digits, tmp_path: Path) -> None:
    old, new = add_model(digits, n_fit=60), add_model(digits, run="run-2")
    pages = set()
    for name in ("données/τεστ", "données/тест", "a/own", "b/own"):
        (tmp_path / name).mkdir(parents=True)
        for i, item in enumerate(digits.items["test"][:40]):
            (tmp_path / name / f"={i}.png").write_bytes(digits.store.blobs.get(item.blob))
        csv_file = tmp_path / "changes.csv"
        for _ in range(2):  # the same items again: the same page
            found = compare_bundles(digits.store, new.digest, old.digest, items=tmp_path / name, csv_file=csv_file)
            pages.add(found.page)
    assert len(pages) == 4
    with csv_file.open() as file:
        ids = [row["id"] for row in csv.DictReader(file)]
    assert ids
    assert all(name.startswith("'=") for name in ids)
    named = {change.position: Named("-7", "@SUM(A1)") for change in found.diff.changes}
    assert "\n'-7,'@SUM(A1)," in as_csv(found.diff, named).replace("\r", "")
    assert rows(found.diff, named)[0]["text"] == "@SUM(A1)"


def test_items_of_the_users_own_open_nothing(digits: Digits, tmp_path: Path) -> None:
    old, new = add_model(digits, n_fit=60), add_model(digits, run="run-2")
    modality = modalities["image"]
    lines = ["file,label"]
    for i, item in enumerate(digits.items["test"][:40]):
        (tmp_path / f"{i}.png").write_bytes(digits.store.blobs.get(item.blob))
        lines.append(f"{i}.png,{digits.shown['test'][i] if i % 2 else ''}")
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / "list.csv").write_text("\n".join([*lines, "broken.png,1"]))
    found = diff(digits.store, new, old, items=tmp_path / "list.csv")
    assert openings(digits.store) == []
    assert (found.changed.n, found.n_labelled, found.asked.n_left_out) == (40, 20, 1)
    assert found.asked.labels_from == "given"
    folder = diff(digits.store, new, old, items=tmp_path)
    assert (folder.changed.n, folder.n_labelled) == (40, 0)
    assert modality.name == "image"
    with pytest.raises(NotFoundError, match="nothing at the path"):
        diff(digits.store, new, old, items=tmp_path / "none")


def test_ids_of_the_users_table_name_its_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text\nr7,some words\nr9,more words\n")
    (tmp_path / "twice.csv").write_text("id,text\nr7,some words\nr7,more words\n")
    names = [
        read_named(tmp_path / n, modalities["text"], DataConfig(), task=SINGLE).names for n in ("a.csv", "twice.csv")
    ]
    assert names == [("r7", "r9"), ("row 1", "row 2")]


def test_class_sets_that_differ_are_said_and_mapped(digits: Digits) -> None:
    old, new = add_model(digits, without="3"), add_model(digits, run="run-2")
    found = diff(digits.store, new, old)
    assert (found.only_before, found.only_after) == ((), ("3",))
    assert any("only the new bundle knows: 3" in line for line in summary_lines(found))
    with pytest.raises(UsageError, match="no class of that name"):
        diff(digits.store, new, old, mapped={"three": "3"})
    mapped = diff(digits.store, new, old, mapped={"8": "3"})  # as if 8 had been called 3
    assert mapped.only_after == ("8",)
    assert len(mapped.changes) > len(found.changes)


def test_no_class_in_common_is_refused(digits: Digits) -> None:
    old = add_model(digits)
    letters = make_letters(digits)
    with pytest.raises(UsageError, match="no class in common") as caught:
        diff(digits.store, letters, old)
    assert "--map OLD=NEW" in str(caught.value.next)
    names = dict(zip("0123456789", "abcdefghij"))
    assert diff(digits.store, letters, old, mapped=names).changes == ()


def make_letters(digits: Digits):  # type: ignore[no-untyped-def]
    """The same model under other names."""
    shown = digits.shown["train"]
    digits.shown["train"] = np.array(list("abcdefghij"))[shown.astype(int)]
    try:
        return add_model(digits, run="run-letters")
    finally:
        digits.shown["train"] = shown


def test_the_page_the_table_and_the_ledger(digits: Digits, tmp_path: Path) -> None:
    old, new = add_model(digits, n_fit=60), add_model(digits, run="run-2")
    go_live(digits.store, old)
    evaluate(digits.store, new.digest, scope=QUICK)
    found = compare_bundles(digits.store, csv_file=tmp_path / "changes.csv")
    assert (found.diff.before.digest, found.diff.after.digest) == (old.digest, new.digest)
    page = found.page.read_text()
    assert page.count('<li class="card') == len(found.diff.changes)
    assert "Wrong before, right now" in page
    assert "<script" not in page
    with (tmp_path / "changes.csv").open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(rows(found.diff, found.names)) == len(found.diff.changes)
    assert {row["kind"] for row in table} == set(found.diff.counts())
    assert {row["id"] for row in table} <= {item.id for item in digits.items["test"]}
    assert {(row["text"], row["noise"]) for row in table} == {("", "False")}
    with digits.store.read() as db:
        *_, last = ledger.read(db, kind="test.open")
    assert last.payload["purpose"] == "compare-answers"


def test_what_cannot_be_compared_is_refused(digits: Digits) -> None:
    one = add_model(digits)
    with pytest.raises(NotFoundError, match="nothing is live"):
        compare_bundles(digits.store)
    go_live(digits.store, one)
    with pytest.raises(UsageError, match="does not differ from itself"):
        compare_bundles(digits.store, "live")
    with pytest.raises(MusterError):
        compare_bundles(digits.store, "r9999")


def test_no_item_left_is_said(digits: Digits, tmp_path: Path) -> None:
    old, new = add_model(digits, n_fit=60), add_model(digits, run="run-2")
    with pytest.raises(DataError, match="no item could be read"):
        diff(digits.store, new, old, items=tmp_path)


def test_sets_of_classes_are_mapped_class_by_class() -> None:
    said = Decision('["broken","late"]', 0.9, False)
    assert renamed(said, {"late": "delayed"}).said == '["broken","delayed"]'
    assert renamed(Decision("late", 0.9, False), {"late": "delayed"}).said == "delayed"
    assert renamed(Decision("[]", 0.9, False), {"late": "delayed"}).said == "[]"
