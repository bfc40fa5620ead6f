"""Checkpoints: arrays and settings in one safetensors file, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from passmuster.core.codec import to_plain
from passmuster.core.disk import took_no_more, write_whole
from passmuster.core.errors import IntegrityError, ResourceError


class FileCheckpoint:
    """Checkpoints as files ``<folder>/<name>.safetensors``. Implements `modality.base.Checkpoint`.

    Examples
    --------
    >>> import tempfile
    >>> checkpoint = FileCheckpoint(Path(tempfile.mkdtemp()))
    >>> checkpoint.load("half-way") is None
    True
    >>> checkpoint.save("half-way", {"weight": np.ones(2, np.float32)}, {"step": 3})
    >>> arrays, settings = checkpoint.load("half-way")
    >>> arrays["weight"].tolist(), settings["step"]
    ([1.0, 1.0], 3)
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, name: str, arrays: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> None:
        """Write a checkpoint; the one before it stays whole until the new one is on disk."""
        from safetensors.numpy import save

        plain = {key: np.ascontiguousarray(value) for key, value in arrays.items()}
        text = json.dumps(to_plain(settings), sort_keys=True)
        write_atomic(self.folder / f"{name}.safetensors", save(plain, metadata={"settings": text}))

    def load(self, name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Arrays and settings, or None when there is none.

        Raises
        ------
        IntegrityError
            ``checkpoint.damaged``.
        """
        from safetensors import SafetensorError, safe_open

        path = self.folder / f"{name}.safetensors"
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="numpy") as file:
                arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (no mapping)
                settings = json.loads((file.metadata() or {})["settings"])
        except (SafetensorError, KeyError, ValueError) as error:
            raise IntegrityError(
                "checkpoint.damaged",
                f"a checkpoint cannot be read: {error}",
                where=path,
                next="remove the file and muster train again",
            ) from error
        return arrays, settings


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file under another name, force it to disk, and rename.

    Raises
    ------
    ResourceError
        ``disk.full``; the file that was there before is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_whole(path, data)
    except OSError as error:
        if took_no_more(error):
            raise ResourceError(
                "disk.full",
                "the disk is full; what was written before is whole",
                where=path,
                next="free some disk and repeat the command: it goes on where it stopped",
            ) from error
        raise
