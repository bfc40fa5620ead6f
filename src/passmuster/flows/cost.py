"""What runs cost, what the project has cost so far, and what each way to answer would cost over its life."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from passmuster.core.budget import count_cores
from passmuster.core.config import CostConfig
from passmuster.core.cost import check_prices, parse_volume, price_per_s
from passmuster.core.errors import NotFoundError, UsageError
from passmuster.core.lifetime import Advice, Candidate, advise
from passmuster.stages.train.run_folder import read_json
from passmuster.store import ledger
from passmuster.store.items import read_labels
from passmuster.store.releases import read_bundles, read_runs
from passmuster.store.store import Store

ACCOUNT, RUNGS = "cost.json", "rungs.json"
HOURS_PER_MONTH = 24 * 30.4


@dataclass(frozen=True)
class RunCost:
    """What one training cost. `account` is its ``cost.json``: usage, cost, limits, status."""

    run: str
    account: Mapping[str, Any]


@dataclass(frozen=True)
class Total:
    """All of one kind: how many, seconds, energy, and money by currency (prices may have changed)."""

    what: str
    n: int
    seconds: float
    energy_kwh: float
    money: Mapping[str, float]


@dataclass(frozen=True)
class Lifetime:
    """The candidates of one run at the project's prices, and the advice for so many predictions over so many months."""

    run: str
    candidates: tuple[Candidate, ...]
    advice: Advice | None
    per_month: float
    months: float
    per_error: float
    currency: str
    machine_per_month: float  # of one that is always on, whatever it answers
    uncounted_costs: bool = False  # [policy.costs] says what mistakes cost, and no price of one is set here

    @property
    def n(self) -> float:
        """Predictions in all."""
        return self.per_month * self.months


def run_cost(store: Store, name: str = "") -> RunCost:
    """The account of a training: by first digits of its id or of its bundle's digest, or its folder; the latest if "".

    Raises
    ------
    NotFoundError
        ``cost.none``.
    """
    run = _find_run(store, name)
    return RunCost(run, read_json(store.runs_folder / run / ACCOUNT))


def not_trained_here(store: Store, name: str = "") -> str | None:
    """Which bundle `cost` is asked about that no training here made: its digest, "" for all, None for a training's.

    Of no `name`, all where nothing was trained and something imported.
    """
    with store.read() as db:
        trained = [run["id"] for run in read_runs(db, kind="train")]
        brought = [bundle.digest for bundle in read_bundles(db) if bundle.origin == "imported"]
    if not name:
        return "" if brought and not trained else None
    return next((digest for digest in brought if digest.startswith(name)), None)


def totals(store: Store) -> list[Total]:
    """What the project has cost: trainings (failed and killed ones too), evaluations, labels at their price."""
    with store.read() as db:
        runs = [run["id"] for run in read_runs(db, kind="train")]
        evaluations = [event.payload.get("cost") for event in ledger.read(db, kind="evaluate.done")]
        n_labels = len(read_labels(db, role="train")) + len(read_labels(db, role="test"))
    accounts = [store.runs_folder / run / ACCOUNT for run in runs]
    prices = store.config.cost
    return [
        _total("training", [read_json(path)["cost"] for path in accounts if path.is_file()]),
        _total("evaluating", [cost for cost in evaluations if cost]),
        Total("labels", n_labels, 0.0, 0.0, {prices.currency: n_labels * prices.per_label}),
    ]


