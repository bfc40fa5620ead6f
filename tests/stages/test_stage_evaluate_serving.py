"""A closed, hosted model beside an open one: right, under faults, seconds, money, and where items go."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx", reason="importing needs the extra `import`")
pytest.importorskip("httpx", reason="asking endpoints needs the extra `endpoint`")

from command_case import muster
from endpoint_case import Served, chat, serve
from evaluate_case import go_live
from import_case import CLASSES, save, topic_model, write_tokenizer
from passmuster.core.records import Bundle, Report
from passmuster.flows.cost_beside import beside
from passmuster.flows.diff import compare_bundles
from passmuster.flows.project import Project
from passmuster.runtime import endpoint_calls
from passmuster.stages.evaluate import evaluate
from passmuster.stages.evaluate.diff_words import summary_lines
from passmuster.stages.evaluate.draft import Scope
from passmuster.stages.evaluate.serving_words import better, serving_lines, which_words
from passmuster.stages.importing import import_endpoint, import_model
from passmuster.store.releases import read_bundle
from passmuster.store.store import Store
from train_case import new_project, write_texts

SCOPE = Scope(n_corrupted=10, n_fit=30, n_classes_left_out=1, n_resamples=20, n_timed=12)
ASK = """
url = "{url}/v1/chat/completions"
[body]
model = "tiny"
messages = [{{role = "system", content = "bank, rail or tea"}}, {{role = "user", content = "{{text}}"}}]
[answer]
label = "choices.0.message.content"
[usage]
input_tokens = "usage.prompt_tokens"
output_tokens = "usage.completion_tokens"
[price]
per_million_requests = 5
per_million_input_tokens = 0.5
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_calls, "FIRST_WAIT_S", 0.01)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=150, n_labels=20, n_test=120))


def named(store: Store, digest: str) -> Bundle:
    with store.read() as db:
        return read_bundle(db, digest)


def open_model(store: Store, folder: Path) -> Bundle:
    """The topic model of the case, on this machine."""
    tokens = [f"tokenizer={write_tokenizer(folder / 'tokenizer.json')}", "max_tokens=16"]
    made = import_model(store, save(topic_model(), folder / "m.onnx"), labels=CLASSES, preprocess=tokens)
    return named(store, made.bundle)


def closed_model(store: Store, folder: Path, served: Served) -> Bundle:
    """The same topics, asked over HTTP at a price."""
    (folder / "ask.toml").write_text(ASK.format(url=served.url))
    return named(store, import_endpoint(store, str(folder / "ask.toml"), n_asked=40).bundle)


def slowly(body: Any) -> Any:
    time.sleep(0.03)
    return chat(body)


def page_of(store: Store, report: Report) -> str:
    return (store.root / "reports" / report.bundle[:16] / "report.html").read_text()


def test_an_open_model_beside_a_live_endpoint(store: Store, tmp_path: Path) -> None:
    ours = open_model(store, tmp_path)
    with serve(slowly) as served:
        live = closed_model(store, tmp_path, served)
        go_live(store, live)
        before = len(served.asked)
        report = evaluate(store, ours.digest, scope=SCOPE).report
        asked = len(served.asked) - before
    section = report.sections["serving"]
    mine, theirs = section["rows"]
    assert (mine["bundle"], theirs["bundle"]) == (ours.digest, live.digest)
    assert mine["latency"]["n"] == 12
    assert mine["latency"]["median_s"] < 0.03 <= theirs["latency"]["median_s"] < 1.0
    assert mine["latency"]["low_s"] <= mine["latency"]["median_s"] <= mine["latency"]["p95_s"]
    assert theirs["per_million"] == 5 + 100 * 0.5  # the declared price of a call and of its hundred tokens
    assert mine["per_million"] == pytest.approx(1e6 / mine["items_per_s"] * 0.04 * _cores() / 3600, rel=1e-6)
    assert (mine["host"], mine["leaves"]) == ("", False)
    assert (theirs["host"], theirs["leaves"]) == (served.url.removeprefix("http://"), False)
    versions = report.sections["versions"]
    assert section["n"] == versions["n"]
    assert mine["right"]["value"] == pytest.approx(
        (versions["both_right"] + versions["only_candidate"]) / versions["n"]
    )
    assert theirs["right"]["value"] == pytest.approx(
        (versions["both_right"] + versions["only_incumbent"]) / versions["n"]
    )
    assert mine["under_faults"] is not None
    assert theirs["under_faults"] is not None
    assert section["n"] <= theirs["latency"]["n"] <= asked  # its own calls, and none for the stopwatch
    page = page_of(store, report)
    assert "Which to serve" in page
    assert "55.00 EUR" in page
    assert served.url.removeprefix("http://") in page
    lines = list(serving_lines(report))
    assert lines[0].startswith("beside the live release: an answer takes ")
    assert any("What speaks for this model: it is quicker and cheaper." in line for line in lines)


def _cores() -> int:
    from passmuster.core.budget import count_cores

    return count_cores()


