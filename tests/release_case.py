"""A project that is ready for release, made by hand: items, a sealed test, labels, a bundle and a report on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from passmuster.core.clock import now
from passmuster.core.config import Policy
from passmuster.core.config_file import render_config
from passmuster.core.digests import canonical_json, merkle_root, sha256_hex
from passmuster.core.records import Bundle, Item, Label, Metric, Report, Snapshot
from passmuster.core.statistics import wilson
from passmuster.runtime.bundle import write_bundle
from passmuster.runtime.engine import EngineChoice
from passmuster.store.items import add_items, add_labels
from passmuster.store.releases import add_bundle, add_report
from passmuster.store.seal import open_test
from passmuster.store.snapshots import add_snapshot, commit_items
from passmuster.store.store import Store

CLASSES = ("no", "yes")


def item(store: Store, name: str, blob: str) -> Item:
    """A kept text item."""
    return Item(store.keyed(name.encode()), name, store.keyed(blob.encode()), blob, 10, "made")


def add_data(store: Store, n_train: int = 20, n_test: int = 40, n_test_labels: int | None = None) -> Snapshot:
    """Items in train and test, committed as a snapshot; every test item labelled, or the first so many."""
    names = [*(f"train-{i}" for i in range(n_train)), *(f"test-{i}" for i in range(n_test))]
    blobs = store.blobs.put_many([f"text of {name}".encode() for name in names])
    items = [item(store, name, blob) for name, blob in zip(names, blobs, strict=True)]
    root, rows = commit_items([(i, "train" if i.id.startswith("train") else "test", "") for i in items])
    snapshot = Snapshot(
        digest=sha256_hex(canonical_json({"root": root, "labels": n_train})), parent="", created=now(), modality="text",
        classes=CLASSES, n_items={"train": n_train, "test": n_test}, n_labels={"train": n_train}, labels_read=n_train,
    )  # fmt: skip
    with store.act("data.add") as act:
        add_items(act.db, items)
        add_labels(act.db, [Label(i.key, "yes", "ana", now(), "train") for i in items[:n_train]])
        add_snapshot(act.db, snapshot, rows)
        facts = sorted([i.key, "yes", "train"] for i in items[:n_train])
        labels_root = merkle_root([sha256_hex(canonical_json(fact)) for fact in facts])
        act.payload.update(snapshot=snapshot.digest, root=root, labels_root=labels_root)
    label_test(store, items[n_train:][: n_test if n_test_labels is None else n_test_labels])
    return snapshot


def label_test(store: Store, items: Sequence[Item]) -> None:
    """Say of these items, for evidence, that they are "yes"."""
    with store.act("label.add") as act:
        add_labels(act.db, [Label(i.key, "yes", "ana", now(), "test") for i in items])


def add_model(store: Store, snapshot: Snapshot, weights: bytes = b"weights") -> Bundle:
    """An unsigned bundle, as training leaves it; the graph is not one that runs."""
    digest, path = write_bundle(
        store.bundles_folder, modality="text", classes=CLASSES, snapshot=snapshot.digest, run="run-1", rung="rung.v1",
        head={"kind": "logistic.v1"}, engine=EngineChoice(), encoder_key="0" * 32, graph=weights,
        preprocess={"schema": 1, "modality": "text", "steps": []}, assets={},
        guard={"novelty_threshold": np.zeros(1)}, reference={"n": 0}, policy_toml=render_config(store.config),
    )  # fmt: skip
    bundle = Bundle(digest, snapshot.digest, "run-1", f".muster/bundles/{path.name}", now())
    with store.act("train.done") as act:
        add_bundle(act.db, bundle)
        act.payload["bundle"] = digest
    return bundle


def add_evidence(
    store: Store, snapshot: Snapshot, bundle: Bundle, *, n: int = 400, n_right: int = 380, open_seal: bool = True,
    incumbent: str = "", versions: tuple[int, int] = (0, 0), **changed: Any,
) -> Report:  # fmt: skip
    """Open the seal and leave a report; `versions` are the answers that got better and worse than the incumbent's."""
    look = open_test(store, snapshot, "evaluate").look if open_seal else 1
    report = make_report(n=n, n_right=n_right, incumbent=incumbent, versions=versions)
    report = replace(report, bundle=bundle.digest, snapshot=snapshot.digest, created=now(), look=look, **changed)
    with store.act("evaluate.done") as act:
        add_report(act.db, report)
        act.payload["bundle"] = bundle.digest
    return report


