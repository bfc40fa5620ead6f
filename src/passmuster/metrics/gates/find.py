"""The gates there are."""

from __future__ import annotations

from passmuster.core.tables import Table
from passmuster.metrics.gates.base import Gate

gates: Table[Gate] = Table("gate")
gates.add_lazy("accuracy.v1", "passmuster.metrics.gates.accuracy:ACCURACY")
gates.add_lazy("item_f1.v1", "passmuster.metrics.gates.item_f1:ITEM_F1")
gates.add_lazy("worst_class.v1", "passmuster.metrics.gates.worst_class:WORST_CLASS")
gates.add_lazy("worst_group.v1", "passmuster.metrics.gates.groups:WORST_GROUP")
gates.add_lazy("group_gap.v1", "passmuster.metrics.gates.groups:GROUP_GAP")
gates.add_lazy("non_inferiority.v1", "passmuster.metrics.gates.versions:NON_INFERIORITY")
gates.add_lazy("negative_flips.v1", "passmuster.metrics.gates.versions:NEGATIVE_FLIPS")
gates.add_lazy("leakage.v1", "passmuster.metrics.gates.leakage:LEAKAGE")
gates.add_lazy("calibration.v1", "passmuster.metrics.gates.calibration:CALIBRATION")
gates.add_lazy("parity.v1", "passmuster.metrics.gates.parity:PARITY")
gates.add_lazy("robustness.v1", "passmuster.metrics.gates.robustness:ROBUSTNESS")
