"""`patches.v1`: a dictionary of whitened patches with triangle activation, pooled over quadrants.

Coates, Lee & Ng (2011), "An analysis of single-layer networks in unsupervised feature learning": patches are brought
to equal contrast, whitened (ZCA) and clustered by k-means; a patch's feature ``k`` is ``max(0, mean distance - distance
to centre k)``; features are averaged over the four quadrants of the image. Fitted in numpy on the unlabelled pool.
Everything that follows a patch's contrast normalisation is linear up to a norm, so the graph is two convolutions and a
few element-wise steps.
"""

from __future__ import annotations

import numpy as np

from passmuster.core.budget import Deadline, Machine
from passmuster.core.config import TrainConfig
from passmuster.core.records import Price
from passmuster.modality.base import Checkpoint, Encoder, EncoderGraph, FitView, Profile, Rung
from passmuster.modality.image.rungs.graphs import GraphBuilder
from passmuster.modality.image.rungs.pixels import choose_frame, frame_of, frame_settings, working_size
from passmuster.modality.image.rungs.prices import embed_s, look_s

PATCH = 6
N_CENTRES = 160
N_PATCHES = 40_000
N_IMAGES = 8_000
N_ITERATIONS = 12
CONTRAST = 10.0 / 255.0**2  # added to a patch's variance, as in the paper (pixels there run to 255)
WHITENING = 0.01  # added to the eigenvalues of normalised patches, as a share of their mean
GRID = 2  # quadrants a side
MEANS_EFFICIENCY = 0.16  # share of the measured matrix-product speed that k-means reaches
STRIDES = {16: 1, 28: 2, 32: 2, 64: 4}


def available(train: TrainConfig) -> str:
    """Always there."""
    return ""


