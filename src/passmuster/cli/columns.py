"""Small tables for people: rich draws them; off a terminal they are plain text as wide as they need to be."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from io import StringIO

PLAIN_WIDTH = 200


def table_lines(headers: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> list[str]:
    """Lines of a table without frame; the first `left` columns are set left, the others (numbers) right.

    >>> for line in table_lines(["what", "price"], [["machine", "0.01"], ["all", "12.00"]]):
    ...     print(line.rstrip())
    what     price
    machine   0.01
    all      12.00
    """
    from rich.console import Console
    from rich.table import Table

    terminal = sys.stdout.isatty()
    out = StringIO()
    console = Console(file=out, force_terminal=terminal, width=None if terminal else PLAIN_WIDTH)
    table = Table(box=None, pad_edge=False, header_style="bold" if terminal else "")
    for place, header in enumerate(headers):
        table.add_column(header, justify="left" if place < left else "right", no_wrap=not terminal)
    for row in rows:
        table.add_row(*(cell.replace("[", "\\[") for cell in row))
    console.print(table)
    return [line.rstrip() for line in out.getvalue().splitlines()]
