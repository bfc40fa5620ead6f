"""Release: the verdict on the evidence of today, a signature over every file, and channels that move for a reason."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

import release_case as case
from passmuster.core.config import Policy
from passmuster.core.digests import file_sha256_hex
from passmuster.core.errors import HeldError, IntegrityError, MusterError, NotFoundError, ResourceError, UsageError
from passmuster.core.records import Event, Finding, Release
from passmuster.core.settings import settings_of
from passmuster.runtime.bundle import open_bundle
from passmuster.runtime.signature import check_signature
from passmuster.stages.release import approve, check_signed, judge, problems_of, rollback, sign
from passmuster.stages.release.card import model_card
from passmuster.stages.release.page import write_verdict_page
from passmuster.store import keys, ledger
from passmuster.store.items import read_items, read_labels
from passmuster.store.releases import point_channel, read_bundle, read_channels, read_releases, read_verdict
from passmuster.store.seal import count_looks
from passmuster.store.snapshots import add_snapshot, commit_items
from passmuster.store.store import Store


def events(store: Store, kind: str = "") -> list[Event]:
    with store.read() as db:
        return list(ledger.read(db, kind=kind or None))


def released(store: Store, weights: bytes = b"weights", **evidence: object) -> Release:
    """A new bundle with evidence of its own, judged and signed."""
    with store.read() as db:
        known = read_releases(db)
    snapshot = case.add_data(store) if not known else SNAPSHOTS[store.folder]
    SNAPSHOTS[store.folder] = snapshot
    bundle = case.add_model(store, snapshot, weights)
    case.add_evidence(store, snapshot, bundle, **evidence)  # type: ignore[arg-type]
    return sign(store, judge(store, bundle.digest))


SNAPSHOTS: dict[Path, case.Snapshot] = {}


def folder_of(store: Store, release: Release) -> Path:
    return store.bundle_folder(release.path)


# --- the verdict


def test_good_evidence_ships_and_is_signed_in_one_act(new_store) -> None:
    made = case.ready(new_store())
    before = len(events(made.store))
    release = sign(made.store, judge(made.store))
    assert release.verdict == "SHIP"
    new = events(made.store)[before:]
    assert [event.kind for event in new] == ["release.sign"]
    assert new[0].payload["signature"] == file_sha256_hex(folder_of(made.store, release) / "signature.dsse.json")


def test_a_bundle_without_a_report_is_not_judged(new_store) -> None:
    store = new_store()
    bundle = case.add_model(store, case.add_data(store))
    with pytest.raises(NotFoundError, match="muster evaluate"):
        judge(store, bundle.digest)


@pytest.mark.parametrize(("n", "n_right", "outcome"), [(40, 36, "INSUFFICIENT"), (400, 200, "HOLD")])
def test_every_verdict_is_signed(new_store, n: int, n_right: int, outcome: str) -> None:
    made = case.ready(new_store(), n=n, n_right=n_right)
    release = sign(made.store, judge(made.store))
    assert release.verdict == outcome
    signed = check_signed(folder_of(made.store, release), keys.public_key(made.store.keys_folder))
    assert signed.verdict.outcome == outcome
    with made.store.read() as db:
        assert read_verdict(db, made.bundle.digest)[0] == signed.verdict


def test_a_verdict_against_another_incumbent_is_refused(new_store) -> None:
    store = new_store()
    first = released(store, b"one")
    approve(store, first.id)
    bundle = case.add_model(store, SNAPSHOTS[store.folder], b"two")
    case.add_evidence(store, SNAPSHOTS[store.folder], bundle)
    with pytest.raises(HeldError) as caught:
        judge(store, bundle.digest)
    assert caught.value.code == "report.stale"


def test_a_policy_edited_after_the_test_was_opened_is_an_event_and_in_the_verdict(new_store) -> None:
    made = case.ready(new_store())
    assert judge(made.store).notes == ()
    store = case.with_policy(made.store, replace(made.store.config.policy, gates={"accuracy.v1": {"min": 0.7}}))
    verdict = judge(store)
    assert "the policy was edited after the test set was opened" in verdict.notes[0]
    judge(store)
    assert len(events(store, "policy.changed")) == 1
    assert verdict.policy == store.config.policy.digest()


def test_evaluating_again_under_the_new_policy_does_not_hide_the_edit(new_store) -> None:
    made = case.ready(new_store())
    store = case.with_policy(made.store, replace(made.store.config.policy, alpha=0.06))
    case.add_evidence(store, made.snapshot, made.bundle)
    assert judge(store).notes


def test_looks_add_up_over_bundles_and_dataset_versions(new_store) -> None:
    store = new_store()
    snapshot = case.add_data(store, n_test=10)
    for i in range(5):
        report = case.add_evidence(store, snapshot, case.add_model(store, snapshot, b"%d" % i))
    with store.read() as db:
        assert count_looks(db, report.snapshot, report.created) == pytest.approx(5)
    assert judge(store).outcome == "SHIP"
    case.add_evidence(store, snapshot, case.add_model(store, snapshot, b"6"))
    verdict = judge(store)
    assert (verdict.outcome, verdict.look) == ("INSUFFICIENT", 6)


def test_fresh_test_labels_make_old_looks_count_less(new_store) -> None:
    store = new_store()
    snapshot = case.add_data(store, n_test=40, n_test_labels=10)
    bundle = case.add_model(store, snapshot)
    for _ in range(4):
        case.add_evidence(store, snapshot, bundle)
    with store.read() as db:
        rest = [item for item in read_items(db) if item.id.startswith("test")][10:]
    case.label_test(store, rest)
    report = case.add_evidence(store, snapshot, bundle)
    with store.read() as db:
        assert count_looks(db, report.snapshot, report.created) == pytest.approx(4 * 10 / 40 + 1)


def test_every_paper_names_the_same_look_also_after_a_new_dataset_version(new_store) -> None:
    store = new_store()
    snapshot = case.add_data(store)
    for i in range(2):
        case.add_evidence(store, snapshot, case.add_model(store, snapshot, b"%d" % i))
    with store.read() as db:
        items = read_items(db)
    placed = [(item, "train" if item.id.startswith("train") else "test", "") for item in items]
    root, rows = commit_items(placed)
    child = replace(snapshot, digest="c" * 64, parent=snapshot.digest)
    with store.act("label.add") as act:
        add_snapshot(act.db, child, rows)
        act.payload.update(snapshot=child.digest, root=root)
    bundle = case.add_model(store, child, b"3")
    report = case.add_evidence(store, child, bundle)
    verdict = judge(store, bundle.digest)
    card = (folder_of(store, sign(store, verdict)) / "card.md").read_text()
    assert (report.look, verdict.look, "look 3 at these labels" in card) == (3, 3, True)


# --- the signature


def test_signing_the_same_again_changes_nothing(new_store) -> None:
    made = case.ready(new_store())
    first = sign(made.store, judge(made.store))
    before = len(events(made.store))
    assert sign(made.store, judge(made.store)) == first
    assert len(events(made.store)) == before


def test_signing_on_new_evidence_is_a_new_release_and_the_old_name_is_refused(new_store) -> None:
    made = case.ready(new_store(), n=40, n_right=36)
    old = sign(made.store, judge(made.store))
    case.add_evidence(made.store, made.snapshot, made.bundle)
    new = sign(made.store, judge(made.store))
    assert (old.verdict, new.verdict) == ("INSUFFICIENT", "SHIP")
    with pytest.raises(HeldError) as caught:
        approve(made.store, old.id)
    assert caught.value.code == "approve.superseded"
    assert approve(made.store, new.id).release == new.id


def test_the_server_accepts_what_was_signed(new_store) -> None:
    made = case.ready(new_store())
    release = sign(made.store, judge(made.store))
    check_signature(open_bundle(folder_of(made.store, release)), keys.public_key(made.store.keys_folder))


def test_the_card_says_what_and_how_sure_and_names_no_item(new_store) -> None:
    made = case.ready(new_store())
    release = sign(made.store, judge(made.store))
    card = (folder_of(made.store, release) / "card.md").read_text()
    for words in ("**SHIP**", "| accuracy.v1 | passed |", "0.950", "how it does on other texts", "muster verify"):
        assert words in card
    assert "test-1" not in card


def test_the_card_shows_names_as_they_are_whatever_they_hold(new_store) -> None:
    made = case.ready(new_store())
    nasty = "**x**|<script>alert(1)</script>\n# Approved [by](http://x) `all` & you"
    report = replace(made.report, sections={**made.report.sections, "unknown": [nasty]})
    snapshot = replace(made.snapshot, terms=nasty)
    verdict = judge(made.store)
    first = replace(verdict.gates[0], reason=nasty)
    verdict = replace(verdict, notes=(nasty,), gates=(first, *verdict.gates[1:]))
    manifest = open_bundle(made.store.bundle_folder(made.bundle.path)).manifest
    manifest = replace(manifest, classes=(nasty, "no"))
    release = Release("r1", made.bundle.digest, "SHIP", "p", "now")
    card = model_card(release, verdict, report, snapshot, [Finding("kind", "info", nasty)], manifest)
    assert card.count("alert(1)") == 0
    assert card.count("&lt;script&gt;alert\\(1\\)&lt;/script&gt;") == 6
    assert "<" not in card
    assert [line for line in card.splitlines() if line.startswith("# ")] == ["# Model card: r1"]
    assert "| accuracy.v1 | passed | \\*\\*x\\*\\*\\|&lt;" in card


EVERY_FILE = [
    "manifest.json", "graphs/model.onnx", "preprocess.json", "head.json", "guard.npz", "reference.json", "policy.toml",
    "report.json", "card.md", "checkpoint.json", "verdict.dsse.json", "signature.dsse.json",
]  # fmt: skip


@pytest.mark.parametrize("name", EVERY_FILE)
def test_one_changed_byte_of_any_file_is_found_and_named(new_store, name: str) -> None:
    made = case.ready(new_store())
    release = sign(made.store, judge(made.store))
    path = folder_of(made.store, release) / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    found = problems_of(path.parents[name.count("/")], keys.public_key(made.store.keys_folder))
    assert any(name in problem for problem in found), found
    with pytest.raises(IntegrityError) as caught:
        approve(made.store)
    assert caught.value.exit_code == 9
    with made.store.read() as db:
        assert read_channels(db) == {}


@pytest.mark.parametrize("name", EVERY_FILE)
def test_a_missing_file_is_found(new_store, name: str) -> None:
    made = case.ready(new_store())
    release = sign(made.store, judge(made.store))
    (folder_of(made.store, release) / name).unlink()
    assert problems_of(folder_of(made.store, release), keys.public_key(made.store.keys_folder))
    with pytest.raises(MusterError):
        approve(made.store)


def test_an_added_file_is_found(new_store) -> None:
    made = case.ready(new_store())
    release = sign(made.store, judge(made.store))
    (folder_of(made.store, release) / "extra.txt").write_text("x")
    found = problems_of(folder_of(made.store, release), keys.public_key(made.store.keys_folder))
    assert found == ["extra.txt was added and is not signed"]


def test_a_signature_of_another_project_is_refused(new_store, tmp_path: Path) -> None:
    made = case.ready(new_store())
    release = sign(made.store, judge(made.store))
    keys.create_keys(tmp_path / "other")
    with pytest.raises(IntegrityError) as caught:
        check_signed(folder_of(made.store, release), keys.public_key(tmp_path / "other"))
    assert caught.value.code == "signature.key"


def test_a_verdict_taken_from_another_bundle_is_found(new_store) -> None:
    store = new_store()
    good, bad = released(store, b"good"), released(store, b"bad", n_right=100)
    taken = (folder_of(store, good) / "verdict.dsse.json").read_bytes()
    (folder_of(store, bad) / "verdict.dsse.json").write_bytes(taken)
    assert problems_of(folder_of(store, bad), keys.public_key(store.keys_folder))


def test_a_changed_payload_is_not_signed(new_store) -> None:
    made = case.ready(new_store())
    path = made.store.bundle_folder(made.bundle.path) / "head.json"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(IntegrityError, match=r"head\.json"):
        sign(made.store, judge(made.store))


def test_a_full_disk_leaves_everything_as_it_was(new_store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = case.ready(new_store(), n=40, n_right=36)
    release = sign(made.store, judge(made.store))
    folder = folder_of(made.store, release)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    n_events = len(events(made.store))
    case.add_evidence(made.store, made.snapshot, made.bundle)
    import importlib

    module = importlib.import_module("passmuster.stages.release.sign")
    real, written = module.write_through, []

    def full(path: Path, data: bytes) -> None:
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        written.append(path)
        real(path, data)

    monkeypatch.setattr(module, "write_through", full)
    with pytest.raises(ResourceError) as caught:
        sign(made.store, judge(made.store))
    assert caught.value.code == "disk.full"
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    assert len(events(made.store)) == n_events + 2  # the opening of the seal and the report


KILLED_WHILE_SIGNING = """
import os, signal, sys
from pathlib import Path
from passmuster.stages.release import judge, sign
from passmuster.store.store import Store
store, left, real = Store.open(Path(sys.argv[1])), [int(sys.argv[2])], os.replace
def replace(*words):
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    real(*words)
os.replace = replace
sign(store, judge(store))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9: not tried here")
@pytest.mark.parametrize("n_renamed", [0, 2, 4])
def test_killed_while_signing_nothing_is_recorded_and_the_same_command_mends_it(new_store, n_renamed: int) -> None:
    made = case.ready(new_store(), n=40, n_right=36)
    sign(made.store, judge(made.store))
    case.add_evidence(made.store, made.snapshot, made.bundle)
    n_events = len(events(made.store))
    words = [sys.executable, "-c", KILLED_WHILE_SIGNING, str(made.store.folder), str(n_renamed)]
    assert subprocess.run(words).returncode == -signal.SIGKILL
    assert len(events(made.store)) == n_events
    release = sign(made.store, judge(made.store))
    assert release.verdict == "SHIP"
    folder = folder_of(made.store, release)
    assert problems_of(folder, keys.public_key(made.store.keys_folder)) == []
    assert not list(folder.glob(".muster-*"))


