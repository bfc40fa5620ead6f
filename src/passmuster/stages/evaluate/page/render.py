"""The page, from top to bottom: what it comes down to, then each number, then how it was made."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

from passmuster.core.label_sets import SINGLE
from passmuster.core.records import Metric, Report
from passmuster.modality.base import Modality
from passmuster.stages.evaluate.attacked import Fallen
from passmuster.stages.evaluate.behaviour import Failure
from passmuster.stages.evaluate.draft import Answers, Scope
from passmuster.stages.evaluate.faults import Spoilt
from passmuster.stages.evaluate.novelty import Strange
from passmuster.stages.evaluate.page import sections
from passmuster.stages.evaluate.page.attacks import attacks
from passmuster.stages.evaluate.page.behaviour import behaviour
from passmuster.stages.evaluate.page.cards import Library, escape, make_cards
from passmuster.stages.evaluate.page.costs import costs
from passmuster.stages.evaluate.page.estimated import estimated
from passmuster.stages.evaluate.page.faults import faults
from passmuster.stages.evaluate.page.first import in_words, masthead, more_in_words
from passmuster.stages.evaluate.page.groups import groups
from passmuster.stages.evaluate.page.novelty import novelty
from passmuster.stages.evaluate.page.serving import serving
from passmuster.stages.evaluate.page.sets import prediction_sets
from passmuster.stages.evaluate.page.slices import slices
from passmuster.stages.evaluate.page.training import training
from passmuster.stages.evaluate.words import between, percent
from passmuster.store.store import Store


@dataclass(frozen=True)
class Extras:
    """What the page shows and the report does not hold: an item under every fault, strange items, failed tests, and
    what attacks found."""

    spoilt: tuple[Spoilt, ...] = ()
    strange: tuple[Strange, ...] = ()
    broken: tuple[Failure, ...] = ()
    fallen: tuple[Fallen, ...] = ()


def render_page(
    store: Store, modality: Modality, report: Report, answers: Answers, extras: Extras, scope: Scope
) -> str:
    """One HTML document with everything inside: it asks nothing of any network, and says so to the browser."""
    library = Library(report, scope, make_cards(store, modality, report, answers, extras.strange, scope))
    body = "\n".join(
        part
        for part in (
            masthead(store.config.project.name, report, library),
            in_words(report, library),
            more_in_words(report, library),
            costs(report, library),
            numbers(report, library),
            sections.versions(report, library),
            serving(report, library),
            sections.classes(report, library),
            sections.certainty(report, library),
            slices(report, library),
            groups(report, library),
            prediction_sets(report, library),
            faults(report, library, extras.spoilt),
            estimated(report),
            behaviour(report, extras.broken),
            attacks(report, extras.fallen),
            novelty(report, library),
            sections.data(report, library),
            training(report),
            colophon(report),
        )
        if part
    )
    style, script = (files(__package__).joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'"
    title = f"{escape(store.config.project.name)}: report on {report.bundle[:12]}"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>{style}</style>
</head>
<body class="{escape(report.modality)}">
<main>
{body}
</main>
<dialog id="drawer" aria-labelledby="drawer-title">
<header><div><h2 id="drawer-title"></h2><p id="drawer-note"></p></div>
<form method="dialog"><button aria-label="Close">✕</button></form></header>
<ul class="cards" id="drawer-items"></ul>
</dialog>
{library.templates()}
<script type="application/json" id="sets">{library.data()}</script>
<script>{script}</script>
</body>
</html>
"""


