"""Traffic: what was acknowledged is there, read once and in order; inputs leave when their time is over."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from passmuster.core.errors import IntegrityError, ResourceError, UsageError
from passmuster.core.records import FeedbackRecord, TrafficRecord
from passmuster.store.traffic import TrafficWriter, expire_inputs
from passmuster.store.traffic_reader import TrafficReader


def asked(i: int, *, at: str = "", data: bytes | None = None) -> TrafficRecord:
    """The i-th prediction."""
    return TrafficRecord(
        id=f"p{i:05d}", at=at or f"2026-01-01T00:{i // 60 % 60:02d}:{i % 60:02d}.000000+00:00", channel="live",
        release="r1", bundle="b" * 64, routing_key="0" * 32, input=data if data is not None else f"text {i} é".encode(),
        label="yes", probability=0.75, abstained=i % 2 == 1, reasons=("novel",) if i % 2 else (), novelty=0.125 * i,
        novel=i % 2 == 1, latency_s=0.001,
    )  # fmt: skip


def said(i: int, label: str, at: str = "2026-01-02T00:00:00.000000+00:00") -> FeedbackRecord:
    """Feedback on the i-th prediction."""
    return FeedbackRecord(f"p{i:05d}", label, "ana", at)


def read_all(folder: Path, limit: int, cursor: str = "") -> tuple[list[object], str]:
    """Everything after `cursor`, in steps of at most `limit`."""
    found: list[object] = []
    while True:
        new, cursor = TrafficReader(folder).read(cursor, limit, inputs=True)
        assert len(new) <= limit
        if not new:
            return found, cursor
        found += new


def test_what_was_written_is_read_as_it_was(tmp_path: Path) -> None:
    writer = TrafficWriter(tmp_path, "w0")
    records = [asked(0), said(0, "no"), asked(1, data=b"\x00\xff" * 100), asked(2, data=b"")]
    writer.append(records)
    assert TrafficReader(tmp_path).read("", 10, inputs=True)[0] == records  # the writer is still at it
    writer.close()
    assert TrafficReader(tmp_path).read("", 10, inputs=True)[0] == records


def test_nothing_written_is_nothing_read(tmp_path: Path) -> None:
    assert TrafficReader(tmp_path / "none").read("", 10) == ([], "{}")
    TrafficWriter(tmp_path, "w0").append([])
    assert TrafficReader(tmp_path).read("", 10)[0] == []
    assert TrafficReader(tmp_path).prediction("p") is None


@pytest.mark.parametrize("limit", [1, 3, 7, 1000])
def test_the_cursor_neither_skips_nor_repeats(tmp_path: Path, limit: int) -> None:
    one, two = TrafficWriter(tmp_path, "w0", segment_bytes=40_000), TrafficWriter(tmp_path, "w1")
    first = [asked(i) for i in range(60)]
    for i in range(0, 60, 3):
        one.append(first[i : i + 2])
        two.append(first[i + 2 : i + 3])
    found, cursor = read_all(tmp_path, limit)
    assert found == first  # merged by time
    later = [asked(i) for i in range(60, 70)]
    two.append(later)
    more, cursor = read_all(tmp_path, limit, cursor)
    assert more == later
    assert read_all(tmp_path, limit, cursor)[0] == []
    assert json.loads(cursor).keys() >= {"w0-000001", "w1-000001"}


def test_commit_order_holds_even_where_the_clock_steps_back(tmp_path: Path) -> None:
    one, two = TrafficWriter(tmp_path, "w0"), TrafficWriter(tmp_path, "w1")
    backwards = [asked(3), asked(1), asked(2)]
    one.append(backwards)
    two.append([asked(4)])
    found, _ = read_all(tmp_path, 1)
    assert [r for r in found if r != asked(4)] == backwards
    assert len(found) == 4


def test_a_reader_beside_a_writer_sees_every_record_once(tmp_path: Path) -> None:
    writer = TrafficWriter(tmp_path, "w0", segment_bytes=100_000)
    records = [asked(i) for i in range(600)]

    def write() -> None:
        for i in range(0, 600, 5):
            writer.append(records[i : i + 5])

    thread = threading.Thread(target=write)
    thread.start()
    found: list[object] = []
    cursor = ""
    while thread.is_alive():
        new, cursor = TrafficReader(tmp_path).read(cursor, 50, inputs=True)
        found += new
    thread.join()
    found += read_all(tmp_path, 50, cursor)[0]
    assert found == records
    assert len(list(tmp_path.glob("w0-*.db"))) > 2


def test_threads_commit_together_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = TrafficWriter(tmp_path, "w0")
    n_commits = 0
    commit = writer._commit

    def counted(rows: list) -> None:
        nonlocal n_commits
        n_commits += 1
        commit(rows)

    monkeypatch.setattr(writer, "_commit", counted)
    gate = threading.Barrier(16)

    def work(worker: int) -> None:
        gate.wait()
        for i in range(10):
            writer.append([asked(worker * 100 + i)])

    threads = [threading.Thread(target=work, args=(w,)) for w in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found, _ = read_all(tmp_path, 100)
    assert len({r.id for r in found}) == 160
    assert n_commits < 160
    for worker in range(16):  # each caller's own order is kept
        mine = [r.id for r in found if int(r.id[1:]) // 100 == worker]
        assert mine == sorted(mine)


def test_segments_roll_over_and_a_new_writer_goes_on_in_the_last(tmp_path: Path) -> None:
    writer = TrafficWriter(tmp_path, "w0", segment_bytes=30_000)
    for i in range(40):
        writer.append([asked(i, data=bytes(1_000))])
    writer.close()
    names = sorted(p.name for p in tmp_path.glob("*.db"))
    assert names[:2] == ["w0-000001.db", "w0-000002.db"]
    again = TrafficWriter(tmp_path, "w0", segment_bytes=10**9)
    again.append([asked(40)])
    again.close()
    assert sorted(p.name for p in tmp_path.glob("*.db")) == names
    assert [r.id for r in read_all(tmp_path, 7)[0]] == [f"p{i:05d}" for i in range(41)]


def test_one_writer_per_name(tmp_path: Path) -> None:
    first = TrafficWriter(tmp_path, "w0")
    with pytest.raises(ResourceError) as caught:
        TrafficWriter(tmp_path, "w0")
    assert caught.value.code == "traffic.worker_taken"
    first.close()
    TrafficWriter(tmp_path, "w0").close()


@pytest.mark.parametrize("name", ["", "a/b", "..", "a-b", "a.b"])
def test_a_name_that_would_leave_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        TrafficWriter(tmp_path, name)


def test_predictions_are_found_by_id_across_segments(tmp_path: Path) -> None:
    one, two = TrafficWriter(tmp_path, "w0", segment_bytes=20_000), TrafficWriter(tmp_path, "w1")
    for i in range(30):
        one.append([asked(i)])
    two.append([asked(99), said(3, "no")])
    reader = TrafficReader(tmp_path)
    assert reader.prediction("p00003") == asked(3)
    assert reader.prediction("p00099") == asked(99)
    assert reader.prediction("p77777") is None
    assert reader.predictions(["p00003"]) == {"p00003": replace(asked(3), input=None)}
    assert reader.predictions(["p00003"], inputs=True) == {"p00003": asked(3)}
    assert set(reader.predictions(["p00001", "p00099", "nobody"])) == {"p00001", "p00099"}


def test_the_latest_feedback_counts_and_contradictions_stay(tmp_path: Path) -> None:
    one, two = TrafficWriter(tmp_path, "w0"), TrafficWriter(tmp_path, "w1")
    one.append([asked(i) for i in range(6)])
    one.append([said(1, "no", "2026-01-03T00:00:00.000000+00:00"), said(2, "yes"), said(2, "maybe")])
    two.append([said(1, "yes", "2026-01-02T00:00:00.000000+00:00"), said(5, "no")])
    reader = TrafficReader(tmp_path)
    assert [(r.id, label) for r, label in reader.recent(10)] == [
        ("p00005", "no"),
        ("p00002", "maybe"),
        ("p00001", "no"),
    ]
    assert [r.id for r, _ in reader.recent(2)] == ["p00005", "p00002"]
    assert [(r.id, label) for r, label in reader.recent(3, labelled_only=False)] == [
        ("p00005", "no"), ("p00004", ""), ("p00003", ""),
    ]  # fmt: skip
    assert sum(isinstance(r, FeedbackRecord) for r in read_all(tmp_path, 100)[0]) == 5


@pytest.mark.parametrize("n_segments", [1, 6])
def test_reading_takes_no_more_memory_than_what_is_asked_for(tmp_path: Path, n_segments: int) -> None:
    n_each, size = 120 // n_segments, 100_000
    for s in range(n_segments):
        writer = TrafficWriter(tmp_path, f"w{s}")
        numbers = range(s * n_each, (s + 1) * n_each)
        writer.append([asked(i, data=bytes(size)) for i in numbers] + [said(i, "no") for i in numbers])
        writer.close()
    reader = TrafficReader(tmp_path)
    assert peak_bytes(lambda: reader.read("", 512)) < 20 * size
    assert peak_bytes(lambda: reader.recent(10)) < 20 * size
    assert peak_bytes(lambda: reader.recent(10, labelled_only=False)) < 20 * size
    assert peak_bytes(lambda: reader.predictions([f"p{i:05d}" for i in range(120)])) < 20 * size
    assert peak_bytes(lambda: reader.read("", 4, inputs=True)) < 20 * size  # one row ahead per segment, no more


def peak_bytes(work: Callable[[], object]) -> int:
    """The most that Python held at once while `work` ran."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_inputs_leave_when_their_time_is_over_and_the_rest_stays(tmp_path: Path) -> None:
    writer = TrafficWriter(tmp_path, "w0")
    secret = b"a secret that must not stay on the disk"
    old = [asked(i, at=f"2026-01-01T00:00:{i:02d}.000000+00:00", data=secret) for i in range(3)]
    new = [asked(i, at="2026-01-20T00:00:00.000000+00:00") for i in range(3, 5)]
    writer.append([*old, said(0, "no"), *new])
    assert expire_inputs(tmp_path, keep_days=30, now="2026-01-25T00:00:00+00:00") == 0
    assert expire_inputs(tmp_path, keep_days=10, now="2026-01-25T00:00:00+00:00") == 3
    assert expire_inputs(tmp_path, keep_days=10, now="2026-01-25T00:00:00+00:00") == 0
    found, _ = read_all(tmp_path, 10)
    assert found == [*(replace(r, input=None) for r in old), said(0, "no"), *new]
    writer.append([asked(9)])  # the writer goes on
    writer.close()
    assert secret not in b"".join(p.read_bytes() for p in tmp_path.iterdir())