def make_report(
    *, n: int = 400, n_right: int = 380, ece: float = 0.03, incumbent: str = "", versions: tuple[int, int] = (0, 0),
    faults: Mapping[str, int] | None = None, twins: Sequence[Mapping[str, str]] = (), agreement: float = 1.0,
    n_parity: int = 200, mce: float = 1.0,
) -> Report:  # fmt: skip
    """A report with every number that the gates read; cases and right answers are shared by both classes."""
    accuracy = rate("accuracy", n_right, n)
    of_sets = rate("item_f1", n_right, n)
    recalls = [
        replace(rate("recall", right, cases), slice=f"class={name}")
        for name, right, cases in zip(CLASSES, (n_right - n_right // 2, n_right // 2), (n - n // 2, n // 2))
    ]
    half = 0.4 / max(1, n) ** 0.5
    calibration = Metric("ece", ece, max(0.0, ece - half), ece + half, n, "", "", "", "bootstrap")
    corrupted = [
        replace(rate("accuracy", right, n), slice=f"corruption={name} severity=3")
        for name, right in (faults or {"blur.v1": n_right}).items()
    ]
    beside = Metric("mce", mce, mce * (1 - half), mce * (1 + half), n, "ratio", "", "", "bootstrap")
    behaviour = replace(rate("behaviour_failure_rate", n - n_right, n), slice="test=negation kind=MFT")
    attacked = replace(rate("robust_accuracy", n_right, n), slice="strength=2")
    by_group = [
        replace(recall, name="group_accuracy", slice=f"region={group}")
        for recall, group in zip(recalls, ("north", "south"))
    ]
    gap = (n - n_right) / max(1, n)
    kinds = ("group_accuracy_gap", "equalised_odds_gap")
    gaps = [Metric(kind, gap, max(0.0, gap - half), gap + half, n, "rate", "region") for kind in kinds]
    untold = [{"kind": kind, "untold": [] if n >= 40 else ["north"]} for kind in kinds]
    better, worse = versions
    sections: dict[str, Any] = {
        "data": {"findings": [], "leakage": list(twins)},
        "parity": {
            "n": n_parity,
            "agreement": agreement,
            "max_abs_difference": 0.0,
            "mean_shift": 1 - agreement,
            "n_guard": n_parity,
            "guard_shift": 0.0,
            "threshold_shift": 0.0,
        },
        "marks": {"n": 200, "why": "", "found": []},
        "test_labels": {
            "n": n,
            "n_wrong": n - n_right,
            "log_chance": 0.0,
            "confidence": 0.9,
            "confidence_rest": 0.9,
            "n_rest": 0,
            "p_easier": 1.0,
            "absent": [],
            "left_out": None,
        },
        "unknown": ["how it does on other texts"],
        "groups": {"columns": [{"column": "region", "gaps": untold}]},
    }
    dear = n - n_right  # a wrong answer costs 2
    paid = [priced("expected_cost", dear, n)]
    sections["prediction_sets"] = {"target": 0.9, "n_calibration": 200}
    sections["promised_risk"] = {"max_risk": 0.1, "reached": True}
    promised = [
        rate("set_coverage", n_right, n), rate("promised_risk", n - n_right, n), rate("promised_share", n, n)
    ]  # fmt: skip
    sections["costs"] = {"applies": True, "largest": 2.0}
    if incumbent:
        both = max(0, n_right - better)
        counts = {"both_right": both, "only_candidate": better, "only_incumbent": worse}
        sections["versions"] = {
            "incumbent": incumbent, "n": n, **counts, "both_wrong": n - both - better - worse, "p_mcnemar": 1.0,
            "changed": [],
            "classes": [
                {
                    "class": name, "n": n - n // 2, "worse": worse - worse // 2, "better": better // 2, "rise": 0.0,
                    "p_rise": 0.5, "seen": n / 2, "expected": n / 2, "expected_live": n / 2, "p_expected": 0.5,
                }
                for name in CLASSES
            ],
            "log_loss": {"n": n, "rise": 0.0, "p": 0.5},
            "guard": {
                "n": n, "withheld_more": 0, "withheld_less": 0, "n_strange": 60, "missed": 0, "noticed": 0,
                "set_size": 1.0, "set_size_live": 1.0, "p_size": 0.5,
            },
        }  # fmt: skip
        paid += [priced(name, k, n, "against=live") for name, k in (("cost_added", worse), ("cost_saved", better))]
    return Report(
        bundle="b" * 64, snapshot="s" * 64, created="2026-01-01T00:00:00.000000+00:00", modality="text",
        classes=CLASSES, n_test=n, look=1, item_sets={},
        metrics=(
            accuracy, of_sets, *recalls, *by_group, *gaps, calibration, beside, behaviour, attacked, *corrupted, *paid,
            *promised,
        ),
        sections=sections, incumbent=incumbent,
    )  # fmt: skip


def rate(name: str, n_right: int, n: int) -> Metric:
    """A rate with Wilson's interval, as evaluate writes it."""
    found = wilson(n_right, n)
    return Metric(name, found.value if n else 0.0, found.low, found.high, n, "rate", "", "", found.method)


def priced(name: str, n_paid: int, n: int, where: str = "") -> Metric:
    """A mean cost, where `n_paid` items cost 2 and the others nothing."""
    found = rate(name, n_paid, n)
    doubled = {"value": 2 * found.value, "low": 2 * found.low, "high": 2 * found.high}
    return replace(found, **doubled, unit="EUR per item", slice=where)


@dataclass(frozen=True)
class Case:
    """A project with one evaluated bundle."""

    store: Store
    snapshot: Snapshot
    bundle: Bundle
    report: Report


def ready(store: Store, *, n: int = 400, n_right: int = 380) -> Case:
    """Data, a bundle, and a report on it."""
    snapshot = add_data(store)
    bundle = add_model(store, snapshot)
    return Case(store, snapshot, bundle, add_evidence(store, snapshot, bundle, n=n, n_right=n_right))


def with_policy(store: Store, policy: Policy) -> Store:
    """The same project after somebody edited its policy."""
    config = replace(store.config, policy=policy)
    (store.folder / "muster.toml").write_text(render_config(config))
    return Store.open(store.folder)
