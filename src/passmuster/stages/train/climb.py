"""One step of the ladder: fit a rung, choose its engine, embed with it, and judge heads on labels they did not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from passmuster.core.budget import Deadline
from passmuster.modality.base import THROUGH, Embedded, Encoder, FitView, Rung
from passmuster.runtime.bundle import encoder_key
from passmuster.stages.train.distilling import judge_distilled, teacher_of
from passmuster.stages.train.embedding import Joined, choose_how_to_embed, embed, embed_seen, parts_of, positions_seen
from passmuster.stages.train.guarding import choosing_s
from passmuster.stages.train.judging import judge_heads
from passmuster.stages.train.pace import finish_s
from passmuster.stages.train.plan import Quote
from passmuster.stages.train.step import Climb, Climbed, OutOfTimeError, Phases
from passmuster.stages.train.taught import judge_taught

# Share of the time left that is kept, for a fit that uses its whole deadline, for embedding and propagation after it.
AFTER_FIT_SHARE = 0.22
CHOICE_SHARE, USUAL_WIDTH = 0.05, 512  # at most so much of it for choosing the guard; numbers of an embedding, guessed


def climb(step: Climb, rung: Rung, quote: Quote, *, before: Sequence[Climbed], later_s: float) -> Climbed:
    """Fit `rung` and judge heads on it. `before` are the rungs fitted already, `later_s` what those after it will need.

    Raises
    ------
    OutOfTimeError
        When the deadline would be broken and there is a fitted rung already.
    """
    run, task = step.run, step.task
    phases = Phases(step.meter)
    step.progress.say(f"{rung.name}: fitting (about {quote.seconds:.0f} s)")
    choice_s = min(choosing_s(step, USUAL_WIDTH), CHOICE_SHARE * max(0.0, step.deadline.left_s))
    end_s = step.least_heads_s(quote) + finish_s(before) + choice_s
    room = end_s + max(0.5, AFTER_FIT_SHARE * max(0.0, step.deadline.left_s))
    encoders = {fitted.rung.name: fitted.encoder for fitted in before}
    labels = task.labels if task.targets is None else np.full(len(task.pool), -1)  # no rung reads sets of classes
    parts = parts_of(rung, before)
    embedded = {part.rung.name: Embedded(part.seen, embed_seen(step, part)) for part in parts}
    view = FitView(task.payloads, labels, len(task.classes), step.store.config.train, encoders, embedded)
    stop = step.deadline.sooner(room)
    judged, by_fold = None, None
    teacher = teacher_of(task, rung, before) if rung.teachers else None
    if rung.held_out is not None:
        losses = [(fitted.rung.name, fitted.best.losses) for fitted in before]
        found = judge_taught(run, task, rung, view, stop, step.rng("held out", rung.name), losses, step.head_kind)
        phases.end("judge")
        if found is None:
            raise OutOfTimeError("teaching it for each fold")
        judged, by_fold = found
    encoder = _fitted(step, rung, view, stop)
    original = rung.export(encoder)
    phases.end("fit")
    served, choice, engines, folder = choose_how_to_embed(step, rung, original, parts)
    phases.end("engine")
    graph = replace(original, onnx=served)
    key = encoder_key(served, choice, graph.preprocess, graph.assets)
    until = step.deadline.sooner(end_s) if before else None
    seen = positions_seen(task, rung, step.seed)
    items = [task.pool[i] for i in seen], [task.payloads[i] for i in seen]
    joined = Joined(parts, encoder.arrays["scales"], encoder.arrays.get(THROUGH)) if parts else None
    pool = embed(step, graph, choice, folder, key, *items, stop=until, joined=joined)
    embed(step, graph, choice, folder, key, task.reference, task.reference_payloads, stop=until, joined=joined)
    phases.end("embed")
    if teacher is None:
        tried, spread_over, last_fit_s = judge_heads(step, rung, pool, seen, later_s, judged)
    else:
        taught = embed_seen(step, teacher, stop=until)
        tried, spread_over, last_fit_s = (judge_distilled(task, pool, seen, teacher, taught),), None, teacher.last_fit_s
    phases.end("heads")
    for result in tried:
        run.note("head", rung=rung.name, head=result.kind, log_loss=result.log_loss, accuracy=result.accuracy)
    return Climbed(
        rung,
        quote,
        encoder,
        graph,
        choice,
        folder,
        key,
        seen,
        tried,
        spread_over,
        last_fit_s,
        engines,
        phases,
        by_fold,
        teacher,
    )


def _fitted(step: Climb, rung: Rung, view: FitView, deadline: Deadline) -> Encoder:
    """The rung's encoder, from the run folder when an earlier process had finished it."""
    checkpoint = step.run.rung(rung.name)
    if checkpoint.load("encoder") is None:
        encoder = rung.fit(view, deadline, checkpoint, step.rng("fit", rung.name))
        if rung.write_folder is not None:
            rung.write_folder(encoder, checkpoint.folder / "transformers")
        checkpoint.save("encoder", encoder.arrays, encoder.settings)
        speed = dict(encoder.settings.get("speed", {}))  # tokens a second and their like, where a rung measured it
        if "utilisation" in speed:
            step.progress.say(f"{rung.name}: {speed['utilisation']:.0%} of the measured peak of matrix products")
        step.run.note("fitted", rung=rung.name, deadline_left_s=deadline.left_s, **speed)
    saved = checkpoint.load("encoder")  # read back, so that a run and its resumption go on from the same thing
    assert saved is not None
    return Encoder(rung.name, *saved)
