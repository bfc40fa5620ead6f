"""Values at hand in Python become the same items as the same rows in a table."""

import csv
import errno
import io
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from PIL import Image

from passmuster.core.config import Config
from passmuster.core.errors import DataError, ResourceError, UsageError
from passmuster.core.records import Item
from passmuster.modality.image.read import encode
from passmuster.stages.govern import Values, add, values
from passmuster.store.items import read_items, read_labels
from passmuster.store.snapshots import read_findings, read_snapshot
from passmuster.store.store import Store

ROWS = [
    {"id": f"n{i}", "text": f"note {i}: {'abcdefghij'[i % 10] * (i + 3)} of the day", "label": "ab"[i % 2],
     "subject": f"p{i % 7}", "split": "test" if i % 5 == 0 else "train", "site": "north" if i % 3 else "south"}
    for i in range(40)
] + [
    {"id": "empty", "text": " ", "label": "a"},
    {"id": "twin", "text": "note 3: dddddd of the day", "label": "b", "split": "train"},
]  # fmt: skip


def by_site(new_store: Any) -> Store:
    config = Config()
    return new_store("text", replace(config, data=replace(config.data, group_columns=("site",))))


def what_is_there(store: Store) -> tuple[list[Item], dict[str, str], list[tuple[str, int]], tuple[Any, ...]]:
    """Items but for where they came from, labels, findings, and the data-set version."""
    with store.read() as db:
        items = [replace(item, source="", key="", digest="") for item in read_items(db)]
        snapshot = read_snapshot(db)
        labels = {i.id: said.label for i in read_items(db) if (said := read_labels(db).get(i.key))}
        findings = [(f.title, len(f.items)) for f in read_findings(db, snapshot.digest)]
    return (
        sorted(items, key=lambda item: item.id),
        labels,
        findings,
        (snapshot.classes, snapshot.n_items, snapshot.n_labels),
    )


def pandas_like(rows: list[dict[str, Any]]) -> Any:
    """What of a pandas data frame is used."""

    class Part:
        columns = tuple(rows[0])

        def __init__(self, rows: list[dict[str, Any]]) -> None:
            self.rows = rows

        def __len__(self) -> int:
            return len(self.rows)

        @property
        def iloc(self) -> "Part":
            return self

        def __getitem__(self, part: slice) -> "Part":
            return Part(self.rows[part])

        def to_dict(self, orient: str) -> list[dict[str, Any]]:
            assert orient == "records"
            return [{c: row.get(c, float("nan")) for c in self.columns} for row in self.rows]

    return Part(rows)


def polars_frame(rows: list[dict[str, Any]]) -> Any:
    return pytest.importorskip("polars").DataFrame(rows)


def arrow_table(rows: list[dict[str, Any]]) -> Any:
    import pyarrow

    return pyarrow.Table.from_pylist([{c: row.get(c) for c in ROWS[0]} for row in rows])


@pytest.mark.parametrize(
    "made", [list, iter, tuple, pandas_like, polars_frame, arrow_table, lambda rows: (row for row in rows)]
)
def test_values_give_what_the_table_gives(new_store: Any, tmp_path: Path, made: Any) -> None:
    with (tmp_path / "notes.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(ROWS[0]))
        writer.writeheader()
        writer.writerows(ROWS)
    store = by_site(new_store)
    table = add(store, tmp_path / "notes.csv")
    from_table = what_is_there(store)
    store.close()
    (tmp_path / "project-text").rename(tmp_path / "before")
    other = by_site(new_store)
    values = add(other, Values(made(ROWS)))
    assert (values.n_read, values.n_kept, values.n_quarantined) == (42, 41, 1) == (table.n_read, table.n_kept, 1)
    assert values.n_new_labels == table.n_new_labels
    assert what_is_there(other) == from_table
    assert list(other.root.glob("tmp*")) == []


def test_rows_without_an_id_are_named_as_a_tables_rows_are(new_store: Any, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,label\nfirst text,a\nfirst text,b\nsecond text,\n")
    store = new_store("text")
    add(store, tmp_path / "t.csv")
    again = add(store, Values([("first text", "a"), ("first text", "b"), "second text"], "t.csv"))
    assert (again.n_known, again.n_kept) == (3, 0)


@pytest.mark.parametrize("kind", ["polars", "arrow", "chunked"])
def test_one_column_is_a_list_of_texts(new_store: Any, kind: str) -> None:
    import pyarrow

    texts = ["first text", "second text", None]
    given = {"arrow": pyarrow.array, "chunked": lambda rows: pyarrow.chunked_array([rows]),
             "polars": lambda rows: pytest.importorskip("polars").Series("text", rows)}[kind](texts)  # fmt: skip
    added = add(new_store("text"), Values(given))
    assert (added.n_kept, added.reasons) == (2, {"item.missing": 1})


def test_every_bad_row_is_told_by_its_number(new_store: Any) -> None:
    rows: list[Any] = ["fine", None, 5, {"text": "with an object", "label": object()}, {1: "x"}, b"bytes", "", ["a"],
                       "half \ud800 a pair", {"text": "fine too", "label": 3}, float("nan")]  # fmt: skip
    store = new_store("text")
    added = add(store, Values(rows))
    assert (added.n_read, added.n_kept) == (11, 2)
    with store.read() as db:
        found = {item.source: item.reason for item in read_items(db) if item.status != "kept"}
        labels = [label.label for label in read_labels(db).values()]
    assert {k: v.partition(":")[0] for k, v in found.items()} == {
        "values[1]": "item.missing", "values[2]": "item.type", "values[3]": "item.type", "values[4]": "item.row",
        "values[5]": "item.type", "values[6]": "item.empty", "values[7]": "item.type", "values[8]": "item.encoding",
        "values[10]": "item.missing",
    }  # fmt: skip
    assert "(value object, limit texts, numbers, times, lists), in 'label'" in found["values[3]"]
    assert labels == ["3"]


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        ({"text": ["a"]}, "add.values", "a mapping"),
        (b"abc", "add.values", "bytes"),
        (7, "add.values", "int"),
        (np.zeros((9, 8, 3), np.uint8), "add.values", "one image"),
        ([], "data.empty", "values"),
        ([{"alpha": "x", "beta": "y"}], "data.no_column", "data.text_column"),
        ([{"id": "1", "text": "a"}, {"id": "1", "text": "b"}], "data.duplicate_id", "values[0] and values[1]"),
    ],
)
def test_what_is_not_rows_is_refused(new_store: Any, given: Any, code: str, words: str) -> None:
    store = new_store("text")
    with pytest.raises((DataError, UsageError)) as caught:
        add(store, Values(given))
    assert caught.value.code == code
    assert words in str(caught.value)
    assert caught.value.next


