"""Tables: versioned names, the nearest one for a wrong one, and heavy entries only when asked for."""

from __future__ import annotations

import sys

import pytest

from passmuster.core.errors import UsageError
from passmuster.core.tables import Table


@pytest.fixture
def shapes() -> Table[object]:
    table: Table[object] = Table("shape kind")
    table.add("round.v1", "O")
    table.add_lazy("heavy.v1", "colorsys:rgb_to_hls")
    return table


def test_names_stand_in_order_of_registration(shapes: Table[object]) -> None:
    assert shapes.names() == ["round.v1", "heavy.v1"]
    assert list(shapes) == shapes.names()
    assert len(shapes) == 2
    assert "heavy.v1" in shapes
    assert "heavy.v2" not in shapes


def test_a_lazy_entry_is_loaded_when_first_asked_for(shapes: Table[object]) -> None:
    sys.modules.pop("colorsys", None)
    shapes.names()
    assert "colorsys" not in sys.modules
    first = shapes["heavy.v1"]
    assert "colorsys" in sys.modules
    assert shapes["heavy.v1"] is first
    assert dict(shapes.items())["heavy.v1"] is first


def test_loading_an_entry_does_not_change_the_order() -> None:
    table: Table[object] = Table("shape kind")
    table.add_lazy("first.v1", "colorsys:rgb_to_hls")
    table.add_lazy("second.v1", "colorsys:rgb_to_hsv")
    assert table["second.v1"]
    assert table.names() == ["first.v1", "second.v1"]


def test_an_unknown_name_answers_with_the_nearest_and_the_list(shapes: Table[object]) -> None:
    with pytest.raises(UsageError) as caught:
        shapes["hevy.v1"]
    error = caught.value
    assert (error.code, error.next) == ("shape_kind.unknown", "use 'heavy.v1'")
    assert error.limit == "round.v1, heavy.v1"


def test_a_name_far_from_all_gets_no_guess(shapes: Table[object]) -> None:
    with pytest.raises(UsageError) as caught:
        shapes["zzz"]
    assert caught.value.next is None


def test_a_name_is_given_once(shapes: Table[object]) -> None:
    for name in ("round.v1", "heavy.v1"):
        with pytest.raises(UsageError) as caught:
            shapes.add(name, "again")
        assert caught.value.code == "table.taken"


def test_the_decorator_registers_and_returns(shapes: Table[object]) -> None:
    @shapes.entry("square.v1")
    def square() -> str:
        return "[]"

    assert shapes["square.v1"] is square
