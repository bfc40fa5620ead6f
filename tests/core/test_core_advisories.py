"""Advisories are read from a local file, and versions are ordered as packaging orders them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from passmuster.core.advisories import matching, read_advisories
from passmuster.core.errors import DataError, NotFoundError
from passmuster.core.packages import running_packages
from passmuster.core.pep440 import version_key

numbers = st.integers(0, 12).map(str)
versions = st.builds(
    lambda release, pre, post, dev: ".".join(release) + pre + post + dev,
    st.lists(numbers, min_size=1, max_size=3),
    st.sampled_from(["", "a1", "b2", "rc1", "-alpha.3"]),
    st.sampled_from(["", ".post1", "-2"]),
    st.sampled_from(["", ".dev0", ".dev4"]),
)


@given(versions, versions)
def test_versions_are_ordered_as_packaging_orders_them(a: str, b: str) -> None:
    mine, theirs = (version_key(a), version_key(b)), (Version(a), Version(b))
    assert mine[0] is not None
    assert mine[1] is not None
    assert (mine[0] < mine[1], mine[0] == mine[1]) == (theirs[0] < theirs[1], theirs[0] == theirs[1])


def record(*events: dict[str, str], **more: Any) -> dict[str, Any]:
    affected = {
        "package": {"ecosystem": "PyPI", "name": "Left.Pad"},
        "ranges": [{"type": "ECOSYSTEM", "events": list(events)}],
    }
    return {"id": "A-1", "summary": "reads too much", "affected": [affected], **more}


@pytest.mark.parametrize(
    ("version", "hit"), [("0.9", False), ("1.0", True), ("1.9.9", True), ("2.0", False), ("3.1", True), ("4", False)]
)
def test_a_range_begins_and_ends(version: str, hit: bool) -> None:
    events = ({"introduced": "1.0"}, {"fixed": "2.0"}, {"introduced": "3"}, {"last_affected": "3.1"})
    assert bool(matching([record(*events)], {"left_pad": version})) is hit


def test_the_version_that_mends_it_is_named() -> None:
    events = ({"introduced": "0"}, {"fixed": "2.0"}, {"introduced": "3"}, {"fixed": "3.4"})
    assert [one.fixed for one in matching([record(*events)], {"left-pad": "1.0"})] == ["2.0"]
    assert [one.fixed for one in matching([record(*events)], {"left-pad": "3.0"})] == ["3.4"]


def test_others_and_withdrawn_ones_do_not_count() -> None:
    every = record({"introduced": "0"})
    assert matching([every], {"left-pad-2": "1.0"}) == []
    assert matching([{**every, "withdrawn": "2026-01-01"}], {"left-pad": "1.0"}) == []
    every["affected"][0]["package"]["ecosystem"] = "npm"
    assert matching([every], {"left-pad": "1.0"}) == []


def test_listed_versions_count() -> None:
    listed = {"id": "A-2", "affected": [{"package": {"ecosystem": "PyPI", "name": "x"}, "versions": ["1.0", "1.1"]}]}
    assert matching([listed], {"x": "1.1.0"})
    assert not matching([listed], {"x": "1.2"})


def test_every_form_of_a_file_is_read(tmp_path: Path) -> None:
    one = record({"introduced": "0"})
    forms = (
        json.dumps(one),
        json.dumps([one]),
        json.dumps({"vulns": [one]}),
        f"{json.dumps(one)}\n\n{json.dumps(one)}",
    )
    for text in forms:
        (tmp_path / "osv").write_text(text)
        assert read_advisories(tmp_path / "osv")[0]["id"] == "A-1"


@pytest.mark.parametrize("text", ["no json", "[3]", '{"vulns": {}}', '[{"no": "id"}]'])
def test_what_is_no_osv_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "osv").write_text(text)
    with pytest.raises(DataError, match="cannot be read"):
        read_advisories(tmp_path / "osv")
    with pytest.raises(NotFoundError):
        read_advisories(tmp_path / "none")


def test_what_is_needed_by_what_is_needed_is_there() -> None:
    found = running_packages()
    assert {"numpy", "onnxruntime", "starlette", "anyio"} <= set(found)
