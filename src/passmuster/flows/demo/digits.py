"""`muster demo`: handwritten digits, from a folder of photos and forty labels to a model that is released, served,
watched, degraded when its inputs go bad, and defended against a worse successor.

The images are the 1,797 real handwritten digits that scikit-learn carries (Alpaydin and Kaynak 1998, 8 × 8 pixels).
"""

from __future__ import annotations

import base64
import contextlib
import csv
import io
import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from passmuster.core.config import DEFAULT_GATES, Config
from passmuster.core.config_file import FILE_NAME, read_config, render_config
from passmuster.flows.demo.story import Client, Story, open_store
from passmuster.store.incidents import read_incidents
from passmuster.store.releases import read_bundle, read_channels, read_report, read_verdict

N_POOL, N_REFERENCE, N_TEST = 850, 150, 400
ONLY_HOLD = (
    "score_parity.v1", "class_loss.v1", "class_found.v1", "class_log_loss.v1", "class_share.v1", "log_loss.v1",
    "overconfidence.v1", "guard.v1",
    "guard_parity.v1", "test_labels.v1", "trigger.v1",
)  # fmt: skip
LIMIT_S, LIMIT_BYTES = 180.0, 2 * 2**30


@dataclass(frozen=True)
class Photo:
    """One digit as a PNG file, and what it shows."""

    name: str
    png: bytes
    label: str


def tell(folder: Path) -> None:
    """Run the whole demo in `folder`, which must not exist yet or be empty."""
    story = Story(folder)
    project = folder / "digits"
    story.chapter("1. A folder of photos: 1,000 without a label but forty, and 400 more to test on")
    train, test, traffic, labelled = write_photos(folder / "photos", np.random.default_rng(0))
    story.run(folder, "init", "digits", "--modality", "image")
    state_policy(project)
    story.run(project, "add", str(folder / "photos"), "--labels", str(folder / "labels.csv"))
    story.run(project, "check")
    with open_store(project).read() as db:
        n_kept = db.exec_driver_sql("SELECT count(*) FROM items WHERE status = 'kept'").scalar()
    story.check(
        "every file is accounted for", n_kept == len(train) + len(test), f"{n_kept} kept of {len(train) + len(test)}"
    )

    story.chapter("2. Learn from all of them within a minute")
    story.run(project, "train", "--time", "60s")

    story.chapter("3. Forty test labels are not enough for a verdict")
    write_labels(folder / "test-40.csv", test[:40])
    story.run(project, "label", str(folder / "test-40.csv"), "--role", "test")
    story.run(project, "evaluate")
    story.run(project, "release", expect=4)
    check_verdict(story, project, "INSUFFICIENT")

    story.chapter("4. Four hundred are: the verdict is what the numbers say")
    write_labels(folder / "test-400.csv", test[40:])
    story.run(project, "label", str(folder / "test-400.csv"), "--role", "test")
    story.run(project, "release")
    check_verdict(story, project, "SHIP")
    story.run(project, "approve")

    story.chapter("5. Real traffic: clean at first, then rotated and blurred")
    clean, later = traffic[:200], traffic[200:]
    with story.serving(project) as client, story.watching(project):
        accuracy = send(client, clean, feedback_share=0.5)
        print(f"200 clean digits: {accuracy:.0%} right")
        with open_store(project).read() as db:
            n_incidents = len(read_incidents(db))
        story.check("no alarm on clean traffic", n_incidents == 0, f"{n_incidents} incidents")
        bad_accuracy = send(client, [spoil(photo, i) for i, photo in enumerate(later)], feedback_share=0.5)
        print(f"{len(later)} rotated and blurred digits: {bad_accuracy:.0%} right")
        story.check(
            "accuracy falls on spoilt photos", bad_accuracy < accuracy - 0.1, f"{accuracy:.0%} to {bad_accuracy:.0%}"
        )
        story.wait_until("an alarm opens an incident", lambda: n_open(project) > 0)
        story.wait_until("the policy degrades the live channel", lambda: live_mode(project) == "degraded")
    story.run(project, "incidents")
    with open_store(project).read() as db:
        incident = read_incidents(db)[0]
    story.run(project, "incidents", "resolve", incident.id, "--note", "the camera was turned back")

    story.chapter("6. A worse candidate: someone imports labels with 3 and 8, 1 and 7 exchanged")
    write_labels(folder / "exchanged.csv", [replace(p, label=EXCHANGED.get(p.label, p.label)) for p in labelled])
    story.run(project, "label", str(folder / "exchanged.csv"), "--role", "train")
    story.run(project, "train", "--time", "15s")
    story.run(project, "release", expect=4)
    check_verdict(story, project, "HOLD")
    story.run(project, "approve", "--channel", "canary", "--override", "try it on a third", "--share", "0.33")
    with story.serving(project) as client, story.watching(project):
        send(client, [*clean, *clean, *clean], feedback_share=1.0)
        story.wait_until("the canary is withdrawn by itself", lambda: "canary" not in channels(project))
    story.check(
        "the live release still serves", "live" in channels(project), f"channels: {', '.join(channels(project))}"
    )

    story.chapter("7. Evidence that anyone can verify")
    story.run(project, "verify")
    tamper(story, project, folder / "tampered")
    with open_store(project).read() as db:
        live = read_channels(db)["live"].bundle
    report = project / ".muster" / "reports" / live[:16] / "report.html"
    story.check("the report is there", report.is_file(), str(report))
    story.ending(report, limit_s=LIMIT_S, limit_bytes=LIMIT_BYTES)


EXCHANGED = {"3": "8", "8": "3", "1": "7", "7": "1"}


