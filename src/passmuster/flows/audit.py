"""Audit the live release: its bytes, its approval, today's gates, and what is known against its packages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from passmuster.core.advisories import Advisory, matching, read_advisories
from passmuster.core.clock import age_s
from passmuster.core.digests import file_sha256_hex
from passmuster.core.errors import MusterError, NotFoundError
from passmuster.core.packages import running_packages
from passmuster.core.progress import Progress, Silent
from passmuster.core.records import Channel, Release, Report, Verdict
from passmuster.flows.audit_attacks import State, attacked_report, attacks_held
from passmuster.flows.release import why_evaluate
from passmuster.stages.release.signature import Signed, check_signed
from passmuster.store import keys
from passmuster.store.approvals import WARN_DAYS, how_it_came, how_it_went, provisional_words, read_approvals
from passmuster.store.releases import read_bundle, read_channels, read_release, read_releases, read_report
from passmuster.store.store import Store


@dataclass(frozen=True)
class Check:
    """One thing that was looked at, as a CI system can show it."""

    name: str
    state: State
    reason: str


@dataclass(frozen=True)
class AuditResult:
    """What was found of the release on the live channel. `verdict` is today's, None where there is no report."""

    release: Release
    checks: tuple[Check, ...]
    verdict: Verdict | None
    advisories: tuple[Advisory, ...]
    renewal: str  # the command that approves again, after a judgement where the last one does not allow it
    can_go_back: bool = False  # whether a rollback of the live channel leads anywhere

    @property
    def passed(self) -> bool:
        """Whether nothing failed and nothing stayed open."""
        return not any(check.state in ("failed", "insufficient") for check in self.checks)

    @property
    def whole(self) -> bool:
        """Whether the bundle's bytes are those that were signed."""
        return self.checks[0].state == "passed"


def audit(
    store: Store, *, advisories: Path | None = None, again: bool = False, progress: Progress | None = None
) -> AuditResult:
    """Look at the live release as of today; recorded as one act.

    Parameters
    ----------
    advisories : a file of OSV records; None: packages are not looked at, and that is said
    again : evaluate once more before judging, faults included, and attacks where the report that was signed has them;
        this opens the test and counts as a look. Otherwise today's gates judge the latest report

    Raises
    ------
    NotFoundError
        ``audit.no_live``, ``advisories.none``.
    DataError
        ``advisories.format``.
    """
    progress = progress or Silent()
    records = None if advisories is None else read_advisories(advisories)  # before anything else: it may be wrong
    with store.read() as db:
        live = read_channels(db).get("live")
        if live is None:
            gone = how_it_went(db, "live")
            raise NotFoundError(
                "audit.no_live", f"nothing is live, so there is nothing to audit{f': {gone}' if gone else ''}",
                next="muster status names what can be approved" if gone else "muster approve",
            )  # fmt: skip
        release = read_release(db, live.release)
        approvals = read_approvals(db, store.config.policy.approval_days)
        trials = [channel for channel in read_channels(db).values() if channel.mode == "provisional"]
        unearned = unearned_checks(db)
        back = goes_back(db)
    signed, whole = bytes_check(store, release)
    checks = [whole]
    checks += [approval_check(a.channel, a.days_left, a.until, a.words()) for a in approvals]
    checks += [provisional_check(channel) for channel in trials]
    checks += unearned
    before = attacked_report(store.bundle_folder(release.path)) if again and signed else None
    verdict, judged = gates_checks(store, release, again, before, progress)
    checks += judged
    found, packages = package_checks(records, signed)
    checks += packages
    with store.act("audit.done") as act:
        act.payload.update(
            release=release.id, bundle=release.bundle, advisories=file_sha256_hex(advisories) if advisories else "",
            states={check.name: check.state for check in checks}, policy=store.config.policy.digest(),
        )  # fmt: skip
    return AuditResult(release, tuple(checks), verdict, tuple(found), renewal_of(store, release), back)


def renewal_of(store: Store, release: Release) -> str:
    """The command that approves a release again: of its bundle, what was signed last is approved, and only a SHIP."""
    with store.read() as db:
        latest = next(other for other in read_releases(db) if other.bundle == release.bundle)
    return f"muster approve {latest.id}" if latest.verdict == "SHIP" else f"muster release {release.bundle[:16]}"


