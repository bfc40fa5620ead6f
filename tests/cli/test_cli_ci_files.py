"""`muster release --junit FILE --markdown FILE`: read as CI systems read them, for each outcome."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

import release_case as case
from command_case import muster
from passmuster.cli.ci_files import write_ci_files
from passmuster.flows.audit import Check
from passmuster.store.store import Store

# What the schema of Jenkins' JUnit reader (its xUnit plugin) allows: attributes, and children in order.
SCHEMA = {
    "testsuites": ({"name", "time", "tests", "failures", "disabled", "errors"}, ["testsuite"]),
    "testsuite": (
        {"name", "tests", "failures", "errors", "time", "disabled", "skipped", "timestamp", "hostname", "id"},
        ["properties", "testcase", "system-out", "system-err"],
    ),
    "properties": (set(), ["property"]),
    "property": ({"name", "value"}, []),
    "testcase": (
        {"name", "assertions", "time", "classname", "status"},
        ["skipped", "error", "failure", "system-out", "system-err"],
    ),
    "failure": ({"type", "message"}, []),
    "skipped": ({"message"}, []),
    "system-out": (set(), []),
}  # fmt: skip


def held_to_schema(node: ElementTree.Element) -> None:
    attributes, children = SCHEMA[node.tag]
    assert set(node.attrib) <= attributes, node.tag
    order = [children.index(child.tag) for child in node]
    assert order == sorted(order), node.tag
    for child in node:
        held_to_schema(child)


def read(path: Path) -> tuple[dict[str, str], dict[str, str], dict[str, int]]:
    """Each case with its state, the properties, and the counts of the suite, all of which must agree."""
    root = ElementTree.parse(path).getroot()
    held_to_schema(root)
    (suite,) = root
    states = {}
    for one in suite.iter("testcase"):
        assert one.get("classname")
        found = [child.tag for child in one if child.tag in ("failure", "skipped")]
        states[one.attrib["name"]] = found[0] if found else "passed"
    said = {key: int(suite.attrib[key]) for key in ("tests", "failures", "errors", "skipped")}
    assert said["tests"] == len(states) == int(root.attrib["tests"])
    assert said["failures"] == list(states.values()).count("failure") == int(root.attrib["failures"])
    assert said["skipped"] == list(states.values()).count("skipped")
    return states, {p.attrib["name"]: p.attrib["value"] for p in suite.iter("property")}, said


def release(store: Store) -> tuple[int, Path, str]:
    """Run it in the project's folder; the exit code, the XML file and the Markdown."""
    folder = store.folder / "ci"
    files = ["--junit", str(folder / "junit.xml"), "--markdown", str(folder / "summary.md")]
    done = muster(store.folder, "release", *files)
    assert f"written: {folder / 'junit.xml'}" in done.stdout, done.stderr
    return done.returncode, folder / "junit.xml", (folder / "summary.md").read_text(encoding="utf-8")


def test_ship(new_store) -> None:
    made = case.ready(new_store())
    code, path, text = release(made.store)
    states, facts, _ = read(path)
    assert (code, "failure" in states.values()) == (0, False)
    assert states["non_inferiority.v1"] == "skipped"
    assert facts["bundle"] == made.bundle.digest[:16]
    assert text.startswith("## muster release: SHIP\n")
    assert "checks pass; " in text
    assert "do not apply" in text
    assert f"> Next: muster approve {facts['release']}" in text


def test_hold(new_store) -> None:
    made = case.ready(new_store(), n=400, n_right=200)
    code, path, text = release(made.store)
    states, facts, _ = read(path)
    assert (code, states["accuracy.v1"]) == (4, "failure")
    failure = ElementTree.parse(path).getroot().find(".//testcase[@name='accuracy.v1']/failure")
    assert failure is not None
    assert failure.attrib["type"] == "failed"
    assert "surely below 0.8" in failure.attrib["message"] == failure.text
    assert text.startswith("## muster release: HOLD\n")
    assert "| ❌ failed | accuracy.v1 | accuracy 0.500 on 400 labels" in text
    assert f"test labels {facts['test labels']}" in text


