"""`muster.toml`: read as written, beaten by variables and flags, and strict about what it does not know."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passmuster.core.codec import to_plain
from passmuster.core.config import Config, CostsPolicy, Policy, ProjectConfig, range_of
from passmuster.core.config_file import FILE_NAME, find_project, parse_config, read_config, render_config, render_policy
from passmuster.core.errors import NotFoundError, UsageError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import os

    for name in [name for name in os.environ if name.startswith("MUSTER_") and not name.startswith("MUSTER_BENCH_")]:
        monkeypatch.delenv(name)
    (tmp_path / FILE_NAME).write_text("")
    return tmp_path


def test_an_empty_file_means_the_defaults(project: Path) -> None:
    assert read_config(project) == Config()


def test_what_is_rendered_reads_back_the_same(project: Path) -> None:
    config = replace(
        Config(),
        project=ProjectConfig(name='quote " and \\ back', modality="image"),
        policy=replace(Policy(), gates={"accuracy.v1": {"min": 0.9}, "robustness.v1": {"min": 0.5, "severity": 2}}),
    )
    assert parse_config(tomllib.loads(render_config(config))) == config


@given(st.text(st.characters(blacklist_categories=("Cs",)), max_size=20))
def test_any_name_survives_rendering(name: str) -> None:
    config = replace(Config(), project=ProjectConfig(name=name))
    assert parse_config(tomllib.loads(render_config(config))).project.name == name


@given(names=st.lists(st.text(st.characters(blacklist_categories=("Cs",)), max_size=20), min_size=2, unique=True))
def test_any_class_survives_in_a_table_of_costs(names: list[str]) -> None:
    costs = CostsPolicy(unit="EUR", abstain=0.5, when={names[0]: dict.fromkeys(names[1:], 3.0)})
    config = replace(Config(), policy=replace(Policy(), costs=costs))
    assert parse_config(tomllib.loads(render_config(config))) == config
    assert parse_config(tomllib.loads(render_policy(config))) == config


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
def test_a_cost_is_a_number_from_zero_on(value: float) -> None:
    with pytest.raises(UsageError, match=r"policy\.costs\.when\.spam\.ham is out of range") as caught:
        parse_config({"policy": {"costs": {"when": {"spam": {"ham": value}}}}})
    assert caught.value.code == "config.range"
    with pytest.raises(UsageError, match=r"policy\.costs\.abstain is out of range"):
        parse_config({"policy": {"costs": {"abstain": value}}})


def test_costs_are_declared_by_saying_anything_of_them() -> None:
    assert not parse_config({}).policy.costs.declared
    assert parse_config({"policy": {"costs": {"wrong": 2}}}).policy.costs.declared


def test_every_key_is_written_out() -> None:
    def keys(table: dict[str, object]) -> set[str]:
        inner = [keys(value) for value in table.values() if isinstance(value, dict)]
        return set(table).union(*inner)

    assert keys(tomllib.loads(render_config(Config()))) == keys(to_plain(Config()))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[polcy]\nalpha = 0.1", "did you mean 'policy'?"),
        ("[serve]\nprot = 1", "did you mean 'serve.port'?"),
        ("[policy.guard]\nnovelty_rat = 0.1", "did you mean 'policy.guard.novelty_rate'?"),
        ("[cost]\nper_kw = 1.0", "did you mean 'cost.per_kwh'?"),
        ("[train]\nmax_costs = 1.0", "did you mean 'train.max_cost'?"),
        ("[serve]\nxyzzy = 1", "known keys"),
    ],
)
def test_an_unknown_key_names_the_nearest(project: Path, text: str, hint: str) -> None:
    (project / FILE_NAME).write_text(text)
    with pytest.raises(UsageError) as caught:
        read_config(project)
    assert caught.value.code == "config.unknown_key"
    assert hint in str(caught.value.next)


@pytest.mark.parametrize("text", ['[serve]\nport = "high"', '[project]\nmodality = "audio"', "serve = 3"])
def test_a_wrong_value_is_named(project: Path, text: str) -> None:
    (project / FILE_NAME).write_text(text)
    with pytest.raises(UsageError) as caught:
        read_config(project)
    assert caught.value.code == "config.value"


@pytest.mark.parametrize(
    "text",
    [
        "[policy]\nalpha = 5.0",
        "[policy]\nalpha = 0",
        "[policy]\nalpha = nan",
        "[policy]\nmax_looks = 0",
        "[policy.guard]\nnovelty_rate = 7",
        "[policy.watch]\nmean_observations_between_false_alarms = -3",
        "[policy.watch]\nmean_observations_between_false_alarms = inf",
        "[data]\ntest_share = 1.5",
        "[serve]\nport = 99999",
    ],
)
def test_a_number_out_of_range_is_refused_with_its_range(project: Path, text: str) -> None:
    (project / FILE_NAME).write_text(text)
    with pytest.raises(UsageError) as caught:
        read_config(project)
    assert caught.value.code == "config.range"
    assert text.split("\n")[1].split(" ")[0] in caught.value.what
    assert "at " in str(caught.value.limit) or "above " in str(caught.value.limit)


def test_the_defaults_are_in_range_and_every_number_has_one() -> None:
    assert parse_config(to_plain(Config())) == Config()

    def numbers(record: object) -> list[tuple[type, str]]:
        found = []
        for f in dataclasses.fields(record):  # type: ignore[arg-type]
            value = getattr(record, f.name)
            if dataclasses.is_dataclass(value):
                found += numbers(value)
            elif isinstance(value, (int, float)) and not isinstance(value, bool):
                found.append((type(record), f.name))
        return found

    without = [f"{kind.__name__}.{name}" for kind, name in numbers(Config()) if range_of(kind, name) is None]
    assert without == []


def test_a_flag_and_a_variable_out_of_range_are_refused_too(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"serve\.port"):
        read_config(project, {"serve.port": -1})
    monkeypatch.setenv("MUSTER_POLICY_ALPHA", "2")
    with pytest.raises(UsageError, match=r"policy\.alpha"):
        read_config(project)


@pytest.mark.parametrize("data", [b"[serve", b"\xff\xfe = 1"])
def test_what_is_no_toml_is_told(project: Path, data: bytes) -> None:
    (project / FILE_NAME).write_bytes(data)
    with pytest.raises(UsageError) as caught:
        read_config(project)
    assert caught.value.code == "config.syntax"


def test_flags_beat_variables_which_beat_the_file(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / FILE_NAME).write_text("[serve]\nport = 1\nhost = 'file'\nthreads = 3")
    monkeypatch.setenv("MUSTER_SERVE_PORT", "2")
    monkeypatch.setenv("MUSTER_SERVE_HOST", "variable")
    config = read_config(project, {"serve.port": 4})
    assert (config.serve.port, config.serve.host, config.serve.threads) == (4, "variable", 3)


def test_an_unknown_variable_is_told_and_those_of_benchmarks_are_not_ours(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSTER_BENCH_ANYTHING", "x")
    assert read_config(project) == Config()
    monkeypatch.setenv("MUSTER_SERV_PORT", "1")
    with pytest.raises(UsageError, match="MUSTER_SERV_PORT"):
        read_config(project)


def test_the_project_is_the_nearest_folder_above(project: Path) -> None:
    below = project / "a" / "b"
    below.mkdir(parents=True)
    assert find_project(below) == project.resolve()
    with pytest.raises(NotFoundError) as caught:
        find_project(below / "a-slip-in-its-name")
    assert caught.value.code == "project.none"


def test_outside_a_project_the_way_is_shown(tmp_path: Path) -> None:
    for look in (find_project, read_config):
        with pytest.raises(NotFoundError) as caught:
            look(tmp_path)
        assert (caught.value.code, caught.value.next) == ("project.none", "muster init")


def test_the_policys_digest_changes_with_any_of_it() -> None:
    policy = Policy()
    others = [
        replace(policy, alpha=0.01),
        replace(policy, gates={"accuracy.v1": {"min": 0.81}}),
        replace(policy, guard=replace(policy.guard, novelty_rate=0.02)),
    ]
    digests = {p.digest() for p in (policy, *others)}
    assert len(digests) == 4
    assert Policy().digest() == policy.digest()


def test_an_unknown_variable_names_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "muster.toml").write_text("")
    monkeypatch.setenv("MUSTER_SERVE_PROT", "1")
    with pytest.raises(UsageError, match="unknown variable MUSTER_SERVE_PROT") as caught:
        read_config(tmp_path)
    assert caught.value.next == "use MUSTER_SERVE_PORT"
