"""Answers from Python: what is a list of items and what is not, and a release that is opened once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import serving_case as case
from passmuster.core.config import DataConfig
from passmuster.core.errors import IntegrityError, MusterError, NotFoundError, UsageError
from passmuster.flows import opened
from passmuster.flows.opened import payloads_of
from passmuster.flows.project import Project
from passmuster.modality.find import modalities
from passmuster.modality.image.read import encode


def test_a_release_is_opened_once_until_the_channel_moves(new_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = case.project(new_store)
    n_opened = []
    really = opened.open_release
    monkeypatch.setattr(opened, "open_release", lambda *given: n_opened.append(given) or really(*given))
    project = Project(store)
    images = case.pictures(6)
    first = project.predict(images)
    assert [project.predict([image])[0].label for image in images] == [p.label for p in first]
    assert project.predictor().classes == case.CLASSES
    assert len(n_opened) == 1
    assert not any(p.abstained for p in first)
    case.point(store, "live", case.release(store, "r2", scale=-20.0))
    assert {p.label for p in project.predict(images)} == set(case.CLASSES)
    assert [p.label for p in project.predict(images)] != [p.label for p in first]
    assert len(n_opened) == 2
    with pytest.raises(NotFoundError, match="canary") as caught:
        project.predictor("canary")
    assert caught.value.limit == "live"


def test_a_release_whose_bytes_changed_is_not_opened(new_store: Any) -> None:
    store = case.project(new_store)
    for path in store.bundles_folder.rglob("head.json"):
        path.write_text("{}")
    with pytest.raises(IntegrityError):
        Project(store).predict(case.pictures(1))


def test_images_come_in_every_shape_that_add_takes(new_store: Any, tmp_path: Path) -> None:
    project = Project(case.project(new_store))
    pixels = case.pictures(1)[0]
    (tmp_path / "a.png").write_bytes(encode(pixels))
    whole = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    ways = [pixels, whole, encode(pixels), tmp_path / "a.png", str(tmp_path / "a.png")]
    answers = project.predict(way for way in ways)
    assert len({answer.probabilities for answer in answers}) == 1
    assert project.predict(np.stack([pixels, pixels])) == answers[:2]


class Frame(list[str]):
    """Iterates over the names of its columns, as the data frames of pandas and polars do."""

    def __init__(self, **more: Any) -> None:
        super().__init__(["text", "label"])
        self.__dict__.update(more)


@pytest.mark.parametrize(
    ("modality", "given", "code", "where"),
    [
        ("text", "just a text", "predict.items", None),
        ("text", b"abc", "predict.items", None),
        ("text", {"text": "a"}, "predict.items", None),
        ("text", 5, "predict.items", None),
        ("text", Frame(columns=("text",)), "predict.items", None),
        ("text", Frame(column_names=["text"]), "predict.items", None),
        ("text", Frame(__dataframe__=None), "predict.items", None),
        ("text", ["fine", None], "item.type", "items[1]"),
        ("text", [5], "item.type", "items[0]"),
        ("text", [b"abc"], "item.type", "items[0]"),
        ("text", ["fine", "fine", ""], "item.empty", "items[2]"),
        ("text", ["a" * 2_000_000], "item.too_long", "items[0]"),
        ("text", ["a\0b"], "item.nul", "items[0], character 1"),
        ("image", np.zeros((8, 8, 3), np.uint8), "predict.items", None),
        ("image", [np.zeros((8, 8, 3))], "item.type", "items[0]"),
        ("image", [np.zeros((8, 8, 4), np.uint8)], "item.type", "items[0]"),
        ("image", ["nowhere.png"], "item.unreadable", "items[0]"),
        ("image", [b"no image"], "item.undecodable", "items[0]"),
    ],
)
def test_what_is_no_list_of_items_is_refused(modality: str, given: Any, code: str, where: str | None) -> None:
    with pytest.raises(MusterError) as caught:
        payloads_of(given, modalities[modality], DataConfig())
    assert (caught.value.code, caught.value.where) == (code, where)
    assert caught.value.limit or caught.value.what


def test_a_data_frame_is_told_apart_from_its_column() -> None:
    import pyarrow

    polars = pytest.importorskip("polars")
    cells = {"text": ["one", "two"], "label": ["a", "b"]}
    for frame in (polars.DataFrame(cells), pyarrow.table(cells), cells):
        with pytest.raises(UsageError) as caught:
            payloads_of(frame, modalities["text"], DataConfig(text_column="body"))
        assert (caught.value.code, caught.value.next) == ("predict.items", 'predict(list(frame["body"]))')
    assert payloads_of(polars.DataFrame(cells)["text"], modalities["text"], DataConfig()) == ["one", "two"]