def test_insufficient(new_store) -> None:
    made = case.ready(new_store(), n=40, n_right=36)
    code, path, text = release(made.store)
    states, _, _ = read(path)
    assert (code, states["accuracy.v1"]) == (4, "failure")
    kinds = {f.attrib["type"] for f in ElementTree.parse(path).getroot().iter("failure")}
    assert kinds == {"insufficient"}
    assert text.startswith("## muster release: INSUFFICIENT\n")
    assert "| ❔ insufficient | accuracy.v1 |" in text
    assert "--provisional" in text.splitlines()[-1]


def test_notes_are_in_the_suite_too(tmp_path: Path) -> None:
    """Where CI keeps the JUnit file alone, that the policy was loosened must not be lost."""
    write_ci_files(
        "release", [Check("a.v1", "passed", "good")], junit=tmp_path / "j.xml", markdown=None, outcome="SHIP",
        passed=True, facts={"release": "r1"}, notes=["a.v1 asks for less now", "Next: muster approve r1"],
    )  # fmt: skip
    found = ElementTree.parse(tmp_path / "j.xml").getroot().iter("property")
    assert {p.attrib["name"]: p.attrib["value"] for p in found} == {
        "release": "r1", "note 1": "a.v1 asks for less now"
    }  # fmt: skip


def test_what_must_not_pass_is_never_green(tmp_path: Path) -> None:
    """A policy of which no gate applied holds; a suite without a failure would let CI go on."""
    checks = [Check("non_inferiority.v1", "not applicable", "there is no live release")]
    write_ci_files(
        "release", checks, junit=tmp_path / "j.xml", markdown=tmp_path / "m.md", outcome="HOLD", passed=False, facts={}
    )
    states, _, counts = read(tmp_path / "j.xml")
    assert (states["outcome"], counts["failures"]) == ("failure", 1)
    assert "1 of 1 checks do not pass; 1 does not apply" in (tmp_path / "m.md").read_text()


@pytest.mark.parametrize("odd", ["a<b>&\"c'", "bell \x07 and \ud800", "line\nbreak", "]]>", "“ä\u00a0€”"])
def test_odd_characters_are_read_back(tmp_path: Path, odd: str) -> None:
    write_ci_files(
        "audit", [Check(odd, "failed", odd)], junit=tmp_path / "j.xml", markdown=tmp_path / "m.md",
        outcome="not passed", passed=False, facts={"release": odd}, notes=[odd],
    )  # fmt: skip
    states, _, _ = read(tmp_path / "j.xml")
    assert list(states.values()) == ["failure"]
    rows = [line for line in (tmp_path / "m.md").read_text(encoding="utf-8").splitlines() if line.startswith("| ❌")]
    assert len(rows) == 1
    assert "<" not in rows[0]


@pytest.mark.parametrize("verb", ["release", "audit"])
def test_an_error_does_not_leave_the_file_of_an_earlier_run(tmp_path: Path, new_store, verb: str) -> None:
    store = new_store()
    junit, markdown = tmp_path / "out.xml", tmp_path / "out.md"
    junit.write_text('<testsuites name="muster" tests="1" failures="0" errors="0"/>')
    done = muster(store.folder, verb, "--junit", str(junit), "--markdown", str(markdown))
    assert done.returncode == 8
    suites = ElementTree.parse(junit).getroot()
    assert suites.attrib["failures"] == "1"
    assert "ERROR" in markdown.read_text()
    nowhere = muster(tmp_path, verb, "--junit", str(junit))
    assert nowhere.returncode == 8
    assert "project.none" in junit.read_text()


def test_an_error_is_heard_though_its_file_cannot_be_written(tmp_path: Path, new_store) -> None:
    (tmp_path / "file").write_text("no folder")
    done = muster(new_store().folder, "release", "--junit", str(tmp_path / "file" / "out.xml"))
    assert done.returncode == 8, "not that of the file"
