"""Sets of classes through the whole way: learnt, judged, released, served, corrected by feedback, watched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from label_sets_case import MULTI, write_sets
from passmuster.core.config import Config, Policy, TrainConfig
from passmuster.core.errors import UsageError
from passmuster.flows.label_export import export_labels
from passmuster.flows.project import Project
from passmuster.flows.verify import verify
from passmuster.runtime.bundle import open_bundle
from passmuster.runtime.predictor import Predictor
from passmuster.stages.govern import add
from passmuster.store.releases import read_report
from passmuster.store.store import Store
from passmuster.store.traffic_reader import TrafficReader
from serving_case import kept, maker, serving

pytest.importorskip("sklearn", reason="training needs the extra `train`")
GATES: dict[str, dict[str, Any]] = {
    "accuracy.v1": {"min": 0.4},
    "item_f1.v1": {"min": 0.6},
    "worst_class.v1": {"min": 0.3},
    "non_inferiority.v1": {"margin": 0.1},
    "negative_flips.v1": {"max_rate": 0.3},
    "leakage.v1": {"max_twins": 0},
    "calibration.v1": {"max_ece": 0.4},
    "parity.v1": {"min_agreement": 0.99},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Trained on 60 labelled texts of no, one or two topics, evaluated on 60, released and live."""
    folder = tmp_path_factory.mktemp("sets")
    policy = Policy(gates=GATES)
    train = TrainConfig(time="120s", pretrained=False)
    config = replace(Config(), project=MULTI, train=train, policy=policy)
    store: Store = maker(folder)("text", replace(config, project=replace(MULTI, name="topics")))
    add(store, write_sets(folder / "sets.csv"))
    made = Project(store)
    made.train(time="120s", seed=0)
    yield made
    made.close()


def predictor(project: Project) -> Predictor:
    (path,) = [p for p in project.store.bundles_folder.iterdir() if not p.name.startswith(".")]
    return Predictor(open_bundle(path), threads=1)


def test_a_bundle_says_any_number_of_classes(project: Project) -> None:
    found = predictor(project)
    assert found.task == "multi-label"
    assert found.classes == ("bank", "rail", "tea")
    assert found.bundle.manifest.head == "one-vs-rest"
    both, none = found.predict(
        ["card cash account money bank tea kettle water leaf cup", "stone moss gravel fern brook"]
    )
    assert both.label == '["bank","tea"]'
    assert none.label == "[]"
    assert both.whole is not None
    assert 0 < both.probability == both.whole < 1
    assert {"bank", "tea"} <= set(both.prediction_set)


def test_answers_alone_are_those_of_the_whole_predictor(project: Project) -> None:
    found = predictor(project)
    embeddings, logits = found.embed(["card cash money bank account pin fee", "stone moss fern", "tea cup rail ticket"])
    assert found.labels(logits) == [answer.label for answer in found.decide(embeddings, logits)]


def test_the_whole_way(project: Project) -> None:
    store = project.store
    released = project.release()
    states = {gate.gate: gate.state for gate in released.verdict.gates}
    assert released.shipped, released.verdict.gates
    assert states.pop("non_inferiority.v1") == states.pop("negative_flips.v1") == "not applicable"
    assert set(states.values()) == {"passed"}
    project.approve(released.release.id)
    with store.read() as db:
        found = read_report(db, released.verdict.bundle)
    assert found is not None
    report = found[1]
    assert report.task == "multi-label"
    numbers = {name: report.metric(name) for name in ("accuracy", "item_f1", "micro_f1", "macro_f1", "hamming_loss")}
    assert all(numbers.values())
    assert numbers["accuracy"].value <= numbers["item_f1"].value  # type: ignore[union-attr]
    for name in ("micro_f1", "macro_f1", "hamming_loss"):
        found = numbers[name]
        assert found is not None
        assert found.high > found.low, "that every set was right says nothing sure about the next"
    assert report.sections["answers"]["names"]
    page = (store.root / "reports" / report.bundle[:16] / "report.html").read_text()
    for words in ("What is missed, and what is added", "exactly right, every class", "F1 of an item", "bank + tea"):
        assert words in page
    card = (released.path / "card.md").read_text()
    assert "any number of 3 labels" in card

    with serving(store) as server, server.client() as client:
        texts = ["card cash account money bank tea kettle water leaf cup", "stone moss gravel fern brook"]
        both, none = client.post("/v1/predict", json={"items": texts}).json()["predictions"]
        assert [said["class"] for said in both["labels"]] in (["bank", "tea"], ["tea", "bank"])
        assert both["labels"][0]["probability"] >= both["labels"][1]["probability"]
        assert "label" not in both
        assert none["labels"] == []
        assert set(both["probabilities"]) == {"bank", "rail", "tea"}
        said = [
            {"id": both["id"], "label": ["tea", "bank"]},
            {"id": none["id"], "label": ["rail", "unheard of"]},
        ]
        told = client.post("/v1/feedback", json=said).json()
        assert told == {"accepted": 2, "unknown_labels": ["unheard of"], "read_as": {}}
        told = client.get("/v2/models/topics").json()
        assert told["parameters"]["task"] == "multi-label"
        asked = {"inputs": [{"name": "text", "shape": [2], "datatype": "BYTES", "data": texts}]}
        outputs = {o["name"]: o for o in client.post("/v2/models/topics/infer", json=asked).json()["outputs"]}
        assert [json.loads(names) for names in outputs["labels"]["data"]] == [["bank", "tea"], []]
        assert outputs["said"]["data"] == [True, False, True, False, False, False]
        assert {o["name"] for o in told["outputs"]} == set(outputs)
        refused = client.post("/v2/models/topics/infer", json={**asked, "outputs": [{"name": "label"}]})
        assert refused.status_code == 422
        assert server.stop() == 0
    records = kept(store)
    assert records[both["id"]].label == '["bank","tea"]'
    assert records[both["id"]].probability == pytest.approx(both["probability"])
    labels = TrafficReader(store.traffic_folder).labels()
    assert labels[both["id"]] == records[both["id"]].label  # so the watch counts no error there
    assert labels[none["id"]] != records[none["id"]].label

    from passmuster.stages.watch import watch_once

    watch_once(store)
    assert verify(store).whole


def test_a_second_model_is_compared_set_by_set(project: Project) -> None:
    project.train(time="120s", seed=1)
    released = project.release()
    states = {gate.gate: gate.state for gate in released.verdict.gates}
    assert "not applicable" not in states.values()
    with project.store.read() as db:
        found = read_report(db, released.verdict.bundle)
    assert found is not None
    section = found[1].sections["versions"]
    assert section["both_right"] + section["only_candidate"] + section["only_incumbent"] + section["both_wrong"] == 60
    for row in section["changed"]:
        assert row["candidate"] != row["incumbent"]


def test_what_to_label_next_is_given_for_both_sides(project: Project, tmp_path: Path) -> None:
    assert export_labels(project.store, tmp_path / "train.csv", n=5, role="train") == 5
    rows = (tmp_path / "train.csv").read_text().splitlines()
    assert rows[0].startswith("id,text,label,role")


def test_a_detector_of_exclusive_logits_is_refused_before_anything_is_learnt(project: Project) -> None:
    from passmuster.metrics.novelty import detectors

    name = next(n for n in detectors if detectors[n].needs_exclusive_classes)
    overrides = {"policy.guard.novelty": name}
    with Project.open(project.store.folder, overrides=overrides) as other, pytest.raises(UsageError) as caught:
        other.train(time="60s")
    assert caught.value.code == "guard.novelty"
