"""Arguments and options that several verbs share, so that they are named and explained alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BundleNamed = Annotated[str, typer.Argument(help="First digits of a bundle's digest; the latest when left out.")]
ChannelNamed = Annotated[str, typer.Option("--channel", help="The channel whose release answers.")]
LabelColumn = Annotated[str, typer.Option("--label-column", help="Column of labels.")]
Junit = Annotated[Path | None, typer.Option("--junit", help="Write JUnit XML for CI.")]
Markdown = Annotated[Path | None, typer.Option("--markdown", help="Write a Markdown summary.")]
