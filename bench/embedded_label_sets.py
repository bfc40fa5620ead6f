"""Embeddings of the sets of classes on which choosing is measured, made once by the local encoder and kept in a folder.

Four are composed of real requests (`multilabel_sets.py`): ten domains or 77 intents, each as frequent as the others, or
the one of rank r as ``r ** -1.5`` and ``1 / r``, so that the rarest lies in about one item of fifty, or of 250. The
fifth, `pii`, was not composed: texts made by templates, and the kinds of personal data in each, 0 to 6 of 17, of which
some are rare; no template lies on both sides.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import numpy as np

from choose_sets import CONV_S, embed_by
from multilabel_sets import compose

SKEW = {"clinc150_skewed": 1.5, "banking77_skewed": 1.0}
PII = "pii"
N_TRAIN, N_TEST = 3_000, 1_500
N_QUICK = (500, 300)
TEST_TEMPLATES = 1 / 3


def embedded(
    data: Path, name: str, folder: Path, *, quick: bool = False, halves: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings (n, d), which classes each item carries (n, k), and the mask of the test.

    With `halves` both sides are composed of the training split alone, to tune on.
    """
    path = folder / f"{name}-label-sets{'-halves' if halves else ''}{'-quick' if quick else ''}.npz"
    if not path.is_file():
        print(f"embedding {path.stem}", file=sys.stderr, flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        if name == PII:
            texts, sets, test = _personal_data(data)
        else:
            n_train, n_test = N_QUICK if quick else (N_TRAIN, N_TEST)
            base, skew = name.removesuffix("_skewed"), SKEW.get(name, 0.0)
            made = compose(data, base, n_train=n_train, n_test=n_test, seed=0, skew=skew, halves=halves)
            texts, sets, test = made.texts, made.sets, made.test
        classes = sorted({one for members in sets for one in members})
        carried = np.array([[one in members for one in classes] for members in sets])
        matrix = embed_by("text", "pretrained.v1", [], texts, CONV_S)
        part = path.with_suffix(".part.npz")
        np.savez(part, embeddings=matrix, carried=carried, test=test)
        part.replace(path)
    with np.load(path, allow_pickle=False) as kept:
        return kept["embeddings"], kept["carried"], kept["test"]


def _personal_data(data: Path) -> tuple[list[str], list[tuple[str, ...]], np.ndarray]:
    with gzip.open(data / "pii_presidio" / "presidio_synth_v2.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    templates = np.array([row["template_id"] for row in rows])
    known = np.unique(templates)
    drawn = np.random.default_rng(0).choice(known, round(TEST_TEMPLATES * len(known)), replace=False)
    sets = [tuple(sorted({span["type"] for span in row["spans"]})) for row in rows]
    return [row["text"] for row in rows], sets, np.isin(templates, drawn)