# --- channels


def test_approving_moves_the_channel_with_one_event(new_store) -> None:
    made = case.ready(new_store())
    release = sign(made.store, judge(made.store))
    before = len(events(made.store))
    channel = approve(made.store)
    assert (channel.name, channel.release, channel.share, channel.mode) == ("live", release.id, 1.0, "normal")
    new = events(made.store)[before:]
    assert [event.kind for event in new] == ["release.approve"]
    assert new[0].actor == made.store.actor
    assert new[0].payload["release"] == release.id


def test_trying_it_dry_moves_nothing(new_store) -> None:
    made = case.ready(new_store())
    sign(made.store, judge(made.store))
    before = len(events(made.store))
    assert approve(made.store, dry_run=True).generation == 0
    assert len(events(made.store)) == before


@pytest.mark.parametrize(("n", "n_right"), [(40, 36), (400, 200)])
def test_what_was_not_shipped_does_not_go_live(new_store, n: int, n_right: int) -> None:
    made = case.ready(new_store(), n=n, n_right=n_right)
    sign(made.store, judge(made.store))
    with pytest.raises(HeldError) as caught:
        approve(made.store)
    assert caught.value.code == "approve.held"
    labels_first = "muster label --for test" in str(caught.value.next)
    assert labels_first == (n == 40)  # where labels would decide, they are named before the way around them
    with pytest.raises(HeldError):
        approve(made.store, override="the boss wants it")


