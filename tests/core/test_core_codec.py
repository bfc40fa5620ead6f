"""Records survive the way to JSON and back; anything unknown, missing or of another shape is named."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from passmuster.core.codec import from_plain, to_plain
from passmuster.core.errors import DataError
from passmuster.core.records import Alarm, GateResult, Incident, Metric, Verdict


@dataclass(frozen=True)
class Inner:
    name: str
    rate: float = 0.5


@dataclass(frozen=True)
class Outer:
    kind: Literal["a", "b"]
    inner: Inner
    many: tuple[Inner, ...] = ()
    pair: tuple[int, str] = (0, "")
    by_name: dict[str, Inner] = field(default_factory=dict)
    maybe: int | None = None
    flag: bool = False


names = st.text(max_size=8)
inners = st.builds(Inner, names, st.floats(allow_nan=False, allow_infinity=False))
outers = st.builds(
    Outer, st.sampled_from(["a", "b"]), inners, st.lists(inners, max_size=3).map(tuple),
    st.tuples(st.integers(), names), st.dictionaries(names, inners, max_size=3), st.none() | st.integers(),
    st.booleans(),
)  # fmt: skip


@given(outers)
def test_a_record_survives_json(record: Outer) -> None:
    assert from_plain(Outer, json.loads(json.dumps(to_plain(record)))) == record


def test_real_records_survive_json() -> None:
    gate = GateResult("accuracy.v1", "insufficient", "too few", 0.9, 0.8, 12)
    verdict = Verdict("b", "r", "p", "INSUFFICIENT", (gate,), "now", 1, 12, ("a note",))
    incident = Incident(
        "i", "now", "live", "r1", Alarm("errors", "live", 3.0, 2.0, 100, None, {"n": [1, 2]}), "degrade"
    )
    for record in (verdict, incident, Metric("accuracy", 0.9, 0.8, 0.95, 100)):
        assert from_plain(type(record), json.loads(json.dumps(to_plain(record)))) == record


def test_an_older_record_without_a_new_field_is_read() -> None:
    plain = to_plain(Verdict("b", "r", "p", "SHIP", (), "now", 1))
    del plain["notes"]
    assert from_plain(Verdict, plain).notes == ()


def test_numbers_of_numpy_and_paths_become_plain() -> None:
    assert to_plain({"a": np.float32(0.5), "b": np.arange(2), "c": Path("x") / "y", "d": {1}}) == {
        "a": 0.5, "b": [0, 1], "c": str(Path("x") / "y"), "d": [1],
    }  # fmt: skip


WHOLE = {"kind": "a", "inner": {"name": "x"}}


@pytest.mark.parametrize(
    ("change", "what", "where"),
    [
        ({"extra": 1}, "unknown field", "Outer"),
        ({"inner": {}}, "missing field", "Outer.inner"),
        ({"inner": {"name": 3}}, "expected str", "Outer.inner.name"),
        ({"inner": "x"}, "expected a table for Inner", "Outer.inner"),
        ({"kind": "c"}, "not one of the allowed values", "Outer.kind"),
        ({"many": [{"name": "x"}, {"name": "y", "rate": "high"}]}, "expected float", "Outer.many[1].rate"),
        ({"many": "xy"}, "expected a list", "Outer.many"),
        ({"pair": [1]}, "wrong number of entries", "Outer.pair"),
        ({"pair": [True, "x"]}, "expected int", "Outer.pair[0]"),
        ({"by_name": []}, "expected a table", "Outer.by_name"),
        ({"by_name": {"k": {"name": None}}}, "expected str", "Outer.by_name.k.name"),
        ({"maybe": "x"}, "expected int", "Outer.maybe"),
        ({"flag": 1}, "expected bool", "Outer.flag"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, object], what: str, where: str) -> None:
    with pytest.raises(DataError) as caught:
        from_plain(Outer, {**WHOLE, **change})
    assert caught.value.code == "record.shape"
    assert caught.value.what.startswith(what)
    assert caught.value.where == where


def test_a_whole_number_is_a_rate() -> None:
    assert from_plain(Inner, {"name": "x", "rate": 1}).rate == 1.0
