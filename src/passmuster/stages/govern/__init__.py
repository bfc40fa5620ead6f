"""Govern: raw files become items, labels become facts, and both become snapshots with findings."""

from passmuster.stages.govern.add import AddResult, add
from passmuster.stages.govern.answer import Answer, Answered, Pinned, answer, n_unpinned, pin, skip, skipped, withdraw
from passmuster.stages.govern.check import check
from passmuster.stages.govern.init import detect_modality, init
from passmuster.stages.govern.label import LabelResult, add_labels
from passmuster.stages.govern.values import Values

__all__ = [
    "AddResult",
    "Answer",
    "Answered",
    "LabelResult",
    "Pinned",
    "Values",
    "add",
    "add_labels",
    "answer",
    "check",
    "detect_modality",
    "init",
    "n_unpinned",
    "pin",
    "skip",
    "skipped",
    "withdraw",
]