def worse_candidate(store: Store) -> tuple[Release, Release]:
    """A live release, and a held candidate beside it."""
    live = released(store, b"one")
    approve(store, live.id)
    return live, released(store, b"two", n_right=300, incumbent=live.bundle, versions=(0, 80))


def test_a_held_candidate_goes_on_the_canary_by_recorded_override(new_store) -> None:
    store = new_store()
    live, held = worse_candidate(store)
    assert held.verdict == "HOLD"
    channel = approve(store, held.id, channel="canary", override="try it on a third", share=0.33)
    assert (channel.name, channel.share, channel.mode) == ("canary", 0.33, "normal")
    assert events(store, "release.approve")[-1].payload["override"] == "try it on a third"
    with store.read() as db:
        assert read_releases(db)[0].override == "try it on a third"
        assert read_channels(db)["live"].release == live.id


def test_a_canary_needs_a_live_release_beside_it(new_store) -> None:
    made = case.ready(new_store())
    sign(made.store, judge(made.store))
    with pytest.raises(UsageError, match="beside a live release"):
        approve(made.store, channel="canary")


def test_provisional_service_is_for_insufficient_evidence_and_ends(new_store) -> None:
    made = case.ready(new_store(), n=40, n_right=36)
    sign(made.store, judge(made.store))
    channel = approve(made.store, provisional=True)
    assert (channel.mode, channel.share) == ("provisional", made.store.config.policy.canary.share)
    assert channel.expires > case.now()


