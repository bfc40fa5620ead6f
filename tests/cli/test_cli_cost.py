"""The verb cost and the limits on the command line, most of them in this process."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from command_case import muster, muster_apart
from passmuster.cli.cost_verb import life_lines
from passmuster.core.lifetime import Candidate, advise
from passmuster.flows.cost import Lifetime
from train_case import new_project, write_texts

pytest.importorskip("onnx", reason="training needs the extra `train`")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was trained under both limits, and evaluated."""
    folder = tmp_path_factory.mktemp("cost")
    new_project(folder / "p", write_texts(folder / "t.csv", n=90)).close()
    done = muster_apart(folder / "p", "train", "--time", "120s", "--max-cost", "0.5", "--max-memory", "4g")
    assert done.returncode == 0, done.stderr
    assert "the time is the tighter limit" in done.stderr
    assert "EUR" in done.stdout
    assert muster(folder / "p", "evaluate").returncode == 0
    return folder / "p"


def test_the_latest_run_and_its_candidates(trained: Path) -> None:
    done = muster(trained, "cost", "--volume", "2000/day", "--months", "6")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("train-")
    assert lines[1].split() == ["what", "amount", "price"]
    assert [line.split()[0] for line in lines[2:7]] == ["machine", "processor", "memory", "energy", "all"]
    assert "limit 120 s, 0.5 EUR, 4,096 MiB" in lines[6]
    assert "60,800 predictions a month for 6 months, in EUR" in lines
    assert any(line.startswith("static.v1 float32") and line.endswith("served") for line in lines)
    assert "recommended: static.v1 float32" in lines
    assert "the prices are examples, not yours (docs/how-to/budget.md)" in lines
    assert lines[-1].startswith("Next: ")
    assert "\x1b" not in done.stdout


def test_the_same_as_json(trained: Path) -> None:
    answer = json.loads(muster(trained, "--json", "cost").stdout)
    data = answer["data"]
    assert data["account"]["cost"]["money"] > 0
    assert data["account"]["cost"]["energy_how"] in ("measured", "estimated")
    assert data["lifetime"]["advice"]["name"] == "static.v1 float32"
    assert data["lifetime"]["advice"]["changes"] == [[0.0, "static.v1 float32"]]
    named = json.loads(muster(trained, "--json", "cost", data["run"]).stdout)["data"]
    assert named["account"] == data["account"]


def test_all_of_the_project(trained: Path) -> None:
    done = muster(trained, "cost", "--all")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[:5]] == [
        "what", "training", "evaluating", "labels", "all",
    ]  # fmt: skip
    totals = {t["what"]: t for t in json.loads(muster(trained, "cost", "--all", "--json").stdout)["data"]["totals"]}
    assert totals["training"]["n"] == totals["evaluating"]["n"] == 1
    assert totals["evaluating"]["money"]["EUR"] > 0
    assert totals["labels"]["money"]["EUR"] == pytest.approx(totals["labels"]["n"] * 0.06)


def test_the_report_page_and_the_card_say_what_it_cost(trained: Path) -> None:
    (page,) = (trained / ".muster" / "reports").glob("*/report.html")
    assert "It cost 0.0" in page.read_text()
    assert muster(trained, "release").returncode in (0, 4)
    (card,) = (trained / ".muster" / "bundles").glob("*/card.md")
    assert "Training it cost 0.0" in card.read_text()


@pytest.mark.parametrize("name", ["c.svg", "c.png", "c.html"])
def test_a_chart_that_needs_no_network(trained: Path, tmp_path: Path, name: str) -> None:
    done = muster(trained, "cost", "--chart", str(tmp_path / name))
    assert done.returncode == 0, done.stderr
    data = (tmp_path / name).read_bytes()
    assert len(data) > 5_000
    assert b'src="http' not in data
    if name == "c.svg":
        assert b"static.v1 float32" in data


def test_what_cannot_be_answered(trained: Path, tmp_path: Path) -> None:
    assert muster(trained, "cost", "nothing-of-that-name").returncode == 8
    assert muster(trained, "cost", "--volume", "many").returncode == 2
    assert muster(trained, "cost", "--months", "-1").returncode == 2
    assert muster(trained, "cost", "--chart", str(tmp_path / "c.gif")).returncode == 2
    new_project(tmp_path / "q", write_texts(tmp_path / "t.csv", n=60)).close()
    empty = muster(tmp_path / "q", "--json", "cost")
    assert empty.returncode == 8
    assert json.loads(empty.stdout)["error"]["code"] == "cost.none"


def test_limits_that_hold_nothing(tmp_path: Path) -> None:
    new_project(tmp_path / "q", write_texts(tmp_path / "t.csv", n=60)).close()
    poor = muster_apart(tmp_path / "q", "--json", "train", "--max-cost", "0.000001")
    assert poor.returncode == 5
    assert json.loads(poor.stdout)["error"]["code"] == "budget.cost"
    for amount in ("0", "-1", "nan"):
        assert muster_apart(tmp_path / "q", "train", f"--max-cost={amount}").returncode == 2
    small = muster_apart(tmp_path / "q", "--json", "train", "--max-memory", "100m")
    assert small.returncode == 5
    assert json.loads(small.stdout)["error"]["code"] == "budget.memory"
    (tmp_path / "q" / "muster.toml").write_text("[cost]\nper_kw = 1.0\n")
    wrong = muster_apart(tmp_path / "q", "train")
    assert wrong.returncode == 2
    assert "did you mean 'cost.per_kwh'?" in wrong.stderr


def test_the_recommended_rung_comes_with_the_command_when_another_is_served() -> None:
    light = Candidate("static.v1 float32", 0.9, 0.0, 0.1, 0.001, 0.01, 5e3, 4e3)
    heavy = Candidate("tuned.v1 float32", 0.9, 0.0, 0.1, 0.01, 1.0, 100.0, 90.0, taken=True)
    life = Lifetime("train-1", (light, heavy), advise([light, heavy], 1e6), 1e6, 1.0, 0.0, "EUR", 50.0)
    assert "  to serve it: muster train --serve static.v1" in list(life_lines(life))
    served = replace(life, candidates=(replace(light, taken=True), replace(heavy, taken=False)))
    assert not any("to serve it" in line for line in life_lines(served))


def test_it_says_which_accuracy_it_shows_and_what_it_does_not_count() -> None:
    one = Candidate("static.v1 float32", 0.9, 0.0, 0.1, 0.001, 0.01, 5e3, 4e3, taken=True)
    life = Lifetime("train-1", (one,), advise([one], 1e6), 1e6, 1.0, 0.0, "EUR", 50.0)
    lines = list(life_lines(life))
    assert lines[2].split()[:2] == ["model", "cross-validated"]
    assert any("muster status has what the test says" in line for line in lines)
    assert not any("[policy.costs]" in line for line in lines)
    assert any("[policy.costs] is not counted here" in line for line in life_lines(replace(life, uncounted_costs=True)))
