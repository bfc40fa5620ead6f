"""Attacks on texts against TextAttack: of a thousand right answers as many fall, within a point.

The victim, the texts, the edits of each word, the share of words and the number of questions are equal. TextAttack
searches as DeepWordBug does with it (Gao et al. 2018: words by what leaving each out costs, each changed in the way
that costs most); what it answers is kept in `text_attack_expected.json`. Its own recipes draw other slips, and measure
what stays the same by models that it fetches, so that only the search can be equal.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from oracle_case import counted, oracle
from passmuster.core.records import Payload
from passmuster.modality.harm import Target
from passmuster.modality.text.attacks import CHARACTERS, N_QUERIES, SYNONYMS, lead, search
from text_attack_case import N_QUERIES as THEIRS
from text_attack_case import STRENGTHS, ask_textattack, edits_of, expected, share_changed, texts, victim

POINT = 0.01
ATTACKS = {attack.name: attack for attack in (CHARACTERS, SYNONYMS)}
every_attack = pytest.mark.parametrize("name", ATTACKS)


@cache
def target() -> Target:
    return Target(lambda payloads: victim()([str(text) for text in payloads]), b"", {}, Path())


def turned(found: list[Payload], labels: np.ndarray, strength: float) -> float:
    """The share that is answered wrongly; no text may have more words changed than allowed."""
    for before, after in counted(zip(texts()[0], found, strict=False)):
        n = len(before.split())
        assert share_changed(before, str(after)) <= max(1, int(strength * n)) / n
    wrong = target().ask(found).argmax(axis=1) != labels
    return float(wrong.mean())


def fallen(name: str, strength: float) -> float:
    made, labels = texts()
    rng = np.random.default_rng(0)
    found = search(target(), made, labels, strength, rng, edits=lambda word, _: edits_of(word, name=name))
    return turned(list(found), labels, strength)


@oracle("TextAttack")
@pytest.mark.parametrize(("name", "strength"), [("characters.v1", 0.1), ("synonyms.v1", 0.1), ("synonyms.v1", 0.4)])
def test_as_many_fall_as_by_textattack(name: str, strength: float) -> None:
    assert THEIRS == N_QUERIES
    assert fallen(name, strength) == pytest.approx(expected()[f"{name} {strength}"], abs=POINT)


@every_attack
def test_with_its_own_chance_as_many_fall(name: str) -> None:
    """As the report runs it, slips drawn anew for each text: within three standard errors of the same slips always."""
    made, labels = texts()[0][:300], texts()[1][:300]
    found = list(ATTACKS[name].run(target(), made, labels, 0.2, np.random.default_rng(1)))
    kept = expected()[f"{name} 0.2"]
    assert turned(found, labels, 0.2) == pytest.approx(kept, abs=3 * np.sqrt(kept * (1 - kept) / len(made)))


@pytest.mark.parametrize("n_queries", [6, 25, 300])
def test_no_more_questions_than_allowed(n_queries: int) -> None:
    asked = 0

    def ask(payloads: list[Payload]) -> np.ndarray:
        nonlocal asked
        asked += len(payloads)
        return np.asarray(victim()([str(text) for text in payloads]))

    counting = Target(ask, b"", {}, Path())
    made, labels = texts()
    for text, label in zip(made[:30], labels[:30], strict=True):
        asked = 0
        found = search(
            counting, [text], np.array([label]), 1.0, np.random.default_rng(0), n_queries=n_queries,
            edits=lambda word, _: edits_of(word, name="characters.v1"),
        )  # fmt: skip
        assert asked <= n_queries
        assert lead(target().ask(list(found)), int(label))[0] <= lead(target().ask([text]), int(label))[0]


def test_what_is_kept_of_textattack_is_what_it_answers(tmp_path: Path) -> None:
    """With the interpreter named by ``MUSTER_BENCH_TEXTATTACK``, which need not have Muster; a minute."""
    python = os.environ.get("MUSTER_BENCH_TEXTATTACK", "")
    if not python:
        pytest.skip("MUSTER_BENCH_TEXTATTACK names no interpreter: only kept answers of TextAttack were compared")
    asked = ask_textattack(python, tmp_path)
    assert asked == pytest.approx(expected(), abs=POINT / 2)
    for name in ATTACKS:
        for strength in STRENGTHS:
            assert fallen(name, strength) == pytest.approx(asked[f"{name} {strength}"], abs=POINT)