def test_provisional_service_does_not_displace_what_is_live(new_store) -> None:
    store = new_store()
    live = released(store, b"one")
    approve(store, live.id)
    unsure = released(store, b"two", n=30, n_right=27, incumbent=live.bundle)
    assert unsure.verdict == "INSUFFICIENT"
    with pytest.raises(HeldError) as caught:
        approve(store, unsure.id, provisional=True)
    assert caught.value.code == "approve.provisional"
    assert approve(store, unsure.id, channel="canary", provisional=True).mode == "provisional"


def test_a_held_candidate_is_not_served_provisionally(new_store) -> None:
    made = case.ready(new_store(), n_right=200)
    sign(made.store, judge(made.store))
    with pytest.raises(HeldError):
        approve(made.store, provisional=True)


@pytest.mark.parametrize(
    "options",
    [
        {"channel": "prod"},
        {"share": 0.5},
        {"channel": "canary", "share": 0.0},
        {"channel": "canary", "share": 1.5},
        {"override": "why", "provisional": True},
        {"channel": "canary", "override": "not needed"},
    ],
)
def test_options_that_do_not_go_together_are_usage_errors(new_store, options: dict[str, object]) -> None:
    made = case.ready(new_store())
    sign(made.store, judge(made.store))
    approve(made.store)
    with pytest.raises(UsageError):
        approve(made.store, **options)  # type: ignore[arg-type]