def test_a_full_disk_keeps_nothing_of_the_call_and_later_calls_work(tmp_path: Path) -> None:
    writer = TrafficWriter(tmp_path, "w0")
    writer.append([asked(0)])
    pages = writer._db.execute("PRAGMA page_count").fetchone()[0]
    writer._db.execute(f"PRAGMA max_page_count={pages + 3}")
    with pytest.raises(ResourceError) as caught:
        writer.append([asked(1), asked(2, data=bytes(100_000))])
    assert caught.value.code == "disk.full"
    assert "w0-000001.db" in str(caught.value)
    writer.append([asked(3)])  # the limit was the connection's, and a new one has none
    assert [r.id for r in read_all(tmp_path, 10)[0]] == ["p00000", "p00003"]


def test_every_thread_of_a_failed_commit_hears_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = TrafficWriter(tmp_path, "w0")

    def fail(rows: list) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(writer, "_commit", fail)
    problems: list[str] = []

    def work(i: int) -> None:
        try:
            writer.append([asked(i)])
        except ResourceError as error:
            problems.append(error.code)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == ["disk.full"] * 8


def test_a_damaged_segment_is_named(tmp_path: Path) -> None:
    writer = TrafficWriter(tmp_path, "w0")
    writer.append([asked(i) for i in range(200)])
    writer.close()
    path = tmp_path / "w0-000001.db"
    data = bytearray(path.read_bytes())
    data[4096:] = b"\x5a" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="w0-000001") as caught:
        read_all(tmp_path, 1000)
    assert caught.value.code == "traffic.damaged"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(IntegrityError, match="w0-000001"):
        TrafficReader(tmp_path).prediction("p00001")


