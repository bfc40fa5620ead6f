"""`muster import`: a model that was made elsewhere, as a bundle that is judged, released and served like any."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from passmuster.cli.session import session_of

if TYPE_CHECKING:
    from passmuster.stages.importing import ImportResult


def import_(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="An ONNX file, or a folder of transformers for text classification.")],
    preprocess: Annotated[
        list[str] | None,
        typer.Option(
            "--preprocess",
            help="How items become the graph's inputs: KEY=VALUE, may be given again, or a TOML file of them. Texts: "
            "strings, or tokenizer=FILE and max_tokens=N. Images: size, channels, layout, order, scale, mean, std.",
        ),
    ] = None,
    labels: Annotated[
        str, typer.Option("--labels", help="Classes in the order of the scores: a list with commas, or a file.")
    ] = "",
    output: Annotated[str, typer.Option("--output", help="The output that holds the scores.")] = "",
    scores: Annotated[str, typer.Option("--scores", help="What the scores are: probabilities or logits.")] = "",
    embedding: Annotated[
        str, typer.Option("--embedding", help="A tensor of the graph by which novelty is judged.")
    ] = "",
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate", help="Fit temperature and prediction sets on training labels the model did not learn from."
        ),
    ] = False,
    accept_classes: Annotated[
        bool, typer.Option("--accept-classes", help="Take a model whose classes are not the project's.")
    ] = False,
    expect: Annotated[
        Path | None,
        typer.Option("--expect", help="A table of items with the model's answers where it was made: must be the same."),
    ] = None,
    learnt_from: Annotated[
        Path | None,
        typer.Option("--learnt-from", help="A table of what the model learnt from: copies are left out of its test."),
    ] = None,
) -> None:
    """Bring in a model that was made elsewhere: an ONNX file, with its preprocessing and its
    classes named, or a folder of transformers.

    The model is tried on the project's own items, and its answers are kept as they are. Test items are not read.
    """
    session = session_of(context)
    store = session.store()
    from passmuster.flows.answers import pin_answers
    from passmuster.stages.importing import import_model

    if not session.dry_run:
        pin_answers(store, session.progress)
    result = import_model(
        store, path, labels=labels, preprocess=preprocess or (), output=output, scores=scores, embedding=embedding,
        calibrate=calibrate, accept_classes=accept_classes, expect=expect, learnt_from=learnt_from,
        dry_run=session.dry_run, progress=session.progress,
    )  # fmt: skip
    session.done(
        result, lines_of(result), f"muster evaluate {result.bundle[:16]}" if result.bundle else "muster import"
    )


def lines_of(result: ImportResult) -> Iterator[str]:
    """What was taken in, and what it was found to be."""
    classes = ", ".join(result.classes[:5]) + (f" and {len(result.classes) - 5} more" if result.classes[5:] else "")
    name = f"bundle {result.bundle[:16]}" if result.bundle else "would make a bundle"
    yield f"{name}: {result.source['file']} (SHA-256 {result.source['sha256'][:16]}), {result.scores}"
    yield f"{len(result.classes)} classes: {classes}"
    yield f"asked about {result.n_asked:,} items that are not for the test; novelty by {result.novelty}"
    if result.n_calibration:
        yield f"calibrated on {result.n_calibration:,} labels: temperature {result.temperature:.3f}"
