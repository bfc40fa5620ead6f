"""`muster evaluate`: what a model is good at, where it breaks, and what is not known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from passmuster.cli.options import BundleNamed
from passmuster.cli.session import session_of
from passmuster.core.label_sets import SINGLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from passmuster.core.records import Report
    from passmuster.stages.evaluate import EvaluateResult


SETS = {"micro_f1": "micro-F1", "item_f1": "F1 of an item", "hamming_loss": "Hamming loss"}  # of sets of classes


def evaluate(
    context: typer.Context,
    bundle: BundleNamed = "",
    novel: Annotated[
        list[str] | None,
        typer.Option(
            "--novel",
            help="Items strange to the model: a folder, or a table of texts or of paths; NAME=PATH, again and again, "
            "for near and far sets.",
        ),
    ] = None,
    unlabelled: Annotated[
        Path | None,
        typer.Option(
            "--unlabelled", help="Items without labels to estimate accuracy on: a folder, or a table of texts or paths."
        ),
    ] = None,
    attack: Annotated[
        int | None,
        typer.Option("--attack", min=0, help="How many test items attacks search against; [evaluate] n_attacked."),
    ] = None,
    all_faults: Annotated[
        bool, typer.Option("--all-faults", help="Try every natural fault there is, not the usual ones only.")
    ] = False,
) -> None:
    """Test a model on the sealed test: accuracy, mistakes, faults, novelty, and what changes against the live release.

    Opening the test is recorded, and counts.
    """
    from passmuster.stages.evaluate import evaluate as run
    from passmuster.stages.evaluate import foresee

    session = session_of(context)
    store = session.store()
    if session.dry_run:
        lines = foresee(store, bundle)
        session.done({"would": lines}, lines, "muster evaluate")
        return
    own = [name for name in store.config.evaluate.corruptions if ":" in name]
    asked = ["all", *own] if all_faults else None
    result = run(
        store, bundle, novel=novel or None, unlabelled=unlabelled, corruptions=asked, n_attacked=attack,
        progress=session.progress,
    )  # fmt: skip
    report = result.report
    data = {
        "bundle": report.bundle,
        "report": result.digest,
        "path": str(result.path),
        "n_test": report.n_test,
        "look": report.look,
        "incumbent": report.incumbent,
        "metrics": report.metrics,
        "summary": report.sections["summary"],
        "unknown": report.sections["unknown"],
    }
    session.done(data, lines_of(result, store.config.policy.max_looks), what_next(report, store.config.policy.gates))


def what_next(report: Report, gates: Mapping[str, Mapping[str, object]]) -> str:
    """The command that comes next: labels where the model is surely less often right than the policy asks."""
    headline, least = report.metric("accuracy"), gates.get("accuracy.v1", {}).get("min")
    if headline is not None and isinstance(least, int | float) and headline.high < least:
        return f"muster label --serve, then muster train: the policy asks for {least:.0%} right"
    return f"muster release {report.bundle[:16]}"


def look_words(look: int, max_looks: int) -> str:
    """Which look at the test this was, of those that the policy shares its chance of error among.

    >>> look_words(2, 5)
    'look 2 of the 5 that the policy allows this test'
    >>> look_words(6, 5)
    'look 6 at this test, the policy allows 5: only fresh test labels can lead to SHIP'
    """
    if look > max_looks:
        return f"look {look} at this test, the policy allows {max_looks}: only fresh test labels can lead to SHIP"
    return f"look {look} of the {max_looks} that the policy allows this test"


def lines_of(result: EvaluateResult, max_looks: int) -> Iterator[str]:
    """The report in a few lines: headline, weak spots, novelty, versions, and where the page lies."""
    from passmuster.metrics.aa_noise import bound_words, inside_words
    from passmuster.metrics.versions import is_weighed, retrain_words
    from passmuster.stages.evaluate.estimated import estimated_lines
    from passmuster.stages.evaluate.marks import mark_lines
    from passmuster.stages.evaluate.memory import memory_lines
    from passmuster.stages.evaluate.novelty_words import novelty_lines
    from passmuster.stages.evaluate.serving_words import serving_lines
    from passmuster.stages.evaluate.unknown import ONE_CLASS
    from passmuster.stages.evaluate.words import percent, with_interval

    report = result.report
    headline = report.metric("accuracy")
    if headline is not None:
        right = "right" if report.task == SINGLE else "every class right"
        yield f"{right} on {with_interval(headline)}, {look_words(report.look, max_looks)}"
    if ONE_CLASS in report.sections["unknown"]:
        yield f"  {ONE_CLASS}"
    partly = [(words, report.metric(name)) for name, words in SETS.items()]
    if shown := [f"{words} {m.value:.3f} ({m.low:.3f} to {m.high:.3f})" for words, m in partly if m is not None]:
        yield f"class by class: {', '.join(shown)}"
    clean = report.metric("accuracy", "leakage=clean")
    if clean is not None:
        yield f"without test items copied from training: {with_interval(clean)}"
    for line in report.sections["summary"]["cost"]:
        yield line["text"]
    for line in report.sections["summary"]["breaks"]:
        yield f"  {line['text']}"
    if report.sections.get("groups"):
        yield from (f"  {line['text']}" for line in report.sections["summary"]["whom"])
    yield from attack_lines(report)
    yield from (line for line, items in mark_lines(report.sections.get("marks")) if not items)
    yield from memory_lines(report.sections.get("memory", {"contamination": [], "looks": 1.0}))
    yield from estimated_lines(report)
    yield from novelty_lines(report.sections["novelty"])
    versions = report.sections.get("versions")
    difference = report.metric("accuracy_difference")
    if versions and difference is not None:
        apart = versions["only_candidate"] - versions["only_incumbent"]
        weighed = "weighted by their chances " if is_weighed(apart, versions["n"], difference.value) else ""
        yield (
            f"against the live release: {versions['only_candidate']:,} of {versions['n']:,} labelled items better, "
            f"{versions['only_incumbent']:,} worse, {weighed}{100 * difference.value:+.1f} points "
            f"({100 * difference.low:+.1f} to {100 * difference.high:+.1f}), McNemar p = {versions['p_mcnemar']:.2g}"
        )
        if words := retrain_words(versions):
            yield f"  {words}"
        if words := inside_words(report, difference.value):
            yield f"  {words}"
    if report.unopened:
        yield f"against the live release: not compared, it does not open ({report.unopened})"
    if words := bound_words(report.sections.get("noise")):
        yield words
    mce = report.metric("mce")
    if mce is not None:
        yield (
            f"under natural faults: {mce.value:.2f} times the errors of the live release "
            f"({mce.low:.2f} to {mce.high:.2f})"
        )
    yield from serving_lines(report)
    if tests := report.sections.get("behaviour"):
        worst = tests["tests"][0]
        most = f", worst {worst['test']} ({worst['n_failed']:,} of {worst['rate']['n']:,})"
        yield f"behaviour tests: {tests['n_failed']:,} of {tests['n']:,} fail{most if tests['n_failed'] else ''}"
    ece = report.metric("ece")
    if ece is not None:
        yield f"calibration error {percent(ece.value)}"
    yield f"report: {result.path}"


def attack_lines(report: Report) -> Iterator[str]:
    """How many attacked items stay right, at the weakest change and at the strongest; or why none was attacked."""
    from passmuster.stages.evaluate.page.attacks import size
    from passmuster.stages.evaluate.words import between, percent

    section = report.sections.get("attacks")
    if not section:
        return
    if not section["n"]:
        yield f"attacks: not tried, {section['why']}"
        return
    clean, *rows = section["rows"]
    weak, strong = rows[0], rows[-1]
    stands = ", ".join(
        f"{percent(row['accuracy']['value'])} ({between(row['accuracy']['low'], row['accuracy']['high'])}) where "
        f"{size(row['strength'])} {section['unit']} may change"
        for row in ([weak, strong] if weak is not strong else [weak])
    )
    yield (
        f"attacks on {section['n']:,} items: right on {percent(clean['accuracy']['value'])} before, on at most {stands}"
    )
