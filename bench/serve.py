"""How many requests a server answers in a second, and how long one waits, beside what the engine could do alone.

One process serves (`muster serve`: HTTP, batching, guard, every answer committed to disk before it is given); this one
asks over kept-alive loopback connections, one request after the other on each, and shares the machine's cores with it.
The peer of each claim is the predictor alone on the same items in batches of that size: no HTTP, no disk. Rounds
alternate.

    python bench/serve.py [--quick] [--json FILE]
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from harness import Report, parse
from passmuster.core.clock import now
from passmuster.core.config import Config, ProjectConfig
from passmuster.core.config_file import render_config
from passmuster.core.digests import file_sha256_hex
from passmuster.core.records import Bundle, Release
from passmuster.runtime.bundle import open_bundle, write_bundle
from passmuster.runtime.engine import Engine, EngineChoice
from passmuster.runtime.guard import fit_guard
from passmuster.runtime.predictor import Predictor
from passmuster.runtime.signature import SIGNATURE
from passmuster.store import dsse
from passmuster.store.releases import add_bundle, add_release, point_channel
from passmuster.store.store import Store

SIDE, WIDTHS, N_CLASSES = 28, (512, 128), 10
CONCURRENCY = (1, 16, 64)


def main() -> None:
    """Measure, and leave the claims."""
    arguments = parse(str(__doc__).splitlines()[0])
    report = Report("serve", arguments)
    rng = np.random.default_rng(arguments.seed)
    seconds, n_rounds = (1.0, 2) if arguments.quick else (5.0, 5)
    with tempfile.TemporaryDirectory() as folder:
        store = make_project(Path(folder), rng)
        items = [rng.integers(0, 256, (SIDE, SIDE, 1)).astype(np.uint8) for _ in range(256)]
        predictor = Predictor(open_bundle(next(p for p in store.bundles_folder.iterdir() if p.is_dir())))
        found: dict[int, list[tuple[float, float, float, float]]] = {n: [] for n in CONCURRENCY}
        with serving(store) as url:
            asyncio.run(ask(url, items, 16, 0.5))  # both sides warm
            for _ in range(n_rounds):
                for n in CONCURRENCY:
                    waits, took = asyncio.run(ask(url, items, n, seconds))
                    alone = engine_alone(predictor, items, n, seconds / 4)
                    p50, p99 = np.percentile(waits, [50, 99]) * 1000
                    found[n].append((len(waits) / took, float(p50), float(p99), alone))
                    report.run(concurrency=n, requests_per_s=found[n][-1][0], p50_ms=p50, p99_ms=p99, alone=alone)
    for n, rows in found.items():
        per_s, p50, p99, alone = (np.array(column) for column in zip(*rows, strict=True))
        name, peer = f"small_image.concurrency_{n}", {"predictor_alone_items_per_s": round(float(np.median(alone)), 1)}
        for quantity, values, unit in (("requests_per_s", per_s, "1/s"), ("p50_ms", p50, "ms"), ("p99_ms", p99, "ms")):
            low, high = float(values.min()), float(values.max())
            report.claim(f"{name}.{quantity}", float(np.median(values)), unit, low=low, high=high, peer=peer)
    report.write()


def engine_alone(predictor: Predictor, items: list[np.ndarray], batch: int, seconds: float) -> float:
    """Items per second of the predictor, guard included, in batches of this size."""
    n, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        predictor.predict(items[:batch])
        n += batch
    return n / (time.perf_counter() - start)


async def ask(url: str, items: list[np.ndarray], n_callers: int, seconds: float) -> tuple[list[float], float]:
    """Seconds that each request waited, and the seconds it all took."""
    parts = urlsplit(url)
    requests = [http_request(item) for item in items]
    waits: list[float] = []
    start = time.perf_counter()

    async def caller(first: int) -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        position = first
        while time.perf_counter() - start < seconds:
            began = time.perf_counter()
            writer.write(requests[position % len(requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"the server answered {head[:80]!r}")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            waits.append(time.perf_counter() - began)
            position += n_callers
        writer.close()

    await asyncio.gather(*(caller(i) for i in range(n_callers)))
    return waits, time.perf_counter() - start


def http_request(item: np.ndarray) -> bytes:
    """`POST /v1/predict` with the item as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(item[:, :, 0]).save(buffer, "PNG")
    body = json.dumps({"item": base64.b64encode(buffer.getvalue()).decode()}).encode()
    return b"POST /v1/predict HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


