"""What it takes to serve a model, here or behind an address: seconds of an answer, money of a million, where items go.

Of a model on this machine single answers are timed, on a few items in turn with the live release. An endpoint is never
asked for that: the requests that an evaluation makes anyway were timed as they were made.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from passmuster.core.budget import count_cores, count_gpus
from passmuster.core.codec import to_plain
from passmuster.core.config import CostConfig
from passmuster.core.cost import price_per_s
from passmuster.core.records import Bundle, Payload
from passmuster.core.statistics import Interval, proportion
from passmuster.runtime.account import Account
from passmuster.runtime.bundle import LoadedBundle
from passmuster.runtime.endpoint import Asking, is_loopback
from passmuster.runtime.predictor import Predictor
from passmuster.runtime.speed import Latency, items_per_s, latency_of, time_singly
from passmuster.stages.evaluate.closely import Compared
from passmuster.stages.evaluate.draft import Answers, Draft, Evidence, Scope, interval_record, pick
from passmuster.stages.evaluate.endpoint import asking_of
from passmuster.stages.evaluate.gather import read_payloads
from passmuster.store.store import Store

TIMED_S = 4.0  # seconds for single answers of both models together, once five items are through
BATCHES_S = 1.0  # for passes over a batch, of each model


@dataclass(frozen=True)
class Serving:
    """What it takes to answer with one bundle.

    `what` says where the model is from, in words. `host` is where items are sent, "" when they stay in the process that
    serves; `leaves` whether that is another machine. `latency` is of single answers: on this machine from the decoded
    item to the answer, of an endpoint of its requests, network included, of `per_request` items, with up to `under_way`
    at a time; None where none was timed. `items_per_s` is the faster of one by one and in batches, at which a busy
    machine answers; None of an endpoint. `per_million` is the price of a million answers in `currency`: an endpoint's
    as declared, else that of a machine that is busy all the time; None where it is not known. `machine` is which one
    measured.
    """

    what: str
    host: str
    leaves: bool
    latency: Latency | None
    items_per_s: float | None
    per_million: float | None
    currency: str
    machine: str
    per_request: int = 1
    under_way: int = 1


def measure_serving(
    store: Store,
    draft: Draft,
    candidate: tuple[Bundle, Predictor],
    live: tuple[Bundle, Compared] | None,
    evidence: Evidence,
    answers: Answers,
    scope: Scope,
) -> None:
    """Section ``serving``: a row for the candidate, and one for the live release where there is one to compare with.

    Each row has `Serving`, how often the model is right (both on the same items) and how often under natural faults.
    """
    if not scope.n_timed:
        return
    bundle, predictor = candidate
    who = [(bundle, predictor, predictor.account)]
    fresh = np.ones(len(evidence.items), dtype=bool) if live is None else live[1].fresh
    shares = [answers.predicted[fresh] == evidence.y[fresh]]
    if live is not None:
        who.append((live[0], live[1].live, live[1].live.account))
        labels = pick(evidence.labels, fresh)
        said = live[1].old.predictions
        shares.append(np.array([p.label == label for p, label in zip(said, labels, strict=True)], dtype=bool))
    rng = np.random.default_rng([store.config.train.seed, 9])  # its own, so that no other figure moves
    chosen = np.sort(rng.permutation(np.flatnonzero(fresh))[: scope.n_timed])
    payloads = list(read_payloads(store, predictor, [evidence.items[int(i)] for i in chosen]))
    rows: list[dict[str, Any]] = []
    under = under_faults(draft)
    for place, serving in enumerate(serve_all(who, payloads, store.config.cost)):
        found = proportion(shares[place], weights=evidence.weights[fresh], clusters=evidence.clusters[fresh])
        rows.append(
            {
                "bundle": who[place][0].digest, **to_plain(serving), "right": interval_record(found),
                "under_faults": under[place] if place < len(under) else None,
            }
        )  # fmt: skip
    if live is None and (headline := next((m for m in draft.metrics if (m.name, m.slice) == ("accuracy", "")), None)):
        rows[0]["right"] = interval_record(
            Interval(headline.value, headline.low, headline.high, headline.n, headline.method)
        )
    draft.sections["serving"] = {"n": int(fresh.sum()), "rows": rows, "always_on": always_on(store.config.cost)}


def under_faults(draft: Draft) -> list[float]:
    """Share right over all faults: of this model, and beside it of the live release where both were asked."""
    section: Mapping[str, Any] = draft.sections.get("corruptions") or {}
    both = section.get("against_live")
    if both:
        return [both["right"], both["right_live"]]
    return [section["mean"]["value"]] if section.get("mean") else []


def serve_all(
    who: Sequence[tuple[Bundle, Predictor, Account]], payloads: Sequence[Payload], prices: CostConfig
) -> list[Serving]:
    """`Serving` of bundles side by side: those here timed in turn, endpoints by the requests in their accounts."""
    here = [predictor for _, predictor, _ in who if asking_of(predictor.bundle) is None]
    works = [lambda payload, predictor=predictor: predictor.predict([payload]) for predictor in here]
    taken = iter(time_singly(works, payloads, seconds=TIMED_S))
    found = []
    for bundle, predictor, account in who:
        asking = asking_of(predictor.bundle)
        if asking is not None:
            found.append(served_elsewhere(asking, account, prices))
            continue
        latency, rate = latency_of(next(taken)), None
        if latency is not None:
            in_batches = items_per_s(predictor.predict, [list(payloads)], [len(payloads)], seconds=BATCHES_S)
            rate = max(in_batches, 1.0 / max(latency.median_s, 1e-9))
        found.append(
            Serving(
                what=what_it_is(bundle, predictor.bundle), host="", leaves=False, latency=latency, items_per_s=rate,
                per_million=None if rate is None else price_here(rate, prices), currency=prices.currency,
                machine=this_machine(),
            )
        )  # fmt: skip
    return found


def served_elsewhere(asking: Asking, account: Account, prices: CostConfig) -> Serving:
    """`Serving` of an endpoint, by requests that were made for something else."""
    endpoint = asking.endpoint
    summary = account.summary(endpoint.price, endpoint.batch)
    address = urlsplit(endpoint.url)
    model = str(endpoint.body.get("model", ""))
    return Serving(
        what=f"asked over HTTP{f', model {model}' if model else ''}", host=address.netloc,
        leaves=not is_loopback(address.hostname or ""), latency=latency_of(account.seconds), items_per_s=None,
        per_million=summary.get("per_million") or None, currency=prices.currency, machine=this_machine(),
        per_request=endpoint.batch, under_way=endpoint.concurrency,
    )  # fmt: skip


def what_it_is(bundle: Bundle, loaded: LoadedBundle) -> str:
    """Where a model on this machine is from."""
    precision = loaded.manifest.engine.precision
    if bundle.origin == "imported":
        return f"imported ({loaded.manifest.rung}), {precision}"
    return f"trained here ({loaded.manifest.rung}), {precision}"


def price_here(rate: float, prices: CostConfig) -> float:
    """Money for a million answers by this machine, busy all the time at `rate` items a second."""
    return 1e6 * price_per_s(prices, count_cores(), count_gpus()) / rate


def always_on(prices: CostConfig) -> float:
    """Money for a month of this machine, whoever answers."""
    return price_per_s(prices, count_cores(), count_gpus()) * 3600 * 24 * 30.4


def this_machine() -> str:
    """On what was measured: cores and kind of processor."""
    cores = count_cores()
    return f"{cores} core{'' if cores == 1 else 's'}, {platform.machine() or 'unknown processor'}"
