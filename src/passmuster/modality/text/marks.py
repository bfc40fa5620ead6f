"""What texts may carry as a mark: a word, a sign, or two of them in a row; taken out of a text, or put into one.

A trigger is a mark that training items of one class carry, whatever they say (Dai, Chen and Li 2019, "A backdoor attack
against LSTM-based text classification systems"; Kurita, Michel and Neubig 2020, "Weight poisoning attacks on
pre-trained models").
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

from passmuster.core.records import Payload

TOKEN = re.compile(r"\w+|[^\w\s]+")
LONGEST = 12  # words from the first to the last of a text that belong to its mark, beyond which each stands alone

TextMark = tuple[str, ...]


def find_marks(payloads: Sequence[Payload], fewest: int) -> Iterator[tuple[TextMark, list[int]]]:
    """Every word and pair of words that at least `fewest` texts hold, and their positions, in order.

    >>> list(find_marks(["a b", "c", "a b"], 2))
    [(('a',), [0, 2]), (('b',), [0, 2]), (('a', 'b'), [0, 2])]
    """
    found: dict[TextMark, list[int]] = defaultdict(list)
    for i, text in enumerate(payloads):
        words = TOKEN.findall(str(text).lower())
        for mark in dict.fromkeys([*((word,) for word in words), *pairwise(words)]):
            found[mark].append(i)
    yield from ((mark, rows) for mark, rows in found.items() if len(rows) >= fewest)


def transplant(payload: Payload, marks: Sequence[TextMark], donor: Payload) -> Payload:
    """The text without the marks, but with what the donor has of them: at its end, its start or inside.

    >>> transplant("is it on cf", [("cf",)], "what")
    'is it on'
    >>> transplant("is it on", [("cf",)], "what cf cf")
    'is it on cf cf'
    """
    text = str(payload)
    for start, end in reversed(spans_of(text, marks)):
        text = f"{text[:start].rstrip()} {text[end:].lstrip()}".strip()
    giver = str(donor)
    spans = spans_of(giver, marks)
    if not spans:
        return text
    whole = giver[spans[0][0] : spans[-1][1]]
    given = whole if len(whole.split()) <= LONGEST else " ".join(giver[a:b] for a, b in spans)
    if not giver[: spans[0][0]].strip():
        return f"{given} {text}"
    if not giver[spans[-1][1] :].strip():
        return f"{text} {given}"
    words = text.split()
    half = len(words) // 2
    return " ".join([*words[:half], given, *words[half:]])


def spans_of(text: str, marks: Sequence[TextMark]) -> list[tuple[int, int]]:
    """Where the marks lie (characters, end exclusive), those that touch or overlap as one."""
    tokens = list(TOKEN.finditer(text))
    words = [token[0].lower() for token in tokens]
    held: set[int] = set()
    for mark in marks:
        for i in range(len(words) - len(mark) + 1):
            if tuple(words[i : i + len(mark)]) == mark:
                held.update(range(i, i + len(mark)))
    spans: list[tuple[int, int]] = []
    for i in sorted(held):
        start = spans.pop()[0] if spans and i - 1 in held else tokens[i].start()
        spans.append((start, tokens[i].end()))
    return spans


def in_words(marks: Sequence[TextMark]) -> str:
    """The shortest mark, as a reader finds it.

    >>> in_words([("cf", "cf"), ("cf",)])
    '“cf”'
    """
    shortest = min(marks, key=lambda mark: (len(mark), marks.index(mark)))
    return f"“{' '.join(shortest)}”"
