"""The rung `transformer.v1`: a transformer taught from nothing but the raw texts, on a card or on the processor.

A tokenizer and a network of ModernBERT's configuration (`modernbert`), both new. It learns to tell which two halves are
of one text, and if it is large, to guess hidden words besides (`lessons`). The size follows from time, speed and data
(`network_size`); how it is taught within the time is in `pretraining`.

Labels are never read. Where this pays, and where it did not: docs/how-to/texts.md and docs/log.md.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from passmuster.core.budget import Deadline, Machine
from passmuster.core.config import TrainConfig
from passmuster.core.errors import DataError
from passmuster.core.records import Price
from passmuster.learn.checkpoint import write_atomic
from passmuster.learn.device import gflops_here, training_device
from passmuster.modality.base import Checkpoint, Encoder, EncoderGraph, FitView, Profile, Rung
from passmuster.modality.text.rungs import network_size
from passmuster.modality.text.rungs.lessons import Pool
from passmuster.modality.text.rungs.modernbert import hugging_face_config
from passmuster.modality.text.rungs.modernbert_graph import modernbert_graph
from passmuster.modality.text.rungs.network_size import make_shape
from passmuster.modality.text.rungs.own_tokenizer import SPECIAL, learn_tokenizer
from passmuster.modality.text.rungs.pretraining import (
    MAX_TOKENS,
    STEP_EFFICIENCY,
    TOKENS_PER_STEP,
    learn,
    make_plan,
    plan_of,
)

NAME = "transformer.v1"
TOKENIZER = "tokenizer.json"
MAX_CHARS = 64 * MAX_TOKENS  # of a text, as `wordpiece.v1` cuts
MAX_POOL = 1_000_000  # texts learnt from; more are sampled
MAX_TOKENIZER_TEXTS = 100_000
ENCODED_AT_ONCE = 10_000
# Training is not offered below the operations that a network of this size is best spent on: far less lost to static
# vectors on each set tried, by much (bench/pretrain.py, docs/log.md), and between the two nothing was measured.
LEAST_SIZE = (384, 6)
LEAST_FLOPS = 6.0 * network_size.TOKENS_PER_PARAMETER * network_size.n_parameters(LEAST_SIZE) ** 2
EMBED_EFFICIENCY = 0.7
CHARS_PER_TOKEN = 4.0
START_S = {"cpu": 5.0, "cuda": 20.0}  # imports, the first steps
TOKENIZE_S = 4e-5  # per text and pass of the tokenizer; learning it reads twice
BYTES_PER_PARAMETER = 20  # weight, gradient, two moments, a copy for saving
BYTES_PER_ACTIVATION = 60  # per token, layer and direction


def unavailable(config: TrainConfig) -> str:
    """Needs torch."""
    from importlib.util import find_spec

    return "" if find_spec("torch") else "torch is not installed"


def quote(machine: Machine, profile: Profile) -> Price:
    """The least training that may pay, and embedding a sample of the pool. `fit` uses more where it is given."""
    device = training_device()
    shape = make_shape(*LEAST_SIZE, n_words=8_192, max_tokens=MAX_TOKENS)
    training = LEAST_FLOPS / (gflops_here(machine) * 1e9 * STEP_EFFICIENCY[device])
    length = min(float(MAX_TOKENS), profile.mean_size / CHARS_PER_TOKEN + 2.0)
    products = 2.0 * profile.n_sampled * length * shape.n_matrix_parameters
    embedding = products / (machine.matmul_gflops * 1e9 * EMBED_EFFICIENCY)
    reading = 3 * min(profile.n_pool, MAX_POOL) * TOKENIZE_S
    parameters = shape.n_matrix_parameters + shape.n_words * shape.width
    memory = 700 * 2**20 + BYTES_PER_PARAMETER * parameters + 2 * int(profile.n_pool * length)
    if device == "cpu":  # else on the card, whose memory nobody counts
        memory += TOKENS_PER_STEP[device] * shape.n_layers * shape.width * BYTES_PER_ACTIVATION
    note = f"{LEAST_FLOPS:.1e} operations on {device}; uses the time that it is given"
    return Price(START_S[device] + reading + training + embedding, memory, note, elastic=True)


def fit(view: FitView, deadline: Deadline, checkpoint: Checkpoint, rng: np.random.Generator) -> Encoder:
    """Learn until the planned steps are done or the deadline has come; the latter is recorded as ``truncated``."""
    seed = int(rng.integers(2**31))
    finished = checkpoint.load("transformer-done")
    if finished is not None:
        return Encoder(NAME, *finished)
    texts = _sampled([str(text)[:MAX_CHARS] for text in view.payloads], seed)
    begun = checkpoint.load("transformer-plan")
    if begun is None:
        tokenizer = learn_tokenizer(texts[:MAX_TOKENIZER_TEXTS])
        pool = _tokens(tokenizer, texts)
        plan = make_plan(pool, deadline, seed)
        kept = {"tokenizer": np.frombuffer(tokenizer.encode(), np.uint8)}
        checkpoint.save("transformer-plan", kept, asdict(plan))
    else:
        tokenizer = begun[0]["tokenizer"].tobytes().decode()
        pool, plan = _tokens(tokenizer, texts), plan_of(begun[1])
    arrays, settings = learn(pool, plan, deadline, checkpoint, seed)
    arrays |= {"tokenizer": np.frombuffer(tokenizer.encode(), np.uint8)}
    checkpoint.save("transformer-done", arrays, settings)
    return Encoder(NAME, arrays, settings)


def _sampled(texts: list[str], seed: int) -> list[str]:
    """All texts in an order of chance, or so many of them."""
    order = np.random.default_rng([seed, 2]).permutation(len(texts))[:MAX_POOL]
    return [texts[i] for i in order]


def _tokens(tokenizer_json: str, texts: list[str]) -> Pool:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.enable_truncation(MAX_TOKENS)
    batches = (texts[i : i + ENCODED_AT_ONCE] for i in range(0, len(texts), ENCODED_AT_ONCE))
    found = (encoding.ids for batch in batches for encoding in tokenizer.encode_batch(batch))
    pool = Pool.of(found, tokenizer.get_vocab_size())
    if not len(pool):
        raise DataError(
            "rung.no_features", "no text has two words to learn from", value=len(texts), next="add more texts"
        )
    return pool


def export(encoder: Encoder) -> EncoderGraph:
    """The encoder's graph, and its tokenizer as an asset."""
    steps = [
        {"op": "normalise.v1", "lower": False},
        {"op": "wordpiece.v1", "tokenizer": TOKENIZER, "max_tokens": MAX_TOKENS},
    ]
    return EncoderGraph(
        onnx=modernbert_graph(encoder.arrays, plan_of(encoder.settings["plan"]).shape),
        preprocess={"schema": 1, "modality": "text", "steps": steps},
        assets={TOKENIZER: encoder.arrays["tokenizer"].tobytes()},
    )


def write_folder(encoder: Encoder, folder: Path) -> None:
    """The encoder as a folder that `transformers.AutoModel` and `AutoTokenizer` load."""
    from safetensors.numpy import save

    special = {name: i for i, name in enumerate(SPECIAL)}
    shape = plan_of(encoder.settings["plan"]).shape
    weights = {name: value for name, value in encoder.arrays.items() if name != "tokenizer"}
    tokenizer = {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": MAX_TOKENS,
        "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]",
        "model_input_names": ["input_ids", "attention_mask"],
    }  # fmt: skip
    files = {
        "config.json": json.dumps(hugging_face_config(shape, special), indent=1).encode(),
        "model.safetensors": save(weights, metadata={"format": "pt"}),
        TOKENIZER: encoder.arrays["tokenizer"].tobytes(),
        "tokenizer_config.json": json.dumps(tokenizer, indent=1).encode(),
    }
    for name, data in files.items():
        write_atomic(folder / name, data)


TRANSFORMER = Rung(
    name=NAME,
    summary="a transformer pretrained from scratch on the raw texts",
    unavailable=unavailable,
    quote=quote,
    fit=fit,
    export=export,
    sampled=True,
    write_folder=write_folder,
)
