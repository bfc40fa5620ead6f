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
gates.add_lazy("adversarial.v1", "passmuster.metrics.gates.adversarial:ADVERSARIAL")
gates.add_lazy("behaviour.v1", "passmuster.metrics.gates.behaviour:BEHAVIOUR")
gates.add_lazy("set_coverage.v1", "passmuster.metrics.gates.set_coverage:SET_COVERAGE")
gates.add_lazy("promised_risk.v1", "passmuster.metrics.gates.promised_risk:PROMISED_RISK")
gates.add_lazy("mce.v1", "passmuster.metrics.gates.corruption_error:MCE")
gates.add_lazy("expected_cost.v1", "passmuster.metrics.gates.costs:EXPECTED_COST")
gates.add_lazy("cost_non_inferiority.v1", "passmuster.metrics.gates.costs:COST_NON_INFERIORITY")
gates.add_lazy("score_parity.v1", "passmuster.metrics.gates.score_parity:SCORE_PARITY")
gates.add_lazy("class_loss.v1", "passmuster.metrics.gates.class_loss:CLASS_LOSS")
gates.add_lazy("class_log_loss.v1", "passmuster.metrics.gates.class_log_loss:CLASS_LOG_LOSS")
gates.add_lazy("class_share.v1", "passmuster.metrics.gates.class_share:CLASS_SHARE")
gates.add_lazy("class_found.v1", "passmuster.metrics.gates.class_found:CLASS_FOUND")
gates.add_lazy("overconfidence.v1", "passmuster.metrics.gates.overconfidence:OVERCONFIDENCE")
gates.add_lazy("log_loss.v1", "passmuster.metrics.gates.log_loss:LOG_LOSS")
gates.add_lazy("guard_parity.v1", "passmuster.metrics.gates.guard_parity:GUARD_PARITY")
gates.add_lazy("guard.v1", "passmuster.metrics.gates.guard:GUARD")
gates.add_lazy("trigger.v1", "passmuster.metrics.gates.trigger:TRIGGER")
gates.add_lazy("test_labels.v1", "passmuster.metrics.gates.test_labels:TEST_LABELS")
