"""`muster drill gates`: plant faults in a copy of the model and see which gate stops each."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from passmuster.cli.session import session_of
from passmuster.core.errors import HeldError

if TYPE_CHECKING:
    from passmuster.flows.drill import DrillResult, Trial


class What(StrEnum):
    """What is rehearsed."""

    gates = "gates"


def drill(
    context: typer.Context,
    what: Annotated[What, typer.Argument(help="gates: which gate of the policy stops which fault.")],
    bundle: Annotated[str, typer.Argument(help="First digits of a bundle's digest; the live one when left out.")] = "",
    only: Annotated[list[str] | None, typer.Option("--only", help="A fault by name; may be repeated.")] = None,
    questions: Annotated[
        int | None, typer.Option("--questions", min=1, help="Most questions to a model behind an address; 2,000.")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Say which faults there are, and plant none.")] = False,
) -> None:
    """Plant faults in copies of the live model and its data, and see which gate or check stops each.

    The project stays as it is. Exits with 4 when a fault went through, or a copy without a fault was stopped.
    """
    session = session_of(context)
    if listed:
        from passmuster.flows.drill import faults

        rows = [{"fault": n, "group": f.group, "touches": f.touches, "summary": f.summary} for n, f in faults.items()]
        lines = [f"{row['fault']:<32} {row['group']:<10} {row['summary']}" for row in rows]
        session.done({"faults": rows}, lines, "muster drill gates")
        return
    from passmuster.flows.drill import drill_gates
    from passmuster.flows.drill.bought import MOST_QUESTIONS

    store = session.store()
    if session.dry_run:
        lines = ["would open the test, which does not count, and plant faults in a copy; nothing is kept"]
        session.done({"would": lines}, lines, "muster drill gates")
        return
    result = drill_gates(
        store, bundle, only=only or (), seed=store.config.train.seed, most_questions=questions or MOST_QUESTIONS,
        progress=session.progress,
    )  # fmt: skip
    data = {**vars(result), "n_unstopped": len(result.unstopped), "n_false_stops": len(result.false_stops)}
    n_wrong = len(result.unstopped) + len(result.false_stops)
    if not n_wrong:
        session.done(data, lines_of(result, store.config.cost.currency), "")
        return
    advice = sorted({gate for trial in result.unstopped for gate in (trial.would_stop or {})})
    error = HeldError(
        "drill.unstopped", "a fault went through" if result.unstopped else "a copy without a fault was stopped",
        value=", ".join(t.fault for t in (*result.unstopped, *result.false_stops)),
        next=f"add {advice[0]} to [policy.gates] in muster.toml" if advice else None,
    )  # fmt: skip
    session.failed(data, lines_of(result, store.config.cost.currency), error)


def lines_of(result: DrillResult, currency: str) -> Iterator[str]:
    """A row per fault, then what was not stopped and what would have."""
    yield f"bundle {result.bundle[:16]}, {result.n_test:,} labelled test items; its healthy copy: {result.healthy}"
    for gate in result.healthy_gates:
        if gate.state in ("failed", "insufficient"):
            yield f"  the healthy copy does not pass {gate.gate} either: {gate.reason}"
    yield ""
    yield f"{'fault':<32} {'stopped by':<44} {'accuracy':>9}  verdict"
    for trial in result.trials:
        yield row_of(trial)
    planted, harmless = result.faulty, result.harmless
    yield ""
    yield f"{len(planted) - len(result.unstopped)} of {len(planted)} faults stopped"
    if blind := [t for t in result.trials if t.state == "changes nothing"]:
        yield f"{len(blind)} more change nothing that this model says, and count neither way"
    if result.n_questions:
        price = f", about {result.price:.2g} {currency}" if result.price else ""
        yield f"{result.n_questions:,} questions were put to the model's address{price}"
    if harmless:
        yield f"{len(result.false_stops)} of {len(harmless)} copies without a fault stopped"
    for trial in result.unstopped:
        yield f"NOT STOPPED  {trial.fault}: {trial.summary}"
        for name, given in (trial.would_stop or {}).items():
            numbers = ", ".join(f"{key} = {value:g}" for key, value in given.items())
            yield f'    would stop it, in [policy.gates] of muster.toml: "{name}" = {{ {numbers} }}'
        if trial.n_labels_to_stop:
            yield f"    about {trial.n_labels_to_stop:,} test labels would stop it (there are {result.n_test:,})"
        elif not trial.would_stop:
            yield "    no gate there is would stop it"
    for trial in result.false_stops:
        yield f"STOPPED FOR NOTHING  {trial.fault}: {trial.summary}: {'; '.join(trial.reasons)}"


def row_of(trial: Trial) -> str:
    """One fault."""
    if trial.state in ("not here", "changes nothing"):
        return f"{trial.fault:<32} {trial.state}: {trial.reasons[0]}"
    stopped: Any = trial.stopped_by
    by = ", ".join(stopped[:2]) + (f" and {len(stopped) - 2} more" if len(stopped) > 2 else "")
    change = "" if trial.accuracy_change is None else f"{100 * trial.accuracy_change:+.1f}"
    nothing = "-" if trial.group == "harmless" else "NOTHING"
    return f"{trial.fault:<32} {by or nothing:<44} {change:>9}  {trial.outcome or ''}".rstrip()
