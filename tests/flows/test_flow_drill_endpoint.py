"""The drill on a model behind an address: what needs no weights is planted, and each item is paid for once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httpx", reason="asking endpoints needs the extra `endpoint`")

from command_case import muster
from endpoint_case import Served, chat, serve, topic_of
from passmuster.core.errors import NetworkError, UsageError
from passmuster.flows.drill import DrillResult, drill_gates, faults
from passmuster.runtime import endpoint_calls
from passmuster.stages.evaluate import Scope, evaluate
from passmuster.stages.importing import import_endpoint
from passmuster.store.store import Store
from train_case import TOPICS, new_project, write_texts

QUICK = Scope(n_corrupted=1, n_fit=1, n_classes_left_out=0, n_resamples=50, page=False)
PRICED = """
url = "{url}/classify"
retries = 0
[body]
text = "{{text}}"
[answer]
scores = "classes"
[price]
per_million_requests = 500
"""
# What is changed without weights, and without another question.
OF_ANSWERS = (
    "class_order.v1", "class_list_shifted.v1", "names_exchanged.v1", "temperature_twice.v1",
    "policy_of_another_project.v1", "leaked_rows.v1", "test_labels_shifted.v1", "byte_of_the_graph.v1",
)  # fmt: skip


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """A chat model that does what it is told: asked for a mood, it gives one."""

    def answer(body: Any) -> Any:
        if "classify" in str(body.get("model", "")) or "text" in body:
            return {"classes": {name: 0.94 if name == topic_of(body["text"]) else 0.03 for name in TOPICS}}
        mood = "mood" in body["messages"][0]["content"]
        return chat(body, (lambda text: "neutral") if mood else topic_of)

    with serve(answer) as found:
        yield found


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, served: Served) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("drilled")
    store = new_project(folder / "p", write_texts(folder / "t.csv", n=150, n_labels=20, n_test=120))
    import_endpoint(store, f"{served.url}/v1", model="tiny", n_asked=40, calibrate=True)
    evaluate(store, scope=QUICK)
    yield store
    store.close()


@pytest.fixture(scope="module")
def drilled(project: Store, served: Served) -> DrillResult:
    """Every fault of the table, planted once."""
    served.asked.clear()
    return drill_gates(project)


def test_every_fault_is_planted_or_says_why_it_is_not_here(drilled: DrillResult) -> None:
    states = {trial.fault: (trial.state, trial.reasons) for trial in drilled.trials}
    assert set(states) == set(faults)
    for name in OF_ANSWERS:
        assert states[name][0] == "stopped", (name, states[name])
    for name in ("softmax_twice.v1", "bias_lost.v1", "label_swap_in_slice.v1", "padding_read.v1", "trigger_learnt.v1"):
        state, reasons = states[name]
        assert state == "not here", name
        assert "behind an address" in reasons[0] or "graph" in reasons[0]
    assert not drilled.false_stops
    assert {t.fault for t in drilled.harmless} == {"written_again.v1", "another_order.v1"}


def test_each_item_is_asked_of_once_however_many_faults(drilled: DrillResult, served: Served) -> None:
    asked = Counter(str(body) for _, _, body in served.asked)
    assert sum(asked.values()) == drilled.n_questions
    assert set(asked.values()) == {1}


def test_a_prompt_of_another_task_asks_again_and_is_stopped(drilled: DrillResult, served: Served) -> None:
    (trial,) = (trial for trial in drilled.trials if trial.fault == "prompt_of_another_task.v1")
    assert trial.state == "stopped"
    assert any("mood" in body["messages"][0]["content"] for _, _, body in served.asked)


def test_no_more_is_asked_than_may_be(project: Store, served: Served) -> None:
    served.asked.clear()
    with pytest.raises(UsageError) as caught:
        drill_gates(project, only=["class_order.v1"], most_questions=50)
    assert caught.value.code == "drill.questions"
    assert "--questions" in str(caught.value.next)
    assert not served.asked, "it is refused before anything is asked"
    few = drill_gates(project, only=["class_order.v1", "prompt_of_another_task.v1"], most_questions=400)
    assert len(served.asked) == few.n_questions <= 400
    enough = few.n_questions
    served.asked.clear()
    fewer = drill_gates(project, only=["class_order.v1", "prompt_of_another_task.v1"], most_questions=enough - 1)
    assert len(served.asked) <= enough - 1
    states = {trial.fault: trial for trial in fewer.trials}
    assert states["prompt_of_another_task.v1"].state == "not here"
    assert "--questions" in states["prompt_of_another_task.v1"].reasons[0]


def test_a_healthy_copy_that_asks_more_than_may_be_asked_is_no_crash(project: Store, served: Served) -> None:
    with pytest.raises(UsageError) as caught:
        drill_gates(project, only=["class_order.v1"], most_questions=165)
    assert caught.value.code == "drill.questions"


def test_an_endpoint_that_falls_silent_says_nothing_of_a_fault(
    project: Store, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_calls, "FIRST_WAIT_S", 0.01)
    send = endpoint_calls.Caller._send

    def silent(caller: endpoint_calls.Caller, body: Any) -> Any:
        return (503, b"", {}) if "mood" in str(body) else send(caller, body)

    monkeypatch.setattr(endpoint_calls.Caller, "_send", silent)
    with pytest.raises(NetworkError) as caught:
        drill_gates(project, only=["prompt_of_another_task.v1"])
    assert caught.value.code == "endpoint.unanswered"


def test_the_command_says_how_many_questions_it_put_and_what_they_cost(
    tmp_path: Path, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    store = new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=150, n_labels=20, n_test=120))
    (tmp_path / "own.toml").write_text(PRICED.format(url=served.url))
    import_endpoint(store, str(tmp_path / "own.toml"), n_asked=40)
    evaluate(store, scope=replace(QUICK, page=False))
    done = muster(store.folder, "drill", "gates", "--only", "class_order.v1", "--only", "prompt_of_another_task.v1")
    assert done.returncode == 0, done.stderr
    assert "at most 2,000 questions in this drill, at most about 1 " in done.stderr
    assert "questions were put to the model's address, about 0." in done.stdout
    assert "not here: nothing in what is sent tells the model what to do" in done.stdout
