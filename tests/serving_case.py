"""A project with a small signed image release, made by hand, and a server process over it."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import multiprocessing
import multiprocessing.process
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from passmuster.core.clock import now
from passmuster.core.config import Config, GuardPolicy, Policy
from passmuster.core.config_file import render_config
from passmuster.core.digests import file_sha256_hex
from passmuster.core.records import Bundle, Release
from passmuster.runtime.bundle import write_bundle
from passmuster.runtime.endpoint import Asking, write_asking
from passmuster.runtime.engine import HTTP, EngineChoice
from passmuster.runtime.guard import fit_guard
from passmuster.runtime.signature import SIGNATURE
from passmuster.stages.importing.endpoint_stage import STEPS
from passmuster.store import dsse
from passmuster.store.releases import add_bundle, add_release, point_channel
from passmuster.store.store import Store
from passmuster.store.traffic_reader import TrafficReader

CLASSES = ("dark", "light")
PREPROCESS = {
    "schema": 1,
    "modality": "image",
    "steps": [{"op": "to_mode.v1", "channels": 1}, {"op": "resize.v1", "size": 8}, {"op": "stack.v1"}],
}
_SERVER_MODULES = (
    "passmuster.stages.serve.server", "passmuster.modality.image.modality", "onnxruntime", "uvloop", "httptools",
    "uvicorn.protocols.http.httptools_impl",
)  # fmt: skip
# Features of a grey 8×8 image: brightness, how much lighter the left and the top half are, and a constant.
_LEFT = np.where(np.arange(64) % 8 < 4, 1.0, -1.0) / 64
_TOP = np.where(np.arange(64) < 32, 1.0, -1.0) / 64
WEIGHT = np.stack([np.full(64, 1 / 64), _LEFT, _TOP, np.zeros(64)], axis=1).astype(np.float32)  # (64, 4)
OFFSET = np.array([0, 0, 0, 0.2], dtype=np.float32)


def graph(scale: float = 20.0) -> bytes:
    """pixels (n, 1, 8, 8) to embedding (n, 4) and logits (n, 2); a negative `scale` swaps the classes."""
    head = np.zeros((4, 2), dtype=np.float32)
    head[0] = [-scale, scale]
    bias = np.array([scale / 2, -scale / 2], dtype=np.float32)
    weights = {"w": WEIGHT, "b": OFFSET, "hw": head, "hb": bias}
    nodes = [
        helper.make_node("Flatten", ["pixels"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "w", "b"], ["embedding"]),
        helper.make_node("Gemm", ["embedding", "hw", "hb"], ["logits"]),
    ]
    made = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 1, 8, 8])],
        [
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 4]),
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2]),
        ],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def picture(brightness: float, rng: np.random.Generator) -> np.ndarray:
    """A grey 8×8 image, (8, 8, 1) uint8, of a mean brightness in [0, 1]."""
    return np.clip(rng.normal(255 * brightness, 12, (8, 8, 1)), 0, 255).astype(np.uint8)


def pictures(n: int, seed: int = 0) -> list[np.ndarray]:
    """Dark ones and light ones in turn."""
    rng = np.random.default_rng(seed)
    return [picture(0.25 + 0.5 * (i % 2), rng) for i in range(n)]


def strange() -> np.ndarray:
    """A picture unlike those of `pictures`: one half black, one half white."""
    pixels = np.zeros((8, 8, 1), np.uint8)
    pixels[:, :4] = 255
    return pixels


def features(images: list[np.ndarray], scale: float = 20.0) -> tuple[np.ndarray, np.ndarray]:
    """What the graph gives for 8×8 images, computed here."""
    flat = np.stack([i.reshape(64) for i in images]).astype(np.float32) / 255
    embeddings = flat @ WEIGHT + OFFSET
    light = scale * embeddings[:, 0] - scale / 2
    return embeddings, np.stack([-light, light], axis=1)


def write(parent: Path, *, scale: float = 20.0, policy: Policy = Policy(), run: str = "run-1", note: str = "") -> Path:
    """A whole unsigned bundle; `note` makes one of another digest that answers the same."""
    embeddings, logits = features(pictures(200), scale)
    guard = fit_guard(
        fit_embeddings=embeddings[:100],
        fit_logits=logits[:100],
        held_embeddings=embeddings[100:],
        held_logits=logits[100:],
        oof_logits=logits,
        oof_labels=np.arange(200) % 2,
        policy=policy.guard,
    )
    _, path = write_bundle(
        parent,
        modality="image",
        classes=CLASSES,
        snapshot="5" * 64,
        run=run,
        rung="tiny.v1",
        head={"kind": "logistic.v1", "note": note},
        engine=EngineChoice(),
        encoder_key="0" * 32,
        graph=graph(scale),
        preprocess=PREPROCESS,
        assets={},
        guard=guard,
        reference={"n": 100},
        policy_toml=render_config(Config(policy=policy)),
    )
    return path


def sign(store: Store, path: Path) -> None:
    """Sign every file of a bundle."""
    files = [p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file() and p.name != SIGNATURE]
    subjects = {name: file_sha256_hex(path / name) for name in files}
    (path / SIGNATURE).write_text(dsse.make_statement(store.keys_folder, subjects, "urn:test", {}))


def write_endpoint(parent: Path, asking: Asking) -> Path:
    """A whole unsigned bundle that asks an endpoint of pictures, two classes and none; it is not asked for this."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (200, 3)).astype(np.float32)
    embeddings = logits - logits.mean(axis=1, keepdims=True)
    policy = Policy()
    guard = fit_guard(
        fit_embeddings=embeddings[:100], fit_logits=logits[:100], held_embeddings=embeddings[100:],
        held_logits=logits[100:], oof_logits=logits, oof_labels=np.arange(200) % 2, policy=policy.guard,
    )  # fmt: skip
    _, path = write_bundle(
        parent, modality="image", classes=asking.classes, snapshot="5" * 64, run="run-1", rung="endpoint",
        head={"kind": "endpoint"}, engine=EngineChoice(HTTP), encoder_key="", graph=write_asking(asking),
        preprocess=STEPS, assets={}, guard=guard, reference={"n": 100},
        policy_toml=render_config(Config(policy=policy)),
    )  # fmt: skip
    return path


