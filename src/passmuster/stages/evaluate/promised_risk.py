"""The risk that the guard promises of its answers, checked on the test: it took no part in choosing the threshold."""

from __future__ import annotations

from typing import Any

import numpy as np

from passmuster.core.codec import to_plain
from passmuster.core.statistics import proportion
from passmuster.runtime.predictor import Predictor
from passmuster.runtime.risk import risk_in_words, risk_of, too_risky
from passmuster.stages.evaluate.draft import Answers, Draft, Evidence, interval_record, pick

NO_PROMISE = {"max_risk": 0.0}  # the section of a bundle whose policy asks for none


def measure_promised_risk(draft: Draft, predictor: Predictor, evidence: Evidence, answers: Answers) -> None:
    """How many answers above the threshold are wrong, and how many there are; only that, where none is promised."""
    promised = risk_of(predictor.bundle.guard)
    if promised is None:
        draft.sections["promised_risk"] = NO_PROMISE
        return
    how: dict[str, Any] = {"weights": evidence.weights, "clusters": evidence.clusters}
    given = ~too_risky(predictor.bundle.guard, answers.confidence)
    wrong = answers.predicted != evidence.y
    test = draft.add_set("test", evidence.keys)
    items = draft.add_set("given at the promised risk", pick(evidence.keys, given))
    risk = proportion(wrong[given], weights=evidence.weights[given], clusters=evidence.clusters[given])
    share = proportion(given, **how)
    draft.add("promised_risk", risk, items=items)
    draft.add("promised_share", share, items=items or test)
    draft.sections["promised_risk"] = {
        **to_plain(promised),
        "reached": promised.reached,
        "words": risk_in_words(promised),
        "risk": interval_record(risk),
        "share": interval_record(share),
        "kept": None if not np.any(given) else bool(risk.low <= promised.max_risk),
        "items": items,
    }


def risk_lines(section: dict[str, Any] | None) -> tuple[list[str], list[str]]:
    """What the promise came to: sentences for what is good, and for where it breaks."""
    if not section or not section["max_risk"]:
        return [], []
    words = section["words"][:1].upper() + section["words"][1:]
    if not section["reached"]:
        return [], [f"{words}."]
    if section["kept"] is None:
        return [], [f"{words}; on this test no answer is as sure."]
    risk, share, n = section["risk"], section["share"], section["risk"]["n"]
    seen = f"on this test {100 * risk['value']:.1f}\u00a0% of {n:,} were ({100 * risk['low']:.1f} to "
    seen += f"{100 * risk['high']:.1f}\u00a0%), and {100 * share['value']:.1f}\u00a0% of items get such an answer"
    if section["kept"]:
        return [f"{words}; {seen}."], []
    return [], [f"{words}; {seen}: the promise is not kept here."]
