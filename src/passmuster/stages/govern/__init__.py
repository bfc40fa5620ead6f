"""Govern: raw files become items, labels become facts, and both become snapshots with findings."""

from passmuster.stages.govern.add import AddResult, add
from passmuster.stages.govern.check import check
from passmuster.stages.govern.init import detect_modality, init
from passmuster.stages.govern.label import LabelResult, add_labels, export_labels

__all__ = ["AddResult", "LabelResult", "add", "add_labels", "check", "detect_modality", "export_labels", "init"]
