"""How a new text network is taught: its size and the number of its steps fixed beforehand, then kept to the second.

Matrices are taught by Muon (Jordan et al. 2024), the rest by AdamW, at a rate that falls in a line to zero at the last
step. How many steps fit the time is measured before the first and kept with the checkpoint, so that a killed run goes
on to the same weights (on the processor); where steps turn out slower, the plan is shortened at a review and kept
again. What a step teaches is in `lessons`, which size pays in `network_size`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from passmuster.core.budget import Deadline
from passmuster.learn.device import begin_on, busy_clock, peak_gflops, training_device
from passmuster.learn.precision import bf16_is_native
from passmuster.learn.steps import optimiser_state, restore_optimisers, take_steps, torch_threads, typical_s
from passmuster.modality.base import Checkpoint
from passmuster.modality.text.rungs.lessons import HIDDEN_SHARE, Lesson, Pool, course, lesson, loss_of
from passmuster.modality.text.rungs.modernbert import Shape, make_network
from passmuster.modality.text.rungs.network_size import MAX_PASSES, best_size, flops_per_token, make_shape

WINDOW = 128  # of local layers, where texts are long
LONG_SHARE = 0.05  # of texts longer than the window, from which layers look locally
TOKENS_PER_STEP = {"cpu": 2_048, "cuda": 65_536}
# Networks of this width and more also guess hidden words. With smaller ones, all that two processor cores can teach,
# that took more from the halves than it gave (docs/log.md); of larger ones it is believed, not measured.
HIDING_WIDTH = 384
LEARNING_RATE = 3e-3
WARM_UP = 0.05
WEIGHT_DECAY = 0.01
BETAS = (0.9, 0.98)
SAVE_EVERY_S = 20.0
MARGIN = 0.08  # of the time for steps, because steps late in a run may be slower than those measured
N_TIMED = 3  # steps, of which the median counts
TIMING_SHARE = 0.05  # of the time; once it is gone, no further kind of step is timed
REVIEWS, REVIEW_MARGIN = (0.1, 0.25, 0.5, 0.75, 0.9), 0.03  # when a plan that has become too long is shortened
STEP_EFFICIENCY = {"cpu": 0.4, "cuda": 0.25}  # share of the measured products' speed; that of a card is a guess
MAX_TOKENS = 256


@dataclass(frozen=True)
class Plan:
    """What was fixed before the first step."""

    shape: Shape
    n_steps: int
    tokens_per_step: int
    device: str = "cpu"
    bf16: bool = False
    n_threads: int = 1


def make_plan(pool: Pool, deadline: Deadline, seed: int) -> Plan:
    """The size that pays, how its steps are fastest, and how many of them fit.

    Kinds of steps on the processor: all threads or one (two threads on cores that others use wait for each other), and
    bfloat16 where the processor has it; on a card bfloat16. They are timed on networks that are thrown away.
    """
    import torch

    device = training_device()
    all_threads = torch.get_num_threads()
    native = device == "cuda" or bf16_is_native()
    peak = peak_gflops(device, bf16=native, n_threads=all_threads)
    flops = max(0.0, deadline.left_s) * peak * 1e9 * STEP_EFFICIENCY[device]
    lengths = pool.lengths
    window = WINDOW if float((lengths > WINDOW).mean()) > LONG_SHARE else 0
    shape = make_shape(*best_size(flops, float(lengths.sum())), len(pool.counts), MAX_TOKENS, window)
    first = Plan(shape, 1, TOKENS_PER_STEP[device], device, device == "cuda", all_threads)
    kinds = [first]
    if device == "cpu":
        precisions = (False, True) if native else (False,)
        kinds = [replace(first, bf16=b, n_threads=n) for n in sorted({1, all_threads}) for b in precisions]
    seconds: list[float] = []
    enough = deadline.sooner(deadline.left_s * (1 - TIMING_SHARE))
    for plan in kinds:
        if not seconds or not enough.passed:
            seconds.append(_step_s(pool, plan, seed))
    best = int(np.argmin(seconds))
    per_pass, _ = course(pool, first.tokens_per_step, seed)
    fits = int(max(0.0, deadline.left_s) * (1 - MARGIN) / seconds[best])
    return replace(kinds[best], n_steps=max(1, min(fits, MAX_PASSES * per_pass)))


def plan_of(settings: Mapping[str, Any]) -> Plan:
    """A plan as a checkpoint keeps it."""
    return Plan(**{**settings, "shape": Shape(**settings["shape"])})


def _step_s(pool: Pool, plan: Plan, seed: int) -> float:
    teacher = Teacher(pool, plan, seed)
    with torch_threads(plan.n_threads):
        return typical_s(lambda: teacher.teach(plan.n_steps - 1), N_TIMED)


def hidden_share(shape: Shape) -> float:
    """The share of words that a network of this shape has to guess."""
    return HIDDEN_SHARE if shape.width >= HIDING_WIDTH else 0.0


class Teacher:
    """A network, its optimisers and the lessons: everything that a step changes or reads."""

    def __init__(self, pool: Pool, plan: Plan, seed: int) -> None:
        import torch

        self.pool, self.plan, self.seed = pool, plan, seed
        self.net = make_network(plan.shape, seed).to(begin_on(plan.device))
        matrices: list[torch.nn.Parameter] = []
        others: list[torch.nn.Parameter] = []
        for name, parameter in self.net.named_parameters():
            is_table = "tok_embeddings" in name
            (matrices if parameter.ndim == 2 and not is_table else others).append(parameter)
        self.optimisers = [
            torch.optim.Muon(matrices, LEARNING_RATE, WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, LEARNING_RATE, BETAS, weight_decay=WEIGHT_DECAY),
        ]
        self.n_steps = plan.n_steps
        _, self.texts_of = course(pool, plan.tokens_per_step, seed)
        self.n_tokens = 0

    def lesson(self, step: int) -> Lesson:
        """The lesson of a step; a function of its number alone."""
        share, device = hidden_share(self.plan.shape), self.plan.device
        return lesson(self.pool, self.texts_of(step), step, self.seed, hidden_share=share, device=device)

    def teach(self, step: int) -> float:
        """One step; the rate rises over `WARM_UP` and falls in a line to zero. Returns the loss, on a card too."""
        import torch

        done = (step + 0.5) / self.n_steps
        rate = LEARNING_RATE * min(1.0, done / WARM_UP) * (1.0 - done)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate
        given = self.lesson(step)
        with torch.autocast(self.plan.device, torch.bfloat16, enabled=self.plan.bf16):
            loss = loss_of(self.net, self.plan.shape, given)
        for optimiser in self.optimisers:
            optimiser.zero_grad()
        loss.backward()
        for optimiser in self.optimisers:
            optimiser.step()
        self.n_tokens += len(given.batch.ids)
        return float(loss.detach())  # waits for the card, so that seconds are seconds

    def weights(self) -> dict[str, np.ndarray]:
        """All parameters as ``net.<name>``."""
        return {f"net.{k}": v.detach().cpu().numpy().copy() for k, v in self.net.state_dict().items()}

    def state(self) -> dict[str, np.ndarray]:
        return self.weights() | optimiser_state(self.optimisers)

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Put a `state` back."""
        import torch

        state = {k[4:]: torch.from_numpy(v.copy()) for k, v in arrays.items() if k.startswith("net.")}
        self.net.load_state_dict(state)
        restore_optimisers(self.optimisers, arrays)


