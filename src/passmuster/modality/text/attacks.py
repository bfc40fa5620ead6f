"""Small changes of a text that make a right answer wrong, found by asking alone.

Words are tried in the order of what leaving each out costs the right class (Gao, Lanchantin, Soffa and Qi 2018,
"Black-box generation of adversarial text sequences"); each is changed in the way that costs it most, until the answer
is wrong, the share of words that may change is used up, or the questions are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from passmuster.core.ranges import SHARE
from passmuster.core.records import Payload
from passmuster.modality.harm import Attack, Target
from passmuster.modality.text.corruptions import NEAR
from passmuster.modality.text.english import SYNONYMS as WORDS_ALIKE
from passmuster.modality.text.english import is_english

STRENGTHS = (0.1, 0.2, 0.4)
UNIT = "of its words"
N_QUERIES = 300  # for each text
MAX_WORDS = 100  # of a text that are looked at
LEAST_LETTERS = 4  # of a word whose inner letters may change: people read it as it was (Pruthi et al. 2019)
N_EDITS = 8  # of a word that are tried
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")

Edits = Callable[[str, np.random.Generator], list[str]]


def letter_edits(word: str, rng: np.random.Generator) -> list[str]:
    """One slip of the fingers inside a word: two letters in turn, one left out, one doubled, one of the next key.

    >>> len(letter_edits("card", np.random.default_rng(0))), letter_edits("cup", np.random.default_rng(0))
    (7, [])
    """
    if len(word) < LEAST_LETTERS:
        return []
    found = []
    for i in range(1, len(word) - 1):
        before, letter, after = word[:i], word[i], word[i + 1 :]
        if i + 2 < len(word):
            found.append(before + word[i + 1] + letter + word[i + 2 :])
        found += [before + after, before + letter + letter + after]
        if near := NEAR.get(letter.lower(), ""):
            other = near[int(rng.integers(len(near)))]
            found.append(before + (other.upper() if letter.isupper() else other) + after)
    found = [edit for edit in dict.fromkeys(found) if edit != word]
    return [found[int(i)] for i in rng.permutation(len(found))[:N_EDITS]]


def synonym_edits(
    word: str, rng: np.random.Generator, *, alike: Mapping[str, Sequence[str]] = WORDS_ALIKE
) -> list[str]:  # fmt: skip
    """Words of the same meaning in most places, in the case of the word.

    >>> synonym_edits("Cold", np.random.default_rng(0))
    ['Chilly']
    """
    others = alike.get(word.lower(), ())
    return [other.capitalize() if word[:1].isupper() else other for other in others][:N_EDITS]


def search(
    target: Target,
    payloads: Sequence[Payload],
    labels: np.ndarray,
    strength: float,
    rng: np.random.Generator,
    *,
    edits: Edits,
    n_queries: int = N_QUERIES,
) -> list[Payload]:
    """For each text the most harmful one found with at most the share `strength` of its words changed.

    A text of few words may have one changed. All questions of a round about one text go together.
    """
    return [
        _one(target, str(text), int(label), strength, rng, edits, n_queries)
        for text, label in zip(payloads, labels, strict=True)
    ]


def _one(
    target: Target, text: str, label: int, strength: float, rng: np.random.Generator, edits: Edits, n_queries: int
) -> str:
    spans = [match.span() for match in WORD.finditer(text)][:MAX_WORDS]
    tries = {i: found for i, (a, b) in enumerate(spans) if (found := edits(text[a:b], rng))}
    if not tries:
        return text
    most = max(1, int(strength * len(spans)))
    places = list(tries)[: n_queries // 2 - 1]
    without = [text[: spans[i][0]] + text[spans[i][1] :] for i in places]
    best, *costs = lead(target.ask([text, *without]), label).tolist()
    asked, changed = len(places) + 1, 0
    words = {i: text[a:b] for i, (a, b) in enumerate(spans)}
    worst = text
    for i in (places[int(k)] for k in np.argsort(costs, kind="stable")):
        options = tries[i][: n_queries - asked]
        if not options or changed >= most:
            break
        candidates = [put(text, spans, {**words, i: option}) for option in options]
        leads = lead(target.ask(candidates), label)
        asked += len(candidates)
        k = int(leads.argmin())
        if leads[k] >= best:
            continue
        best, worst, changed = leads[k], candidates[k], changed + 1
        words[i] = options[k]
        if best <= 0:
            break
    return worst


def lead(logits: np.ndarray, label: int) -> np.ndarray:
    """By how much the right class leads in each row, (n,); 0 or less where another is said."""
    others = np.delete(logits, label, axis=1)
    return np.asarray(logits[:, label] - others.max(axis=1))


def put(text: str, spans: Sequence[tuple[int, int]], words: dict[int, str]) -> str:
    """The text with its words in their places.

    >>> put("a cup of tea", [(0, 1), (2, 5), (6, 8), (9, 12)], {0: "a", 1: "cpu", 2: "of", 3: "tea"})
    'a cpu of tea'
    """
    parts, at = [], 0
    for i, (start, end) in enumerate(spans):
        parts += [text[at:start], words[i]]
        at = end
    return "".join([*parts, text[at:]])


def characters(
    target: Target, payloads: Sequence[Payload], labels: np.ndarray, strength: float, rng: np.random.Generator,
    n_queries: int = N_QUERIES,
) -> list[Payload]:  # fmt: skip
    """`search` by slips inside words."""
    return list(search(target, payloads, labels, strength, rng, edits=letter_edits, n_queries=n_queries))


def synonyms(
    target: Target, payloads: Sequence[Payload], labels: np.ndarray, strength: float, rng: np.random.Generator,
    n_queries: int = N_QUERIES, *, alike: Mapping[str, Sequence[str]] = WORDS_ALIKE,
) -> list[Payload]:  # fmt: skip
    """`search` by words of the same meaning, which `alike` gives to words in small letters."""
    edits = partial(synonym_edits, alike=alike)
    return list(search(target, payloads, labels, strength, rng, edits=edits, n_queries=n_queries))


def always(target: Target, payloads: Sequence[Payload]) -> str:
    """Slips can be made in any language whose words have letters."""
    return ""


def if_english(target: Target, payloads: Sequence[Payload]) -> str:
    """The words of one meaning are English ones."""
    return "" if is_english([str(text) for text in payloads]) else "its words are English, and these texts are not"


CHARACTERS = Attack(
    "characters.v1", "slips inside words, {effort} questions a text", False, STRENGTHS, UNIT, always, characters,
    N_QUERIES, SHARE,
)  # fmt: skip
SYNONYMS = Attack(
    "synonyms.v1", "words of the same meaning, {effort} questions a text", False, STRENGTHS, UNIT, if_english, synonyms,
    N_QUERIES, SHARE,
)  # fmt: skip


def by_own_words(alike: Mapping[str, Sequence[str]]) -> Attack:
    """The attack by words of the same meaning, with the words of a team, in whatever language."""
    summary = "words of the same meaning by your own list, {effort} questions a text"
    return replace(SYNONYMS, summary=summary, unavailable=always, run=partial(synonyms, alike=alike))
