"""Whether the forecasts kept their word: each one in the ledger against the first model that learnt more labels.

A gain is seen only roughly itself: as the difference of two accuracies, each on so many test labels (or, where
nothing was tested, each cross-validated). So a forecast counts as kept when the gain seen lies inside its interval,
widened by how roughly the gain was seen.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from passmuster.core.records import Bundle, Event
from passmuster.flows.label_plan import n_learnt
from passmuster.learn.forecast import PRIOR, Z, gain_of
from passmuster.store import ledger
from passmuster.store.releases import read_bundles, read_report, read_verdict
from passmuster.store.store import Store

WORDS = {"accuracy": "accuracy", "item_f1": "F1 of items"}  # by the metric that was foretold


@dataclass(frozen=True)
class ForecastCheck:
    """A forecast and what came of it; gains are in accuracy, or of sets in the mean F1 of items, as `by` says.

    `gain` with `low` and `high` is foretold for the labels that really came (`n_added`). `seen` is what they brought,
    by the measure `by`, give or take `seen_half` at the same level. `foretold_chance` was that the labels for
    evidence decide the verdict, `decided` whether it was decided; None where nothing was foretold.
    """

    at: str
    n_labels: int
    n_added: int
    gain: float
    low: float
    high: float
    seen: float
    seen_half: float
    inside: bool
    by: str
    foretold_chance: float | None
    decided: bool | None


def check_forecast(store: Store) -> list[ForecastCheck]:
    """Every forecast that a later training can be held against, in the order of the ledger.

    A forecast needs a model before it and one after it, both measured in the same way.
    """
    checks = []
    with store.read() as db:
        bundles = [bundle for bundle in reversed(read_bundles(db)) if bundle.origin == "trained"]
        for event in ledger.read(db, kind="label.forecast"):
            measure = event.payload.get("measure", "accuracy")  # older plans foretold nothing else
            if event.payload[measure] is None:
                continue
            n_labels = int(event.payload["n_labels"])
            before = [b for b in bundles if b.created <= event.at]
            after = [b for b in bundles if b.created > event.at and n_learnt(db, b) > n_labels]
            if before and after:
                check = _checked(store, db, event, measure, before[-1], after[0])
                checks += [check] if check else []
    return checks


def _checked(
    store: Store, db: Connection, event: Event, measure: str, before: Bundle, after: Bundle
) -> ForecastCheck | None:
    measured, by = (_tested(db, before, measure), _tested(db, after, measure)), f"test {WORDS[measure]}"
    if None in measured:
        measured = _cross_validated(store, before, measure), _cross_validated(store, after, measure)
        by = f"cross-validated {WORDS[measure]}"
    first, last = measured
    if first is None or last is None:
        return None
    n_before, n_after = n_learnt(db, before), n_learnt(db, after)
    told = event.payload[measure]
    error = told["error"] * (n_before / event.payload["n_labels"]) ** -told["slope"]  # of the labels learnt before
    spreads = told.get("luck", PRIOR.luck), told.get("noise", PRIOR.noise)  # older plans did not say
    found = gain_of(
        n_before, n_after - n_before, error, told["error_spread"], told["slope"], told["slope_spread"], *spreads
    )
    seen = last[0] - first[0]
    seen_half = Z * math.hypot(first[1], last[1])
    half = (found.high - found.low) / 2
    chance, decided = _decision(db, event.payload["verdict"], after)
    return ForecastCheck(
        at=event.at, n_labels=n_before, n_added=n_after - n_before, gain=found.gain, low=found.low, high=found.high,
        seen=seen, seen_half=seen_half, inside=abs(seen - found.gain) <= math.hypot(half, seen_half), by=by,
        foretold_chance=chance, decided=decided,
    )  # fmt: skip


def _tested(db: Connection, bundle: Bundle, measure: str) -> tuple[float, float] | None:
    """The measure and its standard error by the bundle's latest report."""
    found = read_report(db, bundle.digest)
    metric = found[1].metric(measure) if found else None
    return (metric.value, _standard_error(metric.value, metric.n)) if metric is not None and metric.n else None


def _cross_validated(store: Store, bundle: Bundle, measure: str) -> tuple[float, float] | None:
    """The measure and its standard error by the cross-validation of the bundle's training."""
    path = store.runs_folder / bundle.run / "rungs.json"
    if not path.is_file():
        return None
    rows: list[Mapping[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    chosen = next((row for row in rows if row.get("chosen")), None)
    if chosen is None or measure not in chosen:
        return None
    with store.read() as db:
        n = n_learnt(db, bundle)
    return float(chosen[measure]), _standard_error(float(chosen[measure]), n)


def _standard_error(rate: float, n: int) -> float:
    shrunk = (rate * n + 1) / (n + 2)  # so that a perfect count is not taken for certainty
    return math.sqrt(shrunk * (1 - shrunk) / n)


def _decision(db: Connection, told: Mapping[str, Any] | None, after: Bundle) -> tuple[float | None, bool | None]:
    if told is None or told["chance"] is None:
        return None, None
    judged = read_verdict(db, after.digest)
    return float(told["chance"]), None if judged is None else judged[0].outcome != "INSUFFICIENT"
