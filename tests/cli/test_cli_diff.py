"""`muster diff` as a process of its own, without torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from test_cli_evaluate import muster

from evaluate_case import add_model, go_live, make_digits
from passmuster.cli.diff_verb import read_map, what_next
from passmuster.core.clock import now
from passmuster.core.config import Config
from passmuster.core.config_file import render_config
from passmuster.core.errors import UsageError
from passmuster.core.records import Release
from passmuster.store.releases import add_release
from passmuster.store.store import Store


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A folder, and two bundles, the first of which knows less."""
    folder = tmp_path_factory.mktemp("project")
    config = Config()
    config = replace(config, project=replace(config.project, modality="image"))
    (folder / "muster.toml").write_text(render_config(config))
    digits = make_digits(Store.create(folder))
    return folder, add_model(digits, n_fit=60).digest, add_model(digits, run="run-2").digest


def test_it_lists_what_changes(project: tuple[Path, str, str]) -> None:
    folder, old, new = project
    answer = muster(folder, "diff", new, old, "--json", "-q")
    assert answer.returncode == 0, answer.stderr
    data = json.loads(answer.stdout)["data"]
    assert (data["n"], data["labels_from"], data["look"]) == (200, "none", None)
    assert data["n_changed"] == len(data["changes"]) > 3
    lines = muster(folder, "diff", new, old, "-q", "--show", "2").stdout.splitlines()
    assert lines[1].startswith(f"  {data['n_changed']} of 200 decisions change")
    assert sum(line.startswith("  changed  ") for line in lines) == 2
    assert f"  … and {data['n_changed'] - 2} more" in lines
    assert lines[-1] == f"Next: muster release {new[:16]}", "it was never judged: there is nothing to approve"


def test_what_comes_next_is_what_can_be_done_with_the_bundle(new_store: Callable[..., Store]) -> None:
    digits = make_digits(new_store("image"))
    old, new = add_model(digits, n_fit=60), add_model(digits, run="run-2")
    assert what_next(digits.store, new.digest) == f"muster release {new.digest[:16]}"
    with digits.store.act("release") as act:
        add_release(act.db, Release("judged-1", new.digest, "SHIP", new.path, now()))
    assert what_next(digits.store, new.digest) == "muster approve judged-1"
    go_live(digits.store, old)
    assert what_next(digits.store, old.digest) == "muster watch", "there is nothing to approve: it is live"
    assert what_next(digits.store, new.digest) == "muster approve judged-1"


def test_a_dry_run_opens_nothing(project: tuple[Path, str, str]) -> None:
    folder, old, new = project
    answer = muster(folder, "diff", new, old, "--labels", "--dry-run")
    assert "its labels, which counts" in answer.stdout


def test_it_says_how_to_name_two(project: tuple[Path, str, str]) -> None:
    answer = muster(project[0], "diff")
    assert answer.returncode == 8
    assert "muster diff NEW OLD" in answer.stderr


def test_a_mapping_names_two_classes() -> None:
    assert read_map(["a=b", "c=d=e"]) == {"a": "b", "c": "d=e"}
    with pytest.raises(UsageError, match="names two classes"):
        read_map(["a"])
