"""Watch: read the traffic, follow what can be seen in it, and act when a signal crosses its bound."""

from passmuster.stages.watch.inputs import InputShown, inputs_of
from passmuster.stages.watch.loop import Notice, watch, watch_once
from passmuster.stages.watch.resolve import resolve_incident
from passmuster.stages.watch.status import Status, read_status

__all__ = ["InputShown", "Notice", "Status", "inputs_of", "read_status", "resolve_incident", "watch", "watch_once"]
