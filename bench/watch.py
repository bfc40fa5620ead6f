"""How long the watch takes to see errors rise from 5 to 15 %, and how rarely it sees a rise that is not there.

Protocol: 1,000 simulated streams of 20,000 quiet labels (error 5 %); after an alarm the detector begins anew, and the
mean time between false alarms is all labels over all alarms, with the exact Poisson interval (Garwood 1936), so that
streams without an alarm count for what they are. Delay: labels from the change to the alarm, in 1,000 streams that
change at the detector's first label, which is its worst moment, and again after 1,000 quiet labels. Two settings: the
base rate is known; the detector is given the upper bound of what 400 test labels with 5 % errors show. The detector is
what `muster watch` runs (signal errors.v1, declared mean 10,000) and is not told the rate after the change.

Beside it, on the same streams: Page's CUSUM (Page 1954) that is told both rates, its threshold calibrated to the same
mean; a window of the latest 100 labels (binomial count, calibrated likewise); DDM (Gama et al. 2004) as published,
which learns the base rate by itself, promises nothing about false alarms, and cannot see a change at its first label.

Requests without an answer (signal unanswered.v1, as `muster watch` runs it: one of its signals, so at four times the
declared mean): 1,000 streams of 100,000 requests of which 1 % fail, then 1,000 that change to all, half, a fifth or a
twentieth failing. Beside it, what health checks do: an alarm at five failures in a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from harness import Report, parse
from passmuster.core.config import WatchPolicy
from passmuster.core.sequential import HEADROOM, shiryaev_roberts, statistic
from passmuster.core.statistics import wilson
from passmuster.signals.base import Detector, start
from passmuster.signals.find import N_SIGNALS, signals
from passmuster.signals.unanswered import NAME as UNANSWERED

QUIET, RISEN = 0.05, 0.15
DECLARED = 10_000.0
N_TEST, N_TEST_ERRORS = 400, 20
N_QUIET_BEFORE = 1_000
WINDOW = 100
LONGEST_DELAY = 20_000
USUAL, FAILING = 0.01, (1.0, 0.5, 0.2, 0.05)  # share of requests without an answer in good times, and after a change
N_REQUESTS = 100_000


@dataclass(frozen=True)
class Method:
    """A detector for many streams at once: the state of n streams, a step, and how to begin some of them anew."""

    name: str
    fresh: Callable[[int], tuple[np.ndarray, ...]]
    step: Callable[[tuple[np.ndarray, ...], np.ndarray], tuple[tuple[np.ndarray, ...], np.ndarray]]


def main() -> None:
    arguments = parse(__doc__ or "")
    report = Report("watch", arguments)
    n_streams, n_quiet = (250, 20_000) if arguments.quick else (1_000, 20_000)
    policy = WatchPolicy(mean_observations_between_false_alarms=DECLARED)
    upper = 1.0 - wilson(N_TEST - N_TEST_ERRORS, N_TEST).low
    peers = [cusum(calibrated(cusum, np.arange(4.0, 9.0, 0.02), arguments.seed)),
             window(calibrated(window, np.arange(8, 30), arguments.seed)), ddm()]  # fmt: skip
    found = {
        method.name: measure(method, n_streams, n_quiet, arguments.seed, report)
        for method in (
            ours("known_rate", QUIET, policy, arguments.seed),
            ours("upper_bound_rate", upper, policy, arguments.seed),
            *peers,
        )
    }
    show(found)
    told = found["page_cusum_told_15_percent"]
    for setting in ("known_rate", "upper_bound_rate"):
        claim(report, f"error_5_to_15.{setting}", found[setting], told)
    claim(report, "error_5_to_15", found["known_rate"], told)
    unanswered(report, n_streams, policy, arguments.seed)
    report.write()


def unanswered(report: Report, n_streams: int, policy: WatchPolicy, seed: int) -> None:
    """Requests from an outage to its alarm, and false alarms in good times, beside five failures in a row."""
    detector = start(
        UNANSWERED, signals[UNANSWERED], USUAL, policy, N_SIGNALS, rng=np.random.default_rng(seed)
    )  # fmt: skip
    ours, row = following("unanswered.v1", detector), five_in_a_row()
    print(f"{'':14}" + "".join(f"{f'{share:.0%} fail':>18}" for share in FAILING) + f"{'false alarms':>18}")
    peer: dict[float, float] = {}
    for method in (row, ours):
        n, n_alarms = quiet(method, n_streams, N_REQUESTS, np.random.default_rng([seed, 3]), USUAL)
        found = {
            share: delays(method, n_streams, N_QUIET_BEFORE, np.random.default_rng([seed, 4]), USUAL, share)
            for share in FAILING
        }
        report.run(
            method=method.name, seed=seed, n_streams=n_streams, n_quiet_requests=n, n_false_alarms=n_alarms,
            delays={f"{share:g}": mean(late) for share, (late, _) in found.items()},
            n_silent={f"{share:g}": silent for share, (_, silent) in found.items()},
        )  # fmt: skip
        cells = "".join(f"{late.mean():>18,.1f}" for late, _ in found.values())
        print(f"{method.name:14}{cells}{n_alarms:>9,} of {n / 1e6:,.0f} m")
        if method is row:
            peer = {share: float(late.mean()) for share, (late, _) in found.items()}
        else:
            for share, (late, _) in found.items():
                value, low, high = mean(late)
                name = f"unanswered.{100 * share:.0f}_percent.mean_delay_requests"
                report.claim(name, value, "requests", low=low, high=high, peer=peer[share])
            most = float(stats.chi2.ppf(0.975, 2 * n_alarms + 2)) / 2
            report.claim(
                "unanswered.mean_requests_between_false_alarms", n / max(1, n_alarms), "requests", low=n / most
            )  # fmt: skip


def five_in_a_row() -> Method:
    """What health checks commonly do: alarm at five failures in a row."""

    def step(state: tuple[np.ndarray, ...], flags: np.ndarray) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        run = np.where(flags, state[0] + 1, 0)
        return (run,), run >= 5

    return Method("five in a row", lambda n: (np.zeros(n, dtype=int),), step)


def ours(name: str, base_rate: float, policy: WatchPolicy, seed: int) -> Method:
    """The detector of `muster watch`, alone on its declared rate."""
    return following(
        name, start("errors.v1", signals["errors.v1"], base_rate, policy, 1, rng=np.random.default_rng(seed))
    )


def following(name: str, detector: Detector) -> Method:
    """A detector, in many streams at once."""
    mix = detector.mixture

    def step(state: tuple[np.ndarray, ...], flags: np.ndarray) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        components = shiryaev_roberts(mix, state[0], flags)
        return (components,), statistic(mix, components) >= detector.bound

    return Method(name, lambda n: (np.zeros((n, len(mix.weights))),), step)


def cusum(threshold: float) -> Method:
    """Page 1954: the reflected log-likelihood ratio of 15 % against 5 %."""
    up, down = np.log(RISEN / QUIET), np.log((1 - RISEN) / (1 - QUIET))

    def step(state: tuple[np.ndarray, ...], flags: np.ndarray) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        walk = np.maximum(0.0, state[0] + np.where(flags, up, down))
        return (walk,), walk >= threshold

    return Method("page_cusum_told_15_percent", lambda n: (np.zeros(n),), step)


def window(threshold: float) -> Method:
    """The number of errors among the latest 100 labels."""

    def step(state: tuple[np.ndarray, ...], flags: np.ndarray) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        latest, count, place = state
        rows = np.arange(len(count))
        count = count + flags - latest[rows, place]
        latest[rows, place] = flags
        return (latest, count, (place + 1) % WINDOW), count >= threshold

    return Method(
        "window_100",
        lambda n: (np.zeros((n, WINDOW), dtype=np.int8), np.zeros(n, dtype=int), np.zeros(n, dtype=int)),
        step,
    )


def ddm() -> Method:
    """Gama, Medas, Castillo and Rodrigues 2004: alarm where p + s >= p_min + 3 s_min, after 30 labels."""

    def step(state: tuple[np.ndarray, ...], flags: np.ndarray) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        n, n_errors, least_p, least_s = state
        n, n_errors = n + 1, n_errors + flags
        p = n_errors / n
        s = np.sqrt(p * (1 - p) / n)
        lower = (n >= 30) & (p + s < least_p + least_s)
        least_p, least_s = np.where(lower, p, least_p), np.where(lower, s, least_s)
        return (n, n_errors, least_p, least_s), (n >= 30) & (p + s > least_p + 3 * least_s)

    def fresh(n: int) -> tuple[np.ndarray, ...]:
        return np.zeros(n), np.zeros(n), np.full(n, np.inf), np.full(n, np.inf)

    return Method("ddm", fresh, step)


def calibrated(make: Callable[[float], Method], thresholds: np.ndarray, seed: int) -> float:
    """The lowest threshold whose mean time to a false alarm is what ours aims at; by halving, on streams of its own."""
    low, high = 0, len(thresholds) - 1
    while low < high:
        middle = (low + high) // 2
        n, n_alarms = quiet(make(thresholds[middle]), 500, 20_000, np.random.default_rng([seed, 7]))
        low, high = (low, middle) if n / max(1, n_alarms) >= DECLARED * HEADROOM else (middle + 1, high)
    return float(thresholds[low])


def quiet(
    method: Method, n_streams: int, n_labels: int, rng: np.random.Generator, rate: float = QUIET
) -> tuple[int, int]:
    """Labels seen and false alarms raised by streams that never change."""
    state, n_alarms = method.fresh(n_streams), 0
    fresh = method.fresh(n_streams)
    for _ in range(n_labels):
        state, alarmed = method.step(state, rng.random(n_streams) < rate)
        if alarmed.any():
            n_alarms += int(alarmed.sum())
            for part, begun in zip(state, fresh, strict=True):
                part[alarmed] = begun[alarmed]
    return n_streams * n_labels, n_alarms


def delays(
    method: Method, n_streams: int, n_before: int, rng: np.random.Generator, before: float = QUIET,
    after: float = RISEN,
) -> tuple[np.ndarray, int]:  # fmt: skip
    """Labels from the change to the alarm, in streams that had no alarm before it; and how many are still silent."""
    state = method.fresh(n_streams)
    for _ in range(n_before):
        state, alarmed = method.step(state, rng.random(len(state[0])) < before)
        state = tuple(part[~alarmed] for part in state)
    found: list[int] = []
    for delay in range(1, LONGEST_DELAY + 1):
        state, alarmed = method.step(state, rng.random(len(state[0])) < after)
        found += [delay] * int(alarmed.sum())
        state = tuple(part[~alarmed] for part in state)
        if not len(state[0]):
            break
    return np.array([*found, *[LONGEST_DELAY] * len(state[0])]), len(state[0])


@dataclass(frozen=True)
class Found:
    """What was measured of one method. Means come with 95 % intervals."""

    delay: tuple[float, float, float]
    delay_later: tuple[float, float, float]
    between: tuple[float, float, float | None]
    n_alarms: int
    n_silent: int


def measure(method: Method, n_streams: int, n_quiet: int, seed: int, report: Report) -> Found:
    """Quiet streams, then streams that change; the same seeds for every method."""
    n_labels, n_alarms = quiet(method, n_streams, n_quiet, np.random.default_rng([seed, 0]))
    first, silent = delays(method, n_streams, 0, np.random.default_rng([seed, 1]))
    later, silent_later = delays(method, n_streams, N_QUIET_BEFORE, np.random.default_rng([seed, 2]))
    most = float(stats.chi2.ppf(0.975, 2 * n_alarms + 2)) / 2
    least = float(stats.chi2.ppf(0.025, 2 * n_alarms)) / 2 if n_alarms else None
    between = (n_labels / max(1, n_alarms), n_labels / most, n_labels / least if least else None)
    found = Found(mean(first), mean(later), between, n_alarms, silent + silent_later)
    report.run(
        method=method.name, seed=seed, n_streams=n_streams, n_quiet_labels_per_stream=n_quiet,
        n_quiet_labels=n_labels, n_false_alarms=n_alarms, mean_time_between_false_alarms=between,
        mean_delay_at_first_label=found.delay, mean_delay_after_1000_quiet=found.delay_later,
        delay_quantiles_5_50_95=np.quantile(first, [0.05, 0.5, 0.95]), n_silent=found.n_silent,
    )  # fmt: skip
    return found


def mean(values: np.ndarray) -> tuple[float, float, float]:
    """Mean with its normal 95 % interval."""
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)


def claim(report: Report, prefix: str, found: Found, told: Found) -> None:
    """The pair of claims of one setting; the peer is the CUSUM that is told both rates."""
    delay, low, high = found.delay
    report.claim(f"{prefix}.mean_delay_labels", delay, "labels", low=low, high=high, peer=told.delay[0])
    between, low, top = found.between
    report.claim(
        f"{prefix}.mean_time_between_false_alarms", between, "labels", low=low, high=top, peer=told.between[0]
    )  # fmt: skip


def show(found: dict[str, Found]) -> None:
    """One line per method."""
    print(f"{'method':30} {'delay at first label':>24} {'after 1,000 quiet':>20} {'labels per false alarm':>26}")
    for name, f in found.items():
        first, later = (f"{m:.1f} [{low:.1f}, {high:.1f}]" for m, low, high in (f.delay, f.delay_later))
        print(f"{name:30} {first:>24} {later:>20} {f.between[0]:>14,.0f} (>= {f.between[1]:,.0f})")


if __name__ == "__main__":
    main()
