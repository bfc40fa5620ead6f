"""The paired tests keep their error rates, computed exactly rather than simulated where that is possible."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from passmuster.core.paired import (
    mcnemar_exact,
    more_labels_for_non_inferiority,
    n_for_non_inferiority,
    non_inferiority,
    paired_bootstrap,
    paired_difference,
    tango_score,
)


def draw(rng: np.random.Generator, n: int, discordance: float, loss: float, times: int) -> np.ndarray:
    """Outcomes (only candidate, only incumbent) of `times` trials in which the candidate loses `loss`."""
    rates = [(discordance - loss) / 2, (discordance + loss) / 2, 1 - discordance]
    return rng.multinomial(n, rates, times)[:, :2]


def fewest_wins(totals: np.ndarray, n: int, margin: float) -> np.ndarray:
    """For each number of disagreements, the fewest wins that are called not inferior at 5 %."""
    found: list[int] = []
    for total in totals:
        low, high = (found[-1] - 2, found[-1] + 3) if found else (-1, total + 1)
        low, high = max(-1, low), min(total + 1, high)
        while high - low > 1:
            middle = (low + high) // 2
            ship = non_inferiority(int(middle), int(total - middle), n, margin=margin).p_not_worse <= 0.05
            low, high = (low, middle) if ship else (middle, high)
        found.append(high)
    return np.array(found)


def chance_to_ship(totals: np.ndarray, fewest: np.ndarray, n: int, discordance: float, loss: float) -> float:
    wins = (discordance - loss) / (2 * discordance)
    return float((stats.binom.pmf(totals, n, discordance) * stats.binom.sf(fewest - 1, totals, wins)).sum())


@pytest.mark.parametrize(("n", "margin"), [(60, 0.1), (100, 0.05)])
def test_non_inferiority_errs_at_most_alpha(n: int, margin: float) -> None:
    """Exact size at a loss equal to the margin, at every share of disagreements."""
    totals = np.arange(n + 1)
    fewest = fewest_wins(totals, n, margin)
    sizes = [chance_to_ship(totals, fewest, n, share, margin) for share in np.linspace(margin, 1.0, 97)]
    assert max(sizes) <= 0.05
    assert max(sizes) > 0.02, "the test is not needlessly timid"


def test_operating_characteristics_when_powered() -> None:
    """DESIGN section 15, exactly: no loss ships 80 %, the margin 5 % at most, twice the margin is seen as a loss."""
    margin, discordance = 0.03, 0.06
    n = n_for_non_inferiority(discordance, margin)
    totals = np.arange(int(stats.binom.ppf(1e-6, n, discordance)), int(stats.binom.isf(1e-6, n, discordance)) + 1)
    fewest = fewest_wins(totals, n, margin)
    assert chance_to_ship(totals, fewest, n, discordance, 0.0) >= 0.8
    assert chance_to_ship(totals, fewest, n, discordance, margin) <= 0.05
    outcomes = draw(np.random.default_rng(0), n, 0.08, 2 * margin, 200)
    twice = [non_inferiority(int(b), int(c), n, margin=margin) for b, c in outcomes]
    assert np.mean([t.p_worse <= 0.05 and t.p_not_worse > 0.05 for t in twice]) >= 0.8


@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_tango_interval_covers(loss: float) -> None:
    rng = np.random.default_rng(1)
    found = [paired_difference(int(b), int(c), 120) for b, c in draw(rng, 120, 0.15, loss, 600)]
    assert np.mean([i.low <= -loss <= i.high for i in found]) >= 0.92


def test_the_interval_and_the_score_agree() -> None:
    found = paired_difference(4, 11, 200)
    for edge in (found.low, found.high):
        assert abs(float(tango_score(4, 11, 200, edge))) == pytest.approx(1.96, abs=1e-3)


def test_no_disagreement_at_all() -> None:
    assert mcnemar_exact(0, 0) == 1.0
    assert paired_difference(0, 0, 50).value == 0.0
    assert paired_difference(0, 0, 50).high < 0.1
    assert non_inferiority(0, 0, 500, margin=0.02).p_not_worse < 0.01
    assert non_inferiority(0, 0, 20, margin=0.02).p_not_worse > 0.5, "twenty items cannot show two points"
    assert non_inferiority(0, 0, 0, margin=0.02).p_not_worse == 1.0


def test_everything_differs() -> None:
    assert non_inferiority(0, 50, 50, margin=0.02).p_not_worse > 0.999
    assert non_inferiority(0, 50, 50, margin=0.02).p_worse < 1e-9
    assert non_inferiority(50, 0, 50, margin=0.02).p_not_worse < 1e-3
    assert paired_difference(0, 50, 50).low == pytest.approx(-1.0)


def test_more_labels_settle_it() -> None:
    """The number promised after 100 items is near the textbook number, and decides in most cases."""
    more = more_labels_for_non_inferiority(5, 5, 100, margin=0.02)
    assert more is not None
    assert more + 100 == pytest.approx(n_for_non_inferiority(11 / 102, 0.02), rel=0.2)
    rng = np.random.default_rng(2)
    later = draw(rng, more, 11 / 102, 0.0, 300) + 5
    tests = [non_inferiority(int(b), int(c), 100 + more, margin=0.02) for b, c in later]
    assert np.mean([t.p_not_worse <= 0.05 or t.p_worse <= 0.05 for t in tests]) >= 0.74
    assert more_labels_for_non_inferiority(300, 300, 10_000, margin=0.02) == 0
    assert more_labels_for_non_inferiority(0, 40, 1_000, margin=0.02) == 0, "a loss of four points is settled"


def test_paired_bootstrap_sees_only_disagreements() -> None:
    rng = np.random.default_rng(3)
    incumbent = (rng.random(500) < 0.8).astype(float)
    candidate = incumbent.copy()
    candidate[:10] = 0.0
    found = paired_bootstrap(candidate, incumbent, rng=np.random.default_rng(4))
    assert found.low < found.value < found.high < 0.0
    assert found.high - found.low < 0.03
    weights = np.full(500, 3.0)
    assert paired_bootstrap(candidate, incumbent, rng=rng, weights=weights).value == pytest.approx(found.value)
