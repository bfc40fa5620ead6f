"""What heads cost: the one that every rung is judged by, and those that learn from the pool where there is time."""

from __future__ import annotations

from passmuster.core.budget import Machine
from passmuster.learn.folds import MAX_JUDGED, N_FOLDS, n_repeats
from passmuster.learn.propagation import propagation_s
from passmuster.learn.self_training import self_training_s
from passmuster.modality.base import Profile

HEAD_EFFICIENCY = 0.2  # of many small products against the machine's large one
HEAD_FITS = 24.0  # fits of a logistic head in one cross-validation
HEAD_EVALUATIONS = 18.0
# Share of the time left that cross-validating a logistic head may take; beyond it the head is fitted in closed form.
LOGISTIC_SHARE = 0.5
DISCRIMINANT_FITS, DISCRIMINANT_EFFICIENCY = 13.0, 0.5  # shrinkages times folds, and the last; large products
USUAL_WIDTH = 640.0
LEAST_S = 0.5  # many small fits, however few the labels
FIT_S = 0.06  # of one fit of the heads that learn from the pool, however few the items
MIN_SPREAD_ITEMS = 200
QUICK_WORK = 2e11  # operations; propagation that takes fewer is judged on every repeat, else on one


def all_heads_s(machine: Machine, profile: Profile, kind: str, *, sampled: bool, spread_items: int) -> float:
    """Seconds of judging every head on one rung's embeddings, as far as nothing is short.

    `sampled` says that the rung embeds a part of the pool alone; `spread_items` are those that labels may spread over.
    """
    first_s = heads_s(machine, profile, kind)
    n_seen = (profile.n_sampled if sampled else profile.n_pool) - profile.n_reference
    n_items = min(n_seen, spread_items + profile.n_labels)
    if kind == "discriminant" or n_items < profile.n_labels + MIN_SPREAD_ITEMS:
        return first_s
    shape = n_items, int(USUAL_WIDTH), profile.n_classes
    n_fits = N_FOLDS * n_repeats(profile.n_labels, profile.n_classes) + 1
    if pool_heads_flops(*shape, n_fits) > QUICK_WORK:
        n_fits = N_FOLDS + 1
    return first_s + LEAST_S + pool_heads_s(machine.matmul_gflops * 1e9, *shape, n_fits)


def head_kind(machine: Machine, profile: Profile, left_s: float) -> str:
    """The head that is tried first: logistic, or with thousands of classes and little time its closed-form stand-in."""
    logistic, closed = (heads_s(machine, profile, kind) for kind in ("logistic", "discriminant"))
    return "discriminant" if logistic > LOGISTIC_SHARE * left_s and closed < logistic else "logistic"


def heads_s(machine: Machine, profile: Profile, kind: str = "logistic", width: float = USUAL_WIDTH) -> float:
    """Seconds of one cross-validation of a head, ``"logistic"`` or ``"discriminant"``."""
    if kind == "discriminant":
        judged = min(2.0 * profile.n_labels * profile.n_classes, MAX_JUDGED)
        each = 2.0 * profile.n_labels * width**2 + 2.0 * width**2 * profile.n_classes + 3.0 * width * judged
        return 0.2 + DISCRIMINANT_FITS * each / (machine.matmul_gflops * 1e9 * DISCRIMINANT_EFFICIENCY)
    inner = min(width, float(profile.n_labels))
    flops = HEAD_FITS * HEAD_EVALUATIONS * 4.0 * profile.n_labels * inner * profile.n_classes
    return LEAST_S + flops / (machine.matmul_gflops * 1e9 * HEAD_EFFICIENCY)


def pool_heads_s(flops_per_s: float, n_items: int, d: int, n_classes: int, n_fits: int) -> float:
    """Seconds of so many fits of every head that learns from the pool."""
    return n_fits * FIT_S + pool_heads_flops(n_items, d, n_classes, n_fits) / flops_per_s


def pool_heads_flops(n_items: int, d: int, n_classes: int, n_fits: int) -> float:
    """The same in operations of a large product, without what every fit takes however small it is."""
    spread = propagation_s(1.0, n_items, d, n_classes, n_fits)
    return spread + self_training_s(1.0, n_items, d, n_classes, n_fits)
