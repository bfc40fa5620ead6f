"""Images as the graph sees them: through every step but the last, at the size at which changes are searched for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from passmuster.core.records import Payload
from passmuster.modality.harm import Target
from passmuster.modality.image.operations import operations

N_TRIED = 8


def as_seen(target: Target, payloads: Sequence[Payload]) -> list[np.ndarray]:
    """Each image (h, w, c) uint8 after all steps but the last. One that is already so stays as it is."""
    steps = [
        operations[step["op"]]({k: v for k, v in step.items() if k != "op"}, target.folder)
        for step in target.preprocess["steps"][:-1]
    ]
    seen = []
    for payload in payloads:
        values: Any = [np.asarray(payload)]
        for step in steps:
            values = step(values)
        seen.append(np.asarray(values[0]))
    return seen


def why_not_seen(target: Target, payloads: Sequence[Payload]) -> str:
    """ "" where an image as the graph sees it passes through the steps unchanged, so that what is found can be sent."""
    if any(step["op"] == "encoded.v1" for step in target.preprocess["steps"]):
        return ""
    once = as_seen(target, payloads[:N_TRIED])
    twice = as_seen(target, once)
    if any(a.shape != b.shape or not np.array_equal(a, b) for a, b in zip(once, twice, strict=True)):
        return "its preprocessing changes an image that is already as the graph sees it"
    return ""
