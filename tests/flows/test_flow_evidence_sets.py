"""Test labels of sets of classes from draw to verdict: chosen, recorded, weighed, read with the unlabelled rest."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluate_case import go_live
from label_sets_case import MULTI, write_sets
from passmuster.core.clock import now
from passmuster.core.config import Config, Policy, TrainConfig
from passmuster.core.label_sets import join_classes
from passmuster.core.progress import Silent
from passmuster.core.records import Item, Label, Report
from passmuster.flows.evidence import choose_evidence
from passmuster.flows.project import Project
from passmuster.metrics.gates import decide
from passmuster.metrics.gates.base import effective_n
from passmuster.runtime.predictor import Predictor
from passmuster.stages.evaluate import Scope, evaluate
from passmuster.stages.evaluate.foretell import foretell, members_of
from passmuster.stages.evaluate.stage import open_checked
from passmuster.stages.govern import add
from passmuster.store.draws import read_draws
from passmuster.store.items import add_labels, read_items
from passmuster.store.ledger import read as read_events
from passmuster.store.releases import read_bundle
from passmuster.store.schema import seal_openings
from passmuster.store.store import Store
from serving_case import maker
from train_case import TOPICS

pytest.importorskip("sklearn", reason="training needs the extra `train`")
SMALL = Scope(n_corrupted=4, n_fit=100, n_classes_left_out=2, n_resamples=100, n_previews=10)
N_TEST = 240


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a project trained on 30 texts of few words, with 240 test texts without a label."""
    folder = tmp_path_factory.mktemp("sets")
    train = TrainConfig(time="60s", pretrained=False)
    config = replace(Config(), project=replace(MULTI, name="topics"), train=train)
    store: Store = maker(folder)("text", config)
    table = store.folder / "sets.csv"
    add(store, write_sets(table, n=140, n_labels=30, n_test=N_TEST, test_labels=False, n_words=2))
    made = Project(store)
    made.train(time="60s", seed=0)
    made.close()
    return store.folder


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Iterator[Project]:
    shutil.copytree(trained, tmp_path / "project")
    with Project.open(tmp_path / "project") as made:
        yield made


def truth_of(project: Project) -> dict[str, str]:
    """Key of every test text to its label, which the table hides."""
    with project.store.read() as db:
        items = {item.key: item for item in read_items(db)}
    with (project.store.folder / "sets.csv").open(newline="") as file:
        texts = {row["id"]: row["text"] for row in csv.DictReader(file) if row["split"] == "test"}
    return {key: join_classes(topics_of(texts[item.id])) for key, item in items.items() if item.id in texts}


def label(project: Project, chosen: list[tuple[Item, float]], truth: dict[str, str]) -> None:
    with project.store.act("label.add") as act:
        add_labels(act.db, [Label(i.key, truth[i.key], "ana", now(), "test", weight) for i, weight in chosen])


def more_labels(project: Project) -> dict[str, list[str]]:
    """The classes of fifty more training texts, by id."""
    with (project.store.folder / "sets.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train" and not row["label"]]
    return {row["id"]: topics_of(row["text"]) for row in rows[:50]}


def topics_of(text: str) -> list[str]:
    """A text with a word of a topic carries it."""
    return [name for name, words in TOPICS.items() if set(words.split()) & set(text.split())]


def report_of(project: Project) -> Report:
    return evaluate(project.store, scope=SMALL).report


def test_draws_are_by_what_is_foretold_and_the_whole_way_weighs_them(project: Project) -> None:
    store, truth = project.store, truth_of(project)
    chosen = choose_evidence(store, n=60, rng=np.random.default_rng(0))
    with store.read() as db:
        (draw,) = read_draws(db)
        (event,) = read_events(db, kind="label.draw")
        bundle = read_bundle(db)
    assert draw.chances == {item.key: pytest.approx(1 / weight) for item, weight in chosen}
    assert event.payload["bundle"] == bundle.digest
    weights = np.array([weight for _, weight in chosen])
    assert weights.min() < 0.8 * weights.max()
    label(project, chosen, truth)

    result = evaluate(store, scope=SMALL)
    report = result.report
    items = [item for item, _ in chosen]
    with store.read() as db:
        items = [item for item in read_items(db) if item.key in truth]
    found = foretell(store, bundle, Predictor(open_checked(store, bundle)), items, progress=Silent())
    told = [truth[item.key] for item in items]
    for figure in found.figures:
        metric = report.metric(figure)
        assert metric is not None
        assert metric.n == 60
        assert metric.method.startswith("prediction-powered.v4, 60 labels worth about ")
        assert metric.low <= 1 - found.losses(told, figure).mean() <= metric.high
        assert effective_n(metric) > 60
    evidence, answers = report.sections["evidence"], report.sections["answers"]
    for figure, part in (("accuracy", evidence), ("item_f1", evidence["item_f1"])):
        assert (len(part["foretold"]), len(part["foretold_rest"])) == (60, N_TEST - 60)
        names = [answers["names"][i] for i in answers["label"]], [answers["names"][i] for i in answers["predicted"]]
        lost = [a != b if figure == "accuracy" else lost_f1(a, b) for a, b in zip(*names, strict=True)]
        pool = [*part["foretold"], *part["foretold_rest"]]
        error = sum(w * (y - f) for w, y, f in zip(answers["weight"], lost, part["foretold"])) / sum(answers["weight"])
        metric = report.metric(figure)
        assert metric is not None
        assert metric.value == pytest.approx(1 - sum(pool) / len(pool) - error, abs=1e-6)
    page = result.path.read_text(encoding="utf-8")
    assert "60 labels worth about" in page
    assert "F1 of items is read in the same way" in page
    assert "Labelled items are counted one by one" in page
    (gate,) = decide(report, Policy(gates={"item_f1.v1": {"min": 0.2}})).gates
    assert gate.state == "passed"
    with store.read() as db:
        assert sum(row.counted for row in db.execute(seal_openings.select())) == 1


