"""What was checked, as files for CI: JUnit XML and a Markdown summary."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from passmuster.core.errors import MusterError, ResourceError

if TYPE_CHECKING:
    from passmuster.flows.audit import Check

MARKS = {"passed": "✅", "failed": "❌", "insufficient": "❔", "warning": "⚠️", "not applicable": "➖"}


def write_ci_files(
    title: str, checks: Sequence[Check], *, junit: Path | None, markdown: Path | None, outcome: str,
    passed: bool, facts: Mapping[str, str], notes: Sequence[str] = (),
) -> list[str]:  # fmt: skip
    """Write what is asked for; returns a line for each file.

    Parameters
    ----------
    outcome : in one word, what it came to
    passed : whether CI may go on; where it may not though no check is open, the outcome itself is an open check
    facts : names and values that say what was judged
    notes : sentences under the table, and properties of the suite; the next command stands under the table alone

    Raises
    ------
    ResourceError
        ``ci.write``.
    """
    from passmuster.flows.audit import Check

    if not passed and not any(map(is_open, checks)):
        checks = [*checks, Check("outcome", "failed", f"{outcome}: no check passed, so that nothing is shown")]
    said = {f"note {i}": note for i, note in enumerate((n for n in notes if not n.startswith("Next: ")), start=1)}
    texts = junit_xml(title, checks, {**facts, **said}), markdown_summary(title, checks, outcome, facts, notes)
    lines = []
    for path, text in zip((junit, markdown), texts, strict=True):
        if path is None:
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ResourceError("ci.write", f"the file could not be written: {error.strerror}", where=path) from error
        lines.append(f"written: {path}")
    return lines


@contextlib.contextmanager
def errors_in_ci(title: str, junit: Path | None, markdown: Path | None) -> Iterator[None]:
    """Files of an earlier run are removed, so that CI does not take them for today's; an error that ends the block is
    written in their place, if it can be."""
    for path in (junit, markdown):
        if path is not None:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
    try:
        yield
    except MusterError as error:
        from passmuster.flows.audit import Check

        with contextlib.suppress(ResourceError):  # the error itself is what has to be heard
            write_ci_files(
                title, [Check(error.code, "failed", str(error))], junit=junit, markdown=markdown, outcome="ERROR",
                passed=False, facts={},
            )  # fmt: skip
        raise


def is_open(check: Check) -> bool:
    """Whether a check keeps CI from going on."""
    return check.state in ("failed", "insufficient")


def junit_xml(title: str, checks: Sequence[Check], facts: Mapping[str, str]) -> str:
    """A test suite with a case for each check: what failed or is open is a failure, a warning passes and is said.

    Names and order are those of the schema that Jenkins' JUnit reader is held to (testsuites, testsuite, properties,
    testcase), so that others read it too.

    >>> from passmuster.flows.audit import Check
    >>> junit_xml("audit", [Check("bundle", "passed", "whole")], {}).splitlines()[1]
    '<testsuites name="muster audit" tests="1" failures="0" errors="0">'
    """
    n_failed = sum(map(is_open, checks))
    n_skipped = sum(check.state == "not applicable" for check in checks)
    counts = {"tests": str(len(checks)), "failures": str(n_failed), "errors": "0"}
    suites = ElementTree.Element("testsuites", {"name": f"muster {title}", **counts})
    suite = ElementTree.SubElement(suites, "testsuite", {**suites.attrib, "skipped": str(n_skipped)})
    if facts:
        properties = ElementTree.SubElement(suite, "properties")
        for name, value in facts.items():
            ElementTree.SubElement(properties, "property", {"name": name, "value": plain(value)})
    for check in checks:
        case = ElementTree.SubElement(suite, "testcase", {"classname": f"muster.{title}", "name": plain(check.name)})
        if is_open(check):
            failure = ElementTree.SubElement(case, "failure", {"type": check.state, "message": plain(check.reason)})
            failure.text = plain(check.reason)
        elif check.state == "not applicable":
            ElementTree.SubElement(case, "skipped", {"message": plain(check.reason)})
        else:
            ElementTree.SubElement(case, "system-out").text = f"{check.state}: {plain(check.reason)}"
    ElementTree.indent(suites)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(suites, encoding="unicode")}\n'


def markdown_summary(
    title: str, checks: Sequence[Check], outcome: str, facts: Mapping[str, str], notes: Sequence[str] = ()
) -> str:
    """A heading, what was judged, a table of checks, and notes."""
    n_open = sum(map(is_open, checks))
    n_apply = sum(check.state != "not applicable" for check in checks)
    said = f"{n_open:,} of {n_apply:,} checks do not pass" if n_open else f"all {n_apply:,} checks pass"
    told = " · ".join(f"{cell(name)} {cell(value)}" for name, value in facts.items())
    beside = len(checks) - n_apply
    rows = [f"| {MARKS[c.state]} {c.state} | {cell(c.name)} | {cell(c.reason)} |" for c in checks]
    said += f"; {beside:,} {'does' if beside == 1 else 'do'} not apply" if beside else ""
    parts = [
        f"## muster {title}: {cell(outcome)}",
        "",
        f"{said}  ",
        told,
        "",
        "| state | check | reason |",
        "| --- | --- | --- |",
        *rows,
    ]
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
