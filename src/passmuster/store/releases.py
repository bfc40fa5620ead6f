"""Runs, bundles, reports, verdicts, releases and channels in the catalog. Writers take the act's connection."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from passmuster.core.clock import now
from passmuster.core.codec import from_plain, to_plain
from passmuster.core.digests import canonical_json, sha256_hex
from passmuster.core.errors import NotFoundError
from passmuster.core.records import Bundle, Channel, Release, Report, Verdict
from passmuster.store.naming import the_one_named
from passmuster.store.schema import bundles, channels, releases, reports, runs, verdicts
from passmuster.store.store import Act


def start_run(db: Connection, run: str, kind: str, snapshot: str, record: Mapping[str, Any]) -> None:
    """Note that a run began."""
    db.execute(
        insert(runs).values(
            id=run, kind=kind, status="running", started=now(), ended="", snapshot=snapshot,
            record=canonical_json(to_plain(record)).decode(),
        )
    )  # fmt: skip


def end_run(db: Connection, run: str, status: str, record: Mapping[str, Any]) -> None:
    """Note how a run ended."""
    db.execute(
        update(runs)
        .where(runs.c.id == run)
        .values(status=status, ended=now(), record=canonical_json(to_plain(record)).decode())
    )


def read_runs(db: Connection, *, kind: str = "", status: str = "") -> list[dict[str, Any]]:
    """Runs, latest first, each with its `record` decoded."""
    query = select(runs).order_by(runs.c.started.desc())
    query = query.where(runs.c.kind == kind) if kind else query
    query = query.where(runs.c.status == status) if status else query
    return [{**row._asdict(), "record": json.loads(row.record)} for row in db.execute(query)]


def add_bundle(db: Connection, bundle: Bundle) -> None:
    """Write a bundle; the same digest again is the same bundle and changes nothing."""
    known = db.execute(select(bundles.c.n).where(bundles.c.digest == bundle.digest)).first()
    if known is None:
        db.execute(insert(bundles).values(**to_plain(bundle)))


def read_bundle(db: Connection, digest: str = "") -> Bundle:
    """The bundle whose digest starts with `digest`; the latest when empty.

    Raises
    ------
    NotFoundError
        ``bundle.none``.
    UsageError
        ``bundle.ambiguous`` when several do.
    """
    query = select(bundles).order_by(bundles.c.n.desc()).limit(1)
    row = db.execute(query.where(bundles.c.digest == digest) if digest else query).first()
    if row is None:
        known = db.execute(select(bundles.c.digest)).scalars()
        whole = the_one_named(digest, known, noun="bundle", what="bundle", next="muster train")
        row = db.execute(query.where(bundles.c.digest == whole)).one()
    return _bundle(row)


def read_bundles(db: Connection) -> list[Bundle]:
    """Every bundle, latest first."""
    return [_bundle(row) for row in db.execute(select(bundles).order_by(bundles.c.n.desc()))]


def _bundle(row: Row[tuple[Any, ...]]) -> Bundle:
    return Bundle(**{k: v for k, v in row._asdict().items() if k != "n"})


def report_bytes(report: Report) -> bytes:
    """A report as it is kept, in the catalog and in ``report.json``."""
    return canonical_json(to_plain(report))


def add_report(db: Connection, report: Report, record: bytes | None = None) -> str:
    """Write a report; returns its digest. `record` is its `report_bytes`, where they are at hand."""
    record = report_bytes(report) if record is None else record
    digest = sha256_hex(record)
    if db.execute(select(reports.c.n).where(reports.c.digest == digest)).first() is None:
        db.execute(
            insert(reports).values(
                digest=digest,
                bundle=report.bundle,
                snapshot=report.snapshot,
                created=report.created,
                record=record.decode(),
            )
        )
    return digest


def read_report(db: Connection, bundle: str) -> tuple[str, Report] | None:
    """Digest and record of the latest report on a bundle, or None."""
    row = db.execute(select(reports).where(reports.c.bundle == bundle).order_by(reports.c.n.desc()).limit(1)).first()
    return (row.digest, from_plain(Report, json.loads(row.record))) if row else None


def find_report(db: Connection, bundle: str = "") -> Report:
    """The latest report on the bundle whose digest starts with `bundle`; of all, the latest, when empty.

    Raises
    ------
    NotFoundError
        ``report.none``, ``bundle.none``.
    UsageError
        ``bundle.ambiguous`` when several do.
    """
    digest = read_bundle(db, bundle).digest if bundle else ""
    query = select(reports.c.bundle).order_by(reports.c.n.desc()).limit(1)
    found = read_report(db, digest or db.execute(query).scalar() or "")
    if found is None:
        raise NotFoundError("report.none", "no report so far", value=digest[:12] or None, next="muster evaluate")
    return found[1]


def add_verdict(db: Connection, verdict: Verdict, envelope: str) -> None:
    """Write a verdict with its signed envelope (DSSE JSON)."""
    db.execute(
        insert(verdicts).values(
            bundle=verdict.bundle, report=verdict.report, outcome=verdict.outcome, created=verdict.created,
            record=canonical_json(to_plain(verdict)).decode(), envelope=envelope,
        )
    )  # fmt: skip


def read_verdict(db: Connection, bundle: str) -> tuple[Verdict, str] | None:
    """The latest verdict on a bundle and its envelope, or None."""
    row = db.execute(select(verdicts).where(verdicts.c.bundle == bundle).order_by(verdicts.c.n.desc()).limit(1)).first()
    return (from_plain(Verdict, json.loads(row.record)), row.envelope) if row else None


def add_release(db: Connection, release: Release) -> None:
    """Write a release."""
    db.execute(insert(releases).values(**to_plain(release)))


def read_releases(db: Connection) -> list[Release]:
    """Every release, latest first."""
    query = select(releases).order_by(releases.c.n.desc())
    return [Release(**{k: v for k, v in row._asdict().items() if k != "n"}) for row in db.execute(query)]


def read_release(db: Connection, name: str = "") -> Release:
    """The release whose id or bundle digest starts with `name`; the latest when empty, or of that bundle.

    Raises
    ------
    NotFoundError
        ``release.none``.
    UsageError
        ``release.ambiguous`` when several do.
    """
    every = read_releases(db)
    if every and not name:
        return every[0]
    known = [word for release in every for word in (release.id, release.bundle)]
    found = the_one_named(name, known, noun="release", what="release", next="muster release")
    return next(release for release in every if found in (release.id, release.bundle))


def held_since(db: Connection, release: Release) -> Release | None:
    """The latest release of the same bundle, if it came after `release` and its verdict was HOLD."""
    latest = read_release(db, release.bundle)
    return latest if latest.id != release.id and latest.verdict == "HOLD" else None


def read_channels(db: Connection) -> dict[str, Channel]:
    """Channels that point at a release, by name."""
    return {r.name: _channel(r) for r in db.execute(select(channels).where(channels.c.release != ""))}


def channel_generations(db: Connection) -> int:
    """Sum of all generations: a server reloads when it grows."""
    return sum(db.execute(select(channels.c.generation)).scalars())


def previous_release(db: Connection, channel: str) -> str:
    """The last release of another bundle that a channel pointed at; "" when none. A release that only signed the same
    bundle again is no way back: it gives the same answers."""
    return db.execute(select(channels.c.previous).where(channels.c.name == channel)).scalar() or ""


def _channel(row: Row[tuple[Any, ...]]) -> Channel:
    return Channel(**{k: v for k, v in row._asdict().items() if k != "previous"})


def point_channel(
    act: Act,
    name: str,
    release: Release | None,
    *,
    share: float = 1.0,
    mode: str = "normal",
    expires: str = "",
) -> Channel:
    """Point a channel at a release (None: at nothing) or change its mode; its generation grows by one.

    The caller's act is the ledger event that says why; the row goes into its payload, so that `verify` can compare.
    """
    old = act.db.execute(select(channels).where(channels.c.name == name)).first()
    target, bundle = (release.id, release.bundle) if release else ("", "")
    previous = "" if old is None else (old.release if old.bundle != bundle else old.previous)
    values = {
        "release": target, "bundle": bundle, "generation": 1 if old is None else old.generation + 1,
        "share": share, "mode": mode, "expires": expires, "updated": now(), "previous": previous,
    }  # fmt: skip
    if old is None:
        act.db.execute(insert(channels).values(name=name, **values))
    else:
        act.db.execute(update(channels).where(channels.c.name == name).values(**values))
    act.payload.setdefault("channels", []).append({"name": name, **values})
    return Channel(
        name=name, release=target, bundle=bundle, generation=int(str(values["generation"])), share=share,
        mode=mode, expires=expires, updated=str(values["updated"]),  # type: ignore[arg-type]
    )  # fmt: skip