def release(store: Store, name: str, *, signed: bool = True, path: Path | None = None, **made: Any) -> Release:
    """A release `name` of a new bundle, or of the one at `path`."""
    path = path or write(store.bundles_folder, note=name, **made)
    if signed:
        sign(store, path)
    from passmuster.runtime.bundle import payload_digest

    digest = payload_digest(path)
    bundle = Bundle(digest, "5" * 64, "run-1", f".muster/bundles/{path.name}", now())
    new = Release(name, digest, "SHIP", bundle.path, now())
    with store.act("release.sign") as act:
        add_bundle(act.db, bundle)
        add_release(act.db, new)
        signature = file_sha256_hex(path / SIGNATURE) if signed else ""
        act.payload.update(release=name, bundle=digest, verdict="SHIP", signature=signature)
    return new


def point(store: Store, channel: str, to: Release | None, **how: Any) -> None:
    """Move a channel."""
    with store.act("channel.move") as act:
        point_channel(act, channel, to, **how)


def project(new_store: Any, *, guard: GuardPolicy = GuardPolicy(), **serve: Any) -> Store:
    """An image project whose live channel points at release r1."""
    config = Config()
    config = replace(config, serve=replace(config.serve, threads=1, **serve))
    store = new_store("image", config)
    point(store, "live", release(store, "r1", policy=Policy(guard=guard)))
    return store


def png(pixels: np.ndarray) -> str:
    """Base64 of the image as PNG: what a request holds."""
    buffer = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@dataclass
class Server:
    """A server process: one of its own, or one forked from a process that has the imports behind it."""

    process: subprocess.Popen[str] | multiprocessing.process.BaseProcess
    url: str
    log: Path
    told: Mapping[str, Any]  # what it said when it was ready

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30, trust_env=False, verify=False, **options)

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        with self.client() as client:
            lines = client.get("/metrics").text.splitlines()
        found = [float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name]
        return sum(found)

    def stop(self) -> int:
        """Ask it to end, and wait; its exit code."""
        self.process.terminate()
        return self.wait()

    def wait(self, limit_s: float = 30) -> int:
        """Wait for its end; its exit code."""
        if isinstance(self.process, subprocess.Popen):
            return self.process.wait(limit_s)
        self.process.join(limit_s)
        assert self.process.exitcode is not None, f"still running after {limit_s} s"
        return self.process.exitcode


@contextlib.contextmanager
def serving(store: Store, *words: str, preexec: Any = None) -> Iterator[Server]:
    """`muster serve --port 0` in a process of its own, until the block ends."""
    log = store.folder / "serve.log"
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "passmuster", *_words(store, words)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            preexec_fn=preexec,
        )
    assert process.stdout is not None
    try:
        yield _started(process, process.stdout.readline(), log)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextlib.contextmanager
def forked(store: Store, *words: str) -> Iterator[Server]:
    """The same command, forked from a process that has imported everything: a tenth of the price."""
    log = store.folder / "serve.log"
    log.touch()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", "serving_case", "passmuster.cli.app", *_SERVER_MODULES])
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=run_command, args=(_words(store, words), str(log), writer))
    process.start()
    writer.close()
    try:
        with open(reader.fileno(), closefd=False) as stdout:
            yield _started(process, stdout.readline(), log)
    finally:
        process.kill()
        process.join()
        process.close()
        reader.close()


def run_command(words: list[str], log: str, stdout: Connection) -> None:
    """Be `muster WORDS` in this forked process."""
    from passmuster.cli.app import main

    os.dup2(stdout.fileno(), 1)
    os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND), 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    sys.argv = ["muster", *words]
    main()


def _words(store: Store, words: tuple[str, ...]) -> list[str]:
    return ["--json", "-C", str(store.folder), "serve", "--port", "0", *words]


def _started(process: Any, line: str, log: Path) -> Server:
    assert line, f"the server did not start: {log.read_text()}"
    told = json.loads(line)["data"]
    return Server(process, told["url"], log, told)


def kept(store: Store) -> dict[str, Any]:
    """Every prediction on disk, by id."""
    records, cursor = [], ""
    while True:
        new, cursor = TrafficReader(store.traffic_folder).read(cursor, 500, inputs=True)
        if not new:
            return {r.id: r for r in records if hasattr(r, "id")}
        records += new


def maker(folder: Path) -> Any:
    """What the fixture `new_store` gives, for a server that several tests share."""

    def make(modality: str, config: Config) -> Store:
        config = replace(config, project=replace(config.project, modality=modality))
        (folder / "muster.toml").write_text(render_config(config))
        return Store.create(folder)

    return make
