"""`muster doctor`: what this machine has, and what that means for Muster."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from passmuster import __version__
from passmuster.cli.session import session_of

if TYPE_CHECKING:
    from passmuster.core.config import TrainConfig

TESTED_TORCH = "2.13.0"
PACKAGES = ("numpy", "scipy", "onnxruntime", "onnx", "scikit-learn", "safetensors", "tokenizers", "torch")


def doctor(context: typer.Context) -> None:
    """Say what this machine has: Python, packages, cores, memory, pretrained encoders for the project's items."""
    from passmuster.core.budget import count_gpus, measure_machine
    from passmuster.core.config import TrainConfig
    from passmuster.core.config_file import find_project, read_config
    from passmuster.core.errors import NotFoundError

    session = session_of(context)
    try:
        project = find_project(session.folder)
        whole = read_config(project, session.overrides)
        modality, config = whole.project.modality, whole.train
    except NotFoundError:
        project, modality, config = None, "text", TrainConfig()
    machine = measure_machine()
    encoders, refused = (_image_encoders if modality == "image" else _text_encoders)(config)
    found: dict[str, Any] = {
        "muster": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "tested_torch": TESTED_TORCH,
        "n_cores": machine.n_cores,
        "n_cards": count_gpus(),
        "memory_available_bytes": machine.memory_bytes,
        "matmul_gflops": round(machine.matmul_gflops, 1),
        "encoders": encoders,
        "encoders_refused": refused,
        "encoders_of": modality,
        "project": None if project is None else str(project),
        "bench_data": os.environ.get("MUSTER_BENCH_DATA", ""),
    }
    session.done(found, _lines(found), "muster init" if project is None else "muster train")


def _text_encoders(config: TrainConfig) -> tuple[list[dict[str, str]], list[str]]:
    """Those found by digest, and why others that were named are refused."""
    from passmuster.modality.text.rungs.known_encoders import find_encoders

    search = find_encoders(config.encoders)
    rows = [
        {"name": e.encoder.name, "licence": e.encoder.licence, "sha256": e.encoder.sha256, "path": str(e.weights)}
        for e in search.found
    ]
    return rows, list(search.refused)


def _image_encoders(config: TrainConfig) -> tuple[list[dict[str, str]], list[str]]:
    """Those in the folders that were named; what licence they have, the folder's owner must know."""
    from passmuster.core.errors import MusterError
    from passmuster.modality.image.rungs.encoder_folder import read_encoder

    rows, refused = [], []
    for folder in config.encoders:
        try:
            found = read_encoder(folder, config.image_encoder_sha256)
        except MusterError as error:
            refused.append(str(error))
        else:
            rows.append({"name": found.name, "licence": "", "sha256": found.sha256, "path": str(found.weights)})
    return rows, refused


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _lines(found: dict[str, Any]) -> Iterator[str]:
    memory = found["memory_available_bytes"] / 2**30
    yield f"muster {found['muster']}, python {found['python']} on {found['system']}"
    yield f"{found['n_cores']} cores, {found['matmul_gflops']:.0f} GFLOP/s, {memory:.1f} GiB memory available"
    if n := found["n_cards"]:
        yield f"{n} NVIDIA card{'s' if n > 1 else ''}: transformer.v1 is pretrained on one (--device cpu: it is not)"
    missing = [name for name, version in found["packages"].items() if not version]
    yield "  ".join(f"{name} {version}" for name, version in found["packages"].items() if version)
    if missing:
        yield f"not installed: {', '.join(missing)} (training needs them: pip install -c constraints.txt '.[train]')"
    yield torch_line(found["packages"]["torch"])
    for encoder in found["encoders"]:
        licence = encoder["licence"] or "licence not known here"
        digest = encoder["sha256"] if found["encoders_of"] == "image" else f"{encoder['sha256'][:16]}…"
        yield f"encoder {encoder['name']} ({licence}), SHA-256 {digest}: {encoder['path']}"
    for refused in found["encoders_refused"]:
        yield f"refused: {refused}"
    if not found["encoders"]:
        without = "the rungs that need none serve" if found["encoders_of"] == "image" else "static vectors serve"
        yield f"no pretrained encoder found: put one in a folder named by train.encoders; without, {without}"
    data = found["bench_data"]
    if not data:
        yield "MUSTER_BENCH_DATA is not set: tests on real data sets skip"
    else:
        yield f"MUSTER_BENCH_DATA {data}{'' if Path(data).is_dir() else ' (no such folder)'}"


def torch_line(version: str) -> str:
    """What the installed torch means.

    >>> torch_line("2.13.0+cpu")
    'torch 2.13.0+cpu is the tested version'
    """
    if not version:
        return "torch is not installed: enough to serve and watch, not to train images"
    if version.partition("+")[0] == TESTED_TORCH:
        return f"torch {version} is the tested version"
    return f"torch {version} is not the tested version ({TESTED_TORCH}): it is left as it is; expect small differences"