@contextlib.contextmanager
def serving(store: Store) -> Iterator[str]:
    """`muster serve` on a free port; its URL."""
    command = [sys.executable, "-m", "passmuster", "-C", str(store.folder), "--json", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit("the server did not start")
        try:
            yield json.loads(line)["data"]["url"]
        finally:
            process.terminate()


def make_project(folder: Path, rng: np.random.Generator) -> Store:
    """A project whose live release is a small network over 28 × 28 pixels with random weights."""
    config = Config(project=ProjectConfig(name="bench", modality="image"))
    (folder / "muster.toml").write_text(render_config(config))
    store = Store.create(folder)
    graph = network(rng)
    pixels = rng.random((400, 1, SIDE, SIDE)).astype(np.float32)
    out = Engine(graph).run({"pixels": pixels})
    embeddings, logits = out["embedding"], out["logits"]
    guard = fit_guard(
        fit_embeddings=embeddings[:200], fit_logits=logits[:200], held_embeddings=embeddings[200:],
        held_logits=logits[200:], oof_logits=logits, oof_labels=logits.argmax(axis=1), policy=config.policy.guard,
    )  # fmt: skip
    steps = [{"op": "to_mode.v1", "channels": 1}, {"op": "resize.v1", "size": SIDE}, {"op": "stack.v1"}]
    digest, path = write_bundle(
        store.bundles_folder, modality="image", classes=tuple(map(str, range(N_CLASSES))), snapshot="", run="bench",
        rung="random.v1", head={"kind": "random.v1"}, engine=EngineChoice(), encoder_key="", graph=graph,
        preprocess={"schema": 1, "modality": "image", "steps": steps}, assets={}, guard=guard, reference={},
        policy_toml=render_config(config),
    )  # fmt: skip
    files = {p.relative_to(path).as_posix(): file_sha256_hex(p) for p in path.rglob("*") if p.is_file()}
    (path / SIGNATURE).write_text(dsse.make_statement(store.keys_folder, files, "urn:passmuster:bench", {}))
    bundle = Bundle(digest, "", "bench", f".muster/bundles/{path.name}", now())
    release = Release("bench", digest, "SHIP", bundle.path, now())
    with store.act("bench.release") as act:
        add_bundle(act.db, bundle)
        add_release(act.db, release)
        point_channel(act, "live", release)
    return store


def network(rng: np.random.Generator) -> bytes:
    """pixels (n, 1, 28, 28) through two layers to an embedding (n, 128) and logits (n, 10)."""
    from onnx import TensorProto, helper, numpy_helper

    shapes = list(zip((SIDE * SIDE, *WIDTHS), (*WIDTHS, N_CLASSES), strict=True))
    weights = [rng.normal(0, 1 / np.sqrt(a), (a, b)).astype(np.float32) for a, b in shapes]
    nodes = [
        helper.make_node("Flatten", ["pixels"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "w0"], ["p0"]),
        helper.make_node("Relu", ["p0"], ["h0"]),
        helper.make_node("MatMul", ["h0", "w1"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "w2"], ["logits"]),
    ]
    tensor = helper.make_tensor_value_info
    made = helper.make_graph(
        nodes,
        "small",
        [tensor("pixels", TensorProto.FLOAT, ["n", 1, SIDE, SIDE])],
        [
            tensor("embedding", TensorProto.FLOAT, ["n", WIDTHS[-1]]),
            tensor("logits", TensorProto.FLOAT, ["n", N_CLASSES]),
        ],
        [numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


if __name__ == "__main__":
    main()
