"""`make bench` runs every benchmark there is: the list is read from the folder, and this is a check of that reading."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_bench_runs_every_program_that_leaves_results() -> None:
    command = ["make", "-n", "bench", "TRAINER=python", "PYTHON=python"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    run = {word for word in said.split() if word.startswith("bench/")}
    results = {f"bench/{path.stem}.py" for path in (ROOT / "bench" / "results").glob("*.json")}
    assert len(results) > 10
    assert results <= run
    assert not [program for program in run if program.endswith("_peer.py") or not (ROOT / program).is_file()]