def learn(
    pool: Pool, plan: Plan, deadline: Deadline, checkpoint: Checkpoint, seed: int
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The encoder's arrays after all its steps, and what to record."""
    teacher = Teacher(pool, plan, seed)
    saved = checkpoint.load("transformer-steps")
    start, n_steps = 0, plan.n_steps
    if saved is not None:
        start, n_steps = int(saved[1]["step"]), int(saved[1]["n_steps"])
        teacher.restore(saved[0])
    clock = busy_clock(plan.device, plan.n_threads)
    step, began, busy = start, time.monotonic(), clock()

    def save(done: int) -> None:
        checkpoint.save("transformer-steps", teacher.state(), {"step": done, "n_steps": n_steps})

    with torch_threads(plan.n_threads):
        while step < n_steps and not deadline.passed:
            teacher.n_steps = n_steps
            until = next((at for share in REVIEWS if (at := math.ceil(share * n_steps)) > step), n_steps)
            step = take_steps(step, until, teacher.teach, save, deadline, save_every_s=SAVE_EVERY_S)
            per_step = (time.monotonic() - began) / max(1, step - start)
            fits = step + int(max(0.0, deadline.left_s) * (1 - REVIEW_MARGIN) / per_step)
            if step < fits < n_steps:  # slower than it was measured: the rate must still come down to zero
                n_steps = fits
                save(step)
    speed = _speed(teacher, time.monotonic() - began, clock() - busy)
    prefix = "net.model."
    arrays = {k.removeprefix(prefix): v for k, v in teacher.weights().items() if k.startswith(prefix)}
    facts = {"n_texts": len(pool), "n_tokens": len(pool.tokens), "speed": speed}
    return arrays, {"plan": asdict(plan), "step": step, "n_steps": n_steps, "truncated": step < n_steps, **facts}


def _speed(teacher: Teacher, seconds: float, busy_s: float) -> dict[str, float]:
    """Tokens a second; per busy second tokens, the operations that the model needs, and their share of the peak."""
    plan = teacher.plan
    per_s = teacher.n_tokens / max(busy_s, 1e-9)
    length = 1.0 + float(teacher.pool.lengths.mean()) / 2.0  # of a half text
    gflops = per_s * flops_per_token(plan.shape, length, hidden_share(plan.shape)) / 1e9
    peak = peak_gflops(plan.device, bf16=plan.bf16, n_threads=plan.n_threads)
    return {
        "seconds": round(seconds, 2), "tokens_per_s": round(teacher.n_tokens / max(seconds, 1e-9), 1),
        "busy_s": round(busy_s, 2), "tokens_per_busy_s": round(per_s, 1), "model_gflops": round(gflops, 2),
        "peak_gflops": round(peak, 1), "utilisation": round(gflops / peak, 4),
    }  # fmt: skip
