"""What is compared between two models, and of a class, against scipy and by counting; 1,000 random cases each.

No item, one, differences that are all alike, ties, nothing that changed and everything that did are among them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from itertools import islice, product

import numpy as np
import pytest
from scipy import optimize, stats

from oracle_case import N_CASES, agree
from passmuster.core.paired import mcnemar_exact, paired_difference
from passmuster.core.statistics import effective_size, rate_size, wilson
from passmuster.metrics import versions
from passmuster.metrics.class_probabilities import FEWEST, chance_of, class_probabilities, rank_test
from passmuster.metrics.disagreements import read_by_disagreements, told_by_disagreements
from passmuster.metrics.regressions import (
    FLOOR,
    class_losses,
    log_chance_all_right,
    log_losses,
    mean_rise,
    sign_test,
)
from passmuster.metrics.slices import more_wrong
from passmuster.metrics.versions import compare

tango = cache(paired_difference)
WORSE, BETTER = (False, True), (True, False)  # whether new and old are right


def seeded() -> Iterator[tuple[int, np.random.Generator]]:
    return enumerate(map(np.random.default_rng, range(N_CASES)))


def test_counts_of_every_class() -> None:
    """Item by item; right or wrong as a whole, or class by class."""
    for number, rng in seeded():
        n, k = int(rng.integers(0, 12)), int(rng.integers(1, 4))
        members = rng.random((n, k)) < rng.choice([0.0, 0.5, 1.0])
        new, old = rng.random((2, n, k if number % 2 else 1)) < 0.6
        weights = rng.choice([1.0, 2.0, 7.0], n) if number % 3 else np.ones(n)
        for c, found in enumerate(class_losses(new, old, members, tuple("abc"[:k]), weights=weights)):
            own = [
                (bool(a[min(c, len(a) - 1)]), bool(b[min(c, len(b) - 1)])) for a, b, m in zip(new, old, members) if m[c]
            ]
            counts = len(own), own.count((False, True)), own.count((True, False))
            assert (found.name, found.n, found.worse, found.better) == ("abc"[c], *counts)
            each = [float(w) for w, m in zip(weights, members) if m[c]]
            lost, won = (sum(w for w, pair in zip(each, own) if pair == kind) for kind in (WORSE, BETTER))
            changed = [w for w, pair in zip(each, own) if pair in (WORSE, BETTER)]
            kish = sum(changed) ** 2 / sum(w * w for w in changed) if changed else 0.0
            worth = [kish * part / sum(changed) if changed else 0.0 for part in (lost, won)]
            assert (found.worth_worse, found.worth_better) == pytest.approx(worth)
            assert found.loss == pytest.approx((lost - won) / sum(each) if each else 0.0)
            if not number % 3:
                assert (found.worth_worse, found.worth_better) == pytest.approx(counts[1:])


def test_a_mean_that_rose_by_students_test() -> None:
    found, expected = [], []
    for number, rng in seeded():
        n = int(rng.integers(0, 20))
        new, old = rng.normal(rng.choice([0.0, 0.5]), 1, n), rng.normal(0, 1, n)
        if number % 5 == 0:
            new = old + rng.choice([-1.0, 0.0, 2.0])  # all alike
        one = mean_rise(new, old)
        found.append((one.n, one.rise, one.p))
        p = 1.0 if n < 2 else float(new[0] <= old[0])
        if n > 1 and number % 5:
            p = float(stats.ttest_rel(new, old, alternative="greater").pvalue)
        expected.append((n, np.mean(new - old) if n else 0.0, p))
    agree(found, np.array(expected))


def test_a_weighted_mean_that_rose() -> None:
    """Item by item; items that count alike are Student's test, whatever the scale of their weights."""
    for number, rng in seeded():
        n = int(rng.integers(2, 20))
        new, old = rng.normal(0.5, 1, n), rng.normal(0, 1, n)
        weights = rng.choice([1.0, 2.0, 7.0], n) if number % 4 else np.full(n, 3.0)
        one, total = mean_rise(new, old, weights), sum(weights.tolist())
        mean = sum(w * (a - b) for w, a, b in zip(weights, new, old)) / total
        variance = sum((w * (a - b - mean)) ** 2 for w, a, b in zip(weights, new, old)) / total**2 * n / (n - 1)
        freedom = max(1.0, total**2 / sum(w * w for w in weights) - 1)
        assert (one.rise, one.p) == pytest.approx((mean, stats.t.sf(mean / math.sqrt(variance), freedom)))
        if not number % 4:
            assert one.p == pytest.approx(mean_rise(new, old).p)


