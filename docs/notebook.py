"""Run a notebook's code cells from top to bottom, without Jupyter, and keep in it what they put out.

python docs/notebook.py docs/tutorial/label-economy.ipynb          about five minutes; rewrites the file

Cells share one namespace. What they print is kept, and the value of a last expression as a notebook would show it: as
text, and as HTML or PNG where the object can say itself so.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import sys
import types
from pathlib import Path
from typing import Any

FORMS = {"text/html": "_repr_html_", "image/svg+xml": "_repr_svg_", "image/png": "_repr_png_"}


def run(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook (nbformat 4) with the outputs of this run in place of its own.

    Raises
    ------
    Exception
        Of the first cell that fails; its number is in a note of the exception.
    """
    name = "__notebook__"
    module = types.ModuleType(name)
    before, sys.modules[name] = sys.modules.get(name), module  # dataclasses look their module up
    cells, number = [], 0
    try:
        for cell in notebook["cells"]:
            if cell["cell_type"] != "code":
                cells.append(cell)
                continue
            number += 1
            try:
                outputs = run_cell("".join(cell["source"]), module.__dict__, number)
            except Exception as error:
                error.add_note(f"in code cell {number} of the notebook")
                raise
            cells.append({**cell, "execution_count": number, "outputs": outputs})
    finally:
        sys.modules.pop(name)
        if before is not None:
            sys.modules[name] = before
    return {**notebook, "cells": cells}


def run_cell(source: str, namespace: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """What one cell puts out: the text that it prints, then the value of its last expression, if it ends in one."""
    tree = ast.parse(source, f"cell {number}")
    last = None
    if tree.body and isinstance(tree.body[-1], ast.Expr) and not source.rstrip().endswith(";"):
        last = ast.Expression(tree.body.pop().value)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, f"cell {number}", "exec"), namespace)
        value = None if last is None else eval(compile(last, f"cell {number}", "eval"), namespace)
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": lines(printed.getvalue())})
    if value is not None:
        data = shown(value)
        outputs.append({"output_type": "execute_result", "execution_count": number, "metadata": {}, "data": data})
    return outputs


def shown(value: Any) -> dict[str, Any]:
    """A value in every form that it has, by media type."""
    data: dict[str, Any] = {"text/plain": lines(type(value).__name__ if hasattr(value, "_repr_png_") else repr(value))}
    for kind, method in FORMS.items():
        if hasattr(value, method):
            content = getattr(value, method)()
            data[kind] = base64.b64encode(content).decode() if isinstance(content, bytes) else lines(content)
    return data


def lines(text: str) -> list[str]:
    """Text as notebooks keep it: a list of lines with their ends."""
    return text.splitlines(keepends=True)


def main() -> None:
    """Run each notebook named and write it again."""
    if len(sys.argv) < 2:
        raise SystemExit("name a notebook: python docs/notebook.py docs/tutorial/label-economy.ipynb")
    for path in map(Path, sys.argv[1:]):
        done = run(json.loads(path.read_text(encoding="utf-8")))
        path.write_text(json.dumps(done, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
