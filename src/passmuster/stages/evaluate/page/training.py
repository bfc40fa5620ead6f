"""The section on how the model was learned: rungs of the ladder, calibration, price, or where it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from passmuster.core.cost import in_words
from passmuster.core.records import Report
from passmuster.stages.evaluate.page.cards import escape
from passmuster.stages.evaluate.words import percent


def training(report: Report) -> str:
    """The rungs of the ladder: what each brought, and what it cost."""
    section = report.sections["training"]
    rungs = section.get("rungs")
    rows = rungs.get("rungs", []) if isinstance(rungs, dict) else rungs
    rows = [row for row in rows or [] if isinstance(row, dict)]
    table = ""
    if rows:
        head = "".join(f'<th scope="col">{title}</th>' for title in RUNG_COLUMNS)
        body = "".join(
            f"<tr{' class=chosen' if is_chosen(row, section['rung']) else ''}>"
            + "".join(f"<td{kind}>{escape(text)}</td>" for text, kind in rung_cells(row))
            + "</tr>"
            for row in rows
        )
        head = f"<thead><tr>{head}</tr></thead>"
        table = f'<div class="scroll"><table class="plain">{head}<tbody>{body}</tbody></table></div>'
    said = (
        f"The model climbed to <b>{escape(section['rung'] or 'no rung')}</b>"
        if section["origin"] == "trained"
        else "The model is elsewhere and is asked over HTTP"
        if "endpoint" in report.sections
        else "The model was trained elsewhere and imported"
    )
    asked = endpoint(report.sections["endpoint"]) if "endpoint" in report.sections else ""
    cost = f"<p>It cost {escape(in_words(section['cost']))}.</p>" if "cost" in section else ""
    sure = scaled(section.get("calibration"))
    return f'<section><h2>How it was learned</h2><p class="lead">{said}.</p>{asked}{sure}{cost}{table}</section>'


def scaled(calibration: Mapping[str, Any] | None) -> str:
    """How its sureness was calibrated, where that is known: one temperature, or a slope and a shift of each class."""
    if not calibration or calibration.get("kind") != "vector":
        return ""
    return (
        "<p>How sure it is, was calibrated by vector scaling: a slope and a shift of each class (Guo et al. 2017). "
        "It was chosen over one temperature for all, because the log loss of held-out training labels fell by "
        f"{calibration['held_out_gain']:.3f} ± {calibration['held_out_gain_se']:.3f} nats.</p>"
    )


def endpoint(section: dict[str, Any]) -> str:
    """How a model that is elsewhere answered: address, seconds, tokens, price."""
    model = f", model <b>{escape(section['model'])}</b>" if section["model"] else ""
    said = [f"It was asked at <code>{escape(section['url'])}</code>{model}."]
    if "n_answers" in section:
        said.append(
            f"{section['n_answers']:,} answers took {1000 * section['seconds_median']:,.0f} ms each at the median, and "
            f"95 of 100 came within {1000 * section['seconds_p95']:,.0f} ms."
        )
        price = f"{section['per_million']:,.2f} {escape(section['currency'])}" if section["per_million"] else ""
        said.append(f"A million answers cost {price}." if price else "What answers cost was not named.")
    return f"<p>{' '.join(said)}</p>"


def is_chosen(row: dict[str, Any], rung: str) -> bool:
    return bool(row.get("chosen")) or rung in (row.get("rung"), row.get("name"))


RUNG_COLUMNS = ("Way to learn", "Quoted", "Took", "Log-loss", "Right, on training labels held out", "Gain", "")


def rung_cells(row: dict[str, Any]) -> list[tuple[str, str]]:
    """What is said of one rung, a text and the class of its cell for each of `RUNG_COLUMNS`."""
    number = ' class="number"'
    quote = row.get("quote") or {}
    outcome = "chosen" if row.get("chosen") else row.get("left_out") or ("" if row.get("helped") else "did not help")
    took, gain = row.get("seconds"), row.get("gain")
    loss, error = row.get("log_loss"), row.get("log_loss_se")
    return [
        (str(row.get("rung") or row.get("name") or "–"), ""),
        (f"{quote['seconds']:.0f} s" if "seconds" in quote else "–", number),
        ("–" if took is None else f"{took:.0f} s", number),
        ("–" if loss is None else f"{loss:.3f}" + ("" if error is None else f" ± {error:.3f}"), number),
        ("–" if row.get("accuracy") is None else percent(row["accuracy"]), number),
        (f"{gain:+.3f} nats" if gain else "–", number),
        (str(outcome), ""),
    ]
