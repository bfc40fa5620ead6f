"""Static vectors: what serving computes is what was learnt, from any text."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from passmuster.core.budget import Deadline, Machine
from passmuster.core.config import TrainConfig
from passmuster.core.errors import DataError, IntegrityError
from passmuster.learn.checkpoint import FileCheckpoint
from passmuster.modality.base import Encoder, FitView, Profile
from passmuster.modality.find import modalities
from passmuster.modality.text.rungs import static
from passmuster.modality.text.tokens import character_grams, text_features, tokenise
from passmuster.runtime.engine import Engine

pytest.importorskip("onnx", reason="training needs the extra `train`")
TOPICS = ("card lost stolen bank pin cash", "tea green cup leaf brew water", "train late ticket platform seat delay")


def texts(n: int = 240) -> list[str]:
    rng = random.Random(0)
    return [" ".join(rng.choices(TOPICS[i % 3].split(), k=5)) + f" {i}!" for i in range(n)]


def fit(payloads: list[str], folder: Path, seed: int = 0) -> Encoder:
    view = FitView(payloads, np.full(len(payloads), -1), 2, TrainConfig())
    return static.fit(view, Deadline.after(60), FileCheckpoint(folder), np.random.default_rng(seed))


def embedder(encoder: Encoder, folder: Path):
    graph = static.export(encoder)
    for name, data in graph.assets.items():
        (folder / name).write_bytes(data)
    prepare, engine = modalities["text"].preparer(graph.preprocess, folder), Engine(graph.onnx, threads=1)
    return lambda batch: engine.run(prepare(batch))["embedding"]


def test_texts_of_one_topic_lie_together(tmp_path: Path) -> None:
    embed = embedder(fit(texts(), tmp_path), tmp_path)
    x = embed(texts())
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1.0, atol=1e-5)
    similar = x @ x.T
    topic = np.arange(len(x)) % 3
    same = topic[:, None] == topic
    assert similar[same].mean() > similar[~same].mean() + 0.3


def test_words_that_keep_the_same_company_are_near(tmp_path: Path) -> None:
    rng = random.Random(0)
    pool = [f"my {rng.choice(['card', 'token'])} was {rng.choice(['lost', 'stolen', 'taken'])}" for _ in range(200)]
    pool += [f"brew {rng.choice(['tea', 'leaf'])} in {rng.choice(['hot', 'warm'])} water" for _ in range(200)]
    encoder = fit(pool, tmp_path)
    embed = embedder(encoder, tmp_path)
    card, token, leaf = (row[-encoder.arrays["words_table"].shape[1] :] for row in embed(["card", "token", "leaf"]))
    assert card @ token > card @ leaf + 0.1


def test_the_graph_computes_what_numpy_would(tmp_path: Path) -> None:
    encoder = fit(texts(), tmp_path)
    found = embedder(encoder, tmp_path)(["Green  TEA tea cup?"])[0]
    parts = []
    for view in encoder.settings["views"]:
        idf, table = encoder.arrays[f"{view['name']}_idf"], encoder.arrays[f"{view['name']}_table"]
        features = [
            f
            for token in tokenise("green tea tea cup?")
            for f in ([token] if view["kind"] == "words" else character_grams(token, 2, 5))
        ]
        total = np.zeros(table.shape[1])
        for feature in set(features) & set(view["features"]):
            count, i = features.count(feature), view["features"].index(feature)
            total += ((1 + np.log(count)) if view["sublinear"] else count) * idf[i] * table[i]
        parts.append(total / np.linalg.norm(total))
    np.testing.assert_allclose(found, np.concatenate(parts) / np.sqrt(len(parts)), atol=1e-5)


@pytest.mark.parametrize("strange", ["", "   ", "中文字", "\x00", "z" * 100_000, "🙂 " * 3_000])
def test_any_text_has_a_finite_embedding_that_does_not_depend_on_its_company(tmp_path: Path, strange: str) -> None:
    embed = embedder(fit(texts(), tmp_path), tmp_path)
    alone, beside = embed([strange])[0], embed(["green tea", strange])[1]
    assert np.isfinite(alone).all()
    np.testing.assert_allclose(alone, beside, atol=1e-6)


def test_the_same_seed_gives_the_same_vectors_and_a_checkpoint_is_taken_up(tmp_path: Path) -> None:
    first, second = fit(texts(), tmp_path / "a"), fit(texts(), tmp_path / "b")
    for name, array in first.arrays.items():
        np.testing.assert_array_equal(array, second.arrays[name])
    taken_up = fit(["something else entirely"], tmp_path / "a")
    assert taken_up.settings["n_texts"] == len(texts())


def test_texts_with_nothing_in_common_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        fit(["a", "b"], tmp_path)
    assert caught.value.code == "rung.no_features"


def test_long_texts_keep_their_heaviest_features(tmp_path: Path) -> None:
    static_export = static.export(fit(texts(), tmp_path))
    for name, data in static_export.assets.items():
        (tmp_path / name).write_bytes(data)
    step = text_features({"vocabulary": static.VOCABULARY, "max_features": 4}, tmp_path)
    full = text_features({"vocabulary": static.VOCABULARY, "max_features": 10_000}, tmp_path)
    few, all_of_them = step(["green tea cup leaf brew"]), full(["green tea cup leaf brew"])
    assert few["grams_ids"].shape == (1, 4)
    np.testing.assert_allclose(
        np.sort(few["grams_weights"][0]), np.sort(all_of_them["grams_weights"][0])[-4:], rtol=1e-6
    )


def test_a_lost_vocabulary_is_named(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError) as caught:
        text_features({"vocabulary": "gone.json", "max_features": 4}, tmp_path)
    assert "gone.json" in str(caught.value)


def test_more_texts_cost_more() -> None:
    machine = Machine(2, 8 * 2**30, 50.0)
    small, large = (static.quote(machine, Profile(n, 40, 4, 60.0, 100.0)) for n in (1_000, 40_000))
    assert small.seconds < large.seconds
    assert small.memory_bytes < large.memory_bytes
    slow = static.quote(Machine(2, 8 * 2**30, 5.0), Profile(40_000, 40, 4, 60.0, 100.0))
    assert slow.seconds > large.seconds
