"""What `muster label --plan N` and `--forecast` show: where labels are worth most, and whether forecasts came true."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passmuster.cli.session import Session

if TYPE_CHECKING:
    from passmuster.flows.label_checks import ForecastCheck
    from passmuster.flows.label_plan import LabelPlan
    from passmuster.learn.forecast import Forecast


def show_plan(session: Session, n: int) -> None:
    """How to split `n` labels, why, and what they are likely to bring; written into the ledger."""
    from passmuster.flows.label_plan import plan_labels

    plan = plan_labels(session.store(), n, progress=session.progress)
    session.done(plan, plan_lines(plan), next=plan.mend or f"muster label --n {n}")


def show_checks(session: Session) -> None:
    """What was foretold, and what came."""
    from passmuster.flows.label_checks import check_forecast

    checks = check_forecast(session.store())
    lines = [check_line(check) for check in checks]
    if checks:
        kept = sum(check.inside for check in checks)
        lines.append(f"{kept} of {len(checks)} came out inside their 80 % interval")
    else:
        lines = ["no forecast can be held against a later training yet"]
    session.done({"checks": checks}, lines, next="muster label --plan 12")


def plan_lines(plan: LabelPlan) -> list[str]:
    """A plan in plain words."""
    if plan.mend:
        return [f"none of {plan.n:,} labels would change the verdict: {plan.why[0]}", f"what does: {plan.mend}"]
    lines = [f"of {plan.n:,} labels: {plan.n_train:,} to learn from, {plan.n_test:,} as evidence", *plan.why]
    if plan.forecast and plan.n_train:
        lines.append(f"{plan.n_train:,} more labels to learn from: {gain_in_words(plan.forecast, plan.measure.words)}")
    if plan.forecast_dozen and plan.n_train != plan.forecast_dozen.n_more:
        lines.append(f"the next dozen: {gain_in_words(plan.forecast_dozen, plan.measure.words)}")
    if plan.verdict:
        chance = plan.verdict.chance
        more = f"{plan.verdict.n_more:,} more test labels"
        told = "" if chance is None else f"; {more} decide it with a chance of {chance:.0%}"
        lines.append(f"last verdict {plan.verdict.outcome}: {plan.verdict.why}{told}")
    return lines


def gain_in_words(forecast: Forecast, measure: str = "accuracy") -> str:
    """A gain of a measure in points with its interval.

    >>> from passmuster.learn.forecast import forecast_gain
    >>> gain_in_words(forecast_gain(40, 12, 0.2, n_classes=4))
    'accuracy from about 80.0 % by +1.3 points (-1.0 to +3.6 with a chance of 80%)'
    """
    low, high = 100 * forecast.low, 100 * forecast.high
    return (
        f"{measure} from about {100 * (1 - forecast.error):.1f} % by {100 * forecast.gain:+.1f} points "
        f"({low:+.1f} to {high:+.1f} with a chance of {forecast.level:.0%})"
    )


def check_line(check: ForecastCheck) -> str:
    """One forecast beside its outcome."""
    kept = "inside" if check.inside else "OUTSIDE"
    line = (
        f"{check.at[:16]}  {check.n_labels:,} + {check.n_added:,} labels: foretold {100 * check.gain:+.1f} points "
        f"({100 * check.low:+.1f} to {100 * check.high:+.1f}), seen {100 * check.seen:+.1f} "
        f"give or take {100 * check.seen_half:.1f} by {check.by}: {kept}"
    )
    if check.foretold_chance is not None and check.decided is not None:
        outcome = "decided" if check.decided else "still open"
        line += f"; verdict foretold to be decided with {check.foretold_chance:.0%}: {outcome}"
    return line
