"""The pretrained encoder: found by digest, refused by digest, and computed as torch computes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from passmuster.core.budget import Deadline
from passmuster.core.config import TrainConfig
from passmuster.core.digests import sha256_hex
from passmuster.core.errors import IntegrityError, NotFoundError
from passmuster.learn.checkpoint import FileCheckpoint
from passmuster.modality.base import FitView
from passmuster.modality.find import modalities
from passmuster.modality.text.rungs import known_encoders, pretrained
from passmuster.modality.text.rungs.bert_graph import bert_graph
from passmuster.modality.text.rungs.known_encoders import KNOWN, find_encoders
from passmuster.runtime.engine import Engine

pytest.importorskip("onnx", reason="training needs the extra `train`")
D, N_HEADS, N_LAYERS, N_WORDS = 16, 4, 2, 50


def small_bert(seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights of a small BERT, under the names of a checkpoint."""
    rng = np.random.default_rng(seed)

    def new(*shape: int) -> np.ndarray:
        return (0.5 * rng.normal(size=shape)).astype(np.float32)

    weights = {
        "embeddings.word_embeddings.weight": new(N_WORDS, D),
        "embeddings.position_embeddings.weight": new(32, D),
        "embeddings.token_type_embeddings.weight": new(2, D),
    }
    shapes = {
        **{f"attention.self.{part}": (D, D) for part in ("query", "key", "value")},
        "attention.output.dense": (D, D),
        "intermediate.dense": (4 * D, D),
        "output.dense": (D, 4 * D),
    }
    for layer in range(N_LAYERS):
        for name, shape in shapes.items():
            weights[f"encoder.layer.{layer}.{name}.weight"] = new(*shape)
            weights[f"encoder.layer.{layer}.{name}.bias"] = new(shape[0])
    norms = [f"encoder.layer.{i}.{n}" for i in range(N_LAYERS) for n in ("attention.output", "output")]
    for name in ("embeddings", *norms):
        weights[f"{name}.LayerNorm.weight"], weights[f"{name}.LayerNorm.bias"] = new(D) + 1, new(D)
    return weights


def torch_bert(weights: dict[str, np.ndarray], n_heads: int, eps: float) -> Callable[..., np.ndarray]:
    """A plain BERT forward pass in torch, with mean pooling and unit length: the oracle."""
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    w = {name: torch.from_numpy(np.array(value)) for name, value in weights.items()}

    def norm(x, name):
        return f.layer_norm(x, x.shape[-1:], w[f"{name}.LayerNorm.weight"], w[f"{name}.LayerNorm.bias"], eps)

    def linear(x, name):
        return f.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    @torch.no_grad()
    def forward(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        ids, mask = torch.from_numpy(ids), torch.from_numpy(mask)
        n, length = ids.shape
        x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][:length]
        x = norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings")
        for layer in range(1 + max(int(k.split(".")[2]) for k in w if k.startswith("encoder."))):
            p = f"encoder.layer.{layer}."
            q, k, v = (
                linear(x, f"{p}attention.self.{part}").view(n, length, n_heads, -1).transpose(1, 2)
                for part in ("query", "key", "value")
            )
            mixed = f.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :].bool())
            mixed = mixed.transpose(1, 2).reshape(n, length, -1)
            x = norm(x + linear(mixed, f"{p}attention.output.dense"), f"{p}attention.output")
            wide = f.gelu(linear(x, f"{p}intermediate.dense"))
            x = norm(x + linear(wide, f"{p}output.dense"), f"{p}output")
        kept = mask[:, :, None].float()
        return f.normalize((x * kept).sum(1) / kept.sum(1), dim=1).numpy()

    return forward


def test_the_graph_computes_what_torch_computes() -> None:
    weights = small_bert()
    rng = np.random.default_rng(1)
    ids = rng.integers(0, N_WORDS, size=(6, 20))
    mask = (np.arange(20) < rng.integers(1, 21, size=(6, 1))).astype(np.int64)
    expected = torch_bert(weights, N_HEADS, 1e-12)(ids, mask)
    engine = Engine(bert_graph(weights, n_heads=N_HEADS, layer_norm_eps=1e-12), threads=1)
    found = engine.run({"input_ids": ids, "attention_mask": mask})["embedding"]
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_padding_changes_nothing() -> None:
    engine = Engine(bert_graph(small_bert(), n_heads=N_HEADS, layer_norm_eps=1e-12), threads=1)
    ids = np.array([[3, 4, 5]])
    alone = engine.run({"input_ids": ids, "attention_mask": np.ones_like(ids)})["embedding"]
    padded = np.array([[3, 4, 5, 0, 0, 7]])
    mask = np.array([[1, 1, 1, 0, 0, 0]])
    np.testing.assert_allclose(engine.run({"input_ids": padded, "attention_mask": mask})["embedding"], alone, atol=1e-5)


@pytest.fixture
def no_cache():
    """Searches start afresh."""
    known_encoders._find.cache_clear()
    yield
    known_encoders._find.cache_clear()