def quote(machine: Machine, profile: Profile) -> Price:
    """Seconds for whitening, k-means and embedding."""
    size = working_size(profile.mean_size**0.5)
    positions = ((size - PATCH) // STRIDES[size] + 1) ** 2
    d = PATCH * PATCH * 2  # between one channel and three
    products = float(positions * d * (d + N_CENTRES))
    means = (
        2.0
        * N_PATCHES
        * PATCH
        * PATCH
        * profile.n_channels
        * N_CENTRES
        * N_ITERATIONS
        / (machine.matmul_gflops * 1e9 * MEANS_EFFICIENCY)
    )
    embedding = embed_s(machine, profile, size, products=products, elements=8.0 * positions * N_CENTRES)
    memory = 200 * 2**20 + 4 * GRID**2 * N_CENTRES * profile.n_pool
    return Price(look_s(profile) + means + embedding, memory)


def fit(view: FitView, deadline: Deadline, checkpoint: Checkpoint, rng: np.random.Generator) -> Encoder:
    """Learn whitening and dictionary from random patches of the pool; labels are not read."""
    saved = checkpoint.load("patches")
    if saved is not None:
        return Encoder("patches.v1", *saved)
    frame = choose_frame(view.payloads)
    chosen = np.sort(rng.permutation(len(view.payloads))[:N_IMAGES])
    pixels = frame.prepare_bytes([view.payloads[i] for i in chosen])
    patches = normalise(sample_patches(pixels, N_PATCHES, rng))
    mean, whiten = zca(patches)
    centres, n_iterations = k_means((patches - mean) @ whiten, N_CENTRES, rng, deadline)
    arrays = {"mean": mean, "whiten": whiten, "centres": centres}
    settings = {**frame_settings(frame), "n_iterations": n_iterations, "truncated": n_iterations < N_ITERATIONS}
    checkpoint.save("patches", arrays, settings)
    return Encoder("patches.v1", arrays, settings)


def sample_patches(pixels: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Random patches of uint8 images (m, c, s, s), as rows (n, c * PATCH²) in [0, 1]."""
    m, _, size, _ = pixels.shape
    image = rng.integers(m, size=n)
    y, x = rng.integers(size - PATCH + 1, size=(2, n))
    offsets = np.arange(PATCH)
    rows = (y[:, None] + offsets)[:, None, :, None]
    columns = (x[:, None] + offsets)[:, None, None, :]
    channel = np.arange(pixels.shape[1])[None, :, None, None]
    return np.asarray(
        (pixels[image[:, None, None, None], channel, rows, columns].reshape(n, -1) / 255.0).astype(np.float32)
    )


def normalise(patches: np.ndarray) -> np.ndarray:
    """Each row less its mean, over the root of its variance plus `CONTRAST`."""
    centred = patches - patches.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + CONTRAST))


def zca(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) and the symmetric whitening matrix (d, d) of rows (n, d)."""
    mean = rows.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov((rows - mean).T.astype(np.float64)))
    floor = WHITENING * max(float(values.mean()), 1e-6)
    return mean, ((vectors / np.sqrt(np.maximum(values, 0.0) + floor)) @ vectors.T).astype(np.float32)


def k_means(rows: np.ndarray, k: int, rng: np.random.Generator, deadline: Deadline) -> tuple[np.ndarray, int]:
    """Centres (k, d) by Lloyd's iterations, and how many there was time for (one at least).

    An empty cluster starts anew from a random row.
    """
    centres = rows[rng.choice(len(rows), k, replace=len(rows) < k)].copy()
    done = 0
    while done < N_ITERATIONS and (done == 0 or not deadline.passed):
        nearest = np.argmin((centres**2).sum(axis=1) - 2 * rows @ centres.T, axis=1)
        order = np.argsort(nearest, kind="stable")
        counts = np.bincount(nearest, minlength=k)
        starts = np.minimum(np.concatenate([[0], np.cumsum(counts)[:-1]]), len(rows) - 1)
        sums = np.add.reduceat(rows[order], starts, axis=0)
        filled = counts > 0
        centres[filled] = sums[filled] / counts[filled, None]
        empty = np.flatnonzero(~filled)
        centres[empty] = rows[rng.integers(len(rows), size=len(empty))]
        done += 1
    return centres.astype(np.float32), done


def add_patches(g: GraphBuilder, mean: np.ndarray, whiten: np.ndarray, centres: np.ndarray) -> str:
    """Append the features of the graph's pixels, (n, GRID² * centres), of length one.

    With ``p`` the normalised patch, ``W`` the whitening and ``c`` a centre, the distance ``|W(p - m) - c|`` has the
    square ``|W(p - m)|² - 2 c·W(p - m) + |c|²``. Taking the patch's mean off is linear, so that ``W p`` is a
    convolution of the pixels, its filters made to sum to zero, over the patch's deviation.
    """
    d, k, c = whiten.shape[0], len(centres), g.channels
    stride = [STRIDES[g.size]] * 2
    kernel = [PATCH, PATCH]
    centring = np.eye(d, dtype=np.float64) - 1.0 / d
    filters = (whiten.astype(np.float64).T @ centring).reshape(d, c, PATCH, PATCH).astype(np.float32)
    box = np.full((1, c, PATCH, PATCH), 1.0 / d, dtype=np.float32)
    average = g.add("Conv", g.pixels, g.constant(box), kernel_shape=kernel, strides=stride)
    square = g.add("Mul", g.pixels, g.pixels)
    power = g.add("Conv", square, g.constant(box), kernel_shape=kernel, strides=stride)
    variance = g.add("Relu", g.add("Sub", power, g.add("Mul", average, average)))
    deviation = g.add("Sqrt", g.add("Add", variance, g.constant(np.float32(CONTRAST))))
    raw = g.add("Conv", g.pixels, g.constant(filters), kernel_shape=kernel, strides=stride)
    offset = (whiten.T @ mean).reshape(1, d, 1, 1)
    white = g.add("Sub", g.add("Div", raw, deviation), g.constant(offset))  # (n, d, y, x)
    length = g.add("ReduceSumSquare", white, axes=[1], keepdims=1)
    towards = g.add(
        "Conv",
        white,
        g.constant((-2 * centres).reshape(k, d, 1, 1)),
        g.constant((centres**2).sum(axis=1)),
        kernel_shape=[1, 1],
    )
    distance = g.add("Sqrt", g.add("Relu", g.add("Add", towards, length)))
    mean_distance = g.add("ReduceMean", distance, axes=[1], keepdims=1)
    active = g.add("Relu", g.add("Sub", mean_distance, distance))  # the triangle
    side = (g.size - PATCH) // STRIDES[g.size] + 1
    half = -(-side // GRID)
    pooled = g.add(
        "AveragePool", active, kernel_shape=[half, half], strides=[side - half] * 2
    )  # an odd middle row counts on both sides
    return g.unit(g.add("Sqrt", g.add("Flatten", pooled, axis=1)))


def export(encoder: Encoder) -> EncoderGraph:
    """Dictionary and whitening as convolutions."""
    frame = frame_of(encoder.settings)
    a = encoder.arrays
    g = GraphBuilder(frame.channels, frame.size)
    output = add_patches(g, a["mean"], a["whiten"], a["centres"])
    return EncoderGraph(g.model(output, GRID**2 * len(a["centres"])), frame.preprocess)


PATCHES = Rung(
    name="patches.v1",
    summary="a dictionary of whitened patches from the raw pool, pooled over quadrants",
    unavailable=available,
    quote=quote,
    fit=fit,
    export=export,
)
