"""Drills: rehearsed faults that show whether the gates hold. `drill_gates` plants them in copies and judges each."""

from passmuster.flows.drill.base import DrillResult, Fault, Trial
from passmuster.flows.drill.find import faults
from passmuster.flows.drill.run import drill_gates

__all__ = ["DrillResult", "Fault", "Trial", "drill_gates", "faults"]