def test_a_generator_that_fails_adds_nothing(new_store: Any) -> None:
    def rows() -> Iterator[str]:
        yield "fine"
        raise KeyError("theirs")

    store = new_store("text")
    with pytest.raises(KeyError, match="theirs"):
        add(store, Values(rows()))
    with store.read() as db:
        assert read_items(db) == []


def test_a_full_disk_is_told_as_one(new_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def close(self) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(values.tempfile, "TemporaryFile", lambda dir: Full())
    store = new_store("text")
    with pytest.raises(ResourceError) as caught:
        add(store, Values(["a text"]))
    assert caught.value.code == "disk.full"
    with store.read() as db:
        assert read_items(db) == []


def test_images_come_as_arrays_files_and_pillow_images(new_store: Any, tmp_path: Path) -> None:
    store = new_store("image")
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 256, (9, 8, 3), dtype=np.uint8) for _ in range(4)]
    (tmp_path / "a.png").write_bytes(encode(pixels[0]))
    given = [
        {"id": "file", "image": tmp_path / "a.png", "label": "x"},
        {"id": "array", "image": pixels[1], "label": "y"},
        {"id": "grey", "image": pixels[1][:, :, 0]},
        {"id": "pillow", "image": Image.fromarray(pixels[2])},
        {"id": "bytes", "image": encode(pixels[3])},
        {"id": "kept", "image": {"bytes": encode(pixels[3][::-1]), "path": None}},
        {"id": "floats", "image": pixels[1] / 255},
        {"id": "gone", "image": "nowhere.png"},
    ]
    added = add(store, Values(given))
    assert (added.n_kept, added.n_new_labels) == (6, {"train": 2})
    with store.read() as db:
        items = {item.id: item for item in read_items(db)}
        stored = {name: store.blobs.get(items[name].blob) for name in ("file", "array")}
    assert items["floats"].reason.startswith("item.type: not pixels (value float64 (9, 8, 3)")
    assert items["gone"].reason.startswith("item.no_file")
    assert stored == {"file": encode(pixels[0]), "array": encode(pixels[1])}
    # without an id: by their pixels, and twice is known
    assert add(store, Values(np.stack(pixels)), copies=True).n_kept == 4
    assert add(store, Values([Image.fromarray(p) for p in pixels])).n_known == 4


def test_times_sets_and_classes_of_a_hugging_face_dataset(new_store: Any) -> None:
    class Names:
        names = ("no", "yes")

    class Dataset:
        column_names = ("text", "label", "when")

        @property
        def features(self) -> dict[str, object]:
            return {"text": object(), "label": Names(), "when": object()}

        def __iter__(self) -> Iterator[dict[str, Any]]:
            for i in range(3):
                yield {"text": f"text {i}", "label": i - 1, "when": datetime(2026, 1, 1 + i)}

    config = Config()
    store = new_store("text", replace(config, data=replace(config.data, time_column="when")))
    add(store, Values(Dataset()))
    with store.read() as db:
        assert [item.at for item in read_items(db)] == [f"2026-01-0{i}T00:00:00" for i in (1, 2, 3)]
        assert sorted(label.label for label in read_labels(db).values()) == ["no", "yes"]


