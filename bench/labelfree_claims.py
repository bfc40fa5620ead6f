"""What `labelfree.py` claims of its batches: how far off estimates were, and how often their intervals held."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import harness

PEERS = ("average_confidence", "doc", "atc")
GROUPS = {"mild": "faults_mild", "severe": "faults_severe", "domain": "domains", "mix": "mixes"}


def claim(found: harness.Report, rows: Sequence[dict[str, Any]], later: str) -> None:
    """Mean absolute errors with bootstrap intervals over faults and domains, coverage, and the peers' errors.

    What was reported before keeps its names; scenes made later have `later` before theirs, and mixes are claimed apart.
    """
    for reading in sorted({row["reading"] for row in rows}):
        mine = [row for row in rows if row["reading"] == reading]
        for fresh in (False, True):
            for group, name in GROUPS.items():
                members = [row for row in mine if row["group"] == group and row["fresh"] == fresh]
                claim_group(found, f"{later if fresh else ''}{name}.{reading}", members)
            usual = [row for row in mine if row["group"] != "mix" and row["fresh"] == fresh]
            claim_group(found, f"{later if fresh else ''}all.{reading}", usual)
        for group in ("mild", "severe"):
            unseen = [row for row in mine if row["group"] == group and row["unseen"] and not row["fresh"]]
            claim_group(found, f"faults_unseen_{group}.{reading}", unseen)


def claim_group(found: harness.Report, name: str, members: Sequence[dict[str, Any]]) -> None:
    """One group of batches; none where it is empty."""
    if not members:
        return
    kinds = [f"{row['set']} {row['kind']}" for row in members]
    peers = {peer: float(np.mean([abs(row[peer] - row["accuracy"]) for row in members]) * 100) for peer in PEERS}
    error = np.array([abs(row["estimate"] - row["accuracy"]) for row in members]) * 100
    low, high = bootstrapped(error, kinds)
    found.claim(f"{name}.mean_absolute_error", error.mean(), "points", low=low, high=high, peer=peers)
    covered = np.array([row["low"] <= row["accuracy"] <= row["high"] for row in members], dtype=float)
    low, high = bootstrapped(covered, kinds)
    found.claim(f"{name}.coverage_of_90_percent", covered.mean(), "rate", low=low, high=high)
    below = np.array([row["accuracy"] <= row["high"] for row in members], dtype=float)
    low, high = bootstrapped(below, kinds)
    found.claim(f"{name}.upper_end_holds", below.mean(), "rate", low=low, high=high)
    width = float(np.mean([row["high"] - row["low"] for row in members]) * 50)
    found.claim(f"{name}.mean_half_width", width, "points")
    found.claim(f"{name}.batches", len(members), "count")


def bootstrapped(values: np.ndarray, groups: Sequence[str]) -> tuple[float, float]:
    """95 % interval of the mean; batches of one fault or domain of one set are drawn together."""
    names, code = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng(0)
    sums, counts = np.bincount(code, values), np.bincount(code)
    means = []
    for _ in range(2_000):
        drawn = rng.integers(0, len(names), len(names))
        means.append(sums[drawn].sum() / counts[drawn].sum())
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))
