"""The generated reference pages say what the program says."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path

import jsonschema
import pytest

from passmuster.core.codec import to_plain
from passmuster.core.config import Config

DOCS = Path(__file__).parents[2] / "docs"


def generate():
    spec = importlib.util.spec_from_file_location("generate_docs", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", sorted(p.name for p in (DOCS / "reference").iterdir()))
def test_reference_is_fresh(name: str) -> None:
    assert (DOCS / "reference" / name).read_text(encoding="utf-8") == generate().pages()[name], "stale: run `make docs`"


def test_the_front_page_shows_the_figures_of_the_kept_runs() -> None:
    found = generate().readme()
    assert found == (DOCS.parent / "README.md").read_text(encoding="utf-8"), "stale: run `make docs`"
    assert "labels until SHIP or HOLD" in found


def test_a_bar_is_reached_by_every_claim_of_it_or_not_at_all() -> None:
    measured = generate().measured
    claims = {"a": {"value": 0.4, "low": 0.3, "high": 0.5, "unit": "x, 2 draws", "peer": {"b.c": 0.25}}}
    row = measured.Row("none", "", "", bar=(("a", "<=", 0.5), ("a", ">=", 0.4)))
    assert measured.reached(row, claims) == "yes"
    assert (
        measured.reached(dataclasses.replace(row, bar=(*row.bar, ("a", "==", 0.5))), claims)
        == "**no**: a is 0.4, not == 0.5"
    )
    cell = "[a|.1f~], [a|peer.b.c:.0%], [a|draws]"
    assert measured.filled(cell, claims) == "0.4 (0.3 to 0.5), 25 %, 2 draws"
    with pytest.raises(KeyError, match="gone"):
        measured.filled("[gone|.1f]", claims)


def test_schema_accepts_the_defaults_and_refuses_an_unknown_key() -> None:
    schema = json.loads((DOCS / "reference" / "muster.schema.json").read_text())
    defaults = json.loads(json.dumps(to_plain(Config())))
    jsonschema.validate(defaults, schema)
    defaults["serve"]["prot"] = 1
    with pytest.raises(jsonschema.ValidationError, match="prot"):
        jsonschema.validate(defaults, schema)
