"""A folder of transformers as a bundle, and what is refused of one."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_case import EPSILON, N_HEADS, WIDTH, random_bert
from passmuster.core.errors import DataError, MusterError
from passmuster.runtime.bundle import open_bundle
from passmuster.runtime.predictor import Predictor
from passmuster.stages.importing import import_model
from passmuster.store.store import Store
from train_case import new_project, write_texts

pytest.importorskip("onnx", reason="importing needs the extra `import`")
pytest.importorskip("safetensors", reason="importing needs the extra `import`")

from safetensors.numpy import save_file

from import_case import CLASSES, WORDS, write_tokenizer

TEXTS = ["tea green kettle", "card stolen bank bank", "tea"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=60))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A BERT of random weights for the topics, as transformers would leave it."""
    rng = np.random.default_rng(1)
    arrays = {f"bert.{name}": value for name, value in random_bert(2).items()}
    arrays["bert.embeddings.word_embeddings.weight"] = rng.normal(size=(len(WORDS) + 2, WIDTH)).astype(np.float32)
    for layer, (rows, name) in enumerate(((WIDTH, "bert.pooler.dense"), (3, "classifier"))):
        arrays[f"{name}.weight"] = rng.normal(size=(rows, WIDTH)).astype(np.float32)
        arrays[f"{name}.bias"] = rng.normal(size=rows).astype(np.float32) * layer
    made = tmp_path / "reviews-bert"
    made.mkdir()
    save_file(arrays, made / "model.safetensors")
    write_tokenizer(made / "tokenizer.json")
    write_config(made)
    return made


def write_config(folder: Path, **changed: Any) -> None:
    config = {
        "architectures": ["BertForSequenceClassification"], "num_attention_heads": N_HEADS, "hidden_act": "gelu",
        "layer_norm_eps": EPSILON, "id2label": {str(i): name for i, name in enumerate(CLASSES)},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps({**config, **changed}))


def refused(store: Store, folder: Path, **said: Any) -> MusterError:
    with pytest.raises(MusterError) as caught:
        import_model(store, folder, **said)
    return caught.value


def test_a_folder_brings_classes_tokenizer_and_embedding(store: Store, folder: Path) -> None:
    result = import_model(store, folder)
    assert (result.classes, result.scores, result.embedding) == (CLASSES, "logits", "embedding")
    assert (result.source["format"], result.source["file"]) == ("transformers", "reviews-bert")
    bundle = open_bundle(Path(result.path))
    assert bundle.preprocess["steps"][0]["max_tokens"] == 16  # where the model's positions end
    assert bundle.manifest.rung == "transformers"
    embedding, logits = Predictor(bundle, threads=1).embed(TEXTS)
    assert embedding.shape == (3, WIDTH)
    assert np.abs(embedding).max() <= 1.0
    alone = np.concatenate([Predictor(bundle, threads=1).embed([text])[1] for text in TEXTS])
    np.testing.assert_allclose(logits, alone, atol=1e-4)
    assert result.novelty == "knn.v1+mahalanobis.v1"


def test_a_text_is_cut_where_the_tokenizer_says_or_as_named(store: Store, folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 12}))
    result = import_model(store, folder)
    assert open_bundle(Path(result.path)).preprocess["steps"][0]["max_tokens"] == 12
    named = import_model(store, folder, preprocess=["max_tokens=7"])
    assert open_bundle(Path(named.path)).preprocess["steps"][0]["max_tokens"] == 7
    assert refused(store, folder, preprocess=["max_tokens=17"]).code == "import.preprocess"
    assert refused(store, folder, preprocess=["strings"]).code == "import.preprocess"


def test_unnamed_classes_are_renamed_by_labels(store: Store, folder: Path) -> None:
    write_config(folder, id2label={str(i): f"LABEL_{i}" for i in range(3)})
    error = refused(store, folder)
    assert error.code == "import.classes"
    assert "'LABEL_0'" in str(error.value)
    assert import_model(store, folder, labels=",".join(CLASSES)).classes == CLASSES


def test_code_and_pickles_in_a_folder_are_not_read(store: Store, folder: Path) -> None:
    write_config(folder, architectures=["MyBert"], auto_map={"AutoModel": "modeling.MyBert"})
    (folder / "modeling.py").write_text("raise SystemExit(9)")
    error = refused(store, folder)
    assert (error.code, error.value) == ("import.architecture", "MyBert")
    write_config(folder)
    (folder / "model.safetensors").unlink()
    assert refused(store, folder).code == "import.folder"
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    error = refused(store, folder)
    assert error.code == "import.pickle"
    assert "safe_serialization" in str(error.next)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_file_that_is_not_there(store: Store, folder: Path, name: str) -> None:
    (folder / name).unlink()
    error = refused(store, folder)
    assert (error.code, error.what) == ("import.folder", f"the folder has no {name}")


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"id2label": {"1": "a"}, "architectures": ["BertForSequenceClassification"]}']
)
def test_a_configuration_that_is_none(store: Store, folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    assert refused(store, folder).code == "import.config"


def test_weights_that_are_none(store: Store, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 64)
    error = refused(store, folder)
    assert isinstance(error, DataError)
    assert error.code == "import.weights"


def test_a_folder_says_itself_what_its_outputs_are(store: Store, folder: Path) -> None:
    assert refused(store, folder, scores="logits").code == "import.folder_says"
