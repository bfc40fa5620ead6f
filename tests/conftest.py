"""What every test may use: a new project, and the real data sets where `MUSTER_BENCH_DATA` names them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from passmuster.core.config import Config, render_config
from passmuster.store.store import Store


@pytest.fixture
def bench_data() -> Path:
    """The folder of real data sets; skips, saying so, without it."""
    folder = os.environ.get("MUSTER_BENCH_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("MUSTER_BENCH_DATA names no folder: the test on real data sets was not run")
    return Path(folder)


@pytest.fixture
def new_store(tmp_path: Path):
    """A function that makes an empty project: ``new_store("image")``."""

    def make(modality: str = "text", config: Config | None = None) -> Store:
        config = config or Config()
        config = replace(config, project=replace(config.project, modality=modality))
        folder = tmp_path / f"project-{modality}"
        folder.mkdir(exist_ok=True)
        (folder / "muster.toml").write_text(render_config(config))
        return Store.create(folder)

    return make