def test_timing_asks_an_endpoint_nothing(store: Store, tmp_path: Path) -> None:
    """The same questions with the stopwatch as without."""
    with serve(chat) as served:
        closed_model(store, tmp_path, served)
        counts = []
        for n_timed in (0, 12):
            before = len(served.asked)
            report = evaluate(store, scope=replace(SCOPE, n_timed=n_timed)).report
            counts.append(len(served.asked) - before)
            assert ("serving" in report.sections) == bool(n_timed)
    assert counts[0] == counts[1]
    (row,) = report.sections["serving"]["rows"]
    assert row["latency"]["n"] == report.sections["endpoint"]["n_answers"]
    assert row["right"]["value"] == report.metric("accuracy").value  # type: ignore[union-attr]
    assert "What serving takes" in page_of(store, report)


def test_diff_says_which_to_serve(store: Store, tmp_path: Path) -> None:
    ours = open_model(store, tmp_path)
    with serve(slowly) as served:
        theirs = closed_model(store, tmp_path, served)
        evaluate(store, theirs.digest, scope=SCOPE)
        found = compare_bundles(store, ours.digest, theirs.digest, labels=True)
        again = compare_bundles(
            store, ours.digest, theirs.digest
        )  # its answers are kept: the few asked again are timed
    for diff in (found.diff, again.diff):
        mine, other = diff.serving["rows"]
        assert mine["latency"]["median_s"] < 0.03 <= other["latency"]["median_s"]
        assert other["per_million"] == 55
        assert any(line.startswith("an answer: the new bundle takes") for line in summary_lines(diff))
    assert found.diff.serving["rows"][0]["right"]["n"] > 0
    assert found.diff.serving["rows"][1]["under_faults"] is not None
    assert "Which to serve" in found.page.read_text()


def test_cost_knows_models_that_were_brought(store: Store, tmp_path: Path) -> None:
    ours = open_model(store, tmp_path)
    with serve(chat) as served:
        theirs = closed_model(store, tmp_path, served)
        n_asked = len(served.asked)
        rows = {row.bundle.digest: row for row in beside(store, volume="2m/month").rows}
        assert rows[theirs.digest].measured.startswith("imported")
        assert rows[theirs.digest].per_month == 110
        assert rows[theirs.digest].serving["latency"]["n"] == 40
        assert not rows[ours.digest].serving  # nobody timed it so far
        (alone,) = Project(store).beside(ours.digest[:12]).rows
        assert alone.measured == "now"
        assert 0 < alone.serving["latency"]["median_s"] < 1
        assert len(served.asked) == n_asked
        evaluate(store, ours.digest, scope=SCOPE)
    found = beside(store)
    assert {row.bundle.digest: row.measured[:9] for row in found.rows}[ours.digest] == "evaluated"
    store.config = replace(store.config, cost=replace(store.config.cost, per_core_hour=0.08))
    prices = [next(r for r in b.rows if r.bundle.digest == ours.digest).per_month for b in (found, beside(store))]
    assert prices[1] == pytest.approx(2 * prices[0])  # at today's prices
    said = muster(store.folder, "cost")
    assert said.returncode == 0, said.stderr
    assert theirs.digest[:16] in said.stdout
    assert "A machine like this one, always on, costs" in said.stdout
    one = muster(store.folder, "cost", theirs.digest[:12])
    assert ours.digest[:16] not in one.stdout
    assert "55.00" in one.stdout


ROW = {"host": "", "leaves": False, "latency": {"median_s": 0.01, "low_s": 0.009, "high_s": 0.011, "p95_s": 0.02},
       "per_million": 1.0, "currency": "EUR"}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "ours", "theirs"),
    [
        ({}, [], []),
        ({"per_million": 1.1}, [], []),  # within what a measured price wobbles
        ({"per_million": 2.0}, ["cheaper"], []),
        ({"per_million": None}, [], []),
        ({"latency": {"median_s": 0.011, "low_s": 0.0105, "high_s": 0.012, "p95_s": 0.02}}, [], []),
        ({"latency": {"median_s": 0.02, "low_s": 0.018, "high_s": 0.03, "p95_s": 0.03}}, ["quicker"], []),
        ({"latency": {"median_s": 0.002, "low_s": 0.001, "high_s": 0.003, "p95_s": 0.03}}, [], ["quicker"]),
        ({"latency": {"median_s": 0.018, "low_s": 0.018, "high_s": 0.018, "p95_s": 0.03}, "host": "a"}, [], []),
        ({"leaves": True, "host": "a"}, ["sends no item to another machine"], []),
    ],
)
def test_one_is_called_better_only_where_that_is_sure(change: dict, ours: list, theirs: list) -> None:
    assert better([ROW, {**ROW, **change}], None, None) == (ours, theirs)


def test_what_the_test_cannot_tell_is_said() -> None:
    class Open:
        value, low, high = 0.005, -0.01, 0.02

    assert which_words([ROW, ROW], Open, None) == ["Which of the two is more often right, this test cannot tell."]


def test_a_gain_inside_the_noise_bound_is_called_so() -> None:
    class Gain:
        value, low, high = 0.01, 0.002, 0.02

    assert better([ROW, ROW], Gain, None, noise=0.005) == (["more often right"], [])
    assert better([ROW, ROW], Gain, None, noise=0.013) == (
        ["more often right (by no more than the A/A noise bound)"], []
    )  # fmt: skip
