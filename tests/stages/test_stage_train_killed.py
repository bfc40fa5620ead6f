"""A training killed with -9 at any moment goes on, by the same command, to the same weights."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from passmuster.flows.verify import verify
from passmuster.store.store import Store
from train_case import new_project, write_texts

pytest.importorskip("onnx", reason="training needs the extra `train`")
COMMAND = ("train", "--time", "300s", "--seed", "5")
# Moments told by what lies in the store: glob under .muster.
MOMENTS = (
    "runs/*/args.json",
    "runs/*/decisions/plan.json",
    "runs/*/rungs/static.v1/encoder.safetensors",
    "embeddings/*/matrix.f32",
    "runs/*/decisions/spread-static.v1.json",
    "bundles/*",
)


MONEY = ("train", "--time", "1h", "--max-cost", "0.5", "--seed", "5")  # at the prices below: the tighter of the two


def words_of(project: Path, words: tuple[str, ...] = COMMAND) -> list[str]:
    return [sys.executable, "-m", "passmuster", "--json", "-C", str(project), *words]


def start(project: Path, words: tuple[str, ...] = COMMAND) -> subprocess.Popen[bytes]:
    command = words_of(project, words)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)


def finish(process: subprocess.Popen[bytes]) -> dict:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err.decode()
    return json.loads(out)["data"]


def kill_when(project: Path, seen: str, extra_s: float, words: tuple[str, ...] = COMMAND) -> bool:
    """Start the command and kill it a little after something matches the glob; False when it ended before."""
    process = start(project, words)
    while process.poll() is None:
        if any((project / ".muster").glob(seen)):
            time.sleep(extra_s)
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.005)
    process.communicate()
    return process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_killed_at_many_moments(tmp_path: Path) -> None:
    store = new_project(tmp_path / "fresh", write_texts(tmp_path / "t.csv", n=150))
    store.close()
    shutil.copytree(tmp_path / "fresh", tmp_path / "whole")
    expected = finish(start(tmp_path / "whole"))
    rng = random.Random()
    n_killed = n_resumed = 0
    for number, moment in enumerate(MOMENTS):
        project = tmp_path / f"killed-{number}"
        shutil.copytree(tmp_path / "fresh", project)
        n_killed += kill_when(project, moment, rng.random() * 0.1)
        result = finish(start(project))
        n_resumed += result["resumed"]
        assert result["bundle"] == expected["bundle"], moment
    assert n_killed >= 4
    assert n_resumed >= 3  # the first may be killed before its plan was written


@pytest.mark.slow
def test_killed_again_and_again(tmp_path: Path) -> None:
    """Whatever was done before a kill is not done again: many short lives come to the end of one long one."""
    store = new_project(tmp_path / "fresh", write_texts(tmp_path / "t.csv", n=150))
    store.close()
    shutil.copytree(tmp_path / "fresh", tmp_path / "whole")
    expected = finish(start(tmp_path / "whole"))
    for moment in MOMENTS[1:5]:
        kill_when(tmp_path / "fresh", moment, 0.02)
    assert finish(start(tmp_path / "fresh"))["bundle"] == expected["bundle"]
    assert len(list((tmp_path / "fresh" / ".muster" / "runs").iterdir())) == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no resource limits")
def test_a_disk_that_is_full_in_mid_checkpoint(tmp_path: Path) -> None:
    """No file may grow beyond a limit: the encoder, the graph, or an embedding is cut off in the middle of a write.

    The run ends with one clear error, nothing that was recorded is harmed, and with space the same command goes on to
    the weights of a run that was never stopped.
    """
    store = new_project(tmp_path / "fresh", write_texts(tmp_path / "t.csv", n=150))
    store.close()
    shutil.copytree(tmp_path / "fresh", tmp_path / "whole")
    expected = finish(start(tmp_path / "whole"))
    largest = max(path.stat().st_size for path in (tmp_path / "whole").glob(".muster/runs/**/*.safetensors"))
    catalog = (tmp_path / "whole" / ".muster" / "catalog.db").stat().st_size
    for limit in (largest - 1, (largest + catalog) // 2):
        project = tmp_path / f"full-{limit}"
        shutil.copytree(tmp_path / "fresh", project)
        ended = subprocess.run(
            ["bash", "-c", f'ulimit -f {limit // 1024}; exec "$@"', "-", *words_of(project)],
            capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        error = json.loads(ended.stdout)["error"]
        assert (ended.returncode, error["code"]) == (6, "disk.full"), ended.stderr
        assert "goes on where it stopped" in error["next"]
        assert verify(Store.open(project)).whole
        result = finish(start(project))
        assert (result["resumed"], result["bundle"]) == (True, expected["bundle"])


@pytest.mark.slow
def test_killed_under_a_limit_of_money(tmp_path: Path) -> None:
    """The same plan and the same weights, and the account holds what the killed processes took."""
    store = new_project(tmp_path / "fresh", write_texts(tmp_path / "t.csv", n=150))
    toml = store.folder / "muster.toml"
    toml.write_text(toml.read_text().replace("per_machine_hour = 0.0", "per_machine_hour = 6.0"))  # 300 s
    store.close()
    shutil.copytree(tmp_path / "fresh", tmp_path / "whole")
    expected = finish(start(tmp_path / "whole", MONEY))
    assert expected["limited_by"] == "cost"
    n_killed, plans = 0, set()
    for moment in MOMENTS[1:5]:
        n_killed += kill_when(tmp_path / "fresh", moment, 0.02, MONEY)
        plans |= {path.read_text() for path in (tmp_path / "fresh").glob(".muster/runs/*/decisions/plan.json")}
    result = finish(start(tmp_path / "fresh", MONEY))
    assert result["bundle"] == expected["bundle"]
    assert n_killed >= 3
    (run,) = (tmp_path / "fresh" / ".muster" / "runs").iterdir()
    assert plans == {(run / "decisions" / "plan.json").read_text()}
    account = json.loads((run / "cost.json").read_text())
    assert account["usage"]["seconds"] > result["seconds"]
    assert 0 < account["limits"]["spent_s"] < account["usage"]["seconds"]
    assert account["cost"]["money"] < 0.5
