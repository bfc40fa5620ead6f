"""`muster evaluate` on the command line; once as a process of its own, without torch and scikit-learn."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from command_case import muster, without_training
from evaluate_case import add_model, make_digits
from passmuster.core.config import Config, CostsPolicy
from passmuster.core.config_file import render_config
from passmuster.store.store import Store
from release_case import make_report


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    config = Config()
    config = replace(config, project=replace(config.project, modality="image"))
    (folder / "muster.toml").write_text(render_config(config))
    add_model(make_digits(Store.create(folder), n_twins=2))
    return folder


def test_it_answers_as_json(project: Path) -> None:
    words = without_training(project, "--json", "evaluate")
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    answer = json.loads(run.stdout)
    assert answer["ok"] is True
    assert answer["data"]["n_test"] == 200
    assert Path(answer["data"]["path"]).is_file()
    assert answer["next"] == f"muster release {answer['data']['bundle'][:16]}"
    assert {"name", "value", "low", "high", "n", "items"} <= answer["data"]["metrics"][0].keys()


def test_it_says_what_matters_in_lines(project: Path) -> None:
    run = muster(project, "evaluate")
    assert run.returncode == 0, run.stderr
    for words in ("right on 9", "copied from training", "Weakest class", "novelty, knn.v1", "report: ", "Next: muster"):
        assert words in run.stdout, words
    assert "test opened for evaluation" in run.stderr


def test_attacks_are_told_at_the_weakest_and_the_strongest_change() -> None:
    from passmuster.cli.evaluate_verb import attack_lines

    def told(**section: object) -> list[str]:
        return list(attack_lines(replace(make_report(n=400, n_right=380), sections={"attacks": section})))

    rows = [
        {"strength": strength, "accuracy": {"value": value, "low": value - 0.1, "high": min(value + 0.1, 1.0)}}
        for strength, value in ((0.0, 0.95), (0.1, 0.5), (0.2, 0.4), (0.4, 0.2))
    ]
    (both,) = told(n=100, unit="of its words", rows=rows)
    assert both.replace("\u00a0", "") == (
        "attacks on 100 items: right on 95.0% before, on at most 50.0% (40.0 to 60.0%) where 10% of its words may "
        "change, 20.0% (10.0 to 30.0%) where 40% of its words may change"
    )
    (one,) = told(n=100, unit="of 255 levels of every pixel", rows=rows[:2])
    assert one.count("may change") == 1
    assert told(n=0, why="no reason") == ["attacks: not tried, no reason"]
    assert list(attack_lines(make_report(n=400, n_right=380))) == []


def test_costs_and_groups_are_told_where_they_are_declared(tmp_path: Path) -> None:
    config = Config()
    config = replace(
        config,
        project=replace(config.project, modality="image"),
        policy=replace(config.policy, costs=CostsPolicy(unit="EUR", wrong=2.0)),
        data=replace(config.data, group_columns=("region",)),
    )
    (tmp_path / "muster.toml").write_text(render_config(config))
    add_model(make_digits(Store.create(tmp_path)))
    run = muster(tmp_path, "evaluate")
    assert run.returncode == 0, run.stderr
    assert "\nAn answer costs 0." in run.stdout
    assert "\n  By region: no group has the 10 labelled test items" in run.stdout


def test_a_model_that_is_surely_below_the_policy_leads_to_labels() -> None:
    from passmuster.cli.evaluate_verb import what_next

    gates = {"accuracy.v1": {"min": 0.8}}
    assert what_next(make_report(n=400, n_right=200), gates) == (
        "muster label --serve, then muster train: the policy asks for 80% right"
    )
    for n, right in ((400, 380), (40, 30), (0, 0)):
        assert what_next(make_report(n=n, n_right=right), gates).startswith("muster release "), (n, right)
    assert what_next(make_report(n=400, n_right=200), {}).startswith("muster release ")


def test_a_dry_run_opens_nothing(project: Path) -> None:
    run = muster(project, "--dry-run", "evaluate")
    assert run.returncode == 0, run.stderr
    assert "would open the test" in run.stdout


def test_an_unknown_bundle_is_named(project: Path) -> None:
    run = muster(project, "--json", "evaluate", "ffff")
    assert run.returncode == 8
    assert json.loads(run.stdout)["error"]["code"] == "bundle.none"
