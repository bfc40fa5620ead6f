"""The image ladder: graphs that compute what they say, prices that grow, and fits that end when they must."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from passmuster.core.budget import Deadline, Machine
from passmuster.core.config import TrainConfig
from passmuster.learn.checkpoint import FileCheckpoint
from passmuster.modality.base import FitView, Profile, Rung
from passmuster.modality.image.modality import IMAGE
from passmuster.modality.image.rungs import gradients, patches
from passmuster.modality.image.rungs.pixels import Frame, choose_frame, runner
from passmuster.runtime.engine import Engine

pytest.importorskip("sklearn")
MACHINE = Machine(n_cores=2, memory_bytes=2**33, matmul_gflops=100.0)
# A folder's encoder has tests of its own.
LADDER = [rung for _, rung in IMAGE.rungs.items() if not rung.unavailable(TrainConfig())]


@pytest.fixture(scope="module")
def digits() -> tuple[list[np.ndarray], np.ndarray]:
    """Real handwritten digits, 8 by 8, grey."""
    from sklearn.datasets import load_digits

    found = load_digits()
    pixels = np.clip(found.images * 16, 0, 255).astype(np.uint8)[:, :, :, None]
    order = np.random.default_rng(0).permutation(len(pixels))
    return [pixels[i] for i in order], found.target[order]


def view_of(payloads: list[np.ndarray]) -> FitView:
    return FitView(payloads, np.full(len(payloads), -1), 10, TrainConfig())


def embed(rung: Rung, payloads: list[np.ndarray], fit_on: list[np.ndarray], folder: Path) -> np.ndarray:
    """As a bundle would: preprocessing by name, the graph by the engine that serves."""
    deadline = Deadline.after(6)
    encoder = rung.fit(view_of(fit_on), deadline, FileCheckpoint(folder / rung.name), np.random.default_rng(0))
    graph = rung.export(encoder)
    return Engine(graph.onnx).run(IMAGE.preparer(graph.preprocess, folder)(payloads))["embedding"]


def accuracy(embeddings: np.ndarray, labels: np.ndarray, n_per_class: int = 4) -> float:
    """Of a logistic head from a few labels per class, mean of three draws, on everything else."""
    from sklearn.linear_model import LogisticRegression

    found = []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(labels))
        taught = np.concatenate([order[labels[order] == c][:n_per_class] for c in range(10)])
        head = LogisticRegression(C=30, max_iter=500).fit(embeddings[taught], labels[taught])
        asked = np.setdiff1d(order, taught)
        found.append(float((head.predict(embeddings[asked]) == labels[asked]).mean()))
    return float(np.mean(found))


@pytest.mark.parametrize(("name", "at_least"), [("gradients.v1", 0.86), ("patches.v1", 0.80), ("conv.v1", 0.89)])
def test_a_few_labels_suffice_on_digits(
    name: str, at_least: float, digits: tuple[list[np.ndarray], np.ndarray], tmp_path: Path
) -> None:
    payloads, labels = digits[0][:1000], digits[1][:1000]
    embeddings = embed(IMAGE.rungs[name], payloads, payloads[:700], tmp_path)
    assert np.isfinite(embeddings).all()
    assert embeddings.dtype == np.float32
    assert accuracy(embeddings, labels) >= at_least


@pytest.mark.parametrize("rung", LADDER, ids=lambda rung: rung.name)
def test_quotes_are_positive_and_grow(rung: Rung) -> None:
    def seconds(n: int, side: int) -> float:
        return rung.quote(MACHINE, Profile(n, 40, 10, float(side * side), float(side * side))).seconds

    assert 0 < seconds(100, 28) < seconds(10_000, 28) < seconds(60_000, 28)
    assert seconds(10_000, 28) < seconds(10_000, 200)
    faster = Machine(8, 2**33, 800.0)
    assert rung.quote(faster, Profile(60_000, 40, 10, 784, 784)).seconds < seconds(60_000, 28)
    assert rung.quote(MACHINE, Profile(100, 40, 10, 784, 784)).memory_bytes > 0


@pytest.mark.parametrize("rung", LADDER, ids=lambda rung: rung.name)
def test_every_kind_of_picture_is_taken(rung: Rung, tmp_path: Path) -> None:
    """Colour, odd shapes, flat pictures and single ones."""
    rng = np.random.default_rng(0)
    colour = [rng.integers(256, size=(int(rng.integers(20, 40)), 31, 3), dtype=np.uint8) for _ in range(40)]
    colour += [np.zeros((32, 32, 3), np.uint8), np.full((5, 32, 1), 255, np.uint8)]
    embeddings = embed(rung, colour, colour, tmp_path)
    assert np.isfinite(embeddings).all()
    assert (np.linalg.norm(embeddings, axis=1) < 1.001).all()


@pytest.mark.parametrize("size", [16, 28, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_gradient_graph_equals_numpy(size: int, channels: int) -> None:
    rng = np.random.default_rng(size)
    pixels = rng.random((3, channels, size, size), dtype=np.float32)
    pixels[0] = 0.3  # flat
    given = runner(gradients.gradient_model(size, channels))(pixels)
    np.testing.assert_allclose(given, np.stack([gradients_by_hand(p) for p in pixels]), atol=2e-5)
    assert given.shape[1] == gradients.gradient_width(size, channels)


def gradients_by_hand(pixels: np.ndarray) -> np.ndarray:
    """Histograms of oriented gradients of one picture (c, s, s), by angles instead of filters."""
    pixels = pixels.astype(np.float64)
    size = pixels.shape[1]
    padded = np.pad(pixels, ((0, 0), (1, 1), (1, 1)), mode="edge")
    dx = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    dy = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    length, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
    bins = 2 * np.pi * np.arange(8) / 8
    share = np.maximum(np.cos(angle[:, None] - bins[None, :, None, None]), 0) ** 8
    energy = (share * length[:, None]).max(axis=0)  # (8, s, s)

    def cells(maps: np.ndarray, cell: int) -> np.ndarray:
        n = size // cell
        return maps[:, : n * cell, : n * cell].reshape(len(maps), n, cell, n, cell).mean(axis=(2, 4)).ravel()

    def unit(row: np.ndarray) -> np.ndarray:
        return row / max(np.linalg.norm(row), 1e-6)

    parts = [unit(np.sqrt(cells(energy, cell))) for cell in gradients.CELLS[size]]
    if len(pixels) == 3:
        parts.append(gradients.COLOUR_WEIGHT * unit(cells(pixels, size // gradients.COLOUR_GRID)))
    return unit(np.concatenate(parts))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [16, 28, 64])
def test_patch_graph_equals_numpy(channels: int, size: int) -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(256, size=(4, channels, size, size), dtype=np.uint8)
    pixels[1] = 90
    rows = patches.normalise(patches.sample_patches(pixels, 800, rng))
    mean, whiten = patches.zca(rows)
    centres, _ = patches.k_means((rows - mean) @ whiten, 12, rng, Deadline.after(30))
    encoder_arrays = {"mean": mean, "whiten": whiten, "centres": centres}
    encoder = patches.Encoder("patches.v1", encoder_arrays, {"size": size, "channels": channels})
    given = runner(patches.export(encoder).onnx)(pixels)
    wanted = np.stack([patches_by_hand(p / 255.0, mean, whiten, centres) for p in pixels])
    np.testing.assert_allclose(given, wanted, atol=1e-4)


def patches_by_hand(pixels: np.ndarray, mean: np.ndarray, whiten: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Coates, Lee & Ng (2011), patch by patch."""
    size, step = pixels.shape[1], patches.STRIDES[pixels.shape[1]]
    starts = range(0, size - patches.PATCH + 1, step)
    side = len(starts)
    active = np.zeros((side, side, len(centres)))
    for (i, y), (j, x) in itertools.product(enumerate(starts), enumerate(starts)):
        patch = pixels[:, y : y + patches.PATCH, x : x + patches.PATCH].reshape(1, -1)
        white = (patches.normalise(patch) - mean) @ whiten
        distance = np.linalg.norm(white - centres, axis=1)
        active[i, j] = np.maximum(0, distance.mean() - distance)
    half = -(-side // 2)
    quadrants = [
        active[a, b].mean(axis=(0, 1)) for a, b in itertools.product((slice(half), slice(-half, None)), repeat=2)
    ]
    row = np.sqrt(np.stack(quadrants, axis=1).ravel())
    return row / np.linalg.norm(row)


def test_the_frame_follows_the_pool() -> None:
    grey = np.zeros((28, 28, 1), np.uint8)
    tinted = np.zeros((28, 28, 3), np.uint8)
    tinted[:, :, 0] = 200
    assert choose_frame([grey] * 20) == Frame(28, 1)
    assert choose_frame([grey] * 10 + [tinted] * 10) == Frame(28, 3)
    assert choose_frame([np.repeat(grey, 3, axis=2)] * 20) == Frame(28, 1)  # three equal channels are grey
    assert choose_frame([np.zeros((300, 400, 1), np.uint8)] * 3).size == 64


def test_patches_end_at_their_deadline_and_say_so(digits: tuple[list[np.ndarray], np.ndarray], tmp_path: Path) -> None:
    checkpoint = FileCheckpoint(tmp_path)
    rng = np.random.default_rng(0)
    cut = patches.fit(view_of(digits[0][:200]), Deadline.after(-1), checkpoint, rng)
    assert cut.settings["truncated"]
    assert cut.settings["n_iterations"] == 1
    again = patches.fit(view_of(digits[0][:200]), Deadline.after(60), checkpoint, rng)  # a resume repeats it
    assert again.settings == cut.settings
    np.testing.assert_array_equal(again.arrays["centres"], cut.arrays["centres"])
