"""Evaluate: what can be known of a bundle, from the bundle itself and the sealed test, as a report and one page."""

from passmuster.stages.evaluate.draft import Scope
from passmuster.stages.evaluate.stage import EvaluateResult, evaluate, foresee

__all__ = ["EvaluateResult", "Scope", "evaluate", "foresee"]
