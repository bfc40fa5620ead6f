"""Texts: what is accepted, what is refused and why."""

from dataclasses import replace

import pytest

from passmuster.core.config import DataConfig
from passmuster.core.errors import DataError
from passmuster.modality.text.modality import TEXT

CONFIG = DataConfig()
SMALL = replace(CONFIG, max_text_chars=4, max_item_bytes=9)


@pytest.mark.parametrize(
    ("data", "config", "code"),
    [
        (b"", CONFIG, "item.empty"),
        (b" \n\t", CONFIG, "item.empty"),
        (b"\xef\xbb\xbf", CONFIG, "item.empty"),
        (b"caf\xe9", CONFIG, "item.encoding"),
        (b"a\x00b", CONFIG, "item.nul"),
        (b"12345", SMALL, "item.too_long"),
        (b"1234567890", SMALL, "item.too_large"),
    ],
)
def test_what_is_refused(data: bytes, config: DataConfig, code: str) -> None:
    with pytest.raises(DataError) as caught:
        TEXT.decode(data, config)
    assert caught.value.code == code


def test_the_position_of_a_foreign_byte_is_told() -> None:
    with pytest.raises(DataError, match="position 3"):
        TEXT.decode(b"caf\xe9 au lait", CONFIG)


def test_a_byte_order_mark_is_taken_off_and_round_trips() -> None:
    assert TEXT.decode(b"\xef\xbb\xbfcaf\xc3\xa9", CONFIG) == "café"
    assert TEXT.decode(TEXT.encode("naïve 🙂\n"), CONFIG) == "naïve 🙂\n"


@pytest.mark.parametrize(("value", "code"), [(3, "item.type"), (None, "item.type"), ("\ud800", "item.encoding")])
def test_a_request_is_held_to_the_same_rules(value: object, code: str) -> None:
    with pytest.raises(DataError) as caught:
        TEXT.from_json(value, CONFIG)
    assert caught.value.code == code


def test_a_preview_cannot_bring_markup_in() -> None:
    shown = TEXT.preview("<script>alert(1)</script>" + "x" * 2_000)
    assert "<script>" not in shown
    assert len(shown) < 1_000
