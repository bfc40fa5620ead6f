"""Embeddings of the unlabelled pool for choosing what to label, with whatever is at hand, and without torch.

    a bundle is there ─▶ the encoder of the latest that has one, through the embedding cache
    nothing is trained yet ─▶ the cheapest good thing: a local known encoder where embedding is a matter of a minute,
                              static vectors of the raw texts, gradient histograms of the images

What is computed here is cached under the encoder's own key. Training reads the same cache, so that nothing is embedded
twice: where an encoder does not depend on the clock (all three do not) and the engine that training chooses is the
plain one.
"""

from __future__ import annotations

import contextlib
import importlib.util
import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from passmuster.core.budget import Deadline, measure_machine
from passmuster.core.codec import to_plain
from passmuster.core.digests import canonical_json, sha256_hex
from passmuster.core.errors import IntegrityError, NotFoundError
from passmuster.core.label_sets import split_label
from passmuster.core.progress import Progress
from passmuster.core.records import Bundle, Item, Label, Payload, Snapshot
from passmuster.core.sampling import pool_order
from passmuster.modality.base import EncoderGraph, FitView, Modality, Profile, Rung
from passmuster.modality.find import modalities
from passmuster.runtime.bundle import encoder_key, open_bundle
from passmuster.runtime.engine import Engine, EngineChoice
from passmuster.runtime.predictor import Predictor
from passmuster.store.items import read_labels
from passmuster.store.releases import read_bundles
from passmuster.store.seal import training_view
from passmuster.store.snapshots import read_snapshot
from passmuster.store.store import Store

# What is tried before anything is trained, the better first. None of them needs torch; their graphs need onnx.
COLD_RUNGS = {"text": ("pretrained.v1", "static.v1"), "image": ("gradients.v1",)}
# What a bundle without embeddings says: one from elsewhere whose graph only answers, or whose folder is not here.
NO_EMBEDDINGS = ("bundle.no_embeddings", "bundle.none", "graph.outputs")
MAX_WAIT_S = 90.0  # that a person waits before the first item; a rung that is quoted longer gives way to the next
FIT_S = 600.0  # a deadline for rungs that end far sooner
BATCH = 64
NEEDED = ("onnx", "safetensors")  # of the extra `train`
# Items looked at; a larger pool is sampled, the same way each time. What training embedded costs nothing more.
MAX_POOL, MAX_COLD_POOL = 100_000, 20_000
MAX_DEAR_POOL = 5_000  # where the encoder takes milliseconds for an item, and training embedded a sample itself


@dataclass(frozen=True)
class Pool:
    """What learning may see, embedded: the items looked at, and where the labelled ones lie among them.

    `by` names the rung that embedded, "" when nothing is at hand; then the matrix has no columns.
    """

    snapshot: Snapshot
    items: list[Item]
    matrix: np.ndarray  # (n, d)
    by: str
    labelled: np.ndarray  # (l,) positions in items
    labels: np.ndarray  # (l,) class numbers
    classes: tuple[str, ...]  # of a multi-label project, the sets that occur

    @property
    def targets(self) -> tuple[tuple[str, ...], np.ndarray]:
        """Names of the classes that labelled items carry, and which of them each does (l, k), where labels are sets."""
        sets = [split_label(label) for label in self.classes]
        names = tuple(sorted({name for members in sets for name in members}))
        carried = np.array([[name in members for name in names] for members in sets], dtype=np.float32)
        return names, carried.reshape(len(sets), len(names))[self.labels]


