"""`muster audit`: is what is live still what was approved, by today's gates and by what is known of its packages?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from passmuster.cli.options import Junit, Markdown
from passmuster.cli.session import session_of
from passmuster.core.errors import HeldError, IntegrityError, MusterError

if TYPE_CHECKING:
    from passmuster.flows.audit import AuditResult


def audit(
    context: typer.Context,
    advisories: Annotated[
        Path | None, typer.Option("--advisories", help="A local file of OSV records to hold packages against.")
    ] = None,
    again: Annotated[
        bool,
        typer.Option(
            "--again",
            help="Evaluate once more first, faults and the signed report's attacks included; counts as a look.",
        ),
    ] = False,
    junit: Junit = None,
    markdown: Markdown = None,
) -> None:
    """Review the live release: its bytes, its approval, today's gates, its packages; exit 4 when something is open."""
    from passmuster.cli.ci_files import errors_in_ci, write_ci_files
    from passmuster.flows.audit import audit as run

    session = session_of(context)
    with errors_in_ci("audit", junit, markdown):
        store = session.store()
    if session.dry_run:
        what = "evaluate the live release once more, which counts, and " if again else ""
        lines = [
            f"would {what}judge it by {', '.join(store.config.policy.gates)} and look at its approval and packages"
        ]
        session.done({"would": lines}, lines, "muster audit")
        return
    with errors_in_ci("audit", junit, markdown):
        found = run(store, advisories=advisories, again=again, progress=session.progress)
    error = None if found.passed else open_points(found)
    after = f"muster watch ({found.renewal} renews its approval)" if error is None else str(error.next)
    written = write_ci_files(
        "audit", found.checks, junit=junit, markdown=markdown, outcome="passed" if found.passed else "not passed",
        passed=found.passed, facts={"release": found.release.id}, notes=[f"Next: {after}"],
    )  # fmt: skip
    lines = [*lines_of(found), *written]
    if error is None:
        session.done(found, lines, after)
    else:
        session.failed(found, lines, error)


def lines_of(found: AuditResult) -> Iterator[str]:
    """The release, then a line for each check."""
    yield f"audit of {found.release.id}, live: {'passed' if found.passed else 'not passed'}"
    width = max(len(check.name) for check in found.checks)
    for check in found.checks:
        yield f"  {check.state:<14}  {check.name:<{width}}  {check.reason}"


def open_points(found: AuditResult) -> MusterError:
    """The error that ends the command, with the way forward."""
    names = ", ".join(check.name for check in found.checks if check.state in ("failed", "insufficient"))
    if not found.whole:
        return IntegrityError(
            "audit.bundle",
            "the live bundle is not what was signed",
            value=names,
            next="muster verify names all that is wrong, muster status the way on",
        )
    ended = [check for check in found.checks if check.name.startswith("approval") and check.state == "failed"]
    if len(ended) == names.count(",") + 1:
        away = "muster rollback canary --reason REASON, or muster approve --channel canary once its verdict is SHIP"
        renewed = [found.renewal] if any(check.name == "approval.live" for check in ended) else []
        renewed += [away] if any(check.name == "approval.canary" for check in ended) else []
        return HeldError("audit.expired", "an approval has ended", value=names, next="; ".join(renewed))
    back = "; muster rollback puts the last back" if found.can_go_back else ""
    return HeldError(
        "audit.open", "the live release does not pass today's audit", value=names,
        next=f"mend what is named, or muster train and muster release a better one{back}",
    )  # fmt: skip
