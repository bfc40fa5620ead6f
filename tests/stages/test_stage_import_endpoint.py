"""A model behind an address, from its import to an answer over HTTP, against a real server."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("httpx", reason="asking endpoints needs the extra `endpoint`")

from endpoint_case import chat, serve, topic_of
from evaluate_case import make_digits
from passmuster.core.errors import DataError, MusterError, NetworkError
from passmuster.flows.release import release
from passmuster.flows.verify import verify
from passmuster.runtime import endpoint_calls
from passmuster.runtime.bundle import ENDPOINT, open_bundle
from passmuster.runtime.endpoint import NO_ANSWER
from passmuster.runtime.predictor import Predictor
from passmuster.stages.evaluate import evaluate
from passmuster.stages.importing import import_endpoint
from passmuster.stages.release import approve
from passmuster.store import ledger
from passmuster.store.store import Store
from serving_case import serving
from train_case import TOPICS, new_project, write_texts

SCORED = """
url = "{url}/classify"
key_variable = "TOPICS_KEY"
timeout_s = 5
retries = 0
[body]
text = "{{text}}"
[answer]
scores = "result.classes"
[names]
LABEL_0 = "bank"
LABEL_1 = "tea"
LABEL_2 = "rail"
[price]
per_million_requests = 40
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_calls, "FIRST_WAIT_S", 0.01)
    monkeypatch.setenv("TOPICS_KEY", "sk-topics-secret")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=150, n_labels=20, n_test=120))


def scores_of(body: Any) -> Any:
    """Numbered classes with their scores, in an answer of somebody's own form."""
    found = {f"LABEL_{i}": 0.9 if name == topic_of(body["text"]) else 0.05 for i, name in enumerate(TOPICS)}
    return {"result": {"classes": found}}


def predictor_of(store: Store, bundle: str) -> Predictor:
    return Predictor(open_bundle(store.bundle_folder(f"bundles/{bundle[:16]}")))


def test_a_chat_model_is_told_the_classes_and_judged(store: Store) -> None:
    with serve(chat) as served:
        found = import_endpoint(store, f"{served.url}/v1", model="tiny", n_asked=40, calibrate=True)
        path, _, body = served.asked[0]
        assert path == "/v1/chat/completions"
        assert all(name in body["messages"][0]["content"] for name in TOPICS)
        assert body["model"] == "tiny"
        report = evaluate(store).report
    assert report.metric("abstention_rate").value == 0.0  # type: ignore[union-attr]
    assert found.classes == (*sorted(TOPICS), NO_ANSWER)
    assert report.metric("accuracy").value > 0.9  # type: ignore[union-attr]
    assert report.sections["endpoint"]["n_answers"] > 100
    assert report.sections["parity"]["agreement"] == 1.0
    assert "<code>http://127.0.0.1" in (store.root / "reports" / found.bundle[:16] / "report.html").read_text()
    assert not verify(store).problems


def test_answers_of_no_class_count_as_wrong_and_are_withheld(store: Store) -> None:
    with serve(
        lambda body: chat(body, lambda t: "I cannot say" if {"hot", "cup"} <= set(t.split()) else topic_of(t))
    ) as served:
        found = import_endpoint(store, f"{served.url}/v1", model="tiny", n_asked=40)
        assert found.asking["n_unread"] > 0
        report = evaluate(store).report
        (prediction,) = predictor_of(store, found.bundle).predict(["a hot cup"])
    metric = report.metric("no_answer")
    assert report.metric("abstention_rate").value == metric.value  # type: ignore[union-attr]
    assert report.metric("macro_f1").value > 0.8  # type: ignore[union-attr]
    assert metric is not None
    assert 0.0 < metric.value < 0.5
    assert report.metric("accuracy").value <= 1 - metric.value  # type: ignore[union-attr]
    assert any("I cannot say" in line["text"] for line in report.sections["summary"]["breaks"])
    assert prediction.label == NO_ANSWER
    assert prediction.probability == 0.0  # nothing is said, so that nothing can be right
    assert report.sections["test_labels"]["confidence"] == pytest.approx(0.99 * (1 - metric.value), abs=1e-6)
    assert prediction.abstained
    assert "no_answer" in prediction.reasons


def renamed(body: Any) -> Any:
    """Scores under names that the project does not know."""
    return {"result": {"classes": {f"TOPIC-{i}": 0.9 if i else 0.05 for i in range(2)}}}


def scored(folder: Path, url: str) -> str:
    """The file that says how the scored endpoint is asked."""
    (folder / "scored.toml").write_text(SCORED.format(url=url))
    return str(folder / "scored.toml")


def test_scores_of_classes_that_nobody_knows_are_refused(store: Store, tmp_path: Path) -> None:
    """Well-formed scores that name other classes say as little as prose."""
    with serve(renamed) as served, pytest.raises(DataError, match="cannot be read as one of the classes") as caught:
        import_endpoint(store, scored(tmp_path, served.url), n_asked=40)
    assert "TOPIC-1" in str(caught.value.value)


def test_an_endpoint_that_changes_its_labels_is_seen_in_the_next_report(store: Store, tmp_path: Path) -> None:
    """Nothing stops; the answers count as none, and the report shows what came instead."""
    answer = [scores_of]
    with serve(lambda body: answer[0](body)) as served:
        import_endpoint(store, scored(tmp_path, served.url), n_asked=40)
        answer[0] = renamed
        report = evaluate(store).report
    assert report.metric("no_answer").value == 1.0  # type: ignore[union-attr]
    assert report.metric("accuracy").value == 0.0  # type: ignore[union-attr]
    assert any("TOPIC-1" in line["text"] for line in report.sections["summary"]["breaks"])


