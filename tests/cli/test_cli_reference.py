"""The generated reference pages say what the program says."""

from __future__ import annotations

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


@pytest.mark.parametrize("name", ["cli.md", "configuration.md", "muster.schema.json", "priors.md", "tables.md"])
def test_reference_is_fresh(name: str) -> None:
    assert (DOCS / "reference" / name).read_text(encoding="utf-8") == generate().pages()[name], "stale: run `make docs`"


def test_schema_accepts_the_defaults_and_refuses_an_unknown_key() -> None:
    schema = json.loads((DOCS / "reference" / "muster.schema.json").read_text())
    defaults = json.loads(json.dumps(to_plain(Config())))
    jsonschema.validate(defaults, schema)
    defaults["serve"]["prot"] = 1
    with pytest.raises(jsonschema.ValidationError, match="prot"):
        jsonschema.validate(defaults, schema)
