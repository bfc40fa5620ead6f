"""The engine that asks over HTTP, against a real server that fails in the ways that servers do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("httpx", reason="asking endpoints needs the extra `endpoint`")

from endpoint_case import chat, serve, topic_of
from passmuster.core.errors import MusterError, NetworkError, UsageError
from passmuster.runtime import endpoint_calls
from passmuster.runtime.endpoint import NO_ANSWER, AnswerPaths, Asking, Endpoint, UsagePaths, write_asking
from passmuster.runtime.engine import Engine, EngineChoice

CLASSES = ("bank", "tea", "rail", NO_ANSWER)
CHAT = {"messages": [{"role": "user", "content": "{text}"}]}
TEXTS = ["tea cup green", "card bank pin", "train late", "bank fee"]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_calls, "FIRST_WAIT_S", 0.01)


def ask(url: str, texts: list[str] = TEXTS, **more: Any) -> dict[str, np.ndarray]:
    said: dict[str, Any] = {
        "body": CHAT, "answer": AnswerPaths("choices.0.message.content"), "timeout_s": 5.0, "retries": 1,
        "usage": UsagePaths("usage.prompt_tokens", "usage.completion_tokens"),
    }  # fmt: skip
    asking = Asking(Endpoint(url=url, **{**said, **more}), CLASSES, "utf-8")
    engine = Engine(write_asking(asking), EngineChoice("http"))
    return engine.run({"item": np.array([text.encode() for text in texts], dtype=object)})


def refusal(answers: Callable[[Any], Any], **more: Any) -> tuple[MusterError, int]:
    """The error, and how often the server was asked."""
    with serve(answers, wait_s=more.pop("wait_s", 0.0)) as served, pytest.raises(MusterError) as raised:
        ask(served.url, ["tea"], **more)
    return raised.value, len(served.asked)


def test_answers_come_in_the_order_of_the_items() -> None:
    with serve(chat) as served:
        found = ask(served.url, TEXTS * 10, concurrency=8)
    assert [CLASSES[i] for i in found["logits"].argmax(axis=1)] == [topic_of(text) for text in TEXTS * 10]
    assert found["input_tokens"].tolist() == [100.0] * 40
    assert (found["seconds"] > 0).all()
    assert not any(found["unread"])


def test_many_items_go_in_one_request() -> None:
    def answer(body: Any) -> Any:
        return {"results": [{"label": topic_of(text)} for text in body["texts"]]}

    with serve(answer) as served:
        found = ask(served.url, TEXTS, body={"texts": "{texts}"}, answer=AnswerPaths("label", items="results"), batch=3)
    assert [len(body["texts"]) for _, _, body in served.asked] in ([3, 1], [1, 3])
    assert [CLASSES[i] for i in found["logits"].argmax(axis=1)] == [topic_of(text) for text in TEXTS]


def test_a_list_of_another_length_is_refused() -> None:
    error, _ = refusal(
        lambda body: {"results": []}, body={"q": "{texts}"}, answer=AnswerPaths("label", items="results")
    )
    assert error.code == "endpoint.items"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_it_is_asked_again_when_the_server_is_busy(status: int) -> None:
    first = [True]

    def answer(body: Any) -> Any:
        return (status, {"error": "busy"}) if first and first.pop() else chat(body)

    with serve(answer) as served:
        found = ask(served.url, ["tea"])
    assert CLASSES[int(found["logits"].argmax())] == "tea"
    assert len(served.asked) == 2


def test_a_server_that_stays_busy_is_an_error() -> None:
    error, n = refusal(lambda body: (503, {"error": "overloaded"}))
    assert (error.code, n) == ("endpoint.unanswered", 2)
    assert "overloaded" in str(error)


@pytest.mark.parametrize(
    ("status", "said"), [(400, "refuses the request"), (401, "refuses the key"), (302, "elsewhere")]
)
def test_a_refusal_is_not_asked_again(status: int, said: str) -> None:
    error, n = refusal(lambda body: (status, {"error": "no"}))
    assert (error.code, n) == ("endpoint.refused", 1)
    assert isinstance(error, NetworkError)
    assert said in str(error)


def test_a_key_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    with (
        serve(lambda body: (401, {"error": "bad key sk-very-secret"})) as served,
        pytest.raises(NetworkError) as raised,
    ):
        ask(served.url, ["tea"], key_variable="MY_KEY")
    assert served.asked[0][1]["authorization"] == "Bearer sk-very-secret"
    assert "sk-very" not in str(raised.value)
    assert "MY_KEY" in str(raised.value)


def test_a_key_that_is_not_there_is_said_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with serve(chat) as served, pytest.raises(UsageError, match="MY_KEY"):
        ask(served.url, ["tea"], key_variable="MY_KEY")
    assert not served.asked


def test_a_server_that_is_silent_is_given_up() -> None:
    start = time.perf_counter()
    error, n = refusal(chat, wait_s=1.0, timeout_s=0.2, retries=1)
    assert (error.code, n) == ("endpoint.unanswered", 2)
    assert "within 0.2 s" in str(error)
    assert time.perf_counter() - start < 5


def test_no_server_is_an_error() -> None:
    with serve(chat) as served:
        url = served.url
    with pytest.raises(NetworkError, match="no connection"):
        ask(url, ["tea"])


def test_an_endless_answer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_calls, "MAX_ANSWER_BYTES", 1_000)
    error, _ = refusal(lambda body: b"x" * 5_000)
    assert error.code == "endpoint.too_large"


@pytest.mark.parametrize("answer", [b"<html>down</html>", {"choices": []}, b"", [1, 2]])
def test_what_is_no_answer_is_one_that_names_no_class(answer: Any) -> None:
    with serve(lambda body: answer) as served:
        found = ask(served.url, ["tea"])
    assert CLASSES[int(found["logits"].argmax())] == NO_ANSWER
    assert found["unread"][0]
