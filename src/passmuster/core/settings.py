"""What a project says that the numbers of a report rest on: where it says something else, they are not of today."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from passmuster.core.codec import to_plain
from passmuster.core.config import Config

WHERE = {
    "costs": "what mistakes cost ([policy.costs])",
    "group_columns": "the groups (data.group_columns)",
    "attacks": "how attacks are made ([evaluate] attack_strengths, attack_steps, attack_queries, synonyms)",
}
JUDGED_BY = {"attacks": "adversarial.v1"}  # what matters only where the policy has this gate


def settings_of(config: Config) -> dict[str, Any]:
    """As a report keeps them, by the names of `WHERE`.

    >>> settings_of(Config())["group_columns"]
    []
    """
    costs = {name: value for name, value in to_plain(config.policy.costs).items() if name != "unit"}  # a mere word
    evaluate = config.evaluate
    attacks = [list(evaluate.attack_strengths), evaluate.attack_steps, evaluate.attack_queries, evaluate.synonyms]
    kept = {"costs": costs, "group_columns": sorted(config.data.group_columns), "attacks": attacks}
    found: dict[str, Any] = json.loads(json.dumps(kept))
    return found


def changed_settings(kept: Mapping[str, Any], config: Config) -> str:
    """Which of the settings that a report kept are others today, in words; "" where none, or where it kept none.

    >>> changed_settings({"group_columns": ["region"]}, Config())
    'the groups (data.group_columns)'
    """
    now = settings_of(config)
    changed = [name for name in WHERE if name in kept and kept[name] != now[name]]
    return " and ".join(WHERE[name] for name in changed if JUDGED_BY.get(name) in (None, *config.policy.gates))