def look_at_pool(store: Store, progress: Progress) -> Pool:
    """The pool of the latest data-set version, through the seal, and its training labels up to this minute.

    Labels count before a data-set version pins them, so that what is asked next follows what was answered last.

    Raises
    ------
    NotFoundError
        ``snapshot.none`` when nothing was added yet.
    """
    with store.read() as db:
        snapshot = read_snapshot(db)
        known = read_labels(db, role="train")
        bundles = read_bundles(db)
    most = _most(store, bundles)
    items = _sample(training_view(store, snapshot).pool, known, most, store.config.train.seed)
    labelled = np.array([i for i, item in enumerate(items) if item.key in known], dtype=np.int64)
    classes, numbers = np.unique([known[items[i].key].label for i in labelled], return_inverse=True)
    embedded = _embed(store, bundles, items, progress) if items else Embedded(np.zeros((0, 0), np.float32), "")
    return Pool(snapshot, items, embedded.matrix, embedded.by, labelled, numbers, tuple(str(name) for name in classes))


def _most(store: Store, bundles: Sequence[Bundle]) -> int:
    """How many items are looked at: fewer where the latest bundle's encoder is dear, or comes from elsewhere."""
    if not bundles:
        return MAX_COLD_POOL
    try:
        manifest = open_bundle(store.bundle_folder(bundles[0].path)).manifest
    except (IntegrityError, NotFoundError):  # told where it is embedded with
        return MAX_COLD_POOL
    rungs = modalities[manifest.modality].rungs
    return MAX_POOL if manifest.rung in rungs.names() and not rungs[manifest.rung].sampled else MAX_DEAR_POOL


def _sample(pool: Sequence[Item], labels: Mapping[str, Label], most: int, seed: int) -> list[Item]:
    """The pool in its order; or every labelled item and a sample of the others, the same from call to call."""
    if len(pool) <= most:
        return list(pool)
    kept = set(pool_order(len(pool), seed)[:most].tolist())
    return [item for i, item in enumerate(pool) if i in kept or item.key in labels]


@dataclass(frozen=True)
class Embedded:
    """Embeddings (n, d) of the items asked about, and by what: a rung's name, "" when nothing is at hand."""

    matrix: np.ndarray
    by: str


def _embed(store: Store, bundles: Sequence[Bundle], items: Sequence[Item], progress: Progress) -> Embedded:
    """Embeddings of `items`, of the latest bundle that gives some or, before there is one, of the best cheap thing.

    A bundle that was imported may answer without embeddings; then an earlier one's serve, and choosing goes on.
    `by` is "" and the matrix has no columns when the extra `train` is not installed and nothing was trained.
    """
    for bundle in bundles:
        try:
            return _by_bundle(store, store.bundle_folder(bundle.path), items, progress)
        except (IntegrityError, NotFoundError) as error:
            if error.code not in NO_EMBEDDINGS:
                raise
            progress.say(f"bundle {bundle.digest[:16]} gives no embeddings to choose by: {error.what}")
    if missing := [name for name in NEEDED if not _is_installed(name)]:
        progress.say(f"nothing is trained yet and {missing[0]} is not installed (extra train): items come at random")
        return Embedded(np.zeros((len(items), 0), np.float32), "")
    return _cold(store, items, progress)


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ImportError:  # there, and made to fail
        return False


def _by_bundle(store: Store, folder: Path, items: Sequence[Item], progress: Progress) -> Embedded:
    bundle = open_bundle(folder)
    if not bundle.manifest.encoder_key:
        raise NotFoundError("bundle.no_embeddings", "it was made without an encoder", where=folder)
    predictor: Predictor | None = None

    def compute(positions: Sequence[int]) -> np.ndarray:
        nonlocal predictor
        predictor = predictor or Predictor(bundle)
        return predictor.embed(_decoded(store, predictor.modality, [items[i] for i in positions]))[0]

    cache = store.embeddings(bundle.manifest.encoder_key)
    return Embedded(cache.get([item.blob for item in items], compute, progress=progress), bundle.manifest.rung)


