"""What every test may use: a new project, and the real data sets where `MUSTER_BENCH_DATA` names them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from passmuster.core.config import Config
from passmuster.core.config_file import render_config
from passmuster.store.store import Store
from passmuster.store.traffic import TrafficWriter


@pytest.fixture
def bench_data() -> Path:
    """The folder of real data sets; skips, saying so, without it."""
    folder = os.environ.get("MUSTER_BENCH_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("MUSTER_BENCH_DATA names no folder: the test on real data sets was not run")
    return Path(folder)


@pytest.fixture(autouse=True)
def _close_databases(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close what a test opened: Python 3.13 warns of every database that is left to the garbage collector."""
    opened: list[Store | TrafficWriter] = []

    def remember(kind: type[Store] | type[TrafficWriter]) -> None:
        begin = kind.__init__

        def remembered(self: Any, *args: Any, **options: Any) -> None:
            begin(self, *args, **options)
            opened.append(self)

        monkeypatch.setattr(kind, "__init__", remembered)

    remember(Store)
    remember(TrafficWriter)
    yield
    for each in opened:
        each.close()


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
