"""The commands release, approve, rollback, verify: what they print, and with what they exit."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

import release_case as case
from command_case import muster
from passmuster.cli.release_verb import beyond_the_test, what_was_signed
from passmuster.core.config import GuardPolicy, Policy
from passmuster.flows.release import release
from passmuster.store import ledger


def test_a_shipped_bundle_is_released_approved_and_verified(new_store) -> None:
    made = case.ready(new_store())
    done = muster(made.store.folder, "release")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("SHIP  bundle ")
    assert "passed          accuracy.v1" in done.stdout
    assert "not applicable  non_inferiority.v1" in done.stdout
    assert done.stdout.splitlines()[-1] == f"Next: muster approve r0001-{made.bundle.digest[:8]}"
    done = muster(made.store.folder, "approve")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "Next: muster serve")
    done = muster(made.store.folder, "verify")
    assert done.returncode == 0
    assert "whole: nothing was changed" in done.stdout


def test_an_insufficient_one_exits_with_4_and_shows_the_way(new_store) -> None:
    made = case.ready(new_store(), n=40, n_right=36)
    done = muster(made.store.folder, "release")
    assert done.returncode == 4
    assert done.stdout.startswith("INSUFFICIENT")
    assert "more test labels would probably decide" in done.stdout
    assert "muster add PATH (every test item has a label; about " in done.stderr
    assert "muster label" not in done.stderr
    assert "--provisional" in done.stderr


def test_more_labels_than_the_test_has_items_are_said_to_be_so(new_store) -> None:
    made = case.ready(new_store(), n=40, n_right=36)
    result = replace(release(made.store), n_unlabelled=0)
    assert result.verdict.outcome == "INSUFFICIENT"
    (line,) = beyond_the_test(result)
    assert line.startswith("the test has 0 items left without a label")
    assert line in list(what_was_signed(result))
    assert not list(beyond_the_test(replace(result, n_unlabelled=10**9)))


def test_an_insufficient_one_asks_for_labels_while_test_items_wait_for_them(new_store) -> None:
    store = new_store()
    snapshot = case.add_data(store, n_test_labels=30)
    case.add_evidence(store, snapshot, case.add_model(store, snapshot), n=30, n_right=27)
    done = muster(store.folder, "release")
    assert done.returncode == 4
    assert "muster label --export todo.csv --for test (about " in done.stderr
    assert "10 test items wait" in done.stderr


def test_a_held_one_answers_json_once_with_its_gates(new_store) -> None:
    made = case.ready(new_store(), n_right=200)
    done = muster(made.store.folder, "--json", "release")
    assert done.returncode == 4
    answer = json.loads(done.stdout)
    assert (answer["schema"], answer["ok"], answer["error"]["code"]) == (1, False, "release.held")
    assert answer["data"]["verdict"]["n_more_labels"] is None  # nothing but HOLD can follow
    assert answer["data"]["verdict"]["outcome"] == "HOLD"
    assert answer["error"]["exit_code"] == 4
    done = muster(made.store.folder, "--json", "approve")
    assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (4, "approve.held")


def test_what_was_never_measured_is_to_be_measured_and_no_model_mended(new_store) -> None:
    made = case.ready(new_store())
    config = made.store.folder / "muster.toml"
    gate = '"adversarial.v1" = { min = 0.5, strength = 0.1 }'
    config.write_text(config.read_text().replace("[policy.gates]", f"[policy.gates]\n{gate}"))
    done = muster(made.store.folder, "release")
    assert done.returncode == 4
    assert "Next: measure what was not measured, as the reasons say" in done.stderr
    assert "muster evaluate --attack" in done.stdout + done.stderr


def test_a_wrong_signature_exits_with_9(new_store, tmp_path: Path) -> None:
    made = case.ready(new_store())
    muster(made.store.folder, "release")
    folder = made.store.bundle_folder(made.bundle.path)
    envelope = json.loads((folder / "signature.dsse.json").read_text())
    envelope["signatures"][0]["sig"] = "A" * 86 + "=="
    (folder / "signature.dsse.json").write_text(json.dumps(envelope))
    done = muster(made.store.folder, "--json", "approve")
    assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (9, "signature.wrong")
    assert muster(made.store.folder, "verify").returncode == 9


def test_verify_lists_all_that_is_wrong(new_store) -> None:
    made = case.ready(new_store())
    muster(made.store.folder, "release")
    folder = made.store.bundle_folder(made.bundle.path)
    for name in ("card.md", "head.json"):
        (folder / name).write_text("{}")
    done = muster(made.store.folder, "verify", str(folder))
    assert done.returncode == 9
    wrong = [line for line in done.stdout.splitlines() if line.startswith("WRONG")]
    assert len(wrong) == 2
    assert {"card.md", "head.json"} == {name for name in ("card.md", "head.json") for line in wrong if name in line}


def test_verify_never_says_whole_of_an_unsigned_bundle(new_store) -> None:
    store = new_store()
    bundle = case.add_model(store, case.add_data(store))
    done = muster(store.folder, "verify")
    assert (done.returncode, "whole" in done.stdout, "1 bundle is unsigned" in done.stdout) == (0, False, True)
    done = muster(store.folder, "--json", "verify", str(store.bundle_folder(bundle.path)))
    assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (9, "verify.unsigned")


def test_verify_groups_what_is_alike(new_store) -> None:
    store = new_store()
    case.add_data(store, n_test=200)
    db = sqlite3.connect(store.root / "catalog.db")
    with db:
        db.execute("UPDATE snapshot_items SET split = 'train' WHERE split = 'test'")
    db.close()
    done = muster(store.folder, "verify")
    assert "… and 197 more like that" in done.stdout
    assert len(done.stdout.splitlines()) < 8
    assert "200 problems found" in done.stderr


def test_rollback_needs_a_reason(new_store) -> None:
    made = case.ready(new_store())
    muster(made.store.folder, "release")
    muster(made.store.folder, "approve")
    assert muster(made.store.folder, "rollback").returncode == 2
    done = muster(made.store.folder, "rollback", "--reason", "it slipped")
    assert done.returncode == 8
    assert "there is no release before this one" in done.stderr


def test_a_dry_run_of_approve_moves_nothing(new_store) -> None:
    made = case.ready(new_store())
    muster(made.store.folder, "release")
    done = muster(made.store.folder, "approve", "--dry-run")
    assert (done.returncode, "would serve" in done.stdout) == (0, True)
    from passmuster.store.releases import read_channels

    with made.store.read() as db:
        assert read_channels(db) == {}


@pytest.mark.parametrize("verb", ["check", "release"])
@pytest.mark.parametrize(
    ("gates", "code"),
    [({"acuracy.v1": {"min": 0.8}}, "gate.unknown"), ({"accuracy.v1": {"min": 80}}, "policy.parameter")],
)
def test_a_gate_that_cannot_be_is_found_before_the_test_is_opened(
    new_store, verb: str, gates: dict[str, dict[str, float]], code: str
) -> None:
    store = new_store()
    case.add_model(store, case.add_data(store))
    store = case.with_policy(store, Policy(gates=gates))
    done = muster(store.folder, "--json", verb)
    assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (2, code)
    with store.read() as db:
        assert list(ledger.read(db, kind="test.open")) == []


@pytest.mark.parametrize("verb", ["check", "train"])
def test_a_novelty_detector_that_is_not_there_is_told_before_the_work(new_store, verb: str) -> None:
    store = new_store()
    case.add_model(store, case.add_data(store))
    store = case.with_policy(store, Policy(guard=GuardPolicy(novelty="knnn.v1")))
    done = muster(store.folder, "--json", verb)
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["code"], error["next"]) == (2, "novelty_detector.unknown", "use 'knn.v1'")


def test_an_unknown_channel_is_a_usage_error(new_store) -> None:
    assert muster(new_store().folder, "approve", "--channel", "prod").returncode == 2


def test_a_damaged_catalog_exits_with_9(new_store) -> None:
    store = new_store()
    store.close()
    for path in store.root.glob("catalog.db*"):
        path.unlink()
    (store.root / "catalog.db").write_bytes(b"no database at all" * 1000)
    done = muster(store.folder, "--json", "release")
    assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (9, "catalog.damaged")


def test_a_provisional_one_that_is_live_is_renewed_and_opens_no_canary(new_store) -> None:
    made = case.ready(new_store(), n=40, n_right=36)
    assert muster(made.store.folder, "release").returncode == 4
    for _ in range(2):
        done = muster(made.store.folder, "approve", "--provisional", "--share", "0.2")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("live serves r0001")
    other = case.add_model(made.store, made.snapshot, b"two")
    case.add_evidence(made.store, made.snapshot, other, n=40, n_right=35, incumbent=made.bundle.digest)
    assert muster(made.store.folder, "release", other.digest[:16]).returncode == 4
    done = muster(made.store.folder, "approve", "--provisional", "--dry-run")
    assert "canary" in done.stdout + done.stderr, "another one does not take its place unasked"
    said = muster(made.store.folder, "status").stdout
    assert "canary" not in said
    assert "live: r0001" in said
    assert "provisional" in said
