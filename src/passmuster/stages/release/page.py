"""The report's page with the verdict on it, for whoever prints one document: decision on top, every gate at the end.

A copy of the page that the evaluation made, which knew of no verdict. It stays in the project, because it shows items;
what is signed is in the bundle, and the page says how to check it.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

from passmuster.core.disk import took_no_more, write_whole
from passmuster.core.errors import ResourceError
from passmuster.core.records import GateResult, Release, Verdict
from passmuster.stages.release.card import MEANING, number
from passmuster.store.store import Store

TONES = {"SHIP": "good", "HOLD": "breaks", "INSUFFICIENT": "unknown"}
AFTER_MASTHEAD, END = "</header>", "</main>"


def write_verdict_page(store: Store, release: Release, verdict: Verdict) -> Path | None:
    """Write ``verdict-<release>.html`` beside the report's page; None where the evaluation made no page."""
    folder = store.root / "reports" / release.bundle[:16]
    report = folder / "report.html"
    if not report.is_file():
        return None
    path = folder / f"verdict-{release.id}.html"
    try:
        write_whole(path, with_verdict(report.read_text(encoding="utf-8"), release, verdict).encode())
    except OSError as error:
        raise ResourceError(
            "disk.full" if took_no_more(error) else "report.write",
            f"the release is signed, but the page with its verdict could not be written: {error.strerror}",
            value=release.id, where=path, next=f"free some disk, then muster release {release.bundle[:16]}",
        ) from error  # fmt: skip
    return path


def with_verdict(page: str, release: Release, verdict: Verdict) -> str:
    """The page with the verdict's banner after its masthead, and its gates as the last section.

    >>> from passmuster.core.records import Release, Verdict
    >>> verdict = Verdict("b" * 64, "r" * 64, "p" * 64, "SHIP", (), None, 1, "2026-01-01T00:00:00+00:00")
    >>> page = with_verdict("<header></header><main></main>", Release("r1", "b" * 64, "SHIP", "", ""), verdict)
    >>> page.index("</header>") < page.index("Every gate that applies has passed") < page.index("How it was judged")
    True
    """
    top, found, rest = page.partition(AFTER_MASTHEAD)
    body, end, tail = rest.rpartition(END)
    return f"{top}{found}\n{banner(release, verdict)}\n{body}{gates(release, verdict)}\n{end}{tail}"


def banner(release: Release, verdict: Verdict) -> str:
    """The outcome, what it means, and why where it is not SHIP."""
    waiting = [gate for gate in verdict.gates if gate.state in ("failed", "insufficient")]
    reasons = "".join(
        f"<li>{escape(gate.reason[:1].upper() + gate.reason[1:])} <small>{escape(gate.gate)}</small></li>"
        for gate in waiting
    )
    return f"""<section class="verdict {TONES[verdict.outcome]}" aria-label="Verdict">
<p class="eyebrow">Verdict on release {escape(release.id)}</p>
<h2>{verdict.outcome}</h2>
<p>{escape(MEANING[verdict.outcome])}</p>{f"<ul>{reasons}</ul>" if reasons else ""}
</section>"""


def gates(release: Release, verdict: Verdict) -> str:
    """Every gate, and what the verdict rests on."""
    rows = "".join(map(row, verdict.gates))
    notes = "".join(f"<li>{escape(note)}</li>" for note in verdict.notes)
    return f"""<section class="judged"><h2>How it was judged</h2>
<p class="lead">Gates of the policy, each at its own chance of error; intervals elsewhere hold with 95&nbsp;%.</p>
<div class="scroll"><table class="plain"><thead><tr><th>Gate</th><th>State</th><th>Why</th><th>Value</th>
<th>Bound</th><th>Judged at</th></tr></thead>
<tbody>{rows}</tbody></table></div>{f"<ul>{notes}</ul>" if notes else ""}
<p class="meta">Policy <code>{escape(verdict.policy[:16])}</code>, report <code>{escape(verdict.report[:16])}</code>,
look {verdict.look} at this test, signed {escape(release.created[:19])}. <code>muster verify</code> checks the signed
verdict in the bundle; this page is a copy for people.</p></section>"""


def row(gate: GateResult) -> str:
    """One gate's line in the table."""
    cells = "".join(f"<td>{escape(text)}</td>" for text in (gate.state, gate.reason))
    numbers = "".join(f'<td class="number">{number(value)}</td>' for value in (gate.value, gate.bound, gate.level))
    return f"<tr><th>{escape(gate.gate)}</th>{cells}{numbers}</tr>"