def _cold(store: Store, items: Sequence[Item], progress: Progress) -> Embedded:
    """Fit the first rung that is at hand and quick enough; a note names the cache's key for the next time."""
    modality = modalities[store.config.project.modality]
    blobs = [item.blob for item in items]
    about = sha256_hex(canonical_json(to_plain([blobs, store.config.train])))[:32]
    note = store.root / "choosing" / about
    if note.is_file():
        rung, key = note.read_text(encoding="utf-8").split()
        with contextlib.suppress(LookupError):  # some of it was forgotten or lost: then all is done anew
            return Embedded(store.embeddings(key).get(blobs, _lacking), rung)
    payloads = _decoded(store, modality, items)
    chosen = _affordable(store, modality, payloads)
    progress.say(f"nothing is trained yet: looking at {len(items):,} items with {chosen.name} ({chosen.summary})")
    graph = _fit(store, chosen, payloads)
    choice = EngineChoice()
    key = encoder_key(graph.onnx, choice, graph.preprocess, graph.assets)
    with tempfile.TemporaryDirectory() as folder:
        for name, data in graph.assets.items():
            (Path(folder) / name).write_bytes(data)
        prepare = modality.preparer(graph.preprocess, Path(folder))
        engine = Engine(graph.onnx, choice)
        matrix = store.embeddings(key).get(blobs, _computing(engine, prepare, payloads), progress=progress)
    note.parent.mkdir(exist_ok=True)
    note.write_text(f"{chosen.name} {key}\n", encoding="utf-8")
    return Embedded(matrix, chosen.name)


def _affordable(store: Store, modality: Modality, payloads: Sequence[Payload]) -> Rung:
    """The first cold rung that is available and quoted within `MAX_WAIT_S`; the last one whatever it costs."""
    names = COLD_RUNGS[modality.name]
    sizes = np.array([_size_of(p) for p in payloads], dtype=float)
    profile = Profile(len(payloads), 0, 2, float(sizes.mean()), float(sizes.max()))
    machine = measure_machine()
    for name in names[:-1]:
        rung = modality.rungs[name]
        if not rung.unavailable(store.config.train) and rung.quote(machine, profile).seconds <= MAX_WAIT_S:
            return rung
    return modality.rungs[names[-1]]


def _fit(store: Store, rung: Rung, payloads: Sequence[Payload]) -> EncoderGraph:
    """The rung as training would fit it on the same items: with training's generator, so that the graph is the same."""
    from passmuster.learn.checkpoint import FileCheckpoint

    rng = np.random.default_rng([store.config.train.seed, zlib.crc32(b"fit"), zlib.crc32(rung.name.encode())])
    with tempfile.TemporaryDirectory() as folder:
        view = FitView(payloads, np.full(len(payloads), -1), 2, store.config.train)
        return rung.export(rung.fit(view, Deadline.after(FIT_S), FileCheckpoint(Path(folder)), rng))


def _computing(
    engine: Engine, prepare: Callable[[Sequence[Payload]], dict[str, np.ndarray]], payloads: Sequence[Payload]
) -> Callable[[Sequence[int]], np.ndarray]:
    """What the cache calls for rows it lacks; batches hold items of like size."""

    def compute(positions: Sequence[int]) -> np.ndarray:
        order = np.argsort([_size_of(payloads[i]) for i in positions], kind="stable")
        rows = [
            engine.run(prepare([payloads[positions[i]] for i in order[at : at + BATCH]]))["embedding"]
            for at in range(0, len(order), BATCH)
        ]
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return np.asarray(np.concatenate(rows)[back], dtype=np.float32)

    return compute


def _decoded(store: Store, modality: Modality, items: Sequence[Item]) -> list[Payload]:
    contents = store.blobs.get_many([item.blob for item in items])
    return [modality.decode(data, store.config.data) for data in contents]


def _size_of(payload: Payload) -> int:
    return len(payload) if isinstance(payload, str) else int(payload.shape[0] * payload.shape[1])


def _lacking(positions: Sequence[int]) -> np.ndarray:
    """What the cache calls for rows it lacks, where it should lack none."""
    raise LookupError(f"{len(positions)} rows")