def test_a_record_that_is_none_is_damage(tmp_path: Path) -> None:
    writer = TrafficWriter(tmp_path, "w0")
    writer.append([asked(0)])
    writer.close()
    db = sqlite3.connect(tmp_path / "w0-000001.db")
    with db:
        db.execute("UPDATE records SET record = '{}'")
    db.close()
    with pytest.raises(IntegrityError, match="w0-000001"):
        read_all(tmp_path, 10)


@pytest.mark.parametrize("cursor", ["nonsense", '{"a": "b"}', "[1]"])
def test_a_cursor_that_is_none_is_refused(tmp_path: Path, cursor: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        TrafficReader(tmp_path).read(cursor, 1)
    assert caught.value.code == "traffic.cursor"


WRITE_UNTIL_KILLED = """
import sys
from pathlib import Path
from passmuster.core.records import FeedbackRecord
from passmuster.store.traffic import TrafficWriter
writer = TrafficWriter(Path(sys.argv[1]), "w0", segment_bytes=60_000)
i = int(sys.argv[2])
while True:
    writer.append([FeedbackRecord(f"p{i}", "yes", "ana", f"2026-01-01T00:00:00.{i:06d}+00:00")])
    print(i, flush=True)  # acknowledged
    i += 1
"""


def test_kill_9_loses_nothing_acknowledged(tmp_path: Path) -> None:
    start = 0
    for n_lines in (1, 7, 40):
        command = [sys.executable, "-c", WRITE_UNTIL_KILLED, str(tmp_path), str(start)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            acknowledged = [int(process.stdout.readline()) for _ in range(n_lines)]
            process.kill()
            acknowledged += [int(line) for line in process.stdout.read().splitlines()]
        found = [int(r.prediction[1:]) for r in read_all(tmp_path, 100)[0]]
        assert found == list(range(len(found)))
        assert set(acknowledged) <= set(found)
        start = len(found)
