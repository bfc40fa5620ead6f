"""What is taken for what, on the page: a confusion matrix, or of sets of classes what is missed and what is added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from passmuster.core.label_sets import MULTI
from passmuster.core.records import Report
from passmuster.stages.evaluate.page.cards import Library, escape

MATRIX_CLASSES = 20  # more than these are too many to see
WORST_CLASSES = 12  # and so many are shown instead


def mistakes(report: Report, library: Library) -> str:
    """Which classes are mistaken for which, "" where there is only one."""
    return decisions(report, library) if report.task == MULTI else matrix(report, library)


def matrix(report: Report, library: Library) -> str:
    """The confusion matrix of the classes most often mistaken, and the commonest mistakes."""
    section = report.sections["confusion"]
    counts = {(i, j): n for i, j, n in section["cells"]}
    n_classes = len(report.classes)
    if n_classes < 2:
        return ""
    n_shown = n_classes if n_classes <= MATRIX_CLASSES else WORST_CLASSES
    totals, errors = [0] * n_classes, [0] * n_classes
    for (i, j), n in counts.items():
        totals[i] += n
        if i != j:
            errors[i] += n
            errors[j] += n
    chosen = sorted(sorted(range(n_classes), key=lambda i: -errors[i])[:n_shown])
    left_out = n_classes - len(chosen)
    note = f" The {n_shown} classes with most mistakes; {left_out:,} others are left out." if left_out else ""
    head = "".join(f'<th scope="col"><span>{escape(report.classes[j])}</span></th>' for j in chosen)
    body = "".join(matrix_row(report, counts, totals[i], i, chosen, library) for i in chosen)
    long = " long" if max(len(report.classes[i]) for i in chosen) > 4 else ""
    listed = "".join(
        "<li>"
        + library.link(
            m["items"],
            f"<b>{escape(m['label'])}</b> taken for <b>{escape(m['predicted'])}</b> "
            f"<span>{m['n']:,} of {round(m['n'] / m['share']):,}</span>",
            kind="line",
        )
        + "</li>"
        for m in section["most_confused"][:10]
    )
    note += counted_one_by_one(report)
    return (
        f'<section><h2>What is taken for what</h2><p class="lead">Rows are labels, columns what the model said.{note}'
        ' Click a cell to see its items.</p><div class="split"><div class="scroll">'
        f'<table class="matrix{long}"><thead><tr>'
        f"<td></td>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        f'<div><h3>Commonest mistakes</h3><ol class="mistakes">{listed or "<li>None on this test.</li>"}</ol></div>'
        "</div></section>"
    )


def counted_one_by_one(report: Report) -> str:
    """What is to be said of counts where labels carry weights; "" where they do not."""
    weights = (report.sections.get("answers") or {}).get("weight") or [1.0]
    if max(weights) <= min(weights):
        return ""
    return " Labelled items are counted one by one; shares elsewhere weigh them by their chances."


def matrix_row(
    report: Report, counts: Mapping[tuple[int, int], int], total: int, i: int, chosen: Sequence[int], library: Library
) -> str:
    """One label: how its `total` items were taken, shaded by share of them."""
    cells = []
    for j in chosen:
        n = counts.get((i, j), 0)
        share = n / max(1, total)
        shade = f'class="{"right" if i == j else "wrong"}"'
        name = f"label={report.classes[i]} predicted={report.classes[j]}"
        label = f"{report.classes[i]} taken for {report.classes[j]}: {n}"
        inside = library.link(name, str(n), kind="cell", label=label) if n else ""
        cells.append(f'<td {shade} style="--share:{100 * share:.0f}%">{inside}</td>')
    return f'<tr><th scope="row">{escape(report.classes[i])}</th>{"".join(cells)}</tr>'


def decisions(report: Report, library: Library) -> str:
    """Of sets of classes: which class is missed, and which is said where it is not, the commonest first."""
    section = report.sections["label_sets"]

    def listed(what: str) -> str:
        rows = [d for d in section["wrong_decisions"] if d["what"] == what]
        lines = "".join(
            "<li>"
            + library.link(
                d["items"], f"<b>{escape(d['class'])}</b> <span>{d['n']:,} of {d['of']:,}</span>", kind="line"
            )
            + "</li>"
            for d in rows[:WORST_CLASSES]
        )
        return f'<ol class="mistakes">{lines or "<li>None on this test.</li>"}</ol>'

    none, note = section["n_none"], counted_one_by_one(report)
    without = f" {none:,} of them carry none." if none else ""
    return (
        '<section><h2>What is missed, and what is added</h2><p class="lead">An item may carry any number of classes: '
        f"{section['mean_classes']:.2f} at the mean, and the model says {section['mean_said']:.2f}.{without}{note} "
        'Click a line to see its items.</p><div class="split">'
        f"<div><h3>Carried, not said</h3>{listed('missed')}</div><div><h3>Said, not carried</h3>{listed('added')}</div>"
        "</div></section>"
    )
