"""The story that a newcomer reads first runs: from raw files to a release that is served, in one call."""

from __future__ import annotations

import json
import random
import urllib.request
from pathlib import Path

import pytest

from passmuster.core.errors import DataError, ResourceError
from passmuster.flows.lifecycle import in_service, lifecycle
from passmuster.flows.project import Project
from passmuster.flows.verify import verify
from passmuster.store import ledger

pytest.importorskip("sklearn", reason="training needs the extra `train`")
WORDS = {
    "greeting": "good morning hello welcome dear friend nice to see you how are things today",
    "parting": "goodbye farewell until next time see you later take care good night so long",
    "order": "please send two boxes of green tea to my address invoice number delivery pay",
}


def write_texts(folder: Path, n: int = 150) -> Path:
    rng, every = random.Random(0), " ".join(WORDS.values()).split()
    for kind, words in WORDS.items():
        for i in range(n):
            path = folder / "texts" / kind / f"{i}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(" ".join(rng.choices(words.split(), k=9) + rng.choices(every, k=3)) + f" {i * 7919}")
    return folder / "texts"


@pytest.mark.slow
def test_from_raw_files_to_answers(tmp_path: Path) -> None:
    story = lifecycle(tmp_path / "project", write_texts(tmp_path), modality="text", time="40s", approve=True)
    assert story.added.n_kept == 450
    assert story.released.verdict.outcome == "SHIP"
    assert story.live is not None
    with story.store.read() as db:
        kinds = [event.kind for event in ledger.read(db)]
    assert kinds[0] == "project.init"
    assert kinds[-2:] == ["release.sign", "release.approve"]
    assert verify(story.store).problems == []

    assert Project(story.store).predict(["good morning dear friend"])[0].label == "greeting"
    with in_service(story.store) as url:
        body = json.dumps({"item": "please send green tea to my address"}).encode()
        request = urllib.request.Request(f"{url}/v1/predict", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            said = json.load(answer)
    assert (said["label"], said["release"]) == ("order", story.live.release)


def test_a_step_that_cannot_be_done_says_so_and_leaves_the_rest(tmp_path: Path) -> None:
    texts = write_texts(tmp_path, n=3)
    for path in (texts / "parting", texts / "order"):
        for file in path.iterdir():
            file.unlink()
    with pytest.raises(DataError) as caught:
        lifecycle(tmp_path / "project", texts, modality="text", time="30s")
    assert caught.value.exit_code == 3
    assert Project.open(tmp_path / "project").verify().n_snapshots == 1


def test_nothing_is_served_before_something_is_live(new_store) -> None:
    store = new_store()
    with pytest.raises(ResourceError) as caught, in_service(store):
        pass
    assert caught.value.code == "serve.start"
