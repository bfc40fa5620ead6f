"""The rung `static.v1`: vectors of words and character n-grams, learnt from the raw pool in seconds, without torch.

Two views, side by side, each of unit length:

- *grams*: latent semantic analysis (Deerwester et al. 1990) of character n-grams, TF-IDF-weighted, over the whole pool:
  close where texts share spelling;
- *words*: positive pointwise mutual information of words within a window, factorised (Levy, Goldberg and Dagan 2015),
  averaged by inverse document frequency: close where texts share company of words.

On Banking77 with 8 labels per class the two together were three to seven points better than either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from passmuster.core.budget import Deadline, Machine
from passmuster.core.config import TrainConfig
from passmuster.core.digests import canonical_json
from passmuster.core.errors import DataError
from passmuster.core.records import Price
from passmuster.core.threads import one_thread
from passmuster.modality.base import Checkpoint, Encoder, EncoderGraph, FitView, Profile, Rung
from passmuster.modality.text.operations import normalise
from passmuster.modality.text.tokens import character_grams, tokenise

DIMS = {"grams": 384, "words": 256}
SHORTEST, LONGEST = 2, 5
MIN_TEXTS = 2  # a feature that only one text has tells nothing of others
MAX_FEATURES = {"grams": 24_576, "words": 16_384}
MAX_FEATURES_PER_TEXT = 512
MAX_POOL = 50_000  # texts learnt from; more are sampled
MAX_TOKENS = 3_000_000
WINDOW = 8
N_POWER_ITERATIONS = 3
OVERSAMPLING = 10
# Shares of the measured matrix-product speed that sparse products and factorisations reach.
SPARSE_EFFICIENCY, DENSE_EFFICIENCY = 0.16, 0.127
# Seconds to begin, to count a token, to embed a text and each of its characters, and of comparing engines (a character
# of the mean text). Seen on five sets of 600 to 15,000 texts, docs/log.md.
START_S, COUNT_S, TEXT_S, CHAR_S, COMPARE_S, MOST_CHARS = 0.8, 2.1e-5, 6e-5, 1.5e-6, 0.004, 4_000.0
WORDS_PER_ROOT = 13.0  # different words against the root of all, where nobody counted
GRAMS_PER_WORD = 8.0
MEMORY_BYTES, BYTES_PER_ENTRY = 150 * 2**20, 30  # tables while they are factorised, written, served and made smaller
VOCABULARY = "vocabulary.json"
LOWER = {"op": "normalise.v1", "lower": True}


def unavailable(config: TrainConfig) -> str:
    """Always available."""
    return ""


def quote(machine: Machine, profile: Profile) -> Price:
    """Seconds to count, factorise and embed; memory of counts and tables."""
    n_fit = min(profile.n_pool, MAX_POOL)
    tokens = min(n_fit * max(1.0, profile.mean_size / 5.0), MAX_TOKENS)
    entries = min(tokens * 14.0, n_fit * 2.0 * MAX_FEATURES_PER_TEXT)
    n_products = 2 * (N_POWER_ITERATIONS + 1)
    width = {name: min(dims, n_fit) + OVERSAMPLING for name, dims in DIMS.items()}
    words = min(float(MAX_FEATURES["words"]), profile.n_words or WORDS_PER_ROOT * tokens**0.5)
    grams = min(float(MAX_FEATURES["grams"]), GRAMS_PER_WORD * words)
    speed = machine.matmul_gflops * 1e9
    sparse = n_products * entries * width["grams"] * 2.0 / (speed * SPARSE_EFFICIENCY)
    squared = (n_fit + grams) * width["grams"] ** 2 + 2 * words * width["words"] ** 2
    dense = n_products * 2.0 * squared / (speed * DENSE_EFFICIENCY)
    counting = tokens * COUNT_S
    size = min(profile.mean_size, MOST_CHARS)
    embedding = profile.n_pool * (TEXT_S + size * CHAR_S) + min(1.0, COMPARE_S * size)
    tables = grams * width["grams"] + words * width["words"]
    memory = MEMORY_BYTES + int(entries * 24 + BYTES_PER_ENTRY * tables + 16 * n_fit * width["grams"])
    return Price(START_S + counting + sparse + dense + embedding, memory, f"{n_fit} texts, two views")


def fit(view: FitView, deadline: Deadline, checkpoint: Checkpoint, rng: np.random.Generator) -> Encoder:
    """Learn both views from the raw texts; labels are not read."""
    saved = checkpoint.load("static")
    if saved is not None:
        return Encoder("static.v1", *saved)
    chosen = np.arange(len(view.payloads))
    if len(chosen) > MAX_POOL:
        chosen = np.sort(rng.choice(len(chosen), MAX_POOL, replace=False))
    texts = _normalised([view.payloads[i] for i in chosen.tolist()])
    tokens = _sampled([tokenise(text) for text in texts], rng)
    counts, words = _count_words(tokens)
    arrays: dict[str, np.ndarray] = {}
    vocabulary = []
    for name, learn in (("grams", _learn_grams), ("words", _learn_words)):
        features, idf, table = learn(tokens, counts, words, rng)
        if len(features) < 2:
            continue
        arrays[f"{name}_table"], arrays[f"{name}_idf"] = table, idf
        vocabulary.append(
            {"name": name, "kind": name, "shortest": SHORTEST, "longest": LONGEST, "sublinear": name == "grams",
             "features": features}
        )  # fmt: skip
    if not vocabulary:
        raise DataError(
            "rung.no_features", "the texts share no words or character sequences to learn from", value=len(texts),
            next="add more texts",
        )  # fmt: skip
    encoder = Encoder("static.v1", arrays, {"views": vocabulary, "n_texts": len(texts)})
    checkpoint.save("static", encoder.arrays, encoder.settings)
    return encoder


def _normalised(texts: Sequence[Any]) -> list[str]:
    from pathlib import Path

    found: list[str] = normalise(LOWER, Path())(list(texts))
    return found


def _sampled(tokens: list[list[str]], rng: np.random.Generator) -> list[list[str]]:
    """As many whole texts, in random order, as `MAX_TOKENS` allow; all of them, in their order, when they fit."""
    sizes = np.array([len(t) for t in tokens])
    if sizes.sum() <= MAX_TOKENS:
        return tokens
    order = rng.permutation(len(tokens))
    kept = order[np.cumsum(sizes[order]) <= MAX_TOKENS]
    return [tokens[i] for i in np.sort(kept)] or [tokens[int(order[0])][:MAX_TOKENS]]


def _count_words(tokens: list[list[str]]) -> tuple[Any, list[str]]:
    """Counts (texts, words) as scipy CSR, and the words."""
    from scipy import sparse

    known: dict[str, int] = {}
    ids = np.array([known.setdefault(word, len(known)) for text in tokens for word in text], dtype=np.int64)
    rows = np.repeat(np.arange(len(tokens)), [len(text) for text in tokens])
    ones = np.ones(len(ids), np.float32)
    return sparse.csr_matrix((ones, (rows, ids)), shape=(len(tokens), max(1, len(known)))), list(known)


def _learn_grams(
    tokens: list[list[str]], counts: Any, words: list[str], rng: np.random.Generator
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Features, idf and table (features, d) of character n-grams."""
    from scipy import sparse

    known: dict[str, int] = {}
    per_word = [character_grams(word, SHORTEST, LONGEST) for word in words]
    ids = np.array([known.setdefault(gram, len(known)) for grams in per_word for gram in grams], dtype=np.int64)
    rows = np.repeat(np.arange(len(words)), [len(grams) for grams in per_word])
    shape = (counts.shape[1], max(1, len(known)))
    grams_of_words = sparse.csr_matrix((np.ones(len(ids), np.float32), (rows, ids)), shape=shape)
    matrix = (counts @ grams_of_words).tocsr()
    kept, idf = _useful(matrix, MAX_FEATURES["grams"])
    names = list(known)
    matrix = matrix[:, kept].tocsr()
    matrix.data = (1.0 + np.log(matrix.data)).astype(np.float32)
    matrix = matrix @ sparse.diags(idf)
    matrix = (sparse.diags(1.0 / _row_lengths(matrix)) @ matrix).astype(np.float32)
    right, _ = _right_singular(matrix, DIMS["grams"], rng)
    return [names[i] for i in kept], idf, right


