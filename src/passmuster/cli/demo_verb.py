"""`muster demo`: the whole way on real data, checked at every step."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from passmuster.cli.session import session_of
from passmuster.core.errors import ResourceError, UsageError


class Kind(StrEnum):
    """What the demo is about."""

    digits = "digits"
    text = "text"


def demo(
    context: typer.Context,
    kind: Annotated[
        Kind, typer.Argument(help="digits: handwritten digits; text: which package is this text from?")
    ] = Kind.digits,
) -> None:
    """Run the main job on real data in ./muster-demo, showing every command; fails if any step does."""
    session = session_of(context)
    folder = session.folder.resolve() / "muster-demo" / kind.value
    if folder.exists() and any(folder.iterdir()):
        raise UsageError("demo.folder", "the demo's folder is not empty", where=folder, next="remove it, or use -C DIR")
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise ResourceError(
            "extra.train", "the demo trains, and training is not installed", next='pip install "passmuster[train]"'
        ) from error
    if session.dry_run:
        session.done({"would": f"run the demo in {folder}"}, [f"would run the demo in {folder}"], "muster demo")
        return
    folder.mkdir(parents=True, exist_ok=True)
    if kind is Kind.text:
        from passmuster.flows.demo.docstrings import tell
    else:
        from passmuster.flows.demo.digits import tell
    tell(folder)
    session.done({"folder": str(folder)}, [], "muster init, in a folder of your own")
