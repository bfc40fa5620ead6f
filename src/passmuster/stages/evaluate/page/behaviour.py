"""The section on the team's own behaviour tests: each with its failure rate, and the failures one by one."""

from __future__ import annotations

from collections.abc import Sequence

from passmuster.core.records import Report
from passmuster.stages.evaluate.behaviour import Failure
from passmuster.stages.evaluate.page.cards import escape
from passmuster.stages.evaluate.words import between, percent

KIND = {
    "MFT": "answers as expected",
    "INV": "answers stay as they are",
    "DIR": "a probability goes the right way",
}


def behaviour(report: Report, failures: Sequence[Failure]) -> str:
    """Every test, the worst first, and under it what failed."""
    section = report.sections.get("behaviour")
    if not section:
        return ""
    shown = {failure.row: failure for failure in failures}
    body = ""
    for test in section["tests"]:
        rate = test["rate"]
        body += (
            f'<tr><th scope="row">{escape(test["test"])}<small>{test["kind"]}: {KIND[test["kind"]]}</small></th>'
            f'<td class="number">{rate["n"]:,}</td><td class="number">{test["n_failed"]:,}</td>'
            f'<td class="number"><b>{percent(rate["value"])}</b>'
            f"<small>{between(rate['low'], rate['high'])}</small></td></tr>"
        )
    rows = ""
    for failure in section["failures"]:
        if failure["row"] not in shown:
            continue
        seen = shown[failure["row"]]
        then = f'<div class="preview">{seen.changed}</div>' if seen.changed else ""
        said = " → ".join(escape(words) for words in (failure["said"], failure["said_changed"]) if words)
        rows += (
            f'<tr><td class="number">{failure["row"]:,}</td><td>{escape(failure["test"])}<small>{failure["kind"]}'
            f'</small></td><td><div class="preview">{seen.item}</div>{then}</td><td>{escape(failure["expected"])}</td>'
            f'<td class="wrong">{said}</td></tr>'
        )
    n_failed = section["n_failed"]
    more = "" if len(shown) >= n_failed else f" The first {len(shown):,}; report.json numbers all."
    listed = (
        f'<details open><summary>{n_failed:,} that fail</summary><p class="note">By row of the file.{more}</p>'
        '<div class="scroll"><table class="plain"><thead><tr><th scope="col">Row</th><th scope="col">Test</th>'
        '<th scope="col">Item</th><th scope="col">Expected</th><th scope="col">Said</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></details>"
        if n_failed
        else "<p>All hold.</p>"
    )
    return f"""<section><h2>Does it behave as you say it must?</h2>
<p class="lead">{section["n"]:,} tests of your own, from <code>{escape(section["file"])}</code>; {n_failed:,} fail.</p>
<div class="scroll"><table class="plain"><thead><tr><th scope="col">Test</th><th scope="col">Rows</th>
<th scope="col">Failed</th><th scope="col">Failure rate<small>exact interval</small></th></tr></thead>
<tbody>{body}</tbody></table></div>{listed}
<p class="note">File SHA-256 {section["sha256"][:16]}…. After CheckList (Ribeiro et al. 2020).</p></section>"""