def test_gates_edited_after_the_verdict_ask_for_a_new_one(new_store) -> None:
    made = case.ready(new_store())
    sign(made.store, judge(made.store))
    store = case.with_policy(made.store, replace(made.store.config.policy, gates={"accuracy.v1": {"min": 0.99}}))
    with pytest.raises(HeldError) as caught:
        approve(store)
    assert caught.value.code == "approve.policy_changed"


def test_an_edit_elsewhere_in_the_policy_does_not(new_store) -> None:
    made = case.ready(new_store())
    sign(made.store, judge(made.store))
    policy = Policy()
    store = case.with_policy(made.store, replace(policy, watch=replace(policy.watch, recent_labels=100)))
    assert approve(store).name == "live"


def test_a_verdict_against_what_was_live_before_asks_for_a_new_one(new_store) -> None:
    store = new_store()
    first = released(store, b"one")
    approve(store, first.id)
    kwargs = {"incumbent": first.bundle, "versions": (30, 0)}
    second, third = (released(store, name, **kwargs) for name in (b"two", b"three"))
    approve(store, second.id)
    with pytest.raises(HeldError) as caught:
        approve(store, third.id)
    assert caught.value.code == "approve.stale"


def test_a_canary_that_goes_live_leaves_the_canary(new_store) -> None:
    store = new_store()
    first = released(store, b"one")
    approve(store, first.id)
    second = released(store, b"two", incumbent=first.bundle, versions=(30, 0))
    approve(store, second.id, channel="canary")
    approve(store, second.id)
    with store.read() as db:
        assert {name: channel.release for name, channel in read_channels(db).items()} == {"live": second.id}


CHANNELS = importlib.import_module("passmuster.stages.release.channels")
WAY_BACK = importlib.import_module("passmuster.stages.release.way_back")


def meanwhile(monkeypatch: pytest.MonkeyPatch, room: ModuleType, name: str, other: Callable[[], object]) -> None:
    """Let `other` happen once, after the command has looked at the channels and before it moves one."""
    real, done = getattr(room, name), []

    def first_other(*words: object) -> object:
        if not done:
            done.append(True)
            other()
        return real(*words)

    monkeypatch.setattr(room, name, first_other)


def test_of_two_who_approve_at_once_the_second_is_told(new_store, monkeypatch: pytest.MonkeyPatch) -> None:
    store = new_store()
    first = released(store, b"one")
    approve(store, first.id)
    kwargs = {"incumbent": first.bundle, "versions": (30, 0)}
    second, third = (released(store, name, **kwargs) for name in (b"two", b"three"))
    meanwhile(monkeypatch, CHANNELS, "chosen_share", lambda: approve(store, second.id))
    with pytest.raises(HeldError) as caught:
        approve(store, third.id)
    assert caught.value.code == "approve.stale"
    with store.read() as db:
        assert read_channels(db)["live"].release == second.id


def test_of_two_who_roll_back_at_once_the_second_is_told(new_store, monkeypatch: pytest.MonkeyPatch) -> None:
    store = new_store()
    _, second = two_live(store)
    meanwhile(monkeypatch, WAY_BACK, "require_whole", lambda: approve(store, second.id))
    with pytest.raises(HeldError) as caught:
        rollback(store, reason="it slipped")
    assert caught.value.code == "rollback.moved"
    assert events(store)[-1].kind == "release.approve"


