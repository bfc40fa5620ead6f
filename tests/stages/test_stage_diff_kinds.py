"""What changes between bundles that were made elsewhere: graphs on texts, and an endpoint, whose answers cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="importing needs the extra `import`")
pytest.importorskip("httpx", reason="asking endpoints needs the extra `endpoint`")

from endpoint_case import chat, serve
from import_case import CLASSES, save, string_model, topic_model, write_tokenizer
from passmuster.core.config import CostsPolicy, Policy
from passmuster.core.records import Bundle
from passmuster.flows.diff import compare_bundles
from passmuster.runtime import endpoint_calls
from passmuster.stages.evaluate import noise
from passmuster.stages.evaluate.diff import cost_of
from passmuster.stages.evaluate.diff_words import summary_lines
from passmuster.stages.importing import import_endpoint, import_model
from passmuster.store.releases import read_bundle
from passmuster.store.store import Store
from train_case import new_project, write_texts


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=150, n_labels=20, n_test=120))


def graph(store: Store, folder: Path) -> Bundle:
    """The topic model of the case, which answers as its table says."""
    tokens = [f"tokenizer={write_tokenizer(folder / 'tokenizer.json')}", "max_tokens=16"]
    made = import_model(store, save(topic_model(), folder / "m.onnx"), labels=CLASSES, preprocess=tokens)
    with store.read() as db:
        return read_bundle(db, made.bundle)


def tea(store: Store, folder: Path) -> Bundle:
    """A model that knows one word."""
    made = import_model(
        store, save(string_model(), folder / "s.onnx"), labels=["rail", "tea"], preprocess=["strings"],
        accept_classes=True,
    )  # fmt: skip
    with store.read() as db:
        return read_bundle(db, made.bundle)


def test_graphs_are_compared_on_texts_with_their_words(store: Store, tmp_path: Path) -> None:
    new, old = graph(store, tmp_path), tea(store, tmp_path)
    found = compare_bundles(store, new.digest, old.digest)
    assert found.diff.changes
    assert found.diff.only_after == ("bank",)
    assert all(
        ": " in str(found.names[change.position]) for change in found.diff.changes
    )  # an id, and how the text begins
    assert found.page.is_file()
    assert not found.diff.noise.retrained


def test_an_endpoint_is_asked_again_about_few_items_only(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_calls, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(noise, "N_BOUGHT", 5)
    old = graph(store, tmp_path)
    with serve(chat) as served:
        made = import_endpoint(store, f"{served.url}/v1", model="tiny", n_asked=40)
        before = len(served.asked)
        found = compare_bundles(store, made.bundle, old.digest)
        n_test = found.diff.changed.n
        assert n_test < len(served.asked) - before <= n_test + 10
        compare_bundles(store, made.bundle, old.digest)  # what it answered is kept
        assert len(served.asked) - before <= n_test + 20
    assert found.diff.only_after == ()  # that an answer may name no class is no class
    assert found.diff.noise.rate.n == 5


def test_answers_that_both_withhold_are_counted(store: Store, tmp_path: Path) -> None:
    """Nothing changes for a user who gets no answer, and that is said."""
    guard = store.config.policy.guard
    silent = replace(store.config.policy, guard=replace(guard, min_confidence=1.0))
    store.config = replace(store.config, policy=silent)
    new, old = graph(store, tmp_path), tea(store, tmp_path)
    found = compare_bundles(store, new.digest, old.digest).diff
    assert found.n_withheld == found.changed.n > 0
    assert any(f"{found.n_withheld:,} answers are withheld by both" in line.replace(f"of {found.changed.n:,} ", "")
               for line in summary_lines(found))  # fmt: skip


def test_costs_of_one_class_are_not_costs_of_sets(store: Store) -> None:
    costs = CostsPolicy(when={"tea": {"rail": 9.0}})
    store.config = replace(store.config, policy=replace(Policy(), costs=costs))
    assert cost_of(store)("tea", "rail", False) == 9.0
    project = replace(store.config.project, task="multi-label")
    store.config = replace(store.config, project=project)
    assert cost_of(store)("tea", "rail", False) == 1.0
