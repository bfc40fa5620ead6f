"""Fine-tuned classifiers of BERT's family, as ``transformers`` saves them, written as ONNX graphs from weights alone.

The families differ in what they call their weights, in where positions begin, and in the layer between the first token
and the classes. All of it is put into BERT's own terms, and `bert_graph.py` writes the encoder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from passmuster.core.errors import DataError
from passmuster.modality.text.rungs.bert_graph import BertWriter
from passmuster.modality.text.rungs.nodes import OPSET

ROBERTA_PADDING = 1  # the padding token's number where the configuration does not say it


@dataclass(frozen=True)
class Family:
    """How one kind of checkpoint is read.

    Parameters
    ----------
    prefix : before the names of the encoder's weights
    renamed : pattern to replacement, to BERT's own names
    dense, activation : the layer that reads the first token, and what follows it
    out : the layer that gives the classes
    keys : names of the configuration: attention heads, and the feed-forward's activation
    behind_padding : whether the first token's position follows the padding token's number, instead of being 0
    """

    prefix: str
    dense: str
    activation: str
    out: str
    renamed: tuple[tuple[str, str], ...] = ()
    keys: tuple[str, str] = ("num_attention_heads", "hidden_act")
    behind_padding: bool = False


BERT = Family("bert.", "bert.pooler.dense", "Tanh", "classifier")
ROBERTA = Family("roberta.", "classifier.dense", "Tanh", "classifier.out_proj", behind_padding=True)
DISTILBERT = Family(
    "distilbert.", "pre_classifier", "Relu", "classifier",
    renamed=(
        (r"^transformer\.layer\.(\d+)\.", r"encoder.layer.\1."),
        (r"\.attention\.q_lin\.", ".attention.self.query."),
        (r"\.attention\.k_lin\.", ".attention.self.key."),
        (r"\.attention\.v_lin\.", ".attention.self.value."),
        (r"\.attention\.out_lin\.", ".attention.output.dense."),
        (r"\.sa_layer_norm\.", ".attention.output.LayerNorm."),
        (r"\.ffn\.lin1\.", ".intermediate.dense."),
        (r"\.ffn\.lin2\.", ".output.dense."),
        (r"\.output_layer_norm\.", ".output.LayerNorm."),
    ),
    keys=("n_heads", "activation"),
)  # fmt: skip
# By the name under which a checkpoint's configuration says what it is.
FAMILIES: dict[str, Family] = {
    "BertForSequenceClassification": BERT,
    "DistilBertForSequenceClassification": DISTILBERT,
    "RobertaForSequenceClassification": ROBERTA,
    "XLMRobertaForSequenceClassification": ROBERTA,
}


@dataclass(frozen=True)
class Classifier:
    """A graph from tokens to ``embedding`` (what the classes are read off) and ``logits``, and its longest text."""

    onnx: bytes
    n_classes: int
    max_tokens: int


def classifier_graph(name: str, config: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> Classifier:
    """The graph of a checkpoint: ``input_ids`` and ``attention_mask`` (n, length) int64 to its two outputs.

    Parameters
    ----------
    name : one of `FAMILIES`
    config : the checkpoint's ``config.json``
    weights : its tensors by name, floating point

    Raises
    ------
    DataError
        ``import.config`` for a setting that the graph would not follow; ``import.weights`` where a tensor is missing or
        of another shape than the configuration says.
    """
    family = FAMILIES[name]
    refuse_settings(family, config)
    try:
        return _written(family, config, weights)
    except (KeyError, IndexError, ValueError) as error:
        raise DataError(
            "import.weights", f"the weights are not those of a {name}: {error}", next="save the model again, as a whole"
        ) from error


def refuse_settings(family: Family, config: Mapping[str, Any]) -> None:
    """Refuse what would change the answers, and that the graph does not do."""
    heads, activation = family.keys
    wanted: dict[str, Callable[[Any], bool]] = {
        heads: lambda v: isinstance(v, int) and v > 0,
        activation: lambda v: v == "gelu",
        "position_embedding_type": lambda v: v in (None, "absolute"),
        "is_decoder": lambda v: not v,
        "problem_type": lambda v: v in (None, "single_label_classification"),
    }
    for key, fits in wanted.items():
        if not fits(config.get(key)):
            raise DataError(
                "import.config", "a setting of the model that cannot be followed", value=f"{key}: {config.get(key)!r}",
                where="config.json", next="export the model to ONNX yourself, and muster import MODEL.onnx",
            )  # fmt: skip


def _written(family: Family, config: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> Classifier:
    encoder = {}
    for name, value in weights.items():
        if name.startswith(family.prefix):
            plain = name.removeprefix(family.prefix)
            for pattern, replacement in family.renamed:
                plain = re.sub(pattern, replacement, plain)
            encoder[plain] = value
    positions = "embeddings.position_embeddings.weight"
    if family.behind_padding:
        encoder[positions] = encoder[positions][int(config.get("pad_token_id", ROBERTA_PADDING)) + 1 :]
    d = encoder["embeddings.word_embeddings.weight"].shape[1]
    encoder.setdefault("embeddings.token_type_embeddings.weight", np.zeros((1, d), np.float32))
    n_heads = int(config[family.keys[0]])
    if d % n_heads:
        raise ValueError(f"{d} numbers do not divide among {n_heads} heads")
    writer = _ClassifierWriter(encoder, n_heads, float(config.get("layer_norm_eps", 1e-12)))
    dense, out = ((weights[f"{layer}.weight"], weights[f"{layer}.bias"]) for layer in (family.dense, family.out))
    onnx = writer.classifier(dense, family.activation, out)
    return Classifier(onnx, len(out[1]), len(encoder[positions]))


class _ClassifierWriter(BertWriter):
    """BERT with a head on its first token."""

    def classifier(
        self, dense: tuple[np.ndarray, np.ndarray], activation: str, out: tuple[np.ndarray, np.ndarray]
    ) -> bytes:
        from onnx import TensorProto, helper

        first = self.op("Gather", [self.layers(), self.constant(0, np.int64)], axis=1)
        self.op(activation, [self.linear(first, *dense)], output="embedding")
        self.op("Identity", [self.linear("embedding", *out)], output="logits")
        inputs = [
            helper.make_tensor_value_info(given, TensorProto.INT64, ["n", "length"])
            for given in ("input_ids", "attention_mask")
        ]
        outputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", len(bias)])
            for name, (_, bias) in (("embedding", dense), ("logits", out))
        ]
        graph = helper.make_graph(self.nodes, "classifier", inputs, outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
        return bytes(model.SerializeToString())