# --- going back


def two_live(store: Store) -> tuple[Release, Release]:
    first = released(store, b"one")
    approve(store, first.id)
    second = released(store, b"two", incumbent=first.bundle, versions=(30, 0))
    approve(store, second.id)
    return first, second


def test_rollback_points_back_for_a_recorded_reason(new_store) -> None:
    store = new_store()
    first, second = two_live(store)
    assert rollback(store, reason="it slipped").release == first.id
    last = events(store)[-1]
    assert last.kind == "channel.rollback"
    assert (last.payload["from"], last.payload["to"], last.payload["reason"]) == (second.id, first.id, "it slipped")


def test_the_same_bundle_signed_again_is_no_way_back(new_store) -> None:
    made = case.ready(new_store(), n=40, n_right=36)
    sign(made.store, judge(made.store))
    approve(made.store, provisional=True)
    case.add_evidence(made.store, made.snapshot, made.bundle)
    proven = sign(made.store, judge(made.store))
    approve(made.store, proven.id)
    with pytest.raises(NotFoundError) as caught:  # the provisional release before it gives the same answers, to fewer
        rollback(made.store, reason="it slipped")
    assert caught.value.code == "rollback.none"


def test_a_rollback_goes_past_an_earlier_signature_of_what_is_live(new_store) -> None:
    store = new_store()
    first, second = two_live(store)
    again = judged_again(store, second, 400)
    assert (again.bundle, again.id != second.id) == (second.bundle, True)
    approve(store, again.id)
    assert rollback(store, reason="it slipped").release == first.id


def test_a_second_rollback_does_not_return_to_what_was_rolled_back_from(new_store) -> None:
    store = new_store()
    _, second = two_live(store)
    rollback(store, reason="it slipped")
    with pytest.raises(UsageError) as caught:
        rollback(store, reason="again")
    assert caught.value.code == "rollback.again"
    assert rollback(store, reason="it was the camera", to=second.id).release == second.id


def test_a_rollback_to_what_was_held_since_has_to_name_it(new_store) -> None:
    """The gates may have been sharpened since; in an emergency a person may still want what once served."""
    store = new_store()
    first, second = two_live(store)
    with store.read() as db:
        bundle = read_bundle(db, first.bundle)
    worse = {"incumbent": second.bundle, "n_right": 300, "versions": (0, 80)}
    case.add_evidence(store, SNAPSHOTS[store.folder], bundle, **worse)  # type: ignore[arg-type]
    again = sign(store, judge(store, first.bundle))
    assert again.verdict == "HOLD"
    with pytest.raises(HeldError) as caught:
        rollback(store, reason="it slipped")
    assert caught.value.code == "rollback.held_since"
    assert again.id in str(caught.value)
    with store.read() as db:
        assert read_channels(db)["live"].release == second.id
    assert rollback(store, reason="nothing else is left", to=first.id).release == first.id
    assert events(store, "channel.rollback")[-1].payload["held_since"] == again.id


def judged_again(store: Store, release: Release, fresh: int) -> Release:
    """The same bundle evaluated and signed again, after so many test items got their first label."""
    with store.read() as db:
        labelled = read_labels(db, role="test")
        rest = [i for i in read_items(db) if i.id.startswith("test") and i.key not in labelled]
    case.label_test(store, rest[:fresh])
    with store.read() as db:
        live = read_channels(db)["live"].bundle
        bundle = read_bundle(db, release.bundle)
    evidence = {"incumbent": live, "versions": (30, 0)}
    case.add_evidence(store, SNAPSHOTS[store.folder], bundle, **evidence)  # type: ignore[arg-type]
    return sign(store, judge(store, release.bundle))


def put_back(store: Store) -> Release:
    """A release that was live, and was rolled back from; ten test items wait for a label."""
    SNAPSHOTS[store.folder] = case.add_data(store, n_test_labels=30)
    bundles = [case.add_model(store, SNAPSHOTS[store.folder], name) for name in (b"one", b"two")]
    case.add_evidence(store, SNAPSHOTS[store.folder], bundles[0])
    first = sign(store, judge(store, bundles[0].digest))
    approve(store, first.id)
    case.add_evidence(store, SNAPSHOTS[store.folder], bundles[1], incumbent=first.bundle, versions=(30, 0))
    second = sign(store, judge(store, bundles[1].digest))
    approve(store, second.id)
    rollback(store, reason="it slipped")
    return second