def test_losses_of_the_truth() -> None:
    for _, rng in seeded():
        p = rng.choice([0.0, 1e-5, 0.3, 1.0, math.nan, math.inf], int(rng.integers(0, 9)))
        wanted = [min(-math.log(FLOOR), -math.log(max(v, 1e-9))) if math.isfinite(v) else -math.log(FLOOR) for v in p]
        agree(log_losses(p), np.array(wanted))


def test_signs_and_a_clean_sheet() -> None:
    """By scipy's binomial test, and by the product of the chances."""
    for _, rng in seeded():
        more, fewer = (int(k) for k in rng.integers(0, 15, 2))
        p = stats.binomtest(more, more + fewer, 0.5, "greater").pvalue if more + fewer else 1.0
        assert sign_test(more, fewer) == pytest.approx(p, abs=1e-12)
        sure = rng.choice([0.0, 0.25, 0.9, 1.0, 1.0 + 1e-9], int(rng.integers(0, 20)))
        chance = math.prod(1 - (1 - min(1.0, v)) / 2 for v in sure.tolist())
        assert log_chance_all_right(sure) == pytest.approx(math.log(chance), abs=1e-12)


def of_ranks(rises: list[float]) -> float:
    """Wilcoxon 1945: of all signs that the ranks may have, the share with a sum of the rising at least as large.

    Of many items the normal distribution of that sum, whose variance is a quarter of the squared ranks, ties or none.
    """
    ranks = stats.rankdata(np.abs(rises)).tolist()
    up = sum(rank for rank, rise in zip(ranks, rises) if rise > 0)
    if len(ranks) < 10:
        sums = np.array(list(product((0, 1), repeat=len(ranks)))) @ ranks  # of every choice of signs
        return float((sums >= up).mean())
    return float(stats.norm.sf((up - sum(ranks) / 2) / math.sqrt(sum(rank**2 for rank in ranks) / 4)))


def test_ranks_of_signs() -> None:
    for number, rng in seeded():
        n = int(rng.integers(4, 9)) if number % 10 else 90
        rises = rng.normal(rng.choice([0.0, 1.0]), 1, n)
        if number % 12 == 0:
            rises = np.round(rises)  # ties, and items that did not move
        moved = [rise for rise in rises.tolist() if rise]
        wanted = of_ranks(moved) if len(moved) >= FEWEST else 1.0
        assert rank_test(rises) == pytest.approx(wanted, abs=1e-9), number


def test_chances_of_so_many() -> None:
    """Both ends of the binomial for whole numbers; between them the beta distribution, which is what it goes on as."""
    for number, rng in seeded():
        n, share = int(rng.integers(1, 60)), float(rng.choice([0.0, 0.1, 0.5, 1.0, rng.random()]))
        seen = float(rng.integers(0, n + 1)) + (0.5 if number % 2 else 0.0)
        seen, p = min(seen, float(n)), min(max(share, 1e-12), 1 - 1e-12)
        if seen % 1:
            tail = stats.beta.sf(p, seen + 1, n - seen) if seen <= n * p else stats.beta.cdf(p, seen, n - seen + 1)
        else:
            tail = stats.binom.cdf(seen, n, p) if seen <= n * p else stats.binom.sf(seen - 1, n, p)
        assert chance_of(seen, n, share) == pytest.approx(min(1.0, 2 * tail), abs=1e-6)


