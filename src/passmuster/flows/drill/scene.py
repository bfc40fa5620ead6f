"""Where faults are planted: the copied project, the healthy bundle taken apart, and what its encoder makes of the pool.

Planting reads no test item and no test label; only faults of the evidence touch them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from passmuster.core.clock import now
from passmuster.core.records import Bundle, Item, Payload
from passmuster.flows.drill.base import NotHereError, Parts
from passmuster.flows.drill.bought import N_POOL_BOUGHT, is_bought
from passmuster.flows.drill.memo import Memo, name_of
from passmuster.runtime.bundle import ENDPOINT, PAYLOAD_FILES, LoadedBundle, encoder_key, open_bundle, write_bundle
from passmuster.runtime.endpoint import NO_ANSWER
from passmuster.runtime.guard import novelty_of
from passmuster.runtime.predictor import Predictor
from passmuster.store.items import read_items
from passmuster.store.releases import add_bundle
from passmuster.store.seal import training_view
from passmuster.store.snapshots import read_snapshot
from passmuster.store.store import Store

N_POOL = 1_000  # training items that say what the encoder makes of this kind of data
QUIET_SHARE = 0.005  # of all items that a fault in a slice touches: half a point of the headline
FEWEST_TOUCHED = 20  # test items that it touches at least: what fewer show, nobody could tell from chance


@dataclass(frozen=True)
class Pool:
    """Training items as the healthy bundle sees them. `labels` (n,) are theirs, or else its own answers."""

    items: tuple[Item, ...]
    payloads: tuple[Payload, ...]
    embeddings: np.ndarray  # (n, d)
    logits: np.ndarray  # (n, k)
    labels: np.ndarray  # (n,) class numbers


@dataclass
class Scene:
    """A copied project (`store`) with the healthy `bundle` live, for one fault after the other."""

    store: Store
    bundle: Bundle
    healthy: LoadedBundle
    parts: Parts
    memo: Memo
    n_test: int
    seed: int = 0
    predictor: Predictor = field(init=False)

    def __post_init__(self) -> None:
        self.predictor = self.memo.open(self.healthy)

    @property
    def rng(self) -> np.random.Generator:
        """A generator that begins anew, so that a fault is the same whichever came before it."""
        return np.random.default_rng(self.seed)

    @property
    def share(self) -> float:
        """Of all items, how many a fault in a slice touches."""
        return min(1.0, max(QUIET_SHARE, FEWEST_TOUCHED / max(1, self.n_test)))

    @cached_property
    def pool(self) -> Pool:
        """Some of the training items, those with a label first.

        Raises
        ------
        NotHereError
            Where the project has no training items.
        """
        with self.store.read() as db:
            snapshot = read_snapshot(db, self.bundle.snapshot or "")
        view = training_view(self.store, snapshot)
        number = {name: i for i, name in enumerate(self.parts.classes)}
        labelled = [i for i in view.pool if i.key in view.labels and view.labels[i.key].label in number]
        others = [i for i in view.pool if i.key not in view.labels]
        order = self.rng.permutation(len(labelled)), self.rng.permutation(len(others))
        most = N_POOL_BOUGHT if is_bought(self.healthy) else N_POOL
        chosen = [labelled[int(i)] for i in order[0][:most]]
        chosen += [others[int(i)] for i in order[1][: most - len(chosen)]]
        if len(chosen) < 2:
            raise NotHereError("the project has no training items")
        payloads = self.read(chosen)
        embeddings, logits = self.predictor.embed(payloads)
        answers = logits.argmax(axis=1)
        labels = [number[view.labels[i.key].label] if i.key in view.labels else int(a) for i, a in zip(chosen, answers)]
        return Pool(tuple(chosen), tuple(payloads), embeddings, logits, np.array(labels, dtype=np.int64))

    def read(self, items: Sequence[Item]) -> list[Payload]:
        """The items, decoded."""
        contents = self.store.blobs.get_many([item.blob for item in items])
        return [self.predictor.modality.decode(data, self.store.config.data) for data in contents]

    def remember(self, project: Store) -> None:
        """Take what the project's own cache knows of the pool's embeddings."""
        key = self.healthy.manifest.encoder_key
        if not self.bundle.snapshot or not (project.root / "embeddings" / key / "rows.db").is_file():
            return
        with self.store.read() as db:
            view = training_view(self.store, read_snapshot(db, self.bundle.snapshot))
        items = [*(i for i in view.pool if i.key in view.labels), *view.pool][: 2 * N_POOL]
        found, rows = project.embeddings(key).cached([item.blob for item in items])
        payloads = self.read([items[int(i)] for i in found])
        self.memo.rows |= {name_of(payload): row for payload, row in zip(payloads, rows, strict=True)}

    def write(self, parts: Parts, name: str, *, taught: bool) -> Bundle:
        """Write a bundle as an honest builder would, and tell the catalog; `name` keeps its digest its own.

        Where the fault was `taught`, the trained model has it too: its answers are written beside the run anew, and it
        has learnt from the latest data.
        """
        manifest = self.healthy.manifest
        run = f"drill-{name}" if taught else self.bundle.run
        snapshot = self.bundle.snapshot
        if taught and snapshot:
            with self.store.read() as db:
                latest = read_snapshot(db)
            snapshot = latest.digest if latest.parent == snapshot or latest.digest == snapshot else snapshot
        digest, path = write_bundle(
            self.store.bundles_folder, modality=manifest.modality, classes=parts.classes,
            snapshot=snapshot, run=run, rung=manifest.rung, head={**parts.head, "drill": name}, engine=parts.engine,
            encoder_key=encoder_key(parts.graph, parts.engine, parts.preprocess, parts.assets)
            if manifest.encoder_key else "", graph=parts.graph,
            preprocess=parts.preprocess, assets=parts.assets, guard=parts.guard, reference=parts.reference,
            policy_toml=parts.policy_toml,
        )  # fmt: skip
        bundle = Bundle(digest, snapshot, run, f".muster/bundles/{path.name}", now(), self.bundle.origin)
        with self.store.act("train.done") as act:
            add_bundle(act.db, bundle)
        if taught:
            self._write_parity(bundle)
        return bundle

    def _write_parity(self, bundle: Bundle) -> None:
        source = self.store.runs_folder / self.bundle.run / "parity.npz"
        if not self.bundle.run or not source.is_file():
            return
        with np.load(source, allow_pickle=False) as kept:
            keys = [str(key) for key in kept["keys"]]
        with self.store.read() as db:
            items = read_items(db, keys=keys)
        faulty = self.memo.open(open_bundle(self.store.bundle_folder(bundle.path)))
        embeddings, logits = faulty.embed(self.read(items))
        folder = self.store.runs_folder / bundle.run
        folder.mkdir(parents=True, exist_ok=True)
        held, classes = np.array([item.key for item in items]), np.array(faulty.classes, dtype=np.str_)
        np.savez(
            folder / "parity.npz", allow_pickle=False, keys=held, logits=logits, classes=classes, served=logits,
            novelty=novelty_of(faulty.bundle.guard, embeddings, logits),
            novelty_threshold=faulty.bundle.guard["novelty_threshold"],
        )  # fmt: skip

    def drop(self, bundle: Bundle) -> None:
        """Remove a bundle's folder: it may be large."""
        import shutil

        shutil.rmtree(self.store.bundle_folder(bundle.path), ignore_errors=True)


