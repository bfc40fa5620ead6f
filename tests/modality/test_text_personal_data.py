"""Personal data in texts: found, told from look-alikes, at a price that grows with the text."""

import gzip
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from passmuster.modality.text.personal_data import find_personal_data


def found(text: str) -> list[tuple[str, str]]:
    return [(span.kind, text[span.start : span.end]) for span in find_personal_data(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail Ana.B+x@sub.example.co.uk, please", [("email", "Ana.B+x@sub.example.co.uk")]),
        ("card 4111 1111 1111 1111 ok", [("card", "4111 1111 1111 1111")]),
        ("card 4111111111111111.", [("card", "4111111111111111")]),
        ("to DE89370400440532013000 now", [("iban", "DE89370400440532013000")]),
        ("to de89 3704 0044 0532 0130 00 now", [("iban", "de89 3704 0044 0532 0130 00")]),
        ("from 192.168.0.1 and fe80::1ff:fe23:4567:890a", [("ip", "192.168.0.1"), ("ip", "fe80::1ff:fe23:4567:890a")]),
        ("ring +44 7700 900 123 or (020) 7946 0958", [("phone", "+44 7700 900 123"), ("phone", "(020) 7946 0958")]),
        ("call 5551234567", [("phone", "5551234567")]),
    ],
)
def test_what_is_found(text: str, expected: list[tuple[str, str]]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "card 4111 1111 1111 1112",  # Luhn
        "to DE89370400440532013001 now",  # mod 97
        "999.1.1.1 and version 1.2.3.4.5",
        "std::vector at 12:30:45",
        "on 2024-05-17, 17.05.2024 and 05/17/24",
        "it cost 1,234,567.89 and 3.14159265",
        "ssn 123-45-6789",
        "my licence number is 69405791",
        "a@b is no address, nor is @name",
        "order 8675309 pieces",
    ],
)
def test_look_alikes_are_left_alone(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    "unit", ["1", "12 ", "a@", "a.b@c.", "(1)", "+1 ", "GB82 ", "a:", "1.", "1-", "::", "a@b.c-", "x@x.xx "]
)
def test_no_text_makes_a_pattern_backtrack(unit: str) -> None:
    """Patterns that try again from every place would take hours for these; the suite would not end."""
    text = (unit * 300_000)[:300_000]
    spans = find_personal_data(text)
    assert all(a.end <= b.start for a, b in pairwise(spans))


@pytest.mark.data
def test_precision_and_recall_on_templates_that_no_pattern_was_tuned_on(bench_data: Path) -> None:
    """Patterns were tuned on texts of even template numbers; these are the odd ones."""
    names = {
        "CREDIT_CARD": "card",
        "EMAIL_ADDRESS": "email",
        "IBAN_CODE": "iban",
        "IP_ADDRESS": "ip",
        "PHONE_NUMBER": "phone",
    }
    right: Counter[str] = Counter()
    claimed: Counter[str] = Counter()
    true: Counter[str] = Counter()
    with gzip.open(bench_data / "pii_presidio" / "presidio_synth_v2.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    for row in rows:
        if row["template_id"] % 2 == 0:
            continue
        spans = {(names[s["type"]], s["start"], s["end"]) for s in row["spans"] if s["type"] in names}
        hits = {(s.kind, s.start, s.end) for s in find_personal_data(row["text"])}
        true.update(kind for kind, _, _ in spans)
        claimed.update(kind for kind, _, _ in hits)
        right.update(
            k
            for k, a, b in spans
            if any(k == h and min(b, d) - max(a, c) >= 0.5 * max(b - a, d - c) for h, c, d in hits)
        )
    recall = {kind: right[kind] / true[kind] for kind in true}
    precision = {kind: right[kind] / claimed[kind] for kind in true}
    print({kind: (round(precision[kind], 3), round(recall[kind], 3), true[kind]) for kind in sorted(true)})
    assert min(precision.values()) >= 0.95
    assert min(recall[kind] for kind in ("card", "email", "iban", "ip")) >= 0.95
    assert recall["phone"] >= 0.65