def lost_f1(label: str, said: str) -> float:
    """By the words of the page: classes joined by a plus."""
    none = "(none of the classes)"
    a, b = ({*text.split(" + ")} - {none} for text in (label, said))
    return 1 - (2 * len(a & b) / (len(a) + len(b)) if a or b else 1.0)


def test_what_counts_unequally_is_weighed_in_every_figure(project: Project) -> None:
    """Each figure of the report is that of the labels repeated by their weights, and not that of the labels alone."""
    truth = truth_of(project)
    label(project, choose_evidence(project.store, n=80, rng=np.random.default_rng(3)), truth)
    report = report_of(project)
    answers = report.sections["answers"]
    weights = np.array(answers["weight"])
    names = [[answers["names"][i] for i in answers[side]] for side in ("label", "predicted")]
    none = "(none of the classes)"
    targets, said = (
        np.array([[c in text.split(" + ") and text != none for c in report.classes] for text in side]) for side in names
    )
    hit, size = 2 * (targets & said), targets.astype(int) + said
    micro = (weights @ hit).sum() / (weights @ size).sum()
    macro = ((weights @ hit) / (weights @ size)).mean()
    hamming = float(np.average((targets != said).mean(axis=1), weights=weights))
    for name, value in (("micro_f1", micro), ("macro_f1", macro), ("hamming_loss", hamming)):
        metric = report.metric(name)
        assert metric is not None
        assert metric.value == pytest.approx(float(value))
    assert micro != pytest.approx(hit.sum() / size.sum(), abs=1e-4)
    for c, name in enumerate(report.classes):
        metric = report.metric("recall", f"class={name}")
        assert metric is not None
        assert metric.value == pytest.approx(np.average(said[targets[:, c], c], weights=weights[targets[:, c]]))
    sets = report.sections["label_sets"]
    assert sets["mean_classes"] == pytest.approx(np.average(targets.sum(axis=1), weights=weights))
    right = np.array([a == b for a, b in zip(*names, strict=True)])
    last = report.sections["risk_coverage"]["risk"][-1]
    assert last == pytest.approx(1 - np.average(right, weights=weights))


def test_what_was_passed_over_of_sets_is_missed(project: Project) -> None:
    """Draws of sets are looked at too: whoever passes over what the model says to be of one class is found out."""
    truth = truth_of(project)
    with project.store.read() as db:
        bundle = read_bundle(db)
    drawn = choose_evidence(project.store, n=150, rng=np.random.default_rng(0))
    model = Predictor(open_checked(project.store, bundle))
    said = foretell(project.store, bundle, model, [item for item, _ in drawn], progress=Silent()).said
    is_tea = members_of(said, ["tea"])[:, 0]
    assert is_tea.sum() > 20
    label(project, [one for one, tea in zip(drawn, is_tea, strict=True) if not tea], truth)
    left = report_of(project).sections["test_labels"]["left_out"]
    assert (left["mark"], left["n_left"], left["n_marked_told"]) == ("tea", int(is_tea.sum()), 0)
    assert left["p"] < 1e-6


def test_sets_that_two_bundles_answer_differently_are_asked_about_and_known_elsewhere(project: Project) -> None:
    truth = truth_of(project)
    with project.store.read() as db:
        live = read_bundle(db)
    go_live(project.store, live)
    project.label(more_labels(project))
    project.train(time="60s", seed=1)
    with project.store.read() as db:
        latest = read_bundle(db)
        items = [item for item in read_items(db) if item.key in truth]
    assert latest.digest != live.digest
    new, old = (
        foretell(project.store, b, Predictor(open_checked(project.store, b)), items, progress=Silent()).said
        for b in (latest, live)
    )
    differ = {item.key for item, a, b in zip(items, new, old, strict=True) if a != b}
    assert 5 < len(differ) < N_TEST / 2
    chosen = choose_evidence(project.store, n=60, rng=np.random.default_rng(0))
    chances = {item.key: 1 / weight for item, weight in chosen}
    shown = [chance for key, chance in chances.items() if key in differ]
    assert np.mean(shown) > 1.5 * np.mean([chance for key, chance in chances.items() if key not in differ])
    label(project, chosen, truth)
    report = report_of(project)
    section = report.sections["versions"]
    census = section["census"]
    assert (census["n_items"], census["n_differ"]) == (N_TEST, len(differ))
    assert section["worth"]["n"] <= N_TEST
    difference = report.metric("accuracy_difference")
    assert difference is not None
    right = [[a == truth[item.key] for item, a in zip(items, said, strict=True)] for said in (new, old)]
    assert difference.low <= np.mean(right[0]) - np.mean(right[1]) <= difference.high
