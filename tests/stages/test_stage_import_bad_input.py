"""What an import refuses, by what it is, and that nothing of it is left."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from passmuster.core.errors import DataError, MusterError, NotFoundError, UsageError
from passmuster.stages.govern import add
from passmuster.stages.importing import ImportResult, graph_file, import_model
from passmuster.store.releases import read_bundles
from passmuster.store.store import Store
from train_case import new_project, write_texts

pytest.importorskip("onnx", reason="importing needs the extra `import`")

from onnx import helper, numpy_helper

from import_case import CLASSES, save, topic_model, write_tokenizer
from label_sets_case import project as sets_project

Refused = Callable[..., MusterError]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_project(tmp_path / "p", write_texts(tmp_path / "t.csv", n=90))


@pytest.fixture
def refused(store: Store, tmp_path: Path) -> Refused:
    """The error of an import, after checking that it left nothing."""

    def run(model: Any, **said: Any) -> MusterError:
        path = model if isinstance(model, Path) else save(model, tmp_path / "model.onnx")
        words = [f"tokenizer={write_tokenizer(tmp_path / 'tokenizer.json')}", "max_tokens=32"]
        given: dict[str, Any] = {"labels": ",".join(CLASSES), "preprocess": words, **said}
        with pytest.raises(MusterError) as caught:
            import_model(store, path, **given)
        with store.read() as db:
            assert not read_bundles(db)
        assert not list(store.bundles_folder.glob("*"))
        return caught.value

    return run


def test_other_classes_are_refused_with_the_difference(refused: Refused) -> None:
    error = refused(topic_model(), labels="bank,tea,tram")
    assert (error.code, error.exit_code) == ("import.classes", 3)
    assert (
        error.value == "the project has, the model has not: 'rail'; the model has, no label of the project has: 'tram'"
    )
    assert "--accept-classes" in str(error.next)


def test_other_classes_are_taken_when_told_to(store: Store, tmp_path: Path) -> None:
    words = [f"tokenizer={write_tokenizer(tmp_path / 'tokenizer.json')}", "max_tokens=32"]
    path = save(topic_model(), tmp_path / "model.onnx")
    result: ImportResult = import_model(
        store, path, labels="bank,tea,tram", preprocess=words, accept_classes=True
    )  # fmt: skip
    assert "the model has, no label of the project has: 'tram'" in result.notes


@pytest.mark.parametrize(
    ("labels", "code"),
    [
        ("", "import.no_labels"),
        ("bank,tea", "import.n_classes"),
        ("bank,tea,tea", "import.labels"),
        ("bank,,tea", "import.labels"),
    ],
)
def test_classes_are_named_once_each_and_all(refused: Refused, labels: str, code: str) -> None:
    assert refused(topic_model(), labels=labels).code == code


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "as it is, or as tokens"),
        (["strings"], "does not read texts as they are"),
        (["tokenizer=none.json", "max_tokens=9"], "no tokenizer file"),
        (["size=28"], "no preprocessing of texts is called size"),
        (["strings", "strings"], "named twice"),
    ],
)
def test_preprocessing_is_named_and_fits_the_graph(refused: Refused, words: list[str], said: str) -> None:
    error = refused(topic_model(), preprocess=words)
    assert said in error.what
    assert error.next


def test_max_tokens_is_not_guessed(refused: Refused, tmp_path: Path) -> None:
    words = [f"tokenizer={write_tokenizer(tmp_path / 'tokenizer.json')}"]
    assert "at how many tokens" in refused(topic_model(), preprocess=words).what


@pytest.mark.parametrize("name", ["model.pkl", "model.joblib", "model.pt", "model.bin", "hidden.onnx"])
def test_no_pickle_is_read(refused: Refused, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(pickle.dumps({"a": 1}))
    error = refused(path)
    assert error.code == "import.pickle"
    assert "skl" in str(error.next) or "ONNX" in str(error.next)


def test_what_torch_saves_is_a_pickle_in_an_archive(refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "renamed.onnx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps([1]))
    assert refused(path).code == "import.pickle"


def test_what_is_no_graph_is_told(refused: Refused, tmp_path: Path) -> None:
    for name, data in (("text.onnx", b"once upon a time"), ("empty.onnx", b"")):
        (tmp_path / name).write_bytes(data)
        assert refused(tmp_path / name).code == "import.unreadable"
    missing = refused(tmp_path / "none.onnx")
    assert isinstance(missing, NotFoundError)
    assert missing.code == "import.none"
    assert refused(tmp_path).code == "import.folder"


def test_a_name_that_is_no_text_is_told(refused: Refused, tmp_path: Path) -> None:
    data = topic_model().SerializeToString().replace(b"counted", b"\xffounted")
    (tmp_path / "names.onnx").write_bytes(data)
    error = refused(tmp_path / "names.onnx")
    assert (error.code, "no text" in error.what) == ("import.unreadable", True)


def test_a_graph_that_the_engine_does_not_take_is_told(refused: Refused) -> None:
    model = topic_model()
    model.graph.node[0].op_type = "Gathers"
    error = refused(model)
    assert (error.code, error.exit_code) == ("import.unreadable", 3)


def test_weights_in_other_files_are_refused(refused: Refused) -> None:
    model = topic_model()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    tensor.external_data.add(key="location", value="/etc/passwd")
    assert refused(_saved_raw(model, refused)).code == "import.external_data"


def test_weights_in_other_files_are_found_inside_nodes_too(refused: Refused) -> None:
    model = topic_model()
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), "inner")
    tensor.data_location = 1
    tensor.external_data.add(key="location", value="weights.bin")
    inner = helper.make_graph([helper.make_node("Constant", [], ["c"], value=tensor)], "inner", [], [])
    model.graph.node.append(helper.make_node("If", ["flag"], ["out"], then_branch=inner, else_branch=inner))
    assert refused(_saved_raw(model, refused)).code == "import.external_data"


def _saved_raw(model: Any, refused: Refused) -> Path:
    """Written by protobuf, because the package's own writer looks for the files."""
    import tempfile

    path = Path(tempfile.mkdtemp()) / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_operators_of_somebody_elses_library_are_refused(refused: Refused) -> None:
    error = refused(topic_model(domain="my.library"))
    assert error.code == "import.operators"
    assert error.value == "my.library:Identity"


