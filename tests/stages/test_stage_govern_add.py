"""Adding: shapes of sources, the account, labels, splits that hold, and repeating what was done."""

import csv
import gzip
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from passmuster.core.config import Config, DataConfig
from passmuster.core.errors import DataError
from passmuster.core.records import Item
from passmuster.modality.image.read import encode
from passmuster.stages.govern import add, check
from passmuster.store import ledger
from passmuster.store.items import read_items, read_labels
from passmuster.store.seal import training_view
from passmuster.store.snapshots import read_findings, read_placement, read_snapshot
from passmuster.store.store import Store

WORDS = [f"word{i}" for i in range(500)]


def texts(n: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(WORDS[i] for i in rng.integers(0, 500, 12)) for _ in range(n)]


def write_csv(path: Path, rows: list[dict[str, object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_images(folder: Path, names: list[str], seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encode(rng.integers(0, 256, (8, 8, 1), dtype=np.uint8)))


def placed(store: Store) -> dict[str, str]:
    """Item id to split."""
    with store.read() as db:
        placement = read_placement(db, read_snapshot(db))
        return {item.id: placement[item.key][0] for item in read_items(db, keys=list(placement))}


def labelled(store: Store) -> dict[str, tuple[str, str]]:
    """Item id to label and role."""
    with store.read() as db:
        items = {item.key: item.id for item in read_items(db)}
        return {items[key]: (label.label, label.role) for key, label in read_labels(db).items()}


def kinds(store: Store) -> Counter[str]:
    with store.read() as db:
        return Counter(f.kind for f in read_findings(db, read_snapshot(db).digest))


def items_of(store: Store) -> list[Item]:
    with store.read() as db:
        return read_items(db)


# --- shapes of sources ---


def test_a_folder_of_classes(new_store, tmp_path: Path) -> None:
    write_images(tmp_path / "pets", ["cat/1.png", "cat/2.png", "dog/deep/3.png"])
    store = new_store("image")
    result = add(store, tmp_path / "pets")
    assert (result.n_read, result.n_kept) == (3, 3)
    assert {i: label for i, (label, _) in labelled(store).items()} == {
        "cat/1.png": "cat", "cat/2.png": "cat", "dog/deep/3.png": "dog",
    }  # fmt: skip


def test_names_of_folders_are_said_to_be_classes_and_a_lone_one_beside_files_is_none(new_store, tmp_path: Path) -> None:
    write_images(tmp_path / "years", ["2023/1.png", "2024/2.png", "3.png"])
    write_images(tmp_path / "mixed", ["summer/4.png", "5.png"])
    write_images(tmp_path / "lone", ["cat/6.png"])
    store = new_store("image")
    told = {name: " ".join(add(store, tmp_path / name).notes) for name in ("years", "mixed", "lone")}
    assert "names of 2 folders are taken for classes: 2023, 2024; --unlabeled takes none" in told["years"]
    assert "one folder only, 'summer': no class, because files lie beside it" in told["mixed"]
    assert "one folder only, 'cat': its name was taken for a class" in told["lone"]
    assert {label for label, _ in labelled(store).values()} == {"2023", "2024", "cat"}


def test_folders_of_splits_keep_their_word(new_store, tmp_path: Path) -> None:
    names = [f"train/{c}/{i}.png" for c in "ab" for i in range(3)] + ["test/a/9.png", "test/b/9.png"]
    write_images(tmp_path / "x", names + [f"unlabeled/{i}.png" for i in range(20)])
    store = new_store("image")
    add(store, tmp_path / "x")
    split = placed(store)
    assert {name for name, s in split.items() if s == "test"} == {"test/a/9.png", "test/b/9.png"}
    assert labelled(store)["test/a/9.png"] == ("a", "test")
    assert labelled(store)["train/b/1.png"] == ("b", "train")
    assert not any(name.startswith("unlabeled") for name in labelled(store))
    assert sum(s == "reference" for s in split.values()) == 3  # 15 % of the 20 unlabelled


def test_a_flat_folder_and_a_table_of_labels_with_subjects(new_store, tmp_path: Path) -> None:
    write_images(tmp_path / "x", [f"{i}.png" for i in range(6)])
    table = write_csv(
        tmp_path / "who.csv", [{"path": f"x/{i}.png", "label": "ab"[i % 2], "subject": f"p{i}"} for i in range(6)]
    )
    store = new_store("image")
    result = add(store, tmp_path / "x", labels=table)
    assert sum(result.n_new_labels.values()) == 6
    assert {item.subject for item in items_of(store)} == {f"p{i}" for i in range(6)}


def test_labels_beside_the_files_are_found_and_folder_names_then_mean_nothing(new_store, tmp_path: Path) -> None:
    write_images(tmp_path / "x", ["part1/0.png", "part2/1.png"])
    write_csv(tmp_path / "x" / "labels.csv", [{"id": "part1/0.png", "label": "cat"}])
    store = new_store("image")
    result = add(store, tmp_path / "x")
    assert result.n_read == 2
    assert {i: label for i, (label, _) in labelled(store).items()} == {"part1/0.png": "cat"}
    assert any("labels.csv" in note for note in result.notes)


@pytest.mark.parametrize("kind", ["csv", "semicolons", "tsv", "jsonl", "jsonl.gz", "parquet"])
def test_tables_of_every_kind_give_the_same_items(new_store, tmp_path: Path, kind: str) -> None:
    rows = [
        {"text": f'{t}, "quoted"\nsecond line', "label": "ab"[i % 2], "id": f"r{i}"} for i, t in enumerate(texts(8))
    ]
    path = tmp_path / f"t.{kind if kind != 'semicolons' else 'csv'}"
    if kind == "parquet":
        import polars

        polars.DataFrame(rows).write_parquet(path)
    elif kind.startswith("jsonl"):
        body = "".join(json.dumps(r) + "\n" for r in rows).encode()
        path.write_bytes(gzip.compress(body) if kind.endswith("gz") else body)
    else:
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, rows[0], delimiter={"csv": ",", "semicolons": ";", "tsv": "\t"}[kind])
            writer.writeheader()
            writer.writerows(rows)
    store = new_store("text")
    assert add(store, path).n_kept == 8
    assert {(i.id, store.blobs.get(i.blob).decode()) for i in items_of(store)} == {(r["id"], r["text"]) for r in rows}
    assert {i: label for i, (label, _) in labelled(store).items()} == {r["id"]: r["label"] for r in rows}


def test_a_table_of_image_paths(new_store, tmp_path: Path) -> None:
    write_images(tmp_path, ["a/1.png", "a/2.png"])
    table = write_csv(tmp_path / "t.csv", [{"path": f"a/{i}.png", "label": "x"} for i in (1, 2, 3)])
    store = new_store("image")
    result = add(store, table)
    assert (result.n_kept, dict(result.reasons)) == (2, {"item.no_file": 1})
    assert {i.id for i in items_of(store) if i.status == "kept"} == {"a/1.png", "a/2.png"}


def test_numbers_and_gaps_in_a_parquet_column_of_labels(new_store, tmp_path: Path) -> None:
    import polars

    polars.DataFrame({"text": texts(4), "label": [1.0, float("nan"), None, 2.0]}).write_parquet(tmp_path / "t.parquet")
    store = new_store("text")
    add(store, tmp_path / "t.parquet")
    assert sorted(label for label, _ in labelled(store).values()) == ["1", "2"]


def test_the_word_that_nan_is_written_as_is_no_label_and_no_text(new_store, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,label\nfirst text,nan\nsecond text,a\nnan,b\n")
    store = new_store("text")
    assert dict(add(store, tmp_path / "t.csv").reasons) == {"item.missing": 1}
    assert [label for label, _ in labelled(store).values()] == ["a"]


# --- the account ---


def test_every_row_is_accounted_for_with_its_reason(new_store, tmp_path: Path) -> None:
    lines = [json.dumps({"text": t}) for t in texts(5)]
    lines += [
        '{"text": null}',
        '{"text": NaN}',
        '{"text": ""}',
        '{"text": 7}',
        "[1]",
        "{broken",
        '{"text": "a\\u0000b"}',
    ]
    lines += [json.dumps({"text": "x" * 300}), '{"other": 1}', '{"text": "\\ud800"}']
    (tmp_path / "t.jsonl").write_text("\n".join(lines) + "\n")
    store = new_store("text", Config(data=DataConfig(max_text_chars=200)))
    result = add(store, tmp_path / "t.jsonl")
    assert (result.n_read, result.n_kept, result.n_quarantined, result.n_known) == (15, 5, 10, 0)
    assert dict(result.reasons) == {
        "item.missing": 3, "item.empty": 1, "item.type": 1, "item.row": 2, "item.nul": 1, "item.too_long": 1,
        "item.encoding": 1,
    }  # fmt: skip
    assert len(items_of(store)) == 15
    assert Counter(i.status for i in items_of(store)) == {"kept": 5, "quarantined": 10}
    assert {"unreadable", "oversized"} <= set(kinds(store))
    assert any(source == "t.jsonl:6" for source, _ in result.examples)


def test_adding_again_changes_nothing_and_a_mended_file_comes_in(new_store, tmp_path: Path) -> None:
    write_images(tmp_path / "x", ["a/1.png", "b/2.png"])
    (tmp_path / "x" / "a" / "3.png").write_bytes(b"broken")
    store = new_store("image")
    first = add(store, tmp_path / "x")
    again = add(store, tmp_path / "x")
    assert (again.n_read, again.n_known, again.is_new) == (3, 3, False)
    assert again.snapshot == first.snapshot
    write_images(tmp_path / "x", ["a/3.png"], seed=9)
    mended = add(store, tmp_path / "x")
    assert (mended.n_kept, mended.n_known, mended.is_new) == (1, 2, True)
    assert mended.snapshot is not None
    assert first.snapshot is not None
    assert mended.snapshot.parent == first.snapshot.digest
    assert {i.id: i.status for i in items_of(store)}["a/3.png"] == "kept"


def test_rows_without_ids_keep_theirs_when_others_come_before_them(new_store, tmp_path: Path) -> None:
    old = texts(5)
    write_csv(tmp_path / "t.csv", [{"text": t} for t in old])
    store = new_store("text")
    add(store, tmp_path / "t.csv")
    write_csv(tmp_path / "t.csv", [{"text": t} for t in [*texts(2, seed=7), *old, old[0]]])
    result = add(store, tmp_path / "t.csv")
    assert (result.n_kept, result.n_known) == (3, 5)


def test_a_dry_run_counts_and_writes_nothing(new_store, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", [{"text": t} for t in texts(5)])
    store = new_store("text")
    assert add(store, tmp_path / "t.csv", dry_run=True).n_kept == 5
    assert items_of(store) == []
    with store.read() as db:
        assert [r[0] for r in db.exec_driver_sql("SELECT kind FROM events")] == ["project.init"]


def test_one_event_for_each_add_and_no_id_or_text_in_it(new_store, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", [{"text": f"secretword {t}", "id": f"secretid{i}"} for i, t in enumerate(texts(5))])
    store = new_store("text")
    add(store, tmp_path / "t.csv")
    with store.read() as db:
        events = list(db.exec_driver_sql("SELECT kind, payload FROM events"))
    assert [kind for kind, _ in events] == ["project.init", "data.add"]
    assert "secret" not in events[1][1]


# --- splits ---


def test_copies_and_people_stay_on_one_side_of_musters_own_split(new_store, tmp_path: Path) -> None:
    unique = texts(150)
    rows = [{"text": t, "label": "ab"[i % 2], "subject": f"p{i // 2}"} for i, t in enumerate(unique)]
    rows += [{"text": t, "label": "ab"[i % 2], "subject": f"p{i // 2}"} for i, t in enumerate(unique[:60])]
    rows += [
        {"text": t.upper() + "!", "label": "ab"[i % 2], "subject": ""} for i, t in enumerate(unique[60:100], start=60)
    ]
    store = new_store("text")
    result = add(store, write_csv(tmp_path / "t.csv", rows))
    assert kinds(store)["leakage"] == 0
    assert {"exact_duplicate", "near_duplicate"} <= set(kinds(store))
    assert result.snapshot is not None
    assert 30 <= result.snapshot.n_items["test"] <= 50  # a fifth of 250
    with store.read() as db:
        placement = read_placement(db, read_snapshot(db))
    sides: dict[str, set[str]] = {}
    for split, twins in placement.values():
        if twins:
            sides.setdefault(twins, set()).add(split)
    assert sides
    assert all(len(s) == 1 for s in sides.values())


def test_given_splits_stay_as_given_and_leaks_are_found(new_store, tmp_path: Path) -> None:
    unique = texts(40)
    rows = [{"text": t, "label": "ab"[i % 2], "split": "train"} for i, t in enumerate(unique[:30])]
    rows += [{"text": t, "label": "ab"[i % 2], "split": "test"} for i, t in enumerate(unique[30:] + unique[:3])]
    store = new_store("text")
    result = add(store, write_csv(tmp_path / "t.csv", rows))
    assert result.snapshot is not None
    assert result.snapshot.n_items["test"] == 13
    leaks = [f for f in result.findings if f.kind == "leakage"]
    assert [(f.severity, f.evidence["n_test_items"]) for f in leaks] == [("blocking", 3)]
    with store.read() as db:
        placement = read_placement(db, read_snapshot(db))
    assert [placement[key][0] for key in leaks[0].items] == ["train", "test"] * 3


def test_items_keep_their_split_and_new_twins_of_a_test_item_join_the_test(new_store, tmp_path: Path) -> None:
    unique = texts(100)
    store = new_store("text")
    rows = [{"text": t, "label": "ab"[i % 2], "id": f"r{i}"} for i, t in enumerate(unique)]
    add(store, write_csv(tmp_path / "t.csv", rows))
    before = placed(store)
    in_test = [i for i in range(100) if before[f"r{i}"] == "test"]
    more = [{"text": unique[i] + ".", "label": "ab"[i % 2], "id": f"twin{i}"} for i in in_test]
    more += [{"text": t, "label": "a", "id": f"new{i}"} for i, t in enumerate(texts(20, seed=5))]
    add(store, write_csv(tmp_path / "u.csv", more))
    after = placed(store)
    assert {name: after[name] for name in before} == before
    assert {after[f"twin{i}"] for i in in_test} == {"test"}
    assert kinds(store)["leakage"] == 0
    assert all(labelled(store)[f"twin{i}"][1] == "test" for i in in_test)


def test_training_cannot_see_the_test(new_store, tmp_path: Path) -> None:
    store = new_store("text")
    add(store, write_csv(tmp_path / "t.csv", [{"text": t, "label": "ab"[i % 2]} for i, t in enumerate(texts(50))]))
    with store.read() as db:
        view = training_view(store, read_snapshot(db))
    seen = {item.id for item in (*view.pool, *view.reference)}
    sealed = {name for name, split in placed(store).items() if split == "test"}
    assert sealed
    assert not seen & sealed
    assert {label.role for label in view.labels.values()} == {"train"}


def test_a_project_without_labels_still_seals_a_part_for_the_test(new_store, tmp_path: Path) -> None:
    store = new_store("text")
    result = add(store, write_csv(tmp_path / "t.csv", [{"text": t} for t in texts(100)]))
    assert result.snapshot is not None
    assert dict(result.snapshot.n_items) == {"reference": 12, "test": 20, "train": 68}
    assert result.snapshot.classes == ()


# --- findings ---


def test_check_says_again_what_add_found_and_its_opening_is_recorded(new_store, tmp_path: Path) -> None:
    rows = [{"text": t, "label": "ab"[i % 2]} for i, t in enumerate(texts(30))]
    rows += [{"text": "Write to ana@example.org, or call +44 7700 900 123", "label": "a"}]
    rows += [{"text": rows[0]["text"], "label": "b"}]
    store = new_store("text")
    result = add(store, write_csv(tmp_path / "t.csv", rows))
    assert {"personal_data", "exact_duplicate", "label_conflict"} <= {f.kind for f in result.findings}
    assert check(store) == list(result.findings)
    with store.read() as db:
        assert [r[0] for r in db.exec_driver_sql("SELECT kind FROM events")] == [
            "project.init",
            "data.add",
            "test.open",
        ]
        assert [tuple(r) for r in db.exec_driver_sql("SELECT purpose, counted FROM seal_openings")] == [
            ("leakage-check", 0)
        ]


@pytest.mark.data
def test_sms_spam_has_its_403_copies(new_store, bench_data: Path) -> None:
    store = new_store("text")
    result = add(store, bench_data / "sms_spam" / "sms_spam.parquet")
    assert (result.n_read, result.n_kept) == (5_574, 5_574)
    exact = next(f for f in result.findings if f.kind == "exact_duplicate")
    assert exact.evidence["n_pairs"] == 403
    assert kinds(store)["leakage"] == 0


def test_group_columns_that_are_named_later_are_read_by_adding_again(new_store, tmp_path: Path) -> None:
    rows = [{"id": f"r{i}", "text": t, "region": "north" if i % 2 else "south"} for i, t in enumerate(texts(40))]
    path = write_csv(tmp_path / "t.csv", rows)
    store = new_store()
    first = add(store, path)
    assert first.n_grouped == 0
    assert all(item.groups == {} for item in items_of(store))
    store.config = replace(store.config, data=replace(store.config.data, group_columns=("region",)))
    would = add(store, path, dry_run=True)
    assert (would.n_grouped, items_of(store)[0].groups) == (40, {})
    again = add(store, path)
    assert (again.n_grouped, again.n_kept, again.n_known) == (40, 0, 40)
    assert Counter(item.groups["region"] for item in items_of(store)) == {"north": 20, "south": 20}
    with store.read() as db:
        *_, event = ledger.read(db, kind="data.add")
    assert event.payload["n_grouped_test"] == sum(split == "test" for split in placed(store).values())
    assert again.snapshot == first.snapshot, "groups are no part of a dataset version"
    rows[0]["region"] = "elsewhere"
    assert add(store, write_csv(path, rows)).n_grouped == 0, "what was said once stays"
    assert items_of(store)[0].groups["region"] == "south"


def test_a_table_of_labels_beside_the_items_may_not_contradict_itself(new_store, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,text\n1,the first text\n2,the second one\n")
    table = tmp_path / "side.csv"
    for text, remedy in (("id,label\n1,a\n2,b\n1,b\n", "leave one row"),
                         ("id,label,who\n1,a,ana\n1,b,ben\n", "muster label")):  # fmt: skip
        store = new_store("text")
        table.write_text(text)
        with pytest.raises(DataError) as caught:
            add(store, tmp_path / "t.csv", labels=table)
        assert caught.value.code == "label.contradiction"
        assert remedy in caught.value.next
        with store.read() as db:
            assert read_items(db) == []
        store.close()
        (tmp_path / "project-text").rename(tmp_path / remedy)
    table.write_text("id,label\n1,a\n1,\n1,a\n")
    store = new_store("text")
    assert add(store, tmp_path / "t.csv", labels=table).n_new_labels == {"train": 1}
    with store.read() as db:
        assert [label.label for label in read_labels(db).values()] == ["a"]
