"""`muster cost`: what a training cost, what the project cost, and what each way to answer would cost over its life."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from passmuster.cli.session import session_of

if TYPE_CHECKING:
    from passmuster.core.lifetime import Candidate
    from passmuster.flows.cost import Lifetime, RunCost, Total
    from passmuster.store.store import Store


def cost(
    context: typer.Context,
    run: Annotated[
        str, typer.Argument(help="A training's folder or id, or a bundle (first digits); the latest if none.")
    ] = "",
    everything: Annotated[bool, typer.Option("--all", help="What the project has cost so far.")] = False,
    volume: Annotated[str, typer.Option(help="Predictions expected, for example 1m/month or 2000/day.")] = "",
    months: Annotated[float, typer.Option(help="For how many months.")] = 0.0,
    chart: Annotated[Path | None, typer.Option(help="Draw accuracy against price: .svg, .png or .html.")] = None,
) -> None:
    """Say what a training cost, what every candidate would cost over its life, and what each bundle takes to serve."""
    from passmuster.cli.cost_beside import beside_lines
    from passmuster.core.config import CostConfig
    from passmuster.flows import cost as flow
    from passmuster.flows.cost_beside import beside

    session = session_of(context)
    store = session.store()
    examples = store.config.cost == CostConfig()
    next_ = "put your own prices into [cost] of muster.toml" if examples else "muster cost --volume 10m/month"
    if everything:
        totals = flow.totals(store)
        session.done({"totals": totals, "prices": store.config.cost}, total_lines(totals, examples), next_)
        return
    brought = flow.not_trained_here(store, run)
    if brought is not None:
        among = beside(store, brought, volume=volume)
        data: dict[str, Any] = {
            "run": "",
            "account": None,
            "lifetime": None,
            "beside": among,
            "prices": store.config.cost,
        }
        session.done(data, [*beside_lines(among), *example_lines(examples)], next_)
        return
    found = flow.run_cost(store, run)
    life = flow.lifetime(store, found.run, volume=volume, months=months) if _has_rungs(store, found) else None
    if chart is not None and life is not None:
        from passmuster.cli.cost_chart import draw

        draw(life, chart)
    among = beside(store, volume=volume)
    data = {
        "run": found.run, "account": found.account, "lifetime": life, "beside": among, "prices": store.config.cost,
    }  # fmt: skip
    lines = [*run_lines(found), *(life_lines(life) if life else ())]
    if any(row.serving for row in among.rows) and not run:
        lines += ["", *beside_lines(among)]
    session.done(data, [*lines, *example_lines(examples)], next_)


def _has_rungs(store: Store, found: RunCost) -> bool:
    return (store.runs_folder / found.run / "rungs.json").is_file()


def run_lines(found: RunCost) -> Iterator[str]:
    """What one training took, and what each part cost."""
    from passmuster.cli.columns import table_lines

    cost, limits = found.account["cost"], found.account["limits"]
    currency = cost["currency"]
    state = {"done": "", "running": " (not finished)", "stopped": " (stopped by an error)"}[found.account["status"]]
    yield f"{found.run}{state}"
    rows = [
        ["machine", f"{cost['seconds']:.1f} s on {machine_words(cost)}", money(cost["money_machine"], currency)],
        ["processor", f"{cost['cpu_seconds']:.1f} s", ""],
        ["memory", f"{cost['peak_memory_bytes'] / 2**20:,.0f} MiB at most", ""],
        ["energy", f"{cost['energy_kwh']:.3g} kWh, {cost['energy_how']}", energy_money(cost)],
        ["all", limit_words(limits), money(cost["money"], currency)],
    ]
    yield from table_lines(["what", "amount", "price"], rows, left=2)


def machine_words(cost: Mapping[str, Any]) -> str:
    """Cores and cards."""
    gpus = f", {cost['n_gpus']} GPU" if cost["n_gpus"] else ""
    return f"{cost['n_cores']} cores{gpus}"


def energy_money(cost: Mapping[str, Any]) -> str:
    """Price of the energy, or that the machine's price holds it."""
    return money(cost["money_energy"], cost["currency"]) if cost["money_energy"] else "included"


