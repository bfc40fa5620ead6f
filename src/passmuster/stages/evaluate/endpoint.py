"""Of a model that is asked over HTTP: how long answers took, what they cost, and how many named no class."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from passmuster.core.config import CostConfig
from passmuster.core.progress import Progress
from passmuster.core.statistics import proportion
from passmuster.runtime.bundle import LoadedBundle
from passmuster.runtime.endpoint import NO_ANSWER, Asking, read_asking
from passmuster.runtime.engine import HTTP
from passmuster.runtime.predictor import Predictor
from passmuster.stages.evaluate.draft import Answers, Draft, Evidence, Scope, pick
from passmuster.stages.evaluate.words import percent, said

N_CORRUPTED = 40  # items that suffer every fault where each answer is paid for: a fifth of the usual
N_FIT = 100


def asking_of(bundle: LoadedBundle) -> Asking | None:
    """How the bundle's endpoint is asked; None of a bundle that answers on this machine."""
    return read_asking(bundle.graph) if bundle.manifest.engine.name == HTTP else None


def spare(scope: Scope, predictor: Predictor, progress: Progress) -> Scope:
    """The scope, smaller where answers are bought."""
    asking = asking_of(predictor.bundle)
    if asking is None:
        return scope
    fewer = replace(scope, n_corrupted=min(scope.n_corrupted, N_CORRUPTED), n_fit=min(scope.n_fit, N_FIT))
    progress.say(
        f"{asking.endpoint.url} is asked; faults are tried on {fewer.n_corrupted} items instead of {scope.n_corrupted}"
    )
    return fewer


def measure_endpoint(
    draft: Draft, evidence: Evidence, answers: Answers, predictor: Predictor, prices: CostConfig
) -> None:
    """Section ``endpoint`` and the metric ``no_answer``; nothing of a bundle that answers on this machine."""
    asking = asking_of(predictor.bundle)
    if asking is None:
        return
    endpoint = asking.endpoint
    summary = predictor.account.summary(endpoint.price, endpoint.batch)
    unread = np.array([p.label == NO_ANSWER for p in answers.predictions], dtype=bool)
    items = draft.add_set("no_answer", pick(evidence.keys, unread))
    draft.add("no_answer", proportion(unread, weights=evidence.weights, clusters=evidence.clusters), items=items)
    draft.sections["endpoint"] = {
        "url": endpoint.url,
        "model": str(endpoint.body.get("model", "")),
        "currency": prices.currency,
        **summary,
    }


def endpoint_in_words(draft: Draft) -> None:
    """Say where it breaks how often it names no class, with what it said instead."""
    section = draft.sections.get("endpoint")
    metric = next((m for m in draft.metrics if m.name == "no_answer"), None)
    if not section or metric is None or not metric.value:
        return
    example = f", such as “{section['unread'][0]}”" if section.get("unread") else ""
    draft.sections["summary"]["breaks"].append(
        said(
            f"{percent(metric.value)} of its answers name no class{example}: wrong here, withheld in service.",
            metric.items,
        )
    )
