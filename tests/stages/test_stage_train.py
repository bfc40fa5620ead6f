"""Training: what it leaves, what it refuses and how, and that it keeps its seal and its budget's word."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from passmuster.core.budget import Machine
from passmuster.core.config import Policy
from passmuster.core.config_file import render_config, render_policy
from passmuster.core.errors import BudgetError, DataError, MusterError, ResourceError, UsageError
from passmuster.runtime import engine
from passmuster.runtime.bundle import open_bundle
from passmuster.runtime.engine import Engine
from passmuster.runtime.predictor import Predictor
from passmuster.stages.train import finish, price, train
from passmuster.stages.train.run_folder import open_run
from passmuster.store import ledger
from passmuster.store.releases import read_bundles, read_runs
from passmuster.store.seal import open_test
from passmuster.store.store import Store
from train_case import new_project, write_texts

pytest.importorskip("onnx", reason="training needs the extra `train`")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory):
    """A project that was trained once, and what came of it."""
    folder = tmp_path_factory.mktemp("trained")
    store = new_project(folder / "p", write_texts(folder / "t.csv"))
    return store, train(store)


def test_the_bundle_answers_what_it_was_taught(trained) -> None:
    store, result = trained
    predictor = Predictor(open_bundle(Path(result.path)), threads=1)
    said = predictor.predict(["my card was stolen, bank account", "brew tea in the pot", "the train is late, platform"])
    assert [p.label for p in said] == ["bank", "tea", "rail"]
    with store.read() as db:
        (bundle,) = read_bundles(db)
        (run,) = read_runs(db, kind="train")
        events = list(ledger.read(db))
    assert bundle.digest == result.bundle
    assert store.bundle_folder(bundle.path) == Path(result.path)
    assert (run["status"], run["record"]["bundle"]) == ("done", result.bundle)
    assert [e.kind for e in events[-2:]] == ["train.start", "train.done"]


def test_accuracy_on_the_sealed_test(trained) -> None:
    store, result = trained
    with store.read() as db:
        from passmuster.store.snapshots import read_snapshot

        snapshot = read_snapshot(db)
    view = open_test(store, snapshot, "evaluate")
    predictor = Predictor(open_bundle(Path(result.path)), threads=1)
    texts = [store.blobs.get(item.blob).decode() for item in view.items]
    right = [p.label == view.labels[i.key].label for p, i in zip(predictor.predict(texts), view.items, strict=True)]
    assert np.mean(right) > 0.9


def test_the_run_folder_tells_price_gain_and_parity(trained) -> None:
    store, result = trained
    folder = store.runs_folder / result.run
    rows = json.loads((folder / "rungs.json").read_text())
    (row,) = [r for r in rows if "left_out" not in r]
    assert row["chosen"]
    assert row["quote"]["seconds"] > 0
    assert row["seconds"] > 0
    assert 0 < row["log_loss"] < np.log(3)
    assert {h["head"] for h in row["heads"]} - {"blend"} == {"logistic", "propagation", "self-training"}
    assert sum(part["share"] for part in row["heads"][0].get("parts", [{"share": 1.0}])) == pytest.approx(1.0, abs=1e-3)
    assert [r["left_out"] for r in rows if r["rung"] == "pretrained.v1"] == [
        "not available: switched off (train.pretrained is false)"
    ]
    assert (folder / "encoder.safetensors").is_file()
    phases = [json.loads(line)["phase"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert phases[0] == "fitted"
    assert phases[-1] == "done"
    with np.load(folder / "parity.npz", allow_pickle=False) as kept:
        keys, logits = kept["keys"], kept["logits"]
    with store.read() as db:
        from passmuster.store.items import read_items

        items = read_items(db, keys=[str(k) for k in keys])
    texts = [store.blobs.get(item.blob).decode() for item in items]
    served = Predictor(open_bundle(Path(result.path)), threads=1).embed(texts)[1]
    np.testing.assert_allclose(served, logits, atol=1e-3)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_end_embeds_again_only_what_is_served_smaller(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Engine] = []
    monkeypatch.setattr(engine, "_quantise", lambda graph: (graph, ""))  # what looked words up has no smaller form
    monkeypatch.setattr(engine, "_passes", lambda loaded, *_: {n: [1.0 + (n != precision)] for n in loaded})
    monkeypatch.setattr(finish, "Engine", lambda graph: made.append(Engine(graph)) or made[-1])
    data = write_texts(tmp_path / "t.csv", n=120)
    store = new_project(tmp_path / "p", data, min_neighbour_agreement=0.0)
    result = train(store)
    (row,) = [r for r in result.rungs if "left_out" not in r]
    assert row["engine"]["precision"] == precision
    assert len(made) == (precision == "int8")
    with np.load(store.runs_folder / result.run / "parity.npz", allow_pickle=False) as kept:
        trained, served = kept["logits"], kept["served"]
    assert np.isfinite(served).all()
    np.testing.assert_allclose(trained, served, atol=1e-3)  # each of the same item
    assert len(np.unique(trained.argmax(axis=1))) == 3


def test_the_bundle_holds_what_its_reference_and_policy_were(trained) -> None:
    store, result = trained
    bundle = open_bundle(Path(result.path))
    assert bundle.policy == store.config.policy
    assert bundle.reference["labels_per_class"] == {"bank": 8, "rail": 8, "tea": 8}
    assert bundle.reference["n_pool"] == result.n_pool
    assert len(bundle.reference["embedding_mean"]) == len(Predictor(bundle, threads=1).embed(["tea"])[0][0])
    assert bundle.head["kind"] == bundle.manifest.head == result.head


def test_training_reads_nothing_of_the_test_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=120))
    with store.read() as db:
        sealed = set(db.exec_driver_sql(
            "SELECT blob FROM items JOIN snapshot_items USING (key) WHERE split = 'test'").scalars())  # fmt: skip
    assert len(sealed) == 40
    read: set[str] = set()
    get_many = store.blobs.get_many
    monkeypatch.setattr(store.blobs, "get_many", lambda digests: read.update(digests) or get_many(digests))
    train(store)
    assert len(read) > 100
    assert not read & sealed


def test_the_same_seed_gives_the_same_bundle_and_another_seed_another(tmp_path: Path) -> None:
    store = new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=120))
    first, second, other = train(store), train(store), train(store, seed=1)
    assert first.bundle == second.bundle
    assert first.run != second.run
    assert other.bundle != first.bundle


@pytest.mark.parametrize(
    ("n_labels", "classes", "code"),
    [(0, 3, "data.no_labels"), (5, 1, "data.one_class"), (1, 3, "data.too_few_labels")],
)
def test_labels_that_cannot_teach_are_refused_before_the_start(
    tmp_path: Path, n_labels: int, classes: int, code: str
) -> None:
    data = write_texts(tmp_path / "t.csv", n=60, n_labels=n_labels, classes=classes, n_test=0)
    store = new_project(tmp_path / "p", data)
    with pytest.raises(DataError) as caught:
        train(store)
    assert caught.value.code == code
    assert caught.value.next
    with store.read() as db:
        assert read_runs(db, kind="train") == []


def test_a_class_with_one_label_is_learnt_all_the_same(tmp_path: Path) -> None:
    data = write_texts(tmp_path / "t.csv", n=60, n_labels=3)
    lines = data.read_text().splitlines()
    lines = [line for line in lines if not (",tea," in line and line.startswith(("t1,", "t4,")))]
    data.write_text("\n".join(lines) + "\n")
    result = train(new_project(tmp_path / "p", data))
    assert result.classes == ("bank", "rail", "tea")
    assert result.n_labels == 7


def test_a_budget_too_small_is_refused_before_the_start(tmp_path: Path) -> None:
    store = new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=60))
    with pytest.raises(BudgetError) as caught:
        train(store, budget_s=0.5)
    assert caught.value.code == "budget.time"
    assert caught.value.exit_code == 5
    assert "muster train --time" in str(caught.value)
    with store.read() as db:
        assert read_runs(db, kind="train") == []


def test_time_that_was_used_before_counts(tmp_path: Path) -> None:
    store = new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=60))
    with pytest.raises(BudgetError):
        train(store, budget_s=60.0, started_s_ago=59.5)


def test_memory_too_small_is_refused_before_the_start(tmp_path: Path) -> None:
    store = new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=60), max_memory="64m")
    with pytest.raises(BudgetError) as caught:
        train(store)
    assert caught.value.code == "budget.memory"
    assert "--max-memory" in str(caught.value)


def test_an_unknown_rung_names_the_nearest_and_a_missing_one_says_why(tmp_path: Path) -> None:
    data = write_texts(tmp_path / "t.csv", n=60)
    with pytest.raises(UsageError) as unknown:
        train(new_project(tmp_path / "a", data, rungs=("statik.v1",)))
    assert "static.v1" in str(unknown.value)
    with pytest.raises(ResourceError) as missing:
        train(new_project(tmp_path / "b", data, rungs=("pretrained.v1",)))
    assert missing.value.code == "rung.none"
    assert "train.pretrained is false" in str(missing.value)


def test_two_trainings_at_once(tmp_path: Path) -> None:
    store = new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=60))
    other = Store.open(store.folder)
    with other.lock("train"), pytest.raises(ResourceError) as caught:
        train(store)
    assert caught.value.code == "lock.held"


def test_a_full_disk_is_told_and_the_same_command_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=90))
    whole = train(store, seed=3)

    def full(*arguments: object, **named: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    folder = store.root / "embeddings"
    for cache in folder.iterdir():
        cache.rename(tmp_path / cache.name)
    with monkeypatch.context() as patch:
        patch.setattr("passmuster.store.embeddings.EmbeddingCache._append", full)
        with pytest.raises(ResourceError) as caught:
            train(store, seed=3)
    assert caught.value.code == "disk.full"
    assert caught.value.exit_code == 6
    resumed = train(store, seed=3)
    assert resumed.resumed
    assert resumed.bundle == whole.bundle


def test_a_run_that_failed_is_closed_and_the_next_begins_afresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=90))

    def broken(*arguments: object, **named: object) -> None:
        raise MusterError("made.up", "something broke")

    with monkeypatch.context() as patch:
        patch.setattr("passmuster.stages.train.stage.finish", broken)
        with pytest.raises(MusterError):
            train(store)
    with store.read() as db:
        (run,) = read_runs(db, kind="train")
        assert (run["status"], run["record"]["error"]) == ("failed", "made.up")
        assert list(ledger.read(db))[-1].kind == "train.failed"
    assert not train(store).resumed


def test_an_unfinished_run_of_other_arguments_is_closed(tmp_path: Path) -> None:
    store = new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=90))
    left = open_run(store, "", {"seed": 7})
    result = train(store)
    assert not result.resumed
    with store.read() as db:
        status = {run["id"]: run["status"] for run in read_runs(db, kind="train")}
    assert status == {left.id: "failed", result.run: "done"}


def test_a_rung_that_does_not_fit_the_time_left_is_left_out_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from passmuster.modality.text.modality import TEXT
    from passmuster.modality.text.rungs import pretrained

    dear = replace(pretrained.PRETRAINED, unavailable=lambda config: "", quote=lambda m, p: _price(1e6))
    monkeypatch.setitem(TEXT.rungs._entries, "pretrained.v1", dear)
    store = new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=60))
    rows = {row["rung"]: row for row in train(store).rungs}
    assert rows["static.v1"]["chosen"]
    assert rows["pretrained.v1"]["left_out"].startswith("time: needs 10000")


def _price(seconds: float):
    from passmuster.core.records import Price

    return Price(seconds, 2**20)


def test_rungs_that_are_fitted_both_are_compared_on_the_same_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second rung whose embedding is noise does not help, is said not to, and is not chosen."""
    from onnx import load_model_from_string, numpy_helper

    from passmuster.modality.base import Encoder, EncoderGraph
    from passmuster.modality.text.modality import TEXT
    from passmuster.modality.text.rungs import static

    def noise(encoder: Encoder) -> EncoderGraph:
        graph = static.export(encoder)
        model = load_model_from_string(graph.onnx)
        for constant in model.graph.initializer:
            if constant.name.endswith("_table"):
                shape = tuple(constant.dims)
                random = np.random.default_rng(0).normal(size=shape).astype(np.float32)
                constant.CopyFrom(numpy_helper.from_array(random[::-1].copy() * 0 + random[:1], constant.name))
        return replace(graph, onnx=model.SerializeToString())

    useless = replace(static.STATIC, name="pretrained.v1", export=noise)
    monkeypatch.setitem(TEXT.rungs._entries, "pretrained.v1", useless)
    rows = {r["rung"]: r for r in train(new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=90))).rungs}
    assert rows["static.v1"]["chosen"]
    assert not rows["pretrained.v1"]["chosen"]
    assert not rows["pretrained.v1"]["helped"]
    assert rows["pretrained.v1"]["gain"] < 0
    assert rows["pretrained.v1"]["gain_se"] > 0


