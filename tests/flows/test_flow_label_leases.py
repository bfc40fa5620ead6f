"""Who is shown what: never one item at two places, and nothing lost when a place is closed or falls silent."""

from __future__ import annotations

import pytest

from passmuster.flows.label_leases import LEASE_S, Leases
from passmuster.flows.labelling import Suggestion


class Clock:
    """Seconds that pass when told to."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def asked(*keys: str, role: str = "train") -> list[Suggestion]:
    return [Suggestion(key, key, role, 1.0, "") for key in keys]  # type: ignore[arg-type]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def leases(clock: Clock) -> Leases:
    made = Leases(clock)
    made.add(asked("a", "b", "c", "d"))
    return made


def keys(suggestions: object) -> list[str]:
    return [s.key for s in suggestions]  # type: ignore[attr-defined]


def test_a_place_keeps_what_it_was_shown_and_no_other_gets_it(leases: Leases) -> None:
    assert keys(leases.take(2, "one")) == ["a", "b"]
    assert keys(leases.take(3, "two")) == ["c", "d"]
    assert keys(leases.take(3, "one")) == ["a", "b"]
    assert leases.elsewhere("a", "two")
    assert not leases.elsewhere("a", "one")
    assert len(leases) == 4
    assert not leases.waiting


def test_what_was_answered_neither_waits_nor_is_shown(leases: Leases) -> None:
    leases.take(1, "one")
    leases.settle("a")
    leases.settle("b")
    assert keys(leases.take(2, "one")) == ["c", "d"]
    leases.add(asked("c", "d", "e"))
    assert keys(leases.waiting) == ["e"]


def test_a_closed_place_gives_back_first_in_the_order_and_its_answer_still_counts(leases: Leases) -> None:
    leases.take(2, "one")
    leases.release("one")
    assert keys(leases.waiting) == ["a", "b", "c", "d"]
    assert leases.was_released("a")
    assert "a" in leases.known()
    assert "c" not in leases.known()


def test_a_silent_place_is_taken_for_closed(leases: Leases, clock: Clock) -> None:
    leases.take(2, "one")
    clock.now_s = LEASE_S
    assert keys(leases.take(1, "two")) == ["c"], "silent for just so long, and still there"
    leases.hear("one")
    clock.now_s += LEASE_S
    assert keys(leases.take(2, "two")) == ["c", "d"]
    clock.now_s += 1
    assert keys(leases.take(4, "two")) == ["c", "d", "a", "b"]


def test_the_terminal_is_never_silent(leases: Leases, clock: Clock) -> None:
    leases.take(2, "")
    clock.now_s = 10 * LEASE_S
    assert keys(leases.take(1, "two")) == ["c"]


def test_an_item_of_a_grid_that_never_waited_does_not_wait_after_it(leases: Leases) -> None:
    leases.picture(asked("b", "z"), "one")
    assert keys(leases.waiting) == ["a", "c", "d"]
    leases.release("one")
    assert keys(leases.waiting) == ["a", "c", "d"], "b was pictured: it is chosen anew, or not"


def test_renewing_keeps_the_places_of_evidence_and_leaves_out_what_is_shown(clock: Clock) -> None:
    leases = Leases(clock)
    leases.add([*asked("a", "b"), *asked("t", role="test"), *asked("c")])
    leases.take(1, "one")
    leases.renew(asked("a", "x", "y", "z"), out={"y"})
    assert keys(leases.waiting) == ["x", "t", "z"]


def test_what_is_taken_back_is_shown_again_first(leases: Leases) -> None:
    (first,) = leases.take(1, "one")
    leases.settle(first.key)
    leases.take(1, "one")
    leases.back_in_front([first], "one")
    assert keys(leases.take(2, "one")) == ["a", "b"]
    leases.hide(["a"])
    assert keys(leases.take(2, "one")) == ["b", "c"]


def test_what_another_process_asks_is_left_out_and_what_is_shown_no_more_is_given_back(clock: Clock) -> None:
    given: list[str] = []
    leases = Leases(clock, may_ask=lambda key: key != "b", give_back=given.extend)
    leases.add(asked("a", "b", "c"))
    assert keys(leases.take(2, "one")) == ["a", "c"]
    assert len(leases) == 2
    assert keys(leases.picture(asked("b", "x"), "one")) == ["x"]
    leases.settle("a")
    leases.release("one")
    leases.settle("never shown")
    assert given == ["a", "c", "x"]