@pytest.mark.parametrize("channel", ["live", "canary"])
def test_what_was_put_back_does_not_return_without_a_question(new_store, channel: str) -> None:
    store = new_store()
    release = judged_again(store, put_back(store), fresh=0)
    assert release.verdict == "SHIP"
    with pytest.raises(HeldError) as caught:
        approve(store, release.id, channel=channel)
    assert caught.value.code == "approve.put_back"
    assert "it slipped" in caught.value.what
    with pytest.raises(UsageError):
        approve(store, release.id, channel=channel, override=" ")
    assert approve(store, release.id, channel=channel, override="it was the camera").release == release.id
    payload = events(store, "release.approve")[-1].payload
    seq = events(store, "channel.rollback")[-1].seq
    assert (payload["override"], payload["returns"]) == (
        "it was the camera", {"from_event": seq, "n_fresh_test_labels": 0},
    )  # fmt: skip


def test_what_was_put_back_returns_on_fresher_evidence(new_store) -> None:
    store = new_store()
    release = judged_again(store, put_back(store), fresh=3)
    assert approve(store, release.id).release == release.id
    assert events(store, "release.approve")[-1].payload["returns"]["n_fresh_test_labels"] == 3
    assert approve(store, release.id).mode == "normal"  # live already: nothing to ask


def test_a_label_that_was_only_changed_is_no_fresh_evidence(new_store) -> None:
    store = new_store()
    old = put_back(store)
    with store.read() as db:
        known = [i for i in read_items(db) if i.id.startswith("test")][:5]
    case.label_test(store, known)
    with pytest.raises(HeldError) as caught:
        approve(store, judged_again(store, old, fresh=0).id)
    assert caught.value.code == "approve.put_back"


def test_what_the_watch_rolled_back_from_is_not_returned_to(new_store) -> None:
    store = new_store()
    first, second = two_live(store)
    with store.act("incident.open") as act:
        point_channel(act, "live", first)
        act.payload.update(channel="live", action="rollback", to=first.id, **{"from": second.id})
    with pytest.raises(UsageError) as caught:
        rollback(store, reason="again")
    assert caught.value.code == "rollback.again"


def test_rollback_without_a_reason_or_a_release_before_is_refused(new_store) -> None:
    store = new_store()
    with pytest.raises(NotFoundError):
        rollback(store, reason="why")
    approve(store, released(store).id)
    with pytest.raises(UsageError):
        rollback(store, reason=" ")
    with pytest.raises(NotFoundError):
        rollback(store, reason="why")


def test_a_damaged_release_is_not_gone_back_to(new_store) -> None:
    store = new_store()
    first, second = two_live(store)
    (folder_of(store, first) / "head.json").write_text("{}")
    with pytest.raises(IntegrityError):
        rollback(store, reason="it slipped")
    with store.read() as db:
        assert read_channels(db)["live"].release == second.id


def test_a_canary_with_none_before_it_is_withdrawn(new_store) -> None:
    store = new_store()
    _, held = worse_candidate(store)
    approve(store, held.id, channel="canary", override="try")
    assert rollback(store, "canary", reason="worse").release == ""
    with store.read() as db:
        assert "canary" not in read_channels(db)


def test_a_held_release_is_not_gone_back_to_on_live(new_store) -> None:
    store = new_store()
    _, held = worse_candidate(store)
    with pytest.raises(HeldError):
        rollback(store, reason="why", to=held.id)


@pytest.mark.parametrize(("n", "n_right", "outcome"), [(40, 36, "INSUFFICIENT"), (400, 380, "SHIP")])
def test_a_rollback_goes_only_to_what_was_approved_for_the_channel(
    new_store, n: int, n_right: int, outcome: str
) -> None:
    store = new_store()
    live = released(store, b"one")
    approve(store, live.id)
    never = released(store, b"two", n=n, n_right=n_right, incumbent=live.bundle, versions=(30, 0))
    assert never.verdict == outcome
    with pytest.raises(HeldError) as caught:
        rollback(store, reason="x", to=never.id)
    assert caught.value.code == "rollback.never_approved"
    if outcome == "SHIP":  # on the canary it was, on live it was not
        approve(store, never.id, channel="canary")
        with pytest.raises(HeldError):
            rollback(store, reason="x", to=never.id)
    with store.read() as db:
        assert read_channels(db)["live"].release == live.id


