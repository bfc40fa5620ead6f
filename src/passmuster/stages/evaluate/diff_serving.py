"""Of two bundles that are held against each other: how often each is right, how fast, at what price, and where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from passmuster.core.codec import to_plain
from passmuster.core.records import Bundle, Payload
from passmuster.core.statistics import proportion
from passmuster.metrics.changes import Decision
from passmuster.runtime.account import Account
from passmuster.runtime.predictor import Predictor
from passmuster.stages.evaluate.draft import interval_record
from passmuster.stages.evaluate.serving import always_on, serve_all
from passmuster.store.releases import read_report
from passmuster.store.store import Store

N_TIMED = 40


def serve_both(
    store: Store,
    bundles: Sequence[Bundle],
    predictors: Sequence[Predictor],
    accounts: Sequence[Account],
    payloads: Sequence[Payload],
    decided: Sequence[Sequence[Decision]],
    labels: Sequence[str | None],
    weights: np.ndarray | None,
    clusters: np.ndarray,
) -> dict[str, Any]:
    """As the section ``serving`` of a report, a row for each bundle in their order.

    `payloads` are answered one at a time, not by endpoints: what those took is in their `accounts`. How often each is
    right is of the items with a label, `decided` being what each said; under faults, of its own latest report.
    """
    known = [i for i, label in enumerate(labels) if label is not None]
    found = serve_all(list(zip(bundles, predictors, accounts, strict=True)), payloads, store.config.cost)
    rows = []
    for bundle, serving, said in zip(bundles, found, decided, strict=True):
        with store.read() as db:
            report = read_report(db, bundle.digest)
        under = report[1].metric("accuracy_under_faults") if report else None
        right = None
        if known:
            hits = np.array([said[i].said == labels[i] for i in known], dtype=bool)
            counted = None if weights is None else weights[known]
            right = interval_record(proportion(hits, weights=counted, clusters=clusters[known]))
        rows.append(
            {
                "bundle": bundle.digest, **to_plain(serving), "right": right,
                "under_faults": None if under is None else under.value,
            }
        )  # fmt: skip
    return {"n": len(known), "rows": rows, "always_on": always_on(store.config.cost)}
