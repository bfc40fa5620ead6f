"""The section on natural faults: what they cost, beside the live release, and one item on its way down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from passmuster.core.records import Report
from passmuster.stages.evaluate.faults import SEVERITIES, Spoilt
from passmuster.stages.evaluate.page import charts
from passmuster.stages.evaluate.page.cards import Library, escape
from passmuster.stages.evaluate.words import between, percent, plain_name

Section = Mapping[str, Any]


def faults(report: Report, library: Library, spoilt: Sequence[Spoilt]) -> str:
    """Accuracy under natural faults: curves, a table that opens what broke, and one item on its way down."""
    section = report.sections["corruptions"]
    names = list(dict.fromkeys(row["corruption"] for row in section["rows"]))
    if not names:
        return f"<section><h2>When things go wrong outside</h2>{left_out(section)}</section>"
    titles = [plain_name(name) for name in names]
    relative = (section.get("against_live") or {}).get("of", {})
    head = "".join(f'<th scope="col">{severity}</th>' for severity in SEVERITIES)
    head += '<th scope="col">errors, to live release’s</th>' if relative else ""
    body = "".join(fault_row(section, library, name, relative) for name in names)
    return f"""<section><h2>When things go wrong outside</h2>
<p class="lead">{section["n"]:,} test items, drawn at random, each spoilt by every fault at five severities. Clean, the
model is right on {percent(section["clean"]["value"])} of them; over all faults and severities on
{percent(section["mean"]["value"])} ({between(section["mean"]["low"], section["mean"]["high"])}).</p>{beside(section)}
<div class="split"><figure>{charts.faults_chart(section, names, titles)}</figure>
<div class="scroll"><h3>Right answers, %, by severity</h3><table class="matrix faults">
<thead><tr><td></td>{head}</tr></thead>
<tbody>{body}</tbody></table><p class="note">Click a cell to see which right answers the fault broke.</p></div></div>
{left_out(section)}{way_down(names, spoilt)}</section>"""


def fault_row(section: Section, library: Library, name: str, relative: Mapping[str, float]) -> str:
    """One fault: right answers at each severity, shaded by how far they fall on the items that it changes."""
    found = {row["severity"]: row for row in section["rows"] if row["corruption"] == name}
    title, cells = plain_name(name), []
    for severity in SEVERITIES:
        row = found[severity]
        share, fall = row["accuracy"], max(0.0, row["clean"] - row["accuracy"]["value"])
        label = (
            f"{title}, severity {severity}: {percent(share['value'])} ({between(share['low'], share['high'])}) of "
            f"{share['n']:,} items that it changes; clean {percent(row['clean'])}"
        )
        inside = library.link(row["broken"], f"{100 * share['value']:.0f}", kind="cell", label=label)
        cells.append(f'<td class="wrong" style="--share:{100 * fall:.0f}%">{inside}</td>')
    if relative:
        cells.append(f'<td class="number">{relative[name]:.2f}</td>' if name in relative else "<td>–</td>")
    return f'<tr><th scope="row">{escape(title)}</th>{"".join(cells)}</tr>'


def beside(section: Section) -> str:
    """The mean corruption error against the live release."""
    live = section.get("against_live")
    if not live:
        return ""
    mce, worst = live["mce"], live["worst"]
    return (
        f"<p>Under faults it makes {mce['value']:.2f} times the errors of the live release ({mce['low']:.2f} to "
        f"{mce['high']:.2f}; mean corruption error, {live['n']:,} items that both were asked). It fares worst under "
        f"{escape(plain_name(worst))}: {live['of'][worst]:.2f} times.</p>"
    )


def left_out(section: Section) -> str:
    """Faults that say nothing of these items, and why; and whose files were run."""
    rows = section.get("left_out") or []
    own = section.get("own") or []
    text = "; ".join(f"{escape(plain_name(r['corruption']))}: {escape(r['reason'])}" for r in rows)
    said = f'<p class="note">Left out. {text}.</p>' if rows else ""
    files = ", ".join(f"<code>{escape(o['name'])}</code> (SHA-256 {o['sha256'][:16]}…)" for o in own)
    return said + (f'<p class="note">Your own: {files}.</p>' if own else "")


def way_down(names: Sequence[str], spoilt: Sequence[Spoilt]) -> str:
    """One item under every fault and severity, and what it was taken for."""
    if not spoilt:
        return ""
    rows = ""
    for name in names:
        at = {s.severity: s for s in spoilt if s.corruption == name}
        cells = "".join(way_cell(at.get(severity)) for severity in SEVERITIES)
        rows += f'<tr><th scope="row">{escape(plain_name(name))}</th>{cells}</tr>'
    head = "".join(f'<th scope="col">severity {severity}</th>' for severity in SEVERITIES)
    return (
        "<details open><summary>One item on its way down</summary>"
        f'<div class="scroll"><table class="way"><thead><tr><td></td>{head}</tr></thead>{rows}</table></div></details>'
    )


def way_cell(seen: Spoilt | None) -> str:
    """The item as one severity left it."""
    if seen is None:
        return '<td><p class="note">stays as it is</p></td>'
    mark = "right" if seen.right else "wrong"
    return (
        f'<td><div class="preview">{seen.preview}</div><span class="{mark}">'
        f"{'✓' if seen.right else '✗'} {escape(seen.predicted)}</span></td>"
    )
