"""The engine that runs a graph, and the choice between engines and precisions by what is measured on the user's items.

Serving runs ONNX Runtime only. Choosing may quantise, which needs the package ``onnx``; it is imported in
`choose_engine`, which training calls, and nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from passmuster.core.errors import IntegrityError, UsageError
from passmuster.core.tables import Table
from passmuster.runtime.speed import MOST_PASSES, items_per_s

HTTP = "http"  # the engine that asks an endpoint
N_NEIGHBOURS = 10
SINGLES_SHARE = 0.2  # of the seconds given


@dataclass(frozen=True)
class EngineChoice:
    """Which engine runs a graph, and at which precision its weights were written into the graph."""

    name: str = "onnxruntime"
    precision: str = "float32"


class Engine:
    """A graph, ready to run.

    Parameters
    ----------
    graph : bytes or Path
        An ONNX model; of the engine ``http``, how an endpoint is asked (`passmuster.runtime.endpoint`).
    choice : EngineChoice
        From the bundle's manifest.
    threads : int
        Threads inside one run; 0 takes all cores.
    optimised : bool
        Whether ONNX Runtime may fuse and rewrite operations; without, it adds up in another order.

    Raises
    ------
    UsageError
        ``engine.unknown``, when this version has no such engine.
    IntegrityError
        ``graph.unreadable``, when the engine cannot load the graph.
    """

    def __init__(
        self,
        graph: bytes | Path,
        choice: EngineChoice = EngineChoice(),
        *,
        threads: int = 0,
        optimised: bool = True,
    ) -> None:
        self.choice = choice
        plain = not optimised and choice.name == "onnxruntime"
        self._run = _load(graph, threads, optimised=False) if plain else engines[choice.name](graph, threads)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Every output of the graph by name, for inputs by name."""
        return self._run(inputs)


# An engine: a graph and a number of threads, to the function that runs it.
Loader = Callable[[bytes | Path, int], Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]]
engines: Table[Loader] = Table("engine")


engines.add_lazy(HTTP, "passmuster.runtime.endpoint_calls:load_http")


@engines.entry("onnxruntime")
def load_onnxruntime(graph: bytes | Path, threads: int) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """ONNX Runtime on the CPU. Threads do not spin while they wait: a small machine's other work needs the cores."""
    return _load(graph, threads, optimised=True)


def _load(
    graph: bytes | Path, threads: int, *, optimised: bool
) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    runtime = _onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.enable_mem_pattern = (
        False  # made for one shape; here every batch has its own, and they took half as much again
    )
    if not optimised:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    model = graph if isinstance(graph, bytes) else str(graph)
    try:
        session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exception classes share no other base
        first = (str(error).splitlines() or [type(error).__name__])[0]
        where = graph if isinstance(graph, Path) else None
        raise IntegrityError("graph.unreadable", f"the engine cannot load the graph: {first}", where=where) from error
    wanted = {entry.name for entry in session.get_inputs()}
    names = [entry.name for entry in session.get_outputs()]

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        feeds = {name: value for name, value in inputs.items() if name in wanted}
        return dict(zip(names, session.run(names, feeds), strict=True))

    return run


@cache
def _onnxruntime() -> Any:
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    onnxruntime.set_default_logger_severity(3)
    return onnxruntime


def choose_engine(
    graph: bytes,
    feeds: Sequence[Mapping[str, np.ndarray]],
    *,
    min_neighbour_agreement: float,
    threads: int = 0,
    seconds: float = 5.0,
    singles: Sequence[Mapping[str, np.ndarray]] = (),
) -> tuple[bytes, EngineChoice, list[dict[str, Any]]]:
    """The fastest way to run an encoder whose embeddings keep their neighbours.

    Candidates are the graph as it is and int8 (dynamic, per channel). Agreement is the share of each item's ten nearest
    neighbours (cosine) that stay. Speeds are the medians of alternating passes over `feeds`, at most `seconds` in all;
    a candidate that is not taken whatever its speed has one pass, and where one is left that is enough for it too.

    Parameters
    ----------
    graph : bytes
        ONNX with an output ``embedding`` (n, d).
    feeds : sequence of mapping
        Prepared batches of the user's own items.
    min_neighbour_agreement : float
        In [0, 1]; a candidate below it is not taken.
    singles : sequence of mapping
        Prepared items, one each, on which ``single_items_per_s`` is measured for a fifth of `seconds`.

    Returns
    -------
    graph, choice, measurements
        One measurement per candidate: ``precision``, ``items_per_s``, ``single_items_per_s``, ``neighbour_agreement``,
        ``cosine`` (mean), ``graph_bytes``, ``taken``, and ``reason`` when it is not.
    """
    candidates = {"float32": graph}
    rows: dict[str, dict[str, Any]] = {"float32": _row("float32", len(graph))}
    quantised, reason = _quantise(graph)
    rows["int8"] = _row("int8", len(quantised), reason)
    if quantised:
        candidates["int8"] = quantised
    loaded = {name: Engine(model, threads=threads) for name, model in candidates.items()}
    for engine in loaded.values():
        _embed(engine, feeds[:1])  # warms up
    embedded, first_s = _embed_all(loaded, feeds)
    for name in candidates:
        agreement, cosine = compare_embeddings(embedded["float32"], embedded[name])
        rows[name].update(neighbour_agreement=agreement, cosine=cosine)
        if name != "float32" and agreement < min_neighbour_agreement:
            rows[name]["reason"] = f"neighbour agreement {agreement:.3f} is below {min_neighbour_agreement}"
    fit = [name for name in candidates if not rows[name]["reason"]]
    for name, passed_s in _passes(loaded, feeds, fit, first_s, seconds - sum(first_s.values())).items():
        rows[name]["items_per_s"] = len(embedded[name]) / float(np.median(passed_s))
    if singles:
        share = seconds * SINGLES_SHARE / len(loaded)
        for name, engine in loaded.items():
            rows[name]["single_items_per_s"] = items_per_s(engine.run, singles, [1] * len(singles), seconds=share)
    best = max(fit, key=lambda name: rows[name]["items_per_s"])
    for name in fit:
        rows[name]["taken"] = name == best
        rows[name]["reason"] = "" if name == best else f"slower than {best}"
    return candidates[best], EngineChoice(precision=best), list(rows.values())


