"""APGD under a bound on every pixel: gradient steps whose length halves by itself, on the torch twin of the graph.

Croce and Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks",
algorithm 1, with the losses CE (cross-entropy) and DLR (difference of logits ratio, their equation 6). What is found is
rounded to whole levels, and counts only if the bundle as it is served answers wrongly to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from passmuster.core.records import Payload
from passmuster.modality.harm import Attack, Target
from passmuster.modality.image.as_seen import N_TRIED, as_seen, why_not_seen
from passmuster.modality.image.operations import operations
from passmuster.modality.image.square_attack import SIZES, STRENGTHS, UNIT
from passmuster.modality.image.torch_twin import TorchTwin, TwinError

N_STEPS = 50
N_BEYOND = 5
BLOCK = 64
MOMENTUM, ENOUGH = 0.75, 0.75  # α and ρ of the paper
FIRST_CHECK, LESS, LEAST_GAP = 0.22, 0.03, 0.06  # where step lengths are looked at, as shares of the steps
TOLERANCE = 1e-2  # of the twin's logits from the engine's, as a share of their spread

Scores = Callable[[Tensor], Tensor]  # images (n, c, h, w) in [0, 1] to logits
Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log softmax of the right class, (n,)."""
    return functional.cross_entropy(logits, labels, reduction="none")


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Difference of logits ratio, (n,): how far another class leads, over the gap of the first and the third.

    Of two classes there is no third, and the gap is 1.

    >>> round(float(dlr(torch.tensor([[3.0, 1.0, 0.0]]), torch.tensor([0]))), 4)
    -0.6667
    """
    ranked = logits.sort(dim=1, descending=True).values
    right = logits.gather(1, labels[:, None])[:, 0]
    first = (logits.argmax(1) == labels).long()
    other = ranked.gather(1, first[:, None])[:, 0]
    gap = ranked[:, 0] - ranked[:, 2] if logits.shape[1] > 2 else torch.ones_like(right)
    return (other - right) / (gap + 1e-12)


def checks(n_steps: int) -> list[int]:
    """Steps after which the step length is looked at (section 3.2 of the paper).

    >>> checks(100)
    [0, 22, 41, 57, 70, 80, 87, 93, 99]
    """
    shares = [0.0, FIRST_CHECK]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - LESS, LEAST_GAP))
    return [int(np.ceil(share * n_steps - 1e-9)) for share in shares if share <= 1]


def apgd(scores: Scores, images: Tensor, labels: Tensor, bound: float, loss: Loss, n_steps: int, seed: int) -> Tensor:
    """The images (n, c, h, w) of highest loss found within `bound` of `images`, all in [0, 1].

    Of an image that was answered wrongly, the highest loss among those: of many classes a right answer may have more.
    It ends before `n_steps` when every image has been answered wrongly for `N_BEYOND` steps: an image that is only
    just wrong may be right again once it is rounded to whole levels.
    """
    generator = torch.Generator().manual_seed(seed)
    start = 2 * torch.rand(images.shape, generator=generator) - 1
    scale = start.abs().amax(dim=(1, 2, 3), keepdim=True)

    def inside(x: Tensor) -> Tensor:
        return torch.clamp(torch.minimum(torch.maximum(x, images - bound), images + bound), 0, 1)

    def look(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = x.detach().requires_grad_()
        logits = scores(x)
        each = loss(logits, labels)
        (slope,) = torch.autograd.grad(each.sum(), x)
        return each.detach(), torch.nan_to_num(slope), logits.detach().argmax(1) != labels

    x = inside(images + bound * start / scale)
    value, slope, wrong = look(x)
    best, best_value, best_slope = x.clone(), value.clone(), slope.clone()
    n_wrong = wrong.long()
    fallen, fallen_value = x.clone(), torch.where(wrong, value, -torch.inf)
    step = torch.full((len(images), 1, 1, 1), 2.0 * bound)
    before, last_best, rose = x.clone(), best_value.clone(), torch.zeros(len(images))
    halved = torch.zeros(len(images), dtype=torch.bool)
    places = checks(n_steps)
    for k in range(n_steps):
        forward = inside(x + step * slope.sign())
        ahead = forward if k == 0 else inside(x + MOMENTUM * (forward - x) + (1 - MOMENTUM) * (x - before))
        before, x = x, ahead
        earlier = value
        value, slope, wrong = look(x)
        n_wrong += wrong
        rose += value > earlier
        worse = wrong & (value > fallen_value)
        fallen[worse], fallen_value[worse] = x[worse], value[worse]
        better = value > best_value
        best[better], best_value[better], best_slope[better] = x[better], value[better], slope[better]
        if k + 1 in places[1:]:
            n = k + 1 - places[places.index(k + 1) - 1]
            shorten = (rose < ENOUGH * n) | (~halved & (last_best >= best_value))
            step[shorten] /= 2
            x, before = x.clone(), before.clone()
            x[shorten], slope[shorten], value[shorten] = best[shorten], best_slope[shorten], best_value[shorten]
            before[shorten] = best[shorten]
            halved, last_best, rose = shorten, best_value.clone(), torch.zeros(len(images))
        if bool((n_wrong > N_BEYOND).all()):
            break
    return torch.where((fallen_value > -torch.inf)[:, None, None, None], fallen, best)


def white_box(target: Target, payloads: Sequence[Payload]) -> Scores:
    """The twin as a function of images in [0, 1], the last step of preprocessing included.

    Raises
    ------
    TwinError
        When there is none, or when it does not say what the engine says.
    """
    if "twin" in target.memo:
        found: Scores = target.memo["twin"]
        return found
    if not target.graph.startswith(b"\x08"):
        raise TwinError("the model is elsewhere, and its gradients with it")
    said = target.preprocess["steps"][-1]
    last = operations[said["op"]]({k: v for k, v in said.items() if k != "op"}, target.folder)
    twin = TorchTwin(target.graph)
    seen = as_seen(target, payloads[:N_TRIED])
    (name, fed), *more = last(seen).items()
    if more or name not in twin.inputs or not np.issubdtype(fed.dtype, np.floating):
        raise TwinError("the graph reads no images in floating point")
    flat = [last([np.full_like(seen[0], level)])[name] for level in (0, 255)]
    offset, slope = torch.from_numpy(flat[0]), torch.from_numpy(flat[1] - flat[0])
    channels_last = said.get("layout") == "nhwc"
    turned = said.get("order") == "bgr"

    def scores(images: Tensor) -> Tensor:
        x = images.flip(1) if turned else images
        x = x.permute(0, 2, 3, 1) if channels_last else x
        return twin({name: (offset + slope * x).to(torch.from_numpy(fed).dtype)})["logits"].float()

    with torch.no_grad():
        ours = scores(as_tensor(seen)).numpy()
    theirs = target.ask(seen)
    off = float(np.abs(ours - theirs).max())
    if ours.shape != theirs.shape or not off <= TOLERANCE * max(float(theirs.std()), 1e-6):
        raise TwinError(f"the twin's scores differ from the engine's by {off:.3g}")
    target.memo["twin"] = scores
    return scores


def as_tensor(images: Sequence[np.ndarray]) -> Tensor:
    """Images (h, w, c) uint8 of one size to (n, c, h, w) in [0, 1]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(torch.float32) / 255


