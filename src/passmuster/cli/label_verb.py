"""`muster label`: label one item after the other, here or in the browser; or read and write tables of labels."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from passmuster.cli.options import LabelColumn
from passmuster.cli.session import Session, session_of
from passmuster.core.errors import UsageError

if TYPE_CHECKING:
    from passmuster.flows.label_session import LabelSession
    from passmuster.stages.govern import Pinned

Purpose = Literal["train", "test"]


def label(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(help="A table of labels to read: id or path, label; or a Label Studio export.")
    ] = None,
    role: Annotated[
        str, typer.Option("--role", help="What the labels are for, train or test; otherwise by the item's split.")
    ] = "",
    who: Annotated[str, typer.Option("--who", help="Who labels.")] = "",
    n: Annotated[int, typer.Option("--n", help="How many items to label or to write.")] = 40,
    purpose: Annotated[
        str, typer.Option("--for", help="Items for train or for test; both, as is best, when left out.")
    ] = "",
    serve: Annotated[bool, typer.Option("--serve", help="Label in the browser: serve a page on this machine.")] = False,
    browse: Annotated[bool, typer.Option("--open", help="With --serve: open the page in the browser.")] = False,
    port: Annotated[int, typer.Option("--port", help="With --serve: the port; 0 takes a free one.")] = 0,
    skipped: Annotated[
        bool, typer.Option("--skipped", help="Ask again for items that were skipped, or drawn for the test and left.")
    ] = False,
    export: Annotated[Path | None, typer.Option("--export", help="Write items to label to this CSV file.")] = None,
    disputed: Annotated[
        bool, typer.Option("--disputed", help="With --export: items whose labels contradict each other.")
    ] = False,
    plan: Annotated[
        int, typer.Option("--plan", help="How to split so many labels between learning and evidence, and what for.")
    ] = 0,
    forecast: Annotated[bool, typer.Option("--forecast", help="Earlier forecasts beside what came of them.")] = False,
    label_column: LabelColumn = "",
    id_column: Annotated[str, typer.Option("--id-column", help="Column of ids or paths.")] = "",
) -> None:
    """Label items one by one, here or in the browser (--serve); or read a table of labels; or write one (--export)."""
    session = session_of(context)
    if (file is not None) + (export is not None) + serve + bool(plan) + forecast > 1:
        raise UsageError(
            "label.what",
            "name one of: a table to read, --export, --serve, --plan, --forecast",
            next="muster label --help",
        )
    if disputed and export is None:
        raise UsageError("label.what", "--disputed goes with --export", next="muster label --disputed --export FILE")
    wanted = _role(purpose, "--for")
    if session.dry_run and file is None and not forecast:
        would = (
            f"write {n:,} items to {export}" if export else "serve a page to label in" if serve else "ask for labels"
        )
        would = f"plan {plan:,} labels" if plan else would
        session.done({"would": would}, [f"would {would}; choosing items is recorded, so none was chosen"], next="")
        return
    if file is not None:
        given = {"label_column": label_column, "id_column": id_column}
        session.overrides.update({f"data.{key}": value for key, value in given.items() if value})
        _read(session, file, _role(role, "--role"), who)
    elif export is not None:
        _write_disputed(session, export) if disputed else _write(session, export, n, wanted, skipped)
    elif plan or forecast:
        from passmuster.cli.label_plan import show_checks, show_plan

        show_plan(session, plan) if plan else show_checks(session)
    elif serve:
        _serve(session, n, wanted, who, skipped, port, browse)
    else:
        _ask(session, n, wanted, who, skipped)


def _role(word: str, flag: str) -> Purpose | None:
    roles: dict[str, Purpose | None] = {"": None, "train": "train", "test": "test"}
    if word not in roles:
        raise UsageError("label.role", "no such role", value=word, limit="train, test", where=flag)
    return roles[word]


def _read(session: Session, file: Path, role: Purpose | None, who: str) -> None:
    from passmuster.cli.findings import finding_lines, findings_as_json, snapshot_lines
    from passmuster.core.codec import to_plain
    from passmuster.stages.govern import add_labels

    result = add_labels(session.store(), file, role=role, who=who, dry_run=session.dry_run)
    n_new = sum(result.n_new.values())
    changed = f" ({result.n_changed:,} of them say something else than before)" if result.n_changed else ""
    read = "would read" if session.dry_run else "read"
    lines = [
        f"{read} {result.n_read:,} rows from {file}: {n_new:,} new labels{changed}, {result.n_same:,} "
        f"known already, {result.n_empty:,} without a label",
        *(f"({note})" for note in result.notes),
    ]
    if session.dry_run:
        counts = " and ".join(f"{n:,} for {role}" for role, n in result.n_labels.items())
        lines.append(f"the project would have labels: {counts or 'none'}; findings come with the reading itself")
    elif result.snapshot:
        lines += snapshot_lines(result.snapshot, result.n_labels, is_new=result.is_new, n_unlearnt=result.n_unlearnt)
    if n_new and not session.dry_run:
        lines += finding_lines(result.findings)
    data = to_plain(result)
    data["findings"] = findings_as_json(result.findings)
    next = "muster train" if "train" in result.n_new else _evaluate(session)
    if session.dry_run:
        next = f"muster label {file}"
    if result.n_empty == result.n_read:
        next = f"fill in the column label, then muster label {file}"
    session.done(data, lines, next=next)


def _write(session: Session, path: Path, n: int, role: Purpose | None, again: bool) -> None:
    from passmuster.flows.label_export import export_labels

    n_written = export_labels(session.store(), path, n=n, role=role, again=again)
    session.done(
        {"path": str(path), "n": n_written, "role": role},
        [f"wrote {n_written:,} items to {path}; fill in the column label"],
        next=f"muster label {path}",
    )


def _write_disputed(session: Session, path: Path) -> None:
    from passmuster.flows.label_export import export_disputed

    n = export_disputed(session.store(), path)
    lines = [f"wrote {n:,} items to {path}, copies one below the other; settle what the column label says"]
    session.done({"path": str(path), "n": n}, lines, next=f"muster label {path}")


def _ask(session: Session, n: int, role: Purpose | None, who: str, again: bool) -> None:
    if session.no_input or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            "label.what",
            "labelling item by item needs a terminal",
            next="muster label --serve (in the browser), muster label --export FILE.csv, or muster label FILE.csv",
        )
    from passmuster.cli.label_terminal import ask
    from passmuster.flows.answers import pin_answers
    from passmuster.flows.label_session import LabelSession

    store = session.store()
    pin_answers(store, session.progress)  # of a session that was killed
    labelling = LabelSession(store, n=n, role=role, who=who, again=again, progress=session.progress)
    try:
        ask(labelling)
    finally:
        pinned = labelling.close()
    _tell_end(session, labelling, pinned)


def _serve(session: Session, n: int, role: Purpose | None, who: str, again: bool, port: int, browse: bool) -> None:
    from passmuster.console.label.server import LabelServing, serve

    def tell(serving: LabelServing) -> None:
        lines = [f"label in the browser: {serving.url}", "the address is secret; Ctrl-C ends"]
        session.done(serving, lines, next="")
        sys.stdout.flush()  # whoever started this process may be waiting for the address
        if browse:
            import webbrowser

            webbrowser.open(serving.url)

    labelling, pinned = serve(
        session.store(), n=n, role=role, who=who, again=again, port=port, progress=session.progress, on_ready=tell
    )
    if not session.as_json:
        _tell_end(session, labelling, pinned)


def _tell_end(session: Session, labelling: LabelSession, pinned: Pinned | None) -> None:
    n_labels = labelling.n_labels()
    lines = [
        f"labelled {labelling.n_done:,} items; the project has {n_labels['train']:,} labels for training and "
        f"{n_labels['test']:,} for the test"
    ]
    snapshot = pinned.snapshot.digest if pinned else ""
    for finding in pinned.findings if pinned else ():
        if finding.kind == "label_disagreement":
            lines.append(f"{finding.title} → {finding.remedy}")
    data = {"n_done": labelling.n_done, "n_labels": n_labels, "snapshot": snapshot}
    session.done(
        data, lines, next="muster train" if pinned else "muster label" if not labelling.n_done else _evaluate(session)
    )


def _evaluate(session: Session) -> str:
    """What comes after labels that teach nothing new: a look at the model, if there is one."""
    from passmuster.store.releases import read_bundles

    with session.store().read() as db:
        return "muster evaluate" if read_bundles(db) else "muster train"