def test_going_back_to_a_provisional_release_keeps_its_terms(new_store) -> None:
    store = new_store()
    unsure = released(store, b"one", n=40, n_right=36)
    before = approve(store, unsure.id, provisional=True)
    approve(store, released(store, b"two", incumbent=unsure.bundle, versions=(30, 0)).id)
    again = rollback(store, reason="it slipped")
    assert (again.release, again.mode, again.share, again.expires) == (
        unsure.id, "provisional", before.share, before.expires,
    )  # fmt: skip


def test_a_provisional_release_whose_time_is_over_is_not_gone_back_to(
    new_store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = new_store()
    unsure = released(store, b"one", n=40, n_right=36)
    approve(store, unsure.id, provisional=True)
    approve(store, released(store, b"two", incumbent=unsure.bundle, versions=(30, 0)).id)
    monkeypatch.setattr(WAY_BACK, "age_s", lambda at: 1.0)  # its last hour is over
    with pytest.raises(HeldError) as caught:
        rollback(store, reason="it slipped")
    assert caught.value.code == "rollback.expired"


def test_a_release_is_named_by_digits_that_only_it_has(new_store) -> None:
    store = new_store()
    first, second = two_live(store)
    with pytest.raises(UsageError) as caught:
        rollback(store, reason="x", to="r000")
    assert caught.value.code == "release.ambiguous"
    assert first.id in str(caught.value.limit)
    assert second.id in str(caught.value.limit)
    assert rollback(store, reason="x", to="r0001").release == first.id


def test_approving_again_ends_a_degraded_state(new_store) -> None:
    made = case.ready(new_store())
    release = sign(made.store, judge(made.store))
    approve(made.store)
    with made.store.act("incident.open") as act:
        point_channel(act, "live", release, mode="degraded")
    assert approve(made.store).mode == "normal"


def test_no_user_given_id_reaches_ledger_or_bundle(new_store) -> None:
    made = case.ready(new_store())
    release = sign(made.store, judge(made.store))
    approve(made.store)
    said = json.dumps([dict(event.payload) for event in events(made.store)])
    folder = folder_of(made.store, release)
    said += "".join(p.read_text("utf-8", "replace") for p in folder.rglob("*") if p.is_file())
    assert "test-1" not in said
    assert not [name for name in os.listdir(folder) if name.startswith(".muster-")]


def test_the_page_with_the_verdict_shows_every_gate_and_runs_nothing_of_theirs(new_store) -> None:
    store = new_store()
    held = released(store, n_right=200)
    with store.read() as db:
        verdict = read_verdict(db, held.bundle)
    assert verdict is not None
    assert write_verdict_page(store, held, verdict[0]) is None, "an evaluation without a page leaves none"
    folder = store.root / "reports" / held.bundle[:16]
    folder.mkdir(parents=True)
    (folder / "report.html").write_text("<main><header>100 right</header><p>all of it</p></main>")
    rude = replace(verdict[0], notes=("<script>alert(1)</script>",))
    path = write_verdict_page(store, held, rude)
    assert path == folder / f"verdict-{held.id}.html"
    page = path.read_text()
    assert (
        page.index("100 right") < page.index(">HOLD</h2>") < page.index("all of it") < page.index("How it was judged")
    )
    assert all(f"<th>{gate.gate}</th><td>{gate.state}</td>" in page for gate in rude.gates)
    assert "<script>" not in page
    accuracy = next(gate for gate in rude.gates if gate.gate == "accuracy.v1")
    assert accuracy.level is not None
    assert 0 < accuracy.level <= 0.01
    assert (folder / "report.html").read_text().count("HOLD") == 0, "the evaluation's own page stays what it was"


def test_a_verdict_over_other_prices_is_not_approved(new_store) -> None:
    """What mistakes cost is no gate, and no part of the gates' digest; the numbers that the gates judged rest on it."""
    store = new_store()
    kept = settings_of(store.config)
    made = released(store, sections={**case.make_report().sections, "settings": kept})
    dearer = replace(store.config.policy, costs=replace(store.config.policy.costs, when={"a": {"b": 50.0}}))
    store.config = replace(store.config, policy=dearer)
    with pytest.raises(HeldError) as caught:
        approve(store, made.id)
    assert caught.value.code == "approve.policy_changed"
    assert "what mistakes cost" in str(caught.value)
