"""What to do about a fault that went through: gates that the policy lacks are tried, and labels foretold."""

from __future__ import annotations

from collections.abc import Mapping

from passmuster.core.config import DEFAULT_GATES, Policy
from passmuster.core.records import Report
from passmuster.metrics.gates import decide
from passmuster.metrics.gates.test_labels import NAME, TEST_LABELS, labels_that_would_tell

# As a policy would write them, in the order in which they are named; those that read what every evaluation measures.
SUGGESTED: Mapping[str, Mapping[str, float]] = {
    **DEFAULT_GATES,
    "worst_class.v1": {"min": 0.5},
    "negative_flips.v1": {"max_rate": 0.02},
}
# Those that read more than that, and which count of a scope it is; a policy that names one makes every trial longer.
HEAVY: Mapping[str, str] = {
    "robustness.v1": "n_corrupted",
    "mce.v1": "n_corrupted",
    "adversarial.v1": "n_attacked",
}


def would_stop(healthy: Report, faulty: Report, policy: Policy) -> dict[str, Mapping[str, float]]:
    """Gates outside of the policy that pass the healthy report and hold the faulty one, with their numbers."""
    found: dict[str, Mapping[str, float]] = {}
    for name, given in SUGGESTED.items():
        if name in policy.gates:
            continue
        alone = Policy(alpha=policy.alpha, max_looks=policy.max_looks, gates={name: given})
        before, after = (decide(report, alone).gates[0].state for report in (healthy, faulty))
        if before == "passed" and after in ("failed", "insufficient"):
            found[name] = given
    return found


def labels_to_stop(faulty: Report, policy: Policy) -> int | None:
    """About how many test labels of the same kind would stop it, where that can be foretold and the policy asks."""
    if NAME not in policy.gates:
        return None
    params = {name: p.default for name, p in TEST_LABELS.parameters.items() if p.default is not None}
    return labels_that_would_tell(faulty, {**params, **policy.gates[NAME]})