TILES = (
    ("expected_cost", "", "What an answer costs", "by your own costs, lower is better"),
    ("cost_difference", "against=live", "More than the live release", "difference of mean costs"),
    ("accuracy", "", "Right answers", "share of test items, right as a whole"),
    ("accuracy", "leakage=clean", "Without copies", "right, where training held no copy"),
    ("item_f1", "", "F1 of an item", "sets of classes that are half right count for something"),
    ("micro_f1", "", "Micro-F1", "every yes counts the same"),
    ("macro_f1", "", "Macro-F1", "every class counts the same"),
    ("macro_accuracy", "", "Macro accuracy", "found, every class counts the same"),
    ("hamming_loss", "", "Wrong decisions", "of all items and classes (Hamming loss), lower is better"),
    ("ranking_precision", "", "Ranking precision", "true classes among those ranked as high"),
    ("accuracy_difference", "", "Against the live release", "difference of right answers"),
    ("negative_flip_rate", "", "Became wrong", "right in the live release, wrong now"),
    ("ece", "", "Calibration error", "mean gap between sure and right"),
    ("ece_equal_mass", "", "Calibration error, equal bins", "bins that hold as many items each"),
    ("ece_classwise", "", "Calibration error by class", "each class’s own probability, mean over classes"),
    ("abstention_rate", "", "Withheld", "answers not given"),
    ("accuracy_answered", "", "Right when answering", "among answers given"),
    ("promised_risk", "", "Wrong at the promised risk", "among answers as sure as the policy’s max_risk needs"),
    ("promised_share", "", "Answered at that risk", "share of items with such an answer"),
    ("accuracy_under_faults", "", "Under natural faults", "mean over faults and severities"),
    ("mce", "", "Errors under faults", "times those of the live release (mean corruption error)"),
    ("aurc", "", "Risk over coverage", "area under the curve, lower is better"),
    ("augrc", "", "Undetected errors", "mean share over coverages (AUGRC), lower is better"),
    ("set_coverage", "", "Right class stays possible", "in the set beside the answer"),
    ("set_size", "", "Classes that stay possible", "mean length of that set"),
    ("nll", "", "Log loss", "nats, lower is better"),
    ("brier", "", "Brier score", "squared distance from the truth, lower is better"),
)

# Of the tiles, those that refine another: behind a line that opens.
FINER = frozenset(
    {
        "macro_accuracy",
        "ece_equal_mass",
        "ece_classwise",
        "augrc",
        "set_coverage",
        "set_size",
        "nll",
        "brier",
        "micro_f1",
    }
)


def numbers(report: Report, library: Library) -> str:
    """The headline numbers: value, interval, how many items; each opens them."""
    tiles: list[str] = []
    finer: list[str] = []
    for name, where, title, meaning in TILES:
        metric = report.metric(name, where)
        if metric is None:
            continue
        signed = name == "accuracy_difference"
        value, span = as_text(metric, signed=signed)
        inside = (
            f'<span class="name">{title}</span><strong>{value}</strong><span class="span">{span}</span>'
            f'<span class="n">{meaning} · {metric.n:,} items</span>'
        )
        (finer if name in FINER else tiles).append(library.link(metric.items, inside, kind="tile"))
    more = (
        f'<details><summary>Finer numbers</summary><div class="tiles">{"".join(finer)}</div></details>' if finer else ""
    )
    return (
        '<section><h2>The numbers</h2><p class="lead">Each with its 95 % interval. Click one to see the items behind '
        f'it.</p><div class="tiles">{"".join(tiles)}</div>{more}</section>'
    )


def as_text(metric: Metric, *, signed: bool = False) -> tuple[str, str]:
    """Value and interval of a metric as the page writes them."""
    if metric.unit != "rate":
        return f"{metric.value:.3f}", f"{metric.low:.3f} to {metric.high:.3f}"
    if signed:
        return f"{100 * metric.value:+.1f} points", f"{100 * metric.low:+.1f} to {100 * metric.high:+.1f}"
    return percent(metric.value), between(metric.low, metric.high)


