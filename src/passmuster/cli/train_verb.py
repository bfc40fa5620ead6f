"""`muster train`: learn within a budget and leave an unsigned bundle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from passmuster.cli.session import LIMIT_FLAGS, Session, session_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from passmuster.stages.train import TrainResult
    from passmuster.store.store import Store


def train(
    context: typer.Context,
    rung: Annotated[list[str] | None, typer.Option(help="Try only this rung; may be given again.")] = None,
    serve: Annotated[
        str, typer.Option(help="The rung to serve, such as the light one that muster cost recommends.")
    ] = "",
    pretrained: Annotated[
        bool, typer.Option("--pretrained/--no-pretrained", help="Whether pretrained encoders may be used.")
    ] = True,
    snapshot: Annotated[str, typer.Option(help="First digits of a dataset version; the latest when left out.")] = "",
) -> None:
    """Learn from raw items and a few labels within --time; killed, the same command goes on where it stopped."""
    from passmuster.core.budget import process_start_age_s

    session = session_of(context)
    if rung:
        session.overrides["train.rungs"] = list(rung)
    if serve:
        session.overrides["train.serve"] = serve
    if not pretrained:
        session.overrides["train.pretrained"] = False
    store = session.store()
    if session.dry_run:
        from passmuster.stages.train import price

        rows = price(store, started_s_ago=process_start_age_s(), snapshot=snapshot, progress=session.progress)
        session.done({"rungs": rows}, price_lines(rows), f"muster train{limits_given(session)}")
        return
    from passmuster.flows.answers import pin_answers
    from passmuster.stages.train import train as run

    if not snapshot:
        pin_answers(store, session.progress)
    result = run(store, started_s_ago=process_start_age_s(), snapshot=snapshot, progress=session.progress)
    session.done(result, result_lines(result), next_of_training(store))


def next_of_training(store: Store) -> str:
    """What leads to a verdict on a new bundle: its release, or test labels first where they are too few."""
    from passmuster.flows.next_steps import first_verdict
    from passmuster.flows.status import count_test

    return first_verdict(*count_test(store))


def limits_given(session: Session) -> str:
    """Limits that came with the command, as they are written on a command line: what was priced is what is begun."""
    given = [(flag, session.overrides[key]) for key, flag in LIMIT_FLAGS.items() if key in session.overrides]
    return "".join(f" {flag} {value}" for flag, value in given)


def price_lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    """A line for each rung: what it would cost, and why it would be left out."""
    from passmuster.core.cost import money

    for row in rows:
        price = f"{row['seconds']:>7.1f} s  {money(row['money']):>8} {row['currency']}"
        yield f"{row['rung']:<16}  {price}  {row['refused'] or row['note']}"


def result_lines(result: TrainResult) -> Iterator[str]:
    """A table of rungs, what came of the run, and what it cost."""
    from passmuster.core.codec import to_plain
    from passmuster.core.cost import in_words

    yield f"{'rung':<16}  {'price':>8}  {'took':>8}  {'log-loss':>8}  {'accuracy':>8}  {'gain':>7}"
    for row in result.rungs:
        yield rung_line(row)
    resumed = ", gone on with after a stop" if result.resumed else ""
    yield (
        f"bundle {result.bundle[:16]}: {result.rung} with a {result.head} head, {len(result.classes)} classes, "
        f"{result.n_labels:,} labels, {result.n_pool:,} items, {result.seconds:.1f} s of {result.budget_s:g} s{resumed}"
    )
    yield f"cost {in_words(to_plain(result.cost))}"
    yield from lighter_lines(result.rungs)


WORTH_TELLING = 3.0  # times as many answers a second


def lighter_lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A rung that answers several times as many a second as the chosen one, and may be as right; the best of them."""
    fitted = [row for row in rows if "left_out" not in row]
    chosen = next(row for row in fitted if row["chosen"])
    times = {row["rung"]: _items_per_s(row) / _items_per_s(chosen) for row in fitted}
    as_good = [row for row in fitted if row["accuracy_behind"]["difference"] <= row["accuracy_behind"]["se"]]
    light = [row for row in as_good if times[row["rung"]] >= WORTH_TELLING]
    if light:
        name = min(light, key=lambda row: row["log_loss"])["rung"]
        yield (
            f"{name} answers {times[name]:.0f} times as many a second and may be as right (muster cost): "
            f"muster train --serve {name}"
        )


def _items_per_s(row: Mapping[str, Any]) -> float:
    return next(float(engine["items_per_s"]) for engine in row["engines"] if engine["taken"])


def rung_line(row: Mapping[str, Any]) -> str:
    """One rung: price, time taken, cross-validated log-loss and accuracy, gain; or why it was left out."""
    price = f"{row['rung']:<16}  {row['quote']['seconds']:>6.1f} s"
    if "left_out" in row:
        return f"{price}  {row['left_out']}"
    gain = "" if row["gain_se"] == 0 else f"{row['gain']:+.3f}"
    mark = "  chosen" if row["chosen"] else ("" if row["helped"] else "  did not help")
    figures = f"{row['seconds']:>6.1f} s  {row['log_loss']:>8.3f}  {row['accuracy']:>8.3f}  {gain:>7}"
    return f"{price}  {figures}{mark}"
