"""Release a bundle: evaluate it where its evidence is not of today, judge it by the policy, sign what was found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from passmuster.core.config import Config
from passmuster.core.digests import sha256_hex
from passmuster.core.progress import Progress, Silent
from passmuster.core.records import Bundle, Item, Release, Verdict
from passmuster.core.settings import changed_settings
from passmuster.flows.dead_live import waits_for_live, way_past
from passmuster.store import ledger
from passmuster.store.items import read_items, read_labels
from passmuster.store.releases import read_bundle, read_channels, read_report
from passmuster.store.snapshots import read_placement, read_snapshot
from passmuster.store.store import Store


@dataclass(frozen=True)
class ReleaseResult:
    """A signed release with its verdict. `evaluated` is why it was evaluated first, "" when its report was of today.

    `n_unlabelled` test items are left that could be labelled to know more.
    """

    release: Release
    verdict: Verdict
    n_test: int
    n_unlabelled: int
    evaluated: str
    path: Path
    page: Path | None = None  # the report with the verdict on it
    origin: str = "trained"  # or imported
    past_live: str = ""  # the command past a live release that does not open, where gates could not compare with it

    @property
    def shipped(self) -> bool:
        """Whether the verdict is SHIP."""
        return self.verdict.outcome == "SHIP"


def release(store: Store, bundle: str = "", *, progress: Progress | None = None) -> ReleaseResult:
    """Evaluate if needed, judge, and sign; HOLD and INSUFFICIENT are signed too and returned, not raised.

    Raises
    ------
    NotFoundError
        ``bundle.none``.
    IntegrityError, ResourceError
        As `passmuster.stages.release.sign`.
    UsageError
        ``gate.unknown``, ``policy.parameter``: before the test is opened.
    """
    from passmuster.metrics.gates import chosen_gates
    from passmuster.stages.release import judge, sign
    from passmuster.stages.release.page import write_verdict_page

    progress = progress or Silent()
    chosen_gates(store.config.policy)
    with store.lock("release"):
        with store.read() as db:
            chosen = read_bundle(db, bundle)
            why = why_again(db, store, chosen)
        if why:
            from passmuster.stages.evaluate import evaluate

            progress.say(f"evaluating {chosen.digest[:16]}: {why}")
            evaluate(store, chosen.digest, progress=progress)
        verdict = judge(store, chosen.digest)
        signed = sign(store, verdict)
        page = write_verdict_page(store, signed, verdict)
    with store.read() as db:
        found = read_report(db, chosen.digest)
        n_unlabelled = unlabelled_test_items(db)
        past = way_past(store, db) if waits_for_live(verdict) else ""
    n_test = found[1].n_test if found else 0
    path = store.bundle_folder(chosen.path)
    return ReleaseResult(signed, verdict, n_test, n_unlabelled, why, path, page, chosen.origin, past)


def unlabelled_test_items(db: Connection) -> int:
    """How many items of the latest test split have no label yet; how many, not which, so that no seal is opened."""
    labels = read_labels(db, role="test")
    placed = read_placement(db, read_snapshot(db))
    return sum(split == "test" and key not in labels for key, (split, _) in placed.items())


def why_again(db: Connection, store: Store, bundle: Bundle) -> str:
    """Why a bundle is to be evaluated (again) before it is judged; "" when its latest report will do."""
    return (
        why_evaluate(db, bundle, store.config)
        or why_tests_changed(db, store, bundle)
        or why_live_compares(db, store, bundle)
    )


def why_evaluate(db: Connection, bundle: Bundle, config: Config) -> str:
    """Why a bundle's latest report is not the evidence of today; "" when it is."""
    found = read_report(db, bundle.digest)
    if found is None:
        return "it has no report"
    report = found[1]
    live = read_channels(db).get("live")
    if live is not None and live.bundle not in (report.incumbent, bundle.digest):
        return f"the live release is now {live.release}"
    placed = read_placement(db, read_snapshot(db))
    labels = read_labels(db, role="test")
    in_test = {key for key, (split, _) in placed.items() if split == "test"}
    fresh = [key for key, label in labels.items() if label.at > report.created and key in in_test]
    if fresh:
        return f"{len(fresh):,} test labels are newer than its report"
    read = [e for e in ledger.read(db, kind="data.add") if e.payload.get("n_grouped_test") and e.at > report.created]
    if read and config.data.group_columns:
        return "groups of test items were read since its report"
    kept: Any = report.sections.get("settings") or {}
    changed = changed_settings(kept, config)
    return f"since its report something else is said of {changed}" if changed else ""


def why_tests_changed(db: Connection, store: Store, bundle: Bundle) -> str:
    """Why the team's own behaviour tests are not those that the bundle's latest report asked; "" when they are."""
    found, name = read_report(db, bundle.digest), store.config.evaluate.behaviour
    if found is None or not name:
        return ""
    path = store.folder / name
    asked = (found[1].sections.get("behaviour") or {}).get("sha256", "")
    current = sha256_hex(path.read_bytes()) if path.is_file() else ""
    return "" if current == asked else f"{name} is not what its report asked"


def why_live_compares(db: Connection, store: Store, bundle: Bundle) -> str:
    """Why a report that could not compare with the live release can be made again; "" where it compared, or the live
    release still does not open, or is another or none."""
    found, live = read_report(db, bundle.digest), read_channels(db).get("live")
    if found is None or live is None or live.bundle != found[1].incumbent or not found[1].unopened:
        return ""
    from passmuster.stages.evaluate.live import opens

    return "the live release opens again" if opens(store, read_bundle(db, live.bundle)) else ""


def what_would_happen(store: Store, bundle: str = "") -> list[str]:
    """What `release` would do, in plain words."""
    from passmuster.metrics.gates import chosen_gates

    chosen_gates(store.config.policy)
    with store.read() as db:
        chosen = read_bundle(db, bundle)
        why = why_again(db, store, chosen)
    first = f"would evaluate {chosen.digest[:16]}: {why}" if why else "would judge the report that is there"
    gates = ", ".join(store.config.policy.gates)
    return [first, f"would judge by {gates} and sign {store.bundle_folder(chosen.path)}"]


def shown_twins(store: Store, bundle: str, limit: int = 3) -> list[str]:
    """Pairs of copies on both sides of the split, side by side, as far as the report names them."""
    from passmuster.metrics.gates.leakage import pair_key

    with store.read() as db:
        found = read_report(db, bundle)
        data = found[1].sections.get("data", {}) if found else {}
        pairs = list(data.get("leakage") or [])[:limit]
        lines = []
        for pair in pairs:
            items = read_items(db, keys=[pair_key(pair, "train"), pair_key(pair, "test")])
            if len(items) == 2:
                lines += [f"    train {preview(store, items[0])}", f"    test  {preview(store, items[1])}", ""]
    return ["  twins that leak from training into the test:", *lines] if lines else []


def preview(store: Store, item: Item) -> str:
    """An item's id, and the beginning of a text."""
    if store.config.project.modality != "text":
        return item.id
    text = " ".join(store.blobs.get(item.blob).decode("utf-8", "replace").split())
    return f"{item.id}: {text[:90]}"
