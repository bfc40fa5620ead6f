"""How attacks are made: sizes of change, steps, questions and words, checked before the test is opened.

``[evaluate]`` has ``attack_strengths`` (levels of 255 of images, shares of the words of texts), ``attack_steps`` (of
attacks that follow gradients), ``attack_queries`` (questions about each item, of the others) and ``synonyms``, a file
of words of one meaning. What is not named is as each attack has it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from passmuster.core.config import EvaluateConfig, Policy
from passmuster.core.errors import UsageError
from passmuster.core.records import Report
from passmuster.modality.base import Modality
from passmuster.modality.harm import Attack, OwnWords

FEWEST_QUERIES = 10  # about one item, below which no search is one
MOST_STRENGTHS = 20
GATE = "adversarial.v1"


@dataclass(frozen=True)
class AttackPlan:
    """What the project says of attacks: 0 and () where it says nothing."""

    strengths: tuple[float, ...] = ()
    steps: int = 0
    queries: int = 0
    words: OwnWords | None = None

    def made(self, attack: Attack) -> Attack:
        """The attack as it is to be made."""
        if self.words is not None:
            attack = self.words.attacks.get(attack.name, attack)
        effort = (self.steps if attack.white else self.queries) or attack.effort
        return replace(attack, strengths=self.strengths or attack.strengths, effort=effort)

    def again(self, before: Report | None) -> AttackPlan:
        """The plan by which a report's attacks were made, with the words of today."""
        if before is None:
            return self
        kept = before.sections["attacks"].get("settings", {})
        strengths = tuple(row["strength"] for row in before.sections["attacks"].get("rows", ())[1:])
        return replace(self, strengths=strengths, steps=kept.get("steps", 0), queries=kept.get("queries", 0))

    def record(self) -> dict[str, Any]:
        """As the report keeps it."""
        kept: dict[str, Any] = {"steps": self.steps, "queries": self.queries}
        if self.words is not None:
            kept |= {"n_words": self.words.n_words, "words_sha256": self.words.sha256}
        return kept


def plan_attacks(modality: Modality, config: EvaluateConfig, folder: Path, policy: Policy) -> AttackPlan:
    """What ``[evaluate]`` says, held to what the modality's attacks can do, and to what the policy's gate will ask for.

    Raises
    ------
    UsageError
        ``evaluate.attack_strengths``, ``evaluate.attack_queries``; ``evaluate.synonyms`` for a file outside of
        `folder`, one that cannot be read, or rows that cannot be used.
    """
    words = own_words(modality, config.synonyms, folder)
    if config.attack_strengths:
        refuse_strengths(modality, config.attack_strengths, policy.gates.get(GATE, {}).get("strength"))
    if 0 < config.attack_queries < FEWEST_QUERIES:
        raise UsageError(
            "evaluate.attack_queries", "so few questions about an item are no search", value=config.attack_queries,
            limit=f"{FEWEST_QUERIES} at least, or 0 for as many as each attack asks by itself",
            where="[evaluate] attack_queries",
        )  # fmt: skip
    return AttackPlan(config.attack_strengths, config.attack_steps, config.attack_queries, words)


def refuse_strengths(modality: Modality, strengths: tuple[float, ...], judged: object = None) -> None:
    """Refuse sizes of change that an attack cannot make, are not in order, too many, or lack the `judged` one."""

    def refused(what: str, value: object, limit: object) -> UsageError:
        return UsageError(
            "evaluate.attack_strengths", what, value=value, limit=limit, where="[evaluate] attack_strengths"
        )

    if len(strengths) > MOST_STRENGTHS:
        raise refused(
            "each size of change is an attack of its own: so many take too long", len(strengths), MOST_STRENGTHS
        )
    if list(strengths) != sorted(set(strengths)):
        raise refused("sizes of change come once each, the smallest first", strengths, sorted(set(strengths)))
    for name in modality.attacks.names():
        try:
            attack = modality.attacks[name]
        except ImportError:  # what it needs is not installed, and the report will say so
            continue
        for strength in strengths:
            if not attack.sizes.holds(strength) or (attack.whole and strength != int(strength)):
                whole = " in whole numbers" if attack.whole else ""
                raise refused(f"{name} makes no change of that size {attack.unit}", strength, f"{attack.sizes}{whole}")
    if judged is not None and judged not in strengths:
        raise refused(f"the policy's gate {GATE} asks about a size of change that is not tried", judged, strengths)


def own_words(modality: Modality, name: str, folder: Path) -> OwnWords | None:
    """The team's words of one meaning; None where no file is named."""
    if not name:
        return None
    path = (folder / name).resolve()
    how: dict[str, Any] = {"value": name, "where": "[evaluate] synonyms"}
    if modality.own_words is None:
        raise UsageError("evaluate.synonyms", f"an {modality.name} has no words", next="take the line out", **how)
    if Path(name).is_absolute() or not path.is_relative_to(folder.resolve()):
        raise UsageError(
            "evaluate.synonyms", "words of one meaning lie in a file inside the project's folder", limit=folder,
            next="move the file there, and name it from there", **how,
        )  # fmt: skip
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(
            "evaluate.synonyms", f"the file cannot be read: {error.strerror}", limit=path, **how
        ) from error
    return modality.own_words(data, path)
