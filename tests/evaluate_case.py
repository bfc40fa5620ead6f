"""A project that is ready for evaluation, made of real digits: a sealed test, labels, bundles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from passmuster.core.clock import now
from passmuster.core.config import Config
from passmuster.core.config_file import render_config
from passmuster.core.digests import canonical_json, sha256_hex
from passmuster.core.records import Bundle, Finding, Item, Label, Release, Snapshot
from passmuster.learn.graph import append_head
from passmuster.modality.find import modalities
from passmuster.runtime.bundle import write_bundle
from passmuster.runtime.engine import EngineChoice
from passmuster.runtime.guard import fit_guard, novelty_of
from passmuster.store.items import add_items, add_labels
from passmuster.store.releases import add_bundle, add_release, point_channel
from passmuster.store.snapshots import add_findings, add_snapshot, commit_items
from passmuster.store.store import Store

N_TRAIN, N_REFERENCE, N_TEST = 300, 100, 200


@dataclass
class Digits:
    """A project of digits. `items` by split, with what each shows; `pixels` are rows of 64 numbers in [0, 1]."""

    store: Store
    snapshot: Snapshot
    items: dict[str, list[Item]]
    shown: dict[str, np.ndarray]
    pixels: dict[str, np.ndarray] = field(default_factory=dict)


def image_store(folder: Path) -> Store:
    config = Config()
    config = replace(config, project=replace(config.project, modality="image", name="Digits & <friends>"))
    folder.mkdir(exist_ok=True)
    (folder / "muster.toml").write_text(render_config(config))
    return Store.create(folder)


def make_digits(
    store: Store,
    *,
    n_labelled: int = N_TEST,
    n_twins: int = 0,
    weights: Sequence[float] = (),
    only: str = "",
    names: Sequence[str] = "0123456789",
) -> Digits:
    """Items in all splits; the first `n_labelled` test items labelled (those that show `only`, if given).

    `names` are the classes of the ten digits. `n_twins` test items are copies of training items, with the finding that
    says so.
    """
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))[: N_TRAIN + N_REFERENCE + N_TEST]
    images, shown = np.uint8(data.images[order] * 255 / 16)[..., None], np.array(list(names))[data.target[order]]
    images[N_TRAIN + N_REFERENCE :][:n_twins] = images[:n_twins]
    shown[N_TRAIN + N_REFERENCE :][:n_twins] = shown[:n_twins]
    parts = ["train"] * N_TRAIN + ["reference"] * N_REFERENCE + ["test"] * N_TEST
    encode = modalities["image"].encode
    blobs = store.blobs.put_many(encode(image) for image in images)
    items = [
        Item(store.keyed(f"{i}".encode()), f"{part}/{i}.png", store.keyed(blob.encode()), blob, 99, "made")
        for i, (part, blob) in enumerate(zip(parts, blobs))
    ]
    root, rows = commit_items(list(zip(items, parts, [""] * len(items))))  # type: ignore[arg-type]
    snapshot = Snapshot(
        digest=sha256_hex(canonical_json(root)), parent="", created=now(), modality="image",
        classes=tuple(sorted(names)), n_items={p: parts.count(p) for p in set(parts)}, n_labels={"train": N_TRAIN},
        labels_read=N_TRAIN,
    )  # fmt: skip
    test = range(N_TRAIN + N_REFERENCE, len(items))
    labelled = [i for i in test if not only or shown[i] == only][:n_labelled]
    twins = [items[i].key for pair in zip(range(n_twins), test) for i in pair]
    with store.act("data.add") as act:
        add_items(act.db, items)
        add_labels(act.db, [Label(items[i].key, str(shown[i]), "ana", now(), "train") for i in range(N_TRAIN)])
        add_labels(
            act.db,
            [
                Label(items[i].key, str(shown[i]), "ana", now(), "test", float(weights[place]) if weights else 1.0)
                for place, i in enumerate(labelled)
            ],
        )
        add_snapshot(act.db, snapshot, rows)
        if twins:
            title = f"{n_twins} test items have a copy among the training items"
            add_findings(act.db, snapshot.digest, [Finding("leakage", "blocking", title, tuple(twins))])
    split = {p: [i for i, part in enumerate(parts) if part == p] for p in ("train", "reference", "test")}
    return Digits(
        store,
        snapshot,
        {p: [items[i] for i in at] for p, at in split.items()},
        {p: shown[at] for p, at in split.items()},
        {p: images[at].reshape(-1, 64) / 255 for p, at in split.items()},
    )


def add_model(digits: Digits, *, n_fit: int = N_TRAIN, without: str = "", run: str = "run-1") -> Bundle:
    """A bundle: pixels as embedding, and a logistic head fitted on the first `n_fit` items, but not on `without`."""
    x, y = digits.pixels["train"][:n_fit], digits.shown["train"][:n_fit]
    x, y = x[y != without], y[y != without]
    model = LogisticRegression(C=5.0, max_iter=500).fit(x, y)
    weight, bias = model.coef_.T, model.intercept_
    reference = digits.pixels["reference"]
    guard = fit_guard(
        fit_embeddings=x, fit_logits=x @ weight + bias, held_embeddings=reference,
        held_logits=reference @ weight + bias, oof_logits=x @ weight + bias,
        oof_labels=np.searchsorted(model.classes_, y), policy=digits.store.config.policy.guard,
    )  # fmt: skip
    digest, path = write_bundle(
        digits.store.bundles_folder, modality="image", classes=tuple(model.classes_),
        snapshot=digits.snapshot.digest, run=run, rung="pixels.v1", head={"kind": "logistic.v1"},
        engine=EngineChoice(), encoder_key="0" * 32, graph=append_head(flatten(), weight, bias),
        preprocess={"schema": 1, "modality": "image", "steps": [{"op": "stack.v1"}]}, assets={}, guard=guard,
        reference={"n": N_REFERENCE, "answers_per_class": {str(c): int((y == c).sum()) for c in model.classes_}},
        policy_toml=render_config(digits.store.config),
    )  # fmt: skip
    bundle = Bundle(digest, digits.snapshot.digest, run, f".muster/bundles/{path.name}", now())
    with digits.store.act("train.done") as act:
        add_bundle(act.db, bundle)
    folder = digits.store.runs_folder / run
    folder.mkdir(parents=True, exist_ok=True)
    keys = [item.key for item in digits.items["train"][:50]]
    logits = digits.pixels["train"][:50] @ weight + bias
    np.savez(
        folder / "parity.npz", keys=np.array(keys), logits=logits, classes=np.array(model.classes_), served=logits,
        novelty=novelty_of(guard, digits.pixels["train"][:50], logits), novelty_threshold=guard["novelty_threshold"],
    )  # fmt: skip
    return bundle


def flatten() -> bytes:
    """An encoder graph: eight by eight grey pixels as 64 numbers."""
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Flatten", ["pixels"], ["embedding"])],
        "flatten",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 1, 8, 8])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 64])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    return bytes(model.SerializeToString())


def go_live(store: Store, bundle: Bundle) -> None:
    """Point the live channel at a bundle."""
    release = Release(bundle.digest[:12], bundle.digest, "SHIP", bundle.path, now())
    with store.act("release.approve") as act:
        add_release(act.db, release)
        point_channel(act, "live", release)


def other_name(bundle: Bundle) -> Bundle:
    """The same record under another digest, as after somebody exchanged the folder."""
    return replace(bundle, digest="f" * 64)