def why_not(target: Target, payloads: Sequence[Payload]) -> str:
    """Why gradients of this target cannot be followed; "" where they can."""
    try:
        if reason := why_not_seen(target, payloads):
            return reason
        white_box(target, payloads)
    except (TwinError, RuntimeError, KeyError, IndexError) as error:  # an operator's form that torch refuses
        return f"no torch twin: {(str(error).splitlines() or [type(error).__name__])[0]}"
    return ""


def run(
    target: Target,
    payloads: Sequence[Payload],
    labels: np.ndarray,
    strength: float,
    rng: np.random.Generator,
    n_steps: int = N_STEPS,
    *,
    loss: Loss,
) -> list[Payload]:
    """The worst images found within `strength` levels of every pixel, rounded to whole levels."""
    scores, seen = white_box(target, payloads), as_seen(target, payloads)
    found: list[Any] = []
    for at in range(0, len(seen), BLOCK):
        images = as_tensor(seen[at : at + BLOCK])
        seed = int(rng.integers(2**31))
        worst = apgd(
            scores, images, torch.from_numpy(np.asarray(labels[at : at + BLOCK], dtype=np.int64)), strength / 255,
            loss, n_steps, seed,
        )  # fmt: skip
        found += list((worst * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())
    return found


APGD_CE = Attack(
    "apgd_ce.v1", "{effort} gradient steps up the cross-entropy", True, STRENGTHS, UNIT, why_not,
    partial(run, loss=cross_entropy), N_STEPS, SIZES, whole=True,
)  # fmt: skip
APGD_DLR = Attack(
    "apgd_dlr.v1", "{effort} gradient steps up the difference of logits ratio", True, STRENGTHS, UNIT, why_not,
    partial(run, loss=dlr), N_STEPS, SIZES, whole=True,
)  # fmt: skip
