"""The command `muster` for tests: run in this process, which starts it a second sooner, or as a process of its own."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from passmuster.cli.app import main

# What serving machines lack: a command that needs one of them all the same ends in an error that names it.
WITHOUT_TRAINING = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "sklearn", "onnx", "safetensors"):
            raise ImportError(f"{name} is blocked in this test")
sys.meta_path.insert(0, Blocked())
from passmuster.cli.app import main
sys.argv = ["muster", *sys.argv[1:]]
main()
"""
Ended = subprocess.CompletedProcess[str]


def muster(folder: Path, *words: str, stdin: str = "") -> Ended:
    """Exit code, stdout and stderr of a command in a project's folder, run in this process.

    What counts from the start of the process (the time of a training) or weighs all of it wants `muster_apart`.
    """
    arguments, said, told = ["muster", "-C", str(folder), *words], io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", arguments)
        patch.setattr(sys, "stdin", io.StringIO(stdin))
        with (
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(told),
            pytest.raises(SystemExit) as ended,
        ):
            main()
    code = ended.value.code  # as the interpreter reads it: words are an error
    return Ended(arguments, code if isinstance(code, int) else int(code is not None), said.getvalue(), told.getvalue())


def muster_apart(folder: Path, *words: str, settings: Mapping[str, str] | None = None) -> Ended:
    """The same, as a process of its own with one thread; `settings` are environment variables."""
    command = [sys.executable, "-W", "error", "-m", "passmuster", "-C", str(folder), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(settings or {})}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def without_training(folder: Path, *words: str) -> list[str]:
    """The words of a process that has neither torch nor anything else of the extra `train`."""
    return [sys.executable, "-W", "error", "-c", WITHOUT_TRAINING, "-C", str(folder), *words]
