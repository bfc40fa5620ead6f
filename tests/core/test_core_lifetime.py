"""Lifetime cost: who is dominated, who is cheapest at what volume, and what is recommended and why."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from passmuster.core.lifetime import Candidate, advise, break_evens


def candidate(name: str, accuracy: float | None, training: float, per_million: float, **more: object) -> Candidate:
    given = {"behind": 0.0, "behind_se": 0.0, "items_per_s": 1.0, "single_items_per_s": 1.0, **more}
    return Candidate(name=name, accuracy=accuracy, training=training, per_million=per_million, **given)  # type: ignore[arg-type]


price = st.floats(0, 100)


@given(st.lists(st.tuples(price, price, st.floats(0, 1)), min_size=1, max_size=6), st.floats(0, 0.01))
def test_break_evens_name_the_cheapest_at_every_volume(
    lines: list[tuple[float, float, float]], per_error: float
) -> None:
    candidates = [candidate(f"c{i}", accuracy, *line) for i, (*line, accuracy) in enumerate(lines)]
    found = break_evens(candidates, per_error)
    starts = [at for at, _ in found]
    assert starts[0] == 0.0
    assert starts == sorted(starts)
    by_name = {c.name: c for c in candidates}
    for volume in [0.0, *np.logspace(0, 12, 60)]:
        named = next(name for at, name in reversed(found) if at <= volume)
        cheapest = min(c.lifetime(volume, per_error) for c in candidates)
        assert by_name[named].lifetime(volume, per_error) == pytest.approx(cheapest, rel=1e-6, abs=1e-6)


def test_without_a_price_of_mistakes_accuracy_is_not_for_sale() -> None:
    best = candidate("large", 0.90, 5.0, 10.0)
    near = candidate("middle", 0.89, 2.0, 4.0, behind=0.01, behind_se=0.012)
    far = candidate("small", 0.70, 0.0, 0.0, behind=0.2, behind_se=0.02)
    advice = advise([far, near, best], 1e6, currency="EUR")
    assert advice is not None
    assert advice.name == "middle"
    assert "within one standard error" in advice.reasons[0]
    assert advice.dominated == {}
    assert any("small would cost" in reason and "less" in reason for reason in advice.reasons)


def test_with_a_price_of_mistakes_every_judged_candidate_competes() -> None:
    best = candidate("large", 0.90, 5.0, 10.0)
    far = candidate("small", 0.70, 0.0, 0.0, behind=0.2, behind_se=0.02)
    dear = 15.0 / (1e6 * 0.2)  # the price of a mistake at which a million predictions cost the same by both
    cheap = advise([far, best], 1e6, per_error=0.9 * dear)
    assert cheap is not None
    assert cheap.name == "small"
    costly = advise([far, best], 1e6, per_error=1.1 * dear)
    assert costly is not None
    assert costly.name == "large"


def test_the_break_even_price_of_a_mistake_is_told() -> None:
    best = candidate("large", 0.90, 5.0, 10.0)
    far = candidate("small", 0.70, 0.0, 0.0, behind=0.2, behind_se=0.02)
    advice = advise([far, best], 1e6, currency="EUR")
    assert advice is not None
    assert advice.reasons[1] == (
        "small would cost 15.00 EUR less and make 200,000 more mistakes: it pays where a mistake costs less than "
        "0.000075 EUR"
    )


def test_what_is_slower_and_no_better_is_dominated_and_what_is_refused_is_not_recommended() -> None:
    fast = candidate("enc int8", 0.8, 1.0, 1.0)
    slow = candidate("enc float32", None, 1.0, 2.0)
    worse = candidate("other float32", 0.7, 1.0, 1.5, behind=0.1, behind_se=0.01)
    refused = candidate("third int8", None, 0.0, 0.0, refused="neighbour agreement 0.5 is below 0.95")
    advice = advise([slow, fast, worse, refused], 1e6)
    assert advice is not None
    assert advice.name == "enc int8"
    assert advice.dominated == {"enc float32": "enc int8", "other float32": "enc int8"}
    assert advise([slow, refused], 1e6) is None


def test_equals_do_not_dominate_each_other() -> None:
    twins = [candidate("a float32", 0.8, 1.0, 1.0), candidate("b float32", 0.8, 1.0, 1.0)]
    advice = advise(twins, 1e6)
    assert advice is not None
    assert advice.dominated == {}
