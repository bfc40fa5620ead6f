"""`conv.v1`: a small convolutional encoder, taught by every unlabelled picture where its neighbourhood lies.

1. Gradient features of the pool, under the linear map that makes random views of one picture agree (`invariance`).
2. The graph of nearest neighbours, and each picture's place in it (`neighbourhood`).
3. A convolutional network beside the gradient features learns to send every random view of a picture to that place:
   views of one picture agree, and so do neighbours, while different regions keep apart because their places differ.
   There is no teacher network and no queue.

What is served is the network's answer beside the map of step 1. Labels are never read. The number of steps is fixed
after a short calibration and kept in the checkpoint, so that a killed run goes on to the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from passmuster.core.budget import Deadline, Machine
from passmuster.core.config import TrainConfig
from passmuster.core.records import Price
from passmuster.learn.device import begin_on, training_device
from passmuster.learn.precision import bf16_is_native
from passmuster.learn.steps import take_steps, torch_threads, typical_s
from passmuster.modality.base import Checkpoint, Encoder, EncoderGraph, FitView, Profile, Rung
from passmuster.modality.image.rungs import network
from passmuster.modality.image.rungs.gradients import add_gradients, gradient_model, gradient_width, gradient_work
from passmuster.modality.image.rungs.graphs import GraphBuilder
from passmuster.modality.image.rungs.invariance import WIDTH, Projection, fit_projection
from passmuster.modality.image.rungs.neighbourhood import affordable, places
from passmuster.modality.image.rungs.pixels import (
    Frame,
    choose_frame,
    frame_of,
    frame_settings,
    runner,
    working_size,
)
from passmuster.modality.image.rungs.prices import embed_s, look_s
from passmuster.modality.image.rungs.views import MILD, random_views

BATCH = 256
N_PROJECTED, N_VIEWS = 4_000, 4  # pictures, and views of each, that the invariant map is fitted to
MAX_PLACES = 60_000  # pictures in the graph; others are not learnt from
PLACES_SHARE = 0.3  # of the time given, at most, for the graph
MAX_EPOCHS = 30  # more passes no longer help
MIN_STEPS, MAX_STEPS_OF_SMALL = 60, 600
SAVE_EVERY_S = 20.0
IMPORT_S = 4.0
MARGIN = 0.08  # of the time for steps, because steps late in a run may be slower than those measured
N_TIMED = 3  # steps, of which the median counts
STEP_EFFICIENCY = 0.42  # share of the measured matrix-product speed that a training step reaches
SEARCH_FLOPS = 600.0  # finding the nearest among the products, per pair, in operations of a matrix product
SPREAD_S = 8e-5  # per picture: building the graph and spreading over it
VIEW_S = 1e-4


def available(train: TrainConfig) -> str:
    """Needs torch."""
    from importlib.util import find_spec

    return "" if find_spec("torch") else "torch is not installed"


def quote(machine: Machine, profile: Profile) -> Price:
    """The least time that is useful: the graph, `MIN_STEPS` steps, and embedding. `fit` uses more where it is given."""
    size = working_size(profile.mean_size**0.5)
    n_gradients = gradient_width(size, 3)
    speed = machine.matmul_gflops * 1e9
    n = min(MAX_PLACES, profile.n_pool)
    products = network.forward_products(size, 3, n_gradients)
    steps = MIN_STEPS * min(BATCH, n) * 6 * products / (speed * STEP_EFFICIENCY)
    graph = n * n * (2.0 * WIDTH + SEARCH_FLOPS) / speed + n * SPREAD_S
    work = gradient_work(size)
    once = embed_s(machine, profile, size, **work)
    again = embed_s(machine, profile, size, products=work["products"] + products, elements=work["elements"])
    views = N_VIEWS * min(N_PROJECTED, n) * (once / max(1, profile.n_pool) + VIEW_S)
    memory = 560 * 2**20 + profile.n_pool * (3 * size * size + 4 * (2 * n_gradients + 3 * WIDTH)) + 4 * 2 * 512 * n
    least_s = look_s(profile) + IMPORT_S + once + views + graph + steps + again
    return Price(least_s, memory, "uses the time that it is given", elastic=True)


@dataclass(frozen=True)
class Plan:
    """What was fixed after calibration."""

    n_steps: int
    batch: int
    bf16: bool
    n_threads: int = 1
    device: str = "cpu"


@dataclass(frozen=True)
class Lesson:
    """What is to be learnt: pixels (n, c, s, s) uint8 and places (n, width), both tensors, and the invariant map."""

    frame: Frame
    pixels: Any
    places: Any
    projection: Projection


def fit(view: FitView, deadline: Deadline, checkpoint: Checkpoint, rng: np.random.Generator) -> Encoder:
    """Learn until the planned steps are done or the deadline has come; the latter is recorded as ``truncated``."""
    seed = int(rng.integers(2**31))
    finished = checkpoint.load("conv-done")
    if finished is not None:
        return Encoder("conv.v1", *finished)
    lesson = _lesson(view, deadline, checkpoint, seed)
    arrays, settings = _learn(lesson, deadline, checkpoint, seed)
    arrays |= {"projection.centre": lesson.projection.centre, "projection.matrix": lesson.projection.matrix}
    checkpoint.save("conv-done", arrays, settings)
    return Encoder("conv.v1", arrays, settings)


def _learn(
    lesson: Lesson, deadline: Deadline, checkpoint: Checkpoint, seed: int
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The network's arrays after all its steps, and what to record."""
    import torch

    gradients = runner(gradient_model(lesson.frame.size, lesson.frame.channels))
    saved = checkpoint.load("conv-steps")
    if saved is None:
        plan, step = _plan(lesson, gradients, deadline, seed), 0
    else:
        plan, step = Plan(**saved[1]["plan"]), int(saved[1]["step"])
    net, optimiser, generator, teacher = _start(lesson, gradients, seed, plan.device)
    order = torch.randperm(len(lesson.pixels), generator=generator)
    if saved is not None:
        order = network.restore(net, optimiser, generator, saved[0])
    kept = {**frame_settings(lesson.frame), "plan": asdict(plan), "n_places": len(lesson.places)}

    def save(done: int) -> None:
        state = network.training_state(net, optimiser, generator, order)
        checkpoint.save("conv-steps", state, {**kept, "step": done})

    if saved is None:
        save(step)  # from here on the plan is fixed
    teacher = network.Teacher(net, optimiser, teacher.view, gradients, plan.bf16)
    per_epoch = len(lesson.pixels) // plan.batch

    def teach(number: int) -> None:
        nonlocal order
        at = number % per_epoch * plan.batch
        if at == 0 and number:
            order = torch.randperm(len(lesson.pixels), generator=generator)
        block = order[at : at + plan.batch]
        network.teach(teacher, lesson.pixels[block], lesson.places[block], number / plan.n_steps)

    with torch_threads(plan.n_threads):
        step = take_steps(step, plan.n_steps, teach, save, deadline, save_every_s=SAVE_EVERY_S)
    return network.network_state(net), {**kept, "step": step, "truncated": step < plan.n_steps}


