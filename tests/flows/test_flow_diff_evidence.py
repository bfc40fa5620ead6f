"""One quantity, one value: labels that were drawn unequally read alike in report, gates and diff."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from test_flow_evidence import SMALL, label, store

from evaluate_case import Digits, add_model, go_live, make_digits
from passmuster.cli.diff_verb import summary
from passmuster.core.codec import to_plain
from passmuster.core.records import Bundle, Report
from passmuster.core.statistics import wilson
from passmuster.flows.diff import DiffResult
from passmuster.flows.evidence import choose_evidence
from passmuster.metrics.gates import gates
from passmuster.metrics.versions import Comparison
from passmuster.stages.evaluate import evaluate
from passmuster.stages.evaluate.diff import diff
from passmuster.stages.evaluate.diff_words import summary_lines
from passmuster.stages.evaluate.words import open_words, percent
from passmuster.store.store import Store

__all__ = ["store"]  # the fixture


@pytest.fixture
def drawn(store: Store) -> tuple[Digits, Report, Bundle, Bundle]:
    """Sixty labels of two hundred, asked for where a live release and its successor differ; the report, new and old."""
    digits = make_digits(store, n_labelled=0)
    live = add_model(digits, n_fit=20, run="run-0")
    go_live(store, live)
    new = add_model(digits, n_fit=60)
    label(digits, choose_evidence(digits.store, n=60, rng=np.random.default_rng(0)))
    return digits, evaluate(digits.store, new.digest, scope=SMALL).report, new, live


def same(table: Comparison | None, report: Report) -> Comparison:
    """The table, which is what the report says."""
    assert table is not None
    section = report.sections["versions"]
    assert (table.n, table.only_incumbent, table.p_mcnemar) == (60, section["only_incumbent"], section["p_mcnemar"])
    for name, found in (("negative_flip_rate", table.negative_flips), ("accuracy_difference", table.difference)):
        shown = report.metric(name)
        assert shown is not None
        assert (found.value, found.low, found.high) == pytest.approx((shown.value, shown.low, shown.high), abs=1e-12)
    return table


def test_report_gate_and_diff_show_one_value(drawn: tuple[Digits, Report, Bundle, Bundle]) -> None:
    digits, report, new, live = drawn
    found = diff(digits.store, new, live)
    assert found.asked.labels_from == "reported"
    assert report.sections["versions"]["census"]["n_unknown"] > 0
    table = same(found.comparison, report)
    rate, counted = table.negative_flips.value, table.only_incumbent / table.n
    assert rate < 0.8 * counted, "asked for where the two differ, labels are no sample of all"
    judged = gates["negative_flips.v1"].judge(report, {"max_rate": 0.5}, 0.01)
    assert judged.value == pytest.approx(rate, abs=1e-12)
    assert f"{table.only_incumbent} of 60 labelled items (worth " in judged.reason
    assert f"went from right to wrong; weighted by their chances {rate:.3f}; surely at most" in judged.reason
    line = next(line for line in summary_lines(found) if line.startswith("negative flips"))
    assert f"{table.only_incumbent} of 60 labelled items go from right to wrong; weighted by their chances" in line
    assert f": {percent(rate)} of all (" in line


def test_opened_labels_are_read_so_too(drawn: tuple[Digits, Report, Bundle, Bundle]) -> None:
    digits, report, new, live = drawn
    found = diff(digits.store, new, live, labels=True)
    assert found.asked.labels_from == "opened"
    same(found.comparison, report)


def test_the_users_own_items_count_alike(drawn: tuple[Digits, Report, Bundle, Bundle], tmp_path: Path) -> None:
    """No draw asked for them: what is said is of these items, and the share is that of the counts."""
    digits, _, new, live = drawn
    lines = ["file,label"]
    for i, item in enumerate(digits.items["test"]):
        (tmp_path / f"{i}.png").write_bytes(digits.store.blobs.get(item.blob))
        lines.append(f"{i}.png,{digits.shown['test'][i]}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    table = diff(digits.store, new, live, items=tmp_path / "list.csv").comparison
    assert table is not None
    assert not table.weighed
    assert table.negative_flips.value == table.only_incumbent / 200


def test_without_a_labelled_disagreement_nobody_is_told_that_nothing_changes(store: Store) -> None:
    """What was labelled is answered alike: report, page and diff say how much is open, and no gate passes by it."""
    digits = make_digits(store, n_labelled=0)
    live = add_model(digits, n_fit=20, run="run-0")
    go_live(store, live)
    new = add_model(digits, n_fit=60)
    chosen = choose_evidence(digits.store, n=60, rng=np.random.default_rng(0))
    blind = diff(digits.store, new, live)
    changed = {blind.asked.names[change.position] for change in blind.changes}
    label(digits, [(item, weight) for item, weight in chosen if item.key not in changed])
    done = evaluate(digits.store, new.digest, scope=SMALL)
    report = done.report
    assert report.metric("accuracy_difference") is None
    assert report.metric("negative_flip_rate") is None
    at_most = report.sections["versions"]["at_most"]
    assert at_most == wilson(len(changed), len(blind.asked.names)).high
    assert report.sections["versions"]["worth"]["n"] == 0
    words = open_words(at_most)
    assert any(words in line["text"] for line in report.sections["summary"]["breaks"])
    page = done.path.read_text(encoding="utf-8")
    assert page.count(words) == 2
    assert "+0.0 points" not in page
    for name, params in (("non_inferiority.v1", {"margin": 0.02}), ("negative_flips.v1", {"max_rate": 0.02})):
        assert gates[name].judge(report, params, 0.05).state == "insufficient"
    found = diff(digits.store, new, live)
    assert found.comparison is not None
    assert found.comparison.difference.high == at_most
    lines = list(summary_lines(found))
    assert any(words in line for line in lines)
    assert not any("negative flips" in line for line in lines)
    told = json.dumps(to_plain(summary(DiffResult(found, {}, digits.store.runs_folder))), allow_nan=False)
    assert json.loads(told)["comparison"]["difference"]["value"] is None
