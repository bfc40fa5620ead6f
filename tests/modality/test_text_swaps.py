"""Faults by English word lists: what they exchange, what they leave, and where they are left out."""

import re

import numpy as np
import pytest

from passmuster.modality.text import english
from passmuster.modality.text.corruptions import ENGLISH, USUAL, corruptions, why_left_out


def spoilt(name: str, text: str, severity: int = 5, seed: int = 0) -> str:
    return str(corruptions[name](text, severity, np.random.default_rng(seed)))


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("contractions.v1", "I do not know, it is late. DON'T!", "I don't know, it's late. DO NOT!"),
        ("contractions.v1", "We couldn’t, and they can't.", "We could not, and they cannot."),
        ("contractions.v1", "I'm sure she'll come", "I am sure she will come"),
        ("contractions.v1", "Anna's dog and the can of paint", "Anna's dog and the can of paint"),
        ("misspellings.v1", "Definitely RECEIVE it", "Definately RECIEVE it"),
        ("gender.v1", "He saw her. Her son met him", "She saw him. His daughter met her"),
        ("gender.v1", "The manual on the shelf", "The manual on the shelf"),
        ("nationality.v1", "a polish for wood, no turkey", "a polish for wood, no turkey"),
        ("names.v1", "april in paris, will you?", "april in paris, will you?"),
    ],
)
def test_words_are_exchanged_and_others_left(name: str, before: str, after: str) -> None:
    assert spoilt(name, before) == after


def test_a_person_keeps_one_name_throughout() -> None:
    after = spoilt("names.v1", "Anna called. Is Anna there? Tell ANNA that John Smith waits.")
    a, b, c, first, last = re.fullmatch(
        r"(\S+) called\. Is (\S+) there\? Tell (\S+) that (\S+) (\S+) waits\.", after
    ).groups()  # type: ignore[union-attr]
    assert a == b == c.capitalize() != "Anna"
    assert c.isupper()
    assert a in english.FEMALE
    assert first in set(english.MALE) - {"John"}
    assert last in set(english.SURNAMES) - {"Smith"}


def test_one_word_at_least_is_exchanged_at_the_least_severity() -> None:
    text = "I want to buy a cheap quick car, it is really important"
    for seed in range(20):
        words = [spoilt("synonyms.v1", text, severity, seed).split() for severity in range(6)]
        changed = [sum(a != b for a, b in zip(words[0], w)) for w in words]
        assert changed[0] == 0 < changed[1] <= changed[2] <= changed[3] <= changed[4] <= changed[5] == 7


@pytest.mark.parametrize("name", ENGLISH)
def test_a_text_without_such_words_stays_as_it_is(name: str) -> None:
    for severity in range(1, 6):
        assert spoilt(name, "Zug 41 nach Ulm, Gleis 7", severity) == "Zug 41 nach Ulm, Gleis 7"


def test_every_word_of_a_list_has_another() -> None:
    for word, others in english.SYNONYMS.items():
        assert others, word
        assert word not in others
    for people in (english.FEMALE, english.MALE, english.SURNAMES, english.NATIONALITIES, english.COUNTRIES):
        assert len(set(people)) == len(people) >= 30
    assert not set(english.FEMALE) & set(english.MALE)
    assert all(right != wrong for right, wrong in english.MISSPELLINGS.items())


@pytest.mark.parametrize(
    "text",
    [
        "Ich habe meine Karte verloren und wo ist sie jetzt? Das war alles, was ich weiß, und die Bank hat zu.",
        "J'ai perdu ma carte et je ne sais pas où elle est. Est-ce que vous pouvez m'aider, on est dimanche ?",
        "He perdido mi tarjeta y no sé dónde está. ¿Me puede ayudar? Me han cobrado dos veces por lo mismo.",
        "Ik ben mijn kaart kwijt en ik weet niet waar die is. Kunt u mij helpen? Het was in de trein van negen uur.",
        "Jeg har mistet mit kort og ved ikke, hvor det er. Kan du hjælpe mig? Det var for at betale for maden.",
        "Ho perso la mia carta e non so dove sia. Potete aiutarmi? Devo pagare il conto e non posso farlo.",
        "Zgubiłem kartę i nie wiem, gdzie ona jest. Do kogo mam zadzwonić? Proszę o pomoc do jutra.",
        "カードをなくしました。どうすればいいですか。", "", "12345 67",
    ],
)  # fmt: skip
def test_english_lists_are_for_english_texts(text: str) -> None:
    for name in USUAL:
        reason = why_left_out(name, [text, text])
        assert ("English" in reason) == (name in ENGLISH)


@pytest.mark.parametrize(
    "texts",
    [
        ["How do I top up?", "My card was declined", "transfer not arrived"],
        ["Great product, works well and the price is fair.", "terrible, do not buy"],
        ["Oil prices fall as the market waits for the Fed", "Team wins the cup by two goals"],
        ["Free entry! Call now to claim your prize", "ok see you at 5 then"],
    ],
)
def test_short_english_texts_are_known_as_english(texts: list[str]) -> None:
    assert not any(why_left_out(name, texts) for name in USUAL)