def bytes_check(store: Store, release: Release) -> tuple[Signed | None, Check]:
    """Every byte and signature of the bundle."""
    try:
        signed = check_signed(store.bundle_folder(release.path), keys.public_key(store.keys_folder))
    except MusterError as error:
        return None, Check("bundle", "failed", f"{error.what}; {error.next or 'muster verify'}")
    return signed, Check("bundle", "passed", "every byte and signature is as it was signed")


def approval_check(channel: str, days_left: float, until: str, words: str) -> Check:
    """Whether the approval of a channel's release still holds."""
    if days_left < 0:
        return Check(f"approval.{channel}", "failed", words)
    state: State = "warning" if days_left <= WARN_DAYS else "passed"
    return Check(f"approval.{channel}", state, words or f"holds until {until[:10]}")


def provisional_check(channel: Channel) -> Check:
    """A release that serves a share, abstaining more, until its end: never more than a warning, after it a failure."""
    over = bool(channel.expires) and age_s(channel.expires) > 0
    return Check(f"approval.{channel.name}", "failed" if over else "warning", provisional_words(channel))


def unearned_checks(db: Connection) -> list[Check]:
    """Releases that answer though their verdict was not SHIP, and how they came there; provisional ones told apart."""
    found = []
    for name, channel in sorted(read_channels(db).items()):
        release = read_release(db, channel.release)
        if name == "shadow" or channel.mode == "provisional" or release.verdict == "SHIP":
            continue
        share = f"it answers {100 * channel.share:.3g} % of requests; {how_it_came(db, channel)}"
        found.append(Check(f"verdict.{name}", "warning", f"the verdict on {release.id} is {release.verdict}: {share}"))
    return found


def goes_back(db: Connection) -> bool:
    """Whether `muster rollback` has where to go."""
    from passmuster.stages.release.way_back import way_back

    try:
        way_back(db, "live", "")
    except MusterError:
        return False
    return True


def gates_checks(
    store: Store, release: Release, again: bool, before: Report | None, progress: Progress
) -> tuple[Verdict | None, list[Check]]:
    """Today's gates on the latest report, or on a new one with the attacks of the report `before`."""
    from passmuster.stages.release import judge

    with store.read() as db:
        bundle = read_bundle(db, release.bundle)
        found = read_report(db, release.bundle)
        stale = why_evaluate(db, bundle, store.config)
    held: list[Check] = []
    if again:
        from passmuster.stages.evaluate import evaluate

        now = evaluate(store, release.bundle, attacked_before=before, progress=progress).report
        held = [Check("attacks", *attacks_held(before, now))] if before else []
    elif found is None:
        return None, [Check("gates", "failed", "there is no report on the live release: muster audit --again")]
    verdict = judge(store, release.bundle)
    checks = checks_of(verdict) + held
    if stale and not again:
        checks.append(Check("report", "warning", f"{stale}; muster audit --again evaluates once more, which counts"))
    checks += [Check("policy", "warning", note) for note in verdict.notes]
    return verdict, checks


def checks_of(verdict: Verdict) -> list[Check]:
    """A verdict's gates as checks."""
    return [Check(gate.gate, gate.state, gate.reason) for gate in verdict.gates]


def package_checks(
    records: list[Mapping[str, Any]] | None, signed: Signed | None
) -> tuple[list[Advisory], list[Check]]:  # fmt: skip
    """Advisories on what the bundle was signed with, and on what runs here."""
    if records is None:
        return [], [Check("packages", "not applicable", "no advisories were given: --advisories FILE (OSV records)")]
    recorded = signed.predicate.get("packages") if signed else None
    here = running_packages()
    hits = {(one.id, one.package, one.version): one for one in matching(records, here)}
    hits |= {(one.id, one.package, one.version): one for one in matching(records, recorded or {})}
    found = list(hits.values())
    checks = [
        Check(f"packages.{one.package}", "failed", f"{one.package} {one.version}: {one.id} {one.summary}".strip()
              + (f"; mended in {one.fixed}" if one.fixed else ""))
        for one in found
    ]  # fmt: skip
    if recorded is None:
        checks.append(Check("packages.recorded", "warning", "the release was signed before packages were recorded"))
    if not records:
        reason = "the file of advisories is empty, so nothing is known against any package: was it downloaded whole?"
        checks.append(Check("packages", "insufficient", reason))
    elif not found:
        n_read = "1 advisory" if len(records) == 1 else f"{len(records):,} advisories"
        n = len({*here, *(recorded or {})})
        checks.append(Check("packages", "passed", f"{n_read}, none on any of {n:,} packages"))
    return found, checks
