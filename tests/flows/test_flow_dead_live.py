"""A live release that does not open any more: nothing is shipped past it in silence, and every step named leads on."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import select

from command_case import Ended, muster
from evaluate_case import Digits, add_model, make_digits
from passmuster.core.config import EvaluateConfig, Policy
from passmuster.core.config_file import render_config
from passmuster.core.errors import HeldError, IntegrityError, NotFoundError, UsageError
from passmuster.core.records import Bundle, Channel
from passmuster.flows.opened import Opened
from passmuster.flows.release import ReleaseResult, release
from passmuster.flows.release_plan import plan_release
from passmuster.flows.status import project_status
from passmuster.flows.verify import verify
from passmuster.metrics.gates import decide
from passmuster.runtime.bundle import LoadedBundle
from passmuster.runtime.predictor import Predictor
from passmuster.stages.evaluate.live import find_live
from passmuster.stages.release import approve, rollback
from passmuster.stages.serve.fleet import Fleet
from passmuster.stages.serve.meters import Meters
from passmuster.store import ledger
from passmuster.store.releases import read_channels, read_report
from passmuster.store.schema import seal_openings
from passmuster.store.store import Store

POLICY = Policy(gates={"accuracy.v1": {"min": 0.7}, "non_inferiority.v1": {"margin": 0.1}})


@pytest.fixture
def digits(new_store: Callable[..., Store]) -> Digits:
    """One release, live and whole, in a project with a small evaluation."""
    store = new_store("image")
    config = replace(store.config, policy=POLICY, evaluate=EvaluateConfig(n_corrupted=5))
    (store.folder / "muster.toml").write_text(render_config(config))
    found = make_digits(Store.open(store.folder))
    add_model(found, n_fit=200)
    approve(found.store, release(found.store).release.id)
    return found


def live(store: Store) -> Channel | None:
    with store.read() as db:
        return read_channels(db).get("live")


def broken(digits: Digits, harm: str = "graph") -> Bundle:
    """A second model, after the live one was harmed on the disk; the harmed folder is kept aside."""
    pointed = live(digits.store)
    assert pointed is not None
    new = add_model(digits, run="run-2")
    folder = digits.store.root / "bundles" / pointed.bundle[:16]
    shutil.copytree(folder, digits.store.folder / "backup")
    if harm == "other":
        shutil.rmtree(folder)
        shutil.copytree(digits.store.bundle_folder(new.path), folder)
    else:
        shutil.rmtree(folder if harm == "gone" else folder / "graphs")
    return new


def restore(digits: Digits) -> None:
    pointed = live(digits.store)
    assert pointed is not None
    folder = digits.store.root / "bundles" / pointed.bundle[:16]
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(digits.store.folder / "backup", folder)


def n_looks(store: Store) -> float:
    with store.read() as db:
        return sum(row.counted for row in db.execute(select(seal_openings)))


def states(result: ReleaseResult) -> dict[str, str]:
    return {gate.gate: gate.state for gate in result.verdict.gates}


def after(done: Ended) -> str:
    """The command that is named next, its reason filled in."""
    said = re.findall(r"Next: (.*)", done.stdout + done.stderr)
    return str(said[-1]).replace('"REASON"', '"the graph is lost"')


# --- the story


def test_from_a_broken_only_release_to_a_good_one_live_by_the_commands_that_are_named(digits: Digits) -> None:
    new = broken(digits)
    folder, short = digits.store.folder, new.digest[:16]
    refused = muster(folder, "predict", str(digits.store.folder / "muster.toml"))
    assert refused.returncode == 9
    assert "muster status the way on" in after(refused)
    stands = muster(folder, "status")
    assert "IT DOES NOT OPEN: a file of the bundle is not there: graphs/model.onnx" in stands.stdout
    assert after(stands) == f"muster release {short}"
    judged = muster(folder, "release", short)
    assert judged.returncode == 4
    assert "insufficient    non_inferiority.v1" in judged.stdout
    assert "cannot be told: the live release does not open" in judged.stdout
    assert "passed          accuracy.v1" in judged.stdout
    way = f'muster rollback --withdraw --reason "the graph is lost", then muster release {short}'
    assert after(judged).startswith(way)
    assert after(muster(folder, "status")).startswith(way)
    looks = n_looks(digits.store)
    gone = muster(folder, "rollback", "--withdraw", "--reason", "the graph is lost")
    assert gone.returncode == 0, gone.stderr
    assert "live is withdrawn: nothing answers until another release is approved" in gone.stdout
    assert after(gone) == "muster status"
    stands = muster(folder, "status")
    assert "live: nothing (r0001" in stands.stdout
    assert "the graph is lost" in stands.stdout
    assert after(stands).startswith(f"muster release {short}")
    judged = muster(folder, "release", short)
    assert judged.returncode == 0, judged.stderr
    assert "not applicable  non_inferiority.v1" in judged.stdout
    assert "note: nothing is live to compare with: r0001" in judged.stdout
    assert n_looks(digits.store) == looks, "the same report is judged: no label is looked at twice for it"
    approved = muster(folder, *after(judged).split()[1:])
    assert approved.returncode == 0, approved.stderr
    pointed = live(digits.store)
    assert pointed is not None
    assert pointed.bundle == new.digest
    assert Opened(digits.store).predictor("live")[0].classes == tuple("0123456789")
    assert "muster watch" in after(muster(folder, "status"))


# --- what is judged


@pytest.mark.parametrize("harm", ["gone", "graph", "other"])
def test_a_new_model_is_judged_and_comparisons_cannot_be_told(digits: Digits, harm: str) -> None:
    new = broken(digits, harm)
    result = release(digits.store)
    assert (result.verdict.bundle, result.verdict.outcome) == (new.digest, "INSUFFICIENT")
    assert states(result) == {"accuracy.v1": "passed", "non_inferiority.v1": "insufficient"}
    assert result.verdict.n_more_labels is None, "no label tells of what was not asked"
    assert result.past_live == 'muster rollback --withdraw --reason "REASON"'
    with digits.store.read() as db:
        found = read_report(db, new.digest)
    assert found is not None
    pointed = live(digits.store)
    assert pointed is not None
    assert found[1].incumbent == pointed.bundle
    assert "which does not open" in " ".join(found[1].sections["unknown"])
    page = (digits.store.root / "reports" / new.digest[:16] / "report.html").read_text()
    assert "Not compared: the live release does not open" in page
    with pytest.raises(HeldError) as caught:
        approve(digits.store, result.release.id)
    assert caught.value.code == "approve.held"


def test_no_gate_ships_in_silence_past_a_live_release_that_does_not_open(digits: Digits) -> None:
    """Every gate that there is, alone: those that compare are insufficient, and none passes because nothing is live."""
    from passmuster.metrics.gates import gates
    from release_case import make_report

    report = make_report(incumbent="a" * 64)
    sections = {**report.sections, "versions": {"incumbent": "a" * 64, "n": 0, "unopened": "its graph is gone"}}
    report = replace(report, sections=sections)
    compare, alone = set(), replace(report, incumbent="")
    for name, gate in gates.items():
        given = {key: parameter.default for key, parameter in gate.parameters.items() if parameter.default is not None}
        given = {key: given.get(key, 0.5) for key in gate.parameters}
        policy = Policy(gates={name: given})
        state = decide(report, policy).gates[0].state
        if not gate.applies(report, given) and gate.applies(alone, given):
            compare.add(name)
            assert (state, decide(report, policy).outcome) == ("insufficient", "INSUFFICIENT"), name
        else:
            assert state == decide(alone, policy).gates[0].state, name
    assert {"non_inferiority.v1", "negative_flips.v1", "guard.v1", "class_loss.v1", "mce.v1"} <= compare


def test_restored_from_a_backup_it_is_compared_again(digits: Digits) -> None:
    broken(digits)
    first = release(digits.store)
    again = release(digits.store)
    assert (again.evaluated, again.release) == ("", first.release), "nothing changed: no second look"
    restore(digits)
    assert project_status(digits.store).next.startswith("muster release")
    second = release(digits.store)
    assert second.evaluated == "the live release opens again"
    assert states(second)["non_inferiority.v1"] in ("passed", "insufficient")
    assert not second.past_live


def test_a_verdict_without_comparison_does_not_outlive_the_absence(digits: Digits) -> None:
    """Withdrawn, judged without a comparison, and then restored and put back: the verdict is of another situation."""
    broken(digits)
    old = live(digits.store)
    assert old is not None
    release(digits.store)
    rollback(digits.store, withdraw=True, reason="its graph is gone")
    shipped = release(digits.store)
    assert shipped.shipped
    folder = digits.store.root / "bundles" / old.bundle[:16]
    shutil.rmtree(folder)
    shutil.copytree(digits.store.folder / "backup", folder)
    approve(digits.store, old.release, override="restored from the backup")
    with pytest.raises(HeldError) as caught:
        approve(digits.store, shipped.release.id)
    assert caught.value.code == "approve.stale"
    assert release(digits.store, shipped.verdict.bundle).evaluated == "the live release opens again"


def test_a_model_that_cannot_be_started_is_not_compared_with_either(digits: Digits) -> None:
    new = add_model(digits, run="run-2")

    def refuse(bundle: LoadedBundle) -> Predictor:
        raise IntegrityError("graph.unreadable", "the engine cannot load the graph: opset 99")

    found = find_live(digits.store, new, refuse)
    assert found is not None
    assert (found.asked, found.unopened) == (None, "the engine cannot load the graph: opset 99")


def test_the_plan_leaves_out_what_cannot_be_told_and_says_so(digits: Digits) -> None:
    new = broken(digits)
    before = n_looks(digits.store)
    found = plan_release(digits.store, new.digest)
    assert [forecast.gate for forecast in found.plan.forecasts] == ["accuracy.v1"]
    assert "is not there" in found.unopened
    assert "muster status names the way past it" in muster(digits.store.folder, "release", "--plan").stdout
    assert n_looks(digits.store) == before


# --- taking a channel down


def test_the_only_release_goes_only_when_it_is_said_so_and_with_a_reason(digits: Digits) -> None:
    with pytest.raises(NotFoundError) as none:
        rollback(digits.store, reason="it slipped")
    assert none.value.code == "rollback.none"
    assert "--withdraw" in str(none.value.next)
    with pytest.raises(UsageError):
        rollback(digits.store, withdraw=True, reason=" ")
    with pytest.raises(UsageError) as options:
        rollback(digits.store, withdraw=True, to="r0001", reason="x")
    assert options.value.code == "rollback.options"
    before, wrong = live(digits.store), verify(digits.store).problems
    assert before is not None
    assert rollback(digits.store, withdraw=True, reason="x", dry_run=True).release == ""
    assert live(digits.store) == before
    rollback(digits.store, withdraw=True, reason="it offends people")
    assert live(digits.store) is None
    with digits.store.read() as db:
        event = list(ledger.read(db, kind="channel.rollback"))[-1]
    assert (event.payload["from"], event.payload["to"], event.payload["reason"]) == (
        before.release, "", "it offends people",
    )  # fmt: skip
    assert verify(digits.store).problems == wrong, "the act is on the record"
    with pytest.raises(NotFoundError) as nothing:
        rollback(digits.store, reason="again")
    assert "it offends people" in nothing.value.what
    with pytest.raises(HeldError) as back:  # what was taken away comes back with new evidence, or for a reason
        approve(digits.store, before.release)
    assert back.value.code == "approve.put_back"
    assert approve(digits.store, before.release, override="the complaint was of another model").release


def test_whoever_asks_a_withdrawn_channel_is_told_why(digits: Digits) -> None:
    rollback(digits.store, withdraw=True, reason="it offends people")
    asks: tuple[Callable[[], object], ...] = (
        Fleet(digits.store, Meters()).start,
        lambda: Opened(digits.store).predictor("live"),
    )
    for ask in asks:
        with pytest.raises(NotFoundError) as caught:
            ask()
        assert caught.value.code == "channel.none"
        assert "was withdrawn on" in caught.value.what
        assert "it offends people" in caught.value.what
        assert "muster status" in str(caught.value.next)
    for words in (["serve"], ["audit"], ["predict", str(digits.store.folder / "muster.toml")]):
        done = muster(digits.store.folder, *words)
        assert done.returncode == 8
        assert "it offends people" in done.stderr, words


def test_a_broken_release_with_one_before_it_goes_back_to_that(digits: Digits) -> None:
    second = add_model(digits, run="run-2")
    result = release(digits.store)
    if not result.shipped:
        pytest.fail(str(states(result)))
    approve(digits.store, result.release.id)
    shutil.rmtree(digits.store.bundle_folder(second.path) / "graphs")
    assert project_status(digits.store).next.startswith('muster rollback --reason "REASON" (')
    add_model(digits, n_fit=150, run="run-3")
    assert project_status(digits.store).next.startswith('muster rollback --reason "REASON" (')
    assert release(digits.store).past_live == 'muster rollback --reason "REASON"'
    assert rollback(digits.store, reason="its graph is gone").bundle != second.digest


def test_when_only_the_broken_one_is_there_another_is_to_be_made(digits: Digits) -> None:
    pointed = live(digits.store)
    assert pointed is not None
    shutil.rmtree(digits.store.root / "bundles" / pointed.bundle[:16] / "graphs")
    assert project_status(digits.store).next == (
        f"restore .muster/bundles/{pointed.bundle[:16]} from a backup, or muster train (it does not open)"
    )
    again = add_model(digits, n_fit=200)  # the same training makes the same bundle, byte for byte
    assert again.digest == pointed.bundle
    assert Opened(digits.store).predictor("live")[1].release == pointed.release
