"""Exports of Label Studio, in its three forms, made as its documentation describes them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from passmuster.core.config import Config, DataConfig, ProjectConfig
from passmuster.core.errors import DataError
from passmuster.flows.verify import verify
from passmuster.stages.govern import add, add_labels
from passmuster.store.items import read_items, standing_labels
from passmuster.store.store import Store

TEXTS = [f"letter {i}, with a 'quote' and an é, number {i * 3511}" for i in range(12)]


def choice(*labels: str, name: str = "sentiment") -> list[dict[str, Any]]:
    """The results of one annotation."""
    value = {"choices": list(labels)}
    return [
        {
            "value": value,
            "id": "a1B2c3D4e5",
            "from_name": name,
            "to_name": "text",
            "type": "choices",
            "origin": "manual",
        }
    ]


def annotation(result: list[dict[str, Any]], who: Any = 1, at: str = "2024-03-01T10:00:00.000000Z", **more: Any) -> Any:
    return {
        "id": 1001, "completed_by": who, "result": result, "was_cancelled": False, "ground_truth": False,
        "created_at": at, "updated_at": at, "lead_time": 4.288, "prediction": {}, "result_count": 1, "task": 1, **more,
    }  # fmt: skip


def task(number: int, data: dict[str, Any], *annotations: Any, predictions: int = 0) -> dict[str, Any]:
    said = [{"model_version": "m", "score": 0.9, "result": choice("negative")}] * predictions
    return {
        "id": number, "annotations": list(annotations), "file_upload": "1.json", "drafts": [], "predictions": said,
        "data": data, "meta": {}, "created_at": "2024-03-01T09:00:00Z", "updated_at": "2024-03-01T09:00:00Z",
        "inner_id": number, "total_annotations": len(annotations), "project": 7,
    }  # fmt: skip


@pytest.fixture
def store(new_store, tmp_path: Path) -> Store:
    """Twelve texts whose own ids are "1" to "12": numbers that Label Studio gives its tasks, too."""
    made = new_store("text")
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "text", "split"])
        rows.writerows([i + 1, text, "train"] for i, text in enumerate(TEXTS))
    add(made, tmp_path / "t.csv")
    return made


def facts(store: Store) -> dict[str, list[tuple[str, str]]]:
    """Item id to who said what, in order."""
    with store.read() as db:
        ids = {item.key: item.id for item in read_items(db)}
        return {ids[key]: [(f.who, f.label) for f in said] for key, said in standing_labels(db).items()}


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


def test_the_full_export(store: Store, tmp_path: Path) -> None:
    ana, ben = {"id": 1, "email": "ana@example.org", "first_name": "", "last_name": ""}, 2
    later = "2024-03-02T10:00:00.000000Z"
    export = [
        task(9, {"text": TEXTS[0]}, annotation(choice("positive"), ana), predictions=2),
        task(8, {"text": TEXTS[1]}, annotation(choice("negative"), ben, later), annotation(choice("positive"), ana)),
        task(7, {"text": TEXTS[2]}, annotation([], ana, was_cancelled=True)),
        task(6, {"text": TEXTS[3]}, annotation(choice("negative"), ana, was_cancelled=True)),
        task(5, {"text": TEXTS[4]}),
        task(4, {"text": "wording changed by hand", "id": 6}, annotation(choice("neutral"), ben)),
        task(3, {"text": TEXTS[6]}, annotation([], ben)),
    ]
    path = write(tmp_path / "project-7-at-2024-03-02.json", export)
    told = add_labels(store, path)
    assert facts(store) == {
        "1": [("ana@example.org", "positive")],
        "2": [("ana@example.org", "positive"), ("annotator 2", "negative")],  # both kept, the latest counts
        "6": [("annotator 2", "neutral")],
    }
    assert told.n_read == 8 == sum(told.n_new.values()) + told.n_same + told.n_empty
    assert (dict(told.n_new), told.n_changed, told.n_empty) == ({"train": 4}, 1, 4)
    assert told.notes[0] == (
        "Label Studio JSON: 7 tasks, 7 annotations, of which 2 cancelled; tasks without an annotation: 1; predictions, "
        "which are not labels: 2"
    )
    assert "label_disagreement" in [finding.kind for finding in told.findings]
    again = add_labels(store, path)  # the same file once more says nothing new, though ana spoke before ben
    assert (sum(again.n_new.values()), again.n_same, again.is_new) == (0, 4, False)
    assert verify(store).whole


def test_who_annotated_a_task_again_corrected_it(store: Store, tmp_path: Path) -> None:
    days = [f"2024-03-0{day}T10:00:00.000000Z" for day in (1, 2, 3, 4)]
    ben = annotation(choice("neutral"), 2, days[1])
    first, third = annotation(choice("positive"), 1, days[0]), annotation(choice("negative"), 1, days[2])
    skipped = annotation([], 1, days[3], was_cancelled=True)
    path = write(tmp_path / "p.json", [task(9, {"text": TEXTS[0]}, third, ben, first, skipped)])
    told = add_labels(store, path)
    assert facts(store) == {"1": [("annotator 2", "neutral"), ("annotator 1", "negative")]}
    assert (told.n_read, told.n_new, told.n_empty) == (3, {"train": 2}, 1)
    assert told.notes[0].endswith("; corrected by the same person later: 1")
    again = add_labels(store, path)
    assert (sum(again.n_new.values()), again.n_same) == (0, 2)
    for other in (days[2], ""):  # at the same time, or who knows when: nobody knows which of them counts
        unclear = annotation(choice("positive"), 1, other)
        with pytest.raises(DataError) as caught:
            add_labels(store, write(tmp_path / "q.json", [task(9, {"text": TEXTS[0]}, third, unclear)]))
        assert caught.value.code == "label.contradiction"


def flat(number: int, text: str, label: Any, who: Any = "ana@example.org", **more: Any) -> dict[str, Any]:
    """One entry of a JSON-MIN export."""
    at = "2024-03-01T10:00:00.000000Z"
    entry = {
        "text": text, "id": number, "sentiment": label, "annotator": who, "annotation_id": 1000 + number,
        "created_at": at, "updated_at": at, "lead_time": 2.5, **more,
    }  # fmt: skip
    return {name: value for name, value in entry.items() if value is not None}


def test_json_min_is_matched_by_text_not_by_the_number_of_the_task(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "min.json", [flat(1, TEXTS[4], "positive"), flat(2, TEXTS[5], None, 3)])
    told = add_labels(store, path)
    assert facts(store) == {"5": [("ana@example.org", "positive")]}
    assert (told.n_read, told.n_empty) == (2, 1)


def test_csv(store: Store, tmp_path: Path) -> None:
    rows = [
        flat(1, TEXTS[7], "positive", was_cancelled="False"),
        flat(2, TEXTS[8], "negative", was_cancelled="True"),
        flat(3, TEXTS[9], '{"choices": ["neutral"]}', 3, was_cancelled="False"),
    ]
    path = tmp_path / "export.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, sorted(rows[0]), quoting=csv.QUOTE_NONNUMERIC)
        writer.writeheader()
        writer.writerows(rows)
    told = add_labels(store, path)
    assert facts(store) == {"8": [("ana@example.org", "positive")], "10": [("annotator 3", "neutral")]}
    assert (told.n_read, told.n_empty) == (3, 1)
    assert "3 annotations, of which 1 cancelled" in told.notes[0]


@pytest.mark.parametrize(
    "address",
    [
        "/data/upload/7/1a2b3c4d-b%20two.png", "/data/local-files/?d=shelf/photos/b%20two.png",
        "s3://bucket/some/photos/b%20two.png", "https://example.org/photos/b%20two.png?x=1", "photos/b two.png",
    ],
)  # fmt: skip
def test_pictures_by_their_file_name(new_store, tmp_path: Path, address: str) -> None:
    store = new_store("image")
    (tmp_path / "in" / "photos").mkdir(parents=True)
    for name in ("a.png", "b two.png", "c.png"):
        pixels = np.random.default_rng(len(name)).integers(0, 255, (12, 12), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "in" / "photos" / name)
    add(store, tmp_path / "in", unlabeled=True)
    export = [task(1, {"image": address}, annotation(choice("cat", name="choice")))]
    add_labels(store, write(tmp_path / "export.json", export))
    assert facts(store) == {"photos/b two.png": [("annotator 1", "cat")]}


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ([task(1, {"text": TEXTS[0]}, annotation(choice("a", "b")))], "label_studio.choices"),
        ([task(1, {"text": "nobody knows this text"}, annotation(choice("a")))], "label.unknown_item"),
        ([task(1, {"text": TEXTS[0]}, annotation(choice("a") + choice("x", name="topic")))], "label_studio.control"),
        ([task(1, {"text": TEXTS[0]}, "nonsense")], "label_studio.json"),
        ([flat(1, TEXTS[0], None, mood="a")], "label_studio.control"),
        ([{"some": "thing"}], "data.format"),
        ({"some": "thing"}, "data.format"),
        ([], "data.format"),
    ],
)
def test_what_cannot_be_read_stops_it_whole(store: Store, tmp_path: Path, content: Any, code: str) -> None:
    with pytest.raises(DataError) as caught:
        add_labels(store, write(tmp_path / "e.json", content))
    assert caught.value.code == code
    assert caught.value.next
    assert facts(store) == {}


def other_kind(kind: str, value: Any) -> list[dict[str, Any]]:
    return [{"value": {kind: value}, "id": "x", "from_name": kind, "to_name": "text", "type": kind}]


def test_what_is_no_choice_is_told_by_its_kind(store: Store, tmp_path: Path) -> None:
    rated = choice("positive") + other_kind("rating", 4)
    tasks = [
        task(1, {"text": TEXTS[0]}, annotation(rated)),
        task(2, {"text": TEXTS[1]}, annotation(other_kind("taxonomy", [["Junk", "spam"]]) + other_kind("rating", 2))),
    ]
    told = add_labels(store, write(tmp_path / "e.json", tasks))
    assert facts(store) == {"1": [("annotator 1", "positive")]}
    assert told.notes[0].endswith("; results that are no choices, and are not read: rating 2, taxonomy 1")


@pytest.mark.parametrize(
    "content",
    [
        [task(i + 1, {"text": TEXTS[i]}, annotation(other_kind("taxonomy", [["Junk"]]))) for i in range(2)],
        [flat(i + 1, TEXTS[i], None, taxonomy=[{"taxonomy": [["Junk"]]}]) for i in range(2)],
        [flat(i + 1, TEXTS[i], None, sentiment=json.dumps({"taxonomy": [["Junk"]]})) for i in range(2)],
    ],
)
def test_an_export_without_a_choice_is_refused_by_what_it_holds(store: Store, tmp_path: Path, content: Any) -> None:
    with pytest.raises(DataError) as caught:
        add_labels(store, write(tmp_path / "e.json", content))
    assert (caught.value.code, caught.value.value) == ("label_studio.kinds", "taxonomy 2")
    assert facts(store) == {}


def test_another_kind_of_answer_is_not_the_answer_none(new_store, tmp_path: Path) -> None:
    multi = new_store("text", Config(project=ProjectConfig(task="multi-label")))
    (tmp_path / "t.csv").write_text("id,text,split\n" + "".join(f"{i},{i} letters,train\n" for i in range(3)))
    add(multi, tmp_path / "t.csv")
    rows = [flat(1, "0 letters", {"choices": ["a", "b"]}), flat(2, "1 letters", {"taxonomy": [["c"]]})]
    told = add_labels(multi, write(tmp_path / "e.json", rows))
    assert facts(multi) == {"0": [("ana@example.org", '["a","b"]')]}
    assert (told.n_empty, told.notes[0].split("; ")[-1]) == (
        1,
        "results that are no choices, and are not read: taxonomy 1",
    )


@pytest.mark.parametrize("wrapped", [False, True])
def test_tasks_without_annotations_and_tasks_in_a_wrapper(store: Store, tmp_path: Path, wrapped: bool) -> None:
    bare = task(2, {"text": TEXTS[1]})
    del bare["annotations"]
    tasks = [task(1, {"text": TEXTS[0]}, annotation(choice("positive"))), bare]
    told = add_labels(store, write(tmp_path / "e.json", {"tasks": tasks} if wrapped else tasks))
    assert facts(store) == {"1": [("annotator 1", "positive")]}
    assert "tasks without an annotation: 1" in told.notes[0]


def test_json_min_without_numbers_of_annotations(store: Store, tmp_path: Path) -> None:
    entry = flat(1, TEXTS[4], "positive")
    del entry["annotation_id"]
    add_labels(store, write(tmp_path / "min.json", [entry]))
    assert facts(store) == {"5": [("ana@example.org", "positive")]}


def test_an_export_brings_its_texts(new_store, tmp_path: Path) -> None:
    """Into an empty project: texts and labels at once; then the same file once more, with who said what."""
    made = new_store("text", Config(data=DataConfig(test_share=0.0, reference_share=0.0)))
    later = "2024-03-02T10:00:00.000000Z"
    export = [
        task(1, {"text": "one"}, annotation(choice("a"), 1), annotation(choice("b"), 1, later)),  # corrected
        task(2, {"text": "two", "id": "own"}, annotation(choice("b"), 2), annotation(choice("b"), 1)),
        task(3, {"text": "three"}),
        task(4, {"text": "one"}, annotation(choice("a"), 2)),  # the same text once more, a task of its own
        task(5, {"text": 7}, annotation(choice("a"), 2)),
    ]
    path = write(tmp_path / "export.json", export)
    done = add(made, path, copies=True)
    assert (done.n_read, done.n_kept, done.n_quarantined, dict(done.n_new_labels)) == (5, 4, 1, {"train": 3})
    assert done.notes[0].startswith("Label Studio JSON: 5 tasks, 6 annotations")
    with made.read() as db:
        kept = {item.id: made.blobs.get(item.blob) for item in read_items(db) if item.status == "kept"}
    assert sorted(kept.values()) == [b"one", b"one", b"three", b"two"]
    assert kept["own"] == b"two"
    assert sorted(label for said in facts(made).values() for _, label in said) == ["a", "b", "b"]
    later_export = write(tmp_path / "export-of-tomorrow.json", [*export, task(6, {"text": "six"})])
    assert (add(made, path).n_known, add(made, later_export).n_kept) == (5, 1)
    assert verify(made).whole


def test_people_who_disagree_are_kept_by_the_other_command(new_store, tmp_path: Path) -> None:
    made = new_store("text")
    export = [task(1, {"text": "one"}, annotation(choice("a"), 1), annotation(choice("b"), 2))]
    path = write(tmp_path / "export.json", export)
    with pytest.raises(DataError, match="two things") as caught:
        add(made, path)
    assert "muster label FILE" in str(caught.value.next)
    add(made, path, unlabeled=True)
    add_labels(made, path)
    assert [who for said in facts(made).values() for who, _ in said] == ["annotator 1", "annotator 2"]


def test_pictures_are_no_part_of_an_export(new_store, tmp_path: Path) -> None:
    path = write(tmp_path / "export.json", [task(1, {"image": "s3://b/a.png"}, annotation(choice("a")))])
    with pytest.raises(DataError) as caught:
        add(new_store("image"), path)
    assert caught.value.code == "data.modality"
    assert f"muster label {path}" in str(caught.value.next)


def test_no_json_at_all(store: Store, tmp_path: Path) -> None:
    (tmp_path / "cut.json").write_text('[{"id": 1, ')
    with pytest.raises(DataError, match="no JSON"):
        add_labels(store, tmp_path / "cut.json")


def test_the_control_can_be_named(store: Store, tmp_path: Path) -> None:
    from dataclasses import replace

    export = [task(1, {"text": TEXTS[0]}, annotation(choice("a") + choice("x", name="topic")))]
    store.config = replace(store.config, data=replace(store.config.data, label_column="topic"))
    add_labels(store, write(tmp_path / "e.json", export))
    assert facts(store) == {"1": [("annotator 1", "x")]}
