"""Processes that fill one embedding cache at the same time: every row is that of its content, in each of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from passmuster.store.embeddings import EmbeddingCache

N, D = 3_000, 16

FILL = """
import sys
from pathlib import Path
import numpy as np
from passmuster.store.embeddings import EmbeddingCache

n, d, seed = map(int, sys.argv[2:])
numbers = np.random.default_rng(seed).permutation(n)
print("ready", flush=True)
sys.stdin.readline()
for part in np.array_split(numbers, 100):  # a hundred appends each, for others to come between
    def compute(positions, part=part):
        return np.repeat(part[list(positions), None], d, axis=1).astype(np.float32)
    found = EmbeddingCache(Path(sys.argv[1]), "key").get([f"blob {i}" for i in part], compute)
    assert (found == part[:, None]).all(), "a row is that of another content"
"""


@pytest.mark.parametrize("n_processes", [2, 4])
def test_rows_are_right_whoever_else_is_filling_the_cache(tmp_path: Path, n_processes: int) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", FILL, str(tmp_path), str(N), str(D), str(seed)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for seed in range(n_processes)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    problems = [process.communicate(timeout=120)[1] for process in processes]
    assert problems == [""] * n_processes

    def nothing_is_missing(positions: object) -> np.ndarray:
        raise AssertionError("a row that was computed is not in the index")

    found = EmbeddingCache(tmp_path, "key").get([f"blob {i}" for i in range(N)], nothing_is_missing)
    assert (found == np.arange(N)[:, None]).all()
