"""The table of faults, filled."""

from __future__ import annotations

from passmuster.flows.drill import harmless, packaging, training
from passmuster.flows.drill.base import faults

__all__ = ["faults", "harmless", "packaging", "training"]
