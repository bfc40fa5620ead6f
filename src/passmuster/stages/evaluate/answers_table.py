"""Every labelled test item in a table: its id, what it is, what was answered, and for how much it counts.

The report itself names items by keyed digests only, so that a person can be forgotten; it is signed into the bundle.
This table lies beside it, in the project, and is not.
"""

from __future__ import annotations

import csv
import io

from passmuster.core.label_sets import label_in_words
from passmuster.core.records import Report
from passmuster.core.spreadsheet import guard_cell
from passmuster.stages.evaluate.draft import Answers, Evidence

COLUMNS = ("id", "key", "label", "predicted", "probability", "withheld", "weight", "foretold")


def answers_csv(report: Report, evidence: Evidence, answers: Answers) -> str:
    """One row for each item, in the order of the report's ``answers``.

    ``weight`` is for how many items of the test it stands, up to a factor; ``foretold`` the chance of an error that the
    model's own answers gave it before its label corrected that, empty where no label was read so. What a spreadsheet
    would run stands behind an apostrophe.
    """
    section = report.sections["answers"]
    foretold = (report.sections.get("evidence") or {}).get("foretold") or [""] * len(evidence.items)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for i, (item, label, said) in enumerate(zip(evidence.items, evidence.labels, answers.predictions, strict=True)):
        writer.writerow(
            (guard_cell(item.id), item.key, guard_cell(label_in_words(label)), guard_cell(label_in_words(said.label)),
             section["probability"][i],
             bool(section["abstained"][i]), section["weight"][i], foretold[i])
        )  # fmt: skip
    return text.getvalue()
