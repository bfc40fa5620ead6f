"""What was checked, as files for CI: JUnit XML and a Markdown summary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from passmuster.core.errors import ResourceError

if TYPE_CHECKING:
    from passmuster.flows.audit import Check

MARKS = {"passed": "✅", "failed": "❌", "insufficient": "❔", "warning": "⚠️", "not applicable": "➖"}


def write_ci_files(
    title: str, checks: Sequence[Check], *, junit: Path | None, markdown: Path | None, notes: Sequence[str] = ()
) -> list[str]:  # fmt: skip
    """Write what is asked for; returns a line for each file.

    Raises
    ------
    ResourceError
        ``ci.write``.
    """
    lines = []
    for path, text in ((junit, junit_xml(title, checks)), (markdown, markdown_summary(title, checks, notes))):
        if path is None:
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ResourceError("ci.write", f"the file could not be written: {error.strerror}", where=path) from error
        lines.append(f"written: {path}")
    return lines


def junit_xml(title: str, checks: Sequence[Check]) -> str:
    """A test suite with a case for each check: what failed or is open is a failure, a warning passes and is said.

    >>> from passmuster.flows.audit import Check
    >>> junit_xml("audit", [Check("bundle", "passed", "whole")]).splitlines()[1][:60]
    '<testsuites name="muster audit" tests="1" failures="0" skipp'
    """
    n_failed = sum(check.state in ("failed", "insufficient") for check in checks)
    n_skipped = sum(check.state == "not applicable" for check in checks)
    counts = {"tests": str(len(checks)), "failures": str(n_failed), "skipped": str(n_skipped)}
    suites = ElementTree.Element("testsuites", {"name": f"muster {title}", **counts})
    suite = ElementTree.SubElement(suites, "testsuite", {"name": f"muster {title}", "errors": "0", **counts})
    for check in checks:
        case = ElementTree.SubElement(suite, "testcase", {"classname": f"muster.{title}", "name": plain(check.name)})
        if check.state in ("failed", "insufficient"):
            failure = ElementTree.SubElement(case, "failure", {"type": check.state, "message": plain(check.reason)})
            failure.text = plain(check.reason)
        elif check.state == "not applicable":
            ElementTree.SubElement(case, "skipped", {"message": plain(check.reason)})
        else:
            ElementTree.SubElement(case, "system-out").text = f"{check.state}: {plain(check.reason)}"
    ElementTree.indent(suites)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(suites, encoding="unicode")}\n'


def markdown_summary(title: str, checks: Sequence[Check], notes: Sequence[str] = ()) -> str:
    """A heading, a table of checks, and notes."""
    n_open = sum(check.state in ("failed", "insufficient") for check in checks)
    said = f"{n_open:,} of {len(checks):,} checks do not pass" if n_open else f"all {len(checks):,} checks pass"
    rows = [f"| {MARKS[c.state]} {c.state} | {cell(c.name)} | {cell(c.reason)} |" for c in checks]
    parts = [f"## muster {title}: {said}", "", "| state | check | reason |", "| --- | --- | --- |", *rows]
    return "\n".join([*parts, *(f"\n> {cell(note)}" for note in notes)]) + "\n"


def cell(text: str) -> str:
    """Text that Markdown and HTML show as it is, on one line.

    >>> print(cell("a|b <c> `d`"))
    a\\|b &lt;c&gt; \\`d\\`
    """
    one_line = " ".join(plain(text).split())
    marked = "".join(f"\\{c}" if c in "\\`*_[]|~" else c for c in one_line)
    return marked.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def plain(text: str) -> str:
    """Without what XML does not hold."""
    return "".join(c if c.isprintable() or c in "\n\t" else " " for c in text)