def take_apart(bundle: LoadedBundle) -> Parts:
    """The parts of a bundle."""
    assets = {n: read(bundle.path, n) for n in bundle.manifest.files if n not in (ENDPOINT, *PAYLOAD_FILES)}
    return Parts(
        classes=bundle.manifest.classes, graph=bundle.graph, preprocess=bundle.preprocess, assets=assets,
        head=bundle.head, guard=bundle.guard, reference=bundle.reference,
        policy_toml=read(bundle.path, "policy.toml").decode(), engine=bundle.manifest.engine,
    )  # fmt: skip


def read(folder: Path, name: str) -> bytes:
    """A file of a bundle."""
    return (folder / name).read_bytes()


def steps_of(parts: Parts) -> list[dict[str, object]]:
    """The preprocessing steps, copied."""
    return [dict(step) for step in parts.preprocess["steps"]]


def with_steps(parts: Parts, steps: Sequence[Mapping[str, object]]) -> Parts:
    """The same bundle with other preprocessing."""
    return parts.with_(preprocess={**parts.preprocess, "steps": [dict(step) for step in steps]})


def rarest_named(scene: Scene) -> list[int]:
    """Class numbers, the rarest first, without what an endpoint's answers of no class are called."""
    names = scene.parts.classes
    return [c for c in rarest_first(scene.pool, len(names)) if names[c] != NO_ANSWER]


def rarest_first(pool: Pool, n_classes: int) -> list[int]:
    """Class numbers, those with fewest items of the pool first."""
    counts = np.bincount(pool.labels, minlength=n_classes)
    return [int(c) for c in np.argsort(counts, kind="stable")]