def limit_words(limits: Mapping[str, Any]) -> str:
    """The limits that were set, the tighter first."""
    words = [f"limit {limits['time_s']:g} s"]
    if limits["max_cost"]:
        words.insert(0 if limits["by"] == "cost" else 1, f"{limits['max_cost']:g} {limits['currency']}")
    if limits["memory_bytes"]:
        words.append(f"{limits['memory_bytes'] / 2**20:,.0f} MiB")
    return ", ".join(words)


def life_lines(life: Lifetime) -> Iterator[str]:
    """The candidates, the recommendation, and where it changes."""
    from passmuster.cli.columns import table_lines

    yield ""
    yield f"{amount(life.per_month)} predictions a month for {life.months:g} months, in {life.currency}"
    headers = ["model", "cross-validated", "one by one", "in batches", "per million", "training", "lifetime", ""]
    yield from table_lines(headers, [_row(candidate, life) for candidate in life.candidates])
    yield "cross-validated: accuracy on training labels, to compare candidates; muster status has what the test says"
    if life.uncounted_costs:
        yield "what mistakes cost by [policy.costs] is not counted here; one price, cost.per_error, would be"
    if life.advice is None:
        yield "no candidate was judged: nothing to recommend"
        return
    yield f"recommended: {life.advice.name}"
    for reason in life.advice.reasons:
        yield f"  {reason}"
    yield f"  {changes_words(life)}"
    advised, served = life.advice.name.split()[0], {c.name.split()[0] for c in life.candidates if c.taken}
    if advised not in served:
        yield f"  to serve it: muster train --serve {advised}"
    yield f"one machine that is always on costs {money(life.machine_per_month, life.currency)} a month, whoever answers"


def _row(candidate: Candidate, life: Lifetime) -> list[str]:
    accuracy = "not judged" if candidate.accuracy is None else f"{candidate.accuracy:.3f}"
    notes = ["served"] if candidate.taken else []
    if life.advice and candidate.name in life.advice.dominated:
        notes.append(f"dominated by {life.advice.dominated[candidate.name]}")
    if candidate.refused:
        notes.append(f"refused: {candidate.refused}")
    return [
        candidate.name, accuracy, f"{candidate.single_items_per_s:,.0f}/s", f"{candidate.items_per_s:,.0f}/s",
        money(candidate.per_million), money(candidate.training), money(candidate.lifetime(life.n)), "; ".join(notes),
    ]  # fmt: skip


def changes_words(life: Lifetime) -> str:
    """At what volume another candidate is cheaper."""
    assert life.advice is not None
    changes = life.advice.changes
    if len(changes) == 1:
        return "the recommendation is the same at every volume"
    steps = [f"{changes[0][1]} first"]
    steps += [f"{name} from {amount(at / life.months)} predictions a month on" for at, name in changes[1:]]
    return "; ".join(steps)


def total_lines(totals: list[Total], examples: bool) -> Iterator[str]:
    """The project's costs by kind, and the sum by currency."""
    from passmuster.cli.columns import table_lines

    rows, sums = [], dict[str, float]()
    for total in totals:
        for currency, value in total.money.items():
            sums[currency] = sums.get(currency, 0.0) + value
        price = " + ".join(money(value, currency) for currency, value in total.money.items()) or "0"
        used = [f"{total.seconds:,.0f} s", f"{total.energy_kwh:.3g} kWh"] if total.seconds else ["", ""]
        rows.append([total.what, f"{total.n:,}", *used, price])
    rows.append(["all", "", "", "", " + ".join(money(value, currency) for currency, value in sums.items()) or "0"])
    yield from table_lines(["what", "how many", "time", "energy", "price"], rows)
    yield from example_lines(examples)


def example_lines(examples: bool) -> Iterator[str]:
    """That the prices are nobody's, while they are."""
    if examples:
        yield "the prices are examples, not yours (docs/how-to/budget.md)"


def amount(n: float) -> str:
    """A number of predictions.

    >>> amount(1_000_000), amount(12_345), amount(2.5e6)
    ('1 million', '12,345', '2.5 million')
    """
    return f"{n / 1e6:.3g} million" if n >= 1e6 else f"{n:,.0f}"


def money(value: float, currency: str = "") -> str:
    """An amount of money with digits that tell something."""
    from passmuster.core.cost import money as digits

    return f"{digits(value)} {currency}".rstrip()
