"""Texts over HTTP, from a bundle of a real rung: learnt vectors, appended head, engine chosen on the items."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from passmuster.cli.app import app
from passmuster.core.budget import Deadline
from passmuster.core.clock import now
from passmuster.core.config import Config, ProjectConfig, TrainConfig
from passmuster.core.config_file import render_config
from passmuster.core.records import Bundle, Release
from passmuster.learn.checkpoint import FileCheckpoint
from passmuster.learn.graph import append_head
from passmuster.modality.base import FitView
from passmuster.modality.find import modalities
from passmuster.runtime.bundle import encoder_key, write_bundle
from passmuster.runtime.engine import Engine, choose_engine
from passmuster.runtime.guard import fit_guard
from passmuster.store.releases import add_bundle, add_release
from passmuster.store.store import Store
from serving_case import kept, point, serving, sign

TOPICS = {"bank": "card lost stolen bank pin cash", "tea": "tea green cup leaf brew water"}
CLASSES = tuple(TOPICS)
MESSY = "  Größe: ÄÖÜ \u200b😀\n\ttea — CUP leaf  "


def texts(n: int) -> list[str]:
    rng = random.Random(0)
    return [" ".join(rng.choices(TOPICS[CLASSES[i % 2]].split(), k=5)) + f" {i}!" for i in range(n)]


def text_project(folder: Path) -> Store:
    """A project whose live release was learnt from `texts`, the way training goes about it."""
    (folder / "muster.toml").write_text(render_config(Config(project=ProjectConfig(name="mail"))))
    store = Store.create(folder)
    pool, text = texts(300), modalities["text"]
    rung = text.rungs["static.v1"]
    view = FitView(pool, np.full(len(pool), -1), 2, TrainConfig())
    encoder = rung.fit(view, Deadline.after(60), FileCheckpoint(folder / "run"), np.random.default_rng(0))
    exported = rung.export(encoder)
    for name, data in exported.assets.items():
        (folder / "run" / name).write_bytes(data)
    prepare = text.preparer(exported.preprocess, folder / "run")
    feeds = [prepare(pool[i : i + 50]) for i in range(0, 300, 50)]
    graph, engine, _ = choose_engine(exported.onnx, feeds, min_neighbour_agreement=0.95, threads=1, seconds=0.2)
    x = np.concatenate([Engine(graph, engine, threads=1).run(feed)["embedding"] for feed in feeds])
    means = np.stack([x[0::2].mean(axis=0), x[1::2].mean(axis=0)])
    weight, bias = 20 * means.T, -10 * (means**2).sum(axis=1)
    logits = x @ weight + bias
    guard = fit_guard(
        fit_embeddings=x[:200], fit_logits=logits[:200], held_embeddings=x[200:], held_logits=logits[200:],
        oof_logits=logits, oof_labels=np.arange(300) % 2, policy=store.config.policy.guard,
    )  # fmt: skip
    digest, path = write_bundle(
        store.bundles_folder, modality="text", classes=CLASSES, snapshot="5" * 64, run="run", rung="static.v1",
        head={"kind": "means.v1"}, engine=engine, encoder_key=encoder_key(graph, engine, exported.preprocess, {}),
        graph=append_head(graph, weight.astype(np.float32), bias.astype(np.float32)), preprocess=exported.preprocess,
        assets=dict(exported.assets), guard=guard, reference={}, policy_toml=render_config(store.config),
    )  # fmt: skip
    sign(store, path)
    new = Release("t1", digest, "SHIP", f".muster/bundles/{path.name}", now())
    with store.act("release.sign") as act:
        add_bundle(act.db, Bundle(digest, "5" * 64, "run", new.path, now()))
        add_release(act.db, new)
    point(store, "live", new)
    return store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return text_project(tmp_path_factory.mktemp("mail"))


@pytest.fixture(scope="module")
def client(store: Store) -> Iterator[httpx.Client]:
    with serving(store) as server, server.client() as made:
        yield made


def infer(client: httpx.Client, **tensor: Any) -> dict[str, Any]:
    whole = {"name": "text", "shape": [2], "datatype": "BYTES", "data": ["tea cup", "lost card"], **tensor}
    answer = client.post("/v2/models/mail/infer", json={"inputs": [whole]})
    return {"status": answer.status_code, **answer.json()}


def test_texts_are_answered_and_kept_as_they_came(client: httpx.Client, store: Store) -> None:
    items = ["my card was stolen at the bank", "a cup of green tea", MESSY]
    found = client.post("/v1/predict", json={"items": items}).json()["predictions"]
    assert [a["label"] for a in found] == ["bank", "tea", "tea"]
    records = kept(store)
    assert [records[a["id"]].input for a in found] == [modalities["text"].encode(item) for item in items]


def test_a_text_answers_the_same_alone_and_in_company(client: httpx.Client) -> None:
    items = texts(40)
    together = client.post("/v1/predict", json={"items": items}).json()["predictions"]
    alone = [client.post("/v1/predict", json={"item": item}).json() for item in items[:5]]
    for a, b in zip(alone, together, strict=False):
        assert a["probability"] == pytest.approx(b["probability"], abs=1e-3)


def test_strange_words_are_novel(client: httpx.Client) -> None:
    body = client.post("/v1/predict", json={"item": "zzgl qwrt xxvb pplk mmnt"}).json()
    assert body["reasons"] == ["novel"]


def test_bytes_tensors_of_text(client: httpx.Client) -> None:
    model = client.get("/v2/models/mail").json()
    assert model["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert model["parameters"]["classes"] == list(CLASSES)
    for tensor in ({}, {"shape": [2, 1], "data": [["tea cup"], ["lost card"]]}):
        outputs = {o["name"]: o["data"] for o in infer(client, **tensor)["outputs"]}
        assert outputs["label"] == ["tea", "bank"]


@pytest.mark.parametrize(
    ("tensor", "code"),
    [
        ({"datatype": "UINT8", "data": [1, 2]}, "tensor.datatype"),
        ({"shape": [2, 2], "data": ["a", "b", "c", "d"]}, "tensor.shape"),
        ({"data": ["one"]}, "tensor.data"),
        ({"data": ["one", 2]}, ""),
        ({"data": ["one", None]}, ""),
    ],
)
def test_tensors_that_are_no_texts(client: httpx.Client, tensor: dict[str, Any], code: str) -> None:
    found = infer(client, **tensor)
    assert found["status"] == 422
    assert code in ("", found["code"])


@pytest.mark.parametrize("item", [7, None, ["a"], {"text": "a"}, "x" * 2_000_000, "a\u0000b", ""])
def test_what_is_no_text_is_refused(client: httpx.Client, item: object) -> None:
    answer = client.post("/v1/predict", json={"item": item})
    assert answer.status_code == 422
    assert answer.json()["error"]["code"].startswith("item.")


def test_predict_reads_arguments_files_and_lines(store: Store, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("somebody stole my bank card")
    words = ["--json", "-C", str(store.folder), "predict", "a cup of tea", str(tmp_path / "letter.txt"), "-"]
    done = CliRunner().invoke(app, words, input="green leaf\n\nlost pin\n")
    found = json.loads(done.stdout)["data"]["predictions"]
    assert [(a["item"], a["label"]) for a in found] == [
        ("a cup of tea", "tea"),
        (str(tmp_path / "letter.txt"), "bank"),
        ("green leaf", "tea"),
        ("lost pin", "bank"),
    ]
    assert done.exit_code == 0
    long = CliRunner().invoke(app, ["--json", "-C", str(store.folder), "predict", "tea cup " * 1_000])
    assert json.loads(long.stdout)["data"]["predictions"][0]["label"] == "tea"


def test_half_a_character_is_no_json(client: httpx.Client) -> None:
    answer = client.post("/v1/predict", content=b'{"item": "\\ud800"}')
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "request.json"
