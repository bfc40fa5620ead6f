"""The tables of the catalog, which is also the ledger: one database, so that an act and its event commit together."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Integer, LargeBinary, MetaData, String, Table

VERSION = 2
metadata = MetaData()


def _text(name: str, **options: object) -> Column[str]:
    return Column(name, String, nullable=False, **options)  # type: ignore[arg-type]


meta = Table("meta", metadata, _text("key", primary_key=True), _text("value"))

events = Table(
    "events",
    metadata,
    Column("seq", Integer, primary_key=True),
    _text("at"),
    _text("kind"),
    _text("actor"),
    _text("payload"),  # canonical JSON
    _text("previous"),
    _text("hash"),
)

items = Table(
    "items",
    metadata,
    Column("n", Integer, primary_key=True),  # order of arrival
    _text("key", unique=True),
    _text("id"),
    _text("digest"),
    _text("blob"),
    Column("n_bytes", Integer, nullable=False),
    _text("source"),
    _text("status"),
    _text("reason"),
    _text("given_split"),
    _text("subject"),
    _text("at"),
    _text("groups"),  # JSON
    Index("items_digest", "digest"),
)

labels = Table(
    "labels",
    metadata,
    Column("n", Integer, primary_key=True),
    _text("key"),
    _text("label"),
    _text("who"),
    _text("at"),
    _text("role"),
    Column("weight", Float, nullable=False),
    Index("labels_key", "key"),
)

# Draws of test items to be labelled, and with which chance each item was drawn. Chance 0: held out of that draw.
draws = Table(
    "draws",
    metadata,
    Column("n", Integer, primary_key=True),
    _text("snapshot"),
    _text("at"),
    Column("n_population", Integer, nullable=False),
    Column("labels_read", Integer, nullable=False),  # label facts there were when it was drawn
)

drawn_items = Table(
    "drawn_items",
    metadata,
    Column("draw", Integer, primary_key=True),
    _text("key", primary_key=True),
    Column("chance", Float, nullable=False),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("n", Integer, primary_key=True),
    _text("digest", unique=True),
    _text("parent"),
    _text("created"),
    _text("record"),  # Snapshot as JSON
)

snapshot_items = Table(
    "snapshot_items",
    metadata,
    _text("snapshot", primary_key=True),
    Column("position", Integer, primary_key=True),
    _text("key"),
    _text("split"),
    _text("twins"),  # items that must stay together share this; "" for singles
    _text("salt"),  # erased when the item is forgotten
    _text("commitment"),  # SHA-256 of salt, key, digest, blob and split
    Index("snapshot_items_key", "key"),
)

findings = Table(
    "findings",
    metadata,
    Column("n", Integer, primary_key=True),
    _text("snapshot"),
    _text("kind"),
    _text("severity"),
    _text("record"),
    Index("findings_snapshot", "snapshot"),
)

runs = Table(
    "runs",
    metadata,
    _text("id", primary_key=True),
    _text("kind"),
    _text("status"),  # running, done, failed
    _text("started"),
    _text("ended"),
    _text("snapshot"),
    _text("record"),  # arguments and results, JSON
)

bundles = Table(
    "bundles",
    metadata,
    Column("n", Integer, primary_key=True),
    _text("digest", unique=True),
    _text("snapshot"),
    _text("run"),
    _text("path"),
    _text("created"),
    _text("origin"),
)

reports = Table(
    "reports",
    metadata,
    Column("n", Integer, primary_key=True),
    _text("digest", unique=True),  # SHA-256 of the canonical JSON
    _text("bundle"),
    _text("snapshot"),
    _text("created"),
    _text("record"),
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("n", Integer, primary_key=True),
    _text("bundle"),
    _text("report"),
    _text("outcome"),
    _text("created"),
    _text("record"),
    _text("envelope"),  # signed DSSE JSON
)

releases = Table(
    "releases",
    metadata,
    Column("n", Integer, primary_key=True),
    _text("id", unique=True),
    _text("bundle"),
    _text("verdict"),
    _text("path"),
    _text("created"),
    _text("override"),
)

channels = Table(
    "channels",
    metadata,
    _text("name", primary_key=True),
    _text("release"),  # "" when the channel points at nothing
    _text("bundle"),
    Column("generation", Integer, nullable=False),
    Column("share", Float, nullable=False),
    _text("mode"),
    _text("expires"),
    _text("updated"),
    _text("previous"),  # the release before this one
)

incidents = Table(
    "incidents",
    metadata,
    _text("id", primary_key=True),
    _text("opened"),
    _text("closed"),
    _text("record"),
)

cursors = Table(
    "cursors",
    metadata,
    _text("name", primary_key=True),
    _text("position"),
    Column("state", LargeBinary, nullable=False),
)

# Predictions whose label has been counted by the watch, so that each counts once.
watched_labels = Table("watched_labels", metadata, _text("prediction", primary_key=True), sqlite_with_rowid=False)

seal_openings = Table(
    "seal_openings",
    metadata,
    Column("n", Integer, primary_key=True),
    _text("snapshot"),
    _text("purpose"),
    Column("counted", Integer, nullable=False),
    _text("at"),
    _text("policy"),
)
