"""Near-duplicate texts: copies are found, neighbours in meaning are not."""

from pathlib import Path

import numpy as np
import pytest

from passmuster.modality.text.twins import find_twins

WORDS = [f"word{i}" for i in range(3_000)]


def text(rng: np.random.Generator, n: int) -> list[str]:
    return [WORDS[i] for i in rng.integers(0, len(WORDS), n)]


def test_one_edited_word_in_ten_of_a_long_text_is_still_a_copy() -> None:
    rng = np.random.default_rng(0)
    originals = [text(rng, 60) for _ in range(200)]
    edited = []
    for words in originals:
        copy = list(words)
        for place in rng.choice(60, 6, replace=False):
            copy[place] = WORDS[rng.integers(len(WORDS))]
        edited.append(copy)
    payloads = [" ".join(w) for w in originals + edited]
    found = {(t.a, t.b) for t in find_twins(payloads, 0.8)}
    assert len(found & {(i, 200 + i) for i in range(200)}) >= 196  # recall .98 and better
    assert found <= {(i, 200 + i) for i in range(200)}


def test_short_texts_of_another_meaning_are_no_copies() -> None:
    payloads = [
        "What is the exchange rate for dollars?",
        "What is the fee for dollars?",
        "I lost my card",
        "I lost my way",
    ]
    assert find_twins(payloads, 0.8) == []


@pytest.mark.parametrize("other", ["i LOST   my card!!", "I lost my card."])
def test_case_punctuation_and_spacing_do_not_hide_a_copy(other: str) -> None:
    assert [(t.a, t.b, t.similarity) for t in find_twins(["I lost my card", "x", other], 0.8)] == [(0, 2, 1.0)]


def test_a_template_repeated_a_thousand_times_does_not_cost_its_square() -> None:
    payloads = [
        f"Dear customer, your order number {i} was shipped today and should reach you within "
        "the next few days, thank you very much"
        for i in range(1_000)
    ]
    assert 0 < len(find_twins(payloads, 0.8)) <= 1_000 * 24 * 32


def test_empty_and_wordless_texts_are_no_copies() -> None:
    assert find_twins([], 0.8) == []
    assert find_twins(["!!!", "???", "…"], 0.8) == []


@pytest.mark.data
def test_banking77_has_reworded_questions_but_few(bench_data: Path) -> None:
    import polars

    texts = polars.read_parquet(bench_data / "banking77" / "banking77.parquet")["text"].to_list()[:4_000]
    found = find_twins(texts, 0.8)
    assert 10 < len(found) < 200