def _lesson(view: FitView, deadline: Deadline, checkpoint: Checkpoint, seed: int) -> Lesson:
    """Pixels and places; the places are read back when an earlier process had found them."""
    import torch

    frame = choose_frame(view.payloads)
    saved = checkpoint.load("conv-places")
    if saved is not None:
        arrays, settings = saved
        frame = frame_of(settings)
        chosen = arrays["chosen"]
        pixels = frame.prepare_bytes([view.payloads[i] for i in chosen])
        projection = Projection(arrays["centre"], arrays["matrix"])
        return Lesson(frame, torch.from_numpy(pixels), torch.from_numpy(arrays["places"].copy()), projection)
    pick = np.random.default_rng(seed)
    chosen = np.sort(pick.permutation(len(view.payloads))[:MAX_PLACES])
    pixels = frame.prepare_bytes([view.payloads[i] for i in chosen])
    features = runner(gradient_model(frame.size, frame.channels))
    rows = features(pixels)
    some = pick.permutation(len(pixels))[:N_PROJECTED]
    projection = fit_projection(rows, _features_of_views(pixels[some], features, seed))
    unit = projection.apply(rows)
    n = max(2, affordable(unit, PLACES_SHARE * deadline.left_s))
    if n < len(unit):
        some = np.sort(pick.permutation(len(unit))[:n])
        chosen, pixels, unit = chosen[some], pixels[some], unit[some]
    found = places(unit)
    arrays = {"chosen": chosen, "places": found, "centre": projection.centre, "matrix": projection.matrix}
    checkpoint.save("conv-places", arrays, frame_settings(frame))
    return Lesson(frame, torch.from_numpy(pixels), torch.from_numpy(found), projection)