def lifetime(store: Store, name: str = "", *, volume: str = "", months: float = 0.0) -> Lifetime:
    """Candidates of a run, what each costs, and which to serve; volume and months are the configuration's when empty.

    The price of a prediction is the machine's, busy all the time: a machine that waits for work costs the same whoever
    answers. Reading, embedding and judging count, the network does not.
    """
    prices = store.config.cost
    check_prices(prices)
    per_month = parse_volume(volume or prices.volume)
    months = months or prices.months
    if not 0 < months < math.inf:
        raise UsageError("cost.months", "not a number of months", value=months, next="write it like --months 12")
    run = _find_run(store, name, needs=RUNGS)
    folder = store.runs_folder / run
    account = read_json(folder / ACCOUNT) if (folder / ACCOUNT).is_file() else {}
    candidates = tuple(candidates_of(read_json(folder / RUNGS), account, prices))
    return Lifetime(
        run=run,
        candidates=candidates,
        advice=advise(candidates, per_month * months, per_error=prices.per_error, currency=prices.currency),
        per_month=per_month,
        months=months,
        per_error=prices.per_error,
        currency=prices.currency,
        machine_per_month=_per_s(prices) * 3600 * HOURS_PER_MONTH,
        uncounted_costs=store.config.policy.costs.declared and not prices.per_error,
    )


def candidates_of(rows: list[Mapping[str, Any]], account: Mapping[str, Any], prices: CostConfig) -> list[Candidate]:
    """Every rung that was fitted, with every engine and precision that was measured on the project's own items."""
    per_s = _per_s(prices)
    fitted = [row for row in rows if "left_out" not in row and "accuracy_behind" in row]
    shared_s = max(0.0, account.get("usage", {}).get("seconds", 0.0) - sum(row["seconds"] for row in fitted))
    found = []
    seconds = {row["rung"]: row["seconds"] for row in fitted}
    for row in fitted:
        taught_s = seconds.get(row.get("learnt_from", ""), 0.0)  # a student costs its teacher as well
        for engine in row["engines"]:
            if engine.get("single_items_per_s") is None or "prepare" not in engine:
                continue
            batch, single = (_rate(key, engine, engine["prepare"], row["decide"]) for key in RATES)
            slower = engine["reason"].startswith("slower")
            found.append(
                Candidate(
                    name=f"{row['rung']} {engine['precision']}",
                    accuracy=row["accuracy"] if engine["taken"] else None,
                    behind=row["accuracy_behind"]["difference"],
                    behind_se=row["accuracy_behind"]["se"],
                    training=(shared_s + taught_s + row["seconds"]) * per_s,
                    per_million=1e6 * per_s / max(batch, single),
                    items_per_s=batch,
                    single_items_per_s=single,
                    taken=engine["taken"] and row["chosen"],
                    refused="" if engine["taken"] or slower else engine["reason"],
                )
            )
    return found


RATES = ("items_per_s", "single_items_per_s")


def _rate(key: str, *parts: Mapping[str, Any]) -> float:
    """Items a second of parts that follow one another."""
    return float(1.0 / sum(1.0 / part[key] for part in parts))


def _per_s(prices: CostConfig) -> float:
    """What a second of serving costs; no engine serves on a card."""
    return price_per_s(prices, count_cores(), 0)


def _find_run(store: Store, name: str, needs: str = ACCOUNT) -> str:
    with store.read() as db:
        runs = [run["id"] for run in read_runs(db, kind="train")]
        by_bundle = [bundle.run for bundle in read_bundles(db) if name and bundle.digest.startswith(name)]
    wanted = Path(name).resolve().name if name and Path(name).is_dir() else name
    known: list[str] = [run for run in runs if run.startswith(wanted)] + by_bundle
    for run in known:
        if (store.runs_folder / run / needs).is_file():
            return run
    what = (
        "there is no such training or bundle" if name and not known else "no training has left an account of its cost"
    )
    raise NotFoundError("cost.none", what, value=name or None, next="muster train")


def _total(what: str, costs: list[Mapping[str, Any]]) -> Total:
    money: dict[str, float] = {}
    for cost in costs:
        money[cost["currency"]] = money.get(cost["currency"], 0.0) + cost["money"]
    return Total(what, len(costs), sum(c["seconds"] for c in costs), sum(c["energy_kwh"] for c in costs), money)
