"""An audit of the live release: whole, approved, good by today's gates, and nothing known against its packages."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree

import pytest

import release_case as case
from passmuster.cli.audit_verb import lines_of, open_points
from passmuster.cli.ci_files import write_ci_files
from passmuster.core.config import Policy
from passmuster.core.errors import NotFoundError
from passmuster.core.packages import running_packages
from passmuster.core.records import Channel
from passmuster.flows.audit import AuditResult, audit, provisional_check
from passmuster.stages.release import approve, judge, sign
from passmuster.stages.watch import read_status
from passmuster.store import approvals, ledger
from passmuster.store.approvals import read_approvals
from passmuster.store.releases import read_channels
from passmuster.store.snapshots import read_snapshot
from passmuster.store.store import Store

GATES = {"accuracy.v1": {"min": 0.8}, "leakage.v1": {"max_twins": 0}}


@pytest.fixture
def live(new_store: Callable[..., Store]) -> case.Case:
    made = case.ready(new_store())
    store = case.with_policy(made.store, Policy(gates=GATES))
    sign(store, judge(store))
    approve(store)
    return replace(made, store=store)


def states(found: AuditResult) -> dict[str, str]:
    return {check.name: check.state for check in found.checks}


def days_on(monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    """As if it were so many days later for whoever asks how old something is."""

    def age_s(then: str) -> float:
        return (datetime.now(UTC) + timedelta(days=days) - datetime.fromisoformat(then)).total_seconds()

    monkeypatch.setattr(approvals, "age_s", age_s)


def test_a_good_release_passes_and_it_is_recorded(live: case.Case) -> None:
    found = audit(live.store)
    assert found.passed
    assert states(found)["accuracy.v1"] == states(found)["approval.live"] == states(found)["bundle"] == "passed"
    assert states(found)["packages"] == "not applicable"
    with live.store.read() as db:
        *_, last = ledger.read(db, kind="audit.done")
    assert last.payload["states"]["accuracy.v1"] == "passed"


def test_stricter_gates_hold_what_is_live(live: case.Case) -> None:
    strict = case.with_policy(live.store, Policy(gates={"accuracy.v1": {"min": 0.99}}))
    found = audit(strict)
    assert states(found)["accuracy.v1"] == "failed"
    assert open_points(found).exit_code == 4


def test_a_changed_byte_is_an_integrity_error(live: case.Case) -> None:
    folder = live.store.bundle_folder(live.bundle.path)
    (folder / "card.md").write_text("another card")
    found = audit(live.store)
    assert states(found)["bundle"] == "failed"
    assert open_points(found).exit_code == 9


def test_an_approval_warns_ahead_and_ends_without_stopping_answers(
    live: case.Case, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    assert read_status(live.store).approvals == ()
    days_on(monkeypatch, 170)
    found = audit(live.store)
    assert states(found)["approval.live"] == "warning"
    assert found.passed
    days_on(monkeypatch, 181)
    found = audit(live.store)
    assert states(found)["approval.live"] == "failed"
    assert "answers go on" in next(check.reason for check in found.checks if check.name == "approval.live")
    error = open_points(found)
    assert (error.code, error.exit_code) == ("audit.expired", 4)
    assert "ended on" in read_status(live.store).approvals[0]
    with live.store.read() as db:
        assert read_channels(db)["live"].release == found.release.id  # nothing was taken off


def test_approving_again_renews(live: case.Case, monkeypatch: pytest.MonkeyPatch) -> None:
    with live.store.read() as db:
        before = read_approvals(db, 180)[0]
    approve(live.store)
    with live.store.read() as db:
        after = read_approvals(db, 180)[0]
    assert after.until > before.until


def test_what_is_signed_anew_is_what_can_be_renewed(live: case.Case) -> None:
    with live.store.read() as db:
        old = read_channels(db)["live"].release
    assert audit(live.store).renewal == f"muster approve {old}"
    case.add_evidence(live.store, live.snapshot, live.bundle, n=300, n_right=285)
    new = sign(live.store, judge(live.store))
    assert new.id != old
    assert audit(live.store).renewal == f"muster approve {new.id}"
    case.add_evidence(live.store, live.snapshot, live.bundle, n=20, n_right=17)
    assert sign(live.store, judge(live.store)).verdict == "INSUFFICIENT"
    assert audit(live.store).renewal == f"muster release {live.bundle.digest[:16]}"


def test_the_policy_says_for_how_long(live: case.Case) -> None:
    short = case.with_policy(live.store, Policy(gates=GATES, approval_days=3.0))
    approve(short)
    with short.read() as db:
        assert 2.9 < read_approvals(db, 180)[0].days_left <= 3.0


def osv(path: Path, package: str, **event: str) -> Path:
    affected = {
        "package": {"ecosystem": "PyPI", "name": package},
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, event]}],
    }
    path.write_text(json.dumps({"vulns": [{"id": "A-1", "summary": "made up", "affected": [affected]}]}))
    return path


def test_an_advisory_on_a_package_fails(live: case.Case, tmp_path: Path) -> None:
    found = audit(live.store, advisories=osv(tmp_path / "osv.json", "NumPy", fixed="99"))
    assert states(found)["packages.numpy"] == "failed"
    assert [(one.id, one.fixed) for one in found.advisories] == [("A-1", "99")]
    assert audit(live.store, advisories=osv(tmp_path / "osv.json", "numpy", fixed="0.1")).passed


def test_an_empty_file_of_advisories_shows_nothing(live: case.Case, tmp_path: Path) -> None:
    """A download that broke off must not pass."""
    (tmp_path / "osv.json").write_text("[]")
    found = audit(live.store, advisories=tmp_path / "osv.json")
    assert (states(found)["packages"], found.passed) == ("insufficient", False)
    one = audit(live.store, advisories=osv(tmp_path / "osv.json", "numpy", fixed="0.1"))
    assert any(check.reason.startswith("1 advisory, none on any of ") for check in one.checks)


def test_a_provisional_release_is_shown_with_its_end(
    new_store: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    made = case.ready(new_store(), n=40, n_right=36)
    store = case.with_policy(made.store, Policy(gates=GATES))
    sign(store, judge(store))
    channel = approve(store, provisional=True, share=0.2)
    found = audit(store)
    check = next(check for check in found.checks if check.name == "approval.live")
    assert check.state == "warning"
    assert f"is provisional until {channel.expires[:10]}: 20 % of requests" in check.reason
    assert not found.can_go_back
    assert "rollback" not in str(open_points(found).next), "there is no release before it"
    days_on(monkeypatch, 60)
    monkeypatch.setattr("passmuster.flows.audit.age_s", approvals.age_s)
    assert states(audit(store))["approval.live"] == "failed"


def test_an_ended_trial_on_the_canary_is_told_what_ends_it(live: case.Case) -> None:
    ended = Channel("canary", "r9", "b" * 64, 1, 0.1, "provisional", "2020-01-02T00:00:00+00:00")
    check = provisional_check(ended)
    assert (check.name, check.state) == ("approval.canary", "failed")
    found = audit(live.store)
    found = replace(found, checks=(*found.checks, check))
    assert str(open_points(found).next).startswith("muster rollback canary --reason REASON")


def test_a_held_one_that_answers_by_override_is_named_with_the_reason(live: case.Case) -> None:
    store = live.store
    with store.read() as db:
        snapshot, first = read_snapshot(db), read_channels(db)["live"]
    worse = case.add_model(store, snapshot, b"two")
    case.add_evidence(store, snapshot, worse, n_right=100, incumbent=first.bundle, versions=(0, 200))
    held = sign(store, judge(store, worse.digest))
    assert held.verdict == "HOLD"
    approve(store, held.id, channel="canary", override="a pilot in one branch", share=0.1)
    check = next(check for check in audit(store).checks if check.name == "verdict.canary")
    assert check.state == "warning"
    assert f"{held.id} is HOLD: it answers 10 % of requests; approved on " in check.reason
    assert check.reason.endswith("by override: a pilot in one branch")


def test_going_back_is_named_where_it_can_be(live: case.Case) -> None:
    assert not audit(live.store).can_go_back
    better = case.add_model(live.store, live.snapshot, b"other weights")
    case.add_evidence(live.store, live.snapshot, better, incumbent=live.bundle.digest, versions=(30, 0))
    approve(live.store, sign(live.store, judge(live.store, better.digest)).id)
    strict = case.with_policy(live.store, Policy(gates={"accuracy.v1": {"min": 0.99}}))
    assert "muster rollback puts the last back" in str(open_points(audit(strict)).next)


def test_what_the_release_was_signed_with_counts_too(
    new_store: Callable[..., Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """The package was mended here since, but the release was made with the weak one."""
    made = case.ready(new_store())
    store = case.with_policy(made.store, Policy(gates=GATES))
    weak = {**running_packages(), "numpy": "0.0.1"}
    monkeypatch.setattr(import_module("passmuster.stages.release.sign"), "running_packages", lambda: weak)
    sign(store, judge(store))
    approve(store)
    found = audit(store, advisories=osv(tmp_path / "osv.json", "numpy", fixed="0.5"))
    assert [one.version for one in found.advisories] == ["0.0.1"]


def test_nothing_live_is_said(new_store: Callable[..., Store]) -> None:
    with pytest.raises(NotFoundError, match="nothing is live"):
        audit(new_store())


def test_files_for_ci(live: case.Case, tmp_path: Path) -> None:
    strict = case.with_policy(live.store, Policy(gates={"accuracy.v1": {"min": 0.99}}))
    found = audit(strict)
    written = write_ci_files(
        "audit", found.checks, junit=tmp_path / "out" / "j.xml", markdown=tmp_path / "m.md", notes=["see | this"],
        outcome="not passed", passed=False, facts={"release": found.release.id},
    )  # fmt: skip
    assert len(written) == 2
    suite = ElementTree.parse(tmp_path / "out" / "j.xml").getroot()[0]
    n_failed = sum(check.state in ("failed", "insufficient") for check in found.checks)
    assert suite.attrib["failures"] == str(n_failed) == str(len(suite.findall("testcase/failure")))
    assert int(suite.attrib["tests"]) == len(suite.findall("testcase")) == len(found.checks)
    text = (tmp_path / "m.md").read_text()
    n_apply = sum(check.state != "not applicable" for check in found.checks)
    assert text.startswith("## muster audit: not passed\n")
    assert f"{n_failed} of {n_apply} checks do not pass" in text
    assert "> see \\| this" in text
    assert len(list(lines_of(found))) == len(found.checks) + 1
