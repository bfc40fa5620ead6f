"""The model card: what a bundle is, what it learnt from, what was tested and found, and what it is not for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from passmuster.core.cost import in_words
from passmuster.core.label_sets import MULTI
from passmuster.core.records import Finding, Metric, Release, Report, Snapshot, Verdict
from passmuster.runtime.bundle import Manifest

HEADLINES = {
    "accuracy": "right answers",
    "item_f1": "F1 of an item's set of classes, at the mean",
    "micro_f1": "micro-F1",
    "macro_f1": "macro-F1",
    "hamming_loss": "wrong decisions of all (Hamming loss)",
    "ece": "calibration error (ECE)",
    "accuracy_difference": "gain over the live release",
    "negative_flip_rate": "answers that went from right to wrong",
    "abstention_rate": "answers withheld",
    "accuracy_answered": "right among the answers given",
}
MEANING = {
    "SHIP": "Every gate that applies has passed.",
    "HOLD": "At least one gate failed. It may be tried on a canary by a recorded override, and nowhere else.",
    "INSUFFICIENT": "No gate failed, but there are too few test labels to tell.",
}


MARKS = "\\`*_[]()|~"  # what Markdown reads as more than itself inside a line


def model_card(
    release: Release,
    verdict: Verdict,
    report: Report,
    snapshot: Snapshot,
    findings: list[Finding],
    manifest: Manifest,
) -> str:
    """The card as Markdown, in plain words. It holds no item and no id that a user gave."""
    sections = [
        [f"# Model card: {release.id}", "", *what(manifest, report.task), *cost(report)],
        ["## Verdict", "", *judged(verdict)],
        ["## Data", "", *data(snapshot, findings)],
        ["## Evidence", "", *evidence(report, verdict)],
        ["## Limits", "", *limits(report, manifest)],
        ["## How to check this", "", *how(verdict, report)],
    ]
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def what(manifest: Manifest, task: str) -> Iterator[str]:
    """What it is and how it was made."""
    classes = ", ".join(map(plain, manifest.classes[:20])) + (
        f" and {len(manifest.classes) - 20} more" if len(manifest.classes) > 20 else ""
    )
    how_many = "any number" if task == MULTI else "one"
    yield f"It gives each {manifest.modality} {how_many} of {len(manifest.classes)} labels: {classes}."
    yield ""
    if manifest.head == "imported":
        yield f"Made elsewhere and imported ({manifest.rung}); what it learnt from is not known here. Served by"
        yield f"{manifest.engine.name} in"
    else:
        yield f"Learnt by `{manifest.rung}` with the head `{manifest.head}`; served by {manifest.engine.name} in"
    yield f"{manifest.engine.precision}."


def cost(report: Report) -> Iterator[str]:
    """What the training cost, where the report tells."""
    spent: Any = report.sections.get("training", {}).get("cost")
    if spent:
        yield f"Training it cost {in_words(spent)}."


def judged(verdict: Verdict) -> Iterator[str]:
    """The outcome, each gate and what a reader must know besides."""
    yield f"**{verdict.outcome}**. {MEANING[verdict.outcome]}"
    if verdict.n_more_labels:
        yield f"About {verdict.n_more_labels:,} more test labels would probably decide."
    yield ""
    yield "| gate | state | reason | value | bound | judged at |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for gate in verdict.gates:
        numbers = " | ".join(map(number, (gate.value, gate.bound, gate.level)))
        yield f"| {gate.gate} | {gate.state} | {plain(gate.reason)} | {numbers} |"
    for note in verdict.notes:
        yield ""
        yield f"Note: {plain(note)}."


def plain(text: str) -> str:
    """Text that somebody else chose, so that Markdown and HTML show it as it is; on one line, in a table too.

    >>> print(plain("a|b <img src=x> [*you*](http://x)"))
    a\\|b &lt;img src=x&gt; \\[\\*you\\*\\]\\(http://x\\)
    """
    one_line = "".join(c if c.isprintable() else " " for c in text)
    marked = "".join(f"\\{c}" if c in MARKS else c for c in one_line)
    return marked.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def number(value: float | None) -> str:
    """A value of a gate; empty when it has none."""
    return "" if value is None else f"{value:.4g}"


def data(snapshot: Snapshot, findings: list[Finding]) -> Iterator[str]:
    """What it was trained or judged on, and what the checks saw in it."""
    items = ", ".join(f"{n:,} {split}" for split, n in snapshot.n_items.items())
    labels = ", ".join(f"{n:,} {role}" for role, n in snapshot.n_labels.items())
    yield f"Dataset version `{snapshot.digest[:16]}` of {snapshot.created[:10]}. Items: {items}. Labels: {labels}."
    yield f"Terms of use: {plain(snapshot.terms) or 'none were stated'}."
    for finding in findings:
        yield f"- {finding.severity}: {plain(finding.title)} ({len(finding.items):,} items)"


def evidence(report: Report, verdict: Verdict) -> Iterator[str]:
    """The headline numbers with their intervals."""
    who = "the import" if report.sections.get("training", {}).get("origin") == "imported" else "training"
    yield f"Tested on {report.n_test:,} labelled items that {who} never saw; look {verdict.look} at these labels."
    yield ""
    yield "| number | value | interval | n |"
    yield "| --- | --- | --- | --- |"
    for name, words in HEADLINES.items():
        metric = report.metric(name)
        if metric is not None:
            yield row(metric, words)


def row(metric: Metric, words: str) -> str:
    """One line of the table of numbers."""
    interval = f"{metric.low:.3f} to {metric.high:.3f} ({metric.level:.0%}, {metric.method or 'as reported'})"
    return f"| {words} | {metric.value:.3f} | {interval} | {metric.n:,} |"


def limits(report: Report, manifest: Manifest) -> Iterator[str]:
    """What is not known, as the report says it, and what the model is not for."""
    unknown: Any = report.sections.get("unknown", [])
    for line in [unknown] if isinstance(unknown, str) else unknown:
        yield f"- {plain(str(line))}"
    some = "some of them" if report.task == MULTI else "one of them"
    yield f"- It knows its {len(manifest.classes)} labels only; an item of another kind gets {some}, or none."
    yield "- The numbers hold for items like the test's; a change of what a label means shows in new labels only."


def how(verdict: Verdict, report: Report) -> Iterator[str]:
    """How a reader can check the card."""
    yield f"Bundle `{verdict.bundle}`, report `{verdict.report}`, policy `{verdict.policy}`."
    yield "`signature.dsse.json` carries the SHA-256 of every file here; `muster verify PATH` checks all of them, and"
    yield "`checkpoint.json` pins the project's ledger as it was when this was signed."