def _learn_words(
    tokens: list[list[str]], counts: Any, words: list[str], rng: np.random.Generator
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Features, idf and table (features, d) of words by the company they keep."""
    from scipy import sparse

    kept, idf = _useful(counts, MAX_FEATURES["words"])
    place = {words[j]: i for i, j in enumerate(kept)}
    ids = np.array([place[word] for text in tokens for word in text if word in place], dtype=np.int64)
    texts = np.repeat(np.arange(len(tokens)), [sum(word in place for word in text) for text in tokens])
    size = max(1, len(kept))
    pairs = sparse.csr_matrix((size, size), dtype=np.float32)
    for offset in range(1, WINDOW + 1):
        same = texts[offset:] == texts[:-offset]
        a, b = ids[:-offset][same], ids[offset:][same]
        pairs = pairs + sparse.csr_matrix((np.ones(len(a), np.float32), (a, b)), shape=(size, size))
    pairs = (pairs + pairs.T).tocoo()
    total = np.asarray(pairs.sum(axis=1)).ravel()
    context = total**0.75 / max(float((total**0.75).sum()), 1e-12)  # smoothing of Levy, Goldberg and Dagan 2015
    information = np.log(pairs.data / (total[pairs.row] * context[pairs.col]))
    positive = information > 0
    data = information[positive].astype(np.float32)
    matrix = sparse.csr_matrix((data, (pairs.row[positive], pairs.col[positive])), shape=(size, size))
    right, lengths = _right_singular(matrix, DIMS["words"], rng)
    return [words[j] for j in kept], idf, right * np.sqrt(lengths)


def _useful(counts: Any, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns that at least two texts have, the most frequent `most`, and their inverse document frequency."""
    n_texts = np.bincount(counts.indices, minlength=counts.shape[1])
    order = np.argsort(-n_texts, kind="stable")
    kept = np.sort(order[n_texts[order] >= MIN_TEXTS][:most])
    return kept, (np.log((1.0 + counts.shape[0]) / (1.0 + n_texts[kept])) + 1.0).astype(np.float32)


def _row_lengths(matrix: Any) -> np.ndarray:
    return np.asarray(np.maximum(np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel()), 1e-12))


