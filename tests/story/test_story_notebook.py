"""The tutorial notebook runs from top to bottom, and what is committed of it is a whole run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"
NOTEBOOKS = sorted((DOCS / "tutorial").glob("*.ipynb"))
MAX_BYTES = 200_000


def code_cells(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def test_there_is_a_notebook() -> None:
    assert [path.name for path in NOTEBOOKS] == ["label-economy.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_committed_is_one_whole_run(path: Path) -> None:
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert sum(bool(cell["outputs"]) for cell in cells) > len(cells) // 2
    assert "full run" in "".join(cells[-1]["outputs"][-1]["text"]), "a quick run was committed: make notebook"
    text = path.read_text(encoding="utf-8")
    assert len(text.encode()) < MAX_BYTES
    assert not [place for place in ("/tmp/", "/home/", "/work/", " at 0x") if place in text]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_on_what_every_install_carries(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    environment = {**os.environ, "MUSTER_BENCH_DATA": "", "MUSTER_BENCH_QUICK": "1"}
    command = [sys.executable, "-W", "error", "-W", "ignore::SyntaxWarning", str(DOCS / "notebook.py"), str(copy)]
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-3000:]
    committed, run = code_cells(path), code_cells(copy)
    kinds = [[(output["output_type"], *output.get("data", ())) for output in cell["outputs"]] for cell in run]
    assert kinds == [
        [(output["output_type"], *output.get("data", ())) for output in cell["outputs"]] for cell in committed
    ]
    assert "quick run" in "".join(run[-1]["outputs"][-1]["text"])
    assert [entry.name for entry in tmp_path.iterdir()] == [copy.name], "it leaves nothing behind"