def _row(precision: str, graph_bytes: int, reason: str = "") -> dict[str, Any]:
    return {
        "engine": "onnxruntime",
        "precision": precision,
        "items_per_s": None,
        "single_items_per_s": None,
        "neighbour_agreement": None,
        "cosine": None,
        "graph_bytes": graph_bytes,
        "taken": False,
        "reason": reason,
    }


def _embed(engine: Engine, feeds: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray:
    if not feeds:
        raise UsageError("engine.no_items", "engines are compared on items, and none were given")
    return np.concatenate([engine.run(feed)["embedding"] for feed in feeds])


def _embed_all(
    loaded: Mapping[str, Engine], feeds: Sequence[Mapping[str, np.ndarray]]
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Embeddings by each engine, and the seconds of the pass."""
    embedded, seconds = {}, {}
    for name, engine in loaded.items():
        start = time.perf_counter()
        embedded[name] = _embed(engine, feeds)
        seconds[name] = time.perf_counter() - start
    return embedded, seconds


def _passes(
    loaded: Mapping[str, Engine], feeds: Sequence[Mapping[str, np.ndarray]], fit: Sequence[str],
    first_s: Mapping[str, float], seconds: float,
) -> dict[str, list[float]]:  # fmt: skip
    """Seconds of passes by each engine, its first among them: of those that are `fit`, in turn, while there is time."""
    taken = {name: [first] for name, first in first_s.items()}
    end = time.perf_counter() + seconds
    while len(fit) > 1 and len(taken[fit[0]]) < MOST_PASSES and time.perf_counter() < end:
        for name in fit:
            start = time.perf_counter()
            _embed(loaded[name], feeds)
            taken[name].append(time.perf_counter() - start)
    return taken


def compare_embeddings(reference: np.ndarray, candidate: np.ndarray) -> tuple[float, float]:
    """Share of nearest neighbours kept, and mean cosine, between two embeddings (n, d) of the same items.

    >>> x = np.random.default_rng(0).normal(size=(40, 8))
    >>> agreement, cosine = compare_embeddings(x, 2 * x)
    >>> agreement, round(cosine, 6)
    (1.0, 1.0)
    """
    a, b = _unit(reference), _unit(candidate)
    cosine = float(np.mean(np.sum(a * b, axis=1)))
    k = min(N_NEIGHBOURS, len(a) - 1)
    if k < 1:
        return 1.0 if cosine > 0.999 else 0.0, cosine
    near_a, near_b = _neighbours(a, k), _neighbours(b, k)
    kept = [len(np.intersect1d(x, y, assume_unique=True)) for x, y in zip(near_a, near_b, strict=True)]
    return float(np.mean(kept)) / k, cosine


def _unit(x: np.ndarray) -> np.ndarray:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))


def _neighbours(unit: np.ndarray, k: int) -> np.ndarray:
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    return np.argpartition(-similarity, k - 1, axis=1)[:, :k]


def _quantise(graph: bytes) -> tuple[bytes, str]:
    """`graph` with int8 weights per channel, or b"" and why not."""
    import logging
    import tempfile

    try:
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError:
        return b"", "the package onnx is not installed"
    _onnxruntime()
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "int8.onnx"
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)  # it advises shape inference, on the root logger, whatever the graph
        try:
            quantize_dynamic(
                onnx.load_model_from_string(graph),
                target,
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
            )
            result = target.read_bytes()
        except Exception as error:  # noqa: BLE001  (whatever it is, the answer is float32, and the reason is kept)
            return b"", f"could not be quantised: {type(error).__name__}: {error}"
        finally:
            logging.disable(before)
    kinds = {node.op_type for node in onnx.load_model_from_string(result).graph.node}
    if not any("Integer" in kind or "QLinear" in kind for kind in kinds):
        return b"", "no operation of this graph has an int8 form"
    return result, ""
