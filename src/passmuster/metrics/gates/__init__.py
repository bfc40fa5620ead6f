"""Gates: the rules a bundle must meet. `gates` is the table, `decide` turns a report and a policy into an outcome."""

from passmuster.metrics.gates.base import Gate, Parameter, Parameters
from passmuster.metrics.gates.decide import Decision, chosen_gates, decide
from passmuster.metrics.gates.find import gates

__all__ = ["Decision", "Gate", "Parameter", "Parameters", "chosen_gates", "decide", "gates"]
