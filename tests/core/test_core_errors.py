"""Errors: what, value, limit, where and the next command; a kind carries its exit code."""

from __future__ import annotations

import pytest

from passmuster.core import errors
from passmuster.core.errors import DataError, MusterError

KINDS = {
    "MusterError": 1,
    "UsageError": 2,
    "DataError": 3,
    "HeldError": 4,
    "BudgetError": 5,
    "ResourceError": 6,
    "NetworkError": 7,
    "NotFoundError": 8,
    "IntegrityError": 9,
}


@pytest.mark.parametrize(("name", "exit_code"), KINDS.items())
def test_a_kind_carries_its_exit_code(name: str, exit_code: int) -> None:
    assert getattr(errors, name)("a.b", "what").exit_code == exit_code
    assert 400 <= getattr(errors, name)("a.b", "what").http_status < 600


def test_every_kind_is_known_here() -> None:
    found = {n for n, k in vars(errors).items() if isinstance(k, type) and issubclass(k, MusterError)}
    assert found == set(KINDS)


def test_the_text_says_everything_that_is_known() -> None:
    error = DataError("a.b", "too many pixels", value=9, limit=8, where="x.png", next="make it smaller")
    assert str(error) == "too many pixels (value: 9, limit: 8, where: x.png). Next: make it smaller"
    assert str(DataError("a.b", "too many pixels")) == "too many pixels"


def test_a_value_of_zero_is_said() -> None:
    assert str(DataError("a.b", "too few", value=0)) == "too few (value: 0)"
    assert DataError("a.b", "too few", value=0).as_dict()["value"] == "0"


def test_the_json_form_has_only_what_is_known() -> None:
    assert DataError("a.b", "what", limit=8).as_dict() == {
        "code": "a.b", "what": "what", "limit": "8", "next": None, "exit_code": 3,
    }  # fmt: skip
