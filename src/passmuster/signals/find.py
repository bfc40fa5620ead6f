"""Every signal, by versioned name."""

from __future__ import annotations

from passmuster.core.tables import Table
from passmuster.signals.base import Signal
from passmuster.signals.errors import errors_v1
from passmuster.signals.novelty import novelty_v1
from passmuster.signals.unanswered import unanswered_v1

signals: Table[Signal] = Table("signal")
signals.add("errors.v1", errors_v1)
signals.add("novelty.v1", novelty_v1)
signals.add("unanswered.v1", unanswered_v1)
N_SIGNALS = len(signals) + 1  # that share the declared rate of false alarms: these, and `passmuster.signals.estimate`
