"""Models that were made elsewhere, small enough to write by hand: graphs that tell the topics of `train_case` apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from train_case import TOPICS

CLASSES = tuple(TOPICS)  # in the order of the graph's scores: bank, tea, rail
WORDS = sorted({word for words in TOPICS.values() for word in words.split()})
PAD, UNKNOWN = 0, 1
TOKENS = ["--preprocess", "tokenizer={}", "--preprocess", "max_tokens=32"]


def write_tokenizer(path: Path) -> Path:
    """Words by white space; what is no word of a topic is [UNK]."""
    vocabulary = {"[PAD]": PAD, "[UNK]": UNKNOWN, **{word: i + 2 for i, word in enumerate(WORDS)}}
    added = [
        {"id": i, "content": name, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}
        for name, i in (("[PAD]", PAD), ("[UNK]", UNKNOWN))
    ]  # fmt: skip
    file = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    }  # fmt: skip
    path.write_text(json.dumps(file))
    return path


def table() -> np.ndarray:
    """What each token adds to the score of each class, (tokens, 3): its topics; padding adds to all of them."""
    rows = np.zeros((len(WORDS) + 2, len(CLASSES)), np.float32)
    rows[PAD] = [3.0, 0.0, -3.0]
    for i, word in enumerate(WORDS):
        rows[i + 2] = [1.5 * (word in TOPICS[name].split()) for name in CLASSES]
    return rows


def expected_logits(texts: list[str]) -> np.ndarray:
    """What `topic_model` gives, computed here."""
    rows = table()
    number = {word: i + 2 for i, word in enumerate(WORDS)}
    return np.array([sum(rows[number.get(word, UNKNOWN)] for word in text.split()[:32]) for text in texts])


def topic_model(
    *,
    softmax: bool = False,
    masked: bool = True,
    spoil: str = "",
    output: str = "logits",
    batch: int | None = None,
    domain: str = "",
    two_outputs: bool = False,
) -> Any:
    """Tokens to scores of the three topics.

    Parameters
    ----------
    masked : whether padding counts for nothing
    spoil : an operator whose result on 0 divided by 0 is added to every score
    output : what the scores are called
    batch : the number of items that the graph is fixed to
    domain : whose operators the last node is said to be
    two_outputs : whether the sums per token come out too
    """
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedding"]),  # a name that a bundle uses for its own
        helper.make_node("Cast", ["attention_mask"], ["kept"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["kept", "two"], ["kept_3d"]),
        helper.make_node("Mul", ["embedding", "kept_3d"], ["counted"]),
        helper.make_node("ReduceSum", ["counted" if masked else "embedding", "one"], ["sums"], keepdims=0),
    ]
    if spoil:
        nodes.append(helper.make_node("Sub", ["sums", "sums"], ["zero"]))
        nodes.append(helper.make_node("Div", ["zero", "zero"], ["spoilt"]))
    last = "spoilt" if spoil else "sums"
    kind = "Softmax" if softmax else "Identity"
    nodes.append(helper.make_node(kind, [last], [output], domain=domain))
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch or "n", 3])]
    if two_outputs:
        outputs.append(helper.make_tensor_value_info("sums", TensorProto.FLOAT, [batch or "n", 3]))
    graph = helper.make_graph(
        nodes, "topics",
        [helper.make_tensor_value_info(name, TensorProto.INT64, [batch or "n", "length"])
         for name in ("input_ids", "attention_mask")],
        outputs,
        [numpy_helper.from_array(table(), "table"), numpy_helper.from_array(np.array([1]), "one"),
         numpy_helper.from_array(np.array([2]), "two")],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def string_model() -> Any:
    """Texts as they are, lower-cased in the graph, to the probability that they hold "tea" (n, 1): a sigmoid."""
    nodes = [
        helper.make_node("Reshape", ["text", "flat"], ["texts"]),
        helper.make_node("StringNormalizer", ["texts"], ["small"], case_change_action="LOWER"),
        helper.make_node(
            "Tokenizer", ["small"], ["words"], domain="com.microsoft", mark=0, mincharnum=1, pad_value="#",
            separators=[" "],
        ),
        helper.make_node(
            "TfIdfVectorizer", ["words"], ["counts"], max_gram_length=1, min_gram_length=1, max_skip_count=0, mode="TF",
            ngram_counts=[0], ngram_indexes=[0], pool_strings=["tea"],
        ),
        helper.make_node("Sub", ["counts", "half"], ["centred"]),
        helper.make_node("Sigmoid", ["centred"], ["probability"]),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "strings", [helper.make_tensor_value_info("text", TensorProto.STRING, ["n", 1])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["n", 1])],
        [numpy_helper.from_array(np.array([-1]), "flat"), numpy_helper.from_array(np.float32(0.5), "half")],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def save(model: Any, path: Path) -> Path:
    """Write a model as one file."""
    onnx.save(model, path)
    return path