def write_photos(folder: Path, rng: np.random.Generator) -> tuple[list[Photo], list[Photo], list[Photo], list[Photo]]:
    """Write PNG files, and ``labels.csv`` beside them; returns training, test and traffic photos, and the labelled."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = rng.permutation(len(digits.target))
    n_train = N_POOL + N_REFERENCE
    photos = []
    for place, i in enumerate(order):
        part = "train" if place < n_train else "test" if place < n_train + N_TEST else "traffic"
        buffer = io.BytesIO()
        Image.fromarray(np.uint8(digits.images[i] * 255 / 16)).save(buffer, "PNG")
        photos.append(Photo(f"{part}/{i:04d}.png", buffer.getvalue(), str(digits.target[i])))
    train, test, traffic = photos[:n_train], photos[n_train : n_train + N_TEST], photos[n_train + N_TEST :]
    for photo in (*train, *test):
        path = folder / photo.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo.png)
    labelled = [photo for digit in "0123456789" for photo in [p for p in train if p.label == digit][:4]]
    write_labels(folder.parent / "labels.csv", labelled)
    return train, test, traffic, labelled


def write_labels(path: Path, photos: Sequence[Photo]) -> None:
    """A CSV of ids and labels."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "label"])
        writer.writerows((photo.name, photo.label) for photo in photos)


def state_policy(project: Path) -> None:
    """Write the demo's policy into muster.toml: at least 80 % right, no digit found in less than half of its cases, and
    never clearly worse than what is live.
    """
    config = read_config(project)
    gates: dict[str, Mapping[str, Any]] = {
        "accuracy.v1": {"min": 0.80},
        "worst_class.v1": {"min": 0.50},
        "non_inferiority.v1": {"margin": 0.03},
        "leakage.v1": {"max_twins": 0},
        "parity.v1": {"min_agreement": 0.99},
        **{name: DEFAULT_GATES[name] for name in ONLY_HOLD},
    }
    data = replace(config.data, reference_share=N_REFERENCE / (N_POOL + N_REFERENCE - 40))
    stated: Config = replace(config, data=data, policy=replace(config.policy, gates=gates))
    (project / FILE_NAME).write_text(render_config(stated), encoding="utf-8")
    print(f"The policy, in {project.name}/{FILE_NAME}:")
    for gate, bounds in gates.items():
        print(f"  {gate}: {', '.join(f'{k} {v}' for k, v in bounds.items())}")


def check_verdict(story: Story, project: Path, outcome: str) -> None:
    """The latest bundle's verdict is `outcome`, and an insufficient one says how many labels would decide."""
    with open_store(project).read() as db:
        found = read_verdict(db, read_bundle(db).digest)
        report = read_report(db, read_bundle(db).digest)
    seen = found[0].outcome if found else "no verdict"
    n_test = report[1].n_test if report else 0
    story.check(f"with {n_test} test labels the verdict is {outcome}", seen == outcome, seen)
    if found and outcome == "INSUFFICIENT":
        n_more = found[0].n_more_labels
        story.check("it says how many more labels would decide", n_more is not None, f"about {n_more} more")


def send(client: Client, photos: Sequence[Photo], *, feedback_share: float) -> float:
    """Ask for each photo over HTTP, send the truth back for a share of them; returns the share answered rightly."""
    n_right, every = 0, round(1 / feedback_share)
    for i, photo in enumerate(photos):
        answer = client.post("/v1/predict", {"item": base64.b64encode(photo.png).decode(), "key": f"{photo.name}#{i}"})
        n_right += answer["label"] == photo.label
        if i % every == 0:
            client.post("/v1/feedback", {"id": answer["id"], "label": photo.label})
    return n_right / len(photos)


def spoil(photo: Photo, i: int) -> Photo:
    """The photo as a turned and unfocused camera would take it, more so as time goes by."""
    from PIL import Image, ImageFilter

    image = Image.open(io.BytesIO(photo.png))
    turned = image.resize((32, 32)).rotate(30 + i % 60).filter(ImageFilter.GaussianBlur(2.5)).resize(image.size)
    buffer = io.BytesIO()
    turned.save(buffer, "PNG")
    return replace(photo, png=buffer.getvalue())


def n_open(project: Path) -> int:
    """How many incidents are open."""
    with open_store(project).read() as db:
        return sum(not incident.closed for incident in read_incidents(db))


def live_mode(project: Path) -> str:
    """The live channel's mode."""
    with open_store(project).read() as db:
        return read_channels(db)["live"].mode


def channels(project: Path) -> list[str]:
    """The channels that point at a release."""
    with open_store(project).read() as db:
        return sorted(read_channels(db))


def tamper(story: Story, project: Path, folder: Path) -> None:
    """Change one byte of a copied bundle and one event of a copied ledger; `verify` must name both."""
    folder.mkdir()
    store = open_store(project)
    with store.read() as db:
        source = store.bundle_folder(read_bundle(db, read_channels(db)["live"].bundle).path)
    bundle, ledger = folder / source.name, folder / "catalog.db"
    shutil.copytree(source, bundle)
    graph = bundle / "graphs" / "model.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    original, copy = sqlite3.connect(project / ".muster" / "catalog.db"), sqlite3.connect(ledger)
    with contextlib.closing(original), contextlib.closing(copy), copy:
        original.backup(copy)
        seq = copy.execute("SELECT seq FROM events WHERE kind = 'release.sign'").fetchone()[0]
        copy.execute("UPDATE events SET payload = replace(payload, '{', '{ ') WHERE seq = ?", (seq,))
        copy.execute("UPDATE events SET actor = 'someone else' WHERE seq = ?", (seq,))
    said = story.run(project, "verify", str(bundle), str(ledger), expect=9)
    story.check("verify names the changed file", "graphs/model.onnx" in said, "graphs/model.onnx")
    story.check("verify names the changed event", f"event {seq}" in said, f"event {seq}")
