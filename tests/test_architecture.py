"""The layers of the design, enforced: an import may only go down, and rooms of one layer do not know each other."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

import passmuster

SOURCE = Path(__file__).parents[1] / "src" / "passmuster"
LAYER = {
    "core": 0, "store": 1, "checks": 1, "metrics": 1, "signals": 1, "learn": 1, "modality": 2, "runtime": 3,
    "stages": 4, "flows": 5, "cli": 6, "console": 6, "integrations": 6,
}  # fmt: skip
FILES = sorted(SOURCE.rglob("*.py"))


def imports_of(path: Path) -> list[tuple[int, str]]:
    """Line and dotted name of every import of this package, those inside functions and import strings included."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
            if text.startswith("passmuster.") and ":" in text and " " not in text:
                found.append((node.lineno, text.partition(":")[0]))
    return [(line, name) for line, name in found if name.startswith("passmuster.")]


def broken_rule(importer: tuple[str, ...], imported: tuple[str, ...]) -> str:
    """Why `importer` may not import `imported` (parts below the package), or "" when it may."""
    here, there = importer[0].removesuffix(".py"), imported[0]
    if there not in LAYER or here not in LAYER:
        return ""
    if LAYER[there] > LAYER[here]:
        return f"{here} (layer {LAYER[here]}) may not import {there} (layer {LAYER[there]}): imports go down"
    if LAYER[here] == 1 and LAYER[there] == 1 and here != there:
        return f"rooms of layer 1 do not know each other: {here} imports {there}"
    if here == there == "modality" and len(importer) > 2 and len(imported) > 1:
        a, b = importer[1], imported[1]
        if {a, b} <= {"text", "image"} and a != b:
            return f"no modality imports another: {a} imports {b}"
    if here == there == "stages":
        a, b = importer[1].removesuffix(".py"), imported[1]
        if a != b:
            return f"stages meet in records and the store: {a} imports {b}"
    return ""


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_go_down(path: Path) -> None:
    importer = path.relative_to(SOURCE).parts
    broken = [
        f"{path.name}:{line}: {why}"
        for line, name in imports_of(path)
        if (why := broken_rule(importer, tuple(name.split(".")[1:])))
    ]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        (("core", "records.py"), ("store", "ledger")),
        (("store", "blobs.py"), ("metrics", "gates")),
        (("stages", "train.py"), ("stages", "govern")),
        (("stages", "serve", "app.py"), ("stages", "watch")),
        (("modality", "text", "read.py"), ("modality", "image", "read")),
        (("runtime", "guard.py"), ("flows", "release")),
    ],
)
def test_the_rule_refuses(importer: tuple[str, ...], imported: tuple[str, ...]) -> None:
    assert broken_rule(importer, imported)


def test_a_type_checker_sees_each_public_name() -> None:
    """What is loaded late is named for type checkers too: to them, what only `__getattr__` gives could be anything."""
    body = ast.parse((SOURCE / "__init__.py").read_text()).body
    checked = [node for node in body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    seen = {
        alias.asname or alias.name: (node.module or "", alias.name)
        for block in checked for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }  # fmt: skip
    assert {*seen, "__version__"} == set(passmuster.__all__)
    for name, (module, attribute) in seen.items():
        assert getattr(passmuster, name) is getattr(import_module(module), attribute)