def test_pricing_learns_nothing(tmp_path: Path) -> None:
    store = new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=60))
    rows = price(store)
    rungs = ["static.v1", "pretrained.v1", "stacked.v1", "adapted.v1", "tuned.v1", "distilled.v1"]
    rungs.append("transformer.v1")
    assert [row["rung"] for row in rows] == rungs
    assert rows[0]["refused"] == ""
    assert not store.runs_folder.exists()


def test_the_policy_in_the_bundle_is_the_projects() -> None:
    from passmuster.core.config import Config
    from passmuster.core.config_file import parse_config

    policy = replace(Policy(), alpha=0.01)
    text = render_policy(replace(Config(), policy=policy))
    import tomllib

    assert parse_config(tomllib.loads(text)).policy == policy
    assert "[serve]" in render_config(Config())
    assert "serve" not in text


def test_a_slow_machine_is_quoted_more() -> None:
    from passmuster.modality.base import Profile
    from passmuster.stages.train.head_price import heads_s

    profile = Profile(1_000, 616, 77, 60.0, 100.0)
    assert heads_s(Machine(2, 2**30, 10.0), profile) > heads_s(Machine(2, 2**30, 100.0), profile)


def test_a_transformer_lies_in_the_run_folder_for_others_to_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from passmuster.modality.text.modality import TEXT
    from passmuster.modality.text.rungs import pretraining, transformer
    from passmuster.modality.text.rungs.network_size import make_shape

    def plan(pool, *_):
        return pretraining.Plan(make_shape(64, 2, len(pool.counts), transformer.MAX_TOKENS), 4, 512)

    monkeypatch.setattr(transformer, "make_plan", plan)
    cheap = replace(transformer.TRANSFORMER, quote=lambda m, p: _price(1.0))
    monkeypatch.setitem(TEXT.rungs._entries, "transformer.v1", cheap)
    store = new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=60), rungs=("transformer.v1",))
    result = train(store)
    folder = store.runs_folder / result.run / "rungs" / "transformer.v1" / "transformers"
    assert {file.name for file in folder.iterdir()} == {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    notes = (store.runs_folder / result.run / "metrics.jsonl").read_text()
    assert '"utilisation"' in notes


@pytest.mark.parametrize(("spread_items", "expected"), [(250, 250 + 24), (0, 0)])
def test_labels_spread_over_as_many_items_as_are_allowed(tmp_path: Path, spread_items: int, expected: int) -> None:
    store = new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=500), spread_items=spread_items)
    result = train(store)
    (decision,) = (store.runs_folder / result.run / "decisions").glob("spread-*.json")
    assert json.loads(decision.read_text())["n_items"] == expected


def test_a_pool_whose_embeddings_stay_on_disk_gives_the_same_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from passmuster.store import embeddings

    data = write_texts(tmp_path / "t.csv")
    in_memory = train(new_project(tmp_path / "memory", data))
    monkeypatch.setattr(embeddings, "IN_MEMORY_BYTES", 1)
    on_disk = train(new_project(tmp_path / "disk", data))
    texts = ["my card was stolen", "brew tea in the pot", "the train is late"]
    one, other = (Predictor(open_bundle(Path(r.path)), threads=1).predict(texts) for r in (in_memory, on_disk))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a.probabilities, b.probabilities, atol=1e-4)
