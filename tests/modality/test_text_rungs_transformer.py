"""The transformer rung: a packed row equals padded texts, the graph equals the network, a killed run ends the same."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from passmuster.core.budget import Deadline, Machine
from passmuster.core.config import TrainConfig
from passmuster.core.errors import DataError, IntegrityError
from passmuster.learn.checkpoint import FileCheckpoint
from passmuster.modality.base import Encoder, FitView, Profile
from passmuster.modality.find import modalities
from passmuster.runtime.engine import Engine

torch = pytest.importorskip("torch")
from passmuster.modality.text.rungs import lessons, modernbert, network_size, pretraining, transformer  # noqa: E402
from passmuster.modality.text.rungs.lessons import Pool, course, lesson, loss_of  # noqa: E402
from passmuster.modality.text.rungs.modernbert import Packed, Shape, forward, make_network  # noqa: E402
from passmuster.modality.text.rungs.modernbert_graph import modernbert_graph  # noqa: E402
from passmuster.modality.text.rungs.own_tokenizer import MASK, learn_tokenizer  # noqa: E402

N_STEPS = 8
WORDS = ("card", "lost", "stolen", "bank", "pin", "cash", "money", "tea", "green", "cup", "leaf", "brew", "water")
SMALL = Shape(n_words=40, width=16, n_layers=4, n_heads=2, hidden=24, max_tokens=24, window=8)


class KilledError(Exception):
    """Stands for a kill."""


class Mortal(FileCheckpoint):
    """Dies after so many saves of the steps."""

    def __init__(self, folder: Path, n_saves: int) -> None:
        super().__init__(folder)
        self.left = n_saves

    def save(self, name: str, arrays: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> None:
        super().save(name, arrays, settings)
        self.left -= name == "transformer-steps"
        if not self.left:
            raise KilledError


def made_texts(n: int = 120) -> list[str]:
    rng = random.Random(0)
    return [" ".join(rng.choices(WORDS, k=rng.randint(3, 12))) for _ in range(n)]


def plan_of(pool: Pool, *_: Any) -> pretraining.Plan:
    """A plan of a few small steps."""
    return pretraining.Plan(replace(SMALL, n_words=len(pool.counts), max_tokens=transformer.MAX_TOKENS), N_STEPS, 256)


@pytest.fixture
def view() -> FitView:
    return FitView(made_texts(), np.full(120, -1), 2, TrainConfig())


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformer, "make_plan", plan_of)
    monkeypatch.setattr(pretraining, "SAVE_EVERY_S", -1.0)


def fit(view: FitView, checkpoint: FileCheckpoint, seconds: float = 60, seed: int = 3) -> Encoder:
    return transformer.fit(view, Deadline.after(seconds), checkpoint, np.random.default_rng(seed))


def same(a: Encoder, b: Encoder) -> bool:
    return a.arrays.keys() == b.arrays.keys() and all(np.array_equal(a.arrays[k], b.arrays[k]) for k in a.arrays)


def some_texts(shape: Shape, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(4, shape.n_words, n) for n in (3, 3, 7, 7, 7, 20, 24)]


def pack(texts: list[np.ndarray]) -> Packed:
    return modernbert.pack(np.concatenate(texts), np.array([len(text) for text in texts]))


# The network


def test_a_text_in_a_packed_row_is_as_if_alone() -> None:
    net, texts = make_network(SMALL, 0), some_texts(SMALL)
    with torch.no_grad():
        together = forward(net, SMALL, pack(texts))
        alone = torch.cat([forward(net, SMALL, pack([text])) for text in texts])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_a_local_layer_looks_half_a_window_to_each_side() -> None:
    shape = replace(SMALL, n_layers=2)  # one layer that sees all, one that sees four tokens to each side
    net, text = make_network(shape, 0), some_texts(shape)[-1]
    with torch.no_grad():
        net["model"]["layers"][0]["attn"]["Wo"].weight.zero_()  # only the local layer mixes
        before = forward(net, shape, pack([text]))
        changed = text.copy()
        changed[10] = 5 if text[10] != 5 else 6
        moved = (forward(net, shape, pack([changed])) - before).abs().amax(dim=1) > 0
    assert np.flatnonzero(moved.numpy()).tolist() == list(range(6, 15))


def reference_varlen(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, window_size=(-1, -1)):
    """What the card's kernel computes, text by text."""
    assert query.dtype == torch.bfloat16
    assert max_q == max_k == int(cu_seq_q.diff().max())
    assert cu_seq_q.dtype == torch.int32
    rows = []
    for a, b in itertools.pairwise(cu_seq_q.tolist()):
        q, k, v = (part[a:b].float() for part in (query, key, value))
        scores = torch.einsum("qhd,khd->hqk", q, k) / q.shape[-1] ** 0.5
        apart = torch.arange(b - a)[None, :] - torch.arange(b - a)[:, None]
        if window_size[0] >= 0:
            scores[:, (apart < -window_size[0]) | (apart > window_size[1])] = -torch.inf
        rows.append(torch.einsum("hqk,khd->qhd", scores.softmax(-1), v))
    return torch.cat(rows)


