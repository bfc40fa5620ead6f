"""Which decisions change, of what kind, and in what order they are shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from passmuster.metrics.changes import KINDS, Decision, changes, kind_of

decisions = st.builds(Decision, st.sampled_from("abc"), st.floats(0, 1), st.booleans())


@given(st.lists(st.tuples(decisions, decisions, st.sampled_from(["a", "b", None])), max_size=20))
def test_a_change_is_what_the_user_sees(rows: list[tuple[Decision, Decision, str | None]]) -> None:
    """Nothing that the user gets alike is listed, and all else is, once."""
    before, after, labels = ([row[i] for row in rows] for i in range(3))
    found = changes(before, after, labels)  # type: ignore[arg-type]

    def seen(d: Decision) -> str:
        return "" if d.withheld else d.said

    expected = {i for i, (old, new, _) in enumerate(rows) if seen(old) != seen(new)}
    assert {change.position for change in found} == expected
    assert len(found) == len(expected)
    assert [-(c.cost or 0) for c in found] == sorted(-(c.cost or 0) for c in found)
    assert all(change.kind in KINDS for change in found)


def test_the_kinds() -> None:
    a, b, silent = Decision("a", 0.9, False), Decision("b", 0.9, False), Decision("a", 0.9, True)
    assert kind_of(a, b, "a") == "right to wrong"
    assert kind_of(b, a, "a") == "wrong to right"
    assert kind_of(b, a, "c") == "wrong to other wrong"
    assert kind_of(a, b, None) == "changed"
    assert kind_of(a, silent, "a") == "answered to withheld"
    assert kind_of(silent, a, "a") == "withheld to answered"
    assert kind_of(silent, Decision("b", 0.5, True), "a") is None


def test_the_dearest_comes_first() -> None:
    a, b = Decision("a", 0.9, False), Decision("b", 0.9, False)
    dear = {("b", "a"): 50.0}
    found = changes(
        [a, b], [b, a], ["a", "b"], cost_of=lambda label, said, _: dear.get((label, said), float(label != said))
    )
    assert [(change.position, change.cost) for change in found] == [(1, 50.0), (0, 1.0)]
