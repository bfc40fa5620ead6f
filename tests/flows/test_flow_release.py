"""The flow: evaluated when the evidence is not of today and only then, judged, signed."""

from __future__ import annotations

import pytest

import release_case as case
from passmuster.core.errors import NotFoundError, ResourceError
from passmuster.flows.release import release, shown_twins, what_would_happen
from passmuster.stages.release import approve
from passmuster.store import ledger
from passmuster.store.items import read_items
from passmuster.store.releases import read_bundle
from passmuster.store.snapshots import read_snapshot
from passmuster.store.store import Store


class Evaluations:
    """Stands for the stage, whose real self needs a graph that runs: leaves a report as it does, and counts."""

    def __init__(self) -> None:
        self.n = 0
        self.evidence: dict[str, object] = {}

    def __call__(self, store: Store, bundle: str = "", *, progress: object = None) -> None:
        self.n += 1
        with store.read() as db:
            chosen, snapshot = read_bundle(db, bundle), read_snapshot(db)
        case.add_evidence(store, snapshot, chosen, **self.evidence)  # type: ignore[arg-type]


@pytest.fixture
def evaluations(monkeypatch: pytest.MonkeyPatch) -> Evaluations:
    double = Evaluations()
    monkeypatch.setattr("passmuster.stages.evaluate.evaluate", double)
    return double


def test_a_bundle_without_a_report_is_evaluated_first(new_store, evaluations: Evaluations) -> None:
    store: Store = new_store()
    case.add_model(store, case.add_data(store))
    result = release(store)
    assert (evaluations.n, result.evaluated, result.shipped) == (1, "it has no report", True)
    assert result.path.is_dir()


def test_a_report_of_today_is_not_made_again(new_store, evaluations: Evaluations) -> None:
    made = case.ready(new_store())
    first, second = release(made.store), release(made.store)
    assert evaluations.n == 0
    assert first.release == second.release


def test_new_test_labels_ask_for_a_new_report(new_store, evaluations: Evaluations) -> None:
    store: Store = new_store()
    snapshot = case.add_data(store, n_test=40, n_test_labels=10)
    bundle = case.add_model(store, snapshot)
    case.add_evidence(store, snapshot, bundle, n=40, n_right=36)
    assert release(store).verdict.outcome == "INSUFFICIENT"
    with store.read() as db:
        rest = [item for item in read_items(db) if item.id.startswith("test")][10:15]
    case.label_test(store, rest)
    result = release(store)
    assert (evaluations.n, result.evaluated) == (1, "5 test labels are newer than its report")
    assert result.verdict.outcome == "SHIP"


def test_another_live_release_asks_for_a_new_report(new_store, evaluations: Evaluations) -> None:
    store: Store = new_store()
    snapshot = case.add_data(store)
    bundles = [case.add_model(store, snapshot, name) for name in (b"one", b"two")]
    for bundle in bundles:
        case.add_evidence(store, snapshot, bundle)
    live = release(store, bundles[0].digest)
    approve(store, live.release.id)
    evaluations.evidence = {"incumbent": bundles[0].digest, "versions": (30, 0)}
    result = release(store, bundles[1].digest)
    assert (evaluations.n, result.evaluated) == (1, f"the live release is now {live.release.id}")
    assert result.shipped
    release(store, bundles[0].digest)  # what is live itself is not compared with itself
    assert evaluations.n == 1


def test_without_a_bundle_the_way_is_shown(new_store, evaluations: Evaluations) -> None:
    with pytest.raises(NotFoundError, match="muster train"):
        release(new_store())


def test_two_releases_at_once_are_refused(new_store, evaluations: Evaluations) -> None:
    made = case.ready(new_store())
    with made.store.lock("release"), pytest.raises(ResourceError):
        release(made.store)


def test_a_dry_run_says_and_changes_nothing(new_store, evaluations: Evaluations) -> None:
    store: Store = new_store()
    case.add_model(store, case.add_data(store))
    with store.read() as db:
        before = ledger.checkpoint(db)
    said = " ".join(what_would_happen(store))
    assert "would evaluate" in said
    assert "accuracy.v1" in said
    with store.read() as db:
        assert ledger.checkpoint(db) == before


def test_twins_are_shown_side_by_side(new_store) -> None:
    made = case.ready(new_store())
    with made.store.read() as db:
        keys = {item.id: item.key for item in read_items(db)}
    twins = [{"train": keys["train-1"], "test": keys["test-2"]}]
    sections = {**made.report.sections, "data": {"leakage": twins}}
    case.add_evidence(made.store, made.snapshot, made.bundle, sections=sections)
    said = shown_twins(made.store, made.bundle.digest)
    assert said[1:3] == ["    train train-1: text of train-1", "    test  test-2: text of test-2"]
    assert release(made.store).verdict.outcome == "HOLD"
