"""The verb import, from an empty folder to an answer over HTTP."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from command_case import muster
from passmuster.store.store import Store
from serving_case import serving
from train_case import new_project, write_texts

pytest.importorskip("onnx", reason="importing needs the extra `import`")

from import_case import CLASSES, save, topic_model, write_tokenizer


def test_import_says_what_it_took_and_what_is_next(tmp_path: Path) -> None:
    new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=90)).close()
    model = save(topic_model(), tmp_path / "model.onnx")
    words = ["--preprocess", f"tokenizer={write_tokenizer(tmp_path / 'tok.json')}", "--preprocess", "max_tokens=32"]
    tried = muster(tmp_path / "p", "--dry-run", "import", str(model), "--labels", ",".join(CLASSES), *words)
    assert tried.stdout.startswith("would make a bundle: model.onnx (SHA-256 ")
    done = muster(tmp_path / "p", "import", str(model), "--labels", ",".join(CLASSES), *words)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("bundle ")
    assert lines[0].endswith("logits")
    assert lines[1] == "3 classes: bank, tea, rail"
    assert "novelty by msp.v1" in lines[2]
    assert lines[-1].startswith("Next: muster evaluate ")
    assert "no embedding" in done.stderr
    whole = muster(tmp_path / "p", "--json", "verify")
    assert json.loads(whole.stdout)["ok"]


def test_refusals_are_json_and_end_with_their_exit_code(tmp_path: Path) -> None:
    new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=60)).close()
    (tmp_path / "model.joblib").write_bytes(b"\x80\x04.")
    refused = muster(tmp_path / "p", "--json", "import", str(tmp_path / "model.joblib"))
    assert refused.returncode == 3
    error = json.loads(refused.stdout)["error"]
    assert error["code"] == "import.pickle"
    assert "docs/how-to/import-a-model.md" in error["next"]
    unnamed = muster(tmp_path / "p", "import", str(save(topic_model(), tmp_path / "model.onnx")))
    assert unnamed.returncode == 2
    assert "--preprocess" in unnamed.stderr
    asked = muster(tmp_path / "p", "import", str(tmp_path / "model.onnx"), "--ask", "40")
    assert asked.returncode == 2
    assert "--ask is for an endpoint" in asked.stderr


def test_a_scikit_learn_pipeline_from_an_empty_folder_to_an_answer_over_http(tmp_path: Path, bench_data: Path) -> None:
    """The whole way on real texts; every served probability is scikit-learn's own."""
    pytest.importorskip("sklearn", reason="scikit-learn makes the model")
    skl2onnx = pytest.importorskip("skl2onnx", reason="skl2onnx converts the model")
    from skl2onnx.common.data_types import StringTensorType
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts, labels = read_messages(bench_data)
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(C=10)).fit(texts[:2000], labels[:2000])
    converted = skl2onnx.to_onnx(model, initial_types=[("text", StringTensorType([None, 1]))])
    (tmp_path / "model.onnx").write_bytes(converted.SerializeToString())
    with (tmp_path / "messages.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *zip(texts[2000:], labels[2000:])])

    folder = tmp_path / "p"
    for words in (
        ["init", str(folder), "--modality", "text"],
        ["-C", str(folder), "add", str(tmp_path / "messages.csv")],
        ["-C", str(folder), "import", str(tmp_path / "model.onnx"), "--preprocess", "strings"],
        ["-C", str(folder), "evaluate"],
        ["-C", str(folder), "release"],
        ["-C", str(folder), "approve"],
    ):
        done = muster(Path(), "-q", *words)
        assert done.returncode == 0, done.stderr

    asked = [*texts[2000:2200], "£££ ÄÖ 123 free"]
    with serving(Store.open(folder)) as server, server.client() as client:
        answer = client.post("/v1/predict", json={"items": asked}).json()
    served = np.array([[one["probabilities"][name] for name in model.classes_] for one in answer["predictions"]])
    np.testing.assert_allclose(served, model.predict_proba(asked), atol=1e-5)


def read_messages(bench_data: Path) -> tuple[list[str], list[str]]:
    """4,000 of the SMS messages, each once, in an order of their own."""
    import polars as pl

    table = pl.read_parquet(next((bench_data / "sms_spam").glob("*.parquet"))).unique("text", maintain_order=True)
    table = table.sample(4_000, seed=0, shuffle=True)
    return table["text"].to_list(), table["label"].to_list()