def _features_of_views(pixels: np.ndarray, features: Any, seed: int) -> list[np.ndarray]:
    import torch

    generator = torch.Generator().manual_seed(seed)
    views = []
    for _ in range(N_VIEWS):
        blocks = torch.from_numpy(pixels).split(BATCH)
        blocks = [random_views(block.float() / 255, MILD, generator).numpy() for block in blocks]
        views.append(features(np.concatenate(blocks)))
    return views


def _start(lesson: Lesson, gradients: Any, seed: int, device: str) -> tuple[Any, Any, Any, network.Teacher]:
    """A new network on a device, its optimiser and a generator, all from `seed`: the same first weights on each."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        frame = lesson.frame
        width = lesson.places.shape[1]
        net = network.make_network(frame.channels, gradient_width(frame.size, frame.channels), width).to(
            begin_on(device)
        )
    optimiser = network.make_optimiser(net)
    generator = torch.Generator().manual_seed(seed)
    teacher = network.Teacher(net, optimiser, lambda block: random_views(block, MILD, generator), gradients)
    return net, optimiser, generator, teacher


def _plan(lesson: Lesson, gradients: Any, deadline: Deadline, seed: int) -> Plan:
    """Time steps of a network that is thrown away, and fix how many of the fastest kind fit.

    Kinds: all threads or one (two threads on cores that others use wait for each other: up to seven times slower), and
    bfloat16 where the processor has it. On a card all threads, for the views, and bfloat16.
    """
    import torch

    device = training_device()
    batch = max(2, min(BATCH, len(lesson.pixels) // 2))
    all_threads = torch.get_num_threads()
    kinds = [(bf16, n) for n in sorted({1, all_threads}) for bf16 in ((False, True) if bf16_is_native() else (False,))]
    if device == "cuda":
        kinds = [(True, all_threads)]
    seconds: dict[tuple[bool, int], float] = {}
    for bf16, n_threads in kinds:
        with torch_threads(n_threads):
            seconds[bf16, n_threads] = _step_s(lesson, gradients, batch, bf16, seed, device)
    bf16, n_threads = min(seconds, key=lambda kind: seconds[kind])
    fits = int(max(0.0, deadline.left_s) * (1 - MARGIN) / seconds[bf16, n_threads])
    enough = max(MAX_EPOCHS * (len(lesson.pixels) // batch), MAX_STEPS_OF_SMALL)
    return Plan(max(1, min(fits, enough)), batch, bf16, n_threads, device)


def _step_s(lesson: Lesson, gradients: Any, batch: int, bf16: bool, seed: int, device: str) -> float:
    net, optimiser, _, teacher = _start(lesson, gradients, seed, device)
    teacher = network.Teacher(net, optimiser, teacher.view, gradients, bf16)
    return typical_s(lambda: network.teach(teacher, lesson.pixels[:batch], lesson.places[:batch], 0.0), N_TIMED)


def conv_model(arrays: Mapping[str, np.ndarray], frame: Frame) -> bytes:
    """The serving graph: the network's places beside the invariant map of the gradients, each of length one."""
    g = GraphBuilder(frame.channels, frame.size)
    gradients = add_gradients(g)
    learnt = network.add_network(g, arrays, gradients)
    centred = g.add("Sub", gradients, g.constant(arrays["projection.centre"]))
    mapped = g.unit(g.add("MatMul", centred, g.constant(arrays["projection.matrix"])))
    width = arrays["net.trunk.7.bias"].shape[0] + arrays["projection.matrix"].shape[1]
    both = g.add("Concat", learnt, mapped, axis=1)
    return g.model(g.add("Mul", both, g.constant(np.float32(math.sqrt(0.5)))), width)


def export(encoder: Encoder) -> EncoderGraph:
    """The graph for the trained weights."""
    frame = frame_of(encoder.settings)
    return EncoderGraph(conv_model(encoder.arrays, frame), frame.preprocess)


CONV = Rung(
    name="conv.v1",
    summary="a small convolutional encoder taught by random views where each picture's neighbourhood lies",
    unavailable=available,
    quote=quote,
    fit=fit,
    export=export,
)
