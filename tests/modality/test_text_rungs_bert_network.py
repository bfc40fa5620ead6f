"""The encoder in torch is the encoder that is served: the same weights, the same embeddings."""

from __future__ import annotations

import numpy as np
import pytest

from passmuster.runtime.engine import Engine

torch = pytest.importorskip("torch", reason="teaching an encoder needs the extra `train`")
pytest.importorskip("onnx", reason="training needs the extra `train`")

from bert_case import EPSILON, N_HEADS, random_bert  # noqa: E402  (needs torch)
from passmuster.modality.text.rungs.bert_graph import bert_graph  # noqa: E402
from passmuster.modality.text.rungs.bert_network import Bert, pooled  # noqa: E402


def test_torch_and_the_served_graph_agree_on_padded_texts() -> None:
    arrays = random_bert(n_layers=3)
    bert = Bert.of(arrays, N_HEADS, EPSILON)
    assert bert.n_layers == 3
    texts = [[1, 5, 9, 2], [1, 2], [1, 7, 7, 3, 8, 11, 2]]
    with torch.no_grad():
        x, mask = bert.enter(texts)
        half = bert.layers(x, mask, 0, 1)
        mine = pooled(bert.layers(half, mask, 1, 3), mask).numpy()
    ids = np.zeros((3, 7), np.int64)
    kept = np.zeros((3, 7), np.int64)
    for row, text in enumerate(texts):
        ids[row, : len(text)], kept[row, : len(text)] = text, 1
    graph = bert_graph(arrays, n_heads=N_HEADS, layer_norm_eps=EPSILON)
    served = Engine(graph, threads=1).run({"input_ids": ids, "attention_mask": kept})["embedding"]
    np.testing.assert_allclose(mine, served, atol=2e-5)
    np.testing.assert_allclose(np.linalg.norm(mine, axis=1), 1.0, atol=1e-5)


def test_integers_in_a_checkpoint_are_no_weights() -> None:
    arrays = random_bert(n_layers=1) | {"embeddings.position_ids": np.arange(16)[None]}
    assert "embeddings.position_ids" not in Bert.of(arrays, N_HEADS, EPSILON).weights
