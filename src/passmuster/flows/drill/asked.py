"""Faults in how a model behind an address is asked, and in how its answers are read. None needs its weights."""

from __future__ import annotations

from dataclasses import replace

from passmuster.flows.drill.base import NotHereError, Parts, fault
from passmuster.flows.drill.bought import asked_otherwise, asking_in, instruction_of, with_instruction
from passmuster.flows.drill.scene import Scene, rarest_named
from passmuster.runtime.endpoint import Asking

OF_ANOTHER_TASK = "Is the mood of this message positive, negative or neutral? Answer with that word and nothing else."


@fault(
    "names_exchanged.v1", "what the endpoint calls one class is read as another, and the other way round",
    group="packaging", touches="class names",
)  # fmt: skip
def names_exchanged(scene: Scene) -> Parts:
    """As where two lines under [names] were mixed up; the two rarest, so that the headline moves least."""
    known = asking_in(scene.parts).classes
    a, b = (known[c] for c in rarest_named(scene)[:2])
    other = {a: b, b: a}

    def mixed(asking: Asking) -> Asking:
        names = {theirs: other.get(ours, ours) for theirs, ours in asking.endpoint.names.items()}
        return replace(asking, endpoint=replace(asking.endpoint, names={**other, **names}))

    return asked_otherwise(scene.parts, mixed)


@fault(
    "prompt_of_another_task.v1", "the model is told to do another task", group="packaging", touches="prompt",
)  # fmt: skip
def prompt_of_another_task(scene: Scene) -> Parts:
    """The longest text around the items is that of another project; what stands for the item stays where it is.

    The only fault that asks anew: every test item once, where no check ends it before.
    """
    body = asking_in(scene.parts).endpoint.body
    told = instruction_of(body)
    if not told:
        raise NotHereError("nothing in what is sent tells the model what to do")
    place = next((place for place in ("{text}", "{image}") if place in told), "")
    new = f"{OF_ANOTHER_TASK} {place}".strip()
    other = with_instruction(body, told, new)
    return asked_otherwise(
        scene.parts, lambda asking: replace(asking, endpoint=replace(asking.endpoint, body=other))
    )  # fmt: skip