def test_an_endpoint_that_answers_with_prose_is_refused_after_a_few_questions(store: Store) -> None:
    with serve(lambda body: chat(body, lambda t: "Well, that depends.")) as served:
        with pytest.raises(DataError, match="Well, that depends") as raised:
            import_endpoint(store, f"{served.url}/v1", model="tiny")
        assert len(served.asked) == 5
    assert raised.value.code == "import.unread"
    assert not list(store.bundles_folder.glob("*"))


def test_a_dry_run_asks_a_few_and_leaves_nothing(store: Store) -> None:
    with serve(chat) as served:
        found = import_endpoint(store, f"{served.url}/v1", model="tiny", dry_run=True)
        assert len(served.asked) == 5
    assert (found.bundle, found.n_asked) == ("", 5)
    assert not list(store.bundles_folder.glob("*"))


def test_other_classes_than_the_projects_are_refused_before_anything_is_sent(store: Store) -> None:
    with serve(chat) as served, pytest.raises(DataError, match="the model has not: 'rail'"):
        import_endpoint(store, f"{served.url}/v1", model="tiny", labels="bank,tea")
    assert not served.asked


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("url = 3", "missing field"),
        ("url = ", "not TOML"),
        (SCORED.replace("timeout_s", "time_out"), "unknown field"),
        (SCORED.replace('"bank"', '"banks"'), "a class that there is not"),
        (SCORED.replace("{{text}}", "tea"), "in one way where an item goes"),
    ],
)
def test_a_file_that_says_it_wrongly_is_refused(store: Store, tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "topics.toml"
    path.write_text(text.replace("{url}", "http://127.0.0.1:9").replace("{{text}}", "{text}"))
    with pytest.raises(MusterError, match=said):
        import_endpoint(store, str(path))


def test_the_whole_way_to_answers_that_fail_and_come_back(store: Store, tmp_path: Path) -> None:
    """The server lives on whatever the endpoint does; the key is in no file of the project."""
    answers = [scores_of]
    with serve(lambda body: answers[-1](body)) as served:
        path = tmp_path / "topics.toml"
        path.write_text(SCORED.format(url=served.url))
        found = import_endpoint(store, str(path), n_asked=60)
        assert found.asking["per_million"] == 40.0
        evaluate(store)
        judged = release(store)
        assert judged.verdict.outcome == "SHIP"
        approve(store, judged.release.id)
        with serving(store) as server, server.client() as client:
            ask = {"item": "a cup of green tea"}
            good = client.post("/v1/predict", json=ask)
            assert good.json()["label"] == "tea"
            assert good.json()["probabilities"]["tea"] == pytest.approx(0.9, abs=1e-4)
            answers.append(lambda body: {"result": {"classes": {"LABEL_7": 1.0}}})
            changed = client.post("/v1/predict", json=ask).json()
            assert (changed["label"], changed["abstained"]) == (NO_ANSWER, True)
            answers.append(lambda body: (503, {"error": "down"}))
            down = client.post("/v1/predict", json=ask)
            assert (down.status_code, down.json()["error"]["code"]) == (502, "endpoint.unanswered")
            answers.append(scores_of)
            assert client.post("/v1/predict", json=ask).status_code == 200
        import_endpoint(store, str(path), n_asked=40)
        compared = evaluate(store).report.sections["versions"]["classes"]
        assert [row["class"] for row in compared] == sorted(TOPICS)  # an answer of no class is no class to come
    kept = (store.bundle_folder(f"bundles/{found.bundle[:16]}") / ENDPOINT).read_bytes()
    assert json.loads(kept)["endpoint"]["key_variable"] == "TOPICS_KEY"
    files = [file for file in store.folder.rglob("*") if file.is_file()]
    assert not [file for file in files if b"sk-topics-secret" in file.read_bytes()]
    with store.read() as db:
        assert b"sk-topics" not in json.dumps([event.payload for event in ledger.read(db)]).encode()


def test_an_endpoint_that_does_not_answer_leaves_no_report_and_costs_no_look(store: Store) -> None:
    """Else an afternoon of a provider's trouble wears a test out that nobody has seen a number of."""
    with serve(chat) as served:
        import_endpoint(store, f"{served.url}/v1", model="tiny", n_asked=20)
        port = served.url.rpartition(":")[2]
    for _ in range(2):
        with pytest.raises(NetworkError, match="did not answer"):
            evaluate(store)
    with store.read() as db:
        assert not list(ledger.read(db, kind="evaluate.done"))
        assert [event.payload["opening"] for event in ledger.read(db, kind="test.unseen")] == [1, 2]
    assert not verify(store).problems
    with serve(chat, port=int(port)):
        report = evaluate(store).report
    assert report.look == 1
    assert not verify(store).problems


def test_images_are_sent_as_png(tmp_path: Path) -> None:
    sizes = set()

    def answer(body: Any) -> Any:
        image = Image.open(io.BytesIO(base64.b64decode(body["image"])))
        sizes.add((image.format, image.size))
        return {"p": [0.1] * 10}

    (tmp_path / "muster.toml").write_text('[project]\nmodality = "image"\n')
    store = Store.create(tmp_path)
    make_digits(store)
    with serve(answer) as served:
        path = tmp_path / "digits.toml"
        path.write_text(f'url = "{served.url}"\n[body]\nimage = "{{image}}"\n[answer]\nscores = "p"\n')
        found = import_endpoint(store, str(path), n_asked=20)
    assert sizes == {("PNG", (8, 8))}
    assert found.asking["n_answers"] == 20
    assert found.asking["n_unread"] == 0
