"""`muster release`: evaluate where needed, judge by the policy's gates, and sign what was found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from passmuster.cli.options import BundleNamed, Junit, Markdown
from passmuster.cli.session import session_of
from passmuster.core.errors import HeldError
from passmuster.flows.next_steps import after_a_hold, more_evidence, n_left_out

if TYPE_CHECKING:
    from passmuster.core.records import Verdict
    from passmuster.flows.release import ReleaseResult


def release(
    context: typer.Context,
    bundle: BundleNamed = "",
    plan: Annotated[
        bool, typer.Option("--plan", help="Before any look: what each gate can tell, and how many labels would decide.")
    ] = False,
    junit: Junit = None,
    markdown: Markdown = None,
) -> None:
    """Judge a bundle by the policy's gates and sign it with its verdict; exit 4 when held or insufficient."""
    from passmuster.cli.ci_files import errors_in_ci, write_ci_files
    from passmuster.flows.audit import checks_of
    from passmuster.flows.release import release as run
    from passmuster.flows.release import shown_twins, what_would_happen

    session = session_of(context)
    with errors_in_ci("release", junit, markdown):
        store = session.store()
    if plan:
        from passmuster.cli.release_plan import plan_lines, plan_next
        from passmuster.flows.release_plan import plan_release

        planned = plan_release(store, bundle, progress=session.progress)
        session.done(planned, plan_lines(planned), plan_next(planned))
        return
    if session.dry_run:
        lines = what_would_happen(store, bundle)
        session.done({"would": lines}, lines, "muster release")
        return
    with errors_in_ci("release", junit, markdown):
        result = run(store, bundle, progress=session.progress)
    lines = [*gate_lines(result.verdict), *shown_twins(store, result.verdict.bundle), *what_was_signed(result)]
    error = None if result.shipped else held(result, has_live(result))
    after = f"muster approve {result.release.id}" if error is None else str(error.next)
    facts = {
        "release": result.release.id, "bundle": result.verdict.bundle[:16], "test labels": f"{result.n_test:,}",
        "look": f"{result.verdict.look}",
    }  # fmt: skip
    lines += write_ci_files(
        "release", checks_of(result.verdict), junit=junit, markdown=markdown, outcome=result.verdict.outcome,
        passed=result.shipped, facts=facts, notes=[*result.verdict.notes, *beyond_the_test(result), f"Next: {after}"],
    )  # fmt: skip
    if error is None:
        session.done(result, lines, after)
    else:
        session.failed(result, lines, error)


def gate_lines(verdict: Verdict) -> Iterator[str]:
    """The verdict in capitals, then a line for each gate: state, name, value, bound, reason."""
    yield f"{verdict.outcome}  bundle {verdict.bundle[:16]}"
    width = max((len(gate.gate) for gate in verdict.gates), default=0)
    for gate in verdict.gates:
        value = "" if gate.value is None else f"{gate.value:.4g}"
        bound = "" if gate.bound is None else f"{gate.bound:.4g}"
        yield f"  {gate.state:<14}  {gate.gate:<{width}}  {value:>8}  {bound:>8}  {gate.reason}"
    if levels := sorted({gate.level for gate in verdict.gates if gate.level is not None}):
        through = f" to {levels[-1]:.2g}, as others passed" if len(levels) > 1 else ""
        judged = f"labels are judged at a chance of error of {levels[0]:.2g}{through}"
        yield f"  {judged}; the report's intervals hold with 95 %"
    for note in verdict.notes:
        yield f"  note: {note}"


def what_was_signed(result: ReleaseResult) -> Iterator[str]:
    """The release, on how much evidence, and where it lies."""
    yield f"signed as {result.release.id} on {result.n_test:,} test labels, look {result.verdict.look}: {result.path}"
    if result.page is not None:
        yield f"the report with this verdict on it: {result.page}"
    if result.verdict.n_more_labels:
        from passmuster.metrics.gates.looks import next_batch

        n_more = result.verdict.n_more_labels
        n_next = next_batch(result.n_test, n_more, n_more)
        after = f"; look again after {n_next:,}, because few labels foretell this poorly" if n_next < n_more else ""
        yield f"about {n_more:,} more test labels would probably decide{after}"
        yield from beyond_the_test(result)


def beyond_the_test(result: ReleaseResult) -> Iterator[str]:
    """That a gate asks for more labels than the test has items, where one does."""
    most = max((gate.n_more or 0 for gate in result.verdict.gates if gate.state == "insufficient"), default=0)
    if most > result.n_unlabelled:
        yield (
            f"the test has {result.n_unlabelled:,} items left without a label: who asks for more has to add items "
            "(muster add), or train a better model"
        )


def has_live(result: ReleaseResult) -> bool:
    """Whether the bundle was compared with a live release."""
    return any(gate.gate == "non_inferiority.v1" and gate.state != "not applicable" for gate in result.verdict.gates)


def held(result: ReleaseResult, live: bool) -> HeldError:
    """The error that ends the command, with the way forward."""
    from passmuster.metrics.gates.base import UNMEASURED

    verdict, name = result.verdict, result.release.id
    states = ("failed",) if verdict.outcome == "HOLD" else ("insufficient",)
    gates = ", ".join(gate.gate for gate in verdict.gates if gate.state in states) or "no gate applied"
    canary = ' --channel canary --override "REASON"' if verdict.outcome == "HOLD" else " --provisional"
    beside = f"muster approve {name}{canary}"
    if verdict.outcome == "INSUFFICIENT" and result.past_live:
        way = f"{result.past_live}, then muster release {verdict.bundle[:16]}; or restore the live bundle from a backup"
        return HeldError("release.insufficient", "the live release does not open", value=gates, next=way)
    if verdict.outcome == "INSUFFICIENT":
        labels = more_evidence(verdict.n_more_labels, result.n_unlabelled, n_left_out(verdict))
        way = f"{labels}, then muster release; or {beside}"
        return HeldError("release.insufficient", "the evidence is insufficient", value=gates, next=way)
    left = n_left_out(verdict)
    first = f"{more_evidence(None, result.n_unlabelled, left)}; " if left else ""
    failed = [gate.reason for gate in verdict.gates if gate.state == "failed"]
    if failed and all(reason.endswith(UNMEASURED) for reason in failed):
        mend = "measure what was not measured, as the reasons say, or take those gates out of the policy"
    else:
        mend = after_a_hold(result.origin)
    way = f"{first}{mend}{f'; or {beside}' if live and not result.past_live else ''}"
    return HeldError("release.held", "a gate holds the release", value=gates, next=way)
