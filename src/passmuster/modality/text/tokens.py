"""Texts to the inputs of text graphs: features of static vectors, and word pieces of pretrained encoders.

Serving runs these: standard library, numpy and the package ``tokenizers`` only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from passmuster.core.errors import IntegrityError
from passmuster.modality.base import Step

TOKEN = re.compile(r"\w+|[^\w\s]")
MAX_TOKEN_CHARS = 32  # longer tokens are cut: they are links and codes
CACHED_TOKENS = 65_536
MAX_CHARS_PER_PIECE = 64  # of a text, per word piece that will be kept


def tokenise(text: str) -> list[str]:
    """Words and single marks of a normalised text, each cut at 32 characters.

    >>> tokenise("don't pay £5!")
    ['don', "'", 't', 'pay', '£', '5', '!']
    """
    return [token[:MAX_TOKEN_CHARS] for token in TOKEN.findall(text)]


def character_grams(token: str, shortest: int, longest: int) -> list[str]:
    """Character n-grams of a token with its borders marked by spaces.

    >>> character_grams("pay", 3, 4)
    [' pa', 'pay', 'ay ', ' pay', 'pay ']
    """
    padded = f" {token} "
    return [padded[i : i + n] for n in range(shortest, longest + 1) for i in range(len(padded) - n + 1)]


def text_features(parameters: Mapping[str, Any], folder: Path) -> Step:
    """Weighted features of the views of static vectors, padded to the batch's longest text.

    Parameters: ``vocabulary`` (a JSON file: per view ``name``, ``kind`` "words" or "grams", ``shortest``, ``longest``,
    ``sublinear``, ``features`` and ``idf``) and ``max_features`` (the heaviest kept per text and view).
    Gives ``<name>_ids`` (n, length) int64 and ``<name>_weights`` (n, length) float32; the padding weighs nothing.
    """
    views = _read_json(folder / parameters["vocabulary"])["views"]
    most = int(parameters["max_features"])
    finders = [_finder(view) for view in views]

    def step(texts: Sequence[str]) -> dict[str, np.ndarray]:
        tokens = [tokenise(text) for text in texts]
        inputs: dict[str, np.ndarray] = {}
        for view, find in zip(views, finders, strict=True):
            ids, weights = _pad([find(words, most) for words in tokens])
            inputs[f"{view['name']}_ids"], inputs[f"{view['name']}_weights"] = ids, weights
        return inputs

    return step


# Tokens of one text and the most features to keep, to ids and weights.
Finder = Callable[[list[str], int], tuple[np.ndarray, np.ndarray]]


def _finder(view: Mapping[str, Any]) -> Finder:
    known = {feature: i for i, feature in enumerate(view["features"])}
    idf = np.asarray(view["idf"], dtype=np.float32)
    empty = np.zeros(0, dtype=np.int64)

    @lru_cache(maxsize=CACHED_TOKENS)
    def ids_of(token: str) -> np.ndarray:
        features = [token] if view["kind"] == "words" else character_grams(token, view["shortest"], view["longest"])
        return np.array([known[f] for f in features if f in known], dtype=np.int64)

    def find(tokens: list[str], most: int) -> tuple[np.ndarray, np.ndarray]:
        if not tokens:
            return empty, np.zeros(0, np.float32)
        ids, counts = np.unique(np.concatenate([ids_of(token) for token in tokens]), return_counts=True)
        weights = ((1.0 + np.log(counts)) if view["sublinear"] else counts) * idf[ids]
        if len(ids) > most:
            kept = np.sort(np.argsort(-weights, kind="stable")[:most])
            ids, weights = ids[kept], weights[kept]
        return ids, weights.astype(np.float32)

    return find


def _pad(rows: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    length = max([1, *(len(ids) for ids, _ in rows)])
    ids = np.zeros((len(rows), length), dtype=np.int64)
    weights = np.zeros((len(rows), length), dtype=np.float32)
    for i, (row_ids, row_weights) in enumerate(rows):
        ids[i, : len(row_ids)], weights[i, : len(row_weights)] = row_ids, row_weights
    return ids, weights


def wordpiece(parameters: Mapping[str, Any], folder: Path) -> Step:
    """Word pieces by a tokenizer file, cut at ``max_tokens`` and padded to the batch's longest text.

    Gives ``input_ids`` and ``attention_mask``, both (n, length) int64.
    """
    pieces_of = _cutter(parameters, folder)

    def step(texts: Sequence[str]) -> dict[str, np.ndarray]:
        ids, mask, _ = _side_by_side(pieces_of(texts), 0, 0)
        return {"input_ids": ids, "attention_mask": mask}

    return step


def tokens(parameters: Mapping[str, Any], folder: Path) -> Step:
    """Tokens for a graph that was made elsewhere, cut at ``max_tokens``, padded to the batch's longest text.

    Parameters: ``tokenizer``, ``max_tokens``; the graph's names for what it reads under ``ids``, ``mask`` and ``types``
    (which segment a token belongs to), "" for what it does not; ``pad``, the number of the padding token; ``length``,
    to which every text is padded where the graph allows no other (0: the batch's longest); ``dtype``, int64 or int32.
    """
    pieces_of = _cutter(parameters, folder)
    names = [parameters.get(part, "") for part in ("ids", "mask", "types")]
    pad, length, dtype = int(parameters["pad"]), int(parameters["length"]), np.dtype(parameters["dtype"])

    def step(texts: Sequence[str]) -> dict[str, np.ndarray]:
        arrays = _side_by_side(pieces_of(texts), pad, length)
        return {name: array.astype(dtype) for name, array in zip(names, arrays, strict=True) if name}

    return step


def read_tokenizer(text: str, where: Path) -> Any:
    """A tokenizer of the package ``tokenizers``, from its JSON.

    Raises
    ------
    IntegrityError
        ``tokenizer.unreadable``.
    """
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # the package raises bare Exception
        raise IntegrityError("tokenizer.unreadable", f"the tokenizer cannot be read: {error}", where=where) from error


def _cutter(parameters: Mapping[str, Any], folder: Path) -> Callable[[Sequence[str]], list[Any]]:
    """Texts to encodings of at most ``max_tokens``, by the file ``tokenizer``."""
    path = folder / parameters["tokenizer"]
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise IntegrityError("bundle.missing_file", "the tokenizer is not there", where=path) from error
    tokenizer = read_tokenizer(text, path)
    most = int(parameters["max_tokens"])
    tokenizer.enable_truncation(most)
    tokenizer.no_padding()
    most_chars = most * MAX_CHARS_PER_PIECE
    return lambda texts: list(tokenizer.encode_batch([text[:most_chars] for text in texts]))


def _side_by_side(pieces: Sequence[Any], pad: int, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids, mask and segments (n, length) int64, padded to `length` or, where it is 0, to the longest."""
    length = length or max([1, *(len(encoding.ids) for encoding in pieces)])
    ids = np.full((len(pieces), length), pad, dtype=np.int64)
    mask, types = np.zeros_like(ids), np.zeros_like(ids)
    for i, encoding in enumerate(pieces):
        n = len(encoding.ids)
        ids[i, :n], mask[i, :n], types[i, :n] = encoding.ids, 1, encoding.type_ids
    return ids, mask, types


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise IntegrityError("bundle.missing_file", "a file of preprocessing is not there", where=path) from error
    except ValueError as error:
        raise IntegrityError("preprocess.unreadable", f"not JSON: {error}", where=path) from error
