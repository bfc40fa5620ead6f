"""From raw files to a rolled-back release, on the CPU: every stage its own process, in a folder it has never seen."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from passmuster.core.config_file import FILE_NAME, read_config, render_config
from passmuster.flows.demo.docstrings import read_package
from passmuster.flows.demo.story import Story, open_store
from passmuster.store import ledger
from passmuster.store.releases import read_channels, read_releases

pytest.importorskip("sklearn", reason="training needs the extra `train`")
PACKAGES = {"rich": "rich", "sqlalchemy": "sqlalchemy|sa", "scipy": "scipy|sp"}
N_TEXTS, N_LABELLED, N_TEST = 150, 12, 60


def write_texts(folder: Path) -> None:
    """``texts.csv`` with few labels and given splits, and the labels of the test texts apart."""
    rng = np.random.default_rng(3)
    rows, test_labels = [], []
    for package, names in PACKAGES.items():
        texts = {t.text: t for t in read_package(package, names, limit=N_TEXTS, rng=rng)}
        for i, text in enumerate(texts.values()):
            split = "test" if i < N_TEST else "train"
            rows.append([text.id, text.text, package if N_TEST <= i < N_TEST + N_LABELLED else "", split])
            if split == "test":
                test_labels.append([text.id, package])
    for name, header, lines in (
        ("texts.csv", ["id", "text", "label", "split"], rows),
        ("test.csv", ["id", "label"], test_labels),
    ):
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *lines])


@pytest.mark.slow
def test_from_raw_files_to_a_rolled_back_release(tmp_path: Path) -> None:
    write_texts(tmp_path)
    story, project = Story(tmp_path), tmp_path / "docs"
    story.run(tmp_path, "init", "docs", "--modality", "text")
    config = read_config(project)
    gates = {"accuracy.v1": {"min": 0.5}, "parity.v1": {"min_agreement": 0.99}}
    policy = type(config.policy)(gates=gates)
    (project / FILE_NAME).write_text(render_config(type(config)(project=config.project, policy=policy)))
    story.run(project, "add", str(tmp_path / "texts.csv"))
    story.run(project, "label", str(tmp_path / "test.csv"), "--role", "test")
    story.run(project, "train", "--time", "40s", "--rung", "static.v1")
    story.run(project, "release")
    story.run(project, "approve")
    story.run(project, "train", "--time", "40s", "--rung", "static.v1", "--seed", "1")
    story.run(project, "release")
    story.run(project, "approve")
    with open_store(project).read() as db:
        second, first = read_releases(db)
        assert read_channels(db)["live"].release == second.id
    with story.serving(project) as client:
        answer = client.post("/v1/predict", {"item": "Create an engine that connects to a database by its URL."})
        assert answer["label"] in PACKAGES
        assert answer["release"] == second.id
        client.post("/v1/feedback", {"id": answer["id"], "label": "sqlalchemy"})
        story.run(project, "rollback", "--reason", "the owner asked for it")
        story.wait_until(
            "the server follows the channel",
            lambda: client.post("/v1/predict", {"item": "A table of rows."})["release"] == first.id,
        )
    story.run(project, "verify")
    with open_store(project).read() as db:
        kinds = [event.kind for event in ledger.read(db)]
    assert kinds.count("train.done") == 2
    assert kinds.count("release.approve") == 2
    assert kinds.count("channel.rollback") == 1