def test_probabilities_of_every_class() -> None:
    for number, rng in seeded():
        n, k = int(rng.integers(1, 10)), int(rng.integers(1, 4))
        members, (new, old) = rng.random((n, k)) < 0.5, rng.random((2, n, k))
        losses = rng.random((2, n, k if number % 2 else 1))
        weights = rng.choice([1.0, 3.0], n) if number % 4 > 1 else np.ones(n)
        clusters = rng.integers(0, max(1, n // 2), n) if number % 8 > 3 else np.arange(n)
        how = {"weights": weights, "clusters": clusters}
        for c, one in enumerate(class_probabilities(*losses, new, old, members, "abc"[:k], **how)):
            rises = [float(r[min(c, len(r) - 1)]) for r, m in zip(losses[0] - losses[1], members) if m[c]]
            size = effective_size(new[:, c] - members[:, c], **how) if n > 1 else 1.0
            seen, expected, live = (
                size * sum(w * v for w, v in zip(weights, column)) / sum(weights)
                for column in (members[:, c], new[:, c], old[:, c])
            )
            own = weights[members[:, c]]
            mean = sum(w * r for w, r in zip(own, rises)) / sum(own) if rises else 0.0
            assert (one.name, one.n, one.rise) == ("abc"[c], len(rises), pytest.approx(mean))
            assert (one.seen, one.expected, one.expected_live) == pytest.approx((seen, expected, live))
            assert one.p_expected == pytest.approx(chance_of(seen, size, expected / size))
            if len(set(own.tolist())) < 2:
                assert one.p_rise == pytest.approx(rank_test(np.array(rises)))
            else:  # ranks have no weights
                p = mean_rise(np.array(rises), np.zeros(len(rises)), own).p
                assert one.p_rise == (p if len(rises) >= FEWEST else 1.0)


def test_more_wrong_in_a_slice() -> None:
    """Fisher's exact test."""
    for seed, rng in seeded():
        n = int(rng.integers(2, 60))
        wrong, here = rng.random(n) < rng.choice([0.0, 0.4, 1.0], p=[0.1, 0.8, 0.1]), rng.random(n) < 0.5
        here[0], here[-1] = True, False
        table = [[(wrong & here).sum(), (~wrong & here).sum()], [(wrong & ~here).sum(), (~wrong & ~here).sum()]]
        expected = stats.fisher_exact(table, alternative="greater").pvalue
        assert more_wrong(wrong, here, ~here, np.ones(n), np.arange(n)) == pytest.approx(expected, abs=1e-9), seed


def test_two_models_on_the_same_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four counts item by item; intervals and p-values are those of functions that have oracles of their own."""
    monkeypatch.setattr(versions, "paired_difference", tango)  # asked the same again and again
    for number, rng in seeded():
        n = int(rng.integers(1, 9))
        truth, new, old = rng.choice(list("abc"), (3, n)).tolist()
        weights = rng.choice([1.0, 3.0], n) if number % 8 in (2, 3) else None
        clusters = rng.integers(0, max(1, n // 2), n) if number % 8 in (3, 4) else None
        how = {"weights": weights, "clusters": clusters}
        found = compare(truth, new, old, rng=rng, n_resamples=3, **how)
        pairs = [(a == y, b == y) for y, a, b in zip(truth, new, old)]
        better, worse = pairs.count((True, False)), pairs.count((False, True))
        counts = pairs.count((True, True)), better, worse, pairs.count((False, False))
        assert (found.both_right, found.only_candidate, found.only_incumbent, found.both_wrong) == counts
        if found.worth is None:
            assert found.p_mcnemar == mcnemar_exact(better, worse)
        else:
            assert found.p_mcnemar == mcnemar_exact(
                *(round(found.worth[k]) for k in ("only_candidate", "only_incumbent"))
            )
        assert found.changed == tuple(i for i in range(n) if new[i] != old[i])
        w = np.ones(n) if weights is None else weights
        up, down = (sum(w[i] for i in range(n) if pairs[i] == way) / sum(w) for way in ((True, False), (False, True)))
        assert found.difference.value == pytest.approx(up - down)
        assert found.negative_flips.value == pytest.approx(down)
        plain = len(set(w.tolist())) == 1 and (clusters is None or len(set(clusters.tolist())) == n)
        assert (found.worth is None) == plain
        if plain:
            assert found.difference == tango(better, worse, n)
            continue
        new_right, old_right = (np.array([pair[i] for pair in pairs], float) for i in (0, 1))
        n_flips = rate_size(new_right < old_right, **how)
        size = min(n_flips, effective_size(new_right - old_right, **how))
        each = {"n": size, "only_candidate": size * up, "only_incumbent": size * down}
        assert found.worth == pytest.approx({**each, "n_flips": n_flips, "flips": n_flips * down})


def test_labels_where_two_models_differ() -> None:
    """Kish's number of those labels, over the share of items that are answered differently."""
    for number, rng in seeded():
        n, n_rest = int(rng.integers(0, 15)), int(rng.integers(0, 40))
        truth, new, old = rng.choice(list("abc") if number % 5 else ["a"], (3, n)).tolist()
        n_rest_differ = int(rng.integers(0, n_rest + 1)) if number % 3 else 0
        weights = rng.choice([1.0, 3.0], n)
        names = rng.integers(0, max(1, n), n).tolist() if number % 2 else list(range(n))
        found = told_by_disagreements(
            truth, new, old, weights, n_rest=n_rest, n_rest_differ=n_rest_differ, clusters=names if number % 2 else None
        ).worth
        differ = [i for i in range(n) if new[i] != old[i]]
        if not n_rest_differ:  # nothing is left to weigh
            weights = np.ones(n)
        total, n_differ = sum(weights[i] for i in differ), len(differ) + n_rest_differ
        if not differ:
            assert found == {"n": 0 if n_differ else n + n_rest, "only_candidate": 0, "only_incumbent": 0}
            continue
        squares = [sum(weights[i] for i in differ if names[i] == name) ** 2 for name in sorted(set(names))]
        kish = total**2 / sum(squares)
        ups, downs = (sum(weights[i] for i in differ if said[i] == truth[i]) / total for said in (new, old))
        wanted = {"n": kish * (n + n_rest) / n_differ, "only_candidate": kish * ups, "only_incumbent": kish * downs}
        assert all(abs(found[key] - value) <= 0.5 + 1e-9 for key, value in wanted.items())


def test_rates_of_all_items_from_disagreements() -> None:
    """The bounds are where a score test begins to reject, with all else at its likeliest by a general optimiser."""
    z2 = stats.norm.ppf(0.975) ** 2
    for number, rng in islice(seeded(), 0, None, 5):
        n, n_rest = int(rng.integers(3, 15)), int(rng.integers(1, 40))
        truth, new, old = rng.choice(list("ab") if number % 10 else list("abc"), (3, n)).tolist()
        n_rest_differ = int(rng.integers(0, n_rest + 1))
        weights = rng.choice([1.0, 3.0], n).tolist()
        how = {"n_rest": n_rest, "n_rest_differ": n_rest_differ}
        plain = compare(truth, new, old, rng=rng)
        found = read_by_disagreements(plain, told_by_disagreements(truth, new, old, np.array(weights), **how))
        differ = [i for i in range(n) if new[i] != old[i]]
        share = (len(differ) + n_rest_differ) / (n + n_rest)
        if not differ:
            assert np.isnan(found.negative_flips.value) == (share > 0)
            continue
        w = {i: weights[i] if n_rest_differ else 1.0 for i in differ}
        size = sum(w.values()) ** 2 / sum(x * x for x in w.values())
        up, down = (sum(w[i] for i in differ if said[i] == truth[i]) / sum(w.values()) for said in (new, old))
        assert found.negative_flips.value == pytest.approx(share * down)
        assert found.difference.value == pytest.approx(share * (up - down))
        assert found.p_mcnemar == mcnemar_exact(round(size * up), round(size * down))
        if number % 50:
            continue
        n_all = n + n_rest
        flips, gain = found.negative_flips, found.difference
        most = wilson(share * n_all, n_all).high
        for edge in (gain.low, gain.high):
            if abs(edge) < most - 1e-6:
                assert score_of(share, n_all, size, [up, down, 1 - up - down], [1, -1, 0], edge) == pytest.approx(
                    z2, rel=0.02
                )
        exact = share * stats.beta.ppf(
            [0.05, 0.95], [size * down, size * down + 1], [size * (1 - down) + 1, size * (1 - down)]
        )
        for edge, bound in zip((flips.low, flips.high), exact, strict=True):
            if 0 < edge < most - 1e-6 and edge != pytest.approx(bound):
                assert score_of(share, n_all, size, [down, 1 - down], [1, 0], edge) == pytest.approx(z2, rel=0.02)


def score_of(share: float, n: float, size: float, counts: list[float], signs: list[int], rate: float) -> float:
    """How far a rate is off, squared, in variances where all else is likeliest: by a general optimiser."""

    def chances(at: np.ndarray) -> np.ndarray:
        return np.exp(at) / np.exp(at).sum()

    def of_all(at: np.ndarray) -> float:
        return float(1 / (1 + np.exp(-at[0])))

    def unlikely(at: np.ndarray) -> float:
        differ = share * np.log(of_all(at)) + (1 - share) * np.log(1 - of_all(at))
        return -float(n * differ + size * np.dot(counts, np.log(chances(at[1:]))))

    tried = [
        optimize.minimize(
            unlikely, [start, *np.linspace(-1, 1, len(signs)) * start], method="SLSQP",
            bounds=[(-18.0, 18.0)] * (1 + len(signs)), options={"maxiter": 300, "ftol": 1e-12},
            constraints={"type": "eq", "fun": lambda at: 100 * (of_all(at) * float(chances(at[1:]) @ signs) - rate)},
        )
        for start in (-1.0, 0.3)
    ]  # fmt: skip
    best = min((one for one in tried if one.success), key=lambda one: float(one.fun)).x
    differs, parts = of_all(best), chances(best[1:])
    mean, square = float(parts @ signs), float(parts @ np.abs(signs))
    variance = share * differs * (square - mean**2) / size + mean**2 * differs * (1 - differs) / n
    return float((share * np.dot(counts, signs) - rate) ** 2 / variance)