def test_a_set_of_classes_is_one(new_store: Any) -> None:
    config = Config()
    store = new_store("text", replace(config, project=replace(config.project, task="multi-label")))
    add(store, Values([{"text": "a b", "label": {"late", "broken"}}, {"text": "c d", "label": np.array(["late"])}]))
    with store.read() as db:
        assert sorted(said.label for said in read_labels(db).values()) == [
            json.dumps(["broken", "late"]).replace(" ", ""),
            "late",
        ]


def test_a_dry_run_of_values_writes_nothing(new_store: Any) -> None:
    store = new_store("text")
    assert add(store, Values(["one text", "another"]), dry_run=True).n_kept == 2
    with store.read() as db:
        assert read_items(db) == []


def test_a_cell_that_is_not_used_does_not_matter(new_store: Any, tmp_path: Path) -> None:
    import pyarrow.parquet

    circle: list[Any] = []
    circle.append(circle)
    odd = {"id": UUID(int=7), "when": timedelta(days=1, hours=2), "price": Decimal("3.10"), "day": date(2026, 1, 2)}
    unheard = {
        "object": object(),
        "circle": circle,
        "long": np.longdouble(1),
        "bytes": [b"x"],
        "deep": {"a": 1j},
        7: "x",
    }
    rows = [{"text": "a text", **odd}, {"text": "another", **odd, "id": UUID(int=8), "price": Decimal("4.00")}]
    config = Config()
    config = replace(config, data=replace(config.data, group_columns=("when", "price", "day")))
    store = new_store("text", config)
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist([{**r, "id": str(r["id"])} for r in rows]), tmp_path / "t.parquet"
    )
    assert add(store, tmp_path / "t.parquet").n_kept == 2
    from_table = what_is_there(store)[0]
    store.close()
    (tmp_path / "project-text").rename(tmp_path / "before")
    store = new_store("text", config)
    assert add(store, Values([{**row, **unheard} for row in rows])).n_kept == 2
    assert what_is_there(store)[0] == from_table
    assert from_table[0].groups == {"when": "1 day, 2:00:00", "price": "3.10", "day": "2026-01-02"}
    with pytest.raises(DataError, match="no column has a name") as caught:
        add(store, Values([{0: "a text", 1: "b"}]))
    assert caught.value.code == "data.no_column"


def test_a_bad_row_of_a_later_call_is_told_though_it_has_no_id(new_store: Any) -> None:
    store = new_store("text")
    assert add(store, Values(["a", "b", None])).n_quarantined == 1
    again = add(store, Values(["a", "b", None]))  # the very same rows, so that a program may run twice
    assert (again.n_known, again.n_quarantined, again.is_new) == (3, 0, False)
    assert any("1 of those that were there is in quarantine" in note and "values[2]" in note for note in again.notes)
    grown = add(store, Values(["a", "b", None, "c", 5]))
    assert (grown.n_known, grown.n_kept, grown.examples[0][0]) == (3, 1, "values[4]")
    for rows, n_known in ((["c", "d", None], 1), (["c", "d", {"text": None, "when": "now"}], 2), (["e", "d", 5], 1)):
        found = add(store, Values(rows))
        assert (found.n_known, found.n_quarantined, found.examples[0][0]) == (n_known, 1, "values[2]")
    named = [{"id": "x", "text": "an id"}, {"id": None, "text": "none"}]
    assert add(store, Values(named)).examples == (("values[1]", "item.no_id: the id is missing"),)


def test_texts_without_an_id_are_told_apart_by_what_they_say(new_store: Any) -> None:
    store = new_store("text")
    assert add(store, Values(["a", "b"])).n_kept == 2
    assert add(store, Values(["c"])).n_kept == 1
    assert add(store, Values(["b", "d", "d"])).n_kept == 2
    assert add(store, Values(["d", "d", "d"])).n_known == 2


def test_half_a_surrogate_pair_is_the_problem_of_its_row(new_store: Any, tmp_path: Path) -> None:
    config = Config()
    config = replace(config, data=replace(config.data, group_columns=("site",)))
    rows = [{"id": "a\ud800", "text": "one"}, {"id": "b", "text": "two\ud800"},
            {"id": "c", "text": "three", "label": "\ud800"}, {"id": "d", "text": "four", "subject": "\udfff"},
            {"id": "e", "text": "five", "site": "\ud83d"},
            {"id": "f", "text": "six", "other": "\ud83d"}, {"id": "g", "text": "seven", "label": "fine"}]  # fmt: skip
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for name, given in (("values", Values(rows)), ("table", tmp_path / "t.jsonl")):
        store = new_store("text", config)
        added = add(store, given)
        assert (added.n_kept, added.n_quarantined) == (2, 5), name
        assert added.reasons == {"item.encoding": 5}
        assert "id" in added.examples[0][1]
        store.close()
        (tmp_path / "project-text").rename(tmp_path / name)


def test_pairs_may_be_lists(new_store: Any) -> None:
    store = new_store("text")
    assert add(store, Values([["one text", "a"], ["another", None]])).n_new_labels == {"train": 1}
