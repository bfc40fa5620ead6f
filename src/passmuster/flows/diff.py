"""Compare two bundles before anybody approves: find the two, list what changes, leave a page and a table."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from passmuster.core.digests import sha256_hex
from passmuster.core.disk import took_no_more, write_whole
from passmuster.core.errors import NotFoundError, ResourceError
from passmuster.core.label_sets import label_in_words
from passmuster.core.progress import Progress, Silent
from passmuster.core.records import Bundle, Payload
from passmuster.core.spreadsheet import guard_cell
from passmuster.runtime.bundle import open_bundle
from passmuster.runtime.predictor import Predictor
from passmuster.stages.evaluate.diff import Diff, diff, payloads_at
from passmuster.stages.evaluate.page.changes import render_changes
from passmuster.store.items import read_items
from passmuster.store.releases import read_bundle, read_channels, read_release
from passmuster.store.store import Store

MAX_SHOWN = 400  # items in the page
MAX_PREVIEW_BYTES = 6_000_000
RELEASE = re.compile(r"r\d+(-[0-9a-f]*)?")
NOT_ASKED = "not asked again"
COLUMNS = ("id", "text", "kind", "label", "before", "before_probability", "before_withheld", "after",
           "after_probability", "after_withheld", "added_cost", "noise")  # fmt: skip


@dataclass(frozen=True)
class DiffResult:
    """What changes, by position the items' names, and where the page lies."""

    diff: Diff
    names: Mapping[int, Named]
    page: Path


@dataclass(frozen=True)
class Named:
    """An item's id, and its text in one line; none for an image."""

    id: str
    text: str = ""

    def __str__(self) -> str:
        return f"{self.id}: {self.text[:70]}" if self.text else self.id


def compare_bundles(
    store: Store,
    new: str = "",
    old: str = "",
    *,
    items: Path | None = None,
    labels: bool = False,
    mapped: Mapping[str, str] | None = None,
    csv_file: Path | None = None,
    progress: Progress | None = None,
) -> DiffResult:
    """`diff` of two bundles named by digest, release or channel; the latest bundle against the live release when empty.

    The page is left beside the reports, under the name of `items` and digits of their path where it is about those;
    `csv_file` gets one row for each change.

    Raises
    ------
    NotFoundError
        ``diff.no_live`` when nothing is live and no other bundle is named; ``bundle.none``, ``release.none``.
    UsageError, DataError, IntegrityError
        As `passmuster.stages.evaluate.diff.diff`.
    ResourceError
        ``disk.full``, ``diff.write``.
    """
    progress = progress or Silent()
    after, before = chosen(store, new, old)
    found = diff(store, after, before, items=items, labels=labels, mapped=mapped, progress=progress)
    predictor = Predictor(open_bundle(store.bundle_folder(after.path)))
    positions = [change.position for change in found.changes]
    payloads = dict(zip(positions, payloads_at(store, predictor, found.asked, positions)))
    names = item_names(store, found, payloads)
    page = store.root / "reports" / after.digest[:16] / f"changes-from-{before.digest[:16]}{_on(items)}.html"
    html = render_changes(
        store.config.project.name, predictor.modality.name, found, previews(predictor, payloads, positions)
    )
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        write_whole(page, html.encode())
        if csv_file is not None:
            write_whole(csv_file, as_csv(found, names).encode())
    except OSError as error:
        full = took_no_more(error)
        raise ResourceError(
            "disk.full" if full else "diff.write", f"the list of changes could not be written: {error.strerror}",
            where=error.filename2 or error.filename, next="free some disk" if full else "look at the folder's rights",
        ) from error  # fmt: skip
    return DiffResult(found, names, page)


def _on(items: Path | None) -> str:
    """What in a page's name tells the items it is about: theirs as far as ASCII has it, and digits of their path."""
    if items is None:
        return ""
    name = re.sub(r"[^A-Za-z0-9]+", "-", items.stem).strip("-") or "items"
    return f"-on-{name}-{sha256_hex(os.fsencode(items.resolve()))[:8]}"


def chosen(store: Store, new: str, old: str) -> tuple[Bundle, Bundle]:
    """The two bundles."""
    with store.read() as db:
        after = bundle_named(db, new)
        if old:
            return after, bundle_named(db, old)
        live = read_channels(db).get("live")
        if live is None:
            raise NotFoundError(
                "diff.no_live", "nothing is live to compare with", next="name two bundles: muster diff NEW OLD"
            )
        return after, read_bundle(db, live.bundle)


def bundle_named(db: Connection, name: str) -> Bundle:
    """The bundle of that digest, or behind that release or channel."""
    channel = read_channels(db).get(name)
    if channel is not None:
        return read_bundle(db, channel.bundle)
    return read_bundle(db, read_release(db, name).bundle if RELEASE.fullmatch(name) else name)


def item_names(store: Store, found: Diff, payloads: Mapping[int, Payload]) -> dict[int, Named]:
    """By position of a change: the item's id and text."""
    keys = [found.asked.names[position] for position in payloads]
    ids = dict(zip(keys, keys))
    if found.asked.items:
        with store.read() as db:
            ids = {item.key: item.id for item in read_items(db, keys=keys)}
    names = {}
    for position, payload in payloads.items():
        text = " ".join(payload.split()) if isinstance(payload, str) else ""
        names[position] = Named(ids[found.asked.names[position]], text)
    return names


def previews(predictor: Predictor, payloads: Mapping[int, Payload], positions: list[int]) -> dict[int, str]:
    """HTML of the first changes, as many as the page carries."""
    shown: dict[int, str] = {}
    n_bytes = 0
    for position in positions[:MAX_SHOWN]:
        html = predictor.modality.preview(payloads[position])
        n_bytes += len(html)
        if n_bytes > MAX_PREVIEW_BYTES:
            break
        shown[position] = html
    return shown


def rows(found: Diff, names: Mapping[int, Named]) -> list[dict[str, object]]:
    """One row for each change, for CSV and JSON; ``noise`` is None where nobody asked again."""
    return [
        dict(zip(COLUMNS, (
            names[c.position].id, names[c.position].text, c.kind, None if c.label is None else label_in_words(c.label),
            label_in_words(c.before.said), round(c.before.sure, 4), c.before.withheld,
            label_in_words(c.after.said), round(c.after.sure, 4), c.after.withheld, c.cost,
            found.noise.is_noise(c.position),
        ), strict=True))
        for c in found.changes
    ]  # fmt: skip


def as_csv(found: Diff, names: Mapping[int, Named]) -> str:
    """Every change as a row; what a spreadsheet would run stands behind an apostrophe."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    for row in rows(found, names):
        guarded = {name: guard_cell(cell) if isinstance(cell, str) else cell for name, cell in row.items()}
        writer.writerow(guarded | ({"noise": NOT_ASKED} if row["noise"] is None else {}))
    return text.getvalue()