@pytest.fixture
def bare_machine(no_cache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine whose hub cache is empty and whose packages carry no weights."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("importlib.metadata.distributions", list)


def test_other_weights_are_refused_with_the_reason(bare_machine: None, tmp_path: Path) -> None:
    folder = tmp_path / "encoders"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"not the weights")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(IntegrityError) as refused:
        pretrained.unavailable(TrainConfig(encoders=(str(folder),)))
    assert (refused.value.code, refused.value.exit_code) == ("encoder.digest", 9)
    assert "model.safetensors: SHA-256" in str(refused.value)
    assert "not that of a known encoder" in str(refused.value)
    assert "train.encoders" in str(refused.value.next)
    assert next(iter(KNOWN)) in str(refused.value.next)
    view = FitView([], np.zeros(0, int), 2, TrainConfig())
    with pytest.raises(NotFoundError) as caught:
        pretrained.fit(view, Deadline.after(1), FileCheckpoint(tmp_path), np.random.default_rng(0))
    assert caught.value.code == "encoder.none"


def test_a_pickle_and_a_folder_that_is_not_there_are_refused(bare_machine: None, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    folder.mkdir()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(IntegrityError) as refused:
        pretrained.unavailable(TrainConfig(encoders=(str(folder),)))
    assert refused.value.code == "encoder.pickle"
    assert refused.value.where == folder / "pytorch_model.bin"
    assert "pickle" in find_encoders((str(folder),)).refused[0]  # what `muster doctor` shows
    with pytest.raises(NotFoundError) as absent:
        pretrained.unavailable(TrainConfig(encoders=(str(tmp_path / "absent"),)))
    assert absent.value.code == "encoder.no_folder"
    assert pretrained.unavailable(TrainConfig(pretrained=False, encoders=(str(folder),)))  # not looked at


def test_a_named_folder_is_not_replaced_by_what_lies_elsewhere(
    bare_machine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An encoder in the hub cache is no stand-in for the one that somebody named and that was changed."""
    made = known_encoders.KnownEncoder("made", sha256_hex(b"weights"), len(b"weights"), "MIT", 32, 4, 1e-12)
    monkeypatch.setitem(KNOWN, made.sha256, made)
    for folder, weights in (("hub/models--a--b/snapshots/c", b"weights"), ("mine", b"weightz")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "model.safetensors").write_bytes(weights)
        (tmp_path / folder / "tokenizer.json").write_text("{}")
    with pytest.raises(IntegrityError, match="no encoder that is known"):
        pretrained.unavailable(TrainConfig(encoders=(str(tmp_path / "mine"),)))
    assert pretrained.unavailable(TrainConfig()) == ""
    (tmp_path / "mine" / "model.safetensors").write_bytes(b"weights")
    known_encoders._find.cache_clear()
    assert pretrained.unavailable(TrainConfig(encoders=(str(tmp_path / "mine"),))) == ""


def test_known_weights_need_their_tokenizer_and_may_lie_anywhere(
    bare_machine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = sha256_hex(b"weights")
    made = known_encoders.KnownEncoder("made", digest, len(b"weights"), "MIT", 32, 4, 1e-12)
    monkeypatch.setitem(KNOWN, digest, made)
    folder = tmp_path / "hub" / "models--a--b" / "snapshots" / "c"
    folder.mkdir(parents=True)
    (folder / "any-name.safetensors").write_bytes(b"weights")
    (refused,) = find_encoders(()).refused
    assert "tokenizer.json is not beside it" in refused
    known_encoders._find.cache_clear()
    (folder / "tokenizer.json").write_text("{}")
    (found,) = find_encoders(()).found
    assert (found.encoder.name, found.weights.name) == ("made", "any-name.safetensors")


def test_switched_off_is_switched_off() -> None:
    assert "switched off" in pretrained.unavailable(TrainConfig(pretrained=False))


def test_the_real_encoder_as_torch_computes_it(no_cache: None, tmp_path: Path) -> None:
    if not find_encoders(()).found:
        pytest.skip("no known encoder on this machine: parity with torch was tested on random weights only")
    from safetensors.numpy import load_file

    view = FitView([], np.zeros(0, int), 2, TrainConfig())
    encoder = pretrained.fit(view, Deadline.after(1), FileCheckpoint(tmp_path), np.random.default_rng(0))
    graph = pretrained.export(encoder)
    for name, data in graph.assets.items():
        (tmp_path / name).write_bytes(data)
    prepare = modalities["text"].preparer(graph.preprocess, tmp_path)
    batch = prepare(["How do I top up my card?", "", "It still has not arrived. " * 80])
    assert batch["input_ids"].shape == (3, 256)
    found = Engine(graph.onnx, threads=1).run(batch)["embedding"]
    known = find_encoders(()).found[0]
    forward = torch_bert(load_file(known.weights), known.encoder.n_heads, known.encoder.layer_norm_eps)
    expected = forward(batch["input_ids"], batch["attention_mask"])
    assert ((found * expected).sum(axis=1) > 0.9999).all()
