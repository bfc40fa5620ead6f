"""Attacks as the project asks for them: recorded, judged, the same for the live release, refused before a look."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluate_case import Digits, add_model, go_live, image_store, make_digits
from passmuster.core.config import EvaluateConfig, Policy
from passmuster.core.errors import UsageError
from passmuster.core.records import Report
from passmuster.core.settings import changed_settings, settings_of
from passmuster.metrics.gates import gates
from passmuster.metrics.gates.base import read_parameters
from passmuster.modality.find import modalities
from passmuster.modality.harm import Target
from passmuster.stages.evaluate import Scope, evaluate, foresee
from passmuster.stages.evaluate.attack_plan import plan_attacks
from passmuster.stages.evaluate.choose_faults import choose_faults
from passmuster.store.schema import seal_openings

SMALL = Scope(n_corrupted=4, n_fit=100, n_classes_left_out=1, n_resamples=20, n_attacked=8, page=False)
ASKED = EvaluateConfig(attack_strengths=(3.0, 16.0), attack_steps=5, attack_queries=20)
GATE = {"adversarial.v1": {"strength": 3.0, "min": 0.1}}


def digits_with(folder: Path, asked: EvaluateConfig, policy: dict[str, Any] | None = None) -> Digits:
    digits = make_digits(image_store(folder))
    config = digits.store.config
    named = {**config.policy.gates, **(policy or {})}
    digits.store.config = replace(config, evaluate=asked, policy=replace(config.policy, gates=named))
    return digits


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Digits, Report]:
    digits = digits_with(tmp_path_factory.mktemp("attacked") / "project", ASKED, GATE)
    go_live(digits.store, add_model(digits, n_fit=40, run="run-0"))
    add_model(digits)
    return digits, evaluate(digits.store, scope=SMALL).report


def test_sizes_steps_and_questions_are_those_asked_for_and_recorded(attacked: tuple[Digits, Report]) -> None:
    section = attacked[1].sections["attacks"]
    assert [row["strength"] for row in section["rows"]] == [0, 3, 16]
    assert section["settings"] == {"steps": 5, "queries": 20}
    said = {attack["name"]: attack["summary"] for attack in section["attacks"]}
    assert said["square.v1"] == "random squares, 20 questions an image"
    assert said["apgd_ce.v1"].startswith("5 gradient steps")
    assert section["questions_per_item"] < 3 * 25
    assert all("incumbent" in row for row in section["rows"][1:])
    assert attacked[1].metric("robust_accuracy_change", "strength=16") is not None


def test_the_gate_reads_the_size_that_was_asked_for(attacked: tuple[Digits, Report]) -> None:
    gate = gates["adversarial.v1"]
    for strength, said in ((3, "under attack at strength 3"), (8, "(measured: 0, 3, 16; muster evaluate --attack)")):
        found = gate.judge(attacked[1], read_parameters("adversarial.v1", gate, {"strength": strength}), 0.05)
        assert said in found.reason


def test_an_audit_repeats_the_attacks_as_they_were_made(attacked: tuple[Digits, Report]) -> None:
    digits, before = attacked
    asked, digits.store.config = digits.store.config, replace(digits.store.config, evaluate=EvaluateConfig())
    again = evaluate(digits.store, scope=replace(SMALL, n_attacked=0, attacked_before=before)).report
    digits.store.config = asked
    assert again.sections["attacks"]["settings"] == before.sections["attacks"]["settings"]
    assert again.sections["attacks"]["rows"] == before.sections["attacks"]["rows"]


def test_other_attacks_are_other_numbers_where_a_gate_judges_them(attacked: tuple[Digits, Report]) -> None:
    config = attacked[0].store.config
    kept = attacked[1].sections["settings"]
    assert kept == settings_of(config)
    assert changed_settings(kept, config) == ""
    weaker = replace(config, evaluate=replace(ASKED, attack_steps=1))
    assert changed_settings(kept, weaker).startswith("how attacks are made")
    assert changed_settings(kept, replace(weaker, policy=Policy())) == ""
    assert changed_settings({"group_columns": []}, weaker) == ""  # of a report made before they were kept


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"attack_strengths": (0.5,)}, "makes no change of that size of 255 levels"),
        ({"attack_strengths": (2.5,)}, "in whole numbers"),
        ({"attack_strengths": (300.0,)}, "at most 255"),
        ({"attack_strengths": (4.0, 2.0)}, "the smallest first"),
        ({"attack_strengths": (2.0, 2.0)}, "the smallest first"),
        ({"attack_strengths": tuple(map(float, range(1, 30)))}, "so many take too long"),
        ({"attack_strengths": (8.0,)}, "adversarial.v1 asks about a size of change that is not tried"),
        ({"attack_queries": 3}, "no search"),
        ({"synonyms": "words.csv"}, "an image has no words"),
    ],
)
def test_what_cannot_be_is_refused_before_the_test_is_opened(tmp_path: Path, asked: dict[str, Any], words: str) -> None:
    digits = digits_with(tmp_path / "project", EvaluateConfig(**asked), GATE)
    add_model(digits)
    for act in (evaluate, foresee):
        with pytest.raises(UsageError) as caught:
            act(digits.store)
        assert words in str(caught.value)
        assert "[evaluate] " in str(caught.value)
    with digits.store.read() as db:
        assert not db.execute(seal_openings.select()).all()


def test_without_a_word_everything_is_as_each_attack_has_it() -> None:
    for name, n_of in (("text", (300, 300)), ("image", (50, 50, 200))):
        modality = modalities[name]
        plan = plan_attacks(modality, EvaluateConfig(), Path(), Policy())
        assert [plan.made(attack).effort for attack in map(modality.attacks.__getitem__, modality.attacks.names())] == [
            *n_of
        ]
        assert all(plan.made(a) == a for a in map(modality.attacks.__getitem__, modality.attacks.names()))


def test_own_words_stand_in_the_place_of_the_built_in_ones(tmp_path: Path) -> None:
    """In the fault and in the attack, in any language."""
    text = modalities["text"]
    (tmp_path / "words.csv").write_text("\ufeffgünstig,billig,sehr preiswert\nKarte, Ausweis \n\n", encoding="utf-8")
    plan = plan_attacks(text, EvaluateConfig(synonyms="words.csv"), tmp_path, Policy())
    assert plan.words is not None
    assert plan.record()["n_words"] == 4
    faults = choose_faults(text, (), tmp_path, plan.words)
    assert faults.by_own_words == {"synonyms.v1"}
    assert [(own.name, own.sha256) for own in faults.own] == [("synonyms.v1, words of your own", plan.words.sha256)]
    spoil = faults.corruptions["synonyms.v1"]
    german = "Die Karte ist günstig"
    assert spoil(german, 0, np.random.default_rng(0)) == german
    seen = {spoil(german, 5, np.random.default_rng(seed)) for seed in range(20)}
    assert seen == {"Die Ausweis ist billig", "Die Ausweis ist sehr preiswert"}
    assert spoil("Big and quick", 5, np.random.default_rng(0)) == "Big and quick"  # of the built-in list

    def ask(payloads: Any) -> np.ndarray:
        return np.array([[1.0, 2.0 if "billig" in str(one) else 0.0] for one in payloads])

    attack = plan.made(text.attacks["synonyms.v1"])
    target = Target(ask, b"", {"steps": []}, Path())
    assert attack.unavailable(target, [german]) == ""
    assert text.attacks["synonyms.v1"].unavailable(target, [german]) != ""
    found = attack.run(target, [german], np.array([0]), 0.4, np.random.default_rng(0), attack.effort)
    assert found == ["Die Karte ist billig"]
    assert "your own list, 300 questions" in attack.in_words()
    assert choose_faults(text, ("typos.v1",), tmp_path, plan.words).by_own_words == frozenset()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"cheap,inexpensive\nalone\n", "row 2: one word alone"),
        (b"twice,Twice\n", "row 1: one word alone"),
        (b"in stock,at hand\n", "row 1: none of them is a single word"),
        (b"cheap," + b"x" * 81, "an entry of more than 80 letters"),
        (b"\n\n", "there is no row"),
        (b"caf\xe9,bar\n", "no CSV in UTF-8"),
        (b'cheap,"inexp\n', "no CSV in UTF-8"),
    ],
)
def test_rows_of_words_that_cannot_be_used_are_named(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "words.csv").write_bytes(data)
    with pytest.raises(UsageError) as caught:
        plan_attacks(modalities["text"], EvaluateConfig(synonyms="words.csv"), tmp_path, Policy())
    assert caught.value.code == "evaluate.synonyms"
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["none.csv", "../words.csv", "/words.csv"])
def test_a_file_of_words_lies_in_the_project(tmp_path: Path, name: str) -> None:
    (tmp_path / "words.csv").write_text("a,b\n")
    (tmp_path / "project").mkdir()
    with pytest.raises(UsageError) as caught:
        plan_attacks(modalities["text"], EvaluateConfig(synonyms=name), tmp_path / "project", Policy())
    assert caught.value.code == "evaluate.synonyms"