def colophon(report: Report) -> str:
    """How the numbers were made, and what this page rests on."""
    methods = "".join(f"<li>{line}</li>" for line in method_lines(report))
    incumbent = f"<dt>Live release</dt><dd><code>{escape(report.incumbent)}</code></dd>" if report.incumbent else ""
    return f"""<section class="colophon"><h2>How this was made</h2>
<ul>{methods}</ul>
<dl><dt>Bundle</dt><dd><code>{escape(report.bundle)}</code></dd>
<dt>Dataset version</dt><dd><code>{escape(report.snapshot)}</code></dd>{incumbent}
<dt>Made</dt><dd>{escape(report.created)}, look {report.look} at this test</dd></dl>
<p>Everything on this page is inside this file; it asks nothing of any network. The same as data:
<code>report.json</code> beside it; in the project, <code>answers.csv</code> has each item’s id and
weight.</p></section>"""


def versions_method(method: str) -> str:
    """How a difference and its interval were made, in a sentence."""
    if "bootstrap" in method:
        return (
            "the difference has a paired bootstrap interval, because labels carry weights or items go together; the "
            "test counts items for what they are worth alone."
        )
    if "where they differ" in method:
        return (
            "where both answer alike neither is better, and that is known of every test item; where they differ, "
            "labels count by their chances. Score intervals, which are Tango’s (1998) and Wilson’s where every "
            "difference has a label; the test counts as many items as tell as much."
        )
    return "Tango’s interval (1998) for the difference."


def method_lines(report: Report) -> Iterator[str]:
    """Formulas and sources, in one line each."""
    weighted = any("weighted" in metric.method for metric in report.metrics)
    clustered = any("cluster" in metric.method for metric in report.metrics)
    yield "The bundle itself answered, preprocessing and guard included: what is judged here is what is served."
    yield "Shares have Wilson’s interval (1927); macro-F1, calibration, log loss and areas a bootstrap interval."
    powered = (report.sections.get("evidence") or {}).get("worth")
    if powered:
        evidence = report.sections["evidence"]
        sets = (evidence.get("item_f1") or {}).get("worth")
        of_items = f" The F1 of items is read in the same way, and worth about {sets:,} labels." if sets else ""
        yield (
            f"Right answers: {evidence['n_labels']:,} labels, asked for where they tell most, and the model’s own "
            f"answers to {evidence['n_unlabelled']:,} test items without a label, corrected by the labels; that is "
            f"worth about {powered:,} labels of items drawn at random (Zrnic and Candès 2024). Parts (answers given, "
            "classes, groups) are read from the weighted labels alone, so that one may look a little better or worse "
            f"than the whole of which it is nearly all.{of_items}"
        )
    if report.task != SINGLE:
        yield (
            "Right means the whole set of classes. A class is said from a fixed probability on; how sure an answer is, "
            "is the product of its yes and no. Log loss and Brier score are summed over classes. F1: Sokolova and "
            "Lapalme 2009; ranking: Schapire and Singer 2000."
        )
    if weighted:
        yield "Test labels carry weights, because some items were asked for more often; shares are Hájek’s (1971)."
    if clustered:
        yield "Items of one person, and copies of one item, are counted and resampled together."
    yield (
        "Calibration error: 15 bins of equal width (Guo et al. 2017), of equal mass (Nixon et al. 2019), and by class "
        "(Kull et al. 2019). Risk over coverage: Geifman and El-Yaniv 2017; undetected errors: Traub et al. 2024."
    )
    if (report.sections.get("costs") or {}).get("applies"):
        yield (
            "Costs: the cheapest answer has the lowest expected cost at the model’s own probabilities (Elkan 2001). "
            "The interval of a mean cost allows for dear mistakes that were not seen: it is that of a coin between "
            "nothing and the largest cost. Differences have a bootstrap interval on the same items."
        )
    if (report.sections.get("promised_risk") or {}).get("max_risk"):
        yield (
            "Promised risk: exact binomial tests, from the threshold that is likeliest to pass to lower ones until one "
            "fails (Angelopoulos et al. 2021), on held-out training labels; items count as independent, and traffic as "
            "like them. Checked here on labels that took no part."
        )
    difference = report.metric("accuracy_difference")
    if report.incumbent and difference is not None:
        yield f"Versions, on the same items: exact McNemar test; {versions_method(difference.method)}"
    yield "Novelty: strange items are the positive class; the false-positive rate is printed under both conventions."