def test_a_file_may_be_too_large(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_file, "MAX_BYTES", 100)
    error = refused(topic_model())
    assert error.code == "import.too_large"
    assert error.limit == 100


def test_an_old_opset_is_refused(refused: Refused) -> None:
    model = topic_model()
    model.opset_import[0].version = 7
    assert refused(model).code == "import.opset"


def test_scores_that_are_not_numbers_are_refused_with_the_item(refused: Refused) -> None:
    error = refused(topic_model(spoil="nan"))
    assert error.code == "import.not_finite"
    assert str(error.value).endswith(" items")
    assert str(error.where).startswith("item ")


def test_scores_must_be_what_they_are_said_to_be(refused: Refused) -> None:
    assert refused(topic_model(softmax=True)).code == "import.not_logits"
    assert refused(topic_model(), scores="probabilities").code == "import.not_probabilities"
    assert refused(topic_model(output="z")).code == "import.scores"
    assert refused(topic_model(), scores="votes").code == "import.scores"


def test_which_output_must_be_clear(refused: Refused) -> None:
    error = refused(topic_model(two_outputs=True))
    assert (error.code, error.value) == ("import.output", "logits, sums")
    assert refused(topic_model(), output="nothing").code == "import.output"
    assert refused(topic_model(), output="counted", scores="logits").code == "import.shape"
    assert refused(topic_model(), embedding="counted").code == "import.embedding"
    assert refused(topic_model(), embedding="nothing").code == "import.embedding"


def test_a_graph_that_answers_by_company_is_refused(refused: Refused, store: Store, tmp_path: Path) -> None:
    """It counts padding, so that a short text is answered otherwise beside a long one."""
    (tmp_path / "short.csv").write_text("id,text\ns1,tea leaf\ns2,late train\n")
    add(store, tmp_path / "short.csv", unlabeled=True)
    error = refused(topic_model(masked=False))
    assert error.code == "import.company"
    assert "attention mask" in str(error.next)


def test_too_few_labels_to_calibrate(tmp_path: Path) -> None:
    store = new_project(tmp_path / "q", write_texts(tmp_path / "u.csv", n=90, n_labels=5))
    words = [f"tokenizer={write_tokenizer(tmp_path / 'tokenizer.json')}", "max_tokens=32"]
    path = save(topic_model(), tmp_path / "model.onnx")
    with pytest.raises(DataError, match="too few training labels") as caught:
        import_model(store, path, labels=",".join(CLASSES), preprocess=words, calibrate=True)
    assert (caught.value.value, caught.value.limit) == (15, 20)


def test_items_that_are_all_of_the_test(tmp_path: Path) -> None:
    store = new_project(tmp_path / "q", write_texts(tmp_path / "u.csv", n=0, n_test=40))
    words = [f"tokenizer={write_tokenizer(tmp_path / 'tokenizer.json')}", "max_tokens=32"]
    path = save(topic_model(), tmp_path / "model.onnx")
    with pytest.raises(DataError, match="every item belongs to the test"):
        import_model(store, path, labels=",".join(CLASSES), preprocess=words)


def test_sets_of_classes_are_not_imported_yet(new_store: Callable[..., Store], tmp_path: Path) -> None:
    store = sets_project(new_store, tmp_path)
    path = save(topic_model(), tmp_path / "model.onnx")
    with pytest.raises(UsageError, match="multi-label"):
        import_model(store, path, labels=",".join(CLASSES), preprocess=["strings"])
