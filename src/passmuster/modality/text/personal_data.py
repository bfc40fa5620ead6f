"""Personal data in texts, found by patterns whose work grows linearly with the text, confirmed by checksums.

Kinds: ``email``, ``phone``, ``card`` (Luhn, ISO/IEC 7812), ``iban`` (mod 97, ISO 13616), ``ip`` (v4 and v6). Every
pattern starts only where a word starts and repeats only within bounds, so no text makes it backtrack.
"""

from __future__ import annotations

import ipaddress
import re
from bisect import bisect_right
from collections.abc import Iterator

from passmuster.core.records import Payload
from passmuster.modality.base import Span

_EMAIL = re.compile(
    r"(?<![\w.%+-])[\w.%+-]{1,64}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,6}[^\W\d_]{2,24}(?![\w-])",
)
_CARD = re.compile(r"(?<![\w.+-])[1-6]\d{3}(?:[ -]?\d{1,6}){2,5}(?![\w-]|[.]\d)")
_IBAN_START = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?=[ ]?[A-Za-z0-9])")
_IPV4 = re.compile(r"(?<![\w.:-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]{2,39}(?:\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})?(?![\w:])")
_PHONE = re.compile(
    r"(?<![\w.,/@$€£#+-])(?:\+|00)?(?:\(\d{1,5}\)\d{0,8}|\d{1,13})"
    r"(?:[ .-]{0,2}\(\d{1,5}\)\d{0,8}|[ .-]{1,2}\d{1,8}|/\d{3,8}){0,6}(?:[ ]?x\d{1,6})?(?![\w/@%$€£-]|[.,:]\d)"
)
_PHONE_WORDS = re.compile(
    r"\b(?:phones?|telephone|tel|mobile|cell|call|called|calling|fax|dial|ring|text|sms|whatsapp|reach|contact|hotline"
    r"|number|mob|ph|answer|answering|registered|desk)\b",
    re.IGNORECASE,
)
_OTHER_NUMBERS = re.compile(
    r"\b(?:licen[cs]e|passport|account|order|invoice|ticket|reference|ref|ssn|security|id|isbn|zip|postcode|po box"
    r"|version)(?: numbers?)?\b",
    re.IGNORECASE,
)
_DATE = re.compile(r"(?:19|20)\d\d[-./ ]\d{1,2}[-./ ]\d{1,2}|\d{1,2}[-./ ]\d{1,2}[-./ ](?:19|20)?\d\d")
PHONE_CONTEXT_CHARS = 60

_IBAN_LENGTH = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20,
    "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18,
    "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SE": 24,
    "SI": 19, "SK": 24, "SM": 27, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24,
    "XK": 20,
}  # fmt: skip


def find_personal_data(payload: Payload) -> list[Span]:
    """Spans of personal data, in order, none overlapping.

    >>> text = "Write to ana@example.org or pay to GB82 WEST 1234 5698 7654 32 from 10.0.0.1"
    >>> [(s.kind, text[s.start : s.end]) for s in find_personal_data(text)]
    [('email', 'ana@example.org'), ('iban', 'GB82 WEST 1234 5698 7654 32'), ('ip', '10.0.0.1')]
    """
    text = str(payload)
    found: list[Span] = []
    for finder in (_emails, _ibans, _addresses, _cards, _phones):  # the surest first: the later give way
        ends = [s.end for s in found]
        free = []
        for span in finder(text):
            after = bisect_right(ends, span.start)  # the first span that does not end before this one
            if after == len(found) or found[after].start >= span.end:
                free.append(span)
        found = sorted([*found, *free], key=lambda s: s.start)
    return found


def _emails(text: str) -> Iterator[Span]:
    if "@" in text:
        for match in _EMAIL.finditer(text):
            yield Span("email", *match.span())


def _cards(text: str) -> Iterator[Span]:
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        if 12 <= len(digits) <= 19 and luhn_is_valid(digits) and (digits[0] != "1" or digits.startswith("1800")):
            yield Span("card", *match.span())


def luhn_is_valid(digits: str) -> bool:
    """Whether the last digit is the Luhn check digit of the others (ISO/IEC 7812-1, annex B).

    >>> luhn_is_valid("4111111111111111"), luhn_is_valid("4111111111111112")
    (True, False)
    """
    doubled = (int(d) * 2 if i % 2 else int(d) for i, d in enumerate(reversed(digits)))
    return len(set(digits)) > 1 and sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def _ibans(text: str) -> Iterator[Span]:
    for match in _IBAN_START.finditer(text):
        length = _IBAN_LENGTH.get(match[0][:2].upper(), 0)
        end = match.start()
        characters: list[str] = []
        while end < len(text) and len(characters) < length:
            if text[end] == " " and text[end - 1] != " ":
                end += 1
            elif text[end].isascii() and text[end].isalnum():
                characters.append(text[end])
                end += 1
            else:
                break
        ends_here = end == len(text) or not text[end].isalnum()
        if length and len(characters) == length and ends_here and iban_is_valid("".join(characters)):
            yield Span("iban", match.start(), end)


def iban_is_valid(iban: str) -> bool:
    """Whether the check digits fit (ISO 13616, ISO/IEC 7064 mod 97-10); no spaces.

    >>> iban_is_valid("GB82WEST12345698765432"), iban_is_valid("GB83WEST12345698765432")
    (True, False)
    """
    return int("".join(str(int(c, 36)) for c in iban[4:] + iban[:4])) % 97 == 1


def _addresses(text: str) -> Iterator[Span]:
    for match in _IPV4.finditer(text):
        if all(part == "0" or (part[0] != "0" and int(part) <= 255) for part in match[0].split(".")):
            yield Span("ip", *match.span())
    if "::" not in text and text.count(":") < 7:
        return
    for match in _IPV6.finditer(text):
        if match[0].count(":") >= 2 and any(c.isdigit() for c in match[0]):
            try:
                ipaddress.IPv6Address(match[0])
            except ValueError:
                continue
            yield Span("ip", *match.span())


def _phones(text: str) -> Iterator[Span]:
    for match in _PHONE.finditer(text):
        if _looks_like_phone(match[0], text[max(0, match.start() - PHONE_CONTEXT_CHARS) : match.start()]):
            yield Span("phone", *match.span())


def _looks_like_phone(number: str, before: str) -> bool:
    """International and bracketed forms stand for themselves; other groups of digits need their usual shape."""
    core = number.partition("x")[0].strip()
    digits = re.sub(r"\D", "", core)
    groups = re.findall(r"\d+", core)
    if not 7 <= len(digits) <= 15 or len(set(digits)) == 1 or core.count("(") != core.count(")"):
        return False
    if core.startswith("+") or (core.startswith("00") and len(digits) >= 10):
        return True
    if _DATE.fullmatch(core) or [len(g) for g in groups] == [3, 2, 4]:  # a date; a US social security number
        return False
    if "(" in core and len(groups) > 1:
        return True
    if len(groups) >= 3 and all(2 <= len(g) <= 4 for g in groups):
        return len(digits) <= 12 and not _last(_OTHER_NUMBERS, before) > _last(_PHONE_WORDS, before)
    return len(digits) <= 12 and _last(_PHONE_WORDS, before) > _last(_OTHER_NUMBERS, before)


def _last(words: re.Pattern[str], before: str) -> int:
    """Where the last of these words ends, -1 without any: the word closest to a number says what it is."""
    return max((match.end() for match in words.finditer(before)), default=-1)
