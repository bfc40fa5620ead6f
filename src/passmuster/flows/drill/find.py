"""The table of faults, filled."""

from __future__ import annotations

from passmuster.flows.drill import (
    asked,
    evidence,
    guards,
    harmless,
    images,
    packaging,
    poisoning,
    tampering,
    texts,
    training,
)
from passmuster.flows.drill.base import faults

__all__ = [
    "asked",
    "evidence",
    "faults",
    "guards",
    "harmless",
    "images",
    "packaging",
    "poisoning",
    "tampering",
    "texts",
    "training",
]
