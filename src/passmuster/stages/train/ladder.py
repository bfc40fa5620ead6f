"""The ladder: every rung whose price fits the limits when its turn comes, how the fitted ones stand, and their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from passmuster.core.errors import BudgetError, ResourceError
from passmuster.core.meter import MemoryOverError, ran_out_of_memory
from passmuster.learn.priors import prior_gains
from passmuster.learn.select import Standing
from passmuster.modality.base import Rung
from passmuster.stages.train.choosing import standings_of
from passmuster.stages.train.climb import climb
from passmuster.stages.train.embedding import parts_of
from passmuster.stages.train.finish import behind, rung_row
from passmuster.stages.train.limits import Limits
from passmuster.stages.train.pace import finish_s, pace_of
from passmuster.stages.train.plan import Quote, needs
from passmuster.stages.train.step import Climb, Climbed, NotWorthError, OutOfTimeError
from passmuster.stages.train.task import Task

SLOW = 1.3  # times what was quoted, from which a refusal says it


def climb_all(step: Climb, quotes: list[dict[str, Any]], limits: Limits) -> tuple[list[Climbed], dict[str, str]]:
    """Every rung whose price fits the time left when its turn comes; and why the others were left out."""
    climbed: list[Climbed] = []
    left_out = {quote["rung"]: quote["refused"] for quote in quotes if quote["refused"]}
    wanted = [Quote(**quote) for quote in quotes if not quote["refused"]]
    for position, quote in enumerate(wanted):
        pace = pace_of(climbed)
        at_pace, rung = step.at_pace(pace), step.task.modality.rungs[quote.rung]
        encoder_s = pace * (quote.encoder_s + _parts_s(rung, wanted, climbed))
        needed = encoder_s + at_pace.least_heads_s(quote) + finish_s(climbed)
        later = [pace * later.encoder_s + at_pace.least_heads_s(later) for later in wanted[position + 1 :]]
        later_s = _later_s(later, step.deadline.left_s - needed)
        verdict = step.run.decide(f"climb-{quote.rung}", partial(_worth, at_pace, limits, needed, bool(climbed)))
        if verdict["refused"]:
            left_out[quote.rung] = verdict["refused"]
            step.progress.say(f"{quote.rung}: {verdict['refused']}")
            continue
        late = step.run.path / "decisions" / f"late-{quote.rung}.json"
        if late.is_file():
            left_out[quote.rung] = step.run.decide(f"late-{quote.rung}", dict)["refused"]
            continue
        try:
            climbed.append(climb(at_pace, rung, quote, before=climbed, later_s=later_s))
        except OutOfTimeError as error:
            why = f"left out: the {limits.by} ran out while {error}"
        except NotWorthError as error:
            why = str(error)
        except (MemoryOverError, Exception) as error:
            if not climbed or not ran_out_of_memory(error):
                raise
            why = f"left out: it took more memory than {limits.memory_words}"
        else:
            why = ""
        if why:  # outside the handler, which would keep alive what the rung had made
            step.meter.forgive()
            left_out[quote.rung] = step.run.decide(f"late-{quote.rung}", partial(dict, refused=why))["refused"]
            step.progress.say(f"{quote.rung}: {left_out[quote.rung]}")
            continue
        best = climbed[-1].best
        step.progress.say(
            f"{rung.name}: cross-validated accuracy {best.accuracy:.3f}, log-loss {best.log_loss:.3f} ({best.kind})"
        )
    return climbed, left_out


def _parts_s(rung: Rung, wanted: Sequence[Quote], climbed: Sequence[Climbed]) -> float:
    """Seconds beside the quote of a rung whose parts were counted on, and are not there to be put together."""
    counted_on = {quote.rung: quote.encoder_s for quote in wanted}
    if not rung.parts or parts_of(rung, climbed) or any(name not in counted_on for name in rung.parts):
        return 0.0
    return sum(counted_on[name] for name in rung.parts)


def _later_s(prices: list[float], room_s: float) -> float:
    """What the rungs still to come will take: those that fit into the room, in their order.

    >>> _later_s([5.0, 100.0, 4.0], 10.0)
    9.0
    """
    taken = 0.0
    for price_s in prices:
        if taken + price_s <= room_s:
            taken += price_s
    return taken


def _worth(step: Climb, limits: Limits, needed_s: float, has_one: bool) -> dict[str, Any]:
    if has_one and needed_s > step.deadline.left_s:
        slow = f"; this machine takes {step.pace:.1f} times what was quoted" if step.pace >= SLOW else ""
        return {"refused": f"{limits.by}: needs {needs(needed_s, step.deadline, limits)} left{slow}"}
    return {"refused": ""}


def stand(
    task: Task, climbed: list[Climbed], limits: Limits, serve: str = "", left_out: Mapping[str, str] | None = None
) -> list[Standing]:
    """Standings of the fitted rungs; the best bet is chosen, or the one that `serve` names.

    Raises
    ------
    BudgetError
        ``budget.time`` or ``budget.cost`` when none was fitted.
    ResourceError
        ``rung.not_there`` when the one to be served was not fitted; `left_out` says why.
    """
    if not climbed:
        given = {"time": "time", "cost": "money"}[limits.by]
        option = {"time": "--time", "cost": "--max-cost"}[limits.by]
        raise BudgetError(
            f"budget.{limits.by}", f"no rung could be fitted in the {given} given", next=f"give it more: {option}"
        )
    standings = standings_of(task, [(c.rung.name, c.best.losses) for c in climbed])
    if not serve:
        return standings
    if serve not in {standing.name for standing in standings}:
        raise ResourceError(
            "rung.not_there", f"{serve} is to be served (train.serve) and was not fitted",
            value=(left_out or {}).get(serve, "not among the rungs tried"), next="muster train without --serve",
        )  # fmt: skip
    return [replace(standing, chosen=standing.name == serve) for standing in standings]


def rows_of(
    task: Task,
    quotes: list[dict[str, Any]],
    climbed: list[Climbed],
    standings: list[Standing],
    left_out: Mapping[str, str],
    decide: Mapping[str, float],
) -> list[dict[str, Any]]:
    """Rows of ``rungs.json``: price, seconds, measured and expected gain, and where it did not help."""
    fitted = {c.rung.name: (c, s) for c, s in zip(climbed, standings, strict=True)}
    most_right = max(climbed, key=lambda c: c.best.accuracy)
    rows = []
    for quote in quotes:
        row: dict[str, Any] = {"rung": quote["rung"], "quote": quote}
        if quote["rung"] in fitted:
            done, standing = fitted[quote["rung"]]
            (prior,) = prior_gains(task.modality.name, [quote["rung"]], len(task.classes))
            row = {**row, **rung_row(done), "gain": standing.gain, "gain_se": standing.gain_se,
                   "expected_gain": standing.expected_gain, "prior": prior, "chosen": standing.chosen,
                   "helped": done is climbed[0] or standing.expected_gain > 0, "decide": decide,
                   "accuracy_behind": behind(done, most_right)}  # fmt: skip
        else:
            row = {**row, "chosen": False, "left_out": left_out[quote["rung"]]}
        rows.append(row)
    return rows
