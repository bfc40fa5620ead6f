"""What `muster release --plan` prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from passmuster.flows.next_steps import more_evidence

if TYPE_CHECKING:
    from passmuster.flows.release_plan import ReleasePlan
    from passmuster.metrics.gates.plan import Plan


def plan_lines(found: ReleasePlan) -> Iterator[str]:
    """What is known beforehand, a line for each gate, and the labels that would decide all of them."""
    prospect, plan = found.prospect, found.plan
    looks = f"{found.n_looks:.3g} of {found.max_looks} looks spent"
    yield f"bundle {found.bundle[:16]}: {prospect.n:,} test labels, {looks}; no label is read for this"
    if prospect.design_effect > 1.05:
        yield (
            f"  they come from {found.n_clusters:,} people or templates, and are worth about {prospect.n_effective:,} "
            "if half of what one of them shows goes for its others"
        )
    if found.read_before is not None:
        n, worth = found.read_before
        yield (
            f"  each label counts as one here; in the last report {n:,}, read together with the items that have none, "
            f"were worth {worth:,.0f}, so that fewer than named here may do"
        )
    if prospect.accuracy is not None:
        yield f"  assumed: accuracy {prospect.accuracy:.3f}, {found.assumed_as}"
    if prospect.differ is not None:
        yield f"  measured: the live release answers {prospect.differ:.1%} of the test items differently"
    if found.incumbent:
        yield f"  {found.noise or 'the A/A noise bound is not known before the first evaluation'}"
    yield f"  {level_words(plan)}; what is said of it holds with {plan.power:.0%} at that level:"
    width = max((len(forecast.gate) for forecast in plan.forecasts), default=0)
    for forecast in plan.forecasts:
        yield f"  {forecast.gate:<{width}}  {forecast.bound:>6.4g}  {forecast.reason}"
    if found.unopened:
        yield (
            f"the live release does not open ({found.unopened}): gates that compare with it cannot be told, and are "
            "left out; muster status names the way past it"
        )
    if found.failed:
        yield f"in the last verdict these failed, and labels alone may not change that: {', '.join(found.failed)}"
    if found.n_for_a_look:
        yield (
            f"the looks at this test are spent: about {found.n_for_a_look:,} fresh test labels make room for another, "
            "and nothing can pass before"
        )
    if plan.n_together is not None:
        brings = "pass the gates foretold here" if plan.unforeseen else "bring SHIP"
        yield (
            f"about {plan.n_together:,} labels {brings} with {plan.power:.0%}, if what is assumed is true and the "
            "gates that no label decides pass"
        )
    elif any(forecast.assumed is not None and forecast.n_needed is None for forecast in plan.forecasts):
        yield "no number of labels brings SHIP, if what is assumed is true: a better model is needed, or another bound"
    if plan.unforeseen:
        names = ", ".join(plan.unforeseen)
        yield f"not in that number, because nothing is known beforehand of what they judge: {names}"


def level_words(plan: Plan) -> str:
    """At which level gates are judged: what passes leaves its part to the rest."""
    whole = plan.level * len(plan.forecasts)
    if len(plan.forecasts) < 2:
        return f"the gate is judged at {whole:.2g}"
    return f"each gate is first judged at {plan.level:.2g}, the last one left when others have passed at {whole:.2g}"


def plan_next(found: ReleasePlan) -> str:
    """More labels where they are missing, else the release itself."""
    need = max(found.plan.n_together or 0, found.prospect.n + found.n_for_a_look)
    if need <= found.prospect.n:
        return f"muster release {found.bundle[:16]}"
    return f"{more_evidence(need - found.prospect.n, found.n_unlabelled)}, then muster release"