def _right_singular(matrix: Any, dims: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Right singular vectors (columns, d) and values (d,), by random projection (Halko, Martinsson and Tropp 2011).

    d is at most `dims` and less than the matrix allows.
    """
    n_rows, n_columns = matrix.shape
    d = min(dims, n_rows, n_columns)
    if not matrix.nnz:
        return np.zeros((n_columns, 1), np.float32), np.zeros(1, np.float32)
    width = min(d + OVERSAMPLING, n_rows, n_columns)
    transposed = matrix.T.tocsr()
    with one_thread():  # factorisations wait for each other longer than they work
        basis = matrix @ rng.standard_normal((n_columns, width), dtype=np.float32)
        for _ in range(N_POWER_ITERATIONS):
            basis = matrix @ np.linalg.qr(transposed @ basis)[0]
        basis = np.linalg.qr(basis)[0]
        _, values, right = np.linalg.svd((transposed @ basis).T, full_matrices=False)
    solid = values[:d] > 1e-5 * max(float(values[0]), 1e-12)
    right = right[:d][solid]
    signs = np.sign(right[np.arange(len(right)), np.abs(right).argmax(axis=1)])  # the sign is arbitrary: fix it
    return np.ascontiguousarray((right * signs[:, None]).T, np.float32), values[:d][solid].astype(np.float32)


def export(encoder: Encoder) -> EncoderGraph:
    """Per view: gather, weigh, add up, unit length; then side by side."""
    from onnx import TensorProto, helper, numpy_helper

    views: Sequence[Mapping[str, Any]] = encoder.settings["views"]
    inputs, nodes, parts, width = [], [], [], 0
    constants = [
        numpy_helper.from_array(np.array([1], np.int64), "one"),
        numpy_helper.from_array(np.array(1e-12, np.float32), "smallest"),
        numpy_helper.from_array(np.array(1.0 / np.sqrt(len(views)), np.float32), "share"),
    ]
    for view in views:
        name = view["name"]
        table = encoder.arrays[f"{name}_table"]
        width += table.shape[1]
        constants.append(numpy_helper.from_array(np.ascontiguousarray(table, np.float32), f"{name}_table"))
        ids, weights = f"{name}_ids", f"{name}_weights"
        inputs.append(helper.make_tensor_value_info(ids, TensorProto.INT64, ["n", f"{name}_length"]))
        inputs.append(helper.make_tensor_value_info(weights, TensorProto.FLOAT, ["n", f"{name}_length"]))
        nodes += [
            helper.make_node("Gather", [f"{name}_table", ids], [f"{name}_vectors"]),
            helper.make_node("Unsqueeze", [weights, "one"], [f"{name}_rows"]),
            helper.make_node("MatMul", [f"{name}_rows", f"{name}_vectors"], [f"{name}_sums"]),
            helper.make_node("Squeeze", [f"{name}_sums", "one"], [f"{name}_sum"]),
            helper.make_node("ReduceL2", [f"{name}_sum", "one"], [f"{name}_norm"]),
            helper.make_node("Max", [f"{name}_norm", "smallest"], [f"{name}_length_"]),
            helper.make_node("Div", [f"{name}_sum", f"{name}_length_"], [f"{name}_unit"]),
        ]
        parts.append(f"{name}_unit")
    nodes += [
        helper.make_node("Concat", parts, ["views"], axis=1),
        helper.make_node("Mul", ["views", "share"], ["embedding"]),
    ]
    output = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", width])
    graph = helper.make_graph(nodes, "static", inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    vocabulary = [
        {**view, "idf": [round(float(v), 6) for v in encoder.arrays[f"{view['name']}_idf"]]} for view in views
    ]
    steps = [LOWER, {"op": "text_features.v1", "vocabulary": VOCABULARY, "max_features": MAX_FEATURES_PER_TEXT}]
    return EncoderGraph(
        onnx=bytes(model.SerializeToString()),
        preprocess={"schema": 1, "modality": "text", "steps": steps},
        assets={VOCABULARY: canonical_json({"schema": 1, "views": vocabulary})},
    )


STATIC = Rung(
    name="static.v1",
    summary="vectors of words and character sequences learnt from the raw texts",
    unavailable=unavailable,
    quote=quote,
    fit=fit,
    export=export,
)