@pytest.mark.parametrize("reach", [0, 4])
def test_a_card_is_asked_for_what_the_processor_computes(reach: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel itself runs on a card only: what it is given is tried with a plain twin of its documented meaning."""
    import inspect

    from torch.nn.attention import varlen

    for name in inspect.signature(reference_varlen).parameters:
        assert name in inspect.signature(varlen.varlen_attn).parameters
    monkeypatch.setattr(varlen, "varlen_attn", reference_varlen)
    batch = pack(some_texts(SMALL))
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(len(batch.ids), 2, 8, generator=generator) for _ in range(3)]
    expected = modernbert.attend_by_length(*parts, batch, reach)
    torch.testing.assert_close(modernbert.attend_at_once(*parts, batch, reach), expected, atol=0.05, rtol=0.05)


def test_the_same_seed_makes_the_same_network() -> None:
    a, b, c = (make_network(SMALL, seed)["model"]["layers"][1]["mlp"]["Wi"].weight for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


@pytest.mark.parametrize("window", [0, 8])
def test_the_graph_equals_the_network(window: int) -> None:
    shape = replace(SMALL, window=window)
    net, texts = make_network(shape, 0), some_texts(shape)
    for parameter in net.parameters():  # so that an error anywhere shows
        torch.nn.init.normal_(parameter, 0.3 if parameter.ndim == 1 else 0.0, 0.3)
    weights = {k.removeprefix("model."): v.detach().numpy() for k, v in net.state_dict().items()}
    with torch.no_grad():
        batch = pack(texts)
        means = modernbert.mean_of_texts(forward(net, shape, batch), batch)
        expected = torch.nn.functional.normalize(means, dim=1).numpy()
    ids, mask = np.full((2, len(texts), 24), 9), np.zeros((len(texts), 24), np.int64)
    for i, text in enumerate(texts):
        ids[:, i, : len(text)], mask[i, : len(text)] = text, 1
    found = Engine(modernbert_graph(weights, shape), threads=1).run({"input_ids": ids[0], "attention_mask": mask})
    np.testing.assert_allclose(found["embedding"], expected, atol=2e-5)


# The lessons


def test_a_pass_reads_every_text_once_and_the_next_in_another_order() -> None:
    pool = Pool.of([[1, *range(4, 5 + n % 9), 9, 2] for n in range(200)], 20)
    n_steps, texts_of = course(pool, 150, 0)
    assert n_steps > 5
    first, second = ([texts_of(i + start) for i in range(n_steps)] for start in (0, n_steps))
    assert sorted(np.concatenate(first).tolist()) == list(range(200))
    assert sorted(np.concatenate(second).tolist()) == list(range(200))
    assert [a.tolist() for a in first] != [a.tolist() for a in second]
    again = course(pool, 150, 0)[1]
    assert [again(i).tolist() for i in range(n_steps)] == [a.tolist() for a in first]


def test_texts_of_one_word_are_passed_over() -> None:
    assert len(Pool.of([[1, 5, 2], [1, 2], [1, 5, 6, 2]], 10)) == 1


def test_what_is_hidden_is_what_is_asked_for() -> None:
    pool = Pool.of([[1, *np.random.default_rng(i).integers(4, 30, 9), 2] for i in range(50)], 30)
    chosen = np.arange(50)
    given = lesson(pool, chosen, 7, 0, hidden_share=0.3)
    shown = given.batch.ids.numpy()
    whole = shown.copy()
    whole[given.places.numpy()] = given.words.numpy()
    assert MASK not in whole
    assert 0.6 < (shown[given.places.numpy()] == MASK).mean() <= 0.95
    ends = given.batch.borders.numpy()
    texts = [whole[a:b] for a, b in itertools.pairwise(ends)]
    for i, (one, other) in zip(chosen, given.halves.tolist(), strict=True):
        both = np.concatenate([texts[one][1:-1], texts[other][1:-1]])
        assert sorted(both) == sorted(pool.read(np.array([i]))[0][1:-1])
        assert texts[one][0] == texts[other][0] == 1


def test_a_lesson_is_a_function_of_its_number() -> None:
    pool = Pool.of([[1, *range(4, 14), 2]] * 9, 20)
    one, same_one, other = (lesson(pool, np.arange(9), step, 0, hidden_share=0.3).batch.ids for step in (3, 3, 4))
    assert torch.equal(one, same_one)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("hiding_width", [16, 17])
def test_learning_lowers_the_loss(hiding_width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretraining, "HIDING_WIDTH", hiding_width)
    tokenizer = learn_tokenizer(made_texts())
    pool = transformer._tokens(tokenizer, made_texts())
    teacher = pretraining.Teacher(pool, replace(plan_of(pool), n_steps=40), 0)
    before = float(loss_of(teacher.net, teacher.plan.shape, teacher.lesson(39)).detach())
    for step in range(39):
        teacher.teach(step)
    assert float(loss_of(teacher.net, teacher.plan.shape, teacher.lesson(39)).detach()) < before - (
        0.5 if hiding_width == 16 else 0.0
    )


# The tokenizer


def test_the_tokenizer_is_the_same_every_time_and_knows_every_byte() -> None:
    from tokenizers import Tokenizer

    assert learn_tokenizer(made_texts()) == learn_tokenizer(made_texts())
    tokenizer = Tokenizer.from_str(learn_tokenizer(made_texts()))
    assert tokenizer.decode(tokenizer.encode("Grüße 🙂 漢字").ids) == " grüße 🙂 漢字"
    assert len(tokenizer.encode("").ids) == 2


# Killed and gone on with


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("n_saves", [1, 5])
def test_an_interrupted_run_ends_at_the_same_weights(view: FitView, tmp_path: Path, n_saves: int) -> None:
    whole = fit(view, FileCheckpoint(tmp_path / "whole"))
    with pytest.raises(KilledError):
        fit(view, Mortal(tmp_path / "killed", n_saves))
    saved = FileCheckpoint(tmp_path / "killed").load("transformer-steps")
    assert saved is not None
    assert saved[1]["step"] == n_saves
    assert same(whole, fit(view, FileCheckpoint(tmp_path / "killed")))
    assert not same(whole, fit(view, FileCheckpoint(tmp_path / "other"), seed=4))


KILLED_PROGRAM = """
import sys, time
import numpy as np
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from passmuster.core.budget import Deadline
from passmuster.core.config import TrainConfig
from passmuster.learn.checkpoint import FileCheckpoint
from passmuster.modality.base import FitView
from passmuster.modality.text.rungs import pretraining, transformer
from test_text_rungs_transformer import made_texts, plan_of
transformer.make_plan, pretraining.SAVE_EVERY_S = plan_of, -1.0
teach = pretraining.Teacher.teach
def lingering(self, step):
    if step == 4:
        print("here", flush=True)
        time.sleep(600)
    return teach(self, step)
pretraining.Teacher.teach = lingering
view = FitView(made_texts(), np.full(120, -1), 2, TrainConfig())
transformer.fit(view, Deadline.after(600), FileCheckpoint(Path(sys.argv[1])), np.random.default_rng(3))
"""


@pytest.mark.usefixtures("short")
def test_kill_9_and_go_on(view: FitView, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    program = [sys.executable, "-c", KILLED_PROGRAM, str(killed), str(Path(__file__).parent)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGKILL)
    saved = FileCheckpoint(killed).load("transformer-steps")
    assert saved is not None
    assert saved[1]["step"] == 4
    assert same(fit(view, FileCheckpoint(tmp_path / "whole")), fit(view, FileCheckpoint(killed)))


@pytest.mark.usefixtures("short")
def test_a_damaged_checkpoint_is_refused(view: FitView, tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        fit(view, Mortal(tmp_path, 3))
    path = tmp_path / "transformer-steps.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(IntegrityError) as refused:
        fit(view, FileCheckpoint(tmp_path))
    assert refused.value.code == "checkpoint.damaged"


# The budget


@pytest.mark.usefixtures("short")
def test_the_deadline_wins_and_is_recorded(view: FitView, tmp_path: Path) -> None:
    cut = fit(view, FileCheckpoint(tmp_path), seconds=-1)
    assert (cut.settings["step"], cut.settings["truncated"]) == (0, True)
    assert same(cut, fit(view, FileCheckpoint(tmp_path)))  # a resume repeats the truncation


def test_a_plan_that_turns_out_too_long_is_shortened(
    view: FitView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformer, "make_plan", lambda pool, *_: replace(plan_of(pool), n_steps=100_000))
    monkeypatch.setattr(pretraining, "REVIEWS", (2e-5, 2e-4, 2e-3))
    found = fit(view, FileCheckpoint(tmp_path), seconds=2)
    assert 0 < found.settings["n_steps"] < 100_000
    saved = FileCheckpoint(tmp_path).load("transformer-steps")
    assert saved is not None
    assert saved[1]["n_steps"] == found.settings["n_steps"]


def test_the_plan_fits_the_time(view: FitView, tmp_path: Path) -> None:
    found = fit(view, FileCheckpoint(tmp_path), seconds=0.1)
    assert found.settings["plan"]["n_steps"] >= 1
    assert found.settings["plan"]["device"] == transformer.training_device()


def test_size_grows_with_time_and_with_data() -> None:
    sizes = [network_size.best_size(flops, 1e8) for flops in (1e10, 1e15, 1e16, 1e19)]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 4
    assert network_size.best_size(1e19, 1e5) == network_size.SIZES[0]


def test_a_quote_falls_with_speed_and_grows_with_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = Profile(n_pool=10_000, n_labels=80, n_classes=10, mean_size=60.0, max_size=200.0)
    slow, fast = (transformer.quote(Machine(2, 2**33, speed), profile) for speed in (50.0, 5_000.0))
    assert slow.seconds > 24 * 3600  # two processor cores
    assert slow.seconds > 50 * fast.seconds
    assert transformer.quote(Machine(2, 2**33, 50.0), replace(profile, n_pool=10**6)).seconds > slow.seconds
    monkeypatch.setattr(transformer, "training_device", lambda: "cuda")
    monkeypatch.setattr(transformer, "gflops_here", lambda machine: 5e5)
    card = transformer.quote(Machine(16, 2**37, 1_000.0), profile)
    assert card.seconds < 600
    assert "cuda" in card.note


def test_texts_without_two_words_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        fit(FitView(["", "a", "a"], np.full(3, -1), 2, TrainConfig()), FileCheckpoint(tmp_path))
    assert caught.value.code == "rung.no_features"


# What is served, and what others load


@pytest.mark.usefixtures("short")
def test_export_is_the_network_with_its_tokenizer(view: FitView, tmp_path: Path) -> None:
    encoder = fit(view, FileCheckpoint(tmp_path))
    graph = transformer.export(encoder)
    for name, data in graph.assets.items():
        (tmp_path / name).write_bytes(data)
    batch = modalities["text"].preparer(graph.preprocess, tmp_path)(["My CARD was stolen", "", "tea " * 600])
    assert batch["input_ids"].shape == (3, transformer.MAX_TOKENS)
    embedding = Engine(graph.onnx, threads=1).run(batch)["embedding"]
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, atol=1e-5)


TRANSFORMERS_PROGRAM = """
import sys
import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer
folder = sys.argv[1]
model, info = AutoModel.from_pretrained(folder, output_loading_info=True)
assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
tokenizer = AutoTokenizer.from_pretrained(folder)
texts = open(folder + "/texts.txt").read().split("\\n")
batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
with torch.no_grad():
    x = model.eval()(**batch).last_hidden_state
kept = batch["attention_mask"][:, :, None].float()
mean = torch.nn.functional.normalize((x * kept).sum(1) / kept.sum(1), dim=1)
np.save(folder + "/embedding.npy", mean.numpy())
"""


@pytest.mark.usefixtures("short")
def test_transformers_loads_the_folder_and_computes_the_same(view: FitView, tmp_path: Path) -> None:
    """With the interpreter named by ``MUSTER_BENCH_TRANSFORMERS``, which need not have Muster."""
    python = os.environ.get("MUSTER_BENCH_TRANSFORMERS", "")
    folder = tmp_path / "folder"
    encoder = fit(view, FileCheckpoint(tmp_path / "run"))
    transformer.write_folder(encoder, folder)
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "modernbert"
    assert config["layer_types"] == ["full_attention", *["sliding_attention"] * 2, "full_attention"]
    if not python:
        pytest.skip("MUSTER_BENCH_TRANSFORMERS names no interpreter: that transformers computes the same is untested")
    texts = ["my card  was stolen", "green tea, " * 30, "x"]
    (folder / "texts.txt").write_text("\n".join(texts))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    subprocess.run([python, "-c", TRANSFORMERS_PROGRAM, str(folder)], check=True, env=environment, capture_output=True)
    graph = transformer.export(encoder)
    found = Engine(graph.onnx, threads=1).run(modalities["text"].preparer(graph.preprocess, folder)(texts))
    np.testing.assert_allclose(found["embedding"], np.load(folder / "embedding.npy"), atol=1e-5)


def test_small_networks_have_no_words_to_guess() -> None:
    small, large = (network_size.make_shape(width, 2, 100, 32) for width in (128, 384))
    assert pretraining.hidden_share(small) == 0.0
    assert pretraining.hidden_share(large) == lessons.HIDDEN_SHARE
    pool = Pool.of([[1, *range(4, 14), 2]] * 9, 20)
    given = lesson(pool, np.arange(9), 0, 0, hidden_share=0.0)
    assert not len(given.places)
    assert MASK not in given.batch.ids
