"""Cells of a table that people open in a spreadsheet, which runs what begins as a formula does."""

from __future__ import annotations

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # a cell that so begins is run by spreadsheets (OWASP, CSV injection)


def guard_cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula.

    >>> guard_cell("=1+1"), guard_cell("plain"), bare_cell(guard_cell("'-x"))
    ("'=1+1", 'plain', "'-x")
    """
    return f"'{text}" if text.lstrip("'").startswith(FORMULA_STARTS) else text


def bare_cell(text: str) -> str:
    """What `guard_cell` was given."""
    return text[1:] if text.startswith("'") and text.lstrip("'").startswith(FORMULA_STARTS) else text
