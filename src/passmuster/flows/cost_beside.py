"""What every bundle takes to serve, trained, imported or behind an address: beside each other, at today's prices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from passmuster.core.codec import to_plain
from passmuster.core.cost import check_prices, parse_volume
from passmuster.core.records import Bundle, Report
from passmuster.core.statistics import Interval
from passmuster.runtime.account import Account
from passmuster.runtime.bundle import open_bundle
from passmuster.runtime.predictor import Predictor
from passmuster.stages.evaluate.endpoint import asking_of
from passmuster.stages.evaluate.serving import always_on, price_here, serve_all, served_elsewhere
from passmuster.store.releases import read_bundle, read_bundles, read_channels, read_report, read_runs
from passmuster.store.seal import training_view
from passmuster.store.snapshots import read_snapshot
from passmuster.store.store import Store

N_TIMED = 40


@dataclass(frozen=True)
class BundleCost:
    """One bundle: what the sealed test says, and what serving it takes.

    `serving` is a row of the section ``serving`` of a report, at the prices of today's table; empty where nothing
    was timed. `per_month` is money for the predictions expected of it. `measured` says when and by what.
    """

    bundle: Bundle
    channels: tuple[str, ...]
    right: Interval | None
    under_faults: Interval | None
    serving: Mapping[str, Any]
    per_month: float | None
    measured: str


@dataclass(frozen=True)
class Beside:
    """Bundles side by side, the latest first, for `per_month` predictions. `always_on` is a month of this machine."""

    rows: tuple[BundleCost, ...]
    per_month: float
    currency: str
    always_on: float


def beside(store: Store, name: str = "", *, volume: str = "") -> Beside:
    """Every bundle with what was timed of it; of the one that `name` begins, time it now if nobody has.

    No test label is read and no endpoint is asked: of one that was never evaluated, what its import took counts.

    Raises
    ------
    NotFoundError
        ``bundle.none``.
    UsageError
        ``cost.price``, ``cost.volume``, ``bundle.ambiguous``.
    """
    prices = store.config.cost
    check_prices(prices)
    per_month = parse_volume(volume or prices.volume)
    with store.read() as db:
        every = [read_bundle(db, name)] if name else read_bundles(db)
        reports = {bundle.digest: read_report(db, bundle.digest) for bundle in every}
        channels = read_channels(db)
        imports = {run["id"]: run["record"] for run in read_runs(db, kind="import")}
    rows = []
    for bundle in every:
        found = reports[bundle.digest]
        report = found[1] if found else None
        serving, measured = timed(report)
        if not serving and bundle.run in imports:
            serving, measured = as_imported(store, bundle, imports[bundle.run].get("asking") or {})
        if not serving and name:
            serving, measured = timed_now(store, bundle), "now"
        if serving.get("items_per_s"):
            serving = {**serving, "per_million": price_here(serving["items_per_s"], prices)}
        each = serving.get("per_million")
        rows.append(
            BundleCost(
                bundle=bundle,
                channels=tuple(name for name, channel in channels.items() if channel.bundle == bundle.digest),
                right=interval_of(report, "accuracy"),
                under_faults=interval_of(report, "accuracy_under_faults"),
                serving={**serving, "currency": prices.currency} if serving else {},
                per_month=None if each is None else each * per_month / 1e6,
                measured=measured,
            )
        )
    return Beside(tuple(rows), per_month, prices.currency, always_on(prices))


def timed(report: Report | None) -> tuple[dict[str, Any], str]:
    """The bundle's own row in its report, and when that was; nothing of a report that timed nothing."""
    rows = (report.sections.get("serving") or {}).get("rows") if report else None
    if not report or not rows:
        return {}, ""
    return dict(rows[0]), f"evaluated {report.created[:10]}"


def as_imported(store: Store, bundle: Bundle, asking: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Of an endpoint, what its import took; nothing of another model."""
    folder = store.bundle_folder(bundle.path)
    if not asking or not folder.is_dir():
        return {}, ""
    how = asking_of(open_bundle(folder))
    if how is None:
        return {}, ""
    serving = served_elsewhere(how, Account(), store.config.cost)
    n, median = asking["n_answers"], asking["seconds_median"]
    latency = {"n": n, "median_s": median, "low_s": median, "high_s": median, "p95_s": asking["seconds_p95"]}
    return (
        {**to_plain(serving), "latency": latency, "per_million": asking["per_million"] or None},
        f"imported {bundle.created[:10]}",
    )


def timed_now(store: Store, bundle: Bundle) -> dict[str, Any]:
    """Time a bundle that answers on this machine, on items that are not for the test; nothing without such items."""
    loaded = open_bundle(store.bundle_folder(bundle.path))
    if asking_of(loaded) is not None:
        return {}
    predictor = Predictor(loaded)
    with store.read() as db:
        snapshot = read_snapshot(db)
    view = training_view(store, snapshot)
    items = [*view.pool, *view.reference]
    rng = np.random.default_rng(store.config.train.seed)
    some = [items[int(i)] for i in np.sort(rng.permutation(len(items))[:N_TIMED])]
    contents = store.blobs.get_many([item.blob for item in some])
    payloads = [predictor.modality.decode(data, store.config.data) for data in contents]
    (serving,) = serve_all([(bundle, predictor, Account())], payloads, store.config.cost) if payloads else (None,)
    return {} if serving is None else dict(to_plain(serving))


def interval_of(report: Report | None, name: str) -> Interval | None:
    """A metric of the whole test with its interval; None without one."""
    found = report.metric(name) if report else None
    return None if found is None else Interval(found.value, found.low, found.high, found.n, found.method, found.level)
