"""Attacks on texts: within their bounds, by asking alone, and no more often than they may."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from passmuster.core.records import Payload
from passmuster.modality.harm import Target
from passmuster.modality.text.attacks import (
    CHARACTERS,
    N_QUERIES,
    SYNONYMS,
    WORD,
    letter_edits,
    put,
    synonym_edits,
)
from text_attack_case import share_changed

GOOD, BAD = {"happy", "cold", "quick", "cheap", "great"}, {"broken", "late", "lost", "angry", "awful"}
TEXTS: list[Payload] = [
    "A great parcel came today and the box was cheap and all of it was quick",
    "The parcel was lost and it came late and the box was broken when we got it",
    "It was cold",
]


def words_model(payloads: Sequence[Payload]) -> np.ndarray:
    """Counts good words against bad ones."""
    rows = []
    for text in payloads:
        words = str(text).lower().split()
        rows.append([sum(w in GOOD for w in words) + 0.5, float(sum(w in BAD for w in words))])
    return np.array(rows)


def target() -> Target:
    return Target(words_model, b"", {"steps": []}, Path())


LABELS = words_model(TEXTS).argmax(axis=1)


def test_the_bound_on_words_is_kept_and_more_of_it_breaks_more() -> None:
    broken = []
    for strength in (0.1, 0.2, 0.4):
        found = CHARACTERS.run(target(), TEXTS, LABELS, strength, np.random.default_rng(0))
        for before, after in zip(TEXTS, found, strict=True):
            n = len(WORD.findall(str(before)))
            assert share_changed(str(before), str(after)) <= max(strength, 1 / n) + 1e-9
        broken.append((words_model(found).argmax(axis=1) != LABELS).sum())
    assert broken == sorted(broken)
    assert broken[-1] == 1  # three words of bad, none of good: three slips
    assert words_model([found[1]])[0].argmax() == 0


def test_words_that_matter_change_first_and_the_ends_of_words_stay() -> None:
    (found,) = CHARACTERS.run(target(), TEXTS[1:2], LABELS[1:2], 0.4, np.random.default_rng(0))
    pairs = [(a, b) for a, b in zip(str(TEXTS[1]).split(), str(found).split(), strict=True) if a != b]
    assert {a for a, _ in pairs} <= BAD
    assert all(a[0] == b[0] and a[-1] == b[-1] for a, b in pairs)


def test_synonyms_change_what_the_model_does_not_know() -> None:
    (found,) = SYNONYMS.run(target(), ["It was cold and quick"], np.array([0]), 0.4, np.random.default_rng(0))
    assert found != "It was cold and quick"
    assert SYNONYMS.unavailable(target(), ["What is the charge on my card?", "It is in the box"]) == ""
    assert "English" in SYNONYMS.unavailable(target(), ["Was kostet die Karte, und wo liegt sie?"])


def test_it_asks_no_more_than_it_may_and_repeats_itself() -> None:
    long = " ".join(f"abcdef{'ghijkl'[i % 6]}" for i in range(400))
    victim = target()
    once = CHARACTERS.run(victim, [long], np.array([0]), 0.4, np.random.default_rng(0))
    assert victim.n_asked <= N_QUERIES + 10
    assert once == CHARACTERS.run(target(), [long], np.array([0]), 0.4, np.random.default_rng(0))


@pytest.mark.parametrize("text", ["", "1234 5678", "a b c", "!!!", "日本語"])
def test_texts_without_words_to_change_stay(text: str) -> None:
    assert CHARACTERS.run(target(), [text], np.array([0]), 0.4, np.random.default_rng(0)) == [text]


@given(st.text(max_size=60))
def test_a_text_is_put_together_as_it_was(text: str) -> None:
    spans = [match.span() for match in WORD.finditer(text)]
    assert put(text, spans, {i: text[a:b] for i, (a, b) in enumerate(spans)}) == text


@given(st.from_regex(r"[a-z]{4,12}", fullmatch=True), st.integers(0, 99))
def test_slips_are_one_slip_inside_the_word(word: str, seed: int) -> None:
    for edit in letter_edits(word, np.random.default_rng(seed)):
        assert edit != word
        assert (edit[0], edit[-1]) == (word[0], word[-1])
        assert abs(len(edit) - len(word)) <= 1


def test_the_case_of_a_word_is_kept() -> None:
    assert all(edit[0].isupper() for edit in synonym_edits("Cold", np.random.default_rng(0)))


def test_a_change_that_helps_the_right_class_is_not_made() -> None:
    """One word may change. The first that is tried is missed most, but a slip in it makes the answer surer."""

    def model(payloads: Sequence[Payload]) -> np.ndarray:
        by_words = {("alpha", "bravo"): 2.0, ("bravo",): 0.1, ("alpha",): 1.0}
        leads = []
        for text in payloads:
            words = tuple(str(text).split())
            leads.append(by_words.get(words, -1.0 if words[0] == "alpha" else 5.0))
        return np.column_stack([leads, np.zeros(len(leads))])

    target = Target(model, b"", {"steps": []}, Path())
    found = CHARACTERS.run(target, ["alpha bravo"], np.array([0]), 0.4, np.random.default_rng(0))
    assert model(found)[0, 0] == -1
