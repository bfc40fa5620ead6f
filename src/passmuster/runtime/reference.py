"""Light statistics of the items that a model was made or fitted with; a bundle keeps them in ``reference.json``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from passmuster.core.records import Payload

LEVELS = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def payload_statistics(payloads: Sequence[Payload]) -> dict[str, dict[str, float]]:
    """Quantiles of what can be seen of items without a model: characters, or pixels, brightness and contrast.

    >>> payload_statistics(["a", "abc"])["characters"]["0.5"]
    2.0
    """
    texts = isinstance(payloads[0], str)
    sizes = [len(p) if isinstance(p, str) else int(p.shape[0] * p.shape[1]) for p in payloads]
    values = {"characters" if texts else "pixels": np.array(sizes, dtype=float)}
    if not texts:
        images = [np.asarray(p) for p in payloads]
        values["brightness"] = np.array([float(image.mean()) for image in images])
        values["contrast"] = np.array([float(image.std()) for image in images])
    return {
        name: {str(level): round(float(q), 4) for level, q in zip(LEVELS, np.quantile(v, LEVELS), strict=True)}
        for name, v in values.items()
    }
