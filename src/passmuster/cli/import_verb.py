"""`muster import`: a model that was made elsewhere, as a bundle that is judged, released and served like any."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from passmuster.cli.session import session_of

if TYPE_CHECKING:
    from passmuster.stages.importing import ImportResult


def import_(
    context: typer.Context,
    path: Annotated[
        str,
        typer.Argument(
            help="An ONNX file, a folder of transformers for text classification, the address of a model that "
            "speaks as OpenAI's chat does, or a TOML file of how an endpoint is asked."
        ),
    ],
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
    model: Annotated[str, typer.Option("--model", help="At an address: which model is asked.")] = "",
    prompt: Annotated[
        str,
        typer.Option("--prompt", help="At an address: what comes before the item, or a file; {classes} is their list."),
    ] = "",
    key_variable: Annotated[
        str, typer.Option("--key-variable", help="The environment variable that holds the endpoint's key.")
    ] = "",
    n_asked: Annotated[
        int | None, typer.Option("--ask", help="At an address: how many items it is tried on; 200 when left out.")
    ] = None,
) -> None:
    """Bring in a model that was made elsewhere: an ONNX file, with its preprocessing and its
    classes named, a folder of transformers, or an endpoint that is asked over HTTP.

    The model is tried on the project's own items, and its answers are kept as they are. Test items are not read.
    """
    session = session_of(context)
    store = session.store()
    from passmuster.flows.answers import pin_answers
    from passmuster.stages.importing import import_endpoint, import_model
    from passmuster.stages.importing.endpoint_named import is_endpoint
    from passmuster.stages.importing.endpoint_stage import N_ASKED

    endpoint = is_endpoint(path)
    refuse_other_kind(
        endpoint,
        graph=(("preprocess", preprocess), ("output", output), ("scores", scores), ("embedding", embedding)),
        address=(("model", model), ("prompt", prompt), ("key-variable", key_variable), ("ask", n_asked is not None)),
    )
    if not session.dry_run:
        pin_answers(store, session.progress)
    alike: dict[str, Any] = {
        "labels": labels, "calibrate": calibrate, "accept_classes": accept_classes, "expect": expect,
        "learnt_from": learnt_from, "dry_run": session.dry_run, "progress": session.progress,
    }  # fmt: skip
    if endpoint:
        result = import_endpoint(
            store,
            path,
            model=model,
            prompt=prompt,
            key_variable=key_variable,
            n_asked=N_ASKED if n_asked is None else n_asked,
            **alike,
        )
    else:
        result = import_model(
            store, Path(path), preprocess=preprocess or (), output=output, scores=scores, embedding=embedding, **alike
        )
    next = f"muster evaluate {result.bundle[:16]}" if result.bundle else f"muster import {path}, with the same options"
    session.done(result, lines_of(result), next)


def refuse_other_kind(
    endpoint: bool, *, graph: Sequence[tuple[str, object]], address: Sequence[tuple[str, object]]
) -> None:
    """Refuse options that are for a model in a file where an endpoint is named, and the other way round."""
    from passmuster.core.errors import UsageError

    if given := [name for name, value in (graph if endpoint else address) if value]:
        kind = "a model in a file" if endpoint else "an endpoint"
        raise UsageError("import.option", f"--{given[0]} is for {kind}", next=f"leave --{given[0]} out")


def lines_of(result: ImportResult) -> Iterator[str]:
    """What was taken in, and what it was found to be."""
    classes = ", ".join(result.classes[:5]) + (f" and {len(result.classes) - 5} more" if result.classes[5:] else "")
    name = f"bundle {result.bundle[:16]}" if result.bundle else "would make a bundle"
    yield f"{name}: {result.source['file']} (SHA-256 {result.source['sha256'][:16]}), {result.scores}"
    yield f"{len(result.classes)} classes: {classes}"
    novelty = f"; novelty by {result.novelty}" if result.novelty else ""
    yield f"asked about {result.n_asked:,} items that are not for the test{novelty}"
    if result.asking:
        yield took(result.asking)
    if result.n_calibration:
        yield f"calibrated on {result.n_calibration:,} labels: temperature {result.temperature:.3f}"


def took(asking: Mapping[str, Any]) -> str:
    """How long an endpoint takes for an answer, and what answers cost.

    >>> took({"seconds_median": 0.25, "seconds_p95": 1.5, "input_tokens": 0.0, "output_tokens": 0.0, "per_million": 30})
    '250 ms for an answer, 95 of 100 within 1,500; 30.00 for a million answers'
    """
    median, p95 = (1000 * asking[name] for name in ("seconds_median", "seconds_p95"))
    said = f"{median:,.0f} ms for an answer, 95 of 100 within {p95:,.0f}"
    if asking["input_tokens"]:
        said += f"; {asking['input_tokens']:,.0f} tokens in, {asking['output_tokens']:,.0f} out"
    return said + (f"; {asking['per_million']:,.2f} for a million answers" if asking["per_million"] else "")
