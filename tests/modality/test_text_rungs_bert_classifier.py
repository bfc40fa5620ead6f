"""Fine-tuned classifiers of BERT's family: our graphs beside the library that saved them, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="graphs are written with onnx")

from bert_case import EPSILON, N_HEADS, N_POSITIONS, N_WORDS, WIDTH, random_bert
from passmuster.core.errors import DataError
from passmuster.modality.text.rungs.bert_classifier import FAMILIES, classifier_graph
from passmuster.runtime.engine import Engine

CONFIG = {"num_attention_heads": N_HEADS, "hidden_act": "gelu", "layer_norm_eps": EPSILON}
NAME = "BertForSequenceClassification"
PROGRAM = """
import sys, json
import numpy as np
import torch
import transformers
folder, name = sys.argv[1:]
shape = dict(vocab_size=40, num_labels=4, pad_token_id=0)
if name.startswith("Distil"):
    config = transformers.DistilBertConfig(
        dim=16, n_heads=2, n_layers=3, hidden_dim=48, max_position_embeddings=20, **shape)
else:
    kind = {"B": "Bert", "R": "Roberta", "X": "XLMRoberta"}[name[0]]
    config = getattr(transformers, kind + "Config")(hidden_size=16, num_attention_heads=2, num_hidden_layers=3,
        intermediate_size=48, max_position_embeddings=20, type_vocab_size=1 if kind != "Bert" else 2, **shape)
torch.manual_seed(0)
model = getattr(transformers, name)(config).eval()
with torch.no_grad():
    for value in model.parameters():
        value.copy_(torch.randn_like(value) * 0.4)
    ids = torch.tensor(json.load(open(folder + "/ids.json")))
    logits = model(input_ids=ids, attention_mask=(ids > 0).long()).logits
model.save_pretrained(folder)
np.save(folder + "/logits.npy", logits.numpy())
"""


def weights(n_layers: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    arrays = {f"bert.{name}": value for name, value in random_bert(n_layers).items()}
    arrays |= {"bert.pooler.dense.weight": rng.normal(size=(WIDTH, WIDTH)).astype(np.float32)}
    arrays |= {"bert.pooler.dense.bias": rng.normal(size=WIDTH).astype(np.float32)}
    arrays |= {"classifier.weight": rng.normal(size=(3, WIDTH)).astype(np.float32)}
    return arrays | {"classifier.bias": rng.normal(size=3).astype(np.float32)}


@pytest.mark.parametrize("name", list(FAMILIES))
def test_logits_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    """With the interpreter named by ``MUSTER_BENCH_TRANSFORMERS``, which need not have Muster."""
    python = os.environ.get("MUSTER_BENCH_TRANSFORMERS", "")
    if not python:
        pytest.skip("MUSTER_BENCH_TRANSFORMERS names no interpreter: that transformers computes the same is untested")
    from safetensors.numpy import load_file

    ids = np.random.default_rng(0).integers(1, 40, (6, 17))
    for row, length in enumerate((17, 1, 4, 9, 16, 2)):
        ids[row, length:] = 0
    (tmp_path / "ids.json").write_text(json.dumps(ids.tolist()))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [python, "-c", PROGRAM, str(tmp_path), name], check=False, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    config = json.loads((tmp_path / "config.json").read_text())
    made = classifier_graph(name, config, load_file(tmp_path / "model.safetensors"))
    found = Engine(made.onnx, threads=1).run({"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64)})
    np.testing.assert_allclose(found["logits"], np.load(tmp_path / "logits.npy"), atol=1e-4)
    assert (made.n_classes, config["architectures"]) == (4, [name])
    assert made.max_tokens == (19 if "oberta" in name.lower() else 20)


def test_the_head_reads_the_first_token_of_the_encoder() -> None:
    torch = pytest.importorskip("torch")
    from passmuster.modality.text.rungs.bert_network import Bert

    arrays = weights()
    texts = [[5, 9, 2], [7]]
    ids, mask = np.array([[5, 9, 2], [7, 0, 0]]), np.array([[1, 1, 1], [1, 0, 0]])
    made = classifier_graph(NAME, CONFIG, arrays)
    found = Engine(made.onnx, threads=1).run({"input_ids": ids, "attention_mask": mask})
    network = Bert.of(random_bert(2), N_HEADS, EPSILON)
    with torch.no_grad():
        x, kept = network.enter(texts)
        first = network.layers(x, kept, 0, 2)[:, 0].numpy()
    dense = np.tanh(first @ arrays["bert.pooler.dense.weight"].T + arrays["bert.pooler.dense.bias"])
    np.testing.assert_allclose(found["embedding"], dense, atol=1e-5)
    np.testing.assert_allclose(
        found["logits"], dense @ arrays["classifier.weight"].T + arrays["classifier.bias"], atol=1e-4
    )
    assert (made.n_classes, made.max_tokens) == (3, N_POSITIONS)
    assert arrays["bert.embeddings.word_embeddings.weight"].shape[0] == N_WORDS


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"hidden_act": "gelu_new"}, "hidden_act: 'gelu_new'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"problem_type": "multi_label_classification"}, "problem_type"),
        ({"num_attention_heads": None}, "num_attention_heads: None"),
        ({"is_decoder": True}, "is_decoder"),
    ],
)
def test_settings_that_would_change_the_answers_are_refused(changed: dict[str, object], said: str) -> None:
    with pytest.raises(DataError, match="cannot be followed") as caught:
        classifier_graph(NAME, {**CONFIG, **changed}, weights())
    assert said in str(caught.value.value)


@pytest.mark.parametrize(
    "missing", ["classifier.bias", "bert.pooler.dense.weight", "bert.encoder.layer.1.output.dense.bias"]
)
def test_weights_that_are_not_all_there_are_refused(missing: str) -> None:
    arrays = weights()
    del arrays[missing]
    with pytest.raises(DataError, match="are not those of a BertForSequenceClassification"):
        classifier_graph(NAME, CONFIG, arrays)


def test_heads_that_do_not_divide_are_refused() -> None:
    with pytest.raises(DataError, match="do not divide among 3 heads"):
        classifier_graph(NAME, {**CONFIG, "num_attention_heads": 3}, weights())
