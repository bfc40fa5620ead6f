"""How findings and data-set versions are told on a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from passmuster.core.records import Finding, Snapshot

SPLIT_WORDS = {"train": "in the training pool", "reference": "held out for the guard", "test": "sealed for the test"}

LABEL_WORDS = {
    "train": "for training", "reference": "of items held out for the guard (not learnt from)", "test": "for the test"
}  # fmt: skip


def finding_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """One line for each finding, with its remedy; the blocking ones first."""
    if not findings:
        yield "findings: none"
        return
    yield f"findings: {len(findings)}"
    order = {"blocking": 0, "warning": 1, "info": 2}
    for finding in sorted(findings, key=lambda f: order[f.severity]):
        yield f"  {finding.severity:8}  {finding.kind}: {finding.title}"
        yield f"  {'':8}  → {finding.remedy}"


def findings_as_json(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Findings without the long lists of items, which the catalog keeps."""
    return [
        {"kind": f.kind, "severity": f.severity, "title": f.title, "n_items": len(set(f.items)), "remedy": f.remedy}
        for f in findings
    ]


def snapshot_lines(
    snapshot: Snapshot, n_labels: Mapping[str, int], *, is_new: bool, n_unlearnt: int = 0
) -> Iterator[str]:
    """What the data-set version holds, and how many items have a label now: to learn from, held out, for the test."""
    parts = ", ".join(f"{n:,} {SPLIT_WORDS[split]}" for split, n in in_order(snapshot.n_items).items())
    yield f"dataset version {snapshot.digest[:12]}{'' if is_new else ' (unchanged)'}: {parts}"
    told = in_order({**n_labels, "train": n_labels.get("train", 0) - n_unlearnt, "reference": n_unlearnt})
    labels = " and ".join(f"{n:,} {LABEL_WORDS[split]}" for split, n in told.items())
    shown = ", ".join(snapshot.classes[:12]) + (
        f" and {len(snapshot.classes) - 12:,} more" if snapshot.classes[12:] else ""
    )
    yield f"labels: {labels or 'none'}; {len(snapshot.classes):,} classes" + (f" ({shown})" if shown else "")


def in_order(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts by split or role in the usual order."""
    return {name: counts[name] for name in ("train", "reference", "test") if counts.get(name)}
